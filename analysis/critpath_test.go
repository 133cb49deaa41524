package analysis

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

// bounds writes what a path was bound by, and the names of its slices, in µs.
func bounds(p CriticalPath) string {
	var out []string
	for _, b := range p.Bounds {
		out = append(out, fmt.Sprintf("%v %d", b.Bound, b.Ns/1000))
	}
	for _, n := range p.ByName {
		out = append(out, fmt.Sprintf("%s %d in %d", n.Name, n.Ns/1000, n.Count))
	}
	return strings.Join(out, ", ")
}

// synced adds a call that waits, and its row among the device's.
func (m *maker) synced(track trace.TrackID, call string, start, dur float64, row, args string) {
	m.corr++
	c := m.slice(m.host, trace.CatCUDARuntime, call, start, dur, "")
	r := m.slice(track, trace.CatCUDASync, row, start+1, dur-2, args)
	m.tr.Slices.Corr[c], m.tr.Slices.Corr[r] = m.corr, m.corr
}

// TestCriticalRules: the path, what it is bound by and in which operators it lies, of traces so small that both
// can be seen.
func TestCriticalRules(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(m *maker)
		path  string
		of    string
	}{
		{"time between two calls is the caller's", func(m *maker) {
			m.op("outer", 0, 100)
			m.op("first", 10, 10)
			m.op("second", 40, 20)
		}, "operator 10; operator 10; operator 20; operator 20; operator 40; ",
			"cpu 100, outer 70 in 3, second 20 in 1, first 10 in 1"},
		{"time between two outermost calls is nobody's", func(m *maker) {
			m.op("a", 0, 10)
			m.op("b", 30, 20)
		}, "operator 10; dependency 0; operator 20; ", "cpu 30, b 20 in 1, a 10 in 1"},
		{"calls within a call of a call", func(m *maker) {
			m.op("outer", 0, 100)
			m.op("middle", 10, 60)
			m.op("inner", 20, 30)
		}, "operator 10; operator 10; operator 30; operator 20; operator 30; ",
			"cpu 100, outer 40 in 2, middle 30 in 2, inner 30 in 1"},
		{"of two threads the one with more to do", func(m *maker) {
			m.op("a", 0, 10)
			m.slice(m.aux, trace.CatCPUOp, "b", 0, 30, "")
			m.op("c", 20, 15)
		}, "operator 30; ", "cpu 30, b 30 in 1"},
		{"a stream with work lets the next kernel wait for it", func(m *maker) {
			m.launched(m.s7, "k1", 0, 2, 5, 45)
			m.launched(m.s7, "k2", 10, 2, 60, 20)
		}, "kernel_launch_delay 5; operator 45; kernel_kernel_delay 10; operator 20; ",
			"gpu_compute 65, kernel_kernel_overhead 10, kernel_launch_overhead 5, k1 45 in 1, k2 20 in 1"},
		{"also if that ends as the next is launched", func(m *maker) {
			m.launched(m.s7, "k1", 0, 2, 5, 45)
			m.launched(m.s7, "k2", 50, 2, 60, 20)
		}, "kernel_launch_delay 5; operator 45; kernel_kernel_delay 10; operator 20; ",
			"gpu_compute 65, kernel_kernel_overhead 10, kernel_launch_overhead 5, k1 45 in 1, k2 20 in 1"},
		{"one without work does not", func(m *maker) {
			m.launched(m.s7, "k1", 0, 2, 5, 45)
			m.launched(m.s7, "k2", 51, 2, 60, 20)
		}, "kernel_launch_delay 5; operator 45; ",
			"gpu_compute 45, kernel_launch_overhead 5, k1 45 in 1"},
		{"nor does another stream", func(m *maker) {
			m.launched(m.s7, "k1", 0, 2, 5, 45)
			m.launched(m.s20, "k2", 10, 2, 60, 20)
		}, "operator 2; dependency 0; kernel_launch_delay 50; operator 20; ",
			"kernel_launch_overhead 50, gpu_compute 20, cpu 2, k2 20 in 1, cudaLaunchKernel 2 in 1"},
		{"communication is not compute", func(m *maker) {
			m.launched(m.s7, "ncclDevKernel_AllReduce_Sum_f32_RING_LL", 0, 2, 5, 45)
		}, "kernel_launch_delay 5; operator 45; ",
			"gpu_communication 45, kernel_launch_overhead 5, ncclDevKernel_AllReduce_Sum_f32_RING_LL 45 in 1"},
		{"a wait for an event is the time of what it waits for", func(m *maker) {
			m.launched(m.s7, "k", 0, 2, 5, 100)
			m.corr = 50
			rec := m.slice(m.host, trace.CatCUDARuntime, "cudaEventRecord", 3, 1, "")
			m.tr.Slices.Corr[rec] = 50
			m.synced(m.s7, "cudaEventSynchronize", 5, 101, "Event Sync",
				`{"device": 0, "stream": 7, "wait_on_stream": 7, "wait_on_cuda_event_record_corr_id": 50}`)
			m.op("after", 110, 20)
		}, "kernel_launch_delay 5; operator 100; sync_dependency 0; dependency 0; operator 20; ",
			"gpu_compute 100, cpu 20, kernel_launch_overhead 5, k 100 in 1, after 20 in 1"},
		{"a wait for a stream likewise, and not for another", func(m *maker) {
			m.launched(m.s7, "short", 0, 2, 5, 20)
			m.launched(m.s20, "long", 3, 2, 8, 70)
			m.synced(m.s7, "cudaStreamSynchronize", 6, 24, "Stream Sync", `{"device": 0, "stream": 7}`)
			m.op("after", 40, 60)
		}, "kernel_launch_delay 5; operator 20; sync_dependency 0; dependency 0; operator 60; ",
			"cpu 60, gpu_compute 20, kernel_launch_overhead 5, after 60 in 1, short 20 in 1"},
		{"of two ways that are as long the one that was found first", func(m *maker) {
			m.launched(m.s7, "a", 0, 2, 5, 20)
			m.launched(m.s20, "b", 3, 2, 8, 18)
			m.synced(m.s7, "cudaDeviceSynchronize", 10, 20, "Context Sync", `{"device": 0, "stream": -1}`)
		}, "kernel_launch_delay 5; operator 20; sync_dependency 0; ",
			"gpu_compute 20, kernel_launch_overhead 5, a 20 in 1"},
		{"what takes no time is not on it", func(m *maker) {
			m.op("a", 0, 10)
			m.op("nothing", 20, 0)
		}, "operator 10; ", "cpu 10, a 10 in 1"},
		{"AMD's calls that wait take no time either", func(m *maker) {
			m.slice(m.host, trace.CatCUDARuntime, "hipDeviceSynchronize", 0, 50, "")
			m.op("after", 60, 10)
		}, "operator 0; dependency 0; operator 10; ", "cpu 10, after 10 in 1, hipDeviceSynchronize 0 in 1"},
		{"an event of the other call that records one", func(m *maker) {
			m.launched(m.s7, "k", 0, 2, 5, 100)
			m.corr = 50
			rec := m.slice(m.host, trace.CatCUDARuntime, "cudaEventRecordWithFlags", 3, 1, "")
			m.tr.Slices.Corr[rec] = 50
			m.synced(m.s7, "cudaEventSynchronize", 5, 101, "Event Sync",
				`{"device": 0, "stream": 7, "wait_on_stream": 7, "wait_on_cuda_event_record_corr_id": 50}`)
		}, "kernel_launch_delay 5; operator 100; sync_dependency 0; ",
			"gpu_compute 100, kernel_launch_overhead 5, k 100 in 1"},
		{"a wait for all waits for all", func(m *maker) {
			m.launched(m.s7, "short", 0, 2, 5, 20)
			m.launched(m.s20, "long", 3, 2, 8, 40)
			m.synced(m.s7, "cudaDeviceSynchronize", 10, 41, "Context Sync", `{"device": 0, "stream": -1}`)
			m.launched(m.s7, "next", 52, 2, 57, 10)
			m.synced(m.s7, "cudaDeviceSynchronize", 60, 10, "Context Sync", `{"device": 0, "stream": -1}`)
		}, "operator 2; dependency 0; kernel_launch_delay 5; operator 40; sync_dependency 0; dependency 0; " +
			"kernel_launch_delay 5; operator 10; sync_dependency 0; ",
			"gpu_compute 50, kernel_launch_overhead 10, cpu 2, long 40 in 1, next 10 in 1, cudaLaunchKernel 2 in 1"},
	} {
		m := newMaker()
		c.build(m)
		got, err := FindCriticalPath(m.tr, Options{}, CriticalOptions{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if e := edges(got); e != c.path {
			t.Errorf("%s: path\n got %s\nwant %s", c.name, e, c.path)
		}
		if b := bounds(got); b != c.of {
			t.Errorf("%s: bound by\n got %s\nwant %s", c.name, b, c.of)
		}
	}
}

// TestCriticalGraph counts the edges of the graph and sums their weights.
func TestCriticalGraph(t *testing.T) {
	m := newMaker()
	m.launched(m.s7, "k1", 0, 2, 5, 45)
	m.launched(m.s7, "k2", 10, 3, 40, 20)  // begins before the one before has ended
	m.kernel(m.s20, "of nobody", 100, 10)  // neither launch nor predecessor
	m.launched(m.s7, "k3", 200, 4, 207, 8) // the stream had nothing to do
	got, err := FindCriticalPath(m.tr, Options{}, CriticalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "graph", got.Graph, CriticalGraph{
		Nodes: 2 * 7, // three launches, four kernels
		// Within each; between the launches; k1 and k3 wait for their launches, k2 for k1.
		Edges:    7 + 2 + 2 + 1,
		Count:    [numEdgeTypes]int{EdgeOperator: 7, EdgeDependency: 2, EdgeLaunchDelay: 2, EdgeKernelDelay: 1},
		Weight:   [numEdgeTypes]int64{EdgeOperator: 92_000, EdgeLaunchDelay: 12_000, EdgeKernelDelay: -10_000},
		Negative: 1,
		NoEdge:   1,
	})
	// What k1 and k2 ran at the same time is once on the path: it takes the 60 µs that both took.
	want(t, "path", edges(got), "kernel_launch_delay 5; operator 45; kernel_kernel_delay -10; operator 20; ")
	want(t, "total", got.TotalNs, 60_000)
}

// TestCriticalCounts counts what the rules above do not show on the path.
func TestCriticalCounts(t *testing.T) {
	// A kernel on stream 20 that waits for one on stream 7, as a record of the wait tells.
	waits := func(m *maker, producer, consumer func()) {
		producer()
		m.corr = 50
		rec := m.slice(m.host, trace.CatCUDARuntime, "cudaEventRecord", 3, 1, "")
		m.tr.Slices.Corr[rec] = 50
		m.synced(m.s20, "cudaStreamWaitEvent", 5, 3, "Stream Wait Event",
			`{"device": 0, "stream": 20, "wait_on_stream": 7, "wait_on_cuda_event_record_corr_id": 50}`)
		consumer()
	}
	type count map[EdgeType]int
	for _, c := range []struct {
		name  string
		build func(m *maker)
		opt   CriticalOptions
		want  count
	}{
		{"a call within one follows its caller alone", func(m *maker) {
			m.op("a", 0, 10)
			m.op("outer", 20, 40)
			m.op("inner", 30, 10)
		}, CriticalOptions{}, count{EdgeDependency: 1}},
		{"two rows report one wait", func(m *maker) {
			m.launched(m.s7, "k", 0, 2, 5, 20)
			m.synced(m.s7, "cudaStreamSynchronize", 6, 24, "Stream Sync", `{"device": 0, "stream": 7}`)
			again := m.slice(m.s7, trace.CatCUDASync, "Stream Sync", 7, 22, `{"device": 0, "stream": 7}`)
			m.tr.Slices.Corr[again] = m.corr
		}, CriticalOptions{}, count{EdgeSync: 1, EdgeLaunchDelay: 1}},
		{"what had ended as the kernel was launched delays it no more than the launch", func(m *maker) {
			waits(m, func() { m.launched(m.s7, "producer", 0, 2, 5, 20) },
				func() { m.launched(m.s20, "consumer", 40, 2, 50, 30) })
		}, CriticalOptions{}, count{EdgeSync: 1, EdgeLaunchDelay: 2}},
		{"what had not is all that it waits for", func(m *maker) {
			waits(m, func() { m.launched(m.s7, "producer", 0, 2, 5, 40) },
				func() { m.launched(m.s20, "consumer", 40, 2, 50, 30) })
		}, CriticalOptions{}, count{EdgeSync: 1, EdgeLaunchDelay: 1}},
		{"nor does it wait for work of its stream that ended before", func(m *maker) {
			m.launched(m.s20, "earlier", -10, 2, -5, 45)
			waits(m, func() { m.launched(m.s7, "producer", 0, 2, 5, 60) },
				func() { m.launched(m.s20, "consumer", 20, 2, 70, 30) })
		}, CriticalOptions{}, count{EdgeSync: 1, EdgeLaunchDelay: 2}},
		{"but for work that ended later", func(m *maker) {
			m.launched(m.s20, "earlier", -10, 2, -5, 72)
			waits(m, func() { m.launched(m.s7, "producer", 0, 2, 5, 60) },
				func() { m.launched(m.s20, "consumer", 20, 2, 70, 30) })
		}, CriticalOptions{}, count{EdgeSync: 1, EdgeLaunchDelay: 2, EdgeKernelDelay: 1}},
		{"each kernel has one edge from its launch, if that is asked for", func(m *maker) {
			m.launched(m.s7, "a", 0, 2, 5, 100)
			m.launched(m.s7, "b", 10, 2, 110, 10)
			m.launched(m.s7, "c", 20, 2, 130, 10)
		}, CriticalOptions{ZeroWeightLaunchEdges: true}, count{EdgeLaunchDelay: 3, EdgeKernelDelay: 2}},
	} {
		m := newMaker()
		c.build(m)
		got, err := FindCriticalPath(m.tr, Options{}, c.opt)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, typ := range []EdgeType{EdgeDependency, EdgeLaunchDelay, EdgeKernelDelay, EdgeSync} {
			if n, ok := c.want[typ]; (ok || typ != EdgeDependency) && got.Graph.Count[typ] != n {
				t.Errorf("%s: %d edges of type %v, want %d", c.name, got.Graph.Count[typ], typ, n)
			}
		}
	}
}

// TestCriticalContextSyncs: the second wait for everything has an edge from the first one and from what was begun
// since: what the first one waited for needs none.
func TestCriticalContextSyncs(t *testing.T) {
	m := newMaker()
	m.launched(m.s7, "a", 0, 2, 5, 20)
	m.launched(m.s20, "b", 3, 2, 8, 40)
	m.launched(m.other, "c", 6, 2, 10, 30)
	m.synced(m.s7, "cudaDeviceSynchronize", 10, 41, "Context Sync", `{"stream": -1}`)
	m.launched(m.s7, "d", 52, 2, 57, 10)
	m.synced(m.s7, "cudaDeviceSynchronize", 60, 10, "Context Sync", `{"stream": -1}`)
	got, err := FindCriticalPath(m.tr, Options{}, CriticalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "edges of waits", got.Graph.Count[EdgeSync], 3+2)
}

// TestCriticalPart: a part of a trace has what begins in it, its first and last nanosecond too.
func TestCriticalPart(t *testing.T) {
	m := newMaker()
	m.op("before", 0, 9)
	m.slice(m.host, trace.CatUserAnnotation, "part", 10, 50, "")
	m.op("first", 10, 20)
	m.op("last", 60, 30) // begins as it ends
	m.op("after", 100, 5)
	got, err := FindCriticalPath(m.tr, Options{}, CriticalOptions{Annotation: "par"})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "window", got.Window, Window{StartNs: 10_000, EndNs: 60_000})
	want(t, "path", edges(got), "operator 20; dependency 0; operator 30; ")
	want(t, "slices", fmt.Sprint(got.Slices), "[2 3]")
	want(t, "counts", fmt.Sprint(got.EdgeCount, got.SliceCount), "3 2")
}

// TestCriticalWorst: the slice that is shown for a name is its longest.
func TestCriticalWorst(t *testing.T) {
	m := newMaker()
	m.op("a", 0, 10)
	longest := m.op("a", 20, 30)
	m.op("a", 60, 30) // as long, and later
	got, err := FindCriticalPath(m.tr, Options{}, CriticalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.ByName) != 1 || got.ByName[0].Worst != longest || got.ByName[0].Count != 3 {
		t.Errorf("%+v, want slice %d", got.ByName, longest)
	}
}
