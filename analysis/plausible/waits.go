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
	so := c.newSofar()
	next := 0
	for _, call := range calls {
		for ; next < len(work) && v.End(v.Launch(work[next])) <= v.Start[call]; next++ {
			so.add(c, work[next])
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

// sofar is the state of the launches up to a time: for each lane and device the work that ends
// last, and for each thread its last copy to the host if nothing was launched after it; view.None
// where there is none.
type sofar struct {
	lane, device []int32
	copied       []int32 // by track
	laneNo       map[streamID]int32
	deviceNo     map[int64]int32
	deviceOf     []int32 // by lane: number of its device
	toHost       []int8  // by name: 1 if a copy of it ends on the host, -1 if not, 0 if that is not known yet
}

func (c *checker) newSofar() sofar {
	lanes := c.v.Lanes
	s := sofar{
		lane: nones(len(lanes)), copied: nones(len(c.v.Trace.Tracks)),
		laneNo: make(map[streamID]int32, len(lanes)), deviceNo: map[int64]int32{},
		deviceOf: make([]int32, len(lanes)), toHost: make([]int8, c.v.Trace.Strings.Len()),
	}
	for l := range lanes {
		s.laneNo[streamID{lanes[l].Device, lanes[l].Stream}] = int32(l)
		k, ok := s.deviceNo[lanes[l].Device]
		if !ok {
			k = int32(len(s.deviceNo))
			s.deviceNo[lanes[l].Device] = k
		}
		s.deviceOf[l] = k
	}
	s.device = nones(len(s.deviceNo))
	return s
}

func nones(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = view.None
	}
	return out
}

func (s *sofar) add(c *checker, i int32) {
	l := c.v.LaneOf[i]
	last := func(w *int32) {
		if *w < 0 || c.end(i) > c.end(*w) {
			*w = i
		}
	}
	last(&s.lane[l])
	last(&s.device[s.deviceOf[l]])
	by := c.v.Trace.Slices.Track[c.v.Launch(i)]
	s.copied[by] = view.None
	if s.endsOnHost(c, i) {
		s.copied[by] = i
	}
}

// endsOnHost is toHost of slice i's name, asked once a name.
func (s *sofar) endsOnHost(c *checker, i int32) bool {
	k := &s.toHost[c.v.Trace.Slices.Name[i]]
	if *k == 0 {
		*k = -1
		if toHost(c.v.Name(i)) {
			*k = 1
		}
	}
	return *k > 0
}

// onStream is the last work of a stream, onDevice that of a device.
func (s *sofar) onStream(id streamID) int32 {
	if l, ok := s.laneNo[id]; ok {
		return s.lane[l]
	}
	return view.None
}

func (s *sofar) onDevice(id int64) int32 {
	if k, ok := s.deviceNo[id]; ok {
		return s.device[k]
	}
	return view.None
}

// awaited returns the last-ending work that a call waits for; view.None if that is not known or
// there is none.
func (c *checker) awaited(call int32, kind waitKind, ids []int64, so *sofar) int32 {
	v := c.v
	row := v.Partner[call] // the device's record of the call, or the copy
	switch {
	case kind == waitsForCopy:
		if row >= 0 && c.kept(row) && v.LaneOf[row] >= 0 && v.OnDevice(row) && so.endsOnHost(c, row) {
			return row
		}
	case row >= 0 && v.Trace.Slices.Cat[row] == trace.CatCUDASync:
		at := v.Trace.Tracks[v.Trace.Slices.Track[row]]
		if kind == waitsForDevice {
			return so.onDevice(at.Device)
		}
		return so.onStream(streamID{at.Device, at.Stream})
	case kind == waitsForDevice && len(ids) == 1:
		return so.onDevice(ids[0])
	case kind == waitsForStream: // torch copies and waits in one breath
		return so.copied[v.Trace.Slices.Track[call]]
	}
	return view.None
}
