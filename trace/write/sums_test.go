package write

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/xuri/excelize/v2"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// written is a trace in a format.
func written(t *testing.T, name string, tr *trace.Trace) []byte {
	t.Helper()
	f, ok := format.Lookup(name)
	if !ok || f.Create == nil {
		t.Fatalf("nothing writes %s", name)
	}
	var out bytes.Buffer
	w := f.Create(&out, format.WriteOptions{Name: "x", Ranks: 1})
	if err := w.Add(t.Context(), format.Rank{Trace: tr, Name: "rank 0"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// truth is what formats of sums must say of a trace.
type truth struct {
	hostNs, deviceNs int64
	work             map[string]int64 // ns by name of work on a device
	frames           map[string]bool  // names of slices of the host that take time themselves
}

func truthOf(tr *trace.Trace) truth {
	out := truth{work: map[string]int64{}, frames: map[string]bool{}}
	index := tr.Index()
	for i, c := range tr.Slices.Cat {
		name := trace.CommonName(tr.String(tr.Slices.Name[i]))
		switch {
		case c.Busy():
			out.deviceNs += tr.Slices.Dur[i]
			out.work[name] += tr.Slices.Dur[i]
		case tr.Tracks[tr.Slices.Track[i]].Kind == trace.TrackCPU && c != trace.CatTraceSpan:
			if out.hostNs += index.Self[i]; index.Self[i] > 0 {
				out.frames[name] = true
			}
		}
	}
	return out
}

// Every format of sums says how long host and devices worked in all, and has the names.
func TestSums(t *testing.T) {
	for _, pattern := range append(made(t), inputs...) {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			found, err := open.Find([]string{path})
			if err != nil {
				t.Fatal(err)
			}
			err = open.EachSource(t.Context(), found, open.Options{}, func(_ int, tr *trace.Trace) error {
				if tr.Slices.Len() > 0 {
					t.Run(tr.Meta.Format+" "+filepath.Base(path), func(t *testing.T) { sumsOf(t, tr) })
				}
				return nil
			})
			if err != nil {
				t.Log(path, err) // files of readers' tests may be damaged on purpose
			}
		}
	}
}

func sumsOf(t *testing.T, tr *trace.Trace) {
	want := truthOf(tr)
	p, err := profile.ParseData(written(t, "pprof", tr))
	if err != nil {
		t.Fatal(err)
	}
	host, work := int64(0), map[string]int64{}
	for _, s := range p.Sample {
		host += s.Value[1]
		if s.Value[2] != 0 {
			work[s.Location[0].Line[0].Function.Name] += s.Value[2]
		}
	}
	if host != want.hostNs && !tr.Meta.Sums {
		t.Errorf("pprof has %d ns of the host, want %d", host, want.hostNs)
	}
	for name, ns := range want.work {
		if work[name] != ns && ns > 0 {
			t.Errorf("pprof has %d ns of %q on devices, want %d", work[name], name, ns)
		}
	}
	for _, f := range []struct {
		name string
		ns   int64
	}{{"folded", want.hostNs}, {"folded-device", want.deviceNs}} {
		if f.ns == 0 {
			continue
		}
		lines := strings.Split(strings.TrimSuffix(string(written(t, f.name, tr)), "\n"), "\n")
		sum := int64(0)
		for _, l := range lines {
			us, err := strconv.ParseInt(l[strings.LastIndexByte(l, ' ')+1:], 10, 64)
			if err != nil && l != "" {
				t.Fatal(f.name, l, err)
			}
			sum += us * 1000
		}
		// each stack is rounded to µs; those of less than half a µs are as many as slices at most
		if d := sum - f.ns; d > 500*int64(len(lines)) || d < -500*int64(tr.Slices.Len()+len(lines)) {
			t.Errorf("%s has %d ns, want %d", f.name, sum, f.ns)
		}
	}
	x, err := excelize.OpenReader(bytes.NewReader(written(t, "xlsx", tr)))
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	rows, err := x.GetRows("summary")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, r := range rows {
		listed[r[0]] = true
	}
	for name := range want.work {
		if !listed[name] {
			t.Errorf("the workbook lacks %q", name)
		}
	}
}

// A workbook and folded stacks of several ranks keep them apart.
func TestSumsOfRanks(t *testing.T) {
	for _, name := range []string{"xlsx", "folded"} {
		f, _ := format.Lookup(name)
		var out bytes.Buffer
		w := f.Create(&out, format.WriteOptions{Ranks: 3})
		for _, rank := range []string{"stage0 thinker rank 0", "stage0 thinker rank 1",
			"a very long name of a stage: [rank] 2"} {
			if err := w.Add(t.Context(), format.Rank{Trace: sample(), Name: rank}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if name == "folded" {
			for _, line := range []string{"stage0_thinker_rank_0;aten::mm 5\n", "stage0_thinker_rank_1;aten::mm 5\n"} {
				if !strings.Contains(out.String(), line) {
					t.Errorf("folded lacks %q:\n%s", line, out.String())
				}
			}
			continue
		}
		x, err := excelize.OpenReader(&out)
		if err != nil {
			t.Fatal(err)
		}
		want := "stage0 thinker rank 0 summary|stage0 thinker rank 1 summary|a very long name of a s summary"
		if got := strings.Join(x.GetSheetList(), "|"); got != want {
			t.Errorf("sheets %s, want %s", got, want)
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
}
