package hub

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// The storage of NATS stops in the middle of a session. That session keeps what its ranks
// have on disk, a start meanwhile is refused with the reason, and when the storage runs
// again so does everything.
func TestStorageThatStoppedIsStartedAgain(t *testing.T) {
	for name, breakIt := range map[string]func(*Hub){
		"one stream": func(h *Hub) { h.srv.failed.Store(true) },
		"all":        func(h *Hub) { _ = h.srv.ShutdownJetStream() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.join(2)
			r.start(protocol.StartRequest{})
			r.work(2)
			breakIt(r.Hub)
			if err := r.Health(); err == nil || !strings.Contains(err.Error(), r.cfg.DataDir) {
				t.Errorf("health: %v", err)
			}
			_, err := r.StartProfile(t.Context(), "omni", protocol.StartRequest{})
			if full, ok := errors.AsType[*ErrNoRoom](err); !ok || full.HTTPStatus() != http.StatusInsufficientStorage ||
				full.Hint() == "" {
				t.Errorf("start meanwhile: %v", err)
			}
			waitFor(t, func() bool { return r.Health() == nil })
			if st := r.stop(); st.State != session.StateComplete || len(r.verify(st)) != 2 {
				t.Errorf("the session under way: %s %s", st.State, st.Error)
			}
			r.ready(2)
			r.start(protocol.StartRequest{})
			r.work(2)
			if st := r.stop(); st.State != session.StateComplete || len(r.verify(st)) != 2 {
				t.Errorf("the session after: %s %s", st.State, st.Error)
			}
		})
	}
}

// A start asks for room before it asks any rank.
func TestStartNeedsAWritableRunStore(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	if err := os.RemoveAll(r.Store().Root()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.Store().Root(), nil, 0o600); err != nil { // no directory can be there
		t.Fatal(err)
	}
	_, err := r.StartProfile(t.Context(), "omni", protocol.StartRequest{})
	full, ok := errors.AsType[*ErrNoRoom](err)
	if !ok || !strings.Contains(err.Error(), "run store "+r.Store().Root()) ||
		full.HTTPStatus() != http.StatusInternalServerError {
		t.Fatalf("start without a run store: %v", err)
	}
	if len(r.Sessions()) != 0 {
		t.Error("a session was made")
	}
	if err := os.Remove(r.Store().Root()); err != nil {
		t.Fatal(err)
	}
	r.start(protocol.StartRequest{})
	if st := r.stop(); st.State != session.StateComplete {
		t.Errorf("after it is back: %s %s", st.State, st.Error)
	}
}
