package label

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// TestSpeculative: a round of speculative decoding is one step, from the first pass of the draft model
// to the one that takes in what was accepted.
func TestSpeculative(t *testing.T) {
	const (
		verify = "step[TARGET_VERIFY bs=4]"
		draft  = "step[DRAFT_EXTEND_V2 bs=4]"
		decode = "step[DECODE bs=4]"
		extend = "step[EXTEND bs=1 toks=90]"
		round  = "sglang/srt/speculative/eagle_worker.py(300): forward_batch_generation"
		inside = " sglang/srt/speculative/eagle_worker.py(620): verify"
		target = " sglang/srt/model_executor/model_runner.py(90): forward_extend"
	)
	many := strings.Split(strings.Repeat(decode+"|", maxDrafts+4), "|")[:maxDrafts+4]
	for _, c := range []struct {
		name   string
		labels []string // one after the other, 10 ns each; what begins with a blank is inside of the one before
		want   string   // kind, begin and end of each step
	}{
		{"verify and draft extend", []string{verify, draft, verify, draft}, "decode 0-20, decode 20-40"},
		{"with proposals", []string{decode, decode, verify, draft, decode, decode, verify, draft},
			"decode 0-40, decode 40-80"},
		{"without a draft's extend", []string{decode, verify, decode, verify}, "decode 0-20, decode 20-40"},
		{"after a prompt", []string{extend, draft, verify, draft, extend, draft},
			"prefill 0-20, decode 20-40, prefill 40-60"},
		{"names of modes", []string{"forward_target_verify", "forward_draft_extend", "target_verify",
			"draft_extend_v2"},
			"decode 0-20, decode 20-40"},
		{"plain decoding", []string{decode, decode, extend, decode},
			"decode 0-10, decode 10-20, prefill 20-30, decode 30-40"},
		{"a window that begins with a draft's extend", []string{draft, verify, draft}, "decode 0-10, decode 10-30"},
		{"frames of rounds", []string{round, inside, round, target, round, inside},
			"decode 0-10, prefill 10-20, decode 20-30"},
	} {
		if got := drawn(c.labels); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if got := drawn(append(many, verify)); strings.Count(got, "decode") != len(many)+1 {
		t.Errorf("%d steps without a draft model and one with: %s", len(many), got)
	}
}

// drawn finds the steps of labels that are laid one after the other.
func drawn(labels []string) string {
	tr := trace.New()
	k := tr.AddTrack(trace.Track{PID: 1, TID: 1, Device: -1, Stream: -1})
	at := int64(-10)
	for _, l := range labels {
		x := trace.Slice{Dur: 10, Name: l, Cat: trace.CatUserAnnotation, Track: k}
		if strings.Contains(l, ".py(") {
			x.Cat = trace.CatPythonFunction
		}
		if name, ok := strings.CutPrefix(l, " "); ok {
			x.Name, x.Start, x.Dur = name, at+1, 5
		} else {
			at += 10
			x.Start = at
		}
		tr.AddSlice(x)
	}
	found, _ := Find(tr, func(int) bool { return true })
	var out []string
	for _, s := range found {
		out = append(out, fmt.Sprintf("%v %d-%d", s.Kind, s.Start, s.End))
	}
	return strings.Join(out, ", ")
}
