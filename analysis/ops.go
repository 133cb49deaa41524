package analysis

import (
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/cores"
	"github.com/kinetoscope/kinetoscope/internal/lists"
	"github.com/kinetoscope/kinetoscope/trace"
)

// OpTable is what every operator cost, as torch's key_averages shows it.
type OpTable struct {
	Rank int     `json:"rank"`
	Rows []OpRow `json:"rows"` // by self device time, then self host time, longest first
	// Labels are the rows of the program's own labels, steps and ranges, which are no
	// operators: their self times are those of what runs in them outside every operator.
	Labels []OpRow `json:"labels"`
	// Host and device time of both tables, ns: the sums of all self times.
	CPUNs    int64 `json:"cpu_ns"`
	DeviceNs int64 `json:"device_ns"`
	// UnattributedNs is device time that no operator launched: no launch in the trace,
	// or a launch outside every operator.
	UnattributedNs int64 `json:"unattributed_ns"`
}

// kindAnnotation is OpRow.Kind of a label.
const kindAnnotation = "annotation"

// OpRow is all calls of one operator, of one name or of one name and shape or stack.
type OpRow struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"` // "op", "annotation" or "runtime"
	Shapes string `json:"shapes,omitempty"`
	Stack  string `json:"stack,omitempty"` // frames from the innermost outwards, one a line
	Count  int64  `json:"count"`
	// CPUNs is the time inside the call. A call inside a call of the same row counts
	// once, unlike key_averages, which adds both.
	CPUNs     int64 `json:"cpu_ns"`
	SelfCPUNs int64 `json:"self_cpu_ns"` // CPUNs without what nested calls took
	// DeviceNs is the summed duration of the device work launched inside the call,
	// SelfDeviceNs of the work that no nested operator or annotation launched.
	DeviceNs     int64 `json:"device_ns"`
	SelfDeviceNs int64 `json:"self_device_ns"`
	Kernels      int64 `json:"kernels"` // device slices in SelfDeviceNs
	FLOPs        int64 `json:"flops"`   // of the calls whose work is known; see Roofline
	Worst        int   `json:"worst"`   // slice of the longest call
	worstNs      int64 `pack:"-"`
}

// OpOptions choose how calls are grouped.
type OpOptions struct {
	ByShape    bool // calls with different input shapes make different rows
	ByStack    bool // calls from different Python stacks make different rows
	StackDepth int  // frames that tell stacks apart; 0 means DefaultStackDepth
}

// DefaultStackDepth is the number of frames that tell stacks apart: key_averages' usual
// group_by_stack_n.
const DefaultStackDepth = 5

// Arguments of an operator.
const (
	argInputDims = "Input Dims"
	argInputType = "Input type"
	argConcrete  = "Concrete Inputs"
	argCallStack = "Call stack"
)

// Ops answers what each operator cost on host and device.
func Ops(tr *trace.Trace, opt Options, oo OpOptions) OpTable { return Look(tr, opt).Ops(oo) }

type opKey struct {
	name         trace.StringID
	cat          trace.Category
	shape, stack int32
}

// plainKey is a row of a name in one category; row is 0 if there is none yet.
type plainKey struct {
	cat trace.Category
	row int32
}

type opBuilder struct {
	f     *frame
	t     *tree
	oo    OpOptions
	rowOf []int32 // per slice: row+1
	out   OpTable
	byKey map[opKey]int32
	plain []plainKey       // per name: its first row without shape and stack, most often the only one
	texts map[string]int32 // shapes and stacks
	list  []string
}

func (f *frame) ops(oo OpOptions) OpTable {
	if oo.StackDepth <= 0 {
		oo.StackDepth = DefaultStackDepth
	}
	b := &opBuilder{f: f, oo: oo, byKey: map[opKey]int32{}, texts: map[string]int32{"": 0}, list: []string{""}}
	b.t = f.calls()
	if oo.ByStack {
		b.t = f.nest(func(i int32) bool { return f.hostWork(i) || f.tr.Slices.Cat[i] == trace.CatPythonFunction })
	}
	b.plain = make([]plainKey, f.tr.Strings.Len())
	b.out.Rank = f.rank
	b.rowOf = make([]int32, f.tr.Slices.Len())
	b.group()
	cores.Each(2, func(k int) { // they fill fields of their own
		if k == 0 {
			b.times()
			b.device()
		} else {
			f.flops(b.t, func(i int32, flops int64) { b.out.Rows[b.rowOf[i]-1].FLOPs += flops })
		}
	})
	labels := []OpRow{}
	ops := slices.DeleteFunc(b.out.Rows, func(r OpRow) bool {
		if r.Kind == kindAnnotation {
			labels = append(labels, r)
		}
		return r.Kind == kindAnnotation
	})
	for _, rows := range [][]OpRow{ops, labels} {
		sortDesc(rows, func(r *OpRow) int64 { return r.SelfDeviceNs }, func(r *OpRow) int64 { return r.SelfCPUNs })
	}
	b.out.Rows, b.out.Labels = ops, labels
	return b.out
}

// group gives every call its row.
func (b *opBuilder) group() {
	s := &b.f.tr.Slices
	for _, i := range b.t.order {
		if !b.f.hostWork(i) {
			continue
		}
		k := opKey{name: s.Name[i], cat: s.Cat[i]}
		plain := !b.oo.ByShape && !b.oo.ByStack
		p := &b.plain[k.name]
		if plain && p.row > 0 && p.cat == k.cat {
			b.rowOf[i] = p.row
			continue
		}
		if b.oo.ByShape && isHostOp(k.cat) {
			k.shape = b.text(b.f.tr.Arg(int(i), argInputDims))
		}
		if b.oo.ByStack {
			k.stack = b.text(b.stackOf(i))
		}
		first := plain && p.row == 0
		r, ok := int32(0), false
		if !first {
			r, ok = b.byKey[k]
		}
		if !ok {
			r = int32(len(b.out.Rows))
			if first {
				*p = plainKey{k.cat, r + 1}
			} else {
				b.byKey[k] = r
			}
			row := OpRow{Name: b.f.name(i), Kind: "op", Shapes: b.list[k.shape], Stack: b.list[k.stack], worstNs: -1}
			switch {
			case k.cat == trace.CatUserAnnotation:
				row.Kind = kindAnnotation
			case isRuntime(k.cat):
				row.Kind = "runtime"
			}
			b.out.Rows = append(lists.Doubled(b.out.Rows), row)
		}
		b.rowOf[i] = r + 1
	}
}

func (b *opBuilder) text(raw []byte) int32 {
	id, ok := b.texts[string(raw)]
	if !ok {
		id = int32(len(b.list))
		b.list = append(b.list, string(raw))
		b.texts[b.list[id]] = id
	}
	return id
}

// stackOf returns the frames around i: those of python_function slices, or else the
// text that older profilers stored with the operator.
func (b *opBuilder) stackOf(i int32) []byte {
	s := &b.f.tr.Slices
	var out []byte
	n := 0
	for p := b.t.parent[i]; p >= 0 && n < b.oo.StackDepth; p = b.t.parent[p] {
		if s.Cat[p] == trace.CatPythonFunction {
			if n++; n > 1 {
				out = append(out, '\n')
			}
			out = append(out, b.f.name(p)...)
		}
	}
	if n > 0 {
		return out
	}
	text, ok := b.f.tr.ArgText(int(i), argCallStack)
	if !ok {
		return nil
	}
	frames := strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == '\n' })
	return []byte(strings.Join(frames[:min(len(frames), b.oo.StackDepth)], "\n"))
}

// callers returns the nearest call around each slice, passing over Python frames.
func (b *opBuilder) callers() []int32 {
	out := make([]int32, b.f.tr.Slices.Len())
	for _, i := range b.t.order { // callers come before what they call
		p := b.t.parent[i]
		if p >= 0 && b.rowOf[p] == 0 {
			p = out[p]
		}
		out[i] = p
	}
	return out
}

func (b *opBuilder) times() {
	callers := b.callers()
	open := make([]int32, len(b.out.Rows))
	reach := make([]int64, b.f.tr.Slices.Len()) // per caller: up to where its calls cover it
	for _, i := range b.t.order {
		reach[i] = b.f.start[i]
	}
	b.t.walk(func(i int32) {
		if b.rowOf[i] == 0 {
			return
		}
		at := b.rowOf[i] - 1
		r, d := &b.out.Rows[at], b.f.dur[i]
		r.Count++
		r.SelfCPUNs += d
		b.out.CPUNs += d
		if open[at]++; open[at] == 1 {
			r.CPUNs += d
		}
		if d > r.worstNs {
			r.worstNs, r.Worst = d, int(i)
		}
		if p := callers[i]; p >= 0 {
			// Calls of one caller that reach over each other take their union.
			from, to := max(b.f.start[i], reach[p]), min(b.f.end(i), b.f.end(p))
			in := max(0, to-from)
			reach[p] = max(reach[p], to)
			b.out.Rows[b.rowOf[p]-1].SelfCPUNs -= in
			b.out.CPUNs -= in
		}
	}, func(i int32) {
		if b.rowOf[i] > 0 {
			open[b.rowOf[i]-1]--
		}
	})
}

// device charges device work to the operators around its launch: to the nearest as its own,
// to all as their total, to each name once.
func (b *opBuilder) device() {
	s := &b.f.tr.Slices
	nearest := make([]int32, s.Len()) // per slice: 1 + the operator or annotation at or above it
	for _, i := range b.t.order {
		switch p := b.t.parent[i]; {
		case b.rowOf[i] > 0 && isHostOp(s.Cat[i]):
			nearest[i] = i + 1
		case p >= 0:
			nearest[i] = nearest[p]
		}
	}
	under := make([]int64, s.Len()) // per slice: device time launched at or below it
	for _, d := range b.f.dev {
		ns, h := b.f.dur[d], b.f.partner[d]
		if h >= 0 {
			under[h] += ns
		}
		if h < 0 || nearest[h] == 0 {
			b.out.UnattributedNs += ns
			continue
		}
		r := &b.out.Rows[b.rowOf[nearest[h]-1]-1]
		r.SelfDeviceNs += ns
		r.Kernels++
		b.out.DeviceNs += ns
	}
	for k := len(b.t.order) - 1; k >= 0; k-- {
		if i := b.t.order[k]; b.t.parent[i] >= 0 {
			under[b.t.parent[i]] += under[i]
		}
	}
	open := make([]int32, len(b.out.Rows)) // calls of the row that are round the place of the walk
	b.t.walk(func(i int32) {
		if at := b.rowOf[i] - 1; at >= 0 {
			if open[at] == 0 {
				b.out.Rows[at].DeviceNs += under[i]
			}
			open[at]++
		}
	}, func(i int32) {
		if at := b.rowOf[i] - 1; at >= 0 {
			open[at]--
		}
	})
}
