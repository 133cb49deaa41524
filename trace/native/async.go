package native

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/trace"
)

// asyncTID is where the synthetic thread ids of async lanes begin: above those of a
// process's tracks.
const asyncTID = 1_000_000

type asyncKey struct {
	id   uint64
	name format.StringID
}

type asyncBegin struct {
	at   int64
	cat  trace.Category
	args []byte // members of an object, without braces
}

// async is a finished async span that has no lane yet.
type async struct {
	start, end int64
	id         uint64
	name       trace.StringID
	cat        trace.Category
	args       trace.ArgsRef
}

func (b *builder) asyncEnds(g *format.Generation) {
	a := &g.Asyncs
	for i, ns := range a.Time {
		b.args.reset()
		b.args.attrs(b.rd, g, g.AsyncAttrs(i))
		members := b.args.b[1:]
		key := asyncKey{a.ID[i], a.Name[i]}
		if a.Begin[i] {
			b.open[key] = append(b.open[key], asyncBegin{at: ns, cat: b.category(a.Cat[i]),
				args: slices.Clone(members)})
			continue
		}
		begins := b.open[key]
		if len(begins) == 0 {
			// The span began before the window. All that is known is that it lasted until here, so
			// it is drawn from the window's start.
			b.unmatched++
			b.addAsync(key, asyncBegin{at: min(b.h.Start, ns), cat: trace.CatUserAnnotation}, ns, slices.Clone(members))
			continue
		}
		begin := begins[len(begins)-1]
		if b.open[key] = begins[:len(begins)-1]; len(begins) == 1 {
			delete(b.open, key)
		}
		b.addAsync(key, begin, ns, slices.Clone(members))
	}
}

func (b *builder) addAsync(key asyncKey, begin asyncBegin, end int64, members []byte) {
	b.args.reset()
	b.args.b = append(b.args.b, begin.args...)
	if len(begin.args) > 0 && len(members) > 0 {
		b.args.b = append(b.args.b, ", "...)
	}
	b.args.b = append(b.args.b, members...)
	start := begin.at
	if before := b.h.Start - start; before > 0 {
		b.args.int(argBeganBefore, before)
		start = min(b.h.Start, end)
	}
	b.last = max(b.last, end)
	b.asyncs = append(b.asyncs, async{
		start: start, end: max(start, end), id: key.id, name: b.names[key.name], cat: begin.cat,
		args: b.t.AddArgs(b.args.done()),
	})
}

// closeAsyncs ends what is still open with the window and gives every async span the
// first lane of its name that is free.
func (b *builder) closeAsyncs() {
	unfinished := []byte(`"` + argFinished + `": false`)
	for key, begins := range b.open {
		for _, begin := range begins {
			b.addAsync(key, begin, b.t.Meta.WindowEnd, unfinished)
		}
	}
	slices.SortFunc(b.asyncs, func(x, y async) int {
		return cmp.Or(cmp.Compare(x.start, y.start), cmp.Compare(y.end, x.end), cmp.Compare(x.id, y.id),
			cmp.Compare(b.t.String(x.name), b.t.String(y.name)))
	})
	var lanes trace.Lanes[trace.StringID]
	tid := int64(asyncTID)
	for _, a := range b.asyncs {
		on := lanes.Place(a.name, a.start, a.end, func(n int) trace.TrackID {
			name := b.t.String(a.name)
			if n > 0 {
				name += " " + strconv.Itoa(n+1)
			}
			tid++
			return b.t.AddTrack(trace.Track{
				Kind: trace.TrackOther, PID: int64(b.h.PID), TID: tid, Device: -1, Stream: -1,
				Process: b.h.Process, Name: name, SortIndex: tid,
			})
		})
		b.rows = append(b.rows, row{
			start: a.start, dur: a.end - a.start, name: a.name, cat: a.cat, track: on, args: a.args,
		})
	}
	b.asyncs = nil
}
