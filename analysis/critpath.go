package analysis

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/internal/enum"
	"github.com/kinetoscope/kinetoscope/trace"
)

// EdgeType says what an edge of the critical path stands for.
type EdgeType uint8

// The types of edges.
const (
	EdgeOperator    EdgeType = iota // time inside a host operator or a device slice
	EdgeDependency                  // host operators that follow each other; weighs nothing
	EdgeLaunchDelay                 // from the start of a launch call to the start of its kernel
	EdgeKernelDelay                 // between two slices of one stream
	EdgeSync                        // a wait for a stream, an event or a device; weighs nothing
	numEdgeTypes
)

var edgeNames = enum.Of[EdgeType]("edge type", "operator", "dependency", "kernel_launch_delay", "kernel_kernel_delay",
	"sync_dependency")

// String returns the type's name.
func (e EdgeType) String() string { return edgeNames.Text(e) }

// MarshalText writes the type's name.
func (e EdgeType) MarshalText() ([]byte, error) { return edgeNames.Marshal(e) }

// UnmarshalText reads what MarshalText wrote.
func (e *EdgeType) UnmarshalText(text []byte) error { return edgeNames.Unmarshal(e, text) }

// Bound is the resource that an edge of the critical path waits for.
type Bound uint8

// The resources.
const (
	BoundNone         Bound = iota // edges that weigh nothing
	BoundCPU                       // the host works
	BoundCompute                   // the device computes or copies
	BoundCommunicate               // the device communicates
	BoundKernelKernel              // the device starts the next kernel
	BoundLaunch                    // the launch is on its way
	numBounds
)

var boundNames = enum.Of[Bound]("bound", "", "cpu", "gpu_compute", "gpu_communication", "kernel_kernel_overhead",
	"kernel_launch_overhead")

// String returns the resource's name.
func (b Bound) String() string { return boundNames.Text(b) }

// MarshalText writes the resource's name.
func (b Bound) MarshalText() ([]byte, error) { return boundNames.Marshal(b) }

// UnmarshalText reads what MarshalText wrote.
func (b *Bound) UnmarshalText(text []byte) error { return boundNames.Unmarshal(b, text) }

// CriticalOptions choose the part of a trace whose critical path is asked for.
type CriticalOptions struct {
	// Annotation limits the path to slices that start in one instance of a slice whose
	// name contains it; "" means the whole trace.
	Annotation string
	Instance   int // which of them, from 0 in file order
	// ZeroWeightLaunchEdges adds an edge without weight from every launch to its kernel
	// that has no launch delay, so that a simulation on the graph cannot start a kernel
	// before its launch. The path stays the same.
	ZeroWeightLaunchEdges bool
}

// CriticalPath is the longest chain of work and waits in a part of a trace: shortening
// anything else does not make that part faster.
type CriticalPath struct {
	Rank    int    `json:"rank"`
	Window  Window `json:"window"`
	TotalNs int64  `json:"total_ns"` // sum of the edges' weights
	// Edges are from first to last; of a summary only the longest, see Summarize.
	Edges []CriticalEdge `json:"edges"`
	// EdgeCount and SliceCount are of the whole path.
	EdgeCount  int             `json:"edge_count"`
	SliceCount int             `json:"slice_count"`
	Bounds     []CriticalBound `json:"bounds"` // TotalNs by resource
	// Slices are on the path, each once, in order; a summary has none.
	Slices []int            `json:"slices,omitempty"`
	Graph  CriticalGraph    `json:"graph"`
	ByName []CriticalByName `json:"by_name"` // operator edges by the name of their slice, longest first
}

// Summarize keeps the n longest edges, in the path's order, and no slices: a path has as many
// as the window has launches and operators, which nobody reads.
func (p *CriticalPath) Summarize(n int) {
	p.Slices = nil
	if len(p.Edges) <= n {
		return
	}
	// A heap of the n longest so far, the first to go on top: the shortest, of equal ones the last.
	longest := make(edgeHeap, 0, max(0, n))
	for i := range p.Edges {
		e := &p.Edges[i]
		switch {
		case len(longest) < n:
			heap.Push(&longest, e)
		case n > 0 && e.Ns > longest[0].Ns:
			longest[0] = e
			heap.Fix(&longest, 0)
		}
	}
	slices.SortFunc(longest, func(a, b *CriticalEdge) int { return cmp.Compare(a.Index, b.Index) })
	kept := make([]CriticalEdge, len(longest))
	for k, e := range longest {
		kept[k] = *e
	}
	p.Edges = kept
}

type edgeHeap []*CriticalEdge

func (h edgeHeap) Len() int      { return len(h) }
func (h edgeHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *edgeHeap) Push(e any)   { *h = append(*h, e.(*CriticalEdge)) }
func (h edgeHeap) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].Ns, h[j].Ns), cmp.Compare(h[j].Index, h[i].Index)) < 0
}

func (h *edgeHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// CriticalEdge is a step of the path.
type CriticalEdge struct {
	Ns    int64 `json:"ns"`
	Index int32 `json:"index"` // its place on the path, from 0
	From  int32 `json:"from"`  // slice
	To    int32 `json:"to"`    // slice
	// Slice is the one whose time the edge is, or NoSlice for a launch or a dependency.
	Slice   int32    `json:"slice"`
	Type    EdgeType `json:"type"`
	Bound   Bound    `json:"bound"`
	FromEnd bool     `json:"from_end"` // the edge leaves From's end, not its start
	ToEnd   bool     `json:"to_end"`
}

// CriticalBound is the path's time on one resource.
type CriticalBound struct {
	Bound Bound   `json:"bound"`
	Ns    int64   `json:"ns"`
	Share float64 `json:"share"` // of TotalNs
}

// CriticalByName is the path's time inside slices of one name.
type CriticalByName struct {
	Name  string `json:"name"`
	Bound Bound  `json:"bound"`
	Ns    int64  `json:"ns"`
	Count int    `json:"count"` // edges
	Worst int    `json:"worst"` // slice of the longest edge
	worst int64
}

// CriticalGraph describes the graph the path was searched in.
type CriticalGraph struct {
	Nodes    int                 `json:"nodes"`
	Edges    int                 `json:"edges"`
	Count    [numEdgeTypes]int   `json:"count"`  // edges by type
	Weight   [numEdgeTypes]int64 `json:"weight"` // ns by type
	Negative int                 `json:"negative_weights"`
	NoEdge   int                 `json:"unexplained_kernels"` // kernels that nothing was found to wait for
	// CudaSync is false if the trace has no cuda_sync rows; waits between streams are
	// unknown then and the path may be too short.
	CudaSync bool `json:"cuda_sync"`
}

// Errors of FindCriticalPath.
var (
	ErrNoAnnotation = errors.New("no such annotation")
	ErrNoPath       = errors.New(
		"nothing to find a path through: no operator, launch or device work that takes any time")
	ErrCycle = errors.New("dependencies form a cycle")
)

// FindCriticalPath finds the critical path. The definition is HTA's: a start and an end node
// for every operator, runtime call and device slice; calls follow each other on a
// thread, kernels on a stream; a kernel waits for its launch if its stream was idle
// when it was launched, for the kernel before it otherwise, and for what an event or a
// synchronisation call names; calls that only wait weigh nothing.
func FindCriticalPath(tr *trace.Trace, opt Options, co CriticalOptions) (CriticalPath, error) {
	return newFrame(tr, opt).critical(co)
}

// blockingCalls wait for the device: their own time is the device's.
var blockingCalls = map[string]bool{
	"cudaDeviceSynchronize": true, "cudaStreamSynchronize": true, "cudaEventQuery": true,
	"cudaEventSynchronize": true, "cudaMemcpy": true,
}

var blockingHIP = map[string]bool{
	"hipDeviceSynchronize": true, "hipStreamSynchronize": true, "hipEventQuery": true, "hipEventSynchronize": true,
	"hipMemcpy": true, "hipMemcpyWithStream": true,
	"cuStreamSynchronize": true, "cuCtxSynchronize": true, "cuEventSynchronize": true,
}

func (f *frame) critical(co CriticalOptions) (CriticalPath, error) {
	out := CriticalPath{Rank: f.rank}
	w, err := f.criticalWindow(co)
	if err != nil {
		return out, err
	}
	out.Window = w
	g := newCritGraph(f, co, w)
	g.hostEdges()
	g.deviceEdges()
	path, err := g.longest()
	out.Graph = g.describe()
	if err != nil {
		return out, err
	}
	g.fill(&out, path)
	return out, nil
}

// criticalWindow finds the instance's span.
func (f *frame) criticalWindow(co CriticalOptions) (Window, error) {
	s := &f.tr.Slices
	if co.Annotation == "" {
		w, ok := Window{}, false
		for i := range int32(s.Len()) {
			if !f.counts(i) {
				continue
			}
			if !ok {
				w, ok = Window{f.start[i], f.end(i)}, true
			}
			w.StartNs, w.EndNs = min(w.StartNs, f.start[i]), max(w.EndNs, f.end(i))
		}
		if !ok {
			return w, ErrNoPath
		}
		return w, nil
	}
	match := f.nameTable(func(n string) bool { return strings.Contains(n, co.Annotation) })
	seen := 0
	for i := range int32(s.Len()) {
		// Device copies of an annotation are no second instance; HTA takes them for one.
		if !f.counts(i) || !match[s.Name[i]] || !f.rules.AnyRowIsOperator && s.Cat[i] == trace.CatGPUUserAnnotation {
			continue
		}
		if seen == co.Instance {
			return Window{f.start[i], f.end(i)}, nil
		}
		seen++
	}
	return Window{}, fmt.Errorf("%w: %q, instance %d of %d", ErrNoAnnotation, co.Annotation, co.Instance, seen)
}

// fill describes the path, which is a list of edges.
func (g *critGraph) fill(out *CriticalPath, path []int32) {
	var by [numBounds]int64
	names := map[trace.StringID]int{}
	seen := make([]bool, len(g.hasNode))
	out.Edges = make([]CriticalEdge, 0, len(path))
	out.Slices = make([]int, 0, len(path)+1) // a path of n edges has n+1 nodes
	add := func(slice int32) {
		if !seen[slice] {
			seen[slice] = true
			out.Slices = append(out.Slices, int(slice))
		}
	}
	for _, at := range path {
		e := &g.edges[at]
		ce := CriticalEdge{Index: int32(len(out.Edges)), Type: e.typ, From: e.from >> 1, To: e.to >> 1,
			FromEnd: e.from&1 == 1, ToEnd: e.to&1 == 1,
			Ns: g.weight(e), Slice: e.slice, Bound: g.bound(e)}
		out.Edges = append(out.Edges, ce)
		out.TotalNs += ce.Ns
		by[ce.Bound] += ce.Ns
		add(e.from >> 1)
		add(e.to >> 1)
		if e.typ == EdgeOperator && e.slice >= 0 {
			g.addName(out, names, &ce)
		}
	}
	out.EdgeCount, out.SliceCount = len(out.Edges), len(out.Slices)
	for b, ns := range by {
		if b > 0 && ns != 0 {
			out.Bounds = append(out.Bounds, CriticalBound{Bound(b), ns, share(ns, out.TotalNs)})
		}
	}
	sortDesc(out.Bounds, func(b *CriticalBound) int64 { return b.Ns })
	sortDesc(out.ByName, func(b *CriticalByName) int64 { return b.Ns })
}

func (g *critGraph) addName(out *CriticalPath, names map[trace.StringID]int, e *CriticalEdge) {
	id := g.f.tr.Slices.Name[e.Slice]
	at, ok := names[id]
	if !ok {
		at = len(out.ByName)
		names[id] = at
		out.ByName = append(out.ByName, CriticalByName{Name: g.f.name(e.Slice), Bound: e.Bound, worst: -1})
	}
	r := &out.ByName[at]
	r.Ns += e.Ns
	r.Count++
	if e.Ns > r.worst {
		r.worst, r.Worst = e.Ns, int(e.Slice)
	}
}

func (g *critGraph) bound(e *critEdge) Bound {
	switch {
	case e.typ == EdgeKernelDelay:
		return BoundKernelKernel
	case e.typ == EdgeLaunchDelay:
		return BoundLaunch
	case e.typ != EdgeOperator || e.slice < 0:
		return BoundNone
	case g.f.laneOf[e.slice] < 0:
		return BoundCPU
	case g.kind(e.slice) == KindCommunication:
		return BoundCommunicate
	}
	return BoundCompute
}
