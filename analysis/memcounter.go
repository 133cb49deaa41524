package analysis

import (
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
)

// counterEvents reads each allocator's events from counters of what it held: an event is a change. Of those in the
// time of a native rank's account of what it holds, that is the operator.
func (f *frame) counterEvents() map[memoryDevice][]memoryEvent {
	c := &f.tr.Counters
	known := map[trace.StringID]trace.MemoryCounter{}
	none := map[trace.StringID]bool{}
	var rows []int32
	for i, id := range c.Name {
		if none[id] {
			continue
		}
		if _, ok := known[id]; !ok {
			m, ok := trace.ParseMemoryCounter(f.tr.String(id))
			if !ok {
				none[id] = true
				continue
			}
			known[id] = m
		}
		if v := c.Value[i]; v >= 0 && v <= maxMemoryBytes {
			rows = append(rows, int32(i))
		}
	}
	sortByKey(rows, func(i int32) int64 { return c.Time[i] })
	type state struct {
		total, reserved int64
		seen            bool
	}
	states := map[memoryDevice]*state{}
	out := map[memoryDevice][]memoryEvent{}
	account := f.heldSlice()
	for _, i := range rows {
		m := known[c.Name[i]]
		dev := memoryDevice{m.Type, m.ID}
		st := states[dev]
		if st == nil {
			st = &state{}
			states[dev] = st
		}
		v := int64(c.Value[i])
		es := out[dev]
		if m.Reserved {
			// Written behind the total of the same event.
			if st.reserved = v; len(es) > 0 && es[len(es)-1].at == c.Time[i] {
				es[len(es)-1].reserved = v
			}
			continue
		}
		e := memoryEvent{at: c.Time[i], total: v, hasTotal: true, reserved: st.reserved, row: -1, slice: noSlice}
		if st.seen {
			e.bytes = v - st.total
		}
		st.total, st.seen = v, true
		if account >= 0 && e.at >= f.start[account] && e.at <= f.end(account) {
			e.slice = account
		}
		if w := f.opt.Window; w != nil && (e.at < w.StartNs || e.at >= w.EndNs) {
			continue
		}
		out[dev] = append(es, e)
	}
	return out
}

// heldSlice is the first slice by which a native rank says what it holds, noSlice without one.
func (f *frame) heldSlice() int32 {
	if id, ok := f.tr.Strings.Lookup(trace.NameMemoryHeld); ok {
		if i := slices.Index(f.tr.Slices.Name, id); i >= 0 {
			return int32(i)
		}
	}
	return noSlice
}
