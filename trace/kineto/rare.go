package kineto

import (
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// deviceSort and spansSort bound the sort indexes that Kineto gives to devices'
// processes; 16 777 216 and up in files before 2024.
const (
	deviceSort = 5_000_000
	spansSort  = 0x10000000
)

// processRow is what metadata rows say about one process of the file. A host process
// and a device may have the same number.
type processRow struct {
	name, labels string
	sort         int64
	hasSort      bool
}

func (p *processRow) device() bool {
	return strings.HasPrefix(p.labels, "GPU") || p.hasSort && p.sort >= deviceSort && p.sort < spansSort
}

// trackNames collects metadata rows until the tracks are known.
type trackNames struct {
	open         map[process]*processRow
	host, device map[process]processRow
	hostThread   map[pidTid]string
	deviceThread map[pidTid]string
	seen         map[string]bool // names of processes
}

func (n *trackNames) init() {
	if n.open == nil {
		*n = trackNames{
			open: make(map[process]*processRow), host: make(map[process]processRow),
			device:     make(map[process]processRow),
			hostThread: make(map[pidTid]string), deviceThread: make(map[pidTid]string), seen: make(map[string]bool),
		}
	}
}

// close files the open row of p under host or device.
func (n *trackNames) close(p process) {
	if r := n.open[p]; r != nil {
		if r.device() {
			n.device[p] = *r
		} else {
			n.host[p] = *r
		}
	}
}

// add takes one metadata row of kind.
func (n *trackNames) add(kind string, g *globalLane, args []byte) {
	n.init()
	p := g.process()
	if kind == "process_name" || n.open[p] == nil {
		n.close(p)
		n.open[p] = new(processRow)
	}
	r := n.open[p]
	members(args, func(key, val []byte) {
		text := string(val)
		if len(val) > 1 && val[0] == '"' {
			text = trace.Unescape(val[1 : len(val)-1])
		}
		switch k := kind + "." + string(key); k {
		case "process_name.name":
			r.name, n.seen[text] = text, true
		case "process_labels.labels":
			r.labels = text
		case "process_sort_index.sort_index":
			v, err := strconv.ParseInt(text, 10, 64)
			r.sort, r.hasSort = v, err == nil
		case "thread_name.name":
			if strings.HasPrefix(text, "stream ") || strings.HasPrefix(text, "Stream ") {
				n.deviceThread[g.pidTid] = text
			} else {
				n.hostThread[g.pidTid] = text
			}
		}
	})
}

// apply names the tracks.
func (m *merger) nameTracks() {
	n := &m.names
	n.init()
	for p := range n.open {
		n.close(p)
	}
	for id, g := range m.lanes.Keys() {
		k := &m.t.Tracks[id]
		procs, threads, others, otherThreads := n.host, n.hostThread, n.device, n.deviceThread
		if g.kind == trace.TrackGPU {
			procs, threads, others, otherThreads = others, otherThreads, procs, threads
		}
		r, ok := procs[g.process()]
		if !ok {
			r = others[g.process()]
		}
		k.Process, k.Labels, k.SortIndex = r.name, r.labels, r.sort
		if k.Name, ok = threads[g.pidTid]; !ok {
			k.Name = otherThreads[g.pidTid]
		}
	}
}

// openBegin is a begin row that waits for its end.
type openBegin struct {
	ts    int64
	name  trace.StringID
	cat   trace.Category
	args  trace.ArgsRef
	track trace.TrackID
	event uint32 // in order of the file
}

// asyncKey pairs the ends of an async slice.
type asyncKey struct {
	id    uint64
	cat   trace.Category
	owner process
}

// beginStacks pairs begin and end rows.
type beginStacks struct {
	threads map[trace.TrackID][]openBegin
	async   map[asyncKey][]openBegin
	atZero  []int // slices of which the begin has ts 0
	waiting int   // begins without an end so far
}

// rare adds an event of a rare phase.
func (j *joiner) rare(x *rare) {
	m := j.m
	g := j.resolve(j.r.lanes[x.lane])
	if x.ph == 'M' {
		m.names.add(plainText(j.r.texts[x.name]), &g, j.r.rareArgs[x.from:x.to])
		return
	}
	if !x.hasTS {
		m.t.Repairs.Add(trace.RepairNoTime, 1)
		return
	}
	switch x.ph {
	case 'C':
		j.counter(x, j.r.rareArgs[x.from:x.to])
	case 'B', 'b':
		j.open(x, g)
	case 'E', 'e':
		j.close(x, g)
	}
}

func (j *joiner) counter(x *rare, args []byte) {
	c := &j.m.t.Counters
	members(args, func(key, val []byte) {
		if len(val) > 1 && val[0] == '"' {
			val = val[1 : len(val)-1]
		}
		v, err := strconv.ParseFloat(string(val), 64)
		if err != nil {
			j.m.t.Repairs.Add(trace.RepairValue, 1)
			return
		}
		c.Time = append(c.Time, x.ts)
		c.Name = append(c.Name, j.text(x.name))
		c.Series = append(c.Series, j.m.t.Intern(trace.Unescape(key)))
		c.Track = append(c.Track, trace.TrackID(j.looseLane(x.lane)))
		c.Value = append(c.Value, v)
	})
}

// pairTrack returns the track of a begin or end row: the thread's, or for async rows
// one beside it, where overlaps are the rule.
func (j *joiner) pairTrack(x *rare, g globalLane) trace.TrackID {
	if x.ph == 'b' || x.ph == 'e' {
		g.kind = trace.TrackOther
	} else if c, ok := trace.ParseCategory(plainText(j.r.texts[x.cat])); ok && c.Device() {
		g = j.m.onDevice(g)
	}
	return j.m.trackOf(g)
}

// onDevice returns the device's lane of g's numbers.
func (m *merger) onDevice(g globalLane) globalLane {
	g.kind = trace.TrackGPU
	g.dev, g.stream = m.deviceLane(laneKey{dev: noLane, stream: noLane}, &g.pidTid)
	return g
}

// endTrack returns the track whose last begin the end row x closes. An end need not say its category: then it is of
// the thread or of the device's lane of the same numbers, whichever began something last.
func (j *joiner) endTrack(x *rare, g globalLane) (t trace.TrackID, ok bool) {
	b := &j.m.begin
	if plainText(j.r.texts[x.cat]) != "" {
		t = j.pairTrack(x, g)
		return t, len(b.threads[t]) > 0
	}
	last := uint32(0)
	for _, lane := range []globalLane{g, j.m.onDevice(g)} {
		n, known := j.m.lanes.Find(lane, lane.hash())
		if !known {
			continue
		}
		st := b.threads[trace.TrackID(n)]
		if len(st) > 0 && (!ok || st[len(st)-1].event > last) {
			t, ok, last = trace.TrackID(n), true, st[len(st)-1].event
		}
	}
	return t, ok
}

func (j *joiner) rareCat(x *rare) trace.Category {
	return j.m.t.Category(plainText(j.r.texts[x.cat]))
}

func (j *joiner) open(x *rare, g globalLane) {
	b := &j.m.begin
	if b.threads == nil {
		b.threads, b.async = make(map[trace.TrackID][]openBegin), make(map[asyncKey][]openBegin)
	}
	b.waiting++
	o := openBegin{ts: x.ts, name: j.text(x.name), cat: j.rareCat(x), args: j.args(x.args), track: j.pairTrack(x, g),
		event: j.m.n + x.event}
	if x.ph == 'b' {
		k := asyncKey{x.id, o.cat, g.process()}
		b.async[k] = append(b.async[k], o)
		return
	}
	b.threads[o.track] = append(b.threads[o.track], o)
}

func (j *joiner) close(x *rare, g globalLane) {
	b := &j.m.begin
	var o openBegin
	if x.ph == 'e' {
		k := asyncKey{x.id, j.rareCat(x), g.process()}
		st := b.async[k]
		if len(st) == 0 {
			j.m.t.Repairs.Add(trace.RepairUnmatchedEnd, 1)
			return
		}
		o, b.async[k] = st[len(st)-1], st[:len(st)-1]
	} else {
		t, ok := j.endTrack(x, g)
		if !ok {
			j.m.t.Repairs.Add(trace.RepairUnmatchedEnd, 1)
			return
		}
		st := b.threads[t]
		o, b.threads[t] = st[len(st)-1], st[:len(st)-1]
	}
	b.waiting--
	if o.args == trace.NoArgs {
		o.args = j.args(x.args)
	}
	j.m.addPair(o, x.ts, j.m.n+x.event)
}

// addPair adds the slice that a begin and an end make.
func (m *merger) addPair(o openBegin, end int64, event uint32) {
	dur := end - o.ts
	if dur < 0 {
		m.t.Repairs.Add(trace.RepairNegativeDur, 1)
		dur = 0
	}
	if dur > trace.MaxDur {
		m.t.Repairs.Add(trace.RepairAbsurdDur, 1)
		return
	}
	s := &m.t.Slices
	if o.ts == 0 {
		m.begin.atZero = append(m.begin.atZero, s.Len())
	}
	corr := trace.NoCorrelation
	if c, ok := m.t.RefArgInt(o.args, "correlation"); ok && c > 0 {
		corr = c
	}
	s.Start = append(s.Start, o.ts)
	s.Dur = append(s.Dur, dur)
	s.Name = append(s.Name, o.name)
	s.Cat = append(s.Cat, o.cat)
	s.Track = append(s.Track, o.track)
	s.Corr = append(s.Corr, corr)
	s.Args = append(s.Args, o.args)
	s.Event = append(s.Event, event)
}

// closeOpen ends what has no end at the last time seen, in order of beginning.
func (m *merger) closeOpen() {
	var all []openBegin
	for t := range m.t.Tracks {
		all = append(all, m.begin.threads[trace.TrackID(t)]...)
	}
	var async []openBegin
	for _, st := range m.begin.async {
		async = append(async, st...)
	}
	sortOpen(async)
	all = append(all, async...)
	if len(all) == 0 {
		return
	}
	var last int64
	for i, s := range m.t.Slices.Start {
		if e := s + m.t.Slices.Dur[i]; i == 0 || e > last {
			last = e
		}
	}
	for _, o := range all {
		m.t.Repairs.Add(trace.RepairUnmatchedBegin, 1)
		m.addPair(o, max(last, o.ts), m.n)
		m.n++
	}
}
