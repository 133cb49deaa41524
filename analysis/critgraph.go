package analysis

import (
	"math"

	"github.com/kinetoscope/kinetoscope/analysis/hta"
	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/trace"
)

// A node is a slice's start (2*slice) or end (2*slice+1).
type critNode = int32

type critEdge struct {
	from, to critNode
	slice    int32 // whose time it is, -1 if nobody's
	typ      EdgeType
	zero     bool // weighs nothing whatever its type is
}

type critGraph struct {
	f       *frame
	co      CriticalOptions
	w       Window
	clipped []bool // per slice: in the part that is looked at
	hasNode []bool // per slice
	kind    func(int32) Kind
	edges   []critEdge
	syncs   map[[2]critNode]bool // synchronisations seen; two rows may report one
	order   []critNode           // nodes in order of first use
	index   []int32              // per node: position in order, plus 1
	noEdge  int
	laneOf  map[streamOf]int64 // see laneKey
}

func newCritGraph(f *frame, co CriticalOptions, w Window) *critGraph {
	s := &f.tr.Slices
	n := int32(s.Len())
	g := &critGraph{f: f, co: co, w: w, clipped: make([]bool, n), hasNode: make([]bool, n), kind: f.kindBySlice(),
		syncs: map[[2]critNode]bool{}, index: make([]int32, 2*n)}
	inside := func(i int32) bool { return f.start[i] >= w.StartNs && f.start[i] <= w.EndNs && f.dur[i] > 0 }
	for i := range n {
		if !f.counts(i) {
			continue
		}
		host := f.laneOf[i] < 0
		if !f.rules.RowsByStream && s.Cat[i].Device() {
			host = false
		}
		if host {
			g.clipped[i] = inside(i)
			g.hasNode[i] = g.clipped[i] && (s.Cat[i] == trace.CatCPUOp || isRuntime(s.Cat[i]))
			continue
		}
		h := f.partner[i]
		switch {
		case h >= 0 && f.counts(h):
			g.clipped[i] = inside(h) && (!f.rules.OneSliceALaunch || f.partner[h] == i)
		case !f.rules.OneSliceALaunch && h < 0:
			g.clipped[i] = inside(i) && isDeviceWork(s.Cat[i])
		}
		if f.rules.WaitEventsOnPath && f.name(i) == hta.StreamWait {
			g.clipped[i] = true
		}
		g.hasNode[i] = g.clipped[i] && (!f.rules.RowsByStream || s.Corr[i] >= 0)
	}
	nodes := 0
	for _, has := range g.hasNode {
		nodes += 2 * stat.One(has)
	}
	g.order, g.edges = make([]critNode, 0, nodes), make([]critEdge, 0, nodes+nodes/2)
	return g
}

func (g *critGraph) time(v critNode) int64 {
	if v&1 == 0 {
		return g.f.start[v>>1]
	}
	return g.f.end(v >> 1)
}

// weight is the time that an edge takes, in ns. It follows from the edge's ends and is not kept: a
// graph has as many edges as its trace has slices.
func (g *critGraph) weight(e *critEdge) int64 {
	if e.zero || e.typ == EdgeDependency || e.typ == EdgeSync {
		return 0
	}
	return g.time(e.to) - g.time(e.from)
}

func (g *critGraph) add(from, to critNode, typ EdgeType, slice int32, zero bool) {
	e := critEdge{from: from, to: to, typ: typ, slice: slice, zero: zero}
	if typ == EdgeSync {
		if g.syncs[[2]critNode{from, to}] {
			return
		}
		g.syncs[[2]critNode{from, to}] = true
	}
	for _, v := range [2]critNode{from, to} {
		if g.index[v] == 0 {
			g.order = append(g.order, v)
			g.index[v] = int32(len(g.order))
		}
	}
	g.edges = append(g.edges, e)
}

// hostEdges chains what every thread did, from call to nested call and back.
func (g *critGraph) hostEdges() {
	f := g.f
	s := &f.tr.Slices
	accept := func(i int32) bool { return g.clipped[i] && (g.hasNode[i] || isHostOp(s.Cat[i])) }
	if f.rules.AnyRowIsOperator {
		accept = func(i int32) bool { return g.clipped[i] }
	}
	t := f.nest(accept)
	blocking := f.nameTable(func(n string) bool { return blockingCalls[n] || !f.rules.CUDACallsOnly && blockingHIP[n] })
	const none = critNode(-1)
	last, top, parent, depth := none, none, noSlice, 0
	track, begun := trace.TrackID(0), false
	t.walk(func(i int32) {
		if !begun || s.Track[i] != track {
			last, top, parent, depth, track, begun = none, none, noSlice, 0, s.Track[i], true
		}
		if !g.hasNode[i] {
			return
		}
		start := 2 * i
		if depth == 0 && top != none {
			g.add(top, start, EdgeDependency, noSlice, false)
		}
		depth++
		if last != none {
			g.add(last, start, EdgeOperator, attributed(last, start, parent), false)
		}
		last, parent = start, t.parent[i]
	}, func(i int32) {
		if !g.hasNode[i] {
			return
		}
		end := 2*i + 1
		depth--
		if last != none {
			g.add(last, end, EdgeOperator, attributed(last, end, parent), blocking[s.Name[i]])
		}
		if depth == 0 {
			last, top = none, end
		} else {
			last, parent = end, t.parent[i]
		}
	})
}

// attributed says whose time lies between two nodes that follow each other on a thread:
// after a start its slice's, before an end that slice's, between an end and a start
// the caller's.
func attributed(from, to critNode, caller int32) int32 {
	switch {
	case from&1 == 0:
		return from >> 1
	case to&1 == 1:
		return to >> 1
	}
	return caller
}

// longest returns the edges of the heaviest path. Among equals the edge added first
// wins, as does the node first reached.
func (g *critGraph) longest() ([]int32, error) {
	if len(g.edges) == 0 {
		return nil, ErrNoPath
	}
	at := func(v critNode) int32 { return g.index[v] - 1 }
	n := len(g.order)
	in := make([]int32, n) // edges not yet passed
	outHead, outNext := filled(n), make([]int32, len(g.edges))
	for k := len(g.edges) - 1; k >= 0; k-- {
		u := at(g.edges[k].from)
		outNext[k], outHead[u] = outHead[u], int32(k)
		in[at(g.edges[k].to)]++
	}
	best, bestEdge := make([]int64, n), filled(n)
	for v := range best {
		best[v] = math.MinInt64
	}
	var level []int32
	for v := range int32(n) {
		if in[v] == 0 {
			level = append(level, v)
			best[v] = 0
		}
	}
	done, end := 0, int32(-1)
	for len(level) > 0 {
		var next []int32
		for _, u := range level {
			done++
			// What weighs nothing at the end, such as a wait, belongs to the path; HTA
			// leaves it out.
			if end < 0 || best[u] > best[end] || best[u] == best[end] && !g.f.rules.FirstEndWins {
				end = u
			}
			for k := outHead[u]; k >= 0; k = outNext[k] {
				e := &g.edges[k]
				v := at(e.to)
				wt := max(0, g.weight(e))
				if d := best[u] + wt; d > best[v] || d == best[v] && k < bestEdge[v] {
					best[v], bestEdge[v] = d, k
				}
				if in[v]--; in[v] == 0 {
					next = append(next, v)
				}
			}
		}
		level = next
	}
	if done < n {
		return nil, ErrCycle
	}
	var path []int32
	for v := end; bestEdge[v] >= 0; v = at(g.edges[bestEdge[v]].from) {
		path = append(path, bestEdge[v])
	}
	for i, j := 0, len(path)-1; i < j; i, j = i+1, j-1 {
		path[i], path[j] = path[j], path[i]
	}
	return path, nil
}

func filled(n int) []int32 {
	s := make([]int32, n)
	for i := range s {
		s[i] = noSlice
	}
	return s
}

func (g *critGraph) describe() CriticalGraph {
	d := CriticalGraph{Nodes: len(g.order), Edges: len(g.edges), NoEdge: g.noEdge}
	for _, c := range g.f.tr.Slices.Cat {
		if c == trace.CatCUDASync {
			d.CudaSync = true
			break
		}
	}
	for i := range g.edges {
		e := &g.edges[i]
		d.Count[e.typ]++
		w := g.weight(e)
		d.Weight[e.typ] += w
		if w < 0 {
			d.Negative++
		}
	}
	return d
}
