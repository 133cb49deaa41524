package analysis

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/hta"
	"github.com/kinetoscope/kinetoscope/internal/lists"
	"github.com/kinetoscope/kinetoscope/trace"
)

// KernelBreakdown is where a rank's device time went, by combinations of kinds and by
// kernel.
type KernelBreakdown struct {
	Rank    int          `json:"rank"`
	Types   []KernelType `json:"types"`   // longest first
	Kernels []KernelRow  `json:"kernels"` // longest sum first
}

// KernelType is the time during which exactly one combination of kinds ran.
type KernelType struct {
	Kinds []Kind  `json:"kinds"` // compute, communication, memory: those that overlapped
	Ns    int64   `json:"ns"`
	Share float64 `json:"share"` // of the time with any typed work; not of the wall
}

// Name joins the kinds with "+".
func (t KernelType) Name() string {
	n := make([]string, len(t.Kinds))
	for i, k := range t.Kinds {
		n[i] = k.String()
	}
	return strings.Join(n, "+")
}

// KernelRow is all device work of one name. Durations are in ns.
type KernelRow struct {
	Name   string  `json:"name"` // "others" for a lump of the rest
	Kind   Kind    `json:"kind"`
	Count  int64   `json:"count"`
	SumNs  int64   `json:"sum_ns"`
	MaxNs  int64   `json:"max_ns"`
	MinNs  int64   `json:"min_ns"`
	MeanNs float64 `json:"mean_ns"`
	StdNs  float64 `json:"std_ns"` // of the sample; 0 for one slice
	Share  float64 `json:"share"`  // of the summed durations of all rows
	Worst  int     `json:"worst"`  // slice with MaxNs
}

// Others is the name of a row into which LumpKernels put the rest.
const Others = "others"

// Kernels answers which kinds and which kernels took the device's time.
func Kernels(tr *trace.Trace, opt Options) KernelBreakdown { return newFrame(tr, opt).kernels() }

func (f *frame) kernels() KernelBreakdown {
	b := KernelBreakdown{Rank: f.rank, Kernels: f.kernelTable()}
	m := f.mergedKinds()
	sets := [][]interval{m[KindCompute], m[KindCommunication], m[KindMemory]}
	var all int64
	for mask, ns := range f.masks(sets...) {
		if mask == 0 || ns == 0 {
			continue
		}
		t := KernelType{Ns: ns}
		for i, k := range []Kind{KindCompute, KindCommunication, KindMemory} {
			if mask>>i&1 != 0 {
				t.Kinds = append(t.Kinds, k)
			}
		}
		all += ns
		b.Types = append(b.Types, t)
	}
	for i := range b.Types {
		b.Types[i].Share = share(b.Types[i].Ns, all)
	}
	slices.SortStableFunc(b.Types, func(a, c KernelType) int { return cmp.Compare(c.Ns, a.Ns) })
	return b
}

func (f *frame) kernelTable() []KernelRow {
	s := &f.tr.Slices
	maxID := trace.StringID(0)
	for _, i := range f.dev {
		maxID = max(maxID, s.Name[i])
	}
	index := make([]int32, (int(maxID)+1)*int(numKinds))
	var aggs []agg
	var rows []KernelRow
	for j, i := range f.dev {
		k := f.kinds[j]
		if f.rules.NoOtherKind && k == KindOther {
			continue
		}
		at := &index[int(s.Name[i])*int(numKinds)+int(k)]
		if *at == 0 {
			aggs = append(lists.Doubled(aggs), agg{})
			rows = append(lists.Doubled(rows), KernelRow{Name: f.name(i), Kind: k, Worst: int(i)})
			*at = int32(len(aggs))
		}
		a := &aggs[*at-1]
		if a.n > 0 && f.dur[i] > a.max {
			rows[*at-1].Worst = int(i)
		}
		a.add(f.dur[i])
	}
	var sum int64
	for i := range rows {
		a := &aggs[i]
		r := &rows[i]
		r.Count, r.SumNs, r.MaxNs, r.MinNs = a.n, a.sum, a.max, a.min
		r.MeanNs, r.StdNs = float64(a.sum)/float64(a.n), a.std()
		sum += a.sum
	}
	for i := range rows {
		rows[i].Share = share(rows[i].SumNs, sum)
	}
	sortDesc(rows, func(r *KernelRow) int64 { return r.SumNs })
	return rows
}

// LumpKernels keeps the first top rows of every kind and joins the rest of a kind into
// one row Others, whose numbers are those of the joined slices.
func LumpKernels(rows []KernelRow, top int) []KernelRow {
	var out []KernelRow
	var seen [numKinds]int
	var rest [numKinds]*KernelRow
	var m2 [numKinds]float64
	for _, r := range rows {
		if seen[r.Kind]++; seen[r.Kind] <= top {
			out = append(out, r)
			continue
		}
		o := rest[r.Kind]
		if o == nil {
			o = &KernelRow{Name: Others, Kind: r.Kind, MinNs: r.MinNs, Worst: r.Worst}
			rest[r.Kind] = o
		}
		// Chan's rule joins means and squared deviations of two sets.
		n, d := float64(o.Count+r.Count), r.MeanNs-o.MeanNs
		m2[r.Kind] += r.StdNs*r.StdNs*float64(r.Count-1) + d*d*float64(o.Count)*float64(r.Count)/n
		o.MeanNs += d * float64(r.Count) / n
		o.Count += r.Count
		o.SumNs += r.SumNs
		o.Share += r.Share
		o.MinNs = min(o.MinNs, r.MinNs)
		if r.MaxNs > o.MaxNs {
			o.MaxNs, o.Worst = r.MaxNs, r.Worst
		}
	}
	for k, o := range rest {
		if o != nil {
			if o.Count > 1 {
				o.StdNs = sqrt(m2[k] / float64(o.Count-1))
			}
			out = append(out, *o)
		}
	}
	return out
}

// masks returns the time for which each combination of sets was active; see sweepMasks.
func (f *frame) masks(sets ...[]interval) []int64 {
	if !f.rules.NegativeTimes {
		return sweepMasks(sets...)
	}
	var edges []hta.Edge
	for k, set := range sets {
		for _, iv := range set {
			edges = append(edges, hta.Edge{AtNs: iv.start, Set: k}, hta.Edge{AtNs: iv.end, Set: k, Ends: true})
		}
	}
	return hta.Sweep(len(sets), edges)
}
