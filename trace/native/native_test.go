package native_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/native"
)

var (
	nStep    = profiler.Intern("ProfilerStep#0")
	nDecode  = profiler.Intern(trace.NameDecodeStep)
	nMatmul  = profiler.Intern("aten::mm")
	nReduce  = profiler.Intern(trace.NameAllReduce)
	nRequest = profiler.Intern(trace.NameRequest)
	nToken   = profiler.Intern("token")
	nBatch   = profiler.Intern("batch size")
	nPool    = profiler.Intern("kv_cache")
	nGroup   = profiler.Intern("tp")
	kRequest = profiler.Intern(trace.ArgRequest)
	kGroup   = profiler.Intern(trace.ArgGroupName)
	kSize    = profiler.Intern(trace.ArgGroupSize)
	kRatio   = profiler.Intern("ratio")
)

// record runs work under a recorder and returns the recording.
func record(t *testing.T, work func(*profiler.Track)) []byte {
	t.Helper()
	var out bytes.Buffer
	rec := profiler.New(profiler.Config{Process: "stage0 thinker rank 1"})
	track := rec.Track("scheduler")
	err := rec.Start(profiler.StartOptions{
		Out: &out, RecordShapes: true, WithFLOPs: true, WithMemory: true,
		Meta: map[string]string{
			protocol.MetaStageID: "0", protocol.MetaStage: "thinker", protocol.MetaRank: "1",
			protocol.MetaWorldSize: "2",
			protocol.MetaReplica:   "3", protocol.MetaHost: "node7", protocol.MetaBackend: "tcp",
			"model": "qwen \"omni\"",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	work(track)
	if _, err := rec.Stop(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func everything(t *profiler.Track) {
	t.AsyncBegin(nRequest, profiler.CategoryAnnotation, 1).Text(kRequest, "r-1")
	t.AsyncBegin(nRequest, profiler.CategoryAnnotation, 2).Text(kRequest, "r-2 \xff")
	step := t.Begin(nStep, profiler.CategoryAnnotation)
	decode := t.Begin(nDecode, profiler.CategoryAnnotation).Float(kRatio, 0.5).FlowIn(77)
	t.Alloc(nPool, 0xffff_8000_0000_0000, 4096)
	t.Begin(nMatmul, profiler.CategoryOp).Shape(profiler.Float32, 2, 3).Shape(profiler.BFloat16, 3, 4).FLOPs(48).End()
	t.Begin(nReduce, profiler.CategoryOp).Bytes(1024).Str(kGroup, nGroup).Int(kSize, 2).End()
	t.Free(nPool, 0xffff_8000_0000_0000, 4096)
	t.Free(nPool, 64, 100) // allocated before the window
	t.Counter(nBatch, 3)
	t.Instant(nToken, profiler.CategoryAnnotation).Text(kRequest, "r-1")
	t.AsyncEnd(nRequest, 1)
	decode.FlowOut(78)
	decode.End()
	step.End()
	t.AsyncEnd(nRequest, 9)                       // begun before the window
	t.Begin(nDecode, profiler.CategoryAnnotation) // open at the end
}

type flat struct{ Name, Cat, Track, Args string }

func flatten(t *trace.Trace) []flat {
	var out []flat
	for i := range t.Slices.Len() {
		out = append(out, flat{
			t.String(t.Slices.Name[i]), t.CategoryText(t.Slices.Cat[i]), t.Tracks[t.Slices.Track[i]].Name,
			string(t.Args(t.Slices.Args[i])),
		})
	}
	return out
}

func TestRead(t *testing.T) {
	raw := record(t, everything)
	tr, info, err := native.Read(context.Background(), bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Validate(); err != nil {
		t.Error(err)
	}
	if info.Cut != nil || info.End == nil || info.Unmatched != 1 {
		t.Errorf("info %+v", info)
	}
	want := []flat{
		{"request", "user_annotation", "request", ``},
		{"request", "user_annotation", "request 2", `{"request": "r-1"}`},
		{"request", "user_annotation", "request 3", `{"request": "r-2 ` + "\uFFFD" + `", "finished": false}`},
		{"ProfilerStep#0", "user_annotation", "scheduler", ``},
		{"decode_step", "user_annotation", "scheduler", `{"ratio": 0.5}`},
		{"aten::mm", "cpu_op", "scheduler",
			`{"Input Dims": [[2,3],[3,4]], "Input type": ["float","c10::BFloat16"], "flops": 48}`},
		{"c10d::allreduce_", "cpu_op", "scheduler", `{"bytes": 1024, "Process Group Name": "tp", "Group size": 2}`},
		{"decode_step", "user_annotation", "scheduler", `{"finished": false}`},
	}
	if d := cmp.Diff(want, flatten(tr)); d != "" {
		t.Errorf("slices (-want +got):\n%s", d)
	}
	m := tr.Meta
	if m.Stage != "thinker" || m.StageID != 0 || m.Rank != 1 || m.WorldSize != 2 || m.Replica != 3 ||
		m.Host != "node7" || !m.WallClock {
		t.Errorf("meta %+v", m)
	}
	if m.Extra["model"] != `"qwen \"omni\""` || m.Extra["record_shapes"] != "1" {
		t.Errorf("extra %v", m.Extra)
	}
	if d := cmp.Diff([]trace.ProcessGroup{{Name: "tp", Desc: "tp", Backend: "tcp", Size: 2, Ranks: []int{0, 1}}},
		m.ProcessGroups); d != "" {
		t.Errorf("groups: %s", d)
	}
	checkPoints(t, tr)
	for i, start := range tr.Slices.Start {
		if start < m.WindowStart || tr.Slices.End(i) > m.WindowEnd {
			t.Errorf("slice %d lies outside of the window", i)
		}
	}
}

func checkPoints(t *testing.T, tr *trace.Trace) {
	t.Helper()
	var instants []string
	for i, a := range tr.Instants.Args {
		instants = append(instants, tr.String(tr.Instants.Name[i])+" "+string(tr.Args(a)))
	}
	want := []string{
		`token {"request": "r-1"}`,
		`[memory] {"Device Type": 0, "Device Id": -1, "Addr": 18446603336221196288, "Bytes": 4096, "Total Allocated": 4196, "Total Reserved": 4196, "Pool": "kv_cache"}`,
		`[memory] {"Device Type": 0, "Device Id": -1, "Addr": 18446603336221196288, "Bytes": -4096, "Total Allocated": 100, "Total Reserved": 100, "Pool": "kv_cache"}`,
		`[memory] {"Device Type": 0, "Device Id": -1, "Addr": 64, "Bytes": -100, "Total Allocated": 0, "Total Reserved": 0, "Pool": "kv_cache"}`,
	}
	if d := cmp.Diff(want, instants); d != "" {
		t.Errorf("instants (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]float64{3, 4196, 100, 0}, tr.Counters.Value); d != "" {
		t.Errorf("counters: %s", d)
	}
	if d := cmp.Diff([]uint64{77, 78}, tr.Flows.ID); d != "" {
		t.Errorf("flows: %s", d)
	}
	for i, ns := range tr.Flows.Time {
		if ns < tr.Slices.Start[4] || ns > tr.Slices.End(4) {
			t.Errorf("flow %d at %d lies outside of its slice", i, ns)
		}
	}
}

func TestReadCutAnywhere(t *testing.T) {
	raw := record(t, everything)
	whole, _, err := native.Read(context.Background(), bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	header := false // was whole before
	for n := range len(raw) {
		tr, info, err := native.Read(context.Background(), bytes.NewReader(raw[:n]))
		if err != nil && !header {
			continue
		}
		if header = true; err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if info.Cut == nil || tr.Meta.Extra[native.ExtraTruncated] == "" || tr.Repairs.Total() == 0 {
			t.Fatalf("%d bytes: the cut is not told", n)
		}
		if err := tr.Validate(); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if tr.Slices.Len() > whole.Slices.Len() {
			t.Fatalf("%d bytes: %d slices, the whole has %d", n, tr.Slices.Len(), whole.Slices.Len())
		}
	}
	if !header {
		t.Error("no prefix of the recording could be read")
	}
}

func TestReadErrors(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := native.Read(ended, bytes.NewReader(record(t, everything))); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	if _, _, err := native.Read(context.Background(), strings.NewReader("{}")); err == nil {
		t.Error("JSON was read as a recording")
	}
	if _, _, err := native.ReadFile(context.Background(), t.TempDir()+"/none"); err == nil {
		t.Error("no error for a missing file")
	}
}

func FuzzRead(f *testing.F) {
	var out bytes.Buffer
	rec := profiler.New(profiler.Config{})
	track := rec.Track("t")
	if err := rec.Start(profiler.StartOptions{Out: &out, RecordShapes: true, WithMemory: true}); err != nil {
		f.Fatal(err)
	}
	everything(track)
	if _, err := rec.Stop(); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes())
	f.Add([]byte(format.Magic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tr, _, err := native.Read(context.Background(), bytes.NewReader(raw))
		if err != nil {
			return
		}
		if err := tr.Validate(); err != nil {
			t.Error(err)
		}
	})
}
