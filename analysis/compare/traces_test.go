package compare

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/trace"
)

// stepped is a trace of n ProfilerSteps of a fixed time on the host, each of which launches one
// kernel of dur(step) ns.
func stepped(n int, card string, dur func(i int) int64) *trace.Trace {
	t := trace.New()
	t.Meta.Devices = []trace.Device{{Name: card}}
	host := t.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 1, TID: 1, Device: -1, Stream: -1})
	stream := t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: 7})
	const step = 1_000_000
	for i := range n {
		at, corr := int64(i)*step, int64(i+1)
		t.AddSlice(trace.Slice{Start: at, Dur: step, Name: fmt.Sprintf("ProfilerStep#%d", i),
			Cat: trace.CatUserAnnotation, Track: host})
		t.AddSlice(trace.Slice{Start: at + 1000, Dur: 5000, Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime,
			Track: host, Corr: corr})
		t.AddSlice(trace.Slice{Start: at + 10_000, Dur: dur(i), Name: "void gemm<float>(float*)", Cat: trace.CatKernel,
			Track: stream, Corr: corr})
	}
	return t
}

func TestTraces(t *testing.T) {
	flat := func(ns int64) func(int) int64 { return func(i int) int64 { return ns + int64(i)*1000 } }
	var few [2]*trace.Trace
	for k := range few {
		few[k] = stepped(1, "X", flat(int64(1+k)*100_000))
	}
	for name, c := range map[string]struct {
		a, b    *trace.Trace
		o       TraceOptions
		by      string
		verdict string
		differs string
		fails   error
	}{
		"slower": {a: stepped(20, "X", flat(100_000)), b: stepped(20, "Y", flat(300_000)), by: ByProfilerSteps,
			verdict: "gemm changed most (+200 µs in a mean step).", differs: "cards: X in A, Y in B"},
		"the same": {a: stepped(20, "X", flat(100_000)), b: stepped(20, "X", flat(100_000)), by: ByProfilerSteps,
			verdict: "No difference in"},
		"too few": {a: stepped(3, "X", flat(100_000)), b: stepped(3, "X", flat(400_000)), by: ByProfilerSteps,
			verdict: "Too few"},
		"once": {a: few[0], b: few[1], by: ByWholeTrace,
			verdict: "Device work takes 100% longer in B (100 µs → 200 µs in all, measured once); gemm changed most (+100 µs)."},
		"whole on demand": {a: stepped(20, "X", flat(100_000)), b: stepped(20, "X", flat(50_000)),
			o: TraceOptions{Steps: StepsAll}, by: ByWholeTrace, verdict: "Device work takes 46% less in B"},
		"only one has work": {a: stepped(1, "", func(int) int64 { return 0 }), b: few[0], by: ByWholeTrace,
			verdict: "Device work takes time in B alone (0 → 100 µs", differs: "cards: unknown in A, X in B"},
		"no steps to compare by": {a: few[0], b: few[1], o: TraceOptions{Steps: StepsProfiler}, by: ByProfilerSteps},
		"nothing":                {a: trace.New(), b: few[0], fails: ErrNoSlices},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Traces(analysis.NewSubject(c.a), analysis.NewSubject(c.b), c.o)
			if !errors.Is(err, c.fails) || c.fails != nil {
				if !errors.Is(err, c.fails) {
					t.Errorf("%v, want %v", err, c.fails)
				}
				return
			}
			if r.ComparedBy != c.by || !strings.Contains(r.Verdict, c.verdict) {
				t.Errorf("by %s: %s, want %s", r.ComparedBy, r.Verdict, c.verdict)
			}
			if got := strings.Join(r.Differs, "|"); got != c.differs {
				t.Errorf("differs %q, want %q", got, c.differs)
			}
			if steps := len(r.WindowsA) > 0; steps != (c.by != ByWholeTrace) {
				t.Errorf("%d windows compared by %s", len(r.WindowsA), r.ComparedBy)
			}
		})
	}
}

// TestTracesAreTheDiff: what a report has of names is what analysis.Diff finds over the same steps.
func TestTracesAreTheDiff(t *testing.T) {
	a, b := stepped(12, "X", func(int) int64 { return 1000 }), stepped(9, "X",
		func(i int) int64 { return int64(900 + i) })
	r, err := Traces(analysis.NewSubject(a), analysis.NewSubject(b), TraceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := analysis.Diff(a, b, analysis.Options{}, analysis.DiffOptions{})
	if len(r.Diff.Rows) != len(want.Rows) || r.Diff.StepsA != 12 || r.Diff.StepsB != 9 {
		t.Errorf("%d rows over %d and %d steps", len(r.Diff.Rows), r.Diff.StepsA, r.Diff.StepsB)
	}
	for i := range want.Rows {
		if g, w := r.Diff.Rows[i], want.Rows[i]; g.Name != w.Name || g.DeltaNs != w.DeltaNs || g.Q != w.Q {
			t.Errorf("row %d is %+v, want %+v", i, g, w)
		}
	}
}
