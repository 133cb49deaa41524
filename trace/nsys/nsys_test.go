package nsys

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/sqlite"
)

func TestRead(t *testing.T) {
	tr, err := Read(t.Context(), "testdata/report.sqlite")
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Validate(); err != nil {
		t.Fatal(err)
	}
	const epoch = 1_700_000_000_000_000_000
	type row struct {
		start, dur int64
		name       string
		cat        trace.Category
		gpu        bool
	}
	want := []row{
		{1000, 500, "cudaLaunchKernel", trace.CatCUDARuntime, false},
		{1100, 500, "cuLaunchKernel", trace.CatCUDADriver, false},
		{2000, 900, "void gemm<float>()", trace.CatKernel, true},
		{3000, 100, "void gemm<float>()", trace.CatKernel, true},
		{4000, 100, "Memcpy HtoD (Pinned -> Device)", trace.CatGPUMemcpy, true},
		{900, 4100, "prefill", trace.CatUserAnnotation, false},
		{960, 0, "open", trace.CatUserAnnotation, false},
	}
	s := &tr.Slices
	if s.Len() != len(want) || !tr.Meta.WallClock {
		t.Fatalf("%d slices, wall clock %v", s.Len(), tr.Meta.WallClock)
	}
	for i, w := range want {
		got := row{s.Start[i] - epoch, s.Dur[i], tr.String(s.Name[i]), s.Cat[i],
			tr.Tracks[s.Track[i]].Kind == trace.TrackGPU}
		if got != w {
			t.Errorf("slice %d is %+v, want %+v", i, got, w)
		}
	}
	if s.Corr[0] != s.Corr[2] || s.Corr[1] != s.Corr[3] || s.Corr[0] == s.Corr[1] {
		t.Errorf("correlations %v: a process's ids are its own", s.Corr)
	}
	if v, ok := tr.ArgFloat(4, "memory bandwidth (GB/s)"); !ok || v != 10 {
		t.Errorf("bandwidth %g", v)
	}
	if k := tr.Tracks[s.Track[0]]; k.Name != "worker" || k.Process != "python" || k.PID != 11 || k.TID != 11 {
		t.Errorf("track %+v", k)
	}
	if len(tr.Meta.Devices) != 1 || tr.Meta.Devices[0].SMs != 132 {
		t.Errorf("cards %+v", tr.Meta.Devices)
	}
	for kind, n := range map[string]int{trace.RepairNoTime: 1, trace.RepairNoDur: 1, RepairOtherTable +
		" OSRT_API": 2} {
		if tr.Repairs.Count[kind] != n {
			t.Errorf("%s: %d, want %d", kind, tr.Repairs.Count[kind], n)
		}
	}
	if tr.Instants.Time[0] != epoch+950 {
		t.Errorf("mark at %d", tr.Instants.Time[0])
	}
}

// Any version's columns do: what is not there is not said.
func TestOtherColumns(t *testing.T) {
	tr, err := Read(t.Context(), "testdata/columns.sqlite")
	if err != nil {
		t.Fatal(err)
	}
	if tr.Slices.Len() != 1 || tr.Meta.WallClock || tr.Repairs.Count[trace.RepairNegativeDur] != 1 ||
		tr.Repairs.Count[trace.RepairNoTime] != 1 {
		t.Errorf("%d slices, repairs %v", tr.Slices.Len(), tr.Repairs.Count)
	}
}

func TestRefuses(t *testing.T) {
	var format *FormatError
	if _, err := Read(t.Context(), "testdata/other.sqlite"); !errors.As(err, &format) {
		t.Errorf("another database: %v", err)
	}
	path := filepath.Join(t.TempDir(), "x.sqlite")
	if err := os.WriteFile(path, []byte(sqlite.Magic+"damaged from here on"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(t.Context(), path); !errors.As(err, &format) {
		t.Errorf("a damaged file: %v", err)
	}
	if _, err := Read(t.Context(), filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no file: no error")
	}
	report, err := os.ReadFile("testdata/report.sqlite")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, report, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+sqlite.WALSuffix, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if tr, err := Read(t.Context(), path); err != nil || tr.Repairs.Count[sqlite.RepairLog] != 1 {
		t.Errorf("a log beside it: %v", err)
	}
}
