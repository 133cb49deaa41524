package analysis

import (
	"github.com/kinetoscope/kinetoscope/trace"
)

// Annotations is the time spent under the program's own labels.
type Annotations struct {
	Rank int             `json:"rank"`
	CPU  []AnnotationRow `json:"cpu"` // user_annotation, longest first
	GPU  []AnnotationRow `json:"gpu"` // gpu_user_annotation, longest first
}

// AnnotationRow is all annotations of one name. Durations are wall time of the
// annotation, in ns, on the host or from its first to its last device work on a stream.
type AnnotationRow struct {
	Name   string  `json:"name"`
	Count  int64   `json:"count"`
	SumNs  int64   `json:"sum_ns"`
	MaxNs  int64   `json:"max_ns"`
	MinNs  int64   `json:"min_ns"`
	MeanNs float64 `json:"mean_ns"`
	StdNs  float64 `json:"std_ns"`
	// BusyNs is, on the device, the summed duration of the device work whose innermost
	// annotation is this; a host row counts the work launched directly under it.
	BusyNs  int64 `json:"busy_ns"`
	Kernels int64 `json:"kernels"` // slices in BusyNs
	Worst   int   `json:"worst"`   // slice with MaxNs
}

// AnnotationBreakdown answers how much time each annotation covers.
func AnnotationBreakdown(tr *trace.Trace, opt Options) Annotations {
	return newFrame(tr, opt).annotations()
}

func (f *frame) annotations() Annotations {
	out := Annotations{Rank: f.rank}
	cpuRow, cpu := f.annotationTable(trace.CatUserAnnotation)
	gpuRow, gpu := f.annotationTable(trace.CatGPUUserAnnotation)
	f.busyUnderHost(cpuRow, cpu)
	f.busyUnderDevice(gpuRow, gpu)
	out.CPU, out.GPU = cpu, gpu
	sortDesc(out.CPU, func(r *AnnotationRow) int64 { return r.SumNs })
	sortDesc(out.GPU, func(r *AnnotationRow) int64 { return r.SumNs })
	return out
}

// annotationTable returns the rows of a category and which row a name has.
func (f *frame) annotationTable(cat trace.Category) (map[trace.StringID]int, []AnnotationRow) {
	s := &f.tr.Slices
	at := map[trace.StringID]int{}
	var rows []AnnotationRow
	var aggs []agg
	for i := range int32(s.Len()) {
		if s.Cat[i] != cat || !f.counts(i) {
			continue
		}
		r, ok := at[s.Name[i]]
		if !ok {
			r = len(rows)
			at[s.Name[i]] = r
			rows = append(rows, AnnotationRow{Name: f.name(i), Worst: int(i)})
			aggs = append(aggs, agg{})
		}
		if f.dur[i] > aggs[r].max {
			rows[r].Worst = int(i)
		}
		aggs[r].add(f.dur[i])
	}
	for r := range rows {
		a := &aggs[r]
		rows[r].Count, rows[r].SumNs, rows[r].MaxNs, rows[r].MinNs = a.n, a.sum, a.max, a.min
		rows[r].MeanNs, rows[r].StdNs = float64(a.sum)/float64(a.n), a.std()
	}
	return at, rows
}

// busyUnderHost charges device work to the innermost annotation around its launch.
func (f *frame) busyUnderHost(at map[trace.StringID]int, rows []AnnotationRow) {
	if len(rows) == 0 || len(f.dev) == 0 {
		return
	}
	s := &f.tr.Slices
	t := f.calls()
	inner := make([]int32, s.Len()) // per slice: innermost annotation at or above it
	for _, i := range t.order {
		switch p := t.parent[i]; {
		case s.Cat[i] == trace.CatUserAnnotation:
			inner[i] = i + 1
		case p >= 0:
			inner[i] = inner[p]
		}
	}
	for _, d := range f.dev {
		if h := f.partner[d]; h >= 0 && inner[h] > 0 {
			r := &rows[at[s.Name[inner[h]-1]]]
			r.BusyNs += f.dur[d]
			r.Kernels++
		}
	}
}

// maxOpenAnnotations bounds the annotations that are open on one track at a time and
// looked at for each slice; deeper ones than real programs have lose the outermost.
const maxOpenAnnotations = 64

// busyUnderDevice charges device work to the shortest annotation on its own track that
// covers its start.
func (f *frame) busyUnderDevice(at map[trace.StringID]int, rows []AnnotationRow) {
	if len(rows) == 0 {
		return
	}
	s := &f.tr.Slices
	var order []int32
	for i := range int32(s.Len()) {
		if f.counts(i) && (s.Cat[i] == trace.CatGPUUserAnnotation || isDeviceWork(s.Cat[i])) {
			order = append(order, i)
		}
	}
	sortByKey(order, func(i int32) int64 {
		if s.Cat[i] == trace.CatGPUUserAnnotation {
			return 0 // at one time an annotation opens before the work in it
		}
		return 1
	})
	sortByKey(order, func(i int32) int64 { return f.start[i] })
	open := map[trace.TrackID][]int32{}
	for _, i := range order {
		o := open[s.Track[i]]
		keep := o[:0]
		for _, a := range o {
			if f.end(a) > f.start[i] {
				keep = append(keep, a)
			}
		}
		o = keep
		if s.Cat[i] == trace.CatGPUUserAnnotation {
			if len(o) == maxOpenAnnotations {
				o = o[1:]
			}
			open[s.Track[i]] = append(o, i)
			continue
		}
		open[s.Track[i]] = o
		best := noSlice
		for _, a := range o {
			if best < 0 || f.dur[a] < f.dur[best] {
				best = a
			}
		}
		if best >= 0 {
			r := &rows[at[s.Name[best]]]
			r.BusyNs += f.dur[i]
			r.Kernels++
		}
	}
}
