package analysis

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/kinetoscope/kinetoscope/trace"
)

// heldBytes is what an allocator holds by category.
type heldBytes [NumHeldBy]int64

func (b *heldBytes) sum() (n int64) {
	for _, v := range b {
		n += v
	}
	return n
}

// explain returns b with the total that the allocator says. What no event explains is
// unknown. Of what was freed unseen nobody knows what it was: it is taken from what was
// there before, then from the largest categories.
func (b heldBytes) explain(total int64) heldBytes {
	b[HeldBefore] = max(0, b[HeldBefore])
	rest := total - b.sum()
	if rest >= 0 {
		b[HeldUnknown] += rest
		return b
	}
	take := func(h HeldBy) {
		n := min(b[h], -rest)
		b[h] -= n
		rest += n
	}
	take(HeldBefore)
	for range b {
		if rest == 0 {
			break
		}
		most := HeldBefore
		for h := range NumHeldBy {
			if b[h] > b[most] {
				most = h
			}
		}
		take(most)
	}
	return b
}

// block is an allocation that is held.
type block struct {
	event int32
	by    HeldBy
}

// holder follows one allocator's events, which are ordered by time.
type holder struct {
	f           *frame
	t           *tree
	regions     []HeldBy
	es          []memoryEvent
	start, span int64 // of the window, ns

	live map[int64]block // by address
	now  heldBytes       // before explain; HeldBefore may fall below 0
}

func (h *holder) region(e *memoryEvent) HeldBy {
	if e.slice < 0 {
		return HeldOther
	}
	return h.regions[e.slice]
}

// apply changes what is held by event i.
func (h *holder) apply(i int) {
	e := &h.es[i]
	if !e.hasAddr {
		return
	}
	old, held := h.live[e.addr]
	if held && e.bytes != 0 { // of an allocation: the free before it was not recorded
		h.now[old.by] -= h.es[old.event].bytes
		delete(h.live, e.addr)
	}
	switch {
	case e.bytes > 0:
		by := h.region(e)
		h.live[e.addr] = block{int32(i), by}
		h.now[by] += e.bytes
	case e.bytes < 0 && !held:
		h.now[HeldBefore] += e.bytes
	}
}

// totals fills in each event's total and returns the event with the peak, -1 if what
// was held at first was never exceeded. The first held events say what that was.
func (h *holder) totals(d *DeviceTimeline, held int) (peakAt int) {
	d.BaseBytes = baseBytes(h.es)
	for i := range held {
		d.BaseBytes += h.es[i].bytes
	}
	peakAt, d.Peak.Bytes = -1, d.BaseBytes
	run := d.BaseBytes
	for i := range h.es {
		e := &h.es[i]
		d.HasAddresses = d.HasAddresses || e.hasAddr
		if i < held {
			e.total = d.BaseBytes
			continue
		}
		if e.bytes > 0 {
			d.AllocatedBytes += e.bytes
		} else {
			d.FreedBytes -= e.bytes
		}
		run += e.bytes
		if !e.hasTotal {
			e.total = max(0, run)
		}
		d.UnexplainedBytes += e.total - run
		if run = e.total; run > d.Peak.Bytes {
			peakAt, d.Peak.Bytes = i, run
		}
	}
	d.EndBytes = run
	return peakAt
}

// timeline is the device's course; the caller names the device.
func (h *holder) timeline() DeviceTimeline {
	d := DeviceTimeline{Events: len(h.es)}
	held := h.f.heldEvents(h.es, h.t)
	peakAt := h.totals(&d, held)
	h.live = map[int64]block{}
	if d.HasAddresses {
		h.now[HeldBefore] = d.BaseBytes
	}
	before := h.now
	for i := range held {
		h.apply(i)
	}
	h.now = before // it has them already
	var most, last heldBytes
	r := newReducer(len(h.es)-held+1, h.span, maxTimelinePoints)
	put := func(at, total int64) {
		last = h.now.explain(total)
		for k, v := range last {
			most[k] = max(most[k], v)
		}
		r.add(between(h.start, at), total, last)
	}
	put(h.start, d.BaseBytes)
	atPeak := last
	if peakAt < 0 {
		d.Peak.Region = HeldBefore
		h.peak(&d)
	}
	for i := held; i < len(h.es); i++ {
		e := &h.es[i]
		h.apply(i)
		put(e.at, e.total)
		if i == peakAt {
			d.Peak.TimeNs, d.Peak.Region = between(h.start, e.at), h.region(e)
			if e.slice >= 0 {
				d.Peak.Op = h.f.name(e.slice)
			}
			atPeak = last
			h.peak(&d)
		}
	}
	points := r.points()
	d.Reduced = r.reduction()
	d.TimesNs, d.TotalBytes = make([]int64, len(points)), make([]int64, len(points))
	for k := range points {
		d.TimesNs[k], d.TotalBytes[k] = points[k].at, points[k].total
	}
	d.Categories = []MemoryCategory{}
	for by := range NumHeldBy {
		if most[by] == 0 {
			continue
		}
		c := MemoryCategory{HeldBy: by, AtPeakBytes: atPeak[by], MaxBytes: most[by], EndBytes: last[by],
			Bytes: make([]int64, len(points))}
		for k := range points {
			c.Bytes[k] = points[k].held[by]
		}
		d.Categories = append(d.Categories, c)
	}
	return d
}

// peak fills in what is held now, at the peak.
func (h *holder) peak(d *DeviceTimeline) {
	type opKey struct {
		op trace.StringID
		by HeldBy
	}
	byOp := map[opKey]*LiveByOp{}
	var rows []int32
	for _, b := range h.live {
		if b.by == HeldBefore {
			continue
		}
		e := &h.es[b.event]
		rows = append(rows, b.event)
		d.Peak.LiveBytes += e.bytes
		k := opKey{by: b.by}
		if e.slice >= 0 {
			k.op = h.f.tr.Slices.Name[e.slice]
		}
		if byOp[k] == nil {
			byOp[k] = &LiveByOp{Op: h.f.tr.String(k.op), Region: k.by}
		}
		byOp[k].Bytes += e.bytes
		byOp[k].Count++
	}
	d.Peak.LiveCount = len(rows)
	slices.SortFunc(rows, func(a, b int32) int {
		return cmp.Or(cmp.Compare(h.es[b].bytes, h.es[a].bytes), cmp.Compare(a, b))
	})
	d.Peak.Allocations, d.Peak.ByOp = []LiveAllocation{}, []LiveByOp{}
	for _, i := range rows[:min(len(rows), maxPeakRows)] {
		e := &h.es[i]
		a := LiveAllocation{Bytes: e.bytes, TimeNs: between(h.start, e.at), Addr: "0x" +
			strconv.FormatUint(uint64(e.addr), 16), Region: h.region(e)}
		if e.slice >= 0 {
			a.Op = h.f.name(e.slice)
		}
		a.Pool, _ = h.f.tr.RefArgText(h.f.tr.Instants.Args[e.row], "Pool")
		d.Peak.Allocations = append(d.Peak.Allocations, a)
	}
	for _, o := range byOp {
		d.Peak.ByOp = append(d.Peak.ByOp, *o)
	}
	slices.SortFunc(d.Peak.ByOp, func(a, b LiveByOp) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Op, b.Op), cmp.Compare(a.Region, b.Region))
	})
	d.Peak.ByOp = d.Peak.ByOp[:min(len(d.Peak.ByOp), maxPeakRows)]
}
