package analysis

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

// average is a row of torch's key_averages; see testdata/make_torch_cpu.py.
type average struct {
	Name    string
	Count   int64
	TotalUs float64 `json:"total_us"`
	SelfUs  float64 `json:"self_us"`
	FLOPs   int64
	Bytes   int64 `json:"self_bytes"`
}

// TestKeyAverages compares the operator table with torch's own of the same profile.
func TestKeyAverages(t *testing.T) {
	tr, err := kineto.ReadFile(context.Background(), "testdata/torch_cpu.json.gz", kineto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/torch_cpu_averages.json")
	if err != nil {
		t.Fatal(err)
	}
	var torch map[string][]average
	if err := json.Unmarshal(raw, &torch); err != nil {
		t.Fatal(err)
	}
	table := Ops(tr, Options{}, OpOptions{})
	want(t, "rows", len(table.Rows)+len(table.Labels), len(torch["by_name"]))
	byShape := Ops(tr, Options{}, OpOptions{ByShape: true})
	want(t, "rows by shape", len(byShape.Rows)+len(byShape.Labels), len(torch["by_shape"]))
	alloc := map[string]int64{}
	for _, d := range Memory(tr, Options{}).Devices {
		for _, o := range d.ByOp {
			alloc[o.Name] = o.AllocatedBytes
		}
	}
	var flops, torchFLOPs int64
	for _, w := range torch["by_name"] {
		r := rowOf(t, slices.Concat(table.Rows, table.Labels), w.Name) // torch has both in one table
		near := func(what string, gotNs int64, wantUs float64) {
			// torch sums doubles of microseconds.
			if math.Abs(float64(gotNs)/1000-wantUs) > 0.05 {
				t.Errorf("%s: %s %d ns, torch %v us", w.Name, what, gotNs, wantUs)
			}
		}
		near("total", r.CPUNs, w.TotalUs)
		near("self", r.SelfCPUNs, w.SelfUs)
		// torch takes a call and its only nested call for one if they have one name, as
		// one overload of aten::sum calls the other.
		if r.Count != w.Count && w.Name != "aten::sum" {
			t.Errorf("%s: %d calls, torch %d", w.Name, r.Count, w.Count)
		}
		// An operator that only allocates has torch's net as its sum.
		if w.Bytes > 0 && alloc[w.Name] < w.Bytes {
			t.Errorf("%s: allocated %d bytes, torch net %d", w.Name, alloc[w.Name], w.Bytes)
		}
		switch w.Name {
		case "aten::mm", "aten::conv2d":
			want(t, w.Name+" FLOPs", r.FLOPs, w.FLOPs)
		case "aten::addmm": // we charge aten::linear around it
			want(t, w.Name+" FLOPs", rowOf(t, table.Rows, "aten::linear").FLOPs, w.FLOPs)
		}
		flops, torchFLOPs = flops+r.FLOPs, torchFLOPs+w.FLOPs
	}
	if flops <= torchFLOPs {
		t.Errorf("%d FLOPs: want more than torch's %d, which knows neither attention nor gradients of convolutions",
			flops, torchFLOPs)
	}
	want(t, "mm allocated", alloc["aten::mm"] > 0, true)
}
