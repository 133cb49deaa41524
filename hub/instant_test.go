package hub

import (
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// A rank's wall clock is set between the probe and the start. The ranks begin together
// all the same, the timeline has the clock that the recording goes by, and it is said.
func TestClockSetBetweenProbeAndStart(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 300 * time.Millisecond} {
		t.Run(jump.String(), func(t *testing.T) {
			r := newRig(t, nil)
			r.join(2)
			r.ranks[0].jump = jump
			st := r.start(protocol.StartRequest{})
			r.work(3)
			set, other := st.Stages[0].Ranks[0], st.Stages[0].Ranks[1]
			if off := set.Clock.OffsetNs + int64(jump); max(off, -off) > set.Clock.ErrorNs+int64(time.Millisecond) {
				t.Errorf("offset %v ± %v after %v", time.Duration(set.Clock.OffsetNs), time.Duration(set.Clock.ErrorNs),
					jump)
			}
			apart := time.Duration(set.StartedAtNs + set.Clock.OffsetNs - other.StartedAtNs - other.Clock.OffsetNs)
			if apart.Abs() > time.Second {
				t.Errorf("the ranks began %v apart", apart)
			}
			st = r.stop()
			if k := st.Stages[0].Ranks[0]; st.State != session.StateComplete ||
				!strings.Contains(k.Reason, "wall clock was set by "+jump.String()) {
				t.Errorf("session is %s, rank %s: %s", st.State, k.State, k.Reason)
			}
			if k := st.Stages[0].Ranks[1]; k.Reason != "" {
				t.Errorf("the other rank: %s", k.Reason)
			}
		})
	}
}

// The clock is set after the ranks have begun and before the hub knows that: by how much is
// said, and the recording keeps the clock in which it began.
func TestClockSetWhileItBegins(t *testing.T) {
	r := newRig(t, nil)
	r.join(2)
	r.ranks[0].later = time.Hour
	st := r.start(protocol.StartRequest{})
	r.work(3)
	set := st.Stages[0].Ranks[0]
	if time.Duration(set.Clock.OffsetNs).Abs() > time.Second {
		t.Errorf("its offset is %v", time.Duration(set.Clock.OffsetNs))
	}
	st = r.stop()
	if k := st.Stages[0].Ranks[0]; !strings.Contains(k.Reason, "wall clock was set by 1h0m0s while it began") {
		t.Errorf("the reason is %q", k.Reason)
	}
}

// A rank that was held up says when it began; one that says what cannot be has a clock in doubt.
func TestBeginningFarFromTheInstant(t *testing.T) {
	r := newRig(t, nil)
	id := r.config(0, 0).Info.RankID
	agreed := time.Now().Add(-10 * time.Second)
	for _, tc := range []struct {
		began time.Duration // from the agreed instant
		want  string
	}{
		{100 * time.Millisecond, ""},
		{2500 * time.Millisecond, "it began 2.5s after the agreed instant"},
		{-2500 * time.Millisecond, "its clock is in doubt"},
		{time.Hour, "its clock is in doubt"}, // that is still to come
	} {
		run := newRunner(r.Hub, session.New("x", session.Config{}, []session.Target{{RankID: id, Incarnation: "i"}}))
		run.checkInstant(id, protocol.RankStatus{StartedAtNs: agreed.Add(tc.began).UnixNano()}, agreed.UnixNano(),
			protocol.ClockError{})
		if got := run.remark(id); (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%v: %q, want %q", tc.began, got, tc.want)
		}
		run.cancel()
	}
}
