package hub

import (
	"context"
	"runtime"
	"testing"
	"weak"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// TestManySessions: after twice as many sessions as a hub remembers nothing is left of the
// first half but their runs, neither in its memory nor in the durable bucket, and of the
// others no more than their status.
func TestManySessions(t *testing.T) {
	if testing.Short() {
		t.Skip("hundreds of sessions; unit tests make them")
	}
	const sessions = 2 * session.KeepFinished
	r := newRig(t, func(c *Config) { c.Convert = nil })
	info := r.config(0, 0).Info
	nc, err := link.Config{URL: r.ClientURL(), As: info.Identity()}.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	m, err := rank.Join(t.Context(), nc, info, &simulatedRank{dir: t.TempDir(),
		status: protocol.RankStatus{State: protocol.StateIdle}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Leave(context.Background()) })
	if err := m.SetReady(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	r.ready(1)
	var runners []weak.Pointer[runner]
	var statuses []weak.Pointer[session.Status]
	var first, last string
	for range sessions {
		st := r.start(protocol.StartRequest{})
		r.mu.Lock()
		runners = append(runners, weak.Make(r.runners[st.ID]))
		r.mu.Unlock()
		if end := r.stop(); end.State != session.StateComplete {
			t.Fatalf("session %s is %s: %s", end.ID, end.State, end.Error)
		}
		r.mu.Lock()
		kept, _ := r.book.Get(st.ID)
		statuses = append(statuses, weak.Make(kept))
		r.mu.Unlock()
		if first == "" {
			first = st.ID
		}
		last = st.ID
	}
	if n := r.records(); n != session.KeepFinished {
		t.Errorf("%d sessions in the durable bucket, %d are remembered", n, session.KeepFinished)
	}
	runtime.GC()
	if n := alive(runners); n > 1 { // the goroutine of the last one may not be gone yet
		t.Errorf("%d of %d sessions that have ended are still held whole", n, sessions)
	}
	if n := alive(statuses); n > session.KeepFinished {
		t.Errorf("%d statuses are held, %d are remembered", n, session.KeepFinished)
	}
	for _, id := range []string{first, last} {
		if st, err := r.Session(id); err != nil || st.State != session.StateComplete || len(st.Stages) == 0 {
			t.Errorf("session %s: %+v, %v", id, st, err)
		}
	}
}

func alive[T any](list []weak.Pointer[T]) (n int) {
	for _, p := range list {
		if p.Value() != nil {
			n++
		}
	}
	return n
}

// records is how many sessions the durable bucket holds.
func (r *rig) records() int {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), "KV_"+protocol.BucketSessions)
	if err != nil {
		r.t.Fatal(err)
	}
	info, err := s.Info(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return int(info.State.Msgs)
}
