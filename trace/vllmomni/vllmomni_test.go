package vllmomni

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/trace"
)

func load(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRead(t *testing.T) {
	b := load(t, "concurrency.jsonl")
	if !Sniff(b) || SniffMonitor(b) {
		t.Error("it is not known by its beginning")
	}
	tr, err := Read(t.Context(), bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Validate(); err != nil {
		t.Fatal(err)
	}
	const t0 = int64(1_790_000_000_000_000_000)
	var got []string
	for i := range tr.Slices.Len() {
		id, _ := tr.ArgText(i, trace.ArgRequest)
		got = append(got, fmt.Sprintf("%s of %s on %s +%d ms for %d", tr.String(tr.Slices.Name[i]), id,
			tr.Tracks[tr.Slices.Track[i]].Name, (tr.Slices.Start[i]-t0+500_000)/1e6, (tr.Slices.Dur[i]+500_000)/1e6))
	}
	slices.Sort(got)
	want := []string{
		"pipeline_request of a on all stages +8 ms for 195", "stage_request of a on stage 0 +10 ms for 90",
		"stage_request of a on stage 1 +103 ms for 98", "stage_request of b on stage 0, lane 2 +10 ms for 110",
		"slot of a on slots +102 ms for 98", "slot of b on slots +202 ms for 1",
	}
	// Which of the two requests that begin together has the first lane is the longer one's to say.
	want[1], want[3] = "stage_request of a on stage 0, lane 2 +10 ms for 90",
		"stage_request of b on stage 0 +10 ms for 110"
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	counters := map[string]float64{}
	for i, n := range tr.Counters.Name {
		counters[tr.String(n)] = tr.Counters.Value[i]
	}
	if diff := cmp.Diff(map[string]float64{"stage 0 batch size": 2, "stage 0 scheduled tokens": 64,
		"device 0 use %":        71,
		"device 0 memory bytes": 1 << 30, `vllm:num_requests_waiting{stage="1"}`: 1}, counters); diff != "" {
		t.Error(diff)
	}
	if len(tr.Instants.Time) != 2 || tr.Repairs.Count[RepairLine] != 1 ||
		tr.Repairs.Count[trace.RepairUnmatchedBegin] != 1 || !tr.Meta.WallClock {
		t.Errorf("%d instants, %v", len(tr.Instants.Time), tr.Repairs.Count)
	}
	for _, k := range tr.Tracks {
		if k.Kind != trace.TrackOther {
			t.Errorf("%+v counts as work", k)
		}
	}
}

func TestReadMonitor(t *testing.T) {
	b := load(t, "monitor.json")
	if !SniffMonitor(b) || Sniff(b) {
		t.Error("it is not known by its beginning")
	}
	tr, err := ReadMonitor(t.Context(), bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Validate(); err != nil {
		t.Fatal(err)
	}
	series := map[string][]float64{}
	for i, n := range tr.Counters.Name {
		series[tr.String(n)] = append(series[tr.String(n)], tr.Counters.Value[i])
	}
	if !slices.Equal(series["orchestrator loop_active"], []float64{4, 4, 5, 5, 2}) ||
		!slices.Equal(series["stage=0,replica=0 inflight"], []float64{2, 4, 6, 8, 10}) || len(series) != 8 {
		t.Errorf("%v", series)
	}
	if tr.Meta.WallClock || tr.Meta.WindowEnd/1e6 != 4500 {
		t.Errorf("%+v", tr.Meta)
	}
}

// What is none of vLLM-Omni's, or says what cannot be, is refused or counted, and never more.
func TestBadInput(t *testing.T) {
	for _, text := range []string{"", "{}", "x\ny\n", `{"event":"a","ts_unix_s":-1}`, `{"event":1,"ts_unix_s":1}`,
		`{"event":"a","ts_unix_s":1e300}`, `{"event":"a","ts_unix_s":null}`} {
		if tr, err := Read(t.Context(), strings.NewReader(text)); err == nil {
			t.Errorf("%q is a trace of %d rows", text, len(tr.Instants.Time))
		} else if _, ok := errors.AsType[*FormatError](err); !ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	odd := `{"event":"stage_completed","ts_unix_s":5,"stage_gen_time_ms":1e200}` + "\n" +
		`{"event":"tts_slot_completed","ts_unix_s":6}` + "\n" + `{"event":"gpu_sample","ts_unix_s":7,"gpu_index":"x"}`
	tr, err := Read(t.Context(), strings.NewReader(odd))
	if err != nil || tr.Validate() != nil || len(tr.Instants.Time) != 2 {
		t.Errorf("%v", err)
	}
	for _, text := range []string{"", "[]", `{"windows":{}}`, `{"windows":{"duration_s":[-1]}}`,
		`{"windows":{"duration_s":[1e99]}}`} {
		if _, err := ReadMonitor(t.Context(), strings.NewReader(text)); err == nil {
			t.Errorf("%q is a monitor", text)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(load(f, "concurrency.jsonl"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tr, err := Read(t.Context(), bytes.NewReader(b)); err == nil {
			if err := tr.Validate(); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzReadMonitor(f *testing.F) {
	f.Add(load(f, "monitor.json"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tr, err := ReadMonitor(t.Context(), bytes.NewReader(b)); err == nil {
			if err := tr.Validate(); err != nil {
				t.Error(err)
			}
		}
	})
}
