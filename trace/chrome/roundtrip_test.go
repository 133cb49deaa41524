package chrome_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/chrome"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

// row is one event without ids that differ between two traces of the same content.
type row struct {
	Kind, Name, Cat, Lane, Args string
	Start, Dur, Corr            int64
	ID                          uint64
	Value                       float64
}

func lane(t *trace.Trace, id trace.TrackID) string {
	k := t.Tracks[id]
	if k.PIDText != "" {
		k.PID = 0 // a number that stands in for the text
	}
	if k.TIDText != "" {
		k.TID = 0
	}
	return fmt.Sprintf("%d/%d/%s/%s/%d", k.PID, k.TID, k.PIDText, k.TIDText, k.Kind)
}

// rows lists the events, without what the writer adds to a window.
func rows(t *trace.Trace) []row {
	var out []row
	s := &t.Slices
	for i := range s.Len() {
		if s.Cat[i] == trace.CatTraceSpan {
			continue
		}
		out = append(out, row{
			Kind: "slice", Name: t.String(s.Name[i]), Cat: t.CategoryText(s.Cat[i]), Lane: lane(t, s.Track[i]),
			Args: string(t.Args(s.Args[i])), Start: s.Start[i], Dur: s.Dur[i], Corr: s.Corr[i],
		})
	}
	for i, ns := range t.Instants.Time {
		if t.Instants.Cat[i] == trace.CatCPUInstant {
			out = append(out, row{Kind: "instant", Name: t.String(t.Instants.Name[i]),
				Lane: lane(t, t.Instants.Track[i]),
				Args: string(t.Args(t.Instants.Args[i])), Start: ns})
		}
	}
	for i, ns := range t.Counters.Time {
		out = append(out, row{Kind: "counter", Name: t.String(t.Counters.Name[i]), Cat: t.String(t.Counters.Series[i]),
			Start: ns, Value: t.Counters.Value[i]})
	}
	for i, ns := range t.Flows.Time {
		out = append(out, row{Kind: fmt.Sprint("flow ", t.Flows.Start[i]), Name: t.String(t.Flows.Name[i]),
			Cat:  t.String(t.Flows.Cat[i]),
			Lane: lane(t, t.Flows.Track[i]), Start: ns, ID: t.Flows.ID[i]})
	}
	return out
}

// roundTrip writes t and reads it again.
func roundTrip(t interface{ Fatal(...any) }, in *trace.Trace) *trace.Trace {
	var b bytes.Buffer
	if _, err := chrome.Write(&b, in, chrome.Options{}); err != nil {
		t.Fatal(err)
	}
	out, err := kineto.Read(context.Background(), &b, kineto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := trace.New()
		in.Meta.WallClock, in.Meta.Rank, in.Meta.WorldSize = true, rapid.IntRange(0, 7).Draw(t, "rank"), 8
		cpu := in.AddTrack(trace.Track{PID: 10, TID: 11, Device: -1, Stream: -1})
		gpu := in.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 0, TID: 7, Device: 0, Stream: 7})
		at := func() int64 { return rapid.Int64Range(1_790_900_000e9, 1_790_900_600e9).Draw(t, "time") }
		name := rapid.StringOf(rapid.RuneFrom([]rune("aé\"\\\n\t<世 {}"))).Filter(func(s string) bool { return s != "" })
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			n := name.Draw(t, "name")
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				in.AddSlice(trace.Slice{Start: at(), Dur: rapid.Int64Range(0, 1e9).Draw(t, "dur"), Name: n,
					Cat: trace.CatCPUOp, Track: cpu,
					Args: []byte(`{"External id": 7, "Input Dims": [[2,3]]}`)})
			case 1:
				in.AddSlice(trace.Slice{Start: at(), Dur: 1, Name: n, Cat: trace.CatKernel, Track: gpu, Corr: 12345,
					Args: []byte(`{"device": 0, "stream": 7, "correlation": 12345}`)})
			case 2:
				in.AddInstant(at(), "[memory]", trace.CatCPUInstant, cpu,
					[]byte(`{"Bytes": -4096, "Addr": 140000000000000}`))
			case 3:
				in.AddFlow(at(), rapid.Uint64().Draw(t, "id"), "handoff", n, cpu, rapid.Bool().Draw(t, "start"))
			}
		}
		in.AddSlice(trace.Slice{Start: 1_790_900_000e9, Dur: 1, Name: "first", Cat: trace.CatCPUOp, Track: cpu})
		in.AddCounter(at(), "batch", "running", cpu, rapid.Float64Range(-1e12, 1e12).Draw(t, "value"))
		out := roundTrip(t, in)
		if d := cmp.Diff(rows(in), rows(out)); d != "" {
			t.Errorf("(-written +read):\n%s", d)
		}
		if out.Meta.Rank != in.Meta.Rank || out.Meta.WorldSize != 8 || !out.Meta.WallClock {
			t.Errorf("meta %+v", out.Meta)
		}
		delete(out.Repairs.Count, trace.RepairUnsorted)
		if out.Repairs.Total() != 0 {
			t.Errorf("repairs: %s", out.Repairs.String())
		}
	})
}

// TestRoundTripRealTraces reads traces of many kinds, writes and reads them again.
func TestRoundTripRealTraces(t *testing.T) {
	files, err := filepath.Glob("../../../shared/traces/*.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skip("no real traces beside the repository")
	}
	for _, path := range files {
		if st, err := os.Stat(path); err != nil || st.Size() > 400_000 && testing.Short() {
			continue
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			in, err := kineto.ReadFile(context.Background(), path, kineto.Options{})
			if err != nil {
				t.Fatal(err)
			}
			out := roundTrip(t, in)
			in.Meta.File, out.Meta.File = "", ""
			in.Meta.Identity, out.Meta.Identity = trace.Identity{}, trace.Identity{}      // of the path
			in.Meta.BaseTimeNs, out.Meta.BaseTimeNs = 0, 0                                // absent in old files
			for _, k := range []string{"schemaVersion", "displayTimeUnit", "traceName"} { // the writer's own
				delete(in.Meta.Extra, k)
				delete(out.Meta.Extra, k)
			}
			if d := cmp.Diff(in.Meta, out.Meta, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("meta (-written +read):\n%s", d)
			}
			a, b := rows(in), rows(out)
			if len(a) != len(b) {
				t.Fatalf("%d events written, %d read", len(a), len(b))
			}
			for i := range a {
				if a[i] != b[i] {
					t.Fatalf("event %d:\nwritten %+v\nread    %+v", i, a[i], b[i])
				}
			}
		})
	}
}

// HTA finds the rank by this expression in the text.
func TestRankIsFoundByHTA(t *testing.T) {
	tr := trace.New()
	tr.Meta.Rank = 3
	var b bytes.Buffer
	if _, err := chrome.Write(&b, tr, chrome.Options{}); err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`"rank":\s+(\d+)`).FindSubmatch(b.Bytes()); m == nil || string(m[1]) != "3" {
		t.Errorf("found %q", m)
	}
}
