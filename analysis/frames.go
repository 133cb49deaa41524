package analysis

import (
	"cmp"
	"maps"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/trace"
)

// FrameTable is where a rank's host spent its time, by the Python frames of the trace.
type FrameTable struct {
	Rank   int        `json:"rank"`
	SelfNs int64      `json:"self_ns"` // summed over rows and threads
	Count  int        `json:"count"`   // names there are; Rows has MaxFrames at most
	Rows   []FrameRow `json:"rows"`    // most self time first
}

// MaxFrames bounds FrameTable.Rows: programs have tens of thousands of functions, and who
// looks for time looks at the first.
const MaxFrames = 1000

// FrameRow is all calls of one function, or all spans of one name.
type FrameRow struct {
	Name    string  `json:"name"`
	Calls   int64   `json:"calls"`
	SelfNs  int64   `json:"self_ns"`  // without the frames inside
	TotalNs int64   `json:"total_ns"` // a call inside a call of the same name counts once
	P50Ns   float64 `json:"p50_ns"`   // of the calls' durations
	P99Ns   float64 `json:"p99_ns"`
	MaxNs   int64   `json:"max_ns"`
	Share   float64 `json:"share"` // SelfNs of the window times the threads that have frames
	Worst   int     `json:"worst"` // slice of the longest call
}

// Frames answers in which Python functions the host spent its time.
func Frames(tr *trace.Trace, opt Options) FrameTable { return newFrame(tr, opt).frames() }

func (f *frame) frames() FrameTable {
	cat := f.tr.Slices.Cat
	return f.frameTable(func(i int32) bool { return cat[i] == trace.CatPythonFunction })
}

// spans are the host's slices of a program that recorded itself, whatever they are.
func (f *frame) spans() FrameTable {
	cat := f.tr.Slices.Cat
	return f.frameTable(func(i int32) bool { return cat[i] != trace.CatTraceSpan && !cat[i].Device() })
}

// frameTable sums the slices that in accepts up by name.
func (f *frame) frameTable(in func(int32) bool) FrameTable {
	out := FrameTable{Rank: f.rank, Rows: []FrameRow{}}
	t := f.nest(in)
	if len(t.order) == 0 {
		return out
	}
	name := f.tr.Slices.Name
	rowOf := make([]int32, f.tr.Strings.Len()) // by name: row + 1
	var took [][]int64
	var open []int // by row: open calls
	row := func(i int32) int32 {
		r := &rowOf[name[i]]
		if *r == 0 {
			out.Rows = append(out.Rows, FrameRow{Name: f.name(i), Worst: int(i)})
			took, open = append(took, nil), append(open, 0)
			*r = int32(len(out.Rows))
		}
		return *r - 1
	}
	t.walk(func(i int32) {
		r := row(i)
		x := &out.Rows[r]
		x.Calls++
		x.SelfNs += f.dur[i]
		took[r] = append(took[r], f.dur[i])
		if open[r] == 0 {
			x.TotalNs += f.dur[i]
		}
		open[r]++
		if f.dur[i] > x.MaxNs {
			x.MaxNs, x.Worst = f.dur[i], int(i)
		}
		if p := t.parent[i]; p >= 0 {
			out.Rows[rowOf[name[p]]-1].SelfNs -= min(f.dur[i], max(0, f.end(p)-f.start[i]))
		}
	}, func(i int32) { open[rowOf[name[i]]-1]-- })
	threads := map[trace.TrackID]bool{}
	for _, i := range t.order {
		threads[f.tr.Slices.Track[i]] = true
	}
	window := f.windowNs() * int64(len(threads))
	for r := range out.Rows {
		x := &out.Rows[r]
		slices.Sort(took[r])
		x.SelfNs = max(0, x.SelfNs)
		x.P50Ns, x.P99Ns, x.Share = stat.Quantile(took[r], 0.5), stat.Quantile(took[r], 0.99), share(x.SelfNs, window)
		out.SelfNs += x.SelfNs
	}
	sortDesc(out.Rows, func(r *FrameRow) int64 { return r.SelfNs })
	out.Count = len(out.Rows)
	out.Rows = out.Rows[:min(len(out.Rows), MaxFrames)]
	return out
}

// TrackRow is one thread or goroutine.
type TrackRow struct {
	Process string  `json:"process"`
	Name    string  `json:"name"`
	Slices  int64   `json:"slices"`
	BusyNs  int64   `json:"busy_ns"` // covered by slices
	Share   float64 `json:"share"`   // of the window
}

// Recorded is a program that is no pipeline and no torch: one that recorded itself, or one of
// which another tool wrote a trace. It is its threads, goroutines or other tracks and its spans.
type Recorded struct {
	Rank   int        `json:"rank"`
	Tracks []TrackRow `json:"tracks"` // busiest first
	Spans  FrameTable `json:"spans"`
	// Foreign says that somebody else wrote the trace; Categories are then what it calls its
	// slices, most of them first. Spans are without those that are operators or Python frames.
	Foreign    bool     `json:"foreign,omitempty"`
	Categories []string `json:"categories,omitempty"`
}

// OfProgram answers what a program's goroutines did.
func OfProgram(tr *trace.Trace, opt Options) Recorded { return newFrame(tr, opt).recorded() }

// nativeFormat is Meta.Format of a recording of package profiler; trace/native writes it.
const nativeFormat = "native"

// recordsItself says whether the trace is of a program that recorded itself and belongs to no
// stage of a pipeline.
func (f *frame) recordsItself() bool {
	m := &f.tr.Meta
	return m.Format == nativeFormat && m.StageID < 0 && m.Stage == ""
}

// foreignFormats are the Meta.Format of traces that tools for other programs wrote.
var foreignFormats = []string{"chrome", "viztracer"}

// ofOthers says whether another tool wrote the trace, and nothing of it is work of a device.
func (f *frame) ofOthers() bool {
	return slices.Contains(foreignFormats, f.tr.Meta.Format) && len(f.dev) == 0 && f.tr.Slices.Len() > 0
}

// categories are what the trace's own categories are called, those of most slices first.
func (f *frame) categories() []string {
	count := map[trace.Category]int{}
	for _, c := range f.tr.Slices.Cat {
		if c >= trace.CatDynamic {
			count[c]++
		}
	}
	list := slices.SortedFunc(maps.Keys(count), func(a, b trace.Category) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a, b))
	})
	var out []string
	for _, c := range list {
		out = append(out, f.tr.CategoryText(c))
	}
	return out
}

func (f *frame) recorded() Recorded {
	out := Recorded{Rank: f.rank, Tracks: []TrackRow{}, Foreign: !f.recordsItself()}
	if out.Foreign {
		cat := f.tr.Slices.Cat
		out.Categories = f.categories()
		out.Spans = f.frameTable(func(i int32) bool {
			return !isHostOp(cat[i]) && !isRuntime(cat[i]) && cat[i] != trace.CatPythonFunction
		})
	} else {
		out.Spans = f.spans()
	}
	window := f.windowNs()
	x := f.tr.Index()
	for id := range f.tr.Tracks {
		tk := &f.tr.Tracks[id]
		if tk.Kind == trace.TrackGPU {
			continue
		}
		r := TrackRow{Process: tk.Process, Name: tk.Name}
		end := int64(-1 << 63)
		for _, u := range x.Track(trace.TrackID(id)) {
			i := int32(u)
			if f.tr.Slices.Cat[i] == trace.CatTraceSpan || !f.counts(i) {
				continue
			}
			r.Slices++
			r.BusyNs += max(0, f.end(i)-max(end, f.start[i]))
			end = max(end, f.end(i))
		}
		if r.Slices > 0 {
			r.Share = share(r.BusyNs, window)
			out.Tracks = append(out.Tracks, r)
		}
	}
	sortDesc(out.Tracks, func(r *TrackRow) int64 { return r.BusyNs })
	return out
}
