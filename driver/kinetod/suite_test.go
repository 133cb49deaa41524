package kinetod

import (
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/drivertest"
	"github.com/kinetoscope/kinetoscope/driver/kinetod/kinetodtest"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/internal/tempspool"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

func TestSuite(t *testing.T) {
	sockets, dir := socketDir(t), t.TempDir()
	d := listen(t, sockets)
	kinetodtest.Start(t, sockets, kinetodtest.Behaviour{PID: pid})
	known(t, d, pid)
	log := slog.New(slog.DiscardHandler)
	var hears atomic.Pointer[driver.Rank]
	var k *Driver
	open := func() *driver.Rank {
		k = newDriver(d, Target{PID: pid, User: me(), TraceDir: dir}, log, quick)
		r := driver.NewRank(k, protocol.RankInfo{}, driver.WithLogger(log),
			driver.WithHubLossTimeout(drivertest.HubLoss))
		hears.Store(r)
		return r
	}
	s := &drivertest.Subject{Handler: open(), EndsLate: true, Length: 300 * time.Millisecond, Can: k.Capabilities(),
		Check: wholeTrace}
	s.Beat = func(hub string) { hears.Load().HubSeen(hub) }
	s.Left = func() []string { return append(files(t, dir), packed(t, k)...) }
	s.Succeed = func(*testing.T) {
		dead := k
		t.Cleanup(func() { _ = dead.packed.close() }) // a process that is killed leaves it to the system
		dead.cancel(errClosed)
		s.Handler = open()
	}
	drivertest.Run(t, s)
	if err := hears.Load().Close(); err != nil {
		t.Error(err)
	}
}

// packed are the files that wait to be uploaded.
func packed(t *testing.T, k *Driver) []string {
	t.Helper()
	k.packed.mu.Lock()
	defer k.packed.mu.Unlock()
	if k.packed.root == nil {
		return nil
	}
	return slices.DeleteFunc(files(t, k.packed.root.Name()), func(n string) bool { return n == tempspool.LockFile })
}

func wholeTrace(t *testing.T, files []rank.File) {
	t.Helper()
	if len(files) != 1 {
		t.Fatalf("%v", files)
	}
	tr, err := kineto.ReadFile(t.Context(), files[0].Path, kineto.Options{})
	if err != nil || tr.Slices.Len() != 2 {
		t.Errorf("%s: %v", filepath.Base(files[0].Path), err)
	}
}
