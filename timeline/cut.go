package timeline

import (
	"cmp"
	"fmt"
	"regexp"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/identity"
)

// Cut makes one trace of an area, to be written in any format: its slices with their
// arguments, what counters and instants say in its time, and the arrows both of whose ends are
// on its slices. With several traces the processes are told apart and named, and so are the
// ids that hold in one trace alone: correlations and arrows.
func (tl *Timeline) Cut(q Query) (*trace.Trace, error) {
	q.Px = 1
	out := trace.New()
	out.Meta.WallClock = tl.Wall && tl.Placement == ByClock
	out.Meta.Rank, out.Meta.StageID = -1, -1
	if len(tl.parts) == 1 {
		out.Meta = tl.parts[0].t.Meta
	}
	out.Meta.WindowStart, out.Meta.WindowEnd = tl.StartNs+q.From, tl.StartNs+q.To
	c := cutting{tl: tl, q: q, out: out, names: tl.names(), tracks: map[cutTrack]trace.TrackID{},
		kept: make([][]bool, len(tl.parts)), corr: map[cutID]int64{}, arrows: map[cutArrow]uint64{}}
	err := tl.area(q, func(i int, p *part, s uint32, _, _ int64) { c.slice(i, p, s) })
	if err != nil {
		return nil, err
	}
	c.flows()
	for i, p := range tl.parts {
		if c.kept[i] != nil {
			c.points(i, p)
		}
	}
	return out, nil
}

// names are what the traces are called in one file.
func (tl *Timeline) names() []string {
	metas, files := make([]*trace.Meta, len(tl.parts)), make([]string, len(tl.parts))
	for i, p := range tl.parts {
		metas[i], files[i] = &p.t.Meta, cmp.Or(p.Label, p.t.Meta.File)
	}
	return identity.Names(metas, files)
}

type cutTrack struct {
	part  int
	track trace.TrackID
}

type cutID struct {
	part int
	id   int64
}

// cutArrow names an arrow: part is -1 where its id holds in all traces.
type cutArrow struct {
	part int
	cat  string
	id   uint64
}

// cutting is a cut that is being made.
type cutting struct {
	tl     *Timeline
	q      Query
	out    *trace.Trace
	names  []string // by trace, each its own
	tracks map[cutTrack]trace.TrackID
	kept   [][]bool // by trace and slice; nil where none of a trace is in the area
	corr   map[cutID]int64
	arrows map[cutArrow]uint64
}

func (c *cutting) track(i int, k trace.TrackID) trace.TrackID {
	id, ok := c.tracks[cutTrack{i, k}]
	if ok {
		return id
	}
	tk := c.tl.parts[i].t.Tracks[k]
	if len(c.tl.parts) > 1 {
		if c.tl.parts[i].t.Meta.Rank >= 0 { // as a reader knows a rank by
			tk.Labels, tk.Process = cmp.Or(tk.Labels, tk.Process), c.names[i]
		} else {
			tk.Process = c.names[i] + " " + tk.Process
		}
		tk.PID += int64(i+1) * 100_000_000
		tk.PIDText = ""
	}
	id = c.out.AddTrack(tk)
	c.tracks[cutTrack{i, k}] = id
	return id
}

func (c *cutting) slice(i int, p *part, s uint32) {
	if c.kept[i] == nil {
		c.kept[i] = make([]bool, p.t.Slices.Len())
	}
	c.kept[i][s] = true
	sl := &p.t.Slices
	corr, args := sl.Corr[s], p.t.Args(sl.Args[s])
	if len(c.tl.parts) > 1 && corr != trace.NoCorrelation {
		corr = c.correlation(i, corr)
		args = correlated.ReplaceAll(args, fmt.Appendf(nil, "${1}%d", corr))
	}
	c.out.AddSlice(trace.Slice{Start: c.tl.StartNs + p.start(s), Dur: sl.Dur[s], Name: p.t.String(sl.Name[s]),
		Cat: c.out.Category(p.t.CategoryText(sl.Cat[s])), Track: c.track(i, sl.Track[s]), Corr: corr, Args: args})
}

// correlated is where the arguments of a launch or of its work say their correlation.
var correlated = regexp.MustCompile(`("correlation"\s*:\s*)\d+`)

func (c *cutting) correlation(i int, id int64) int64 {
	n, ok := c.corr[cutID{i, id}]
	if !ok {
		n = int64(len(c.corr)) + 1
		c.corr[cutID{i, id}] = n
	}
	return n
}

// flows adds the arrows whose begin and whose end are both on slices of the area.
func (c *cutting) flows() {
	begins, ends := map[cutArrow]bool{}, map[cutArrow]bool{}
	c.ends(func(_, row int, p *part, a cutArrow) {
		if p.t.Flows.Start[row] {
			begins[a] = true
		} else {
			ends[a] = true
		}
	})
	c.ends(func(i, row int, p *part, a cutArrow) {
		if !begins[a] || !ends[a] {
			return
		}
		id := a.id
		if len(c.tl.parts) > 1 {
			n, ok := c.arrows[a]
			if !ok {
				n = uint64(len(c.arrows)) + 1
				c.arrows[a] = n
			}
			id = n
		}
		f := &p.t.Flows
		c.out.AddFlow(c.tl.StartNs+p.clock.Map(f.Time[row]), id, a.cat, p.t.String(f.Name[row]),
			c.track(i, f.Track[row]), f.Start[row])
	})
}

// ends calls f for the ends of arrows on slices of the area.
func (c *cutting) ends(f func(i, row int, p *part, a cutArrow)) {
	for i, p := range c.tl.parts {
		if c.kept[i] == nil {
			continue
		}
		flows := &p.t.Flows
		for row, at := range flows.Time {
			s, ok := p.around(flows.Track[row], at)
			if !ok || !c.kept[i][s] {
				continue
			}
			a := cutArrow{i, p.t.String(flows.Cat[row]), flows.ID[row]}
			if crosses(a.cat) {
				a.part = -1
			}
			f(i, row, p, a)
		}
	}
}

// points adds the counters of a trace, and the instants on tracks of the area.
func (c *cutting) points(i int, p *part) {
	from, to := p.local(c.q.From), p.local(c.q.To)
	n := &p.t.Counters
	for row, at := range n.Time {
		if at >= from && at < to {
			c.out.AddCounter(c.tl.StartNs+p.clock.Map(at), p.t.String(n.Name[row]), p.t.String(n.Series[row]),
				c.track(i, n.Track[row]), n.Value[row])
		}
	}
	in := &p.t.Instants
	for row, at := range in.Time {
		if _, ok := c.tracks[cutTrack{i, in.Track[row]}]; ok && at >= from && at < to {
			c.out.AddInstant(c.tl.StartNs+p.clock.Map(at), p.t.String(in.Name[row]),
				c.out.Category(p.t.CategoryText(in.Cat[row])), c.track(i, in.Track[row]), p.t.Args(in.Args[row]))
		}
	}
}
