package hub

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// A rank that the pipeline is to have is not there: no session leaves it out without a word.
func TestSessionOfAPipelineThatIsNotWhole(t *testing.T) {
	r := newRig(t, nil)
	r.join(1, 1)
	r.Expect("omni", []protocol.RankInfo{r.config(0, 0).Info, r.config(0, 1).Info, r.config(1, 0).Info})
	_, err := r.StartProfile(t.Context(), "omni", protocol.StartRequest{})
	if e, ok := errors.AsType[*ErrAbsent](err); !ok || e.HTTPStatus() != http.StatusServiceUnavailable ||
		!strings.Contains(e.Error(), "stage 0 (thinker) replica 0 rank 1 is not there") || e.Hint() == "" {
		t.Fatalf("start: %v", err)
	}
	if len(r.Sessions()) != 0 {
		t.Error("a session was made")
	}
	r.start(protocol.StartRequest{AllowPartial: true})
	r.work(2)
	st := r.stop()
	lost := st.Rank(protocol.RankID{Pipeline: "omni", Rank: 1})
	if st.State != session.StatePartial || lost == nil || lost.State != protocol.StateLost ||
		lost.Reason != errAbsent || len(r.verify(st)) != 2 {
		t.Errorf("without it: %s %s, %+v", st.State, st.Error, lost)
	}
	r.start(protocol.StartRequest{Stages: []int{1}})
	waitFor(t, func() bool { return r.ranks[1].Status(t.Context()).Iterations >= 2 })
	if st := r.stop(); st.State != session.StateComplete {
		t.Errorf("other stages: %s %s", st.State, st.Error)
	}
	r.add(r.config(0, 1))
	r.ready(3)
	r.start(protocol.StartRequest{})
	r.work(2)
	if st := r.stop(); st.State != session.StateComplete || len(r.verify(st)) != 3 {
		t.Errorf("when it is there: %s %s", st.State, st.Error)
	}
}
