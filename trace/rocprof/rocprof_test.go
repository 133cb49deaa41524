package rocprof

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/sqlite"
)

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name) // made by testdata/make.py
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fromDB(t testing.TB, b []byte) (*trace.Trace, error) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	return FromDB(t.Context(), db)
}

// One program's profile says the same in both formats.
func TestBothFormats(t *testing.T) {
	list, err := ReadJSON(t.Context(), bytes.NewReader(file(t, "result.json")))
	if err != nil || len(list) != 1 {
		t.Fatal(len(list), err)
	}
	db, err := fromDB(t, file(t, "result.db"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"950+450 decode step user_annotation 11/12 corr 3 ",
		"1000+100 hipLaunchKernel cuda_runtime 11/12 corr 1 ",
		"1200+100 hipMemcpyAsync cuda_runtime 11/12 corr 2 ",
		`1500+1000 gemm() kernel gpu 0/5 corr 1 {"device": 0, "stream": 5, "grid": [4, 2, 1], "block": [256, 1, 1], "shared memory": 4096}`,
		`2600+100 Memcpy HtoD gpu_memcpy gpu 1/5 corr 2 {"device": 1, "stream": 5, "bytes": 1000, "memory bandwidth (GB/s)": 10}`,
	}
	for name, tr := range map[string]*trace.Trace{"JSON": list[0], "rocpd": db} {
		if err := tr.Validate(); err != nil {
			t.Fatal(name, err)
		}
		// Numbers of correlations are the reader's own: they are named by the call here.
		calls := map[int64]string{}
		for i, c := range tr.Slices.Corr {
			switch tr.String(tr.Slices.Name[i]) {
			case "hipLaunchKernel":
				calls[c] = "1"
			case "hipMemcpyAsync":
				calls[c] = "2"
			case "decode step":
				calls[c] = "3"
			}
		}
		var got []string
		for i, at := range tr.Slices.Start {
			k := tr.Tracks[tr.Slices.Track[i]]
			where := fmt.Sprintf("%d/%d", k.PID, k.TID)
			if k.Kind == trace.TrackGPU {
				where = "gpu " + where
			}
			args := string(tr.Args(tr.Slices.Args[i]))
			if before, after, ok := strings.Cut(args, `"correlation": `); ok {
				_, after, _ = strings.Cut(after, ", ")
				args = before + after
			}
			got = append(got, fmt.Sprintf("%d+%d %s %s %s corr %s %s", at, tr.Slices.Dur[i],
				tr.String(tr.Slices.Name[i]), tr.CategoryText(tr.Slices.Cat[i]), where, calls[tr.Slices.Corr[i]], args))
		}
		slices.SortFunc(got, compareStart)
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if d := tr.Meta.Devices; len(d) != 2 || d[1].Name != "MI300X" || tr.Meta.Host != "node-a" || tr.Meta.WallClock {
			t.Errorf("%s: %+v", name, tr.Meta)
		}
	}
	if n := list[0].Repairs.Count[RepairOther+" scratch_memory"]; n != 1 {
		t.Errorf("left out: %v", list[0].Repairs.Count)
	}
}

func compareStart(a, b string) int {
	var x, y int
	_, _ = fmt.Sscanf(a, "%d+", &x)
	_, _ = fmt.Sscanf(b, "%d+", &y)
	return x - y
}

func TestRefuses(t *testing.T) {
	for _, text := range []string{"", "{}", `{"rocprofiler-sdk-tool": []}`,
		`{"rocprofiler-sdk-tool": [{"buffer_records": {"hip_api": 5}}]}`, `{"rocprofiler-sdk-tool": [`} {
		var format *FormatError
		if _, err := ReadJSON(t.Context(), strings.NewReader(text)); !errors.As(err, &format) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestDamaged: a result that ends early, or with records that are none, is read as far as it goes, and says so.
func TestDamaged(t *testing.T) {
	whole := string(file(t, "result.json"))
	count := func(text string) (n int, repairs string) {
		list, err := ReadJSON(t.Context(), strings.NewReader(text))
		if err != nil {
			var format *FormatError
			if !errors.As(err, &format) {
				t.Error(err)
			}
			return 0, ""
		}
		for _, tr := range list {
			if err := tr.Validate(); err != nil {
				t.Error(err)
			}
			n += tr.Slices.Len()
		}
		return n, list[len(list)-1].Repairs.Damage()
	}
	all, _ := count(whole)
	most := 0
	for n := range len(strings.TrimRight(whole, "\n")) {
		got, repairs := count(whole[:n])
		if got < most || got > all || got > 0 && !strings.Contains(repairs, trace.RepairTruncatedFile) {
			t.Fatalf("cut at %d: %d slices, of %d; %q", n, got, all, repairs)
		}
		most = got
	}
	if most != all {
		t.Errorf("of all but the last bytes %d slices of %d are read", most, all)
	}
	for _, wrong := range []string{`"x"`, "1.5", "1e30", "[]"} {
		text := strings.Replace(whole, `"start_timestamp": 1500`, `"start_timestamp": `+wrong, 1)
		if got, repairs := count(text); got != all-1 || !strings.Contains(repairs, "1 × "+trace.RepairSyntax) {
			t.Errorf("a time %s: %d slices, %q", wrong, got, repairs)
		}
	}
	if got, _ := count(whole + "log line"); got != all {
		t.Errorf("with text behind it: %d slices", got)
	}
}

// TestHandles: a handle is an object or its number.
func TestHandles(t *testing.T) {
	for _, text := range []string{`{"handle": 7}`, "7"} {
		var h handle
		if err := h.UnmarshalJSON([]byte(text)); err != nil || h != 7 {
			t.Errorf("%s: %d, %v", text, h, err)
		}
	}
}

func FuzzJSON(f *testing.F) {
	f.Add(file(f, "result.json"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ReadJSON(t.Context(), bytes.NewReader(b))
		for _, tr := range list {
			if err == nil && tr.Validate() != nil {
				t.Fatal(tr.Validate())
			}
		}
	})
}

func FuzzDB(f *testing.F) {
	f.Add(file(f, "result.db"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tr, err := fromDB(t, b); err == nil && tr.Validate() != nil {
			t.Fatal(tr.Validate())
		}
	})
}
