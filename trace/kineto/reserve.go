package kineto

import "slices"

// reserve makes room for what the rest of the file will add, judged by how much of it
// was read, so that columns are copied seldom and end with little slack.
type reserve struct {
	read, size int64
}

// room returns the capacity for a column that has n rows and needs more of them.
func (v reserve) room(n, more int) int {
	need := n + more
	want := need + need/4
	if v.read > 0 && v.size > v.read {
		const slack = 1.03
		want = int(float64(need) * float64(v.size) / float64(v.read) * slack)
	} else if v.size > 0 && v.read >= v.size {
		want = need
	}
	return min(max(want, need), 4*need+1024) // a wild estimate costs little
}

// grow makes room in col for more rows.
func grow[T any](v reserve, col *[]T, more int) {
	if n := len(*col); cap(*col)-n < more {
		out := make([]T, n, v.room(n, more))
		copy(out, *col)
		*col = out
	}
}

// clip gives slack above an eighth back.
func clip[T any](col *[]T) {
	if n := len(*col); cap(*col)-n > n/8 {
		*col = slices.Clip(append(make([]T, 0, n), *col...))
	}
}

// reserve makes room for a result.
func (m *merger) reserve(r *result) {
	v := m.room
	s, n := &m.t.Slices, len(r.start)
	grow(v, &s.Start, n)
	grow(v, &s.Dur, n)
	grow(v, &s.Name, n)
	grow(v, &s.Cat, n)
	grow(v, &s.Track, n)
	grow(v, &s.Corr, n)
	grow(v, &s.Args, n)
	grow(v, &s.Event, n)
	f, n := &m.t.Flows, len(r.flows)
	grow(v, &f.Time, n)
	grow(v, &f.ID, n)
	grow(v, &f.Track, n)
	grow(v, &f.Cat, n)
	grow(v, &f.Name, n)
	grow(v, &f.Start, n)
	i, n := &m.t.Instants, len(r.instants)
	grow(v, &i.Time, n)
	grow(v, &i.Name, n)
	grow(v, &i.Cat, n)
	grow(v, &i.Track, n)
	grow(v, &i.Args, n)
}

// clip gives the columns' slack back.
func (m *merger) clip() {
	s, f, i, c := &m.t.Slices, &m.t.Flows, &m.t.Instants, &m.t.Counters
	for _, col := range []*[]int64{&s.Start, &s.Dur, &s.Corr, &f.Time, &i.Time, &c.Time} {
		clip(col)
	}
	m.t.ClipArgsValues()
	clip(&m.t.Tracks)
	clip(&s.Name)
	clip(&s.Cat)
	clip(&s.Track)
	clip(&s.Args)
	clip(&s.Event)
	clip(&f.ID)
	clip(&f.Track)
	clip(&f.Cat)
	clip(&f.Name)
	clip(&f.Start)
	clip(&i.Name)
	clip(&i.Cat)
	clip(&i.Track)
	clip(&i.Args)
	clip(&c.Name)
	clip(&c.Series)
	clip(&c.Track)
	clip(&c.Value)
}
