package analysis

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

// tick is the grid of drawn times in ns: slices reach over each other by more than
// rounding explains.
const tick = 10_000

// drawTrace draws a trace of up to 60 slices on two threads and three streams, with
// overlaps, empty slices, orphans and correlations that many share.
func drawTrace(rt *rapid.T) *trace.Trace {
	m := newMaker()
	names := []string{"gemm", "ncclDevKernel_AllReduce", "Memcpy HtoD (Pageable -> Device)", "aten::mm",
		"cudaLaunchKernel", "ProfilerStep#1"}
	tracks := []trace.TrackID{m.host, m.aux, m.s7, m.s20, m.other}
	hostCats := []trace.Category{trace.CatCPUOp, trace.CatCUDARuntime, trace.CatUserAnnotation, trace.CatPythonFunction}
	devCats := []trace.Category{trace.CatKernel, trace.CatGPUMemcpy, trace.CatCUDASync, trace.CatGPUUserAnnotation,
		trace.CatMTIACCP}
	for range rapid.IntRange(0, 60).Draw(rt, "slices") {
		track := rapid.SampledFrom(tracks).Draw(rt, "track")
		cats := hostCats
		if m.tr.Tracks[track].Kind == trace.TrackGPU {
			cats = devCats
		}
		m.tr.AddSlice(trace.Slice{
			Start: tick * int64(rapid.IntRange(0, 100).Draw(rt, "start")),
			Dur:   tick * int64(rapid.IntRange(0, 30).Draw(rt, "dur")),
			Name:  rapid.SampledFrom(names).Draw(rt, "name"),
			Cat:   rapid.SampledFrom(cats).Draw(rt, "cat"),
			Track: track,
			Corr:  int64(rapid.IntRange(0, 12).Draw(rt, "corr")),
			Args: rapid.SampledFrom([][]byte{nil, []byte(`{"stream": 7, "device": 0}`), []byte(`{"stream": "0x0"}`),
				[]byte(`{"Input Dims": [[2, 2], [2, 2]]}`), []byte(`{"Input Dims": "no list", "bytes": 7}`),
				[]byte(`{"memory bandwidth (GB/s)": "inf", "flops": "nan"}`),
				[]byte(`{"Collective name": "allreduce", "In msg nelems": 3, "dtype": "Float"}`)}).Draw(rt, "args"),
		})
	}
	return m.tr
}

// TestBitmap compares the sweep with one bit a tick.
func TestBitmap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := drawTrace(rt)
		var bits [400]uint8
		s := &tr.Slices
		first, last := 400, 0
		f := newFrame(tr, Options{}) // without what cannot be true
		for _, i := range f.dev {
			k := kindOf(s.Cat[i], tr.String(s.Name[i]))
			first, last = min(first, int(f.start[i]/tick)), max(last, int(f.end(i)/tick))
			for at := f.start[i] / tick; at < f.end(i)/tick; at++ {
				bits[at] |= 1 << k
			}
		}
		var w Temporal
		for at := first; at < last; at++ {
			switch b := bits[at]; {
			case b == 0:
				w.IdleNs += tick
			case b&(1<<KindCompute) != 0:
				w.ComputeNs += tick
			case b&(1<<KindCommunication) != 0:
				w.ExposedCommunicationNs += tick
			case b&(1<<KindMemory) != 0:
				w.ExposedMemoryNs += tick
			default:
				w.OtherNs += tick
			}
			if b := bits[at]; b&(1<<KindCommunication) != 0 {
				w.CommunicationNs += tick
			}
		}
		got := TemporalBreakdown(tr, Options{})
		sum := got.ComputeNs + got.ExposedCommunicationNs + got.ExposedMemoryNs + got.OtherNs + got.IdleNs
		if sum != got.SpanNs {
			rt.Fatalf("parts add up to %d of %d", sum, got.SpanNs)
		}
		have := Temporal{ComputeNs: got.ComputeNs, ExposedCommunicationNs: got.ExposedCommunicationNs,
			ExposedMemoryNs: got.ExposedMemoryNs,
			OtherNs:         got.OtherNs, IdleNs: got.IdleNs, CommunicationNs: got.CommunicationNs}
		if diff := cmp.Diff(w, have); diff != "" {
			rt.Fatalf("bitmap (-) and sweep (+):\n%s", diff)
		}
		var both int64
		for _, b := range bits {
			if b&(1<<KindCompute) != 0 && b&(1<<KindCommunication) != 0 {
				both += tick
			}
		}
		if o := CommComputeOverlap(tr, Options{}); o.OverlappedNs != both {
			rt.Fatalf("overlap %d, bitmap %d", o.OverlappedNs, both)
		}
		var types int64
		for _, ty := range Kernels(tr, Options{}).Types {
			types += ty.Ns
		}
		if types != got.BusyNs-got.OtherNs {
			rt.Fatalf("types add up to %d, busy %d", types, got.BusyNs)
		}
	})
}

// TestInvariants holds what must be true of any trace, and that nothing panics and that
// analyses change nothing and give the same twice.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := drawTrace(rt)
		for _, o := range []Options{{}, {HTA: true}, {HTA: true, HTAIncludeLastStep: true},
			{Window: &Window{10 * tick, 60 * tick}}} {
			a := All([]*trace.Trace{tr, tr}, o)
			ja, err := json.Marshal(a)
			if err != nil {
				rt.Fatal(err)
			}
			jb, _ := json.Marshal(All([]*trace.Trace{tr, tr}, o))
			if !bytes.Equal(ja, jb) {
				rt.Fatalf("two runs differ:\n%s\n%s", ja, jb)
			}
			checkInvariants(rt, tr, o, &a.Ranks[0])
		}
	})
}

func checkInvariants(rt rapid.TB, tr *trace.Trace, o Options, r *RankReport) {
	f := newFrame(tr, o)
	var device, rows int64
	for j, d := range f.dev {
		if !o.HTA || f.kinds[j] != KindOther {
			device += f.dur[d]
		}
	}
	for _, k := range r.Kernels.Kernels {
		rows += k.SumNs
	}
	if rows != device {
		rt.Fatalf("%+v: kernel rows add up to %d of %d", o, rows, device)
	}
	if o.HTA {
		return
	}
	if got := r.Ops.DeviceNs + r.Ops.UnattributedNs; got != device {
		rt.Fatalf("operators' device time %d, devices worked %d", got, device)
	}
	var self int64
	for _, row := range slices.Concat(r.Ops.Rows, r.Ops.Labels) {
		self += row.SelfCPUNs
		if row.SelfCPUNs < 0 || row.SelfCPUNs > row.CPUNs*row.Count || row.SelfDeviceNs > row.DeviceNs {
			rt.Fatalf("row %+v", row)
		}
	}
	if self != r.Ops.CPUNs {
		rt.Fatalf("self times add up to %d of %d", self, r.Ops.CPUNs)
	}
	if r.Launches.Count+r.Launches.Unlinked != len(f.dev) {
		rt.Fatalf("%d launches and %d orphans of %d", r.Launches.Count, r.Launches.Unlinked, len(f.dev))
	}
	for _, q := range r.Queue.Streams {
		if n := len(q.Series); n > 0 && (q.Series[n-1].Value != 0 || q.Points.Min < 0) {
			rt.Fatalf("queue ends at %v, minimum %v", q.Series[n-1].Value, q.Points.Min)
		}
	}
	for _, s := range r.Idle.Streams {
		var parts int64
		for _, c := range s.Causes {
			parts += c.Ns
		}
		if parts != s.IdleNs || s.IdleNs < 0 {
			rt.Fatalf("idle %d in parts %d", s.IdleNs, parts)
		}
	}
}

// TestCriticalProperty: every edge begins where the one before it ends, and the edges
// and the bounds add up to the total.
func TestCriticalProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := drawTrace(rt)
		for _, o := range []Options{{}, {HTA: true}} {
			p, err := FindCriticalPath(tr, o,
				CriticalOptions{ZeroWeightLaunchEdges: rapid.Bool().Draw(rt, "launch edges")})
			if err != nil {
				continue
			}
			var sum int64
			for k, e := range p.Edges {
				sum += e.Ns
				if k > 0 && (p.Edges[k-1].To != e.From || p.Edges[k-1].ToEnd != e.FromEnd) {
					rt.Fatalf("edge %d does not follow: %+v %+v", k, p.Edges[k-1], e)
				}
			}
			if sum != p.TotalNs {
				rt.Fatalf("edges add up to %d of %d", sum, p.TotalNs)
			}
			var bounds int64
			for _, b := range p.Bounds {
				bounds += b.Ns
			}
			if bounds != p.TotalNs {
				rt.Fatalf("bounds add up to %d of %d", bounds, p.TotalNs)
			}
		}
	})
}

// TestNestProperty compares with the definition: the parent is the shortest slice of
// the track that encloses the child and comes before it.
func TestNestProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMaker()
		// Draw properly nested slices: whoever reaches over an edge is cut there.
		var stack []int64
		at := int64(0)
		var add func(depth int, end int64)
		add = func(depth int, end int64) {
			for at < end && m.tr.Slices.Len() < 40 {
				at += int64(rapid.IntRange(0, 5).Draw(rt, "gap"))
				if at >= end {
					return
				}
				dur := min(end-at, int64(rapid.IntRange(1, 40).Draw(rt, "dur")))
				m.tr.AddSlice(trace.Slice{Start: at, Dur: dur, Name: "x", Cat: trace.CatCPUOp, Track: m.host})
				stack = append(stack, at)
				if depth < 4 && rapid.Bool().Draw(rt, "nested") {
					add(depth+1, at+dur)
				}
				at = max(at, stack[len(stack)-1]+dur)
				stack = stack[:len(stack)-1]
			}
		}
		add(0, 200)
		f := newFrame(m.tr, Options{})
		tree := f.nest(f.hostWork)
		s := &m.tr.Slices
		for _, i := range tree.order {
			want := noSlice
			for j := range int32(s.Len()) {
				inside := s.Start[j] <= s.Start[i] && s.End(int(j)) >= s.End(int(i)) && s.End(int(j)) > s.Start[i]
				before := s.Dur[j] > s.Dur[i] || s.Dur[j] == s.Dur[i] && j < i
				if inside && before && (want < 0 || s.Dur[j] < s.Dur[want] || s.Dur[j] == s.Dur[want] && j > want) {
					want = j
				}
			}
			if tree.parent[i] != want {
				rt.Fatalf("parent of %d is %d, want %d", i, tree.parent[i], want)
			}
		}
	})
}

func TestSortProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOfN(rapid.Int64Range(-1<<40, 1<<40), 0, 300).Draw(rt, "keys")
		for range rapid.IntRange(0, 7).Draw(rt, "long runs") {
			at := rapid.Int64Range(-500, 500).Draw(rt, "first")
			step := rapid.Int64Range(0, 3).Draw(rt, "step")
			for i := range rapid.Int64Range(200, 900).Draw(rt, "length") {
				keys = append(keys, at+i*step/2)
			}
		}
		rows := make([]int32, len(keys))
		for i := range rows {
			rows[i] = int32(i)
		}
		want := slices.Clone(rows)
		sort.SliceStable(want, func(a, b int) bool { return keys[want[a]] < keys[want[b]] })
		sortByKey(rows, func(i int32) int64 { return keys[i] })
		if !slices.Equal(rows, want) {
			rt.Fatalf("got %v, want %v", rows, want)
		}
	})
}

func TestStatsProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := rapid.SliceOfN(rapid.Float64Range(0, 1e6), 1, 50).Draw(rt, "v")
		s := describe(slices.Clone(v))
		for _, x := range []float64{s.P25, s.P50, s.P75, s.P99, s.Mean} {
			if x < s.Min-1e-6 || x > s.Max+1e-6 {
				rt.Fatalf("%+v", s)
			}
		}
		if !(s.P25 <= s.P50 && s.P50 <= s.P75 && s.P75 <= s.P99) {
			rt.Fatalf("%+v", s)
		}
		if p := mannWhitney(v, v); p < 0.99 {
			rt.Fatalf("a sample differs from itself, P = %v", p)
		}
	})
}

// TestInvariantsOfSamples holds the invariants of every shared sample, alone and by
// step.
func TestInvariantsOfSamples(t *testing.T) {
	files, _ := filepath.Glob("../../shared/traces/*.json.gz")
	if len(files) == 0 {
		t.Skip("shared traces are not here")
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".json.gz")
		t.Run(name, func(t *testing.T) {
			tr := loadShared(t, name)
			opts := []Options{{}, {HTA: true}}
			for _, w := range profilerSteps(newFrame(tr, Options{})) {
				opts = append(opts, Options{Window: &w})
			}
			for _, o := range opts {
				r := All([]*trace.Trace{tr}, o).Ranks[0]
				checkInvariants(t, tr, o, &r)
				p := r.Temporal
				if sum := p.ComputeNs + p.ExposedCommunicationNs + p.ExposedMemoryNs + p.OtherNs + p.IdleNs; !o.HTA &&
					sum != p.SpanNs {
					t.Fatalf("%+v: parts add up to %d of %d", o, sum, p.SpanNs)
				}
			}
		})
	}
}
