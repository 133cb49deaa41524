package timeline

import (
	"cmp"
	"context"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/label"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Limits of a selection's answer.
const (
	maxOps       = 5000
	maxFlame     = 4000 // nodes; what is left out is summed up in its parent
	maxFlameDeep = 200
)

// OpSum is the slices of one name and class in a selection. Times are cut to the window.
type OpSum struct {
	Name    string  `json:"name"`
	Class   Class   `json:"class"`
	Count   int     `json:"count"`
	TotalNs int64   `json:"total_ns"` // a slice inside one of the same name counts once
	SelfNs  int64   `json:"self_ns"`  // without what lies inside
	MeanNs  float64 `json:"mean_ns"`  // of whole slices
	MinNs   int64   `json:"min_ns"`
	MaxNs   int64   `json:"max_ns"`
	Longest string  `json:"longest"`
}

// ClassSum is the time of one class.
type ClassSum struct {
	Class  Class `json:"class"`
	Count  int   `json:"count"`
	SelfNs int64 `json:"self_ns"`
}

// Flame is a node of a flame graph: a name under the names that hold it.
type Flame struct {
	Name     string   `json:"name"`
	Class    Class    `json:"class"`
	Count    int      `json:"count"`
	TotalNs  int64    `json:"total_ns"`
	SelfNs   int64    `json:"self_ns"`
	Children []*Flame `json:"children,omitempty"` // most time first

	kids map[flameKey]*Flame
}

type flameKey struct {
	name  string
	class Class
}

// Selection is what an area of the timeline adds up to.
type Selection struct {
	FromNs  int64      `json:"from_ns"`
	ToNs    int64      `json:"to_ns"`
	Slices  int        `json:"slices"`
	Ops     []OpSum    `json:"ops"`   // most self time first
	Names   int        `json:"names"` // of which Ops lists the first 5000
	Classes []ClassSum `json:"classes"`
	Flame   *Flame     `json:"flame"`
}

// area iterates the slices of tracks that reach into [from, to), parents before children.
// Slices without duration at from are in it.
func (tl *Timeline) area(q Query, f func(i int, p *part, s uint32, from, to int64)) error {
	if err := q.check(); err != nil {
		return err
	}
	type key struct {
		part  int
		track trace.TrackID
	}
	seen := map[key]bool{}
	for _, id := range q.Tracks {
		i, c, err := tl.track(id)
		if err != nil {
			return err
		}
		p := tl.parts[i]
		from, to := p.local(q.From), p.local(q.To)
		visit := func(list []uint32) {
			for _, s := range list {
				start, end := p.t.Slices.Start[s], p.t.Slices.End(int(s))
				if start >= to {
					break
				}
				if end > from || start >= from {
					f(i, p, s, from, to)
				}
			}
		}
		if k, ok := p.own(c); ok {
			if !seen[key{i, k}] {
				seen[key{i, k}] = true
				visit(p.index.Track(k))
			}
			continue
		}
		for r := range c.rows.Len() {
			visit(c.rows.Slices(r))
		}
	}
	return nil
}

// own returns the track of the trace whose rows c is; false for a packed lane.
func (p *part) own(c *cell) (trace.TrackID, bool) {
	k := slices.Index(p.tracks, c)
	return trace.TrackID(max(0, k)), k >= 0
}

// Select sums an area up: by name, by class, and as a flame graph. Only q's From, To and
// Tracks count.
func (tl *Timeline) Select(ctx context.Context, q Query) (*Selection, error) {
	q.Px = 1
	out := &Selection{FromNs: q.From, ToNs: q.To, Ops: []OpSum{}, Classes: []ClassSum{},
		Flame: &Flame{Name: "selection"}}
	at := map[flameKey]int{}
	nodes := make([][]*Flame, len(tl.parts)) // by slice: its node, for its children
	err := tl.area(q, func(i int, p *part, s uint32, from, to int64) {
		if out.Slices%checkEvery == 0 && ctx.Err() != nil {
			return
		}
		out.Slices++
		sl := &p.t.Slices
		if nodes[i] == nil {
			nodes[i] = make([]*Flame, sl.Len())
		}
		dur := max(0, min(sl.End(int(s)), to)-max(sl.Start[s], from))
		k := flameKey{p.t.String(sl.Name[s]), p.classOf(s)}
		parent, outermost := out.Flame, true
		if up := p.index.Parent[s]; up != trace.NoParent && nodes[i][up] != nil {
			parent = nodes[i][up]
			parent.SelfNs -= min(parent.SelfNs, dur)
			out.deduct(at, p, uint32(up), dur)
			for a := up; a != trace.NoParent; a = p.index.Parent[a] {
				if sl.Name[a] == sl.Name[s] {
					outermost = false
					break
				}
			}
		}
		nodes[i][s] = parent.child(flameKey{label.Unnumbered(k.name), k.class}, dur)
		n, ok := at[k]
		if !ok {
			n = len(out.Ops)
			at[k] = n
			out.Ops = append(out.Ops, OpSum{Name: k.name, Class: k.class, MinNs: sl.Dur[s], Longest: sliceID(i, s)})
		}
		out.Ops[n].add(i, s, sl.Dur[s], dur, outermost)
	})
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	out.finish()
	return out, nil
}

// deduct takes what a child covers from the self time of its parent's name.
func (s *Selection) deduct(at map[flameKey]int, p *part, parent uint32, ns int64) {
	k := flameKey{p.t.String(p.t.Slices.Name[parent]), p.classOf(parent)}
	if n, ok := at[k]; ok {
		s.Ops[n].SelfNs -= min(s.Ops[n].SelfNs, ns)
	}
}

func (o *OpSum) add(i int, s uint32, whole, cut int64, outermost bool) {
	o.Count++
	o.SelfNs += cut
	if outermost {
		o.TotalNs += cut
	}
	o.MeanNs += float64(whole) // the sum, until finish
	o.MinNs = min(o.MinNs, whole)
	if whole > o.MaxNs {
		o.MaxNs, o.Longest = whole, sliceID(i, s)
	}
}

func (f *Flame) child(k flameKey, ns int64) *Flame {
	c := f.kids[k]
	if c == nil {
		if f.kids == nil {
			f.kids = map[flameKey]*Flame{}
		}
		c = &Flame{Name: k.name, Class: k.class}
		f.kids[k] = c
	}
	c.Count++
	c.TotalNs += ns
	c.SelfNs += ns
	return c
}

func (s *Selection) finish() {
	by := [numClasses]ClassSum{}
	for i := range s.Ops {
		o := &s.Ops[i]
		o.MeanNs /= float64(o.Count)
		by[o.Class].Class = o.Class
		by[o.Class].Count += o.Count
		by[o.Class].SelfNs += o.SelfNs
	}
	for _, c := range by {
		if c.Count > 0 {
			s.Classes = append(s.Classes, c)
		}
	}
	slices.SortFunc(s.Classes, func(a, b ClassSum) int { return cmp.Compare(b.SelfNs, a.SelfNs) })
	slices.SortFunc(s.Ops, func(a, b OpSum) int {
		return cmp.Or(cmp.Compare(b.SelfNs, a.SelfNs), cmp.Compare(a.Name, b.Name))
	})
	s.Names = len(s.Ops)
	s.Ops = s.Ops[:min(len(s.Ops), maxOps)]
	s.Flame.finish()
}

// finish sums the root up and puts its descendants in order.
func (f *Flame) finish() {
	for _, c := range f.kids {
		f.TotalNs += c.TotalNs
		f.Count += c.Count
	}
	left := maxFlame
	f.list(&left, f.TotalNs/2000, 0)
}

// list puts the children in order, the widest first, as far as room is left and they are
// wide enough to see.
func (f *Flame) list(left *int, least int64, deep int) {
	if deep >= maxFlameDeep {
		return
	}
	for _, c := range f.kids {
		if c.TotalNs >= least && c.TotalNs > 0 {
			f.Children = append(f.Children, c)
		}
	}
	slices.SortFunc(f.Children, func(a, b *Flame) int {
		return cmp.Or(cmp.Compare(b.TotalNs, a.TotalNs), cmp.Compare(a.Name, b.Name))
	})
	f.Children = f.Children[:min(len(f.Children), *left)]
	*left -= len(f.Children)
	for _, c := range f.Children {
		c.list(left, least, deep+1)
	}
}
