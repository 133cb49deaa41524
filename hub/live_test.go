package hub

import (
	"errors"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// Who looks at a session while it records sees what its ranks have so far, and where it ends by
// itself; its run cannot be given up until it has ended.
func TestLiveCounts(t *testing.T) {
	r := newRig(t, nil)
	r.join(2)
	most := 1 << 20
	st := r.start(protocol.StartRequest{MaxDuration: time.Hour, MaxBytes: 1 << 30, MaxIterations: &most})
	r.work(3)
	now, bounds, err := r.Live(t.Context(), st.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range now.Stages[0].Ranks {
		if k.State != protocol.StateRecording || k.Iterations < 3 || k.Events == 0 || k.Bytes == 0 {
			t.Errorf("after three iterations: %+v", k)
		}
	}
	if d := bounds.Until.Sub(time.Unix(0, now.StartAtNs)); d != time.Hour || bounds.MaxBytes != 1<<30 ||
		bounds.MaxIterations[0] != most {
		t.Errorf("%+v, %v", bounds, d)
	}
	if under, ok := errors.AsType[*UnderWay](r.Forget(t.Context(), st.ID)); !ok || under.ID != st.ID {
		t.Errorf("a session that records was forgotten: %v", under)
	}
	whole := r.stop()
	again, bounds, err := r.Live(t.Context(), st.ID)
	if err != nil || again.State != whole.State || !bounds.Until.IsZero() {
		t.Errorf("%+v, %+v, %v", again, bounds, err)
	}
	if err := r.Forget(t.Context(), st.ID); err != nil {
		t.Fatal(err)
	}
	if n := len(r.Sessions()); n != 0 {
		t.Errorf("%d sessions are remembered", n)
	}
	if err := r.Forget(t.Context(), st.ID); err != nil {
		t.Errorf("twice: %v", err)
	}
}
