package analysis

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/kinetoscope/kinetoscope/trace"
)

// MemoryReport is what a rank's allocators did.
type MemoryReport struct {
	Rank    int            `json:"rank"`
	Devices []DeviceMemory `json:"devices"`
	// LeftOut counts the events that say no size, or one larger than any host's memory: they are in
	// none of the numbers.
	LeftOut int `json:"left_out,omitempty"`
	// FromCounters says that the trace has counters of what was held in place of allocations: what is counted here
	// as allocations and frees are the counters' rises and falls, and nobody is known to have made them.
	FromCounters bool `json:"from_counters,omitempty"`
}

// DeviceMemory is one allocator's history. Bytes throughout.
type DeviceMemory struct {
	DeviceType int64         `json:"device_type"` // c10 code: 0 CPU, 1 CUDA, 6 HIP, 12 XPU …
	DeviceID   int64         `json:"device_id"`   // -1 for the host
	Series     []MemoryPoint `json:"-"`
	Events     int           `json:"events"`
	Allocs     int64         `json:"allocs"` // in the trace; not those of BaseBytes
	Frees      int64         `json:"frees"`
	// BaseBytes was allocated before the first event of the trace, or said by a native
	// rank to have been, see trace.NameMemoryHeld.
	BaseBytes       int64 `json:"base_bytes"`
	PeakBytes       int64 `json:"peak_bytes"` // largest Total Allocated
	PeakTimeNs      int64 `json:"peak_time_ns"`
	PeakReserved    int64 `json:"peak_reserved_bytes"`
	EndBytes        int64 `json:"end_bytes"`
	AllocatedBytes  int64 `json:"allocated_bytes"`   // sum of all allocations
	FreedBytes      int64 `json:"freed_bytes"`       // sum of all frees
	FreedBeforeTime int64 `json:"freed_early_bytes"` // of them, of memory allocated before the trace
	// ByOp is what each operator allocated, the largest share of the peak first. Without
	// addresses in the trace nothing is known to be held.
	ByOp []MemoryOp `json:"by_op"`
}

// MemoryPoint is an allocator's state from TimeNs on.
type MemoryPoint struct {
	TimeNs    int64 `json:"t"`
	Allocated int64 `json:"allocated"`
	Reserved  int64 `json:"reserved"`
}

// MemoryOp is what one operator allocated, itself and not through nested operators.
type MemoryOp struct {
	Name           string `json:"name"` // "" for allocations outside every operator
	Allocs         int64  `json:"allocs"`
	AllocatedBytes int64  `json:"allocated_bytes"`
	AtPeakBytes    int64  `json:"at_peak_bytes"` // of them, still held at the peak
	LeftBytes      int64  `json:"left_bytes"`    // of them, still held at the end
}

// Memory answers how much memory was held over time and by whom.
func Memory(tr *trace.Trace, opt Options) MemoryReport { return newFrame(tr, opt).memory() }

// maxMemoryBytes is the largest number of bytes that is believed: more than any host
// holds, and small enough that sums of millions of events stay exact.
const maxMemoryBytes = 1 << 45

// memoryEvent is an allocation (bytes > 0) or a free (bytes < 0).
type memoryEvent struct {
	at, bytes, addr, total, reserved int64
	hasAddr, hasTotal                bool
	row, slice                       int32 // instant, -1 of a counter; innermost operator around it, -1 if none
}

// memoryDevice tells allocators apart, as DeviceMemory does.
type memoryDevice struct{ typ, id int64 }

func compareDevices(a, b memoryDevice) int {
	return cmp.Or(cmp.Compare(a.typ, b.typ), cmp.Compare(a.id, b.id))
}

func (f *frame) memory() MemoryReport {
	out := MemoryReport{Rank: f.rank}
	byDev, t, left := f.memoryEvents()
	out.LeftOut, out.FromCounters = left, len(byDev) > 0 && !f.hasAllocations()
	for _, k := range slices.SortedFunc(maps.Keys(byDev), compareDevices) {
		d := f.deviceMemory(byDev[k], t)
		d.DeviceType, d.DeviceID = k.typ, k.id
		if out.FromCounters {
			d.ByOp = nil
		}
		out.Devices = append(out.Devices, d)
	}
	return out
}

// hasAllocations reports whether the trace has single allocations.
func (f *frame) hasAllocations() bool {
	name, ok := f.tr.Strings.Lookup(trace.NameMemory)
	return ok && slices.Contains(f.tr.Instants.Name, name)
}

// memoryEvents returns each allocator's events in order of time, the tree of operators that they
// lie in, and how many events were left out for their size. Where there are none, counters of
// what was held stand for them.
func (f *frame) memoryEvents() (byDev map[memoryDevice][]memoryEvent, t *tree, left int) {
	if !f.hasAllocations() {
		if byDev = f.counterEvents(); len(byDev) > 0 {
			t = f.nest(func(i int32) bool { return isHostOp(f.tr.Slices.Cat[i]) })
		}
		return byDev, t, 0
	}
	in := &f.tr.Instants
	name, _ := f.tr.Strings.Lookup(trace.NameMemory)
	n := 0
	for _, of := range in.Name {
		if of == name {
			n++
		}
	}
	rows := make([]int32, 0, n)
	for i := range int32(len(in.Time)) {
		if in.Name[i] != name {
			continue
		}
		if w := f.opt.Window; w != nil && (in.Time[i] < w.StartNs || in.Time[i] >= w.EndNs) {
			continue
		}
		rows = append(rows, i)
	}
	if len(rows) == 0 {
		return nil, nil, 0
	}
	sortByKey(rows, func(i int32) int64 { return in.Time[i] })
	t = f.nest(func(i int32) bool { return isHostOp(f.tr.Slices.Cat[i]) })
	around := f.aroundInstants(t, rows)
	const bytes, addr, total, reserved, typ, id = 0, 1, 2, 3, 4, 5
	ints := f.tr.IntArgs("Bytes", "Addr", "Total Allocated", "Total Reserved", "Device Type", "Device Id")
	var v [id + 1]int64
	var has [id + 1]bool
	lists := map[memoryDevice]*[]memoryEvent{}
	var last memoryDevice
	var list *[]memoryEvent // of last
	for k, i := range rows {
		e := memoryEvent{at: in.Time[i], row: i, slice: around[k]}
		var dev memoryDevice
		ref := in.Args[i]
		ints.Read(ref, v[:], has[:])
		if e.bytes = v[bytes]; !has[bytes] || max(e.bytes, -e.bytes) > maxMemoryBytes || e.bytes == math.MinInt64 {
			left++
			continue
		}
		if e.addr, e.hasAddr = v[addr], has[addr]; !e.hasAddr {
			e.addr, e.hasAddr = f.wideAddress(ref)
		}
		e.total, e.hasTotal = v[total], has[total] && v[total] >= 0 && v[total] <= maxMemoryBytes
		e.reserved, dev.typ, dev.id = v[reserved], v[typ], v[id]
		if list == nil || dev != last {
			if last, list = dev, lists[dev]; list == nil {
				list = new([]memoryEvent)
				if len(lists) == 0 {
					*list = make([]memoryEvent, 0, len(rows)) // mostly they are of one device
				}
				lists[dev] = list
			}
		}
		*list = append(*list, e)
	}
	byDev = make(map[memoryDevice][]memoryEvent, len(lists))
	for dev, l := range lists {
		byDev[dev] = *l
	}
	return byDev, t, left
}

// wideAddress reads an address that is no int64, as it may lie beyond the largest one.
func (f *frame) wideAddress(ref trace.ArgsRef) (int64, bool) {
	text := f.tr.RefArg(ref, "Addr")
	if len(text) == 0 {
		return 0, false
	}
	v, err := strconv.ParseUint(string(text), 10, 64)
	return int64(v), err == nil
}

// aroundInstants returns, for instants ordered by time, the innermost slice of t around
// each on its own track, noSlice if there is none.
func (f *frame) aroundInstants(t *tree, rows []int32) []int32 {
	s, in := &f.tr.Slices, &f.tr.Instants
	byTrack := map[trace.TrackID][]int32{} // positions in rows
	for k, i := range rows {
		byTrack[in.Track[i]] = append(byTrack[in.Track[i]], int32(k))
	}
	out := filled(len(rows))
	for at := 0; at < len(t.order); {
		track := s.Track[t.order[at]]
		to := at
		for to < len(t.order) && s.Track[t.order[to]] == track {
			to++
		}
		inner := noSlice
		next := at
		for _, k := range byTrack[track] {
			ts := in.Time[rows[k]]
			for next < to && f.start[t.order[next]] <= ts {
				inner = t.order[next]
				next++
			}
			for inner >= 0 && f.end(inner) < ts {
				inner = t.parent[inner]
			}
			out[k] = inner
		}
		at = to
	}
	return out
}

// heldEvents returns how many of an allocator's first events say what was held already
// when the recording began.
func (f *frame) heldEvents(es []memoryEvent, t *tree) int {
	held, ok := f.tr.Strings.Lookup(trace.NameMemoryHeld)
	if !ok {
		return 0
	}
	for k, e := range es {
		if e.bytes < 0 || !f.within(t, e.slice, held) {
			return k
		}
	}
	return len(es)
}

// within reports whether slice i is, or lies in, one of that name.
func (f *frame) within(t *tree, i int32, name trace.StringID) bool {
	for ; i >= 0; i = t.parent[i] {
		if f.tr.Slices.Name[i] == name {
			return true
		}
	}
	return false
}

// baseBytes is what was allocated before the first event. Files of 2021 have no totals;
// there it is the least that keeps the sum of the events from falling below 0.
func baseBytes(es []memoryEvent) int64 {
	if es[0].hasTotal {
		return max(0, es[0].total-es[0].bytes)
	}
	run, low := int64(0), int64(0)
	for _, e := range es {
		run += e.bytes
		low = min(low, run)
	}
	return -low
}

// deviceMemory follows one allocator's events, which are ordered by time.
func (f *frame) deviceMemory(es []memoryEvent, t *tree) DeviceMemory {
	d := DeviceMemory{Events: len(es), BaseBytes: baseBytes(es), Series: make([]MemoryPoint, 0, len(es))}
	held := f.heldEvents(es, t)
	peak, peakAt := int64(-1), 0
	run := d.BaseBytes
	for i := range es {
		e := &es[i]
		if run += e.bytes; !e.hasTotal {
			e.total = run
		}
		if i < held {
			d.BaseBytes += e.bytes
		}
		if e.total > peak {
			peak, peakAt = e.total, i
		}
		d.PeakReserved = max(d.PeakReserved, e.reserved)
		d.Series = append(d.Series, MemoryPoint{e.at, e.total, e.reserved})
	}
	d.PeakBytes, d.PeakTimeNs, d.EndBytes = peak, es[peakAt].at, d.Series[len(es)-1].Allocated
	if d.BaseBytes > peak {
		d.PeakBytes, d.PeakTimeNs, peakAt = d.BaseBytes, es[0].at, -1
	}
	f.memoryByOp(&d, es, held, peakAt)
	return d
}

// memoryByOp fills in who allocated what. The first held events tell what was there
// before; peakAt is the event with the peak, -1 if it came before all.
func (f *frame) memoryByOp(d *DeviceMemory, es []memoryEvent, held, peakAt int) {
	type block struct {
		op    trace.StringID
		bytes int64
	}
	live := map[int64]block{}
	ops := make([]*MemoryOp, f.tr.Strings.Len())
	op := func(id trace.StringID) *MemoryOp {
		o := ops[id]
		if o == nil {
			o = &MemoryOp{Name: f.tr.String(id)}
			ops[id] = o
		}
		return o
	}
	for i, e := range es {
		if e.bytes > 0 {
			id := trace.StringID(0)
			if e.slice >= 0 {
				id = f.tr.Slices.Name[e.slice]
			}
			o := op(id)
			if i >= held {
				d.Allocs++
				d.AllocatedBytes += e.bytes
			}
			o.Allocs++
			o.AllocatedBytes += e.bytes
			if e.hasAddr {
				live[e.addr] = block{id, e.bytes}
			}
		} else if e.bytes < 0 {
			d.Frees++
			d.FreedBytes -= e.bytes
			if _, ok := live[e.addr]; e.hasAddr && !ok {
				d.FreedBeforeTime -= e.bytes
			}
			delete(live, e.addr)
		}
		if i == peakAt {
			for _, b := range live {
				op(b.op).AtPeakBytes += b.bytes
			}
		}
	}
	for _, b := range live {
		op(b.op).LeftBytes += b.bytes
	}
	for _, o := range ops {
		if o != nil {
			d.ByOp = append(d.ByOp, *o)
		}
	}
	slices.SortFunc(d.ByOp, func(a, b MemoryOp) int {
		return cmp.Or(cmp.Compare(b.AtPeakBytes, a.AtPeakBytes), cmp.Compare(b.AllocatedBytes, a.AllocatedBytes),
			cmp.Compare(a.Name, b.Name))
	})
}
