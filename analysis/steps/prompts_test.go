package steps

import (
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
)

// TestPromptsBetween: prompts are said to delay sequences only where others decode meanwhile. A request that is
// alone has nobody who waits, however long its prompt is, and however many come one after the other.
func TestPromptsBetween(t *testing.T) {
	const prompt, one, two = "execute_context_1(4000)_generation_0(0)", "execute_context_0(0)_generation_1(1)",
		"execute_context_0(0)_generation_2(2)"
	mixed := "execute_context_1(4000)_generation_1(1)"
	for _, c := range []struct {
		name   string
		labels []string
		want   string // begin of the text; "" for none
	}{
		{"one request", []string{prompt, one, one, one, one}, ""},
		{"two requests, one after the other", []string{prompt, one, one, prompt, one, one}, ""},
		{"a prompt in two parts", []string{prompt, prompt, one, one, one, one}, ""},
		{"two prompts at once, then decode", []string{prompt, prompt, two, two, two, two}, ""},
		{"the second comes while the first decodes", []string{prompt, one, one, prompt, two, two},
			"% of the time in steps goes into 1 step with prompts"},
		{"both in a step", []string{prompt, one, one, mixed, two, two},
			"% of the time in steps goes into 1 step with prompts"},
		{"labels that do not say how many", []string{"step[EXTEND]", "step[DECODE]", "step[DECODE]", "step[EXTEND]",
			"step[DECODE]", "step[DECODE]"}, "% of the time in steps goes into 1 step with prompts"},
	} {
		g := newGPU()
		for _, l := range c.labels {
			dur := int64(20)
			if l == prompt || l == mixed || l == "step[EXTEND]" {
				dur = 400
			}
			g.label(l, func() { g.layers(4, 3, dur, "attn"); g.sync() })
		}
		got := ""
		for _, f := range Find(g.t, Options{}).Findings {
			if f.Code == finding.PromptsBetween {
				got = f.Text
			}
		}
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
