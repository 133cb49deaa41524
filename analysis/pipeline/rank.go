package pipeline

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"

	"github.com/kinetoscope/kinetoscope/analysis/label"
	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
)

// span is a slice that matters to steps or requests, with its arguments.
type span struct {
	slice                int
	cls                  class
	start, end           int64 // on the common clock
	reqs                 []int32
	batch, tokens, step  int64 // -1 if absent
	fromStage, toStage   int64 // of hand-offs; -1 if absent
	bytes                int64
	flows                []uint64
	track                trace.TrackID
	insideStep, topLevel bool
}

// opAcc sums the calls of one operator.
type opAcc struct {
	Op
	depth int // open calls
}

// frame is what the collector remembers of an open slice.
type frame struct {
	op        int // index into ops or -1
	countTime bool
	flops     int64
}

// rankData is the content of one trace, before ranks are compared.
type rankData struct {
	index   int
	t       *trace.Trace
	offset  int64 // added to the trace's times
	stageID int
	stage   string
	start   int64 // window, common clock
	end     int64
	bounded bool      // the trace says where its window begins and ends
	segs    []segment // common clock, fill the window
	covered [NumCategories]int64
	spans   []span // steps, hand-offs, requests, top-level samples; by (start, slice)
	comms   communication
	ops     []opAcc
	flops   int64

	subject    *analysis.Subject
	seen       *plausible.Trace
	hasDevice  bool
	deviceBusy int64
	turns      map[int]turn // by slice of a step's label; nil without device work
}

// collector fills a rankData from one track after the other.
type collector struct {
	d         *rankData
	ids       *interner
	opOf      map[trace.StringID]int
	frames    []frame
	flopDepth int
}

// interner numbers request ids.
type interner struct {
	ids   map[string]int32
	names []string
}

func (n *interner) id(s string) int32 {
	if i, ok := n.ids[s]; ok {
		return i
	}
	i := int32(len(n.names))
	n.names = append(n.names, s)
	n.ids[s] = i
	return i
}

// readRank makes one pass over each host track of t.
func readRank(index int, s *analysis.Subject, offset int64, ids *interner) *rankData {
	t := s.Trace
	d := &rankData{index: index, t: t, subject: s, offset: offset, stageID: t.Meta.StageID, stage: t.Meta.Stage}
	c := &collector{d: d, ids: ids, opOf: map[trace.StringID]int{}}
	k := &classifier{t: t}
	tracks := hostTracks(t)
	lists := make([][]segment, 0, len(tracks))
	for _, order := range tracks {
		if l := trackPass(t, k, order, c); len(l) > 0 {
			lists = append(lists, l)
		}
	}
	if l := d.frameSteps(); len(l) > 0 {
		lists = append(lists, l)
	}
	d.setWindow()
	d.combine(lists)
	d.device()
	d.bindFlows()
	slices.SortFunc(d.spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.slice, b.slice))
	})
	d.readComms(c.opOf)
	return d
}

// frameSteps adds steps that show only as Python frames, as in diffusers' pipelines, and returns
// the time they own. A rank whose engine labels its steps has none.
func (d *rankData) frameSteps() []segment {
	for i := range d.spans {
		if d.spans[i].cls.isStep() {
			return nil
		}
	}
	cat := d.t.Slices.Cat
	found, _ := label.Find(d.t, func(i int) bool { return cat[i] == trace.CatPythonFunction })
	var out []segment
	for _, x := range found {
		cls := kindClass[x.Kind]
		if !cls.isStep() {
			continue
		}
		d.spans = append(d.spans, span{
			slice: x.Slice, cls: cls, start: x.Start + d.offset, end: x.End + d.offset,
			track:    d.t.Slices.Track[x.Slice],
			topLevel: true, batch: -1, tokens: -1, step: -1, fromStage: -1, toStage: -1,
		})
		from := x.Start
		if n := len(out); n > 0 {
			from = max(from, out[n-1].end)
		}
		out = appendSegment(out, from, x.End, cls)
	}
	return out
}

func (d *rankData) setWindow() {
	m := &d.t.Meta
	lo, hi := m.WindowStart, m.WindowEnd
	d.bounded = hi > lo
	if !d.bounded {
		s := &d.t.Slices
		for i := range s.Start {
			if i == 0 || s.Start[i] < lo {
				lo = s.Start[i]
			}
			if i == 0 || s.End(i) > hi {
				hi = s.End(i)
			}
		}
	}
	d.start, d.end = lo+d.offset, max(lo, hi)+d.offset
}

// device sums the time in which at least one stream of a device was busy. It also reads the steps'
// turns on the device, which are the steps' durations where launches run ahead of the device.
func (d *rankData) device() {
	d.seen = d.subject.Seen()
	work := slices.DeleteFunc(slices.Clone(d.seen.ByStart), func(i int32) bool { return !d.seen.OnDevice(i) })
	d.hasDevice = len(work) > 0
	if !d.hasDevice {
		return
	}
	d.deviceBusy = view.Within(d.seen.Busy(work), d.start-d.offset, d.end-d.offset)
	d.turns = map[int]turn{}
	r := steps.Find(d.t, steps.Options{Seen: d.seen, NoPeriod: true})
	for i := range r.Steps {
		d.turns[r.Steps[i].Slice] = turn{r.Steps[i].AtNs, r.Steps[i].Ns()}
	}
}

// turn is a step's time on the device.
type turn struct{ at, ns int64 } // begin on the trace's clock; duration

// turnOf returns the turn of step s on the device, or the time of its slice if it has none.
func (d *rankData) turnOf(s *span) turn {
	if t, ok := d.turns[s.slice]; ok {
		return t
	}
	return turn{s.start - d.offset, s.end - s.start}
}

// took is how long step s took.
func (d *rankData) took(s *span) int64 { return d.turnOf(s).ns }

// combine lays the tracks' segments over one another and fills the window.
func (d *rankData) combine(lists [][]segment) {
	for _, l := range lists {
		for i := range l {
			l[i].start += d.offset
			l[i].end += d.offset
		}
	}
	d.covered = coverage(lists, d.start, d.end)
	d.segs = fill(overlayAll(lists), d.start, d.end)
}

// coverage returns how much of [start, end) each category covers on any of the lists.
func coverage(lists [][]segment, start, end int64) [NumCategories]int64 {
	var per [NumCategories][]segment
	for _, l := range lists {
		for _, s := range l {
			c := classCategory[s.cls]
			per[c] = append(per[c], s)
		}
	}
	var out [NumCategories]int64
	for c := range per {
		if len(lists) > 1 {
			slices.SortFunc(per[c], func(a, b segment) int { return cmp.Compare(a.start, b.start) })
		}
		at := start
		for _, s := range per[c] {
			lo, hi := max(s.start, at), min(s.end, end)
			if hi > lo {
				out[c] += hi - lo
				at = hi
			}
		}
	}
	return out
}

// opened implements visitor.
func (c *collector) opened(i int, cls, parent class, step int) {
	d := c.d
	f := frame{op: -1}
	switch {
	case cls == clsRequest:
		d.addSpan(c.ids, i, cls, false, true)
		return // not on the stack
	case cls.isStep():
		if parent != cls {
			d.addSpan(c.ids, i, cls, step >= 0, parent == clsIdle)
		}
	case cls == clsSend, cls == clsRecv, cls == clsSample && step < 0:
		d.addSpan(c.ids, i, cls, step >= 0, parent == clsIdle)
	case cls == clsOp, cls == clsComm:
		f = c.openOp(i, cls)
	}
	c.frames = append(c.frames, f)
}

func (c *collector) openOp(i int, cls class) frame {
	d := c.d
	name := d.t.Slices.Name[i]
	k, ok := c.opOf[name]
	if !ok {
		k = len(d.ops)
		c.opOf[name] = k
		d.ops = append(d.ops, opAcc{Op: Op{Name: d.t.String(name), Comm: cls == clsComm, MaxTrace: d.index,
			MaxSlice: -1}})
	}
	op := &d.ops[k]
	f := frame{op: k, countTime: op.depth == 0}
	op.depth++
	op.Calls++
	if cls == clsComm {
		return f // package coll reads the bytes of collectives
	}
	if n, ok := d.t.ArgSize(i, trace.ArgBytes); ok {
		op.Bytes += n
	}
	if n, ok := d.t.ArgInt(i, trace.ArgFLOPs); ok && n > 0 {
		f.flops = n
		op.FLOPs += n
		if c.flopDepth == 0 {
			d.flops += n
		}
		c.flopDepth++
	}
	return f
}

// closed implements visitor.
func (c *collector) closed(i int, _ class, selfNs int64) {
	f := c.frames[len(c.frames)-1]
	c.frames = c.frames[:len(c.frames)-1]
	if f.op < 0 {
		return
	}
	op := &c.d.ops[f.op]
	op.depth--
	op.SelfNs += selfNs
	if dur := c.d.t.Slices.Dur[i]; dur > op.MaxNs || op.MaxSlice < 0 {
		op.MaxNs, op.MaxSlice = dur, i
	}
	if f.countTime {
		op.TotalNs += c.d.t.Slices.Dur[i]
	}
	if f.flops > 0 {
		c.flopDepth--
		op.flopNs += c.d.t.Slices.Dur[i]
	}
}

// addSpan reads the arguments of slice i.
func (d *rankData) addSpan(ids *interner, i int, cls class, inside, top bool) {
	t := d.t
	s := span{
		slice: i, cls: cls, start: t.Slices.Start[i] + d.offset, end: t.Slices.End(i) + d.offset,
		track: t.Slices.Track[i], insideStep: inside, topLevel: top,
		batch: argOr(t, i, trace.ArgBatch), tokens: argOr(t, i, trace.ArgTokens), step: argOr(t, i, trace.ArgStep),
		fromStage: -1, toStage: -1,
	}
	if l, ok := label.Engine(t.String(t.Slices.Name[i])); ok && cls.isStep() && s.batch < 0 {
		s.batch = int64(l.Batch)
		if l.Tokens > 0 {
			s.tokens = int64(l.Tokens)
		}
	}
	if r, ok := t.ArgText(i, trace.ArgRequest); ok && r != "" {
		s.reqs = append(s.reqs, ids.id(r))
	}
	if r, ok := t.ArgText(i, trace.ArgRequests); ok {
		for one := range strings.SplitSeq(r, ",") {
			if one = strings.TrimSpace(one); one != "" {
				s.reqs = append(s.reqs, ids.id(one))
			}
		}
	}
	s.reqs = distinct(s.reqs)
	if cls == clsSend || cls == clsRecv {
		s.fromStage, s.toStage = argOr(t, i, trace.ArgFromStage), argOr(t, i, trace.ArgToStage)
		s.bytes = max(0, argOr(t, i, trace.ArgBytes))
	}
	d.spans = append(d.spans, s)
}

// distinct removes repeated ids and keeps the order.
func distinct(ids []int32) []int32 {
	if len(ids) < 2 {
		return ids
	}
	seen := make(map[int32]bool, len(ids))
	return slices.DeleteFunc(ids, func(id int32) bool {
		was := seen[id]
		seen[id] = true
		return was
	})
}

func argOr(t *trace.Trace, i int, key string) int64 {
	if n, ok := t.ArgInt(i, key); ok {
		return n
	}
	return -1
}

// maxHandoffs bounds how many hand-offs of a track are examined for the end of one flow: as many as
// can be under way at once, and far more than usually are.
const maxHandoffs = 256

// bindFlows assigns each end of a flow to the shortest hand-off slice around it on its track.
func (d *rankData) bindFlows() {
	f := &d.t.Flows
	if len(f.Time) == 0 {
		return
	}
	byTrack := map[trace.TrackID][]int{}
	for k := range d.spans {
		if c := d.spans[k].cls; c == clsSend || c == clsRecv {
			byTrack[d.spans[k].track] = append(byTrack[d.spans[k].track], k)
		}
	}
	longest := map[trace.TrackID]int64{}
	for id, l := range byTrack {
		slices.SortFunc(l, func(a, b int) int {
			return cmp.Or(cmp.Compare(d.spans[a].start, d.spans[b].start), cmp.Compare(a, b))
		})
		for _, k := range l {
			longest[id] = max(longest[id], d.spans[k].end-d.spans[k].start)
		}
	}
	for e, tm := range f.Time {
		l := byTrack[f.Track[e]]
		want := clsRecv
		if f.Start[e] {
			want = clsSend
		}
		at := tm + d.offset
		// The last slice that starts at or before the flow's end, then backwards as far as a slice
		// can reach.
		n, _ := slices.BinarySearchFunc(l, at, func(k int, v int64) int {
			if d.spans[k].start <= v {
				return -1
			}
			return 1
		})
		best := -1
		for j := n - 1; j >= max(0, n-maxHandoffs); j-- {
			s := &d.spans[l[j]]
			if at-s.start > longest[f.Track[e]] {
				break
			}
			if s.cls == want && s.end >= at && (best < 0 || s.end-s.start < d.spans[best].end-d.spans[best].start) {
				best = l[j]
			}
		}
		if best >= 0 {
			d.spans[best].flows = append(d.spans[best].flows, f.ID[e])
		}
	}
}
