package convert

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/trace"
)

// collectives returns, in order of their ends, those collectives of t that show how clocks differ:
// operations that all ranks of a named group leave together.
func collectives(t *trace.Trace) []align.Collective {
	type key struct{ group, op string }
	numbers := map[key]int64{}
	var out []align.Collective
	for _, c := range coll.Read(plausible.Look(t).View).Collectives {
		if c.Group == "" || c.Cut || !coll.Symmetric(c.Op) {
			continue
		}
		k := key{c.GroupID(), c.Op}
		if c.Seq < 0 {
			c.Seq = numbers[k]
			numbers[k]++
		}
		out = append(out, align.Collective{Group: k.group, Name: c.Op, Seq: c.Seq, Start: c.StartNs, End: c.End()})
	}
	slices.SortStableFunc(out, func(a, b align.Collective) int { return cmp.Compare(a.End, b.End) })
	return out
}
