package analysis

import (
	"math"

	"github.com/kinetoscope/kinetoscope/analysis/hta"
	"github.com/kinetoscope/kinetoscope/trace"
)

// The arguments of a cuda_sync row.
const (
	argWaitStream = "wait_on_stream"
	argWaitCorr   = "wait_on_cuda_event_record_corr_id"
)

// streamOf is a device slice's or a synchronisation's stream as the arguments name it.
type streamOf struct{ device, stream int64 }

// deviceEdges adds the kernels and what each of them waited for.
func (g *critGraph) deviceEdges() {
	f := g.f
	s := &f.tr.Slices
	rows := g.deviceRows()
	idle := g.idleAtLaunch()
	waits := g.eventWaits()
	lastOnLane := map[int64]critNode{} // one entry a stream
	contexts := contextSyncs{last: noSlice, fresh: map[int64]bool{}}
	syncFrom := map[int32]int32{} // kernel -> kernel it waits for
	for _, i := range rows {
		if s.Cat[i] == trace.CatCUDASync {
			g.sync(i, waits, lastOnLane, &contexts, syncFrom)
			continue
		}
		start, end, h := 2*i, 2*i+1, f.partner[i]
		g.add(start, end, EdgeOperator, i, false)
		lane := g.laneKey(i)
		prev, hasPrev := lastOnLane[lane]
		src, synced := syncFrom[i]
		synced = synced && g.hasNode[src]
		edge := synced
		if synced {
			g.add(2*src+1, start, EdgeSync, noSlice, false)
		}
		delay := false
		switch {
		case h >= 0 && idle(i) && (!hasPrev || g.time(prev) < f.start[h]) && (!synced || f.end(src) < f.start[h]):
			if delay = g.hasNode[h]; delay {
				g.add(2*h, start, EdgeLaunchDelay, noSlice, false)
				edge = true
			}
		case hasPrev && (!synced || f.end(src) < g.time(prev)) &&
			(!f.rules.LimitedKernelGap || f.start[i]-g.time(prev) < hta.KernelGapNs):
			g.add(prev, start, EdgeKernelDelay, prev>>1, false)
			edge = true
		}
		if !edge {
			g.noEdge++
		}
		if g.co.ZeroWeightLaunchEdges && !delay && h >= 0 && g.hasNode[h] {
			g.add(2*h, start, EdgeLaunchDelay, noSlice, true)
		}
		if !hasPrev {
			contexts.lanes = append(contexts.lanes, lane)
		}
		contexts.worked(lane)
		lastOnLane[lane] = end
	}
}

// contextSyncs knows which lanes a synchronisation with the whole context waits for.
type contextSyncs struct {
	lanes []int64        // all, in order of their first work
	since []int64        // those with work since the last such call
	fresh map[int64]bool // the same as a set
	last  int32          // that call, noSlice before the first
}

func (c *contextSyncs) worked(lane int64) {
	if !c.fresh[lane] {
		c.fresh[lane] = true
		c.since = append(c.since, lane)
	}
}

// waitsFor returns the lanes whose last work the call waits for. What had ended when an
// earlier call returned needs no edge of its own: the edge from that call has it, which is
// added. HTA has an edge from every lane.
func (c *contextSyncs) waitsFor(g *critGraph, call int32) []int64 {
	if g.f.rules.EdgesFromAllStreams {
		return c.lanes
	}
	lanes := c.since
	if c.last >= 0 && c.last != call {
		if g.time(2*c.last+1) > g.time(2*call+1) {
			return c.lanes
		}
		g.add(2*c.last+1, 2*call+1, EdgeSync, noSlice, false)
	}
	c.last, c.since = call, nil
	clear(c.fresh)
	return lanes
}

// laneKey tells streams apart; a synchronisation row lies on its stream's lane.
func (g *critGraph) laneKey(i int32) int64 {
	if l := g.f.laneOf[i]; l >= 0 {
		return int64(l)
	}
	so := g.stream(i)
	if g.f.rules.StreamsWithoutDevice {
		so.device = -1 // lanes have no device then
	}
	if g.laneOf == nil {
		g.laneOf = make(map[streamOf]int64, len(g.f.lanes))
		for l := len(g.f.lanes) - 1; l >= 0; l-- { // the first of equal ones
			g.laneOf[streamOf{g.f.lanes[l].Device, g.f.lanes[l].Stream}] = int64(l)
		}
	}
	if l, ok := g.laneOf[so]; ok {
		return l
	}
	return -1
}

func (g *critGraph) stream(i int32) streamOf {
	if l := g.f.laneOf[i]; l >= 0 && !g.f.rules.StreamsWithoutDevice {
		return streamOf{g.f.lanes[l].Device, g.f.lanes[l].Stream}
	}
	so := streamOf{device: -1, stream: hta.NoStream}
	if v, ok := g.f.tr.ArgInt(int(i), "device"); ok {
		so.device = v
	}
	if v, ok := g.f.tr.ArgInt(int(i), "stream"); ok {
		so.stream = v
	}
	return so
}

// deviceRows returns device work by start and synchronisations by end: what a
// synchronisation waited for ends before it and may start within it.
func (g *critGraph) deviceRows() []int32 {
	f := g.f
	s := &f.tr.Slices
	var rows []int32
	for i := range int32(s.Len()) {
		if !g.clipped[i] {
			continue
		}
		sync := s.Cat[i] == trace.CatCUDASync && f.partner[i] >= 0
		if sync || f.laneOf[i] >= 0 && s.Corr[i] >= 0 || !f.rules.RowsByStream && f.laneOf[i] >= 0 {
			rows = append(rows, i)
		}
	}
	sortByKey(rows, func(i int32) int64 {
		if s.Cat[i] == trace.CatCUDASync {
			return f.end(i)
		}
		return f.start[i]
	})
	return rows
}

// idleAtLaunch returns whether a device slice's stream had nothing to do when the slice
// was launched, work outside the part that is looked at included. HTA asks for a queue
// of length 1 after the launch and of 0 at the start, and so finds no cause for a first
// kernel if a second was launched before the first began.
func (g *critGraph) idleAtLaunch() func(int32) bool {
	f := g.f
	if f.rules.QueueOfOne {
		entered, left := g.queueAround()
		return func(i int32) bool { return entered[f.partner[i]] == 1 && left[i] == 0 }
	}
	busyUntil := make([]int64, f.tr.Slices.Len())
	for _, rows := range f.byLane() {
		end := int64(math.MinInt64)
		for _, i := range rows {
			busyUntil[i] = end
			end = max(end, f.end(i))
		}
	}
	return func(i int32) bool { return busyUntil[i] < f.start[f.partner[i]] }
}

// queueAround returns, of every launch call, the length of its stream's queue once it
// had entered, and of every device slice the length once it had left; -1 if unknown.
func (g *critGraph) queueAround() (entered, left []int32) {
	n := g.f.tr.Slices.Len()
	entered, left = filled(n), filled(n)
	for _, steps := range g.f.queueSteps() {
		length := int32(0)
		for _, st := range steps {
			length += int32(st.delta)
			if st.delta > 0 {
				entered[g.f.partner[st.owner]] = length
			} else {
				left[st.owner] = length
			}
		}
	}
	return entered, left
}

// eventWaits knows the launches around event calls.
type eventWaits struct {
	// correlation of cudaEventRecord -> last device slice launched before on the event's stream
	recorded map[int64]int32
	next     map[int32]int32 // cudaStreamWaitEvent -> first device slice launched after it on its stream
}

// eventWaits matches event records with the launch before them and stream waits with
// the launch after them.
func (g *critGraph) eventWaits() eventWaits {
	f := g.f
	s := &f.tr.Slices
	w := eventWaits{map[int64]int32{}, map[int32]int32{}}
	where := map[int64]streamOf{} // correlation of a record call -> the event's stream
	record := f.nameTable(func(n string) bool { return n == "cudaEventRecord" || n == "cudaEventRecordWithFlags" })
	waitCall := f.nameTable(func(n string) bool { return n == "cudaStreamWaitEvent" })
	var calls []int32
	for i := range int32(s.Len()) {
		if !f.counts(i) {
			continue
		}
		if s.Cat[i] == trace.CatCUDASync {
			stream, ok := f.tr.ArgInt(int(i), argWaitStream)
			corr, ok2 := f.tr.ArgInt(int(i), argWaitCorr)
			if ok && ok2 && stream > -1 {
				where[corr] = streamOf{g.stream(i).device, stream}
			}
			continue
		}
		if h := f.partner[i]; f.laneOf[i] < 0 && (record[s.Name[i]] || h >= 0 &&
			(waitCall[s.Name[i]] || f.laneOf[h] >= 0 && s.Cat[h] != trace.CatCUDASync)) {
			calls = append(calls, i)
		}
	}
	sortByKey(calls, func(i int32) int64 { return f.start[i] })
	lastOn := map[streamOf]int32{}
	for _, i := range calls {
		if record[s.Name[i]] {
			if so, ok := where[s.Corr[i]]; ok {
				if d, ok := lastOn[so]; ok {
					w.recorded[s.Corr[i]] = d
				}
			}
		} else if d := f.partner[i]; !waitCall[s.Name[i]] && (!f.rules.KnownCallsOnly || hta.Enqueues(f.name(i))) {
			lastOn[g.stream(d)] = d
		}
	}
	type place struct {
		track trace.TrackID
		so    streamOf
	}
	nextOn := map[place]int32{}
	for k := len(calls) - 1; k >= 0; k-- {
		i := calls[k]
		if record[s.Name[i]] {
			continue
		}
		d := f.partner[i]
		p := place{s.Track[i], g.stream(d)}
		if waitCall[s.Name[i]] {
			if n, ok := nextOn[p]; ok {
				w.next[i] = n
			}
		} else if !f.rules.KnownCallsOnly || hta.Enqueues(f.name(i)) {
			nextOn[p] = d
		}
	}
	return w
}

// sync adds what a synchronisation row makes wait: a call on the host, or the next
// kernel of a stream.
func (g *critGraph) sync(i int32, w eventWaits, lastOnLane map[int64]critNode, contexts *contextSyncs,
	syncFrom map[int32]int32) {
	f := g.f
	call := f.partner[i]
	name := f.name(i)
	switch name {
	case "Stream Wait Event", "Event Sync":
		corr, ok := f.tr.ArgInt(int(i), argWaitCorr)
		if !ok {
			return
		}
		src, ok := w.recorded[corr]
		if !ok {
			return
		}
		if name == "Stream Wait Event" {
			if d, ok := w.next[call]; ok && d != src {
				syncFrom[d] = src
			}
			return
		}
		if g.hasNode[src] && g.hasNode[call] {
			g.add(2*src+1, 2*call+1, EdgeSync, noSlice, false)
		}
	case "Context Sync":
		if !g.hasNode[call] {
			return
		}
		for _, l := range contexts.waitsFor(g, call) {
			g.add(lastOnLane[l], 2*call+1, EdgeSync, noSlice, false)
		}
	default:
		if v, ok := lastOnLane[g.laneKey(i)]; ok && g.hasNode[call] {
			g.add(v, 2*call+1, EdgeSync, noSlice, false)
		}
	}
}
