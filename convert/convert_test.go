package convert

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"
	"go.uber.org/goleak"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/memsnap"
	"github.com/kinetoscope/kinetoscope/trace/native"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	nStep   = profiler.Intern("ProfilerStep#0")
	nMatmul = profiler.Intern("aten::mm")
	nReduce = profiler.Intern(trace.NameAllReduce)
	nSend   = profiler.Intern(trace.NameHandoffSend)
	nRecv   = profiler.Intern(trace.NameHandoffRecv)
	nPool   = profiler.Intern("kv_cache")
	nTP     = profiler.Intern("tp")
	kGroup  = profiler.Intern(trace.ArgGroupName)
	kSize   = profiler.Intern(trace.ArgGroupSize)
	kSeq    = profiler.Intern(trace.ArgSeq)
)

// convertFile converts a recording into a directory.
func convertFile(in, dir string, o Options) ([]protocol.Artifact, error) {
	r, err := Recording(context.Background(), in, Dir(dir), o)
	return r.Artifacts, err
}

// record writes a recording of a few steps to a file and returns its path.
func record(t *testing.T, stage int, name string, rank int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), fmt.Sprintf("rank%d.ksrec", rank))
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rec := profiler.New(profiler.Config{Process: fmt.Sprintf("stage%d %s rank %d", stage, name, rank)})
	track := rec.Track("scheduler")
	if err := rec.Start(profiler.StartOptions{
		Out: f, RecordShapes: true, WithFLOPs: true, WithMemory: true,
		Meta: map[string]string{
			protocol.MetaStageID: fmt.Sprint(stage), protocol.MetaStage: name, protocol.MetaRank: fmt.Sprint(rank),
			protocol.MetaWorldSize: "2", protocol.MetaHost: "node7",
		},
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		step := track.Begin(nStep, profiler.CategoryAnnotation)
		if stage > 0 {
			track.Begin(nRecv, profiler.CategoryAnnotation).FlowIn(uint64(i + 1)).End()
		}
		track.Alloc(nPool, uint64(4096*(i+1)), 4096)
		track.Begin(nMatmul, profiler.CategoryOp).Shape(profiler.Float32, 2, 3).Shape(profiler.Float32, 3,
			4).FLOPs(48).End()
		track.Begin(nReduce, profiler.CategoryOp).Bytes(64).Str(kGroup, nTP).Int(kSize, 2).Int(kSeq, int64(i)).End()
		if i%2 == 0 {
			track.Free(nPool, uint64(4096*(i+1)), 4096)
		}
		if stage == 0 {
			track.Begin(nSend, profiler.CategoryAnnotation).FlowOut(uint64(i + 1)).End()
		}
		step.End()
	}
	if _, err := rec.Stop(); err != nil {
		t.Fatal(err)
	}
	return path
}

func names(as []protocol.Artifact) []string {
	var out []string
	for _, a := range as {
		out = append(out, string(a.Kind)+" "+a.Name)
	}
	return out
}

// checkFiles verifies size and checksum, and that nothing else lies in dir.
func checkFiles(t *testing.T, dir string, as []protocol.Artifact) {
	t.Helper()
	want := map[string]bool{}
	for _, a := range as {
		want[a.Name] = true
		b, err := os.ReadFile(filepath.Join(dir, a.Name))
		if err != nil {
			t.Error(err)
			continue
		}
		if sum := sha256.Sum256(b); int64(len(b)) != a.Size || hex.EncodeToString(sum[:]) != a.SHA256 {
			t.Errorf("%s: size or checksum differs", a.Name)
		}
	}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, p); err == nil && !d.IsDir() && !want[rel] {
			t.Errorf("%s was left behind", rel)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRankArtifacts(t *testing.T) {
	in := record(t, 0, "thinker", 1)
	full := protocol.DefaultProfilerConfig()
	full.RecordShapes, full.WithMemory = true, true
	for _, c := range []struct {
		name   string
		cfg    *protocol.ProfilerConfig
		o      Options
		want   []string
		sheets []string
	}{
		{"defaults", nil, Options{}, []string{
			"ops stage0_thinker/ops_rank1.xlsx", "table stage0_thinker/profiler_out_1.txt",
			"stacks stage0_thinker/stacks_cpu_rank1.txt", "trace stage0_thinker/trace_rank1.json.gz",
		}, []string{"summary", "by_stack"}},
		{"everything, named by the caller", &full, Options{Rank: protocol.RankID{Stage: 2, Replica: 1, Rank: 0},
			StageName: "dit"}, []string{
			"memory stage2_dit/memory_snapshot_replica1_rank0.pickle",
			"memory stage2_dit/memory_timeline_replica1_rank0.json.gz",
			"memory stage2_dit/memory_timeline_replica1_rank0.svg", "ops stage2_dit/ops_replica1_rank0.xlsx",
			"table stage2_dit/profiler_out_replica1_0.txt", "stacks stage2_dit/stacks_cpu_replica1_rank0.txt",
			"trace stage2_dit/trace_replica1_rank0.json.gz",
		}, []string{"summary", "by_shape", "by_stack"}},
		{"least", &protocol.ProfilerConfig{}, Options{}, []string{
			"ops stage0_thinker/ops_rank1.xlsx", "trace stage0_thinker/trace_rank1.json",
		}, []string{"summary"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.o.Config = c.cfg
			got, err := convertFile(in, dir, c.o)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, names(got)); d != "" {
				t.Errorf("artifacts (-want +got):\n%s", d)
			}
			checkFiles(t, dir, got)
			for _, a := range got {
				if a.Kind == protocol.KindOps {
					x, err := excelize.OpenFile(filepath.Join(dir, a.Name))
					if err != nil {
						t.Fatal(err)
					}
					if d := cmp.Diff(c.sheets, x.GetSheetList()); d != "" {
						t.Errorf("sheets: %s", d)
					}
					if err := x.Close(); err != nil {
						t.Error(err)
					}
				}
				if strings.HasSuffix(a.Name, ".pickle") {
					f, err := os.Open(filepath.Join(dir, a.Name))
					if err != nil {
						t.Fatal(err)
					}
					s, err := memsnap.Read(f)
					f.Close()
					if err != nil || len(s.Segments) != 10 || len(s.Traces) != 1 || len(s.Traces[0]) != 60 {
						t.Errorf("snapshot: %v, %+v", err, s)
					}
				}
				if strings.HasPrefix(filepath.Base(a.Name), "memory_timeline") {
					checkTimeline(t, filepath.Join(dir, a.Name))
				}
			}
		})
	}
}

// checkTimeline reads a memory timeline of record's recording: 20 allocations of 4 KiB,
// every other one freed.
func checkTimeline(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if strings.HasSuffix(path, ".svg") {
		b, err := io.ReadAll(f)
		if err != nil || !bytes.Contains(b, []byte("dit rank 0, CPU: at most 40.0 KiB")) {
			t.Errorf("picture: %v\n%s", err, b)
		}
		return
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var m analysis.MemoryTimeline
	if err := json.NewDecoder(z).Decode(&m); err != nil {
		t.Fatal(err)
	}
	if m.SchemaVersion != analysis.MemoryTimelineSchema || m.Stage != "dit" || m.StageID != 2 || m.Replica != 1 ||
		m.Rank != 0 || !m.WallClock || len(m.Devices) != 1 {
		t.Fatalf("timeline %+v", m)
	}
	if d := m.Devices[0]; d.Events != 30 || d.EndBytes != 10*4096 || d.Peak.Bytes != 10*4096 ||
		d.Peak.Allocations[0].Pool != "kv_cache" {
		t.Errorf("timeline of %s: %+v", d.Device, d)
	}
}

// TestNoAllocations: a recording without an allocation has no timeline of memory.
func TestNoAllocations(t *testing.T) {
	tr := trace.New()
	tr.AddSlice(trace.Slice{Dur: 5, Name: "aten::mm", Cat: trace.CatCPUOp, Track: tr.AddTrack(trace.Track{})})
	r, err := Trace(context.Background(), tr, Dir(t.TempDir()),
		Options{Config: &protocol.ProfilerConfig{WithMemory: true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range r.Artifacts {
		if strings.Contains(a.Name, "memory_timeline") {
			t.Errorf("made %s of nothing", a.Name)
		}
	}
}

func TestRankIsDeterministic(t *testing.T) {
	in := record(t, 0, "thinker", 0)
	cfg := protocol.DefaultProfilerConfig()
	cfg.RecordShapes, cfg.WithMemory = true, true
	var first []protocol.Artifact
	for _, parallel := range []int{1, 4, 1} {
		got, err := convertFile(in, t.TempDir(), Options{Config: &cfg, Parallel: parallel})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		if d := cmp.Diff(first, got); d != "" {
			t.Errorf("parallel %d (-first +got):\n%s", parallel, d)
		}
	}
}

func TestRankOfCutRecording(t *testing.T) {
	raw, err := os.ReadFile(record(t, 0, "thinker", 0))
	if err != nil {
		t.Fatal(err)
	}
	in := filepath.Join(t.TempDir(), "cut.rec")
	if err := os.WriteFile(in, raw[:len(raw)-20], 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	dir := t.TempDir()
	r, err := Recording(context.Background(), in, Dir(dir), Options{
		Config: &protocol.ProfilerConfig{}, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Trace.Slices.Len() != 80 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "breaks off at") {
		t.Errorf("%d slices, notes %q", r.Trace.Slices.Len(), r.Notes)
	}
	if !strings.Contains(log.String(), "breaks off at") {
		t.Errorf("log %q", log.String())
	}
	b, err := os.ReadFile(filepath.Join(dir, "stage0_thinker/trace_rank0.json"))
	if err != nil || !bytes.Contains(b, []byte(`"truncated": {"offset":`)) {
		t.Errorf("the trace does not say that it was cut: %v", err)
	}
}

func TestRankNeverReplaces(t *testing.T) {
	in, dir := record(t, 0, "thinker", 0), t.TempDir()
	if _, err := convertFile(in, dir, Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := convertFile(in, dir, Options{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second conversion: %v", err)
	}
}

// brokenSink fails after some bytes, as a full disk does.
type brokenSink struct{ Dir }

func (brokenSink) Write(name string, kind protocol.ArtifactKind, src io.Reader) (protocol.Artifact, error) {
	_, _ = io.CopyN(io.Discard, src, 10)
	return protocol.Artifact{}, errors.New("disk is full")
}

func TestRankFailures(t *testing.T) {
	in := record(t, 0, "thinker", 0)
	if _, err := Recording(context.Background(), in, brokenSink{}, Options{}); err == nil ||
		!strings.Contains(err.Error(), "disk is full") {
		t.Errorf("broken sink: %v", err)
	}
	if _, err := convertFile(filepath.Join(t.TempDir(), "none"), t.TempDir(), Options{}); !errors.Is(err,
		fs.ErrNotExist) {
		t.Errorf("missing recording: %v", err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	dir := t.TempDir()
	if _, err := Recording(ended, in, Dir(dir), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	tr, _, err := native.ReadFile(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Trace(ended, tr, Dir(dir), Options{}); !errors.Is(err, context.Canceled) || len(r.Artifacts) > 0 {
		t.Errorf("ended context: %v, %v", r.Artifacts, err)
	}
	checkFiles(t, dir, nil)
	if _, err := Dir(dir).Write("../x", protocol.KindTrace, strings.NewReader("")); err == nil {
		t.Error("a name led out of the directory")
	}
}

func TestMerge(t *testing.T) {
	var ranks []RankInput
	for _, r := range []struct {
		stage, rank int
		name        string
	}{{1, 0, "talker"}, {0, 1, "thinker"}, {0, 0, "thinker"}} {
		tr, _, err := native.ReadFile(context.Background(), record(t, r.stage, r.name, r.rank))
		if err != nil {
			t.Fatal(err)
		}
		ranks = append(ranks, RankInput{
			Rank: protocol.RankID{Stage: r.stage, Rank: r.rank}, StageName: r.name, Trace: tr,
			Clock: protocol.ClockError{OffsetNs: 1000, ErrorNs: 50_000_000, RTTNs: 100_000_000},
		})
	}
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	run, err := st.Create(time.Unix(0, 0), "x", "01JD0000000000000000000000")
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	tl, err := Merge(context.Background(), ranks, run)
	if err != nil {
		t.Fatal(err)
	}
	if tl.Slices != 240 || tl.Flows != 60 || len(tl.Ranks) != 3 || tl.Ranks[2].StageName != "talker" {
		t.Errorf("timeline %+v", tl)
	}
	if tl.EndNs <= tl.StartNs || tl.UncertaintyNs <= 0 {
		t.Errorf("window %d..%d ±%d", tl.StartNs, tl.EndNs, tl.UncertaintyNs)
	}
	checkFiles(t, run.Dir(), []protocol.Artifact{tl.Artifact})

	again, err := Merge(context.Background(), ranks, Dir(t.TempDir()))
	if err != nil || again.Artifact.SHA256 != tl.Artifact.SHA256 {
		t.Errorf("into a directory: %+v, %v; want the same bytes", again, err)
	}
	if _, err := Merge(context.Background(), nil, Dir(t.TempDir())); err == nil {
		t.Error("a timeline of nothing")
	}
}
