package hub

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// TestStopAfterTheClockWasSetBack: a stop ends the session that records, although one whose artifacts are
// still being made has the later id, because the wall clock was set back between them.
func TestStopAfterTheClockWasSetBack(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, func(c *Config) {
		c.Convert = func(ctx context.Context, in ConvertInput) (map[protocol.RankID][]protocol.Artifact,
			[]protocol.Artifact, error) {
			select {
			case <-release:
			case <-ctx.Done():
			}
			return copyConvert(ctx, in)
		}
	})
	defer close(release)
	r.join(1)
	q := protocol.StartRequest{}
	targets, err := r.targets("omni", &q)
	if err != nil {
		t.Fatal(err)
	}
	const later = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
	m := session.New(later, session.Config{Pipeline: "omni", MaxDuration: q.MaxDuration,
		Timeouts: r.patience(targets)}, targets)
	first, err := r.launch(t.Context(), m, session.Begin{})
	if err != nil {
		t.Fatal(err)
	}
	<-first.begun
	if st, err := r.StopProfile(canceled(t)); st.ID != later || !errors.Is(err, context.Canceled) {
		t.Fatalf("%+v, %v", st, err)
	}
	r.until(later, func(s *session.Status) bool { return s.State == session.StateConverting })
	second := r.start(protocol.StartRequest{})
	if st, _ := r.StopProfile(canceled(t)); st.ID != second.ID {
		t.Errorf("the stop ended %s, which is %s; %s records", st.ID, st.State, second.ID)
	}
}

// TestRunStoreIsRemoved: what is recorded while somebody removes the directory of runs comes home into a new one, and
// the next session starts.
func TestRunStoreIsRemoved(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	for range 2 {
		r.start(protocol.StartRequest{})
		r.work(1)
		if err := os.RemoveAll(r.Store().Root()); err != nil {
			t.Fatal(err)
		}
		if st := r.stop(); st.State != session.StateComplete || len(r.verify(st)) != 1 {
			t.Fatalf("%+v", st)
		}
		if err := os.RemoveAll(r.Store().Root()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStraysThatDie: a rank whose profiler could not be turned off counts while it is there, and no longer.
func TestStraysThatDie(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	inc := r.Ranks("omni")[0].Incarnation
	if !r.strays.note(inc, true) {
		t.Fatal("not noted")
	}
	r.strays.done(inc, true)
	if n := r.Strays(); n != 1 {
		t.Errorf("%d while it is there", n)
	}
	r.ranks[0].close(t)
	waittest.Until(t, 20*time.Second, "it leaves", func() bool { return len(r.Ranks("omni")) == 0 })
	if n := r.Strays(); n != 0 {
		t.Errorf("%d when it is gone", n)
	}
}
