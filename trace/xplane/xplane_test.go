package xplane

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

func sample(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/cpu.xplane.pb") // made by testdata/make.py with JAX
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Of one capture the two files of XProf tell the same: names, threads, times, arguments.
func TestSameAsTraceJSON(t *testing.T) {
	got, err := Read(bytes.NewReader(sample(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Validate(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("testdata/cpu.trace.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := kineto.ReadAll(t.Context(), f, "cpu.trace.json.gz", kineto.Options{})
	if err != nil || len(list) != 1 {
		t.Fatal(len(list), err)
	}
	type row struct {
		what string
		at   int64
	}
	rows := func(tr *trace.Trace) (out []row) {
		first, _, _ := tr.Extent()
		for i, at := range tr.Slices.Start {
			k := tr.Tracks[tr.Slices.Track[i]]
			note, _ := tr.ArgText(i, "note")
			step, _ := tr.ArgInt(i, "step_num")
			what := fmt.Sprintf("%s|%s|%s|%s|%d|%s", k.Process, k.Name, tr.String(tr.Slices.Name[i]), note, step,
				tr.CategoryText(tr.Slices.Cat[i]))
			out = append(out, row{what, at - first})
		}
		slices.SortFunc(out, func(a, b row) int {
			return cmp.Or(strings.Compare(a.what, b.what), cmp.Compare(a.at, b.at))
		})
		return out
	}
	a, b := rows(got), rows(list[0])
	if len(a) != len(b) || len(a) < 20 {
		t.Fatalf("%d slices, trace.json.gz has %d", len(a), len(b))
	}
	for i := range a {
		// Times of trace.json.gz are decimals of µs.
		if d := a[i].at - b[i].at; a[i].what != b[i].what || d < -1 || d > 1 {
			t.Errorf("%+v, trace.json.gz has %+v", a[i], b[i])
		}
	}
	var sumA, sumB int64
	for _, d := range got.Slices.Dur {
		sumA += d
	}
	for _, d := range list[0].Slices.Dur {
		sumB += d
	}
	if d := sumA - sumB; d > int64(len(a)) || d < -int64(len(a)) {
		t.Errorf("durations sum to %d, trace.json.gz's to %d", sumA, sumB)
	}
	if !got.Meta.WallClock || got.Meta.Format != "xplane" {
		t.Errorf("%+v", got.Meta)
	}
}

func TestCut(t *testing.T) {
	b := sample(t)
	for i := range 100 {
		tr, err := Read(bytes.NewReader(b[:len(b)*i/100]))
		var format *FormatError
		switch {
		case err != nil && !errors.As(err, &format):
			t.Errorf("%d: %v", i, err)
		case err == nil && (tr.Validate() != nil || i > 0 && tr.Repairs.Count[trace.RepairTruncatedFile] == 0):
			t.Errorf("%d: %v, %v", i, tr.Validate(), tr.Repairs.Count)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(sample(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tr, err := Read(bytes.NewReader(b)); err == nil {
			if err := tr.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
