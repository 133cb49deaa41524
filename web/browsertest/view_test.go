package browsertest

import (
	"strings"
	"testing"
)

// stages is a session in trouble, as GET /v1/sessions/ID gives it.
const stages = `[{stage: 0, name: "thinker", ranks: [
	{stage: 0, replica: 0, rank: 0, stage_name: "thinker", state: "complete", iterations: 7, events: 12345, drops: 9, bytes: 2048, clock: {offset_ns: -1500, error_ns: 250}},
	{stage: 0, replica: 0, rank: 1, stage_name: "thinker", state: "lost", reason: "<img src=x onerror=alert(1)> no presence for 5s", events: 0, drops: 0, iterations: 0, clock: {}}]},
	{stage: 1, name: "talker", ranks: [{stage: 1, replica: 1, rank: 0, stage_name: "talker", state: "timed_out", reason: "no answer to stop", events: 0, drops: 0, iterations: 0, clock: {}}]}]`

// TestView draws what is hard to meet at the right moment: progress, lost ranks, hostile
// names. The functions are the page's own; only the session is made up.
func TestView(t *testing.T) {
	in := browser(t, "")
	srv := serve(t, "diffusion")
	p := open(t, in, srv.url)
	draw := func(s, more string) {
		t.Helper()
		eval[bool](p, `(async () => {
			const [{ detail }, { patch }] = await Promise.all([import("/ui/view.js"), import("/ui/dom.js")]);
			let el = document.querySelector("#probe") ?? document.body.appendChild(Object.assign(document.createElement("div"), { id: "probe" }));
			patch(el, detail({ id: "X", started_at: "2026-11-23T12:00:00Z", stages: `+stages+`, `+s+
			` }, { now: Date.parse("2026-11-23T12:00:42.4Z"), `+more+` }));
			return true;
		})()`)
	}
	for _, c := range []struct {
		name, session, more string
		shows               []string
		lacks               string
		value, max          float64 // of the progress; -1: none is shown, max 0: not known
	}{
		{"recording", `state: "recording"`, ``, []string{"for 42 s", "12\u202f345", "9", "−1.50 µs ± 250 ns", "lost",
			"timed out", "no answer to stop", "0 (replica 1)", "2.00 KiB"}, "Artifacts", 0, 0},
		{"collecting", `state: "collecting"`, ``, []string{"collecting: 3 of 3 ranks home"}, "Artifacts", 3, 3},
		{"converting", `state: "converting", progress: {done: 1, total: 4, what: "stage 0 (thinker) rank 1"}`, ``,
			[]string{"converting stage 0 (thinker) rank 1"}, "Artifacts", 1, 4},
		{"failed", `state: "failed", error: "no rank left a recording", stopped_by: "max_duration", prefix: "<b>x</b>"`,
			``, []string{"no rank left a recording", "stopped by the watchdog", "None.", "<b>x</b>"},
			"converting", -1, 0},
		{"turning text", `state: "failed", error: "a\u202eb\u009bc", stopped_by: "max_duration"`, ``,
			[]string{"a\ufffdb\ufffdc"}, "\u202e", -1, 0},
		{"no report", `state: "complete", artifacts: [{name: "report.json", url: "/r", size: 1}]`,
			`rep: {error: "it is gone"}`, []string{"report.json: it is gone"}, "Reading", -1, 0},
		{"no picture", `state: "complete", artifacts: [{name: "report.svg", url: "/p", size: 1}]`,
			`rep: {pictureless: true, data: {window_ns: 5, requests: [], request_count: 0, latency: {ttft: {}, first_output: {}, total: {}}, stages: [], findings: [], bottleneck: null}}`,
			[]string{"report.svg could not be loaded", "No stage worked"}, "Steps", -1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			draw(c.session, c.more)
			text := eval[string](p, `document.querySelector("#probe").textContent`)
			for _, want := range c.shows {
				if !strings.Contains(text, want) {
					t.Errorf("%q is missing in %s", want, text)
				}
			}
			if strings.Contains(text, c.lacks) {
				t.Errorf("%q is shown in %s", c.lacks, text)
			}
			got := eval[[]float64](p,
				`[...document.querySelectorAll("#probe progress")].flatMap((e) => e.position < 0 ? [0, 0] : [e.value, e.max])`)
			if c.value < 0 && len(got) > 0 || c.value >= 0 && (len(got) != 2 || got[0] != c.value || got[1] != c.max) {
				t.Errorf("progress %v, want %v of %v", got, c.value, c.max)
			}
			if n := eval[int](p, `document.querySelectorAll("#probe img, #probe b").length`); n != 0 {
				t.Errorf("%d elements came out of text", n)
			}
		})
	}
	p.quiet()
}
