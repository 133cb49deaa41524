package timeline

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// decoded is an answer of Slices.
type decoded struct {
	missing uint32
	from    float64
	rows    []decodedRow
}

type decodedRow struct {
	track, row, lane, depth uint32
	boxes                   []decodedBox
}

type decodedBox struct {
	start, end   float64
	slice, count uint32
	name         string
	busy, class  uint8
}

// decode reads an answer as its documentation says.
func decode(t *testing.T, b []byte) decoded {
	t.Helper()
	if string(b[:8]) != Magic {
		t.Fatalf("magic %q", b[:8])
	}
	at := 8
	u32 := func() uint32 { at += 4; return binary.LittleEndian.Uint32(b[at-4:]) }
	rows, n, names := u32(), int(u32()), int(u32())
	d := decoded{missing: u32()}
	d.from = math.Float64frombits(binary.LittleEndian.Uint64(b[at:]))
	at += 16
	type span struct{ first, n uint32 }
	var spans []span
	for range rows {
		d.rows = append(d.rows, decodedRow{track: u32(), row: u32(), lane: u32(), depth: u32()})
		spans = append(spans, span{u32(), u32()})
	}
	boxes := make([]decodedBox, n)
	for i := range boxes {
		boxes[i].start = float64(math.Float32frombits(u32()))
	}
	for i := range boxes {
		boxes[i].end = float64(math.Float32frombits(u32()))
	}
	for i := range boxes {
		boxes[i].slice = u32()
	}
	for i := range boxes {
		boxes[i].count = u32()
	}
	name := make([]uint32, n)
	for i := range boxes {
		name[i] = u32()
	}
	for i := range boxes {
		boxes[i].busy, boxes[i].class = b[at+i], b[at+n+i]
	}
	at = (at + 2*n + 3) &^ 3
	ends := make([]int, names)
	for i := range ends {
		ends[i] = int(u32())
	}
	text := b[at:]
	if names > 0 && ends[names-1] != len(text) {
		t.Fatalf("names end at %d, there are %d bytes", ends[names-1], len(text))
	}
	for i := range boxes {
		from := 0
		if name[i] > 0 {
			from = ends[name[i]-1]
		}
		boxes[i].name = string(text[from:ends[name[i]]])
	}
	for i, s := range spans {
		d.rows[i].boxes = boxes[s.first : s.first+s.n]
	}
	return d
}

// device makes a trace of a host thread that launches kernels on streams, some of which
// overlap in part, with collectives and copies among them.
func device(seed uint64, n, streams int) *trace.Trace {
	rnd := rand.New(rand.NewPCG(seed, 3))
	t := trace.New()
	t.Meta.WallClock, t.Meta.Rank, t.Meta.StageID = true, int(seed), -1
	host := t.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 1, TID: 1, Device: -1, Stream: -1})
	var lanes []trace.TrackID
	for s := range streams {
		lanes = append(lanes, t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: int64(s)}))
	}
	names := []string{"gemm", "ncclDevKernel_AllReduce_Sum_bf16_RING_LL", "softmax", "ncclDevKernel_AllGather_RING"}
	at := int64(1e18)
	for i := range n {
		d := 500 + rnd.Int64N(4000)
		t.AddSlice(trace.Slice{Start: at, Dur: d, Name: "aten::mm", Cat: trace.CatCPUOp, Track: host,
			Corr: trace.NoCorrelation, Args: []byte(fmt.Sprintf(`{"layer":%d}`, i%32))})
		t.AddSlice(trace.Slice{Start: at + 100, Dur: d - 200, Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime,
			Track: host, Corr: int64(i + 1)})
		t.AddSlice(trace.Slice{Start: at + 2000 + rnd.Int64N(3000), Dur: 300 + rnd.Int64N(9000),
			Name: names[rnd.IntN(len(names))], Cat: trace.CatKernel,
			Track: lanes[rnd.IntN(streams)], Corr: int64(i + 1)})
		at += d + rnd.Int64N(500)
	}
	return t
}

func ids(nodes []Node, kinds ...string) []string {
	var out []string
	for _, n := range nodes {
		if slices.Contains(kinds, n.Kind) {
			out = append(out, n.ID)
		}
	}
	return out
}

// shared returns the traces that lie beside the checkout, if any.
func shared(t *testing.T) map[string]*trace.Trace {
	out := map[string]*trace.Trace{}
	for _, dir := range []string{"traces", "engine-traces"} {
		files, _ := filepath.Glob(filepath.Join("../../shared", dir, "*.json.gz"))
		for _, f := range files {
			list, err := open.Files(context.Background(), []string{f}, open.Options{})
			if err != nil {
				continue // made to be unreadable
			}
			out[filepath.Base(f)] = list[0]
		}
	}
	return out
}

func inputs(t *testing.T) map[string]*Timeline {
	t.Helper()
	out := map[string]*Timeline{}
	add := func(name string, list ...*trace.Trace) {
		var src []Source
		for _, tr := range list {
			src = append(src, Source{Trace: tr, Label: name})
		}
		tl, err := New(src, Options{})
		if err != nil {
			t.Fatal(err)
		}
		out[name] = tl
	}
	add("one stream", device(0, 400, 1))
	add("graph replay", device(0, 2000, 40))
	add("two ranks", device(0, 500, 3), device(1, 500, 3))
	add("empty", trace.New())
	for name, tr := range shared(t) {
		if tr.Slices.Len() < 150_000 || !testing.Short() {
			add(name, tr)
		}
	}
	return out
}

// TestNoSliceIsHidden: in every packing every slice of every trace lies in one box of the
// picture of the whole, boxes do not overlap in their row, and no slice is counted hidden.
func TestNoSliceIsHidden(t *testing.T) {
	for name, tl := range inputs(t) {
		t.Run(name, func(t *testing.T) {
			for _, pack := range []Packing{PackAuto, PackAll, PackNone} {
				nodes := tl.Tree(pack)
				known := map[string]bool{"": true}
				listed := 0
				for _, n := range nodes {
					if !known[n.Parent] || known[n.ID] {
						t.Fatalf("%s: node %q of %q: parents come first, ids are unique", pack, n.ID, n.Parent)
					}
					known[n.ID] = true
					listed += n.Slices
					if n.Hidden != 0 {
						t.Errorf("%s: %d slices are hidden on %s", pack, n.Hidden, n.Name)
					}
				}
				if listed != tl.Count() {
					t.Errorf("%s: tracks list %d of %d slices", pack, listed, tl.Count())
				}
				drawn := 0
				for part := range slices.Chunk(ids(nodes, "thread", "stream", "lane"), MaxTracks) {
					b, err := tl.Slices(nil, Query{From: -math.MaxInt64 / 8, To: tl.EndNs + 1, Px: 1000, Tracks: part})
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range decode(t, b).rows {
						for _, x := range r.boxes {
							drawn += int(x.count)
						}
					}
				}
				if drawn != tl.Count() {
					t.Errorf("%s: boxes hold %d of %d slices", pack, drawn, tl.Count())
				}
			}
		})
	}
}

// TestZoomedInEqualsTheSlices: with columns of a nanosecond every slice in the window is a
// box with its own time, name and class.
func TestZoomedInEqualsTheSlices(t *testing.T) {
	tl, err := New([]Source{{Trace: device(0, 300, 2)}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := tl.parts[0]
	for _, id := range ids(tl.Tree(PackNone), "thread", "stream") {
		_, c, _ := tl.track(id)
		for from := int64(0); from < tl.EndNs; from += 4000 {
			b, err := tl.Slices(nil, Query{From: from, To: from + 4000, Px: 4000, Tracks: []string{id}})
			if err != nil {
				t.Fatal(err)
			}
			got := map[uint32]bool{}
			for _, r := range decode(t, b).rows {
				for _, x := range r.boxes {
					if x.count != 1 || x.name != p.t.String(p.t.Slices.Name[x.slice]) ||
						Class(x.class) != p.classOf(x.slice) {
						t.Fatalf("%s: box %+v", id, x)
					}
					if math.Abs(x.start-float64(p.start(x.slice)-from)) > 1 ||
						math.Abs(x.end-float64(p.end(x.slice)-from)) > 1 {
						t.Fatalf("%s: box %+v of slice at %d…%d", id, x, p.start(x.slice)-from, p.end(x.slice)-from)
					}
					got[x.slice] = true
				}
			}
			for r := range c.rows.Len() {
				for _, s := range c.rows.Slices(r) {
					if in := p.start(s) < from+4000 && p.end(s) > from; in != got[s] {
						t.Fatalf("%s at %d: slice %d is in the window: %v, in the answer: %v", id, from, s, in, got[s])
					}
				}
			}
		}
	}
}

func TestPackedByItselfOnlyWithManyStreams(t *testing.T) {
	few, _ := New([]Source{{Trace: device(0, 400, 3)}}, Options{})
	many, _ := New([]Source{{Trace: device(0, 4000, 40)}}, Options{})
	if got := ids(few.Tree(PackAuto), "lane"); len(got) != 0 {
		t.Errorf("3 streams are packed: %v", got)
	}
	var names []string
	for _, n := range many.Tree(PackAuto) {
		if n.Kind == "lane" {
			names = append(names, n.Name)
		}
	}
	if got, want := strings.Join(names, ", "), "compute, all-gather, all-reduce"; got != want {
		t.Errorf("lanes %s, want %s", got, want)
	}
}

func TestDetailLinksLaunchAndWork(t *testing.T) {
	tr := device(0, 50, 2)
	tl, _ := New([]Source{{Trace: tr}}, Options{})
	for s := range uint32(tr.Slices.Len()) {
		d, err := tl.Detail(sliceID(0, s))
		if err != nil {
			t.Fatal(err)
		}
		switch d.Class {
		case ClassRuntime:
			if len(d.Links) != 1 || d.Links[0].Role != "work" || len(d.Parents) != 1 ||
				d.Parents[0].Name != "aten::mm" {
				t.Fatalf("call %+v", d)
			}
		case ClassOp:
			if d.Same.Count != 50 || len(d.Args) == 0 || !json.Valid(d.Args) {
				t.Fatalf("operator %+v", d)
			}
		default:
			if len(d.Links) != 1 || d.Links[0].Role != "launch" ||
				d.Links[0].DelayNs != d.StartNs-d.Links[0].StartNs-d.Links[0].DurNs {
				t.Fatalf("kernel %+v", d)
			}
			back, err := tl.Detail(d.Links[0].ID)
			if err != nil || back.Links[0].ID != d.ID {
				t.Fatalf("the launch of %s links to %+v", d.ID, back.Links)
			}
		}
		bins := 0
		for _, n := range d.Same.Bins {
			bins += n
		}
		if bins != d.Same.Count {
			t.Fatalf("%d of %d in the histogram", bins, d.Same.Count)
		}
	}
	for _, bad := range []string{"", "0", "0.", "0.999999", "1.0", "-1.0", "0.x", "0.-1"} {
		if _, err := tl.Detail(bad); err == nil {
			t.Errorf("slice %q is found", bad)
		}
	}
}

func TestSearchAndNext(t *testing.T) {
	tr := device(0, 100, 2)
	tl, _ := New([]Source{{Trace: tr}, {Trace: device(1, 100, 2)}}, Options{})
	for _, c := range []struct {
		s    Search
		want int
	}{
		{Search{Text: "aten::mm"}, 200},
		{Search{Text: "ATEN"}, 0},
		{Search{Text: "MM", Regex: true}, 0},
		{Search{Text: "^aten::m+$", Regex: true}, 200},
		{Search{Text: `"layer":7}`, Args: true}, 6},
		{Search{Text: `"layer":7}`}, 0},
		{Search{Text: "aten", Exact: true}, 0},
	} {
		f, err := tl.Search(context.Background(), c.s)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, k := range f.Tracks {
			sum += k.Count
		}
		if f.Count != c.want || sum != c.want || len(f.Hits) != c.want {
			t.Errorf("%+v: %d hits, %d by track, %d listed; want %d", c.s, f.Count, sum, len(f.Hits), c.want)
		}
		if !slices.IsSortedFunc(f.Hits, func(a, b Ref) int { return int(min(1, max(-1, a.StartNs-b.StartNs))) }) {
			t.Errorf("%+v: hits are not in order of time", c.s)
		}
	}
	if _, err := tl.Search(context.Background(), Search{Text: "(", Regex: true}); err == nil {
		t.Error("( is no regular expression")
	}
	n := 1
	for id := "0.0"; ; n++ {
		r, err := tl.Next(id, false)
		if err != nil {
			t.Fatal(err)
		}
		if r == nil {
			break
		}
		if back, _ := tl.Next(r.ID, true); back == nil || back.ID != id {
			t.Fatalf("before %s is %+v, want %s", r.ID, back, id)
		}
		id = r.ID
	}
	if n != 100 {
		t.Errorf("%d of 100 reached", n)
	}
}

// TestSelectionConservesTime: self times sum up to the time under the outermost slices,
// and the flame graph holds the same time.
func TestSelectionConservesTime(t *testing.T) {
	for name, tl := range inputs(t) {
		if tl.Count() == 0 {
			continue
		}
		tracks := ids(tl.Tree(PackNone), "thread", "stream")
		tracks = tracks[:min(len(tracks), MaxTracks)]
		for _, q := range []Query{{From: 0, To: tl.EndNs, Tracks: tracks},
			{From: tl.EndNs / 3, To: tl.EndNs / 2, Tracks: tracks}} {
			if q.To <= q.From {
				continue
			}
			s, err := tl.Select(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			self, count := int64(0), 0
			for _, c := range s.Classes {
				self += c.SelfNs
				count += c.Count
			}
			if count != s.Slices {
				t.Errorf("%s: classes hold %d of %d slices", name, count, s.Slices)
			}
			if d := math.Abs(float64(self - s.Flame.TotalNs)); d > 0.02*float64(s.Flame.TotalNs)+1000 {
				t.Errorf("%s: self times sum up to %d ns, the flame graph holds %d", name, self, s.Flame.TotalNs)
			}
		}
	}
}

// TestCutHoldsTheArea: what is exported is what was selected.
func TestCutHoldsTheArea(t *testing.T) {
	tl, _ := New([]Source{{Trace: device(0, 200, 2)}, {Trace: device(1, 200, 2)}}, Options{})
	q := Query{From: tl.EndNs / 4, To: tl.EndNs / 2, Tracks: ids(tl.Tree(PackNone), "thread", "stream")}
	s, err := tl.Select(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	cut, err := tl.Cut(q)
	if err != nil {
		t.Fatal(err)
	}
	if cut.Slices.Len() != s.Slices || cut.Validate() != nil {
		t.Errorf("%d slices cut, %d selected: %v", cut.Slices.Len(), s.Slices, cut.Validate())
	}
}

func TestPlacement(t *testing.T) {
	a, b := device(0, 100, 1), device(1, 100, 1)
	late := device(2, 100, 1)
	for i := range late.Slices.Start {
		late.Slices.Start[i] += 3_600e9
	}
	for _, c := range []struct {
		name string
		list []Source
		want Placement
	}{
		{"one occasion", []Source{{Trace: a}, {Trace: b, Clock: align.Clock{OffsetNs: 1000, ErrorNs: 50}}}, ByClock},
		{"an hour apart", []Source{{Trace: a}, {Trace: late}}, ByStart},
	} {
		tl, err := New(c.list, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if tl.Placement != c.want {
			t.Errorf("%s: %s, want %s", c.name, tl.Placement, c.want)
		}
		if c.want == ByStart && tl.EndNs > 1e9 {
			t.Errorf("%s: %d ns long", c.name, tl.EndNs)
		}
	}
}

// TestPipelineLanes: requests of our own pipelines have a lane with a span a stage, and
// findings point at slices that exist.
func TestPipelineLanes(t *testing.T) {
	var src []Source
	for _, tr := range pipetest.Omni() {
		src = append(src, Source{Trace: tr})
	}
	tl, err := New(src, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !tl.Native() || tl.Report() == nil {
		t.Fatal("no pipeline")
	}
	req := tl.Requests()
	if len(req) == 0 || len(req[0].Spans) < 2 {
		t.Fatalf("requests %+v", req)
	}
	for _, r := range req {
		for _, s := range r.Spans {
			if s.Trace < 0 || s.StartNs < 0 || s.EndNs < s.StartNs || s.EndNs > tl.EndNs {
				t.Errorf("request %s: %+v of %d ns", r.ID, s, tl.EndNs)
			}
		}
	}
	arrows, err := tl.Arrows(Query{From: 0, To: tl.EndNs + 1, Px: 1})
	if err != nil || len(arrows) == 0 {
		t.Fatalf("arrows %v, %v", arrows, err)
	}
	for _, f := range tl.Findings() {
		if f.Slice != "" {
			if _, err := tl.Detail(f.Slice); err != nil {
				t.Errorf("finding %q: %v", f.Text, err)
			}
		}
	}
	steps, err := tl.Steps(Query{From: 0, To: tl.EndNs, Px: 500})
	if err != nil || len(steps) == 0 {
		t.Errorf("steps %v, %v", steps, err)
	}
}

// TestStagesOfProfilers: traces of a profiler are no pipeline because their places say stages; those of a
// run are one.
func TestStagesOfProfilers(t *testing.T) {
	native := func(from trace.From) bool {
		var src []Source
		for stage := range 2 {
			tr := trace.New()
			tr.Meta.Format, tr.Meta.StageID, tr.Meta.Rank = "kineto", stage, 0
			tr.Meta.Learnt = map[trace.Field]trace.From{trace.FieldStage: from}
			id := tr.AddTrack(trace.Track{Kind: trace.TrackCPU, Device: -1, Stream: -1})
			tr.AddSlice(trace.Slice{Start: 1000, Dur: 10, Name: "aten::mm", Cat: trace.CatCPUOp, Track: id})
			tr.Window()
			src = append(src, Source{Trace: tr})
		}
		tl, err := New(src, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return tl.Native()
	}
	if native(trace.FromDir) || !native(trace.FromRun) {
		t.Errorf("by directory %v, by a run %v", native(trace.FromDir), native(trace.FromRun))
	}
}
