package convert

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

// TestTraceOfACard: what torch recorded on a card gives its device's stacks, its memory
// over time, and filled device columns.
func TestTraceOfACard(t *testing.T) {
	tr, err := kineto.ReadFile(t.Context(), filepath.Join("testdata", "card.json"), kineto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg := protocol.ProfilerConfig{WithStack: true, WithMemory: true}
	r, err := Trace(context.Background(), tr, Dir(dir), Options{Config: &cfg})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{
		"memory stage1_dit/memory_snapshot_rank0.pickle", "memory stage1_dit/memory_timeline_rank0.json.gz",
		"memory stage1_dit/memory_timeline_rank0.svg",
		"ops stage1_dit/ops_rank0.xlsx", "stacks stage1_dit/stacks_cpu_rank0.txt",
		"stacks stage1_dit/stacks_cuda_rank0.txt", "trace stage1_dit/trace_rank0.json",
	}, names(r.Artifacts)); d != "" {
		t.Errorf("artifacts (-want +got):\n%s", d)
	}
	checkFiles(t, dir, r.Artifacts)
	at := func(name string) string { return filepath.Join(dir, "stage1_dit", name) }
	stacks, err := os.ReadFile(at("stacks_cuda_rank0.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("run.py(3):_main;denoise_step;nn.Module:_DiT_0;aten::mm 200\nrun.py(3):_main;vae_decode;aten::conv2d 33\n", string(stacks)); d != "" {
		t.Errorf("stacks (-want +got):\n%s", d)
	}
	x, err := excelize.OpenFile(at("ops_rank0.xlsx"))
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	rows, err := x.GetRows("summary")
	if err != nil {
		t.Fatal(err)
	}
	cuda := map[string]string{}
	for _, row := range rows[1:] {
		cuda[row[0]] = row[6] + " " + row[7]
	}
	for name, want := range map[string]string{"aten::mm": "200 200", "aten::conv2d": "33 33", "denoise_step": "0 200",
		"sgemm": "200 200"} {
		if cuda[name] != want {
			t.Errorf("cuda time of %s is %q, want %q", name, cuda[name], want)
		}
	}
	f, err := os.Open(at("memory_timeline_rank0.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var m analysis.MemoryTimeline
	if err := json.NewDecoder(z).Decode(&m); err != nil {
		t.Fatal(err)
	}
	if len(m.Devices) != 2 || m.Devices[0].Device != "CUDA 0" || m.Devices[1].Device != "CPU" {
		t.Fatalf("devices %+v", m.Devices)
	}
	d := m.Devices[0]
	held := map[string]int64{}
	for _, c := range d.Categories {
		held[c.HeldBy.String()] = c.AtPeakBytes
	}
	if diff := cmp.Diff(map[string]int64{"before": 6144, "denoise_step": 1024, "vae_decode": 4096}, held); diff != "" {
		t.Errorf("at the peak (-want +got):\n%s", diff)
	}
	if d.Peak.Bytes != 11264 || d.Peak.Op != "aten::conv2d" || d.Peak.Region != analysis.HeldVAEDecode ||
		d.BaseBytes != 8192 {
		t.Errorf("%+v", d)
	}
}
