package perfetto

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kinetoscope/kinetoscope/trace"
)

// trackState is a track that a descriptor declared, or that an event named.
type trackState struct {
	parent      uint64
	name        string
	pid, tid    int64
	isProcess   bool
	isThread    bool
	isCounter   bool
	multiplier  int64
	incremental bool
	value       int64 // of an incremental counter
	open        []int // slices whose end was not read yet, innermost last
	id          trace.TrackID
	placed      bool // id is valid
}

// describe reads a TrackDescriptor. A later one of the same track adds to the first.
func (d *decoder) describe(b []byte) {
	var uuid, parent uint64
	var name string
	var process, thread, counter []byte
	if !message(b, func(num protowire.Number, v uint64, bytes []byte) {
		switch num {
		case fieldTrackUUID:
			uuid = v
		case fieldTrackParent:
			parent = v
		case fieldTrackName, fieldTrackStaticName:
			name = string(bytes)
		case fieldTrackProcess:
			process = bytes
		case fieldTrackThread:
			thread = bytes
		case fieldTrackCounter:
			counter = append([]byte{}, bytes...)
		}
	}) {
		d.t.Repairs.Add(trace.RepairSyntax, 1)
		return
	}
	k := d.track(uuid)
	if parent != 0 {
		k.parent = parent
	}
	if name != "" {
		k.name = name
	}
	if process != nil {
		k.isProcess = true
		k.pid = d.processDescriptor(process)
	}
	if thread != nil {
		k.isThread = true
		d.threadDescriptor(k, thread)
	}
	if counter != nil {
		k.isCounter = true
		message(counter, func(num protowire.Number, v uint64, _ []byte) {
			switch num {
			case fieldCounterMultiplier:
				k.multiplier = int64(v)
			case fieldCounterIncremental:
				k.incremental = v != 0
			}
		})
	}
}

func (d *decoder) processDescriptor(b []byte) (pid int64) {
	var name string
	message(b, func(num protowire.Number, v uint64, bytes []byte) {
		switch num {
		case fieldProcessPID:
			pid = int64(int32(v))
		case fieldProcessName:
			name = string(bytes)
		}
	})
	if name != "" {
		d.processes[pid] = name
	}
	return pid
}

func (d *decoder) threadDescriptor(k *trackState, b []byte) {
	message(b, func(num protowire.Number, v uint64, bytes []byte) {
		switch num {
		case fieldThreadPID:
			k.pid = int64(int32(v))
		case fieldThreadTID:
			k.tid = int64(v)
		case fieldThreadName:
			k.name = string(bytes)
		}
	})
}

func (d *decoder) track(uuid uint64) *trackState {
	k := d.tracks[uuid]
	if k == nil {
		k = &trackState{}
		d.tracks[uuid] = k
	}
	return k
}

// overlap is the name that the Writer gives the further lanes of a track.
var overlap = regexp.MustCompile(` overlap \d+$`)

// place returns the trace's track of k, made when its first event is read.
func (d *decoder) place(k *trackState) trace.TrackID {
	if k.placed {
		return k.id
	}
	k.placed = true
	parent := d.tracks[k.parent]
	if parent != nil && !parent.isProcess && parent != k && overlap.ReplaceAllString(k.name, "") == d.nameOf(parent) &&
		overlap.MatchString(k.name) {
		k.id = d.place(parent)
		return k.id
	}
	pid := d.pidOf(k)
	t := trace.Track{Kind: trace.TrackOther, PID: pid, TID: k.tid, Device: -1, Stream: -1, Process: d.processes[pid],
		Name: d.nameOf(k), SortIndex: int64(len(d.t.Tracks))}
	if k.isThread || k.isProcess {
		t.Kind = trace.TrackCPU
	}
	if !k.isThread {
		t.TID = int64(len(d.t.Tracks)) // tracks that are not threads have no number of their own
	}
	k.id = d.t.AddTrack(t)
	return k.id
}

func (d *decoder) nameOf(k *trackState) string {
	if k.name == "" && k.isProcess {
		return d.processes[k.pid]
	}
	return k.name
}

// maxParents bounds how far a track's parents are followed; a file may hold a circle.
const maxParents = 64

// pidOf returns the process that a track lies under, 0 if it lies under none.
func (d *decoder) pidOf(k *trackState) int64 {
	for range maxParents {
		if k.pid != 0 {
			return k.pid
		}
		parent := d.tracks[k.parent]
		if parent == nil {
			return 0
		}
		k = parent
	}
	return 0
}

// eventFields are the parts of a TrackEvent that matter here.
type eventFields struct {
	kind              uint64
	track             uint64
	name, category    string
	annotations       [][]byte
	counter           int64
	double            float64
	hasInt, hasDouble bool
	flows, flowEnds   []uint64
	phase             byte // of a legacy event
	durationUs        int64
}

func (d *decoder) trackEvent(s *sequence, ns int64, b []byte) {
	e := eventFields{track: s.defaultTrack}
	ok := message(b, func(num protowire.Number, v uint64, bytes []byte) {
		switch num {
		case fieldEventType:
			e.kind = v
		case fieldEventTrackUUID:
			e.track = v
		case fieldEventNameIID:
			e.name = d.text(s.names, v)
		case fieldEventName:
			e.name = string(bytes)
		case fieldEventCategoryIIDs:
			if bytes == nil && e.category == "" {
				e.category = d.text(s.categories, v)
			} else if iid, n := protowire.ConsumeVarint(bytes); n > 0 && e.category == "" { // packed
				e.category = d.text(s.categories, iid)
			}
		case fieldEventCategory:
			e.category = string(bytes)
		case fieldEventAnnotations:
			e.annotations = append(e.annotations, bytes)
		case fieldEventCounter:
			e.counter, e.hasInt = int64(v), true
		case fieldEventDouble:
			e.double, e.hasDouble = math.Float64frombits(v), true
		case fieldEventFlows, fieldEventOldFlows:
			e.flows = appendFlow(e.flows, v, bytes)
		case fieldEventFlowEnds, fieldEventOldFlowEnds:
			e.flowEnds = appendFlow(e.flowEnds, v, bytes)
		case fieldEventTimeDelta:
			ns = trace.AddNs(d.lastTime, int64(min(v, math.MaxInt64/1000))*1000)
			d.lastTime = ns
		case fieldEventTimeAbsolute:
			ns = int64(min(v, math.MaxInt64/1000)) * 1000
		case fieldEventLegacy:
			e.legacy(bytes)
		}
	})
	if !ok {
		d.t.Repairs.Add(trace.RepairSyntax, 1)
		return
	}
	d.apply(s, ns, &e)
}

// text returns an interned text, or a placeholder if the packet that defined it was lost.
func (d *decoder) text(table map[uint64]string, iid uint64) string {
	s, ok := table[iid]
	if !ok {
		d.lost++
		return "name lost"
	}
	return s
}

// appendFlow appends a flow id, or the packed ones in bytes.
func appendFlow(ids []uint64, v uint64, bytes []byte) []uint64 {
	if bytes == nil {
		return append(ids, v)
	}
	for len(bytes) >= 8 {
		id, n := protowire.ConsumeFixed64(bytes)
		if n < 0 {
			break
		}
		ids, bytes = append(ids, id), bytes[n:]
	}
	return ids
}

func (e *eventFields) legacy(b []byte) {
	message(b, func(num protowire.Number, v uint64, _ []byte) {
		switch num {
		case fieldLegacyPhase:
			e.phase = byte(v)
		case fieldLegacyDuration:
			e.durationUs = int64(v)
		}
	})
	if e.kind != 0 {
		return
	}
	switch e.phase {
	case 'B':
		e.kind = typeSliceBegin
	case 'E':
		e.kind = typeSliceEnd
	case 'I', 'i', 'R', 'n':
		e.kind = typeInstant
	}
}

// apply adds an event to the trace.
func (d *decoder) apply(s *sequence, ns int64, e *eventFields) {
	k := d.track(e.track)
	switch {
	case e.kind == typeSliceBegin:
		d.flowsOf(k, ns, e)
		k.open = append(k.open, d.begin(s, k, ns, e))
	case e.kind == typeSliceEnd:
		if len(k.open) == 0 {
			d.t.Repairs.Add(trace.RepairUnmatchedEnd, 1)
			return
		}
		i := k.open[len(k.open)-1]
		k.open = k.open[:len(k.open)-1]
		// some writers know the arguments only at the end
		if len(e.annotations) > 0 && d.t.Slices.Args[i] == trace.NoArgs {
			d.t.Slices.Args[i] = d.t.AddArgs(d.arguments(s, e.annotations))
		}
		d.end(i, ns)
	case e.kind == typeInstant:
		d.flowsOf(k, ns, e)
		if e.category == looseEnd {
			return
		}
		d.t.AddInstant(trace.AddNs(ns, d.offset), e.name, d.t.Category(e.category), d.place(k),
			d.arguments(s, e.annotations))
	case e.kind == typeCounter:
		d.counter(k, ns, e)
	case e.phase == 'X':
		d.flowsOf(k, ns, e)
		d.end(d.begin(s, k, ns, e), trace.AddNs(ns, max(0, min(e.durationUs, math.MaxInt64/1000-1))*1000))
	default:
		d.foreign++
	}
}

// begin adds a slice whose end is not known yet, so that slices lie in the order of their
// begins, the outer before the inner.
func (d *decoder) begin(s *sequence, k *trackState, ns int64, e *eventFields) int {
	args := d.arguments(s, e.annotations)
	return d.t.AddSlice(trace.Slice{
		Start: ns + d.offset, Name: e.name, Cat: d.t.Category(e.category), Track: d.place(k), Corr: correlation(args),
		Args: args,
	})
}

func (d *decoder) end(i int, ns int64) {
	dur := trace.AddNs(ns, d.offset) - d.t.Slices.Start[i]
	if dur < 0 {
		d.t.Repairs.Add(trace.RepairNegativeDur, 1)
		dur = 0
	}
	d.t.Slices.Dur[i] = dur
}

// correlationKey is Kineto's argument that links a call with the work it launched.
const correlationKey = `"correlation":`

func correlation(args []byte) int64 {
	i := strings.Index(string(args), correlationKey)
	if i < 0 {
		return trace.NoCorrelation
	}
	rest := args[i+len(correlationKey):]
	n := 0
	for n < len(rest) && rest[n]-'0' <= 9 {
		n++
	}
	v, err := strconv.ParseInt(string(rest[:n]), 10, 64)
	if err != nil || v == 0 {
		return trace.NoCorrelation
	}
	return v
}

// flowsOf adds the ends of arrows that an event names: the first of an id begins the
// arrow, later ones end it.
func (d *decoder) flowsOf(k *trackState, ns int64, e *eventFields) {
	for _, id := range e.flows {
		start := !d.flows[id]
		d.flows[id] = true
		d.t.AddFlow(trace.AddNs(ns, d.offset), id, "flow", e.name, d.place(k), start)
	}
	for _, id := range e.flowEnds {
		d.t.AddFlow(trace.AddNs(ns, d.offset), id, "flow", e.name, d.place(k), false)
	}
}

func (d *decoder) counter(k *trackState, ns int64, e *eventFields) {
	v := e.double
	if e.hasInt && !e.hasDouble {
		n := e.counter
		if k.incremental {
			k.value += n
			n = k.value
		}
		v = float64(n)
	}
	if k.multiplier != 0 {
		v *= float64(k.multiplier)
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		d.t.Repairs.Add(trace.RepairNonFinite, 1)
		return
	}
	d.t.AddCounter(trace.AddNs(ns, d.offset), d.nameOf(k), "value", d.place(k), v)
}

// finish closes what is open and says what the trace is.
func (d *decoder) finish() *trace.Trace {
	_, end, _ := d.t.Extent()
	for _, k := range d.tracks {
		for _, i := range k.open {
			d.t.Repairs.Add(trace.RepairUnmatchedBegin, 1)
			d.end(i, end-d.offset)
		}
	}
	if d.foreign > 0 {
		d.t.Repairs.Add(RepairOtherSource, d.foreign)
	}
	if d.lost > 0 {
		d.t.Repairs.Add(RepairLostState, d.lost)
	}
	d.devices()
	d.t.Meta.WallClock = d.hasWall
	d.t.Window()
	d.t.Trim()
	return d.t
}

// devices marks the tracks that hold a device's work, and the device and stream that the work names. These number the
// tracks, as they do in Kineto's files: there an annotation, which names neither, is told to be the device's by that.
func (d *decoder) devices() {
	s := &d.t.Slices
	for i, c := range s.Cat {
		k := &d.t.Tracks[s.Track[i]]
		if k.Kind == trace.TrackGPU || !c.Busy() {
			continue
		}
		k.Kind, k.Device, k.Stream = trace.TrackGPU, 0, k.TID
		if v, ok := d.t.ArgInt(i, "device"); ok {
			k.Device = v
		}
		if v, ok := d.t.ArgInt(i, "stream"); ok {
			k.Stream = v
		}
	}
	type stream struct {
		process        string
		device, number int64
	}
	of := func(k *trace.Track) stream { return stream{k.Process, k.Device, k.Stream} }
	tracks := map[stream]int{}
	for i := range d.t.Tracks {
		tracks[of(&d.t.Tracks[i])]++
	}
	for i := range d.t.Tracks {
		if k := &d.t.Tracks[i]; k.Kind == trace.TrackGPU && tracks[of(k)] == 1 {
			k.PID, k.TID = k.Device, k.Stream
		}
	}
}
