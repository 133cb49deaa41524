package plausible

import (
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/order"
)

// waitKind is what a call of the host waits for.
type waitKind int8

const (
	waitsForNothing waitKind = iota + 1
	waitsForDevice           // all work of a device
	waitsForStream           // all work of a stream
	waitsForCopy             // the copy that it launched
	waitsForEvent            // what was launched before an event, which the call does not name
)

// waitOf returns, by a runtime call's name, what has ended when the call returns.
func waitOf(name string) waitKind {
	low := strings.ToLower(name)
	switch {
	case strings.Contains(low, "devicesynchronize"), strings.Contains(low, "ctxsynchronize"):
		return waitsForDevice
	case strings.Contains(low, "streamsynchronize"):
		return waitsForStream
	case strings.Contains(low, "eventsynchronize"):
		return waitsForEvent
	case strings.Contains(low, "memcpy") && !strings.Contains(low, "async"):
		return waitsForCopy
	}
	return waitsForNothing
}

// toHost reports whether a copy, by its name, ends in the host's memory. Only such copies have
// ended when the call that made them returns.
func toHost(name string) bool {
	low := strings.ToLower(name)
	return strings.Contains(low, "dtoh") || strings.Contains(low, "devicetohost") ||
		strings.Contains(low, "device to host")
}

// waits returns, by device, the upper bounds that calls give by returning after work has ended.
// Work counts for a call if its launch call had returned before. A call whose device or stream is
// not known, for instance because there are several devices, gives no bound.
func (c *checker) waits(ids []int64) map[int64][]bound {
	v, s := c.v, &c.v.Trace.Slices
	kind := make([]waitKind, v.Trace.Strings.Len())
	var calls, work []int32
	for i := range int32(s.Len()) {
		if !s.Cat[i].Runtime() || !v.Counts(i) {
			continue
		}
		k := &kind[s.Name[i]]
		if *k == 0 {
			*k = waitOf(v.Name(i))
		}
		switch *k {
		case waitsForNothing:
		case waitsForEvent:
			c.waitsForEvents = true
		default:
			calls = append(calls, i)
		}
	}
	out := map[int64][]bound{}
	if len(calls) == 0 {
		return out
	}
	for _, i := range v.Work {
		if c.kept(i) && v.OnDevice(i) && v.Launch(i) >= 0 {
			work = append(work, i)
		}
	}
	order.ByKey(calls, func(i int32) int64 { return v.Start[i] })
	order.ByKey(work, func(i int32) int64 { return v.End(v.Launch(i)) })
	so := sofar{lane: map[streamID]int32{}, device: map[int64]int32{}, copied: map[trace.TrackID]int32{}}
	next := 0
	for _, call := range calls {
		for ; next < len(work) && v.End(v.Launch(work[next])) <= v.Start[call]; next++ {
			i := work[next]
			so.add(c, i)
		}
		if i := c.awaited(call, kind[s.Name[call]], ids, &so); i >= 0 {
			d := v.Lanes[v.LaneOf[i]].Device
			out[d] = append(out[d], bound{c.end(i), v.End(call) - c.end(i), i})
		}
	}
	return out
}

// end is when slice i ends, as far as it has been corrected.
func (c *checker) end(i int32) int64 { return c.startOf(i) + c.durOf(i) }

// streamID names a stream.
type streamID struct{ device, stream int64 }

// sofar is the state of the launches up to a time: for each stream and device the work that ends
// last, and for each thread its last copy to the host if nothing was launched after it.
type sofar struct {
	lane   map[streamID]int32
	device map[int64]int32
	copied map[trace.TrackID]int32
}

func (s *sofar) add(c *checker, i int32) {
	x := &c.v.Lanes[c.v.LaneOf[i]]
	id := streamID{x.Device, x.Stream}
	if w, ok := s.lane[id]; !ok || c.end(i) > c.end(w) {
		s.lane[id] = i
	}
	if w, ok := s.device[x.Device]; !ok || c.end(i) > c.end(w) {
		s.device[x.Device] = i
	}
	by := c.v.Trace.Slices.Track[c.v.Launch(i)]
	if delete(s.copied, by); toHost(c.v.Name(i)) {
		s.copied[by] = i
	}
}

// awaited returns the last-ending work that a call waits for; view.None if that is not known or
// there is none.
func (c *checker) awaited(call int32, kind waitKind, ids []int64, so *sofar) int32 {
	v := c.v
	row := v.Partner[call] // the device's record of the call, or the copy
	found := func(i int32, ok bool) int32 {
		if !ok {
			return view.None
		}
		return i
	}
	switch {
	case kind == waitsForCopy:
		return found(row, row >= 0 && c.kept(row) && v.LaneOf[row] >= 0 && v.OnDevice(row) && toHost(v.Name(row)))
	case row >= 0 && v.Trace.Slices.Cat[row] == trace.CatCUDASync:
		at := v.Trace.Tracks[v.Trace.Slices.Track[row]]
		if kind == waitsForDevice {
			i, ok := so.device[at.Device]
			return found(i, ok)
		}
		i, ok := so.lane[streamID{at.Device, at.Stream}]
		return found(i, ok)
	case kind == waitsForDevice && len(ids) == 1:
		i, ok := so.device[ids[0]]
		return found(i, ok)
	case kind == waitsForStream: // torch copies and waits in one breath
		i, ok := so.copied[v.Trace.Slices.Track[call]]
		return found(i, ok)
	}
	return view.None
}
