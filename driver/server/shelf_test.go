package server

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/driver/server/discover"
	"github.com/kinetoscope/kinetoscope/driver/server/servertest"
	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// readyRanks counts the ranks of "p" that are ready.
func readyRanks(h *hub.Hub) (n int) {
	for _, r := range h.Ranks("p") {
		if r.Ready {
			n++
		}
	}
	return n
}

// A pod that comes back at another address writes where it wrote before: its directory is not another target's.
func TestPodComesBackAtAnotherAddress(t *testing.T) {
	dir := t.TempDir()
	old := servertest.Quirks{Old: true} // takes no prefix
	port := podAt(t, dir, "127.0.0.1", "0", old)
	podAt(t, dir, "127.0.0.2", port, old)
	c := newCluster(t)
	c.set("a", "127.0.0.1")
	target, err := ParseTarget("vllm+k8s://inference:" + port + "?labels=app%3Dvllm&stage=decode&dir=" + dir)
	if err != nil {
		t.Fatal(err)
	}
	h, err := hub.Start(t.Context(), hub.Config{DataDir: t.TempDir(), Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	f, err := Join(t.Context(), h.Conn(), Seats([]Target{target}, "p", TargetStage), FleetConfig{Later: true,
		Finder: &discover.Finder{API: c.API}, every: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	waittest.Until(t, time.Minute, "the pod joins", func() bool { return readyRanks(h) == 1 })
	c.set("a", "")
	waittest.Until(t, time.Minute, "it leaves", func() bool { return readyRanks(h) == 0 })
	c.set("a", "127.0.0.2")
	waittest.Until(t, time.Minute, "it is back", func() bool { return readyRanks(h) == 1 })
}

// Two servers that write to one directory under names that nothing tells apart are refused also if they answer
// only after the fleet has begun.
func TestServersOfOneDirectoryThatComeLater(t *testing.T) {
	dir := t.TempDir()
	var up atomic.Bool
	var targets []Target
	for range 2 {
		srv := servertest.VLLM(dir, servertest.Quirks{Old: true})
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !up.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			srv.ServeHTTP(w, r)
		}))
		defer web.Close()
		targets = append(targets, Target{Engine: protocol.EngineVLLM, URL: web.URL, Dir: dir})
	}
	h, err := hub.Start(t.Context(), hub.Config{DataDir: t.TempDir(), Logger: discard()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	said := &lines{}
	f, err := Join(t.Context(), h.Conn(), Seats(targets, "p", TargetStage), FleetConfig{Later: true,
		Logger: slog.New(slog.NewTextHandler(said, nil)), again: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	up.Store(true)
	waittest.Until(t, time.Minute, "one joins and the other is refused", func() bool {
		return readyRanks(h) == 1 && said.has("writes to the directory of another target")
	})
}
