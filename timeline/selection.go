package timeline

import (
	"cmp"
	"context"
	"slices"

	"github.com/kinetoscope/kinetoscope/internal/most"
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

	kids map[textKey]*Flame
}

// textKey is a text, as texts numbers it, of one class.
type textKey struct {
	text  int32
	class Class
}

// texts number the names of several traces: equal ones alike, each looked at once.
type texts struct {
	list   []string
	byText map[string]int32
	of     [][]nameTexts // by trace and name
}

// nameTexts are two numbers of a name, each +1: its own, and that of the frame that stands for it
// in a flame graph.
type nameTexts struct{ own, flame int32 }

func newTexts(traces int) *texts {
	return &texts{byText: map[string]int32{}, of: make([][]nameTexts, traces)}
}

func (x *texts) number(text string) int32 {
	n, ok := x.byText[text]
	if !ok {
		x.list = append(x.list, text)
		n = int32(len(x.list))
		x.byText[text] = n
	}
	return n
}

// own is the number of a name as it stands in a trace. The names of one trace differ, so that
// only those of several are looked for among each other.
func (x *texts) own(text string) int32 {
	if len(x.of) > 1 {
		return x.number(text)
	}
	x.list = append(x.list, text)
	return int32(len(x.list))
}

// name returns the numbers of a name of trace i.
func (x *texts) name(i int, p *part, id trace.StringID) nameTexts {
	if x.of[i] == nil {
		x.of[i] = make([]nameTexts, p.t.Strings.Len())
	}
	n := &x.of[i][id]
	if n.own == 0 {
		text := p.t.String(id)
		n.own = x.own(text)
		n.flame = n.own
		if short := trace.CommonName(text); len(short) < len(text) {
			if id, ok := p.t.Strings.Lookup(short); ok && len(x.of) == 1 {
				n.flame = x.name(i, p, id).own
			} else {
				n.flame = x.number(short)
			}
		}
	}
	return *n
}

// opSum is an OpSum that is being added up.
type opSum struct {
	OpSum
	longest uint32 // slice of trace in
	in      int
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
	if err := q.checkWindow(); err != nil {
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
		if c.own > 0 {
			k := trace.TrackID(c.own - 1)
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

// Select sums an area up: by name, by class, and as a flame graph. Only q's From, To and
// Tracks count.
func (tl *Timeline) Select(ctx context.Context, q Query) (*Selection, error) {
	q.Px = 1
	out := &Selection{FromNs: q.From, ToNs: q.To, Ops: []OpSum{}, Classes: []ClassSum{},
		Flame: &Flame{Name: "selection"}}
	names := newTexts(len(tl.parts))
	var at sums
	var flames flamer
	var ops []opSum
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
		name, class := names.name(i, p, sl.Name[s]), p.classOf(s)
		parent, outermost := out.Flame, true
		if up := p.index.Parent[s]; up != trace.NoParent && nodes[i][up] != nil {
			parent = nodes[i][up]
			parent.SelfNs -= min(parent.SelfNs, dur)
			// Its self time loses what this slice covers.
			if n := *at.of(textKey{names.name(i, p, sl.Name[up]).own, p.classOf(uint32(up))}); n > 0 {
				ops[n-1].SelfNs -= min(ops[n-1].SelfNs, dur)
			}
			outermost = !p.cells.nested.get(p.nested)[s]
		}
		nodes[i][s] = flames.child(parent, textKey{name.flame, class}, names.list, dur)
		n := at.of(textKey{name.own, class})
		if *n == 0 {
			ops = append(ops, opSum{OpSum: OpSum{Name: names.list[name.own-1], Class: class, MinNs: sl.Dur[s]},
				longest: s, in: i})
			*n = int32(len(ops))
		}
		ops[*n-1].add(i, s, sl.Dur[s], dur, outermost)
	})
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	out.finish(ops)
	return out, nil
}

// nested says of each slice whether it lies in one of its own name.
func (p *part) nested() []bool {
	name := p.t.Slices.Name
	out, open := make([]bool, len(name)), make([]int32, p.t.Strings.Len()) // open by name
	var stack []int32
	for _, i := range p.index.Order { // parents before children
		for len(stack) > 0 && stack[len(stack)-1] != p.index.Parent[i] {
			open[name[stack[len(stack)-1]]]--
			stack = stack[:len(stack)-1]
		}
		out[i] = open[name[i]] > 0
		open[name[i]]++
		stack = append(stack, int32(i))
	}
	return out
}

func (o *opSum) add(i int, s uint32, whole, cut int64, outermost bool) {
	o.Count++
	o.SelfNs += cut
	if outermost {
		o.TotalNs += cut
	}
	o.MeanNs += float64(whole) // the sum, until finish
	o.MinNs = min(o.MinNs, whole)
	if whole > o.MaxNs {
		o.MaxNs, o.longest, o.in = whole, s, i
	}
}

// sums are the places of sums, +1, by text and class.
type sums []int32

// of returns the place of k.
func (x *sums) of(k textKey) *int32 {
	n := int(k.text)*int(numClasses) + int(k.class)
	if n >= len(*x) {
		*x = append(*x, make([]int32, n+1-len(*x)+len(*x)/2)...)
	}
	return &(*x)[n]
}

// flamer makes the nodes of a flame graph: many at a time, for a trace may have a name for each slice.
type flamer struct{ block []Flame }

// child adds a slice of ns to the node of k below f.
func (x *flamer) child(f *Flame, k textKey, texts []string, ns int64) *Flame {
	c := x.node(f, k, texts)
	c.Count++
	c.TotalNs += ns
	c.SelfNs += ns
	return c
}

// node returns the node of k below f.
func (x *flamer) node(f *Flame, k textKey, texts []string) *Flame {
	c := f.kids[k]
	if c == nil {
		if f.kids == nil {
			f.kids = map[textKey]*Flame{}
		}
		if len(x.block) == 0 {
			x.block = make([]Flame, min(1024, 16+len(f.kids)))
		}
		c, x.block = &x.block[0], x.block[1:]
		c.Name, c.Class = texts[k.text-1], k.class
		f.kids[k] = c
	}
	return c
}

func (s *Selection) finish(ops []opSum) {
	by := [numClasses]ClassSum{}
	for i := range ops {
		o := &ops[i]
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
	s.Names = len(ops)
	for _, o := range most.First(ops, maxOps, func(a, b opSum) int {
		if a.SelfNs != b.SelfNs {
			return cmp.Compare(b.SelfNs, a.SelfNs)
		}
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Class, b.Class))
	}) {
		o.MeanNs /= float64(o.Count)
		o.Longest = sliceID(o.in, o.longest)
		s.Ops = append(s.Ops, o.OpSum)
	}
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
	if *left == 0 {
		f.Children = nil
		return
	}
	f.Children = most.First(f.Children, *left, func(a, b *Flame) int {
		if a.TotalNs != b.TotalNs {
			return cmp.Compare(b.TotalNs, a.TotalNs)
		}
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Class, b.Class))
	})
	*left -= len(f.Children)
	for _, c := range f.Children {
		c.list(left, least, deep+1)
	}
}
