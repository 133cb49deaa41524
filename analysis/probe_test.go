package analysis

import "testing"

func TestProbe(t *testing.T) {
	for _, c := range []struct {
		n, a string
		i    int
	}{{"amd_mi250", "ProfilerStep", 1}, {"critical_path_alexnet", "[param|pytorch.model.alex_net|0|0|0|measure|forward]", 1}, {"critical_path_simple_add", "[param|pytorch.model.alex_net|0|0|0|measure|forward]", 1}, {"critical_path_cuda_event_sync", "ProfilerStep", 0}, {"execution_trace_simple_add", "", 0}, {"ns_resolution", "ProfilerStep", 1}} {
		tr := loadShared(t, c.n)
		for _, z := range []bool{false, true} {
			p, err := FindCriticalPath(tr, Options{HTA: true}, CriticalOptions{Annotation: c.a, Instance: c.i, ZeroWeightLaunchEdges: z})
			t.Log(c.n, err, p.TotalNs/1000, p.Graph, p.Bounds, len(p.Edges)+1)
		}
		p, err := FindCriticalPath(tr, Options{}, CriticalOptions{Annotation: c.a, Instance: c.i})
		t.Log("own ", c.n, err, p.TotalNs/1000, (p.Window.EndNs-p.Window.StartNs)/1000, p.Graph, p.Bounds, len(p.Edges)+1)
	}
}
