package perfetto

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kinetoscope/kinetoscope/trace"
)

// laneEvents yields the events of a lane by time. Slices end before what begins at
// the same instant, instants come after begins.
func (r *rankTracks) laneEvents(l int32) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		c := cursor{r: r, lane: l, yield: yield}
		ln, s := &r.lanes[l], &r.t.Slices
		for slot, i := range ln.slices {
			start := s.Start[i]
			if !c.points(start, false) || !c.endUntil(start) {
				return
			}
			if !c.send(eventBegin, start, i, int32(slot)) {
				return
			}
			c.open = append(c.open, i)
		}
		if c.points(0, true) {
			c.endUntil(1<<63 - 1)
		}
	}
}

// cursor walks the columns of one lane together.
type cursor struct {
	r             *rankTracks
	lane          int32
	yield         func(Event) bool
	open          []int32 // slices begun, innermost last
	instant, flow int
}

func (c *cursor) send(k eventKind, ns int64, index, slot int32) bool {
	return c.yield(Event{Time: c.r.clock(ns), rank: c.r, kind: k, lane: c.lane, index: index, slot: slot})
}

// endUntil ends the open slices that end at or before ns.
func (c *cursor) endUntil(ns int64) bool {
	s := &c.r.t.Slices
	for len(c.open) > 0 {
		i := c.open[len(c.open)-1]
		if s.End(int(i)) > ns {
			return true
		}
		c.open = c.open[:len(c.open)-1]
		if !c.send(eventEnd, s.End(int(i)), i, 0) {
			return false
		}
	}
	return true
}

// points sends the instants and loose flow ends before ns, or all, closing the
// slices that end before each.
func (c *cursor) points(ns int64, all bool) bool {
	l := &c.r.lanes[c.lane]
	for {
		at, kind, index := int64(0), eventInstant, int32(0)
		haveInstant, haveFlow := c.instant < len(l.instants), c.flow < len(l.loose)
		switch {
		case haveInstant && (!haveFlow ||
			c.r.t.Instants.Time[l.instants[c.instant]] <= c.r.t.Flows.Time[l.loose[c.flow]]):
			index = l.instants[c.instant]
			at = c.r.t.Instants.Time[index]
		case haveFlow:
			kind, index = eventFlow, l.loose[c.flow]
			at = c.r.t.Flows.Time[index]
		default:
			return true
		}
		if !all && at >= ns {
			return true
		}
		if kind == eventInstant {
			c.instant++
		} else {
			c.flow++
		}
		if !c.endUntil(at) || !c.send(kind, at, index, 0) {
			return false
		}
	}
}

// counterEvents yields the counter samples by time and declares their tracks.
func (r *rankTracks) counterEvents() iter.Seq[Event] {
	c := &r.t.Counters
	order := make([]int32, len(c.Time))
	for i := range order {
		order[i] = int32(i)
		key := seriesKey{c.Track[i], c.Name[i], c.Series[i]}
		if r.series[key] != 0 {
			continue
		}
		name := r.t.String(c.Name[i])
		if s := r.t.String(c.Series[i]); s != "" && s != name && s != "value" {
			name += " " + s
		}
		r.series[key] = r.counterTrack(name)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(c.Time[a], c.Time[b]) })
	return r.column(order, c.Time, eventCounter)
}

// memoryEvents yields the allocator's instants by time, as samples of its totals.
func (r *rankTracks) memoryEvents() iter.Seq[Event] {
	in := &r.t.Instants
	var order []int32
	for i := range in.Time {
		if r.isMemory(int32(i)) && int(in.Track[i]) < len(r.t.Tracks) {
			order = append(order, int32(i))
		}
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(in.Time[a], in.Time[b]) })
	return r.column(order, in.Time, eventMemory)
}

func (r *rankTracks) column(order []int32, times []int64, kind eventKind) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for _, i := range order {
			if !yield(Event{Time: r.clock(times[i]), rank: r, kind: kind, index: i}) {
				return
			}
		}
	}
}

func (r *rankTracks) counterTrack(name string) uint64 {
	unit := uint64(unitCount)
	if strings.Contains(strings.ToLower(name), "bytes") || strings.HasPrefix(name, "memory ") {
		unit = unitBytes
	}
	return r.p.track(trackSpec{
		name: name, parent: r.process, order: len(r.t.Tracks),
		counter: appendVarint(nil, fieldCounterUnit, unit),
	})
}

// looseEnd is the category of the instants that stand for an arrow's end that lies in no slice: arrows need
// something to hold on to. Read takes them for the end alone.
const looseEnd = "kinetoscope.arrow"

// Emit writes e. Events of one sequence must be emitted in its order.
func (p *Writer) Emit(e Event) {
	r := e.rank
	switch e.kind {
	case eventBegin:
		r.begin(e)
	case eventEnd:
		p.startEvent(typeSliceEnd, r.lanes[e.lane].uuid)
		p.endEvent(e.Time)
	case eventInstant:
		in := &r.t.Instants
		p.stats.Instants++
		p.startEvent(typeInstant, r.lanes[e.lane].uuid)
		p.eventName(r.t.String(in.Name[e.index]), r.t.CategoryText(in.Cat[e.index]))
		r.arguments(in.Args[e.index])
		p.endEvent(e.Time)
	case eventFlow:
		f := &r.t.Flows
		p.stats.Instants++
		p.startEvent(typeInstant, r.lanes[e.lane].uuid)
		p.eventName(r.t.String(f.Name[e.index]), looseEnd)
		r.flowEnd(e.index)
		p.endEvent(e.Time)
	case eventCounter:
		c := &r.t.Counters
		p.counter(r.series[seriesKey{c.Track[e.index], c.Name[e.index], c.Series[e.index]}], e.Time, c.Value[e.index])
	case eventMemory:
		r.memoryTotals(e)
	}
}

func (r *rankTracks) begin(e Event) {
	s, l := &r.t.Slices, &r.lanes[e.lane]
	r.p.stats.Slices++
	r.p.startEvent(typeSliceBegin, l.uuid)
	r.p.eventName(r.t.String(s.Name[e.index]), r.t.CategoryText(s.Cat[e.index]))
	if l.flows != nil {
		for _, f := range l.flows[e.slot] {
			r.flowEnd(f)
		}
	}
	r.arguments(s.Args[e.index])
	r.p.endEvent(e.Time)
}

// args returns the raw object of ref, valid until the next call.
func (r *rankTracks) args(ref trace.ArgsRef) []byte {
	r.p.raw = r.t.AppendArgs(r.p.raw[:0], ref)
	return r.p.raw
}

func (r *rankTracks) flowEnd(f int32) {
	r.p.stats.FlowEnds++
	field := protowire.Number(fieldEventFlowEnds)
	if r.t.Flows.Start[f] {
		field = fieldEventFlows
	}
	r.p.event = appendFixed64(r.p.event, field, r.flowID(f))
}

// memoryTotals writes the totals that a [memory] instant carries, each on a counter
// of its device, and before the first what was held until then.
func (r *rankTracks) memoryTotals(e Event) {
	ref := r.t.Instants.Args[e.index]
	device, ok := r.t.RefArgInt(ref, "Device Id")
	m := trace.MemoryCounter{ID: max(device, -1)}
	if !ok {
		m.ID = 0
	}
	m.Type, _ = r.t.RefArgInt(ref, "Device Type")
	if m.ID >= 0 && m.Type == 0 {
		m.Type = 1 // a number and no type: a card
	}
	for _, key := range []string{"Total Allocated", "Total Reserved"} {
		v, ok := r.t.RefArgInt(ref, key)
		if !ok {
			continue
		}
		m.Reserved = key == "Total Reserved"
		name := m.Name()
		if r.memory[name] == 0 {
			r.memory[name] = r.counterTrack(name)
			if bytes, ok := r.t.RefArgInt(ref, "Bytes"); ok && !m.Reserved && bytes > 0 && bytes <= v {
				r.p.counter(r.memory[name], e.Time, float64(v-bytes))
			}
		}
		r.p.counter(r.memory[name], e.Time, float64(v))
	}
}
