package kineto

import (
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/ids"
)

// streamSyncOffset is what Kineto adds to the stream to make the tid of Stream Sync
// rows since April 2026.
const streamSyncOffset = 1_000_000

// result is what one scanner read from one piece of text: columns whose names, lanes,
// categories and templates are numbered as in that scanner's tables.
type result struct {
	worker int

	start, dur, corr []int64
	name, lane       []uint32
	cat              []uint16
	args             []uint64
	event            []uint32

	instants []instant
	flows    []flow
	rare     []rare
	rareArgs []byte
	vals     []byte   // values of holes of all args
	packed   [][]byte // blocks of args without a template

	// order lists what the piece uses in the order of its first use there, so that
	// the numbers in the trace do not depend on where pieces begin.
	order []use

	events  uint32 // events of all phases, dropped ones too
	repairs counts
	// textIDs and textTimes are repairs that some writers' files have at every event; share counts them
	// among the others.
	textIDs, textTimes int
	skipped            int64 // bytes of text that no event was read from

	// The scanner's tables as long as they were when the piece ended.
	texts []rawText
	hash  []uint64 // of texts
	tmpl  []*template
	lanes []laneKey
	cats  []catInfo

	next   int // where the scan stopped
	status status
}

// use is the first use of an entry of a table in a piece, or a rare event.
type use struct {
	kind useKind
	id   uint32
}

type useKind uint8

const (
	useText useKind = iota
	useLane
	useCat
	useTemplate
	useRare
	useKinds = useRare
)

// marks remember which entries of a table the piece has used.
type marks struct {
	seen  [useKinds][]uint32 // number of the last piece that used the entry
	piece uint32
}

// use notes that the event being committed uses entry id of a table.
func (s *scanner) use(kind useKind, id uint32) {
	seen := s.marks.seen[kind]
	if int(id) >= len(seen) {
		seen = append(seen, make([]uint32, int(id)+64-len(seen))...)
		s.marks.seen[kind] = seen
	}
	if seen[id] != s.marks.piece {
		seen[id] = s.marks.piece
		s.res.order = append(s.res.order, use{kind, id})
	}
}

// useArgs notes the template of an args reference.
func (s *scanner) useArgs(ref uint64) {
	if ref != 0 && ref>>argsShift != packedID {
		s.use(useTemplate, uint32(ref>>argsShift)-1)
	}
}

type instant struct {
	ts   int64
	args uint64
	name uint32
	lane uint32
	cat  uint16
}

type flow struct {
	ts        int64
	id        uint64
	name, cat uint32
	lane      uint32
	start     bool
}

// rare is an event of a phase that is not worth a fast path.
type rare struct {
	ts, dur   int64
	id        uint64
	name, cat uint32
	lane      uint32
	event     uint32
	at        int // slices before it in the result
	from, to  int // args in rareArgs, of M and C
	args      uint64
	ph        byte
	hasTS     bool
}

// counts are repairs by kind.
type counts map[string]int

func (c *counts) add(kind string) { c.addMany(kind, 1) }

func (c *counts) addMany(kind string, n int) {
	if n == 0 {
		return
	}
	if *c == nil {
		*c = make(counts)
	}
	(*c)[kind] += n
}

func (r *result) reset() {
	*r = result{
		start: r.start[:0], dur: r.dur[:0], corr: r.corr[:0], name: r.name[:0], lane: r.lane[:0],
		cat: r.cat[:0], args: r.args[:0], event: r.event[:0], instants: r.instants[:0], flows: r.flows[:0],
		rare: r.rare[:0], rareArgs: r.rareArgs[:0], vals: r.vals[:0], order: r.order[:0],
	}
}

// share hands the scanner's tables over with the result.
func (s *scanner) share() {
	r := s.res
	r.repairs.addMany(trace.RepairTextID, r.textIDs)
	r.repairs.addMany(trace.RepairTextTime, r.textTimes)
	r.textIDs, r.textTimes = 0, 0
	s.res.packed = s.tmpl.packer.Take()
	s.res.texts, s.res.hash, s.res.tmpl, s.res.cats = s.texts.list, s.texts.hashes, s.tmpl.list, s.cats
	s.res.lanes = s.lanes.list.Keys()
}

// laneKind is a track's kind as far as one event tells.
type laneKind uint8

const (
	laneCPU laneKind = iota
	laneGPU
	laneAny // of a flow's end or a counter: any track with this pid and tid
)

// laneKey identifies a lane of the file. Texts are numbered as in the scanner.
type laneKey struct {
	pid, tid    lane
	dev, stream int64 // of a device's lane; noLane if the event does not say
	kind        laneKind
}

// noLane is the device or stream of a lane whose events do not name it.
const noLane = -1 << 62

type laneTable struct {
	list  ids.List[laneKey]
	cache [64]uint32 // id+1 by a few bits of the key
}

func (l *laneTable) id(k laneKey) uint32 {
	at := uint64(k.tid.n)*0x9E3779B97F4A7C15 ^ uint64(k.pid.n)*0xC2B2AE3D27D4EB4F ^ uint64(k.kind)<<60
	slot := &l.cache[at>>58]
	if *slot > 0 && l.list.Keys()[*slot-1] == k {
		return *slot - 1
	}
	h := ids.Mix(ids.Mix(ids.Mix(ids.Mix(uint64(k.kind), k.pid.n), k.tid.n), k.dev), k.stream)
	id, _ := l.list.Number(k, h)
	*slot = id + 1
	return id
}

// category returns the number of the category with this text in s.cats.
func (s *scanner) category(text uint32) uint16 {
	if c := s.texts.cat[text]; c > 0 {
		return c - 1
	}
	if len(s.cats) == 1<<16-2 {
		return 0
	}
	c, known := trace.ParseCategory(trace.Unescape([]byte(s.texts.list[text].raw)))
	s.cats = append(s.cats, catInfo{text: text, known: known, cat: c, device: known && c.Device()})
	s.texts.cat[text] = uint16(len(s.cats))
	return uint16(len(s.cats) - 1)
}

// commit adds s.ev, read from b, to the result.
func (s *scanner) commit(b []byte) {
	e, r := &s.ev, s.res
	event := r.events
	r.events++
	if e.textTime {
		r.textTimes++
	}
	if e.textID {
		r.textIDs++
	}
	if e.badArgs {
		r.repairs.add(trace.RepairArgs)
	}
	switch e.ph {
	case 'X':
		s.slice(event)
	case 'i', 'I', 'R':
		if !e.hasTS {
			r.repairs.add(trace.RepairNoTime)
			return
		}
		c := s.category(e.cat)
		lane := s.lanes.id(s.key(s.cats[c].device))
		s.use(useText, e.name)
		s.use(useCat, uint32(c))
		s.use(useLane, lane)
		s.useArgs(e.args)
		r.instants = append(r.instants, instant{ts: e.ts, args: e.args, name: e.name, cat: c, lane: lane})
	case 's', 't', 'f':
		if !e.hasTS {
			r.repairs.add(trace.RepairNoTime)
			return
		}
		if e.ph == 't' {
			r.repairs.add(trace.RepairFlowStep)
		}
		s.use(useText, e.name)
		s.use(useText, e.cat)
		k := laneKey{pid: e.pid, tid: e.tid, dev: noLane, stream: noLane, kind: laneAny}
		r.flows = append(r.flows, flow{ts: e.ts, id: e.id, name: e.name, cat: e.cat, lane: s.lanes.id(k),
			start: e.ph == 's'})
	case 'M', 'C', 'B', 'E', 'b', 'e':
		from := len(r.rareArgs)
		if e.ph == 'M' || e.ph == 'C' {
			r.rareArgs = append(r.rareArgs, b[e.argsFrom:e.argsTo]...)
		}
		r.order = append(r.order, use{useRare, uint32(len(r.rare))})
		k := laneKey{pid: e.pid, tid: e.tid, dev: noLane, stream: noLane, kind: laneAny}
		r.rare = append(r.rare, rare{
			ts: e.ts, dur: e.dur, id: e.id, name: e.name, cat: e.cat, lane: s.lanes.id(k), event: event,
			at: len(r.start), from: from, to: len(r.rareArgs), args: e.args, ph: e.ph, hasTS: e.hasTS,
		})
	default:
		r.repairs.add(trace.RepairPhase)
	}
}

// slice adds a complete event.
func (s *scanner) slice(event uint32) {
	e, r := &s.ev, s.res
	if !e.hasTS {
		r.repairs.add(trace.RepairNoTime)
		return
	}
	if !e.hasDur || e.badDur || e.dur < 0 {
		s.mendDur()
	}
	if e.dur > trace.MaxDur {
		r.repairs.add(trace.RepairAbsurdDur)
		return
	}
	c := s.category(e.cat)
	info := &s.cats[c]
	if info.cat == trace.CatPythonFunction && e.pid == (lane{}) && e.tid == (lane{}) {
		r.repairs.add(trace.RepairJunkPython)
		return
	}
	corr := trace.NoCorrelation
	if e.hot.set[hotCorrelation] && e.hot.val[hotCorrelation] > 0 {
		corr = e.hot.val[hotCorrelation]
	}
	if info.cat == trace.CatCUDASync && !e.tid.text && e.tid.n >= streamSyncOffset {
		r.repairs.add(trace.RepairStreamSync)
	}
	lane := s.lanes.id(s.key(info.device))
	s.use(useText, e.name)
	s.use(useCat, uint32(c))
	s.use(useLane, lane)
	s.useArgs(e.args)
	r.start = append(r.start, e.ts)
	r.dur = append(r.dur, e.dur)
	r.corr = append(r.corr, corr)
	r.name = append(r.name, e.name)
	r.lane = append(r.lane, lane)
	r.cat = append(r.cat, c)
	r.args = append(r.args, e.args)
	r.event = append(r.event, event)
}

func (s *scanner) mendDur() {
	e := &s.ev
	switch {
	case !e.hasDur:
		s.res.repairs.add(trace.RepairNoDur)
	case e.badDur:
		s.res.repairs.add(trace.RepairBadDur)
	default:
		s.res.repairs.add(trace.RepairNegativeDur)
	}
	e.dur = 0
}

// key returns the lane of s.ev.
func (s *scanner) key(device bool) laneKey {
	e := &s.ev
	k := laneKey{pid: e.pid, tid: e.tid, dev: noLane, stream: noLane}
	if device {
		k.kind = laneGPU
		if e.hot.set[hotDevice] {
			k.dev = e.hot.val[hotDevice]
		}
		if e.hot.set[hotStream] {
			k.stream = e.hot.val[hotStream]
		}
	}
	return k
}
