package worker

import (
	"fmt"
	"testing"

	"github.com/kinetoscope/kinetoscope/omni/wire"
)

func TestSampling(t *testing.T) {
	const on, off = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	var s sampling
	for id, parent := range map[string]string{"on": on, "off": off, "bad": "00-zz", "none": ""} {
		want := ""
		if len(parent) == len(on) {
			want = on[3:35]
		}
		if got := s.note(&wire.Request{ID: id, TraceParent: parent}); got != want {
			t.Errorf("%s: trace id %q, want %q", id, got, want)
		}
	}
	ids := []string{"on", "off", "bad", "none"}
	decided := s.of(ids...)
	if len(decided) != 2 || !decided["on"] || decided["off"] {
		t.Errorf("decided: %v", decided)
	}
	for _, every := range []int{0, 1} {
		if !sampled([]string{"off"}, decided, every) {
			t.Errorf("sample_requests %d leaves a request out", every)
		}
	}
	if !sampled([]string{"off", "on"}, decided, 1000) || sampled([]string{"off"}, decided, 2) {
		t.Error("the flag does not decide")
	}
	for _, id := range ids {
		s.forget(id)
	}
	if s.of(ids...) != nil || len(s.decided) != 0 {
		t.Errorf("%v is left", s.decided)
	}
	for i := range maxDecisions + 10 {
		s.note(&wire.Request{ID: fmt.Sprint(i), TraceParent: on})
	}
	if len(s.decided) != maxDecisions {
		t.Errorf("%d decisions are kept", len(s.decided))
	}
}
