package gotrace

import (
	"cmp"
	"maps"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
)

// finish ends what was going on when the trace ended, and puts it on the wall clock.
func (d *decoder) finish() {
	for _, id := range slices.Sorted(maps.Keys(d.goroutines)) {
		g := d.goroutines[id]
		d.endState(id, g, d.last)
		for len(g.regions) > 0 {
			d.t.Repairs.Add(trace.RepairUnmatchedBegin, 1)
			d.popRegion(id, g, d.last)
		}
	}
	open := slices.SortedFunc(maps.Keys(d.ranges), func(a, b rangeKey) int {
		return cmp.Or(cmp.Compare(d.ranges[a], d.ranges[b]), cmp.Compare(a.name, b.name))
	})
	for _, key := range open {
		d.t.Repairs.Add(trace.RepairUnmatchedBegin, 1)
		d.endRange(key, d.last)
	}
	if d.hasWall {
		d.t.Meta.WallClock = true
		for _, column := range [][]int64{d.t.Slices.Start, d.t.Instants.Time, d.t.Counters.Time} {
			for i := range column {
				column[i] += d.wall
			}
		}
	}
	d.t.Meta.WindowStart, d.t.Meta.WindowEnd, _ = d.t.Extent()
	d.t.Trim()
}
