package profiler

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// lane is what one track did, or what a recording says it did, without times: lines in
// the order in which the format gives them.
type lane struct {
	slices, instants, asyncs, counters, memory, flows []string
}

// actor does random things on a track and notes in want what it did.
type actor struct {
	rng   *rand.Rand
	track *Track
	names []Name
	want  lane
	stack []*modelSpan
	point *modelSpan // instant or async event that can still get arguments
	steps int
}

type modelSpan struct {
	span  Span
	name  Name
	cat   Category
	label string // of a point
	attrs []string
}

func newActor(seed uint64, t *Track) *actor {
	a := &actor{rng: rand.New(rand.NewPCG(seed, 7)), track: t}
	for i := range 20 {
		a.names = append(a.names, Intern(fmt.Sprintf("name %d", i)))
	}
	return a
}

func (a *actor) name() Name { return a.names[a.rng.IntN(len(a.names))] }

func (a *actor) flushPoint() {
	if p := a.point; p != nil {
		line := p.label + " " + strings.Join(p.attrs, " ")
		if strings.HasPrefix(line, "instant") {
			a.want.instants = append(a.want.instants, line)
		} else {
			a.want.asyncs = append(a.want.asyncs, line)
		}
		a.point = nil
	}
}

func (a *actor) closeTo(depth int, finished bool) {
	a.flushPoint()
	for i := len(a.stack) - 1; i >= depth; i-- {
		m := a.stack[i]
		a.want.slices = append(a.want.slices, sliceLine(m.name.String(), uint8(m.cat), i, finished, finished &&
			i > depth, m.attrs))
	}
	a.stack = a.stack[:depth]
}

func sliceLine(name string, cat uint8, depth int, finished, unwound bool, attrs []string) string {
	return fmt.Sprintf("%d %s cat=%d fin=%t unw=%t %s", depth, name, cat, finished, unwound, strings.Join(attrs, " "))
}

// step does one random thing.
func (a *actor) step() {
	a.steps++
	r, t := a.rng, a.track
	switch k := r.IntN(20); {
	case k < 6 && len(a.stack) < format.MaxDepth:
		n, c := a.name(), Category(r.IntN(16))
		a.flushPoint()
		a.stack = append(a.stack, &modelSpan{span: t.Begin(n, c), name: n, cat: c})
	case k < 11 && len(a.stack) > 0:
		d := len(a.stack) - 1
		if r.IntN(20) == 0 {
			d = r.IntN(len(a.stack)) // an outer span ends first
		}
		s := a.stack[d].span
		s.End()
		a.closeTo(d, true)
		s.End() // ignored
		s.Int(a.names[0], 1)
	case k == 11:
		n, c := a.name(), Category(r.IntN(16))
		a.flushPoint()
		a.point = &modelSpan{span: t.Instant(n, c), label: fmt.Sprintf("instant %s cat=%d", n, c)}
		a.point.span.End()
	case k == 12:
		n, c, id := a.name(), Category(r.IntN(16)), r.Uint64()
		a.flushPoint()
		if r.IntN(2) == 0 {
			a.point = &modelSpan{span: t.AsyncBegin(n, c, id), label: fmt.Sprintf("async+ %s cat=%d id=%x", n, c, id)}
		} else {
			a.point = &modelSpan{span: t.AsyncEnd(n, id), label: fmt.Sprintf("async- %s cat=0 id=%x", n, id)}
		}
	case k == 13:
		n, v := a.name(), r.Int64N(1<<50)-1<<49
		if r.IntN(2) == 0 {
			t.Counter(n, v)
			a.want.counters = append(a.want.counters, fmt.Sprintf("%s %v", n, float64(v)))
		} else {
			t.CounterFloat(n, float64(v)/7)
			a.want.counters = append(a.want.counters, fmt.Sprintf("%s %v", n, float64(v)/7))
		}
	case k == 14:
		n, addr, b := a.name(), r.Uint64(), r.Int64N(1<<40)
		if r.IntN(2) == 0 {
			t.Alloc(n, addr, b)
			a.want.memory = append(a.want.memory, fmt.Sprintf("true %s %x %d", n, addr, b))
		} else {
			t.Free(n, addr, b)
			a.want.memory = append(a.want.memory, fmt.Sprintf("false %s %x %d", n, addr, b))
		}
	default:
		a.attr()
	}
}

// attr adds a random argument to the newest span, to one further out, or to the point.
func (a *actor) attr() {
	r := a.rng
	m := a.point
	if m == nil || r.IntN(3) == 0 {
		if len(a.stack) == 0 {
			return
		}
		m = a.stack[len(a.stack)-1]
		if r.IntN(4) == 0 {
			m = a.stack[r.IntN(len(a.stack))]
		}
		// Arguments of a span direct later ones away from the point.
		a.flushPoint()
	}
	k := a.name()
	note := func(format string, v ...any) { m.attrs = append(m.attrs, fmt.Sprintf(format, v...)) }
	switch r.IntN(9) {
	case 0:
		v := int64(r.Uint64())
		m.span.Int(k, v)
		note("%s=%d", k, v)
	case 1:
		v := a.name()
		m.span.Str(k, v)
		note("%s=%s", k, v)
	case 2:
		v := strings.Repeat("x\"é\x00", r.IntN(60))
		m.span.Text(k, v)
		note("%s=%q", k, v)
	case 3:
		v := r.NormFloat64()
		m.span.Float(k, v)
		note("%s=%v", k, v)
	case 4:
		v := r.Int64()
		m.span.FLOPs(v)
		note("flops=%d", v)
	case 5:
		v := r.Int64()
		m.span.Bytes(v)
		note("bytes=%d", v)
	case 6:
		dims := make([]int, r.IntN(format.MaxDims+1))
		for i := range dims {
			dims[i] = r.IntN(1<<20) - 1
		}
		m.span.Shape(BFloat16, dims...)
		note("shape=%d%v", BFloat16, dims)
	case 7:
		id := r.Uint64()
		m.span.FlowOut(id)
		a.want.flows = append(a.want.flows, fmt.Sprintf("true %x", id))
	case 8:
		id := r.Uint64()
		m.span.FlowIn(id)
		a.want.flows = append(a.want.flows, fmt.Sprintf("false %x", id))
	}
}

// decoded is a whole recording, per track name.
type decoded struct {
	lanes       map[string]*lane
	generations int
	times       map[string][]interval // slices in end order
	err         error
	reader      *format.Reader
}

type interval struct{ start, end, depth int64 }

func attrLine(rd *format.Reader, g *format.Generation, attrs []format.Attr) []string {
	var out []string
	for _, a := range attrs {
		k := rd.String(a.Key)
		switch a.Kind {
		case format.AttrInt:
			out = append(out, fmt.Sprintf("%s=%d", k, a.Int))
		case format.AttrStr:
			out = append(out, fmt.Sprintf("%s=%s", k, rd.String(a.Str())))
		case format.AttrText:
			out = append(out, fmt.Sprintf("%s=%q", k, g.Text(a)))
		case format.AttrFloat:
			out = append(out, fmt.Sprintf("%s=%v", k, a.Float()))
		case format.AttrFLOPs:
			out = append(out, fmt.Sprintf("flops=%d", a.Int))
		case format.AttrBytes:
			out = append(out, fmt.Sprintf("bytes=%d", a.Int))
		case format.AttrShape:
			out = append(out, fmt.Sprintf("shape=%d%v", a.DType, g.Dims(a)))
		case format.AttrStack:
			out = append(out, fmt.Sprintf("stack=%d", len(rd.Stack(a.Int))))
		}
	}
	return out
}

// decode reads a recording and checks what must hold of any: times of a track grow,
// nested slices lie inside each other.
func decode(tb testing.TB, r io.Reader) *decoded {
	tb.Helper()
	rd, err := format.NewReader(r)
	if err != nil {
		tb.Fatal(err)
	}
	d := &decoded{lanes: map[string]*lane{}, times: map[string][]interval{}, reader: rd}
	lastEnd := map[string]int64{}
	for {
		g, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return d
		}
		if err != nil {
			d.err = err
			continue
		}
		d.generations++
		at := func(t format.TrackIndex) (*lane, string) {
			n := rd.Tracks()[t].Name
			if d.lanes[n] == nil {
				d.lanes[n] = &lane{}
			}
			return d.lanes[n], n
		}
		for i := range g.Slices.Start {
			q := &g.Slices
			l, n := at(q.Track[i])
			f := q.Flags[i]
			l.slices = append(l.slices, sliceLine(rd.String(q.Name[i]), q.Cat[i], int(q.Depth[i]),
				f&format.Finished != 0, f&format.Unwound != 0, attrLine(rd, g, g.SliceAttrs(i))))
			end := q.Start[i] + q.Dur[i]
			if end < lastEnd[n] {
				tb.Errorf("track %s: slice ends at %d, the one before at %d", n, end, lastEnd[n])
			}
			lastEnd[n] = end
			d.times[n] = append(d.times[n], interval{q.Start[i], end, int64(q.Depth[i])})
		}
		for i := range g.Instants.Time {
			l, _ := at(g.Instants.Track[i])
			l.instants = append(l.instants, fmt.Sprintf("instant %s cat=%d %s", rd.String(g.Instants.Name[i]),
				g.Instants.Cat[i], strings.Join(attrLine(rd, g, g.InstantAttrs(i)), " ")))
		}
		for i := range g.Asyncs.Time {
			l, _ := at(g.Asyncs.Track[i])
			sign := "-"
			if g.Asyncs.Begin[i] {
				sign = "+"
			}
			l.asyncs = append(l.asyncs, fmt.Sprintf("async%s %s cat=%d id=%x %s", sign, rd.String(g.Asyncs.Name[i]),
				g.Asyncs.Cat[i], g.Asyncs.ID[i], strings.Join(attrLine(rd, g, g.AsyncAttrs(i)), " ")))
		}
		for i := range g.Counters.Time {
			l, _ := at(g.Counters.Track[i])
			l.counters = append(l.counters, fmt.Sprintf("%s %v", rd.String(g.Counters.Name[i]), g.Counters.Value[i]))
			if math.IsNaN(g.Counters.Value[i]) {
				tb.Error("NaN counter")
			}
		}
		for i := range g.Memory.Time {
			q := &g.Memory
			l, _ := at(q.Track[i])
			l.memory = append(l.memory, fmt.Sprintf("%t %s %x %d", q.Alloc[i], rd.String(q.Pool[i]), q.Addr[i],
				q.Bytes[i]))
		}
		for i := range g.Flows.Time {
			l, _ := at(g.Flows.Track[i])
			l.flows = append(l.flows, fmt.Sprintf("%t %x", g.Flows.Out[i], g.Flows.ID[i]))
		}
	}
}
