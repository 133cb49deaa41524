package omni

import (
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// A look back that is not possible, because a session is running, is none of those that an engine makes in its life.
func TestLookBacksThatAreRefusedDoNotCount(t *testing.T) {
	e := open(t, Config{Attached: true, Connection: hub.Connection{Listen: "127.0.0.1:0"}})
	cfg := protocol.DefaultProfilerConfig()
	cfg.Profiler = "torch"
	attach(t, e, 3, 0, 1, &cfg)
	if err := e.WaitAttached(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := e.StartProfile(t.Context(), protocol.StartRequest{}); err != nil {
		t.Fatal(err)
	}
	for range triggerMax + 1 {
		e.trigger.mu.Lock()
		e.trigger.last = time.Time{} // half a minute later
		e.trigger.mu.Unlock()
		e.LookBack("slow-request")
		e.trigger.wg.Wait()
	}
	if _, err := e.StopProfile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := e.trigger.n; n != 0 {
		t.Errorf("%d of %d are used up", n, triggerMax)
	}
}
