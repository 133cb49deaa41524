package steps

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// isGraph reports whether call l, which launched n device slices, replayed a graph: its name says
// so, or it launched several kernels, which no other call of CUDA or HIP does.
func isGraph(t *trace.Trace, l int32, n int) bool {
	switch t.Slices.Cat[l] {
	case trace.CatCUDARuntime, trace.CatCUDADriver, trace.CatXPURuntime, trace.CatXPUDriver:
		return n >= 2 || strings.Contains(t.String(t.Slices.Name[l]), "GraphLaunch")
	}
	return false
}

// graphAcc is a graph whose replays are being collected.
type graphAcc struct {
	calls    []int32 // indices into device.calls
	work     int
	deviceNs int64
	extentNs int64
	launchNs int64
}

// graphs are the replayed graphs, identified by the kernels that they launch.
type graphs struct {
	list []graphAcc
	of   []int32 // per device.calls: index into list, -1 for a plain launch
}

// signature returns a hash that is the same for all replays of one graph, whatever the order in
// which streams ran the kernels.
func signature(d *device, c *call) uint64 {
	var sum uint64
	for _, k := range c.work {
		x := uint64(d.t.Slices.Name[d.work[k]]) + 0x9e3779b97f4a7c15
		x ^= x >> 30
		x *= 0xbf58476d1ce4e5b9
		x ^= x >> 27
		x *= 0x94d049bb133111eb
		sum += x ^ x>>31
	}
	return sum
}

func findGraphs(d *device) *graphs {
	g := &graphs{of: make([]int32, len(d.calls))}
	type key struct {
		sig  uint64
		n    int
		name trace.StringID
	}
	at := map[key]int32{}
	s := &d.t.Slices
	for i := range d.calls {
		c := &d.calls[i]
		g.of[i] = -1
		if !isGraph(d.t, c.slice, len(c.work)) {
			continue
		}
		k := key{signature(d, c), len(c.work), s.Name[c.slice]}
		x, ok := at[k]
		if !ok {
			x = int32(len(g.list))
			at[k] = x
			g.list = append(g.list, graphAcc{work: len(c.work)})
		}
		g.of[i] = x
		a := &g.list[x]
		a.calls = append(a.calls, int32(i))
		a.launchNs += d.v.Dur[c.slice]
		var end int64
		for _, w := range c.work {
			a.deviceNs += d.v.Dur[d.work[w]]
			end = max(end, d.v.End(d.work[w]))
		}
		a.extentNs += end - d.v.Start[d.work[c.work[0]]]
	}
	return g
}

// report names the graphs and returns the share of device slices that they launched.
func (g *graphs) report(d *device, steps []Step) ([]Graph, float64) {
	out := make([]Graph, 0, len(g.list))
	var byGraphs int
	s := &d.t.Slices
	missing := make(map[int32]bool, len(d.seen.Missing))
	for _, l := range d.seen.Missing {
		missing[l] = true
	}
	for i := range g.list {
		a := &g.list[i]
		n := len(a.calls)
		first := &d.calls[a.calls[0]]
		x := Graph{
			Call: d.t.String(s.Name[first.slice]), Slices: a.work, Replays: n, DeviceNs: a.deviceNs,
			MeanNs: float64(a.extentNs) / float64(n), LaunchNs: float64(a.launchNs) / float64(n),
			Slice: int(first.slice),
		}
		x.Name = fmt.Sprintf("graph of %d kernels (%s)", a.work, x.Call)
		if x.Part = missing[first.slice]; x.Part {
			x.Name = fmt.Sprintf("part of %d kernels (%s)", a.work, x.Call)
		}
		byGraphs += a.work * n
		kinds := map[Kind]bool{}
		for _, c := range a.calls {
			if k := stepAt(steps, d.v.Start[d.calls[c].slice]); k >= 0 {
				kinds[steps[k].Kind] = true
				x.Kind = steps[k].Kind
			}
		}
		if len(kinds) != 1 {
			x.Kind = Unknown
		}
		x.Top = topName(d, first)
		out = append(out, x)
	}
	slices.SortStableFunc(out, func(a, b Graph) int {
		return cmp.Or(cmp.Compare(b.DeviceNs, a.DeviceNs), cmp.Compare(a.Slice, b.Slice))
	})
	if len(d.work) == 0 {
		return out, 0
	}
	return out, float64(byGraphs) / float64(len(d.work))
}

// topName is the name with the most time among what c launched.
func topName(d *device, c *call) string {
	s := &d.t.Slices
	sum := map[trace.StringID]int64{}
	best := trace.StringID(0)
	for _, w := range c.work {
		i := d.work[w]
		sum[s.Name[i]] += d.v.Dur[i]
	}
	for _, w := range c.work {
		n := s.Name[d.work[w]]
		if best == 0 || sum[n] > sum[best] {
			best = n
		}
	}
	return d.t.String(best)
}
