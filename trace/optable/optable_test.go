package optable

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/opstats"
)

var update = flag.Bool("update", false, "rewrite golden files")

// sample has n operators in a step.
func sample(n int, device, memory bool) *trace.Trace {
	t := trace.New()
	cpu := t.AddTrack(trace.Track{Device: -1, Stream: -1})
	t.AddSlice(trace.Slice{Start: 0, Dur: 2_500_000_000, Name: "ProfilerStep#1", Cat: trace.CatUserAnnotation,
		Track: cpu})
	for i := range int64(n) {
		name := fmt.Sprintf("op%d", i)
		if i == 0 {
			name = "a_very_long_name_of_an_operator_" + strings.Repeat("x", 40) + "\n"
		}
		t.AddSlice(trace.Slice{Start: i * 2_000_000, Dur: 1_000_000 + i, Name: name, Cat: trace.CatCPUOp, Track: cpu,
			Args: fmt.Appendf(nil, `{"flops": %d}`, i*1_500_000)})
		if memory {
			t.AddInstant(i*2_000_000+5, "[memory]", trace.CatCPUInstant, cpu,
				[]byte(`{"Device Type": 0, "Bytes": 1536}`))
		}
	}
	if device {
		gpu := t.AddTrack(trace.Track{Kind: trace.TrackGPU})
		t.AddSlice(trace.Slice{Start: 10, Dur: 750, Name: "gemm", Cat: trace.CatKernel, Track: gpu})
	}
	req := t.AddTrack(trace.Track{Kind: trace.TrackOther})
	t.AddSlice(trace.Slice{Start: 0, Dur: 3_000_000_000, Name: "request", Cat: trace.CatUserAnnotation, Track: req})
	return t
}

func TestWriteGolden(t *testing.T) {
	for name, c := range map[string]struct {
		t *trace.Trace
		o Options
	}{
		"cpu":    {sample(3, false, false), Options{}},
		"device": {sample(2, true, true), Options{}},
		"cut":    {sample(120, false, false), Options{Rows: 2}},
		"empty":  {trace.New(), Options{}},
	} {
		var b bytes.Buffer
		if err := Write(&b, opstats.Collect(c.t), c.o); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name+".txt")
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), b.String()); d != "" {
			t.Errorf("%s (-want +got):\n%s", path, d)
		}
	}
}

func TestWriteLimitsRows(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, opstats.Collect(sample(300, false, false)), Options{}); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(b.String(), "\n"), DefaultRows+6; got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
	if !strings.Contains(b.String(), "100 of 302 operators") {
		t.Error("the table does not say that rows are missing")
	}
}

// A terminal that shows the table obeys no name in it.
func TestNamesAreText(t *testing.T) {
	if got := shorten("a\x1b[31m\u009b\u202eb\xff\n"); got != "a [31m  b  " {
		t.Errorf("%q", got)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk is full") }

func TestWriteReportsError(t *testing.T) {
	if err := Write(failing{}, opstats.Collect(sample(1, false, false)), Options{}); err == nil {
		t.Error("no error")
	}
}
