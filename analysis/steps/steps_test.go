package steps

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

// TestHostBound: each kernel of 2 µs needs a launch of 10 µs.
func TestHostBound(t *testing.T) {
	g := newGPU()
	g.label("step[EXTEND bs=1 toks=100]", func() { g.layers(4, 10, 40, "attn"); g.sync() })
	for range 5 {
		g.label("step[DECODE bs=2 toks=2]", func() { g.layers(4, 10, 2, "attn"); g.sync() })
	}
	r := Find(g.t, Options{})
	if r.Method != BySGLang || len(r.Steps) != 6 || r.Steps[0].Kind != Prefill || r.Steps[1].Kind != Decode {
		t.Fatalf("%s: %+v", r.Method, r.Steps)
	}
	// 29 kernels a step. A decode step begins on an idle device: 10 µs until the call
	// returned and 2 of latency, 2 of work; then 8 µs of waiting and 2 of work each.
	st := r.Steps[2]
	if st.Slices != 29 || st.Launches != 29 || st.SpanNs != (10+2+2+28*10)*us || st.BusyNs != 58*us ||
		st.HostIdleNs != (10+28*6)*us {
		t.Errorf("a decode step: %+v", st)
	}
	if st.Bound != BoundHost || r.Steps[0].Bound != BoundDevice {
		t.Errorf("decode is bound by %s, prefill by %s", st.Bound, r.Steps[0].Bound)
	}
	if r.Verdict.LaunchDelayNs != 2*us {
		t.Errorf("verdict %+v", r.Verdict)
	}
	k := r.Kinds[0]
	if k.Kind != Decode && k.Kind != Prefill || len(r.Kinds) != 2 {
		t.Errorf("kinds %+v", r.Kinds)
	}
}

func TestDeviceBound(t *testing.T) {
	g := newGPU()
	for i := range 6 {
		g.label(fmt.Sprintf("execute_context_0(0)_generation_%d(0)", i+1), func() { g.layers(4, 3, 20, "attn") })
	}
	r := Find(g.t, Options{})
	if r.Verdict.Bound != BoundDevice || r.Method != ByVLLM {
		t.Errorf("%s: %+v", r.Method, r.Verdict)
	}
	// The host runs ahead, but each step keeps the kernels that it launched.
	for i, st := range r.Steps {
		if st.Slices != 29 {
			t.Errorf("step %d has %d device slices", i, st.Slices)
		}
	}
	if st := r.Steps[5]; st.SpanNs != 29*20*us || st.BusyNs != st.SpanNs || st.Batch != 6 {
		t.Errorf("last step %+v", st)
	}
}

func TestGraphs(t *testing.T) {
	g := newGPU()
	kernels := strings.Split("embedding gemm rope attn gemm gemm argmax", " ")
	var first int
	for i := range 4 {
		g.label("step[DECODE bs=1 toks=1]", func() {
			g.launch("cudaMemcpyAsync", 4, 1, "Memcpy HtoD")
			l := g.launch("cudaGraphLaunch", 5, 10, kernels...)
			if i == 0 {
				first = l
			}
			g.sync()
		})
	}
	g.label("step[EXTEND bs=1 toks=9]", func() { g.launch("cudaGraphLaunch", 5, 10, kernels[:3]...) })
	r := Find(g.t, Options{})
	if len(r.Graphs) != 2 {
		t.Fatalf("graphs %+v", r.Graphs)
	}
	want := Graph{Name: "graph of 7 kernels (cudaGraphLaunch)", Call: "cudaGraphLaunch", Slices: 7, Replays: 4,
		DeviceNs: 280 * us,
		MeanNs:   70 * us, LaunchNs: 5 * us, Kind: Decode, Top: "gemm", Slice: first}
	if d := cmp.Diff(want, r.Graphs[0]); d != "" {
		t.Errorf("graph (-want +got):\n%s", d)
	}
	if st := r.Steps[1]; st.GraphLaunches != 1 || st.GraphSlices != 7 || st.Launches != 2 || st.Slices != 8 {
		t.Errorf("step %+v", st)
	}
	if want := 31.0 / 35; r.GraphShare != want {
		t.Errorf("share of graphs %g, want %g", r.GraphShare, want)
	}
}

// TestRepetition: the steps of an unlabelled trace, not its layers nor pairs of steps.
func TestRepetition(t *testing.T) {
	for _, c := range []struct{ layers, steps int }{{2, 3}, {4, 10}, {32, 12}, {80, 4}} {
		g := newGPU()
		var want []int64
		for range c.steps {
			g.now += 30 // the host samples
			want = append(want, g.now*us)
			g.layers(c.layers, 5, 3, "flash_fwd_splitkv_kernel")
			g.sync()
		}
		r := Find(g.t, Options{})
		var got []int64
		for _, st := range r.Steps {
			got = append(got, st.StartNs)
			if st.Slices != 6*c.layers+5 || st.Kind != Decode {
				t.Errorf("%d layers: a step of %d kernels, %s", c.layers, st.Slices, st.Kind)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%d layers, %d steps, %s: begins (-want +got):\n%s", c.layers, c.steps, r.How, d)
		}
		if r.Method != ByKernels || r.Typed != "kernel names" {
			t.Errorf("%s, typed by %q", r.Method, r.Typed)
		}
	}
}

func TestRepetitionWithPrefillsAndGraphs(t *testing.T) {
	g := newGPU()
	body := make([]string, 200)
	for i := range body {
		body[i] = fmt.Sprintf("k%d", i%9)
	}
	decodes := 0
	for i := range 30 {
		g.now += 20
		g.launch("cudaMemcpyAsync", 3, 1, "Memcpy HtoD")
		if i == 0 || i == 17 {
			g.layers(6, 4, 9, "BatchPrefillWithPagedKVCacheKernel")
		} else {
			decodes++
			g.launch("cudaGraphLaunch", 6, 2, body...)
		}
		g.kernel("sample", 3, 2)
		g.sync()
	}
	r := Find(g.t, Options{})
	var replays, prefills int
	for _, st := range r.Steps {
		if st.GraphLaunches == 1 && st.Slices == 202 {
			replays++
		}
		if st.Kind == Prefill {
			prefills++
		}
	}
	if replays != decodes || prefills != 2 || len(r.Steps) != 30 {
		t.Errorf("%s: %d steps, %d with the graph, %d prefills", r.How, len(r.Steps), replays, prefills)
	}
}

func TestNoRepetition(t *testing.T) {
	g := newGPU()
	for i := range 40 {
		g.kernel(fmt.Sprintf("k%d", i*i%37), 5, 5)
	}
	r := Find(g.t, Options{})
	if len(r.Steps) != 0 || r.Method != ByNothing || len(r.Findings) != 1 {
		t.Errorf("%s: %d steps", r.How, len(r.Steps))
	}
	if r := Find(trace.New(), Options{}); len(r.Steps) != 0 || r.Steps == nil {
		t.Errorf("empty trace: %+v", r)
	}
}

func TestDiffusers(t *testing.T) {
	g := newGPU()
	frame := func(name string, f func()) { g.annotate(name, trace.CatPythonFunction, f) }
	frame("nn.Module: CLIPTextModel_0", func() { g.kernel("gemm", 5, 9) })
	for i := range 12 {
		for range 2 { // classifier-free guidance
			frame("nn.Module: UNet2DConditionModel_0", func() { g.layers(2, 4, int64(10+i), "attn") })
		}
		frame("diffusers/schedulers/scheduling_ddim.py(342): step", func() { g.kernel("axpy", 4, 2) })
		g.sync()
	}
	frame("nn.Module: AutoencoderKL_0", func() { g.kernel("conv", 5, 50) })
	r := Find(g.t, Options{})
	var kinds []string
	for _, st := range r.Steps {
		kinds = append(kinds, st.Kind.String())
		if st.Kind == Denoise && st.Slices != 2*17+1 {
			t.Errorf("a denoise step of %d kernels", st.Slices)
		}
	}
	want := append(append([]string{"text_encode"}, strings.Split(strings.Repeat("denoise ", 12), " ")[:12]...),
		"vae_decode")
	if d := cmp.Diff(want, kinds); d != "" || r.Method != ByDiffusers {
		t.Fatalf("%s (-want +got):\n%s", r.Method, d)
	}
	if len(r.Drifts) != 1 || r.Drifts[0].Steps != 12 || r.Drifts[0].Change < 0.4 || r.Drifts[0].SlopeNs < 30*us {
		t.Errorf("drifts %+v", r.Drifts)
	}
}

func TestOmniPrefersSteps(t *testing.T) {
	g := newGPU()
	g.label("diffusion_forward", func() {
		for range 9 {
			g.label("diffusion_step", func() { g.kernel("k", 5, 9) })
		}
	})
	if r := Find(g.t, Options{}); r.Method != ByOmni || len(r.Steps) != 9 {
		t.Errorf("%s: %d steps", r.Method, len(r.Steps))
	}
}

// TestOmniForward: a label round a whole generation; its denoise steps are found inside.
func TestOmniForward(t *testing.T) {
	g := newGPU()
	for range 2 {
		g.label("diffusion_forward", func() {
			g.kernel("text", 4, 5)
			for range 10 {
				g.now += 5
				g.layers(3, 4, 9, "attn")
				g.sync()
			}
			g.kernel("conv", 4, 5)
		})
		g.now += 1000
	}
	r := Find(g.t, Options{})
	if r.Method != ByKernels || len(r.Steps) != 20 || len(r.Kinds) != 1 || r.Kinds[0].Kind != Denoise ||
		r.Kinds[0].Count != 20 {
		t.Errorf("%s, %s: %d steps, %+v", r.Method, r.How, len(r.Steps), r.Kinds)
	}
	r = Find(g.t, Options{NoPeriod: true})
	if r.Method != ByOmniForward || len(r.Steps) != 2 || r.Steps[0].Kind != Generation || r.Steps[0].Slices != 232 {
		t.Errorf("%s: %+v", r.Method, r.Steps)
	}
}

func TestRequests(t *testing.T) {
	tr := trace.New()
	tr.Meta.Rank = 3
	k := tr.AddTrack(trace.Track{Kind: trace.TrackCPU, Device: -1, Stream: -1})
	step := func(name string, at, dur int64, reqs string, batch int) {
		tr.AddSlice(trace.Slice{Start: at, Dur: dur, Name: name, Cat: trace.CatUserAnnotation, Track: k,
			Args: fmt.Appendf(nil, `{"requests":%q,"batch":%d}`, reqs, batch)})
	}
	step("prefill", 100, 50, "a", 1)
	step("prefill", 150, 70, "b", 1)
	step("decode_step", 220, 20, "a,b", 2)
	step("decode_step", 250, 30, "a", 1)
	r := Find(tr, Options{})
	want := []Request{
		{ID: "a", FirstNs: 100, LastNs: 280, GapNs: 80, FirstStepNs: 50,
			Kinds: []KindShare{{Prefill, 1, 50, 50}, {Decode, 2, 50, 40}}},
		{ID: "b", FirstNs: 150, LastNs: 240, GapNs: 0, FirstStepNs: 70,
			Kinds: []KindShare{{Prefill, 1, 70, 70}, {Decode, 1, 20, 10}}},
	}
	if d := cmp.Diff(want, r.Requests); d != "" {
		t.Errorf("requests (-want +got):\n%s", d)
	}
	if r.Rank != 3 || r.Verdict.Bound != BoundNone || r.Steps[0].Ns() != 50 {
		t.Errorf("rank %d, %+v", r.Rank, r.Verdict)
	}
}

func TestPropertySteps(t *testing.T) {
	names := []string{"step[DECODE bs=1 toks=1]", "prefill", "decode_step", "ProfilerStep#1", "x", "nn.Module: UNet_0",
		"schedulers/scheduling_x.py(1): step"}
	cats := []trace.Category{trace.CatUserAnnotation, trace.CatPythonFunction, trace.CatCPUOp,
		trace.CatGPUUserAnnotation}
	rapid.Check(t, func(t *rapid.T) {
		g := newGPU()
		other := g.t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 1, Stream: 0})
		for range rapid.IntRange(0, 60).Draw(t, "rows") {
			start, dur := int64(rapid.IntRange(0, 200).Draw(t, "start")), int64(rapid.IntRange(0, 40).Draw(t, "dur"))
			s := trace.Slice{Start: start, Dur: dur, Corr: int64(rapid.IntRange(0, 9).Draw(t, "corr")), Track: g.host}
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				s.Name, s.Cat, s.Corr = rapid.SampledFrom(names).Draw(t, "name"), rapid.SampledFrom(cats).Draw(t,
					"cat"), 0
			case 1:
				s.Name, s.Cat = rapid.SampledFrom([]string{"cudaLaunchKernel", "cudaGraphLaunch"}).Draw(t, "call"),
					trace.CatCUDARuntime
			default:
				s.Name, s.Cat = rapid.SampledFrom([]string{"k1", "k2", "k3"}).Draw(t, "kernel"), trace.CatKernel
				s.Track = rapid.SampledFrom([]trace.TrackID{g.stream, other}).Draw(t, "stream")
			}
			g.t.AddSlice(s)
		}
		r := Find(g.t, Options{})
		at := int64(-1 << 62)
		for i, st := range r.Steps {
			if st.StartNs < at || st.EndNs < st.StartNs {
				t.Fatalf("step %d: [%d, %d) after %d", i, st.StartNs, st.EndNs, at)
			}
			at = st.StartNs
			if st.BusyNs < 0 || st.HostIdleNs < 0 || st.BusyNs+st.HostIdleNs > st.SpanNs ||
				st.GraphSlices > st.Slices || st.GraphLaunches > st.Launches {
				t.Fatalf("step %d: %+v", i, st)
			}
		}
		count := 0
		for _, k := range r.Kinds {
			count += k.Count
		}
		if count != len(r.Steps) || r.GraphShare < 0 || r.GraphShare > 1 {
			t.Fatalf("%d steps, %d in kinds, share of graphs %g", len(r.Steps), count, r.GraphShare)
		}
		if d := cmp.Diff(r, Find(g.t, Options{}), cmp.AllowUnexported(Step{})); d != "" {
			t.Fatalf("two reports of one trace differ:\n%s", d)
		}
	})
}

// TestSharedTraces reads every sample: nothing panics, and training traces give the
// steps that their labels say.
func TestSharedTraces(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", "traces", "*.json.gz"))
	if len(files) == 0 {
		t.Skip("no sample traces")
	}
	for _, f := range files {
		if _, err := os.Stat(f); err != nil {
			t.Fatal(err)
		}
		tr, err := kineto.ReadFile(context.Background(), f, kineto.Options{})
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		labels := 0
		for i, n := range tr.Slices.Name {
			if c := tr.Slices.Cat[i]; (c == trace.CatUserAnnotation || c == trace.CatCPUOp) &&
				strings.HasPrefix(tr.String(n), "ProfilerStep#") {
				labels++
			}
		}
		r := Find(tr, Options{})
		if labels > 0 && (r.Method != ByProfilerStep || len(r.Steps) != labels) {
			t.Errorf("%s: %d steps by %s, %d labels", f, len(r.Steps), r.Method, labels)
		}
		if labels >= minRepeats {
			sameSteps(t, filepath.Base(f), r, Find(tr, Options{NoLabels: true}))
		}
		t.Logf("%-32s %-13s %3d steps  %.200s; graphs %d (%.0f%%); %s", filepath.Base(f), r.Method, len(r.Steps), r.How,
			len(r.Graphs), 100*r.GraphShare, r.Verdict.Text)
	}
}

// sameSteps compares the steps that repetition finds with those that labels name:
// as many, but for one cut off at an end, and each with as much device work.
func sameSteps(t *testing.T, file string, labels, period *Report) {
	t.Helper()
	if n, m := len(labels.Steps), len(period.Steps); m > n || m < n-1 {
		t.Errorf("%s: repetition finds %d steps, labels say %d", file, m, n)
		return
	}
	like := 0
	for _, p := range period.Steps {
		for _, l := range labels.Steps {
			ns, want := float64(p.EndNs-p.StartNs), float64(l.EndNs-l.StartNs)
			if p.Slices == l.Slices && ns > 0.9*want && ns < 1.1*want {
				like++
				break
			}
		}
	}
	if like < len(period.Steps)-2 {
		t.Errorf("%s: of %d steps only %d have the kernels and the length of a labelled one", file, len(period.Steps),
			like)
	}
}

func TestEveryValueHasAName(t *testing.T) {
	if numBounds.String() != "bound(4)" || (numBounds-1).String() != "other" {
		t.Errorf("%v, %v", numBounds, numBounds-1)
	}
}
