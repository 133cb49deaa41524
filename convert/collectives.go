package convert

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/trace"
)

// collectives returns, in order of their ends, those collectives of a trace that show how clocks differ:
// operations that all ranks of a group leave together, by the number that the trace has for them or their place in it.
// Where the trace names no group, as gloo's do not, they are those of all ranks: of one operation, size and count, for
// where one rank has fewer of them nothing tells which are the same.
func collectives(seen *plausible.Trace) []align.Collective {
	type key struct{ group, op string }
	numbers := map[key]int64{}
	var out []align.Collective
	var unnamed []int
	for _, c := range coll.Read(seen.View).Collectives {
		if c.Cut || !coll.Symmetric(c.Op) || c.Group == "" && !c.Everyone(seen.View.Trace.Meta.WorldSize) {
			continue
		}
		k := key{c.GroupID(), c.Op}
		if c.Group == "" {
			k.op = fmt.Sprintf("%s of %d bytes", c.Op, c.Bytes())
			unnamed = append(unnamed, len(out))
		}
		if c.Seq < 0 {
			c.Seq = numbers[k]
			numbers[k]++
		}
		out = append(out, align.Collective{Group: k.group, Name: k.op, Seq: c.Seq, Start: c.StartNs, End: c.End()})
	}
	for _, i := range unnamed {
		c := &out[i]
		c.Name = fmt.Sprintf("%s, one of %d", c.Name, numbers[key{c.Group, c.Name}])
	}
	slices.SortStableFunc(out, func(a, b align.Collective) int { return cmp.Compare(a.End, b.End) })
	return out
}

// look is what of t is believed.
func look(t *trace.Trace) *plausible.Trace { return plausible.Look(t) }

// OnHostClock returns t with the work of devices whose clocks differ from the host's at the host's times: no collective
// ties such a clock to those of other ranks, but its work begins after its launch and ends before a call that waited
// for it returns. t itself is returned if all its clocks agree.
func OnHostClock(t *trace.Trace, clocks []plausible.DeviceClock) *trace.Trace {
	if len(clocks) == 0 {
		return t
	}
	host := HostTime(clocks)
	return t.OnClocks(func(id trace.TrackID) func(int64) int64 { return host(&t.Tracks[id]) })
}

// HostTime returns, for the tracks of devices whose clocks differ from the host's, what makes their times the host's;
// nil for all other tracks.
func HostTime(clocks []plausible.DeviceClock) func(k *trace.Track) func(ns int64) int64 {
	return func(k *trace.Track) func(int64) int64 {
		for i := range clocks {
			if k.Kind == trace.TrackGPU && k.Device == clocks[i].Device {
				return clocks[i].Host
			}
		}
		return nil
	}
}
