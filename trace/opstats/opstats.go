// Package opstats sums a trace's operators the way torch's key_averages does: calls,
// self and total time on CPU and device, memory and FLOPs, grouped by name, and on
// demand by input shapes or by stack. The ops workbook and the operator table are
// views of it.
//
// What is an operator: cpu_op, user_annotation and runtime calls on CPU tracks; work
// on a device (kernels, copies, fills); and slices on lanes that are neither, which
// are asynchronous and have no self time, as in torch. python_function slices are
// frames, not operators; they do not take self time away from an operator around them.
package opstats

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/lists"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/ids"
	"github.com/kinetoscope/kinetoscope/trace/order"
)

// Row is the sum over the calls of one group. Times are in ns, memory in bytes.
type Row struct {
	Name    string
	Device  string // DeviceCPU, or Ops.Device of work on a device
	Async   bool
	Shapes  string // of GroupShapes: "[[2, 3], [3, 4]]"
	Stack   string // of GroupStack: frames joined by "\n", innermost first
	Count   int
	SelfCPU int64 // not covered by operators inside; 0 if Async or not on CPU
	CPU     int64
	// Device time of an operator is that of the work it launched: by itself in SelfDevice, with the
	// operators that it called in DeviceTime.
	SelfDevice, DeviceTime   int64
	SelfMemory, Memory       int64 // allocated less freed, CPU
	SelfDevMemory, DevMemory int64
	FLOPs                    int64
}

// Ops has the numbers of every operator of a trace. It is read-only after Collect and
// safe for use by several goroutines.
type Ops struct {
	// SelfCPU is the sum over the rows of any grouping; SelfDevice over those on devices.
	SelfCPU, SelfDevice int64
	// Device is what kind of device the trace is of; see DeviceOf.
	Device string
	// Which numbers at least one operator has.
	HasDevice, HasFLOPs, HasMemory bool

	t       *trace.Trace
	index   *trace.Index
	parent  []int32  // nearest operator around, trace.NoParent if none
	kind    []opKind // by slice
	self    []values
	total   []values
	selfCPU []int64

	launch []int32 // by slice: of device work the call that launched it, trace.NoParent if that is not in the trace
	owner  []int32 // by slice: of such a call the nearest cpu_op around it, itself if there is none
}

type values struct{ device, memory, devMemory int64 }

type opKind uint8

const (
	opNone opKind = iota
	opCPU
	opDevice
	opAsync
)

// Collect computes the numbers of t.
func Collect(t *trace.Trace) *Ops {
	n := t.Slices.Len()
	o := &Ops{
		t: t, index: t.Index(), parent: make([]int32, n), kind: make([]opKind, n),
		self: make([]values, n), selfCPU: make([]int64, n), Device: DeviceOf(t),
	}
	o.nest()
	o.launches()
	o.memory()
	o.total = slices.Clone(o.self)
	// Parents come before children in Order, so backwards every child is complete.
	for _, i := range slices.Backward(o.index.Order) {
		if p := o.parent[i]; p != trace.NoParent {
			v, w := &o.total[p], o.total[i]
			v.device, v.memory, v.devMemory = v.device+w.device, v.memory+w.memory, v.devMemory+w.devMemory
		}
	}
	for i, k := range o.kind {
		if k == opCPU {
			o.SelfCPU += o.selfCPU[i]
		}
		if k == opDevice {
			o.SelfDevice += t.Slices.Dur[i]
			o.HasDevice = true
		}
		o.HasFLOPs = o.HasFLOPs || k != opNone && len(t.Arg(i, trace.ArgFLOPs)) > 0
	}
	return o
}

func (o *Ops) classify(i uint32) opKind {
	c, kind := o.t.Slices.Cat[i], o.t.Tracks[o.t.Slices.Track[i]].Kind
	switch {
	case c.Busy():
		return opDevice
	case c == trace.CatTraceSpan || c == trace.CatPythonFunction || c == trace.CatOverhead || c.Device():
		return opNone
	case kind == trace.TrackOther:
		return opAsync
	case kind == trace.TrackCPU:
		return opCPU
	}
	return opNone
}

// nest finds each operator's nearest operator and takes its time from that one's self.
func (o *Ops) nest() {
	s := &o.t.Slices
	for _, i := range o.index.Order {
		o.kind[i] = o.classify(i)
		p := o.index.Parent[i]
		if p != trace.NoParent && o.kind[p] == opNone {
			p = o.parent[p]
		}
		if o.parent[i] = p; o.kind[i] == opNone {
			continue
		}
		o.selfCPU[i] = s.Dur[i]
		if p != trace.NoParent {
			o.selfCPU[p] = max(0, o.selfCPU[p]-s.Dur[i])
		}
	}
}

// launches gives the time of device work to the cpu_op around the runtime call that
// launched it, or to that call.
func (o *Ops) launches() {
	s := &o.t.Slices
	calls := map[int64]int32{}
	for i, c := range s.Cat {
		if c.Runtime() && s.Corr[i] != trace.NoCorrelation {
			calls[s.Corr[i]] = int32(i)
		}
	}
	operator := make([]int32, s.Len()) // the nearest cpu_op around each slice
	for _, i := range o.index.Order {
		operator[i] = o.parent[i]
		if p := o.parent[i]; p != trace.NoParent && s.Cat[p] != trace.CatCPUOp {
			operator[i] = operator[p]
		}
	}
	o.owner, o.launch = operator, slices.Repeat([]int32{trace.NoParent}, s.Len())
	for i := range s.Len() {
		if o.kind[i] != opDevice {
			continue
		}
		o.self[i].device += s.Dur[i]
		call, ok := calls[s.Corr[i]]
		if !ok || s.Corr[i] == trace.NoCorrelation {
			continue
		}
		o.launch[i] = call
		if o.owner[call] == trace.NoParent {
			o.owner[call] = call
		}
		o.self[o.owner[call]].device += s.Dur[i]
	}
}

// memory gives each [memory] instant's bytes to the innermost operator around it.
func (o *Ops) memory() {
	for op, m := range o.allocations() {
		o.HasMemory = true
		if m.host {
			o.self[op].memory += m.bytes
		} else {
			o.self[op].devMemory += m.bytes
		}
	}
}

// Allocations yields, in order of the file, the operators that memory was allocated in and
// the bytes of each allocation, of any device. What is freed is not taken off, and what is
// allocated outside of operators is left out.
func (o *Ops) Allocations() iter.Seq2[int, int64] {
	return func(yield func(int, int64) bool) {
		for op, m := range o.allocations() {
			if m.bytes > 0 && !yield(int(op), m.bytes) {
				return
			}
		}
	}
}

// allocation is a [memory] instant: bytes allocated, or freed if negative.
type allocation struct {
	bytes int64
	host  bool
}

// allocations yields the [memory] instants with the innermost operator around each.
func (o *Ops) allocations() iter.Seq2[int32, allocation] {
	return func(yield func(int32, allocation) bool) {
		in := &o.t.Instants
		for i, ns := range in.Time {
			if o.t.String(in.Name[i]) != trace.NameMemory {
				continue
			}
			bytes, ok := o.t.RefArgInt(in.Args[i], "Bytes")
			op := o.at(in.Track[i], ns)
			if !ok || op == trace.NoParent {
				continue
			}
			kind, _ := o.t.RefArgInt(in.Args[i], "Device Type")
			if !yield(op, allocation{bytes: bytes, host: kind == 0}) {
				return
			}
		}
	}
}

// at returns the innermost operator on a track at a time, or trace.NoParent.
func (o *Ops) at(track trace.TrackID, ns int64) int32 {
	s, order := &o.t.Slices, o.index.Track(track)
	k, _ := slices.BinarySearchFunc(order, ns, func(i uint32, ns int64) int {
		if s.Start[i] <= ns {
			return -1
		}
		return 1
	})
	if k == 0 {
		return trace.NoParent
	}
	i := int32(order[k-1])
	for i != trace.NoParent && s.End(int(i)) < ns {
		i = o.index.Parent[i]
	}
	if i != trace.NoParent && o.kind[i] == opNone {
		i = o.parent[i]
	}
	return i
}

// Group says what calls are summed together beside their name.
type Group uint8

// The groupings.
const (
	GroupName Group = iota
	GroupShapes
	GroupStack
)

// StackDepth is how many frames, innermost first, tell stacks apart.
const StackDepth = 8

type rowKey struct {
	name  trace.StringID
	kind  opKind
	extra string
}

// Rows returns the groups, by self CPU time descending, then self device time, name
// and the rest of the key.
func (o *Ops) Rows(by Group) []Row {
	var keys ids.List[rowKey]
	var rows []Row
	flops, count, counted := o.t.IntArgs(trace.ArgFLOPs), [1]int64{}, [1]bool{}
	for i, kind := range o.kind {
		if kind == opNone {
			continue
		}
		key := rowKey{name: o.t.Slices.Name[i], kind: kind}
		switch by {
		case GroupShapes:
			key.extra = o.shapes(i)
		case GroupStack:
			key.extra = strings.Join(o.Stack(i, StackDepth), "\n")
		}
		k, added := keys.Number(key, ids.Mix(ids.Mix(ids.OfText(key.extra), int64(key.name)), int64(kind)))
		if added {
			row := Row{Name: o.t.String(key.name), Device: DeviceCPU, Async: kind == opAsync}
			if kind == opDevice {
				row.Device = o.Device
			}
			if by == GroupShapes {
				row.Shapes = key.extra
			}
			if by == GroupStack {
				row.Stack = key.extra
			}
			rows = append(lists.Doubled(rows), row)
		}
		if flops.Read(o.t.Slices.Args[i], count[:], counted[:]); counted[0] {
			rows[k].FLOPs += count[0]
		}
		o.add(&rows[k], i)
	}
	return sorted(rows)
}

// sorted returns rows in the order that Rows promises. It moves numbers until it knows the order, and looks
// at the rest of a row only where the times before it are equal: rows are long, and there may be one for
// each operator of the trace.
func sorted(rows []Row) []Row {
	at := make([]int32, len(rows))
	for i := range at {
		at[i] = int32(i)
	}
	order.ByKey(at, func(i int32) int64 { return -rows[i].SelfCPU })
	for from := 0; from < len(at); {
		to := from + 1
		for to < len(at) && rows[at[to]].SelfCPU == rows[at[from]].SelfCPU {
			to++
		}
		if to > from+1 {
			sortEqual(rows, at[from:to])
		}
		from = to
	}
	out := make([]Row, len(rows))
	for i, k := range at {
		out[i] = rows[k]
	}
	return out
}

// sortEqual orders rows that have one self CPU time.
func sortEqual(rows []Row, at []int32) {
	type key struct {
		device, cpu int64
		name        string
		row         int32
	}
	keys := make([]key, len(at))
	for i, k := range at {
		keys[i] = key{rows[k].SelfDevice, rows[k].CPU, rows[k].Name, k}
	}
	slices.SortFunc(keys, func(a, b key) int {
		if a.device != b.device {
			return cmp.Compare(b.device, a.device)
		}
		if a.cpu != b.cpu {
			return cmp.Compare(b.cpu, a.cpu)
		}
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		x, y := &rows[a.row], &rows[b.row]
		return cmp.Or(strings.Compare(x.Device, y.Device), strings.Compare(x.Shapes, y.Shapes),
			strings.Compare(x.Stack, y.Stack))
	})
	for i := range keys {
		at[i] = keys[i].row
	}
}

func (o *Ops) add(r *Row, i int) {
	r.Count++
	switch o.kind[i] {
	case opCPU:
		r.SelfCPU += o.selfCPU[i]
		r.CPU += o.t.Slices.Dur[i]
	case opAsync:
		r.CPU += o.t.Slices.Dur[i]
	}
	r.SelfDevice += o.self[i].device
	r.DeviceTime += o.total[i].device
	r.SelfMemory += o.self[i].memory
	r.Memory += o.total[i].memory
	r.SelfDevMemory += o.self[i].devMemory
	r.DevMemory += o.total[i].devMemory
}

// shapes returns the input dims of slice i as Python prints them.
func (o *Ops) shapes(i int) string {
	raw := string(o.t.Arg(i, "Input Dims"))
	return strings.ReplaceAll(strings.ReplaceAll(raw, ", ", ","), ",", ", ")
}

// Stack returns up to depth frames around slice i, innermost first: its recorded call
// stack if it has one, else the Python frames, else the slices around it.
func (o *Ops) Stack(i, depth int) []string {
	if text, ok := o.t.ArgText(i, "Call stack"); ok && text != "" {
		frames := strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == '\n' })
		return frames[:min(depth, len(frames))]
	}
	var python, all []string
	for p := o.index.Parent[i]; p != trace.NoParent && len(python) < depth; p = o.index.Parent[p] {
		name := o.t.String(o.t.Slices.Name[p])
		if o.t.Slices.Cat[p] == trace.CatPythonFunction {
			python = append(python, name)
		}
		if len(all) < depth {
			all = append(all, name)
		}
	}
	if len(python) > 0 {
		return python
	}
	return all
}
