package sums

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/opstats"
)

// Sums, counts and stacks survive being drawn, also where a context has too many calls to be
// drawn one by one.
func TestSums(t *testing.T) {
	root := &Node{Name: "step", Timed: true, HostNs: 500, Children: []*Node{
		{Name: "gemm", DeviceNs: 1001, Calls: 10, Args: []byte(`{"flops": 7}`)},
		{Name: "norm", DeviceNs: 50, Calls: maxPieces * 2, Device: 3},
		{Name: "copy", Timed: true, HostNs: 20, Calls: 4, AllocBytes: 64},
	}}
	b := New("test", "sums")
	for range 2 {
		if err := b.Add("stacks", root); err != nil {
			t.Fatal(err)
		}
	}
	tr := b.Done()
	if err := tr.Validate(); err != nil {
		t.Fatal(err)
	}
	sum, count, calls := map[string]int64{}, map[string]int{}, map[string]int64{}
	for i, c := range tr.Slices.Cat {
		if c == trace.CatKernel {
			name := tr.String(tr.Slices.Name[i])
			sum[name] += tr.Slices.Dur[i]
			count[name]++
			if n, ok := tr.ArgInt(i, ArgCalls); ok {
				calls[name] += n
			}
		}
	}
	if sum["gemm"] != 2002 || count["gemm"] != 20 || sum["norm"] != 100 || count["norm"] != 2 ||
		calls["norm"] != 4*maxPieces {
		t.Errorf("sums %v, counts %v, calls %v", sum, count, calls)
	}
	if !tr.Meta.Sums || tr.Meta.WallClock || len(tr.Instants.Time) != 2 {
		t.Errorf("%+v, %d instants", tr.Meta, len(tr.Instants.Time))
	}
	ops := opstats.Collect(tr)
	var device int64
	for i, ns := range ops.DeviceTimes() {
		if name := tr.String(tr.Slices.Name[i]); name != LaunchName && name != "step" {
			t.Errorf("device work of %s", name)
		}
		device += ns
	}
	if device != 2102 {
		t.Errorf("%d ns of device work have a launch", device)
	}
	x := tr.Index()
	for i, n := range tr.Slices.Name {
		if tr.String(n) == LaunchName && tr.Slices.Track[i] == 0 &&
			(x.Parent[i] == trace.NoParent || tr.String(tr.Slices.Name[x.Parent[i]]) == "step") {
			t.Fatalf("launch %d lies outside of its frame", i)
		}
	}
}

func TestRefused(t *testing.T) {
	deep := &Node{Name: "a", HostNs: maxNs}
	for name, n := range map[string]*Node{
		"negative": {Name: "a", HostNs: -1}, "calls": {Name: "a", Calls: -1},
		"too long": {Name: "a", DeviceNs: maxNs + 1},
		"sum":      {Name: "r", Children: []*Node{deep, deep}},
	} {
		if err := New("test", "x").Add("s", n); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	b := New("test", "x")
	for i := range 4 { // one track after the other would overflow
		if err := b.Add("s", &Node{Name: "a", HostNs: maxNs}); err != nil && i == 0 {
			t.Fatal(err)
		}
	}
	if err := b.Done().Validate(); err != nil {
		t.Error(err)
	}
}
