package pprof

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/pprof/profile"

	"github.com/kinetoscope/kinetoscope/trace"
)

func sample() *trace.Trace {
	tr := trace.New()
	tr.Meta.WallClock = true
	hostTrack := tr.AddTrack(trace.Track{})
	gpu := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, Stream: 7})
	add := func(track trace.TrackID, cat trace.Category, start, dur int64, name string, corr int64) {
		tr.AddSlice(trace.Slice{Start: start, Dur: dur, Name: name, Cat: cat, Track: track, Corr: corr})
	}
	add(hostTrack, trace.CatPythonFunction, 1000, 900, "lib/model.py(12): forward", trace.NoCorrelation)
	add(hostTrack, trace.CatCPUOp, 1100, 300, "aten::mm", trace.NoCorrelation)
	add(hostTrack, trace.CatCUDARuntime, 1200, 50, "cudaLaunchKernel", 9)
	add(gpu, trace.CatKernel, 1500, 700, "gemm", 9)
	add(gpu, trace.CatKernel, 2500, 80, "lost", 77)
	tr.AddInstant(1150, "[memory]", trace.CatCPUInstant, hostTrack, []byte(`{"Bytes": 4096, "Device Type": 1}`))
	tr.AddInstant(1160, "[memory]", trace.CatCPUInstant, hostTrack, []byte(`{"Bytes": -4096, "Device Type": 1}`))
	return tr
}

func TestWrite(t *testing.T) {
	var out bytes.Buffer
	err := Write(&out, []Rank{
		{Trace: sample(), Labels: map[string]string{"rank": "0"}},
		{Trace: sample(), Labels: map[string]string{"rank": "1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.Parse(&out)
	if err != nil {
		t.Fatal(err)
	}
	if p.TimeNanos != 1000 || p.DurationNanos != 1580 || p.DefaultSampleType != "device" {
		t.Errorf("time %d, duration %d, default %q", p.TimeNanos, p.DurationNanos, p.DefaultSampleType)
	}
	got := map[string][]int64{}
	for _, s := range p.Sample {
		var frames []string
		for _, l := range s.Location {
			frames = append(frames, l.Line[0].Function.Name)
		}
		got[s.Label["rank"][0]+" "+strings.Join(frames, "<")] = s.Value
	}
	want := map[string][4]int64{
		"forward":                           {1, 600, 0, 0},
		"aten::mm<forward":                  {1, 250, 0, 4096},
		"gemm<aten::mm<forward":             {1, 0, 700, 0},
		"cudaLaunchKernel<aten::mm<forward": {1, 50, 0, 0},
		"lost":                              {1, 0, 80, 0},
	}
	if len(got) != 2*len(want) {
		t.Errorf("%d samples: %v", len(got), got)
	}
	for _, rank := range []string{"0 ", "1 "} {
		for stack, v := range want {
			if g := got[rank+stack]; len(g) != 4 || [4]int64(g) != v {
				t.Errorf("%s%s: %v, want %v", rank, stack, g, v)
			}
		}
	}
	for _, f := range p.Function {
		if f.Name == "forward" && (f.Filename != "lib/model.py" || f.StartLine != 12) {
			t.Errorf("Python frame in %q, line %d", f.Filename, f.StartLine)
		}
	}
}

// go tool pprof is the real reader.
func TestGoToolReadsIt(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command")
	}
	path := filepath.Join(t.TempDir(), "profile.pb.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Write(f, []Rank{{Trace: sample()}}), f.Close()); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(goTool, "tool", "pprof", "-top", "-sample_index=device", "-unit=ns", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "700ns") || !strings.Contains(string(out), "aten::mm") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestEmptyAndFailing(t *testing.T) {
	if err := Write(&bytes.Buffer{}, nil); err != nil {
		t.Errorf("no ranks: %v", err)
	}
	if err := Write(&bytes.Buffer{}, []Rank{{Trace: trace.New()}}); err != nil {
		t.Errorf("an empty trace: %v", err)
	}
	if err := Write(failing{}, []Rank{{Trace: sample()}}); err == nil {
		t.Error("no error of the writer")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk is full") }
