package hub

import (
	"errors"
	"sync"
	"testing"
)

// Of hubs that start at once under one name on one server, one lives, the others are
// told where it is; another name is free, and so is this one when its hub has ended.
func TestOneHubAName(t *testing.T) {
	srv, err := startServer(&Config{DataDir: t.TempDir()}, testLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}()
	start := func(name string) (*Hub, error) {
		return Start(t.Context(), Config{Name: name, Connection: Connection{NATSURL: srv.ownURL()},
			DataDir: t.TempDir(), Logger: testLogger(t)})
	}
	const n = 4
	var hubs [n]*Hub
	var errs [n]error
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { hubs[i], errs[i] = start("same") })
	}
	wg.Wait()
	var lives *Hub
	for i, h := range hubs {
		var taken *ErrNameTaken
		switch {
		case h != nil && lives == nil:
			lives = h
		case h != nil:
			t.Error("two hubs of one name live")
			h.Close()
		case !errors.As(errs[i], &taken) || taken.Host == "" || taken.PID == 0:
			t.Errorf("hub %d: %v", i, errs[i])
		}
	}
	if lives == nil {
		t.Fatal("no hub lives")
	}
	other, err := start("other")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if h, err := start("same"); err == nil {
		h.Close()
		t.Error("a second hub of that name lives")
	}
	if err := lives.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := start("same")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}
