package timeline

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/trace"
)

// OpsBy says what makes calls one row of a table.
type OpsBy string

// The ways to group calls.
const (
	ByName   OpsBy = "name"
	ByShape  OpsBy = "shape"
	ByStack  OpsBy = "stack"
	ByKernel OpsBy = "kernel" // device work by its own name

	numOpsBy = 4
)

var opsBy = map[OpsBy]int{ByName: 0, ByShape: 1, ByStack: 2, ByKernel: 3}

// Limits of a table of operators.
const (
	maxOpRows = 1000 // most time first; a reader filters
	opBins    = 16   // of the histogram of a row
)

// OpsRow is calls of one name, shape or stack.
type OpsRow struct {
	Name         string `json:"name"`
	Kind         string `json:"kind"`
	Shapes       string `json:"shapes,omitempty"`
	Stack        string `json:"stack,omitempty"` // frames from the innermost outwards, one a line
	Count        int64  `json:"count"`
	HostNs       int64  `json:"host_ns"`
	SelfHostNs   int64  `json:"self_host_ns"`
	DeviceNs     int64  `json:"device_ns"`
	SelfDeviceNs int64  `json:"self_device_ns"`
	Kernels      int64  `json:"kernels"`
	FLOPs        int64  `json:"flops"`
	Longest      string `json:"longest"` // slice
	// Of the slices of this name, where rows are by name or by kernel: how long they took,
	// counted in equal steps of the logarithm from MinNs to MaxNs.
	MinNs int64 `json:"min_ns"`
	MaxNs int64 `json:"max_ns"`
	Bins  []int `json:"bins,omitempty"`
}

// OpsTable is what operators, or kernels, cost. The columns mean what analysis.OpRow and
// analysis.KernelRow say.
type OpsTable struct {
	Trace          int      `json:"trace"`
	By             OpsBy    `json:"by"`
	Rows           []OpsRow `json:"rows"` // most device time first, then host time
	Total          int      `json:"total"`
	HostNs         int64    `json:"host_ns"`
	DeviceNs       int64    `json:"device_ns"`
	UnattributedNs int64    `json:"unattributed_ns"` // device time that no operator launched
}

// part returns trace i.
func (tl *Timeline) part(i int) (*part, error) {
	if i < 0 || i >= len(tl.parts) {
		return nil, fmt.Errorf("trace %d: %w: there are %d, from 0", i, ErrNotFound, len(tl.parts))
	}
	return tl.parts[i], nil
}

// AllTraces asks Ops for the sums over all traces.
const AllTraces = -1

// Ops returns what the operators of trace i, or of AllTraces, cost.
func (tl *Timeline) Ops(i int, by OpsBy) (*OpsTable, error) {
	n, ok := opsBy[by]
	if !ok {
		return nil, fmt.Errorf("by %.40q; allowed are name, shape, stack and kernel", string(by))
	}
	if i == AllTraces {
		t := tl.ops[n].get(func() OpsTable { return tl.opsOfAll(n, by) })
		return &t, nil
	}
	p, err := tl.part(i)
	if err != nil {
		return nil, err
	}
	return p.opsBy(i, n, by), nil
}

func (p *part) opsBy(i, n int, by OpsBy) *OpsTable {
	t := p.cells.ops[n].get(func() OpsTable {
		if by == ByKernel {
			return p.kernelTable(i)
		}
		return p.opTable(i, by)
	})
	return &t
}

// opsOfAll adds the rows of all traces up.
func (tl *Timeline) opsOfAll(n int, by OpsBy) OpsTable {
	tables := make([]*OpsTable, len(tl.parts))
	for k, p := range tl.parts {
		tables[k] = p.opsBy(k, n, by)
	}
	out := sumOps(tables, by)
	// The traces' own histograms have bounds of their own: slices are counted anew.
	type key struct{ name, kind string }
	at := map[key]int{}
	for k := range out.Rows {
		if r := &out.Rows[k]; r.Bins != nil {
			r.Bins = make([]int, opBins)
			at[key{r.Name, r.Kind}] = k
		}
	}
	if len(at) == 0 {
		return *out
	}
	for i, t := range tables {
		p := tl.parts[i]
		own := map[trace.StringID]int{}
		for k := range t.Rows {
			r := &t.Rows[k]
			row, ok := at[key{r.Name, r.Kind}]
			if id, known := p.t.Strings.Lookup(r.Name); ok && known && r.Bins != nil {
				own[id] = row
			}
		}
		p.count(out.Rows, own, by == ByKernel)
	}
	return *out
}

// sumOps adds the rows of several traces up; a row has bins, which say nothing, if one of those that it
// is made of has some.
func sumOps(tables []*OpsTable, by OpsBy) *OpsTable {
	type key struct{ name, kind, shapes, stack string }
	out := &OpsTable{Trace: AllTraces, By: by, Rows: []OpsRow{}}
	at := map[key]int{}
	for _, t := range tables {
		out.HostNs, out.DeviceNs, out.UnattributedNs = out.HostNs+t.HostNs, out.DeviceNs+t.DeviceNs,
			out.UnattributedNs+t.UnattributedNs
		for k := range t.Rows {
			r := t.Rows[k]
			id := key{r.Name, r.Kind, r.Shapes, r.Stack}
			n, ok := at[id]
			if !ok {
				at[id] = len(out.Rows)
				out.Rows = append(out.Rows, r)
				continue
			}
			if out.Rows[n].plus(&r); r.Bins != nil {
				out.Rows[n].Bins = r.Bins
			}
		}
	}
	slices.SortStableFunc(out.Rows, func(a, b OpsRow) int {
		return cmp.Or(cmp.Compare(b.SelfDeviceNs, a.SelfDeviceNs), cmp.Compare(b.SelfHostNs, a.SelfHostNs),
			cmp.Compare(a.Name, b.Name))
	})
	out.Total = len(out.Rows)
	out.Rows = out.Rows[:min(len(out.Rows), maxOpRows)]
	return out
}

// plus adds the calls of another row, but for their histogram, which has other bounds.
func (o *OpsRow) plus(r *OpsRow) {
	o.Count += r.Count
	o.HostNs += r.HostNs
	o.SelfHostNs += r.SelfHostNs
	o.DeviceNs += r.DeviceNs
	o.SelfDeviceNs += r.SelfDeviceNs
	o.Kernels += r.Kernels
	o.FLOPs += r.FLOPs
	o.MinNs = min(o.MinNs, r.MinNs)
	if r.MaxNs > o.MaxNs {
		o.Longest, o.MaxNs = r.Longest, r.MaxNs
	}
}

func (p *part) opTable(i int, by OpsBy) OpsTable {
	a := p.look().Ops(analysis.OpOptions{ByShape: by == ByShape, ByStack: by == ByStack})
	a.Rows = append(a.Rows, a.Labels...) // after the operators, whatever their time
	out := OpsTable{Trace: i, By: by, Rows: []OpsRow{}, HostNs: a.CPUNs, DeviceNs: a.DeviceNs,
		UnattributedNs: a.UnattributedNs}
	step := -1 // the row of all ProfilerSteps, which have a name each
	for k := range a.Rows {
		r := &a.Rows[k]
		name, isStep := r.Name, trace.IsProfilerStep(r.Name)
		if isStep {
			name = trace.ProfilerStep
		}
		if isStep && step >= 0 {
			more := p.opRow(i, r, name)
			out.Rows[step].plus(&more)
			continue
		}
		if out.Total++; len(out.Rows) >= maxOpRows {
			continue
		}
		if isStep {
			step = len(out.Rows)
		}
		out.Rows = append(out.Rows, p.opRow(i, r, name))
	}
	if by == ByName {
		p.spread(out.Rows, false)
	}
	return out
}

func (p *part) opRow(i int, r *analysis.OpRow, name string) OpsRow {
	row := OpsRow{Name: name, Kind: r.Kind, Shapes: r.Shapes, Stack: r.Stack, Count: r.Count, HostNs: r.CPUNs,
		SelfHostNs: r.SelfCPUNs,
		DeviceNs:   r.DeviceNs, SelfDeviceNs: r.SelfDeviceNs, Kernels: r.Kernels, FLOPs: r.FLOPs}
	if r.Worst >= 0 && r.Worst < p.t.Slices.Len() {
		row.Longest, row.MaxNs = sliceID(i, uint32(r.Worst)), p.t.Slices.Dur[r.Worst]
	}
	return row
}

func (p *part) kernelTable(i int) OpsTable {
	a := p.look().Kernels()
	out := OpsTable{Trace: i, By: ByKernel, Rows: []OpsRow{}, Total: len(a.Kernels)}
	for k := range a.Kernels {
		r := &a.Kernels[k]
		out.DeviceNs += r.SumNs
		if k >= maxOpRows {
			continue
		}
		row := OpsRow{Name: r.Name, Kind: r.Kind.String(), Count: r.Count, DeviceNs: r.SumNs, SelfDeviceNs: r.SumNs,
			Kernels: r.Count, MinNs: r.MinNs, MaxNs: r.MaxNs}
		if r.Worst >= 0 && r.Worst < p.t.Slices.Len() {
			row.Longest = sliceID(i, uint32(r.Worst))
		}
		out.Rows = append(out.Rows, row)
	}
	p.spread(out.Rows, true)
	return out
}

// spread counts how long the slices of the rows' names took: on devices or on the host.
func (p *part) spread(rows []OpsRow, device bool) {
	at := map[trace.StringID]int{}
	for k := range rows {
		if id, ok := p.t.Strings.Lookup(rows[k].Name); ok {
			if _, twice := at[id]; !twice {
				at[id] = k
				rows[k].MinNs, rows[k].MaxNs = math.MaxInt64, 0
			}
		}
	}
	p.each(at, device, func(k int, ns int64) {
		rows[k].MinNs, rows[k].MaxNs = min(rows[k].MinNs, ns), max(rows[k].MaxNs, ns)
	})
	p.count(rows, at, device)
	for k := range rows {
		if rows[k].MinNs == math.MaxInt64 {
			rows[k].MinNs = 0
		}
	}
}

// count adds the slices of the names of at to the histograms of their rows, whose bounds are known.
func (p *part) count(rows []OpsRow, at map[trace.StringID]int, device bool) {
	p.each(at, device, func(k int, ns int64) {
		r := &rows[k]
		if r.Bins == nil {
			r.Bins = make([]int, opBins)
		}
		r.Bins[logBin(ns, r.MinNs, r.MaxNs, opBins)]++
	})
}

// each calls f for every slice on devices, or on the host, whose name is in at.
func (p *part) each(at map[trace.StringID]int, device bool, f func(row int, ns int64)) {
	s := &p.t.Slices
	for i, id := range s.Name {
		if k, ok := at[id]; ok && s.Cat[i].Busy() == device {
			f(k, s.Dur[i])
		}
	}
}

// logBin is the place of ns among n equal steps of the logarithm from lo to hi.
func logBin(ns, lo, hi int64, n int) int {
	from := math.Log(float64(lo) + 1)
	span := math.Log(float64(hi)+1) - from
	if span <= 0 {
		return 0
	}
	return min(n-1, int((math.Log(float64(ns)+1)-from)/span*float64(n)))
}

// FlameOf returns the whole trace i as a flame graph in which slices with equal callers are merged,
// the widest first: of the host by its stacks, or of device work under the operators that launched
// it.
func (tl *Timeline) FlameOf(ctx context.Context, i int, device bool) (*Flame, error) {
	p, err := tl.part(i)
	if err != nil {
		return nil, err
	}
	if device {
		return p.cells.flame.get(func() *Flame { return p.deviceFlame(newTexts(1), 0, nil) }), nil
	}
	return p.hostFlame(ctx, newTexts(1), 0, nil)
}
