package timeline

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kinetoscope/kinetoscope/timeline/lod"
	"github.com/kinetoscope/kinetoscope/trace"
)

// packedTrack is a lane that holds what streams of one device did of one kind.
type packedTrack struct {
	name string
	cell
}

// works reports whether a stream has kernels or copies.
func (p *part) works(k trace.TrackID) bool {
	return slices.ContainsFunc(p.index.Track(k), func(s uint32) bool { return p.t.Slices.Cat[s].Busy() })
}

// laneOrder orders the lanes of a packed device.
var laneOrder = map[string]int{"compute": 0, "copies": 2, "annotations": 3, "waits and markers": 4}

// lanes distributes the slices of a device's streams to lanes by the kind of their work. Every
// slice is on one lane, with its name, time and arguments unchanged.
func (p *part) lanes(g *trackGroup) []*packedTrack {
	p.packOnce.Lock()
	defer p.packOnce.Unlock()
	if have, ok := p.packed[g.device]; ok {
		return have
	}
	by := map[string][]uint32{}
	kinds := map[trace.StringID]string{}
	for _, k := range g.tracks {
		for _, s := range p.index.Track(k) {
			name := p.laneOf(s, kinds)
			by[name] = append(by[name], s)
		}
	}
	out := []*packedTrack{}
	for name, list := range by {
		s := &p.t.Slices
		slices.SortFunc(list, func(a, b uint32) int {
			return cmp.Or(cmp.Compare(s.Start[a], s.Start[b]), cmp.Compare(s.Dur[b], s.Dur[a]), cmp.Compare(a, b))
		})
		rows := lod.Pack(p.t, list)
		c := cell{rows: rows, slices: len(list)}
		if rows.Len() > 0 {
			c.busy = rows.Busy(0)
		}
		out = append(out, &packedTrack{name, c})
	}
	rank := func(name string) int {
		if r, ok := laneOrder[name]; ok {
			return r
		}
		return 1 // kinds of collectives, between compute and copies
	}
	slices.SortFunc(out, func(a, b *packedTrack) int {
		return cmp.Or(cmp.Compare(rank(a.name), rank(b.name)), cmp.Compare(a.name, b.name))
	})
	p.packed[g.device] = out
	return out
}

func (p *part) laneOf(s uint32, kinds map[trace.StringID]string) string {
	switch p.classOf(s) {
	case ClassKernel:
		return "compute"
	case ClassCopy:
		return "copies"
	case ClassCollective:
		id := p.t.Slices.Name[s]
		k, ok := kinds[id]
		if !ok {
			k = collectiveKind(p.t.String(id))
			kinds[id] = k
		}
		return k
	case ClassWait:
		return "waits and markers"
	}
	return "annotations"
}

// packedID returns the id of the lane that slice s of trace i is on; "" if its device has
// not been packed.
func (p *part) packedID(i int, s uint32) string {
	k := &p.t.Tracks[p.t.Slices.Track[s]]
	if k.Kind != trace.TrackGPU {
		return ""
	}
	p.packOnce.Lock()
	defer p.packOnce.Unlock()
	lanes := p.packed[k.Device]
	if lanes == nil {
		return ""
	}
	name := p.laneOf(s, map[trace.StringID]string{})
	j := slices.IndexFunc(lanes, func(l *packedTrack) bool { return l.name == name })
	return fmt.Sprintf("%d:p%d.%d", i, k.Device, j)
}
