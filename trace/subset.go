package trace

import (
	"bytes"
	"slices"
)

// Subset returns a trace of the rows of some of t's tracks, with t's Meta and without its
// Repairs. It shares the arguments with t; neither may be added to while others read.
func (t *Trace) Subset(keep func(TrackID) bool) *Trace {
	return t.Partition(1, func(id TrackID) int {
		if keep(id) {
			return 0
		}
		return -1
	})[0]
}

// Partition returns n traces as Subset makes them: trace i has the rows of the tracks for which of
// returns i. Rows of tracks for which of returns a negative number are left out.
func (t *Trace) Partition(n int, of func(TrackID) int) []*Trace {
	out := make([]*Trace, n)
	for k := range out {
		x := New()
		x.Meta, x.cats, x.Strings, x.args = t.Meta, slices.Clone(t.cats), t.Strings.share(), t.args.shared()
		out[k] = x
	}
	part, to := make([]*Trace, len(t.Tracks)), make([]TrackID, len(t.Tracks))
	for i := range t.Tracks {
		if k := of(TrackID(i)); k >= 0 {
			part[i], to[i] = out[k], out[k].AddTrack(t.Tracks[i])
		}
	}
	s := &t.Slices
	for i, k := range s.Track {
		if part[k] == nil {
			continue
		}
		o := &part[k].Slices
		o.Start, o.Dur, o.Name, o.Cat = append(o.Start, s.Start[i]), append(o.Dur, s.Dur[i]), append(o.Name, s.Name[i]),
			append(o.Cat, s.Cat[i])
		o.Track, o.Corr, o.Args = append(o.Track, to[k]), append(o.Corr, s.Corr[i]), append(o.Args, s.Args[i])
		o.Event = append(o.Event, s.Event[i])
	}
	p := &t.Instants
	for i, k := range p.Track {
		if part[k] != nil {
			m := &part[k].Instants
			m.Time, m.Name, m.Cat = append(m.Time, p.Time[i]), append(m.Name, p.Name[i]), append(m.Cat, p.Cat[i])
			m.Track, m.Args = append(m.Track, to[k]), append(m.Args, p.Args[i])
		}
	}
	c := &t.Counters
	for i, k := range c.Track {
		if part[k] != nil {
			d := &part[k].Counters
			d.Time, d.Name, d.Series = append(d.Time, c.Time[i]), append(d.Name, c.Name[i]), append(d.Series,
				c.Series[i])
			d.Track, d.Value = append(d.Track, to[k]), append(d.Value, c.Value[i])
		}
	}
	f := &t.Flows
	for i, k := range f.Track {
		if part[k] != nil {
			g := &part[k].Flows
			g.Time, g.ID, g.Track = append(g.Time, f.Time[i]), append(g.ID, f.ID[i]), append(g.Track, to[k])
			g.Cat, g.Name, g.Start = append(g.Cat, f.Cat[i]), append(g.Name, f.Name[i]), append(g.Start, f.Start[i])
		}
	}
	return out
}

// OnClocks returns t with the times of some tracks moved: clock returns what maps a track's times, nil for a track
// whose times stay. It shares with t what has no times; neither may be added to while others read. t itself is returned
// if nothing moves.
func (t *Trace) OnClocks(clock func(TrackID) func(int64) int64) *Trace {
	by, some := make([]func(int64) int64, len(t.Tracks)), false
	for i := range by {
		by[i] = clock(TrackID(i))
		some = some || by[i] != nil
	}
	if !some {
		return t
	}
	x := New()
	x.Meta, x.cats, x.Strings, x.args = t.Meta, slices.Clone(t.cats), t.Strings.share(), t.args.shared()
	x.Tracks, x.Repairs = slices.Clone(t.Tracks), t.Repairs
	x.Slices, x.Instants, x.Counters, x.Flows = t.Slices, t.Instants, t.Counters, t.Flows
	x.Slices.Start, x.Slices.Dur = slices.Clone(t.Slices.Start), slices.Clone(t.Slices.Dur)
	for i, k := range t.Slices.Track {
		if f := by[k]; f != nil {
			start := f(t.Slices.Start[i])
			x.Slices.Start[i], x.Slices.Dur[i] = start, max(0, f(t.Slices.End(i))-start)
		}
	}
	move := func(at []int64, on []TrackID) []int64 {
		out := slices.Clone(at)
		for i, k := range on {
			if f := by[k]; f != nil {
				out[i] = f(at[i])
			}
		}
		return out
	}
	x.Instants.Time = move(t.Instants.Time, t.Instants.Track)
	x.Counters.Time = move(t.Counters.Time, t.Counters.Track)
	x.Flows.Time = move(t.Flows.Time, t.Flows.Track)
	return x
}

// shared returns a store of the same objects that grows independently of a.
func (a *argStore) shared() argStore {
	a.closePack()
	return argStore{
		templates: slices.Clip(a.templates), values: slices.Clip(a.values), objects: a.objects, borrowed: true,
		packed: packedArgs{blocks: slices.Clip(a.packed.blocks), bytes: a.packed.bytes},
	}
}

// Append adds the rows of o, which is not changed. Equal tracks become one. The times of both must
// count from the same instant. Event numbers of the added rows continue those of t.
func (t *Trace) Append(o *Trace) {
	tracks, have := make([]TrackID, len(o.Tracks)), make(map[Track]TrackID, len(t.Tracks))
	for i, k := range t.Tracks {
		if _, twice := have[k]; !twice {
			have[k] = TrackID(i)
		}
	}
	for i, k := range o.Tracks {
		at, ok := have[k]
		if !ok {
			at = t.AddTrack(k)
			have[k] = at
		}
		tracks[i] = at
	}
	texts := make([]StringID, o.Strings.Len())
	for i := range texts {
		texts[i] = t.Intern(o.String(StringID(i)))
	}
	cats := map[Category]Category{}
	cat := func(c Category) Category {
		to, ok := cats[c]
		if !ok {
			to = t.Category(o.CategoryText(c))
			cats[c] = to
		}
		return to
	}
	args := func(r ArgsRef) ArgsRef { return t.AddArgs(bytes.Clone(o.Args(r))) }
	var next uint32
	for _, e := range t.Slices.Event {
		next = max(next, e+1)
	}
	for i := range o.Slices.Start {
		s, c := &o.Slices, &t.Slices
		c.Start, c.Dur, c.Name, c.Cat = append(c.Start, s.Start[i]), append(c.Dur, s.Dur[i]), append(c.Name,
			texts[s.Name[i]]), append(c.Cat, cat(s.Cat[i]))
		c.Track, c.Corr, c.Args = append(c.Track, tracks[s.Track[i]]), append(c.Corr, s.Corr[i]), append(c.Args,
			args(s.Args[i]))
		c.Event = append(c.Event, next+s.Event[i])
	}
	for i := range o.Instants.Time {
		s, c := &o.Instants, &t.Instants
		c.Time, c.Name, c.Cat = append(c.Time, s.Time[i]), append(c.Name, texts[s.Name[i]]), append(c.Cat,
			cat(s.Cat[i]))
		c.Track, c.Args = append(c.Track, tracks[s.Track[i]]), append(c.Args, args(s.Args[i]))
	}
	for i := range o.Counters.Time {
		s, c := &o.Counters, &t.Counters
		c.Time, c.Name, c.Series = append(c.Time, s.Time[i]), append(c.Name, texts[s.Name[i]]), append(c.Series,
			texts[s.Series[i]])
		c.Track, c.Value = append(c.Track, tracks[s.Track[i]]), append(c.Value, s.Value[i])
	}
	for i := range o.Flows.Time {
		s, c := &o.Flows, &t.Flows
		c.Time, c.ID, c.Track = append(c.Time, s.Time[i]), append(c.ID, s.ID[i]), append(c.Track, tracks[s.Track[i]])
		c.Cat, c.Name, c.Start = append(c.Cat, texts[s.Cat[i]]), append(c.Name, texts[s.Name[i]]), append(c.Start,
			s.Start[i])
	}
}

// Window sets the window to that of the trace spans, else to the extent of the slices, up to the mark of its end.
func (t *Trace) Window() {
	start, end, ok := t.Extent()
	span := false
	for i, c := range t.Slices.Cat {
		if c != CatTraceSpan {
			continue
		}
		if from, to := t.Slices.Start[i], t.Slices.End(i); span {
			start, end = min(start, from), max(end, to)
		} else {
			start, end, span = from, to, true
		}
	}
	if mark, has := t.Strings.Lookup(NameWindowEnd); has {
		for i, n := range t.Instants.Name {
			if n == mark && t.Instants.Time[i] > start {
				end = max(end, t.Instants.Time[i])
			}
		}
	}
	if ok || span {
		t.Meta.WindowStart, t.Meta.WindowEnd = start, end
	}
}
