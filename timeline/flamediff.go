package timeline

import (
	"cmp"
	"context"
	"slices"
	"sort"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/trace"
)

// FlameDiff is a node of two flame graphs laid over each other: a name under the names that
// hold it, with its time on either side. With steps the times are those of a mean step.
type FlameDiff struct {
	Name    string  `json:"name"`
	Class   Class   `json:"class"`
	ANs     float64 `json:"a_ns"`
	BNs     float64 `json:"b_ns"`
	ASelfNs float64 `json:"a_self_ns"` // without what lies inside
	BSelfNs float64 `json:"b_self_ns"`
	ACount  int     `json:"a_count"` // of the whole, not of a step
	BCount  int     `json:"b_count"`
	// Children have most time of both sides together first. What is too narrow to see is left
	// out of them, and in its parent's time.
	Children []*FlameDiff `json:"children,omitempty"`
}

// FlameSide is one trace of a comparison.
type FlameSide struct {
	Timeline *Timeline
	Trace    int
	// Steps are the parts of the trace that count, on its own clock, sorted by start and without
	// overlap: host time inside them, and device work that they launched. Nil means the whole
	// trace.
	Steps []analysis.Window
}

// DiffFlames compares the flame graphs of two traces: those of the host's stacks, or those of
// device work under the operators that launched it, as FlameOf makes them.
func DiffFlames(ctx context.Context, a, b FlameSide, device bool) (*FlameDiff, error) {
	var of [2]*Flame
	var per [2]float64
	names := newTexts(2) // of both, so that equal ones are one node
	for k, s := range []FlameSide{a, b} {
		p, err := s.Timeline.part(s.Trace)
		if err != nil {
			return nil, err
		}
		in := newStretches(s.Steps)
		if device {
			of[k] = p.deviceFlame(names, k, in)
		} else if of[k], err = p.hostFlame(ctx, names, k, in); err != nil {
			return nil, err
		}
		per[k] = float64(max(1, len(s.Steps)))
	}
	d := mergeFlames(of[0], of[1], per)
	left := maxFlame
	d.prune(&left, max(d.ANs, d.BNs)/2000, 0)
	return d, nil
}

// SumFlames adds flame graphs that were laid over each other up: those of several pairs of ranks.
// It takes the first one over. There must be one at least.
func SumFlames(list []*FlameDiff) *FlameDiff {
	d := list[0]
	for _, o := range list[1:] {
		d.add(o)
	}
	left := maxFlame
	d.prune(&left, max(d.ANs, d.BNs)/2000, 0)
	return d
}

// add takes the times of o's nodes to those of equal place; o must not be used after it.
func (d *FlameDiff) add(o *FlameDiff) {
	d.ANs, d.BNs, d.ASelfNs, d.BSelfNs = d.ANs+o.ANs, d.BNs+o.BNs, d.ASelfNs+o.ASelfNs, d.BSelfNs+o.BSelfNs
	d.ACount, d.BCount = d.ACount+o.ACount, d.BCount+o.BCount
	type key struct {
		name  string
		class Class
	}
	at := map[key]*FlameDiff{}
	for _, c := range d.Children {
		at[key{c.Name, c.Class}] = c
	}
	for _, c := range o.Children {
		if have := at[key{c.Name, c.Class}]; have != nil {
			have.add(c)
		} else {
			d.Children = append(d.Children, c)
		}
	}
}

// mergeFlames joins two nodes of one place; one may be nil.
func mergeFlames(a, b *Flame, per [2]float64) *FlameDiff {
	d := &FlameDiff{}
	if a != nil {
		d.Name, d.Class, d.ACount = a.Name, a.Class, a.Count
		d.ANs, d.ASelfNs = float64(a.TotalNs)/per[0], float64(a.SelfNs)/per[0]
		for k, c := range a.kids {
			var other *Flame
			if b != nil {
				other = b.kids[k]
			}
			d.Children = append(d.Children, mergeFlames(c, other, per))
		}
	}
	if b != nil {
		d.Name, d.Class, d.BCount = b.Name, b.Class, b.Count
		d.BNs, d.BSelfNs = float64(b.TotalNs)/per[1], float64(b.SelfNs)/per[1]
		for k, c := range b.kids {
			if a == nil || a.kids[k] == nil {
				d.Children = append(d.Children, mergeFlames(nil, c, per))
			}
		}
	}
	return d
}

// prune sorts children as Flame.list does, and leaves out those that are narrow on both sides.
func (d *FlameDiff) prune(left *int, least float64, deep int) {
	if deep >= maxFlameDeep {
		d.Children = nil
		return
	}
	d.Children = slices.DeleteFunc(d.Children, func(c *FlameDiff) bool {
		wide := max(c.ANs, c.BNs)
		return wide < least || wide <= 0
	})
	slices.SortFunc(d.Children, func(x, y *FlameDiff) int {
		return cmp.Or(cmp.Compare(y.ANs+y.BNs, x.ANs+x.BNs), cmp.Compare(x.Name, y.Name), cmp.Compare(x.Class, y.Class))
	})
	d.Children = d.Children[:min(len(d.Children), *left)]
	*left -= len(d.Children)
	for _, c := range d.Children {
		c.prune(left, least, deep+1)
	}
}

// stretches are spans of a trace's time by start, without overlap; nil is all of it.
type stretches struct {
	list   []analysis.Window
	before []int64 // ns that lie in the spans before each
}

func newStretches(list []analysis.Window) *stretches {
	if list == nil {
		return nil
	}
	s := &stretches{}
	sum := int64(0)
	for _, w := range list {
		if n := len(s.list); n > 0 { // steps of two threads may overlap: what is covered counts once
			w.StartNs = max(w.StartNs, s.list[n-1].EndNs)
		}
		if w.EndNs <= w.StartNs {
			continue
		}
		s.list, s.before = append(s.list, w), append(s.before, sum)
		sum += w.EndNs - w.StartNs
	}
	return s
}

// upTo is how much of the time before t lies in the spans.
func (s *stretches) upTo(t int64) int64 {
	k := sort.Search(len(s.list), func(k int) bool { return s.list[k].StartNs >= t }) - 1
	if k < 0 {
		return 0
	}
	return s.before[k] + min(t, s.list[k].EndNs) - s.list[k].StartNs
}

// of is how much of [from, to) lies in the spans.
func (s *stretches) of(from, to int64) int64 {
	if s == nil {
		return to - from
	}
	return s.upTo(to) - s.upTo(from)
}

// has says whether an instant lies in one of the spans.
func (s *stretches) has(t int64) bool { return s == nil || s.of(t, t+1) > 0 }

// hostFlame is the host's slices by their stacks. names numbers them; the trace is number i there.
func (p *part) hostFlame(ctx context.Context, names *texts, i int, in *stretches) (*Flame, error) {
	root := &Flame{Name: "host"}
	var flames flamer
	s := &p.t.Slices
	nodes := make([]*Flame, s.Len()) // by slice: its node, for its children
	seen := 0
	for k := range p.t.Tracks {
		list := p.index.Track(trace.TrackID(k))
		if len(list) == 0 || p.t.Tracks[k].Kind == trace.TrackGPU || s.Cat[list[0]] == trace.CatTraceSpan {
			continue // a track of the profiler's own spans says when it recorded, and nothing of the host
		}
		for _, n := range list {
			if seen++; seen%checkEvery == 0 && ctx.Err() != nil {
				return nil, ctx.Err()
			}
			ns := in.of(s.Start[n], s.End(int(n)))
			if ns <= 0 && (in != nil || s.Dur[n] > 0) {
				continue
			}
			at := root
			if up := p.index.Parent[n]; up != trace.NoParent && nodes[up] != nil {
				at = nodes[up]
				at.SelfNs -= min(at.SelfNs, ns)
			}
			nodes[n] = flames.child(at, textKey{names.name(i, p, s.Name[n]).flame, p.classOf(n)}, names.list, ns)
		}
	}
	root.finish()
	return root, nil
}

// notLaunched holds device work whose launch the trace does not have.
const notLaunched = "launch not in the trace"

// deviceFlame is device work under the operators that launched it; names and i are those of
// hostFlame.
func (p *part) deviceFlame(names *texts, i int, in *stretches) *Flame {
	root := &Flame{Name: "device"}
	var flames flamer
	v := p.subject().Seen().View
	s := &p.t.Slices
	none := textKey{names.number(notLaunched), ClassOther}
	nodes := make([]*Flame, s.Len()) // by slice of the host
	var way []int32                  // from the call outwards, as far as it has no node
	for _, d := range v.Work {
		call, begun := v.Launch(d), d
		if call >= 0 {
			begun = call
		}
		if !v.Counts(d) || !in.has(v.Start[begun]) {
			continue
		}
		at := root
		if call < 0 {
			at = flames.node(root, none, names.list)
		} else {
			k := p.index.Parent[call]
			for way = way[:0]; k != trace.NoParent && nodes[k] == nil; k = p.index.Parent[k] {
				way = append(way, k)
			}
			if k != trace.NoParent {
				at = nodes[k]
			}
			for n := len(way) - 1; n >= 0; n-- {
				k := textKey{names.name(i, p, s.Name[way[n]]).flame, p.classOf(uint32(way[n]))}
				at = flames.node(at, k, names.list)
				nodes[way[n]] = at
			}
		}
		flames.child(at, textKey{names.name(i, p, s.Name[d]).own, p.classOf(uint32(d))}, names.list, v.Dur[d])
	}
	root.gather()
	root.finish()
	return root
}

// gather adds the time below each node under f to the node.
func (f *Flame) gather() {
	for _, c := range f.kids {
		c.gather()
		for _, below := range c.kids {
			c.Count += below.Count
			c.TotalNs += below.TotalNs
		}
	}
}
