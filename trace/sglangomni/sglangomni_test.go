package sglangomni

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/trace"
)

func read(t testing.TB, name string) []*trace.Trace {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if !Sniff(b) {
		t.Errorf("%s is not known by its beginning", name)
	}
	list, err := Read(t.Context(), bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for _, tr := range list {
		if err := tr.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

func rows(tr *trace.Trace) []string {
	var out []string
	for i := range tr.Slices.Len() {
		request, _ := tr.ArgText(i, trace.ArgRequest)
		out = append(out, fmt.Sprintf("%s %s on %s +%d µs for %d", request, tr.String(tr.Slices.Name[i]),
			tr.Tracks[tr.Slices.Track[i]].Name, (tr.Slices.Start[i]-1_790_000_000_000_000_000)/1000,
			tr.Slices.Dur[i]/1000))
	}
	slices.Sort(out)
	return out
}

func TestRead(t *testing.T) {
	list := read(t, "events_talker_200.jsonl")
	if len(list) != 2 || list[0].Meta.Stage != "code2wav" || list[1].Meta.Stage != "talker" ||
		list[0].Meta.PID != 200 ||
		!list[0].Meta.WallClock {
		t.Fatalf("%d stages", len(list))
	}
	want := []string{
		"req-a handoff.recv on events +20300 µs for 0", "req-a handoff.recv on events +20400 µs for 0",
		"req-a request on request +20400 µs for 6600", "req-a vocode on vocode +21000 µs for 5000",
		"req-b handoff.recv on events +27800 µs for 0", "req-b handoff.recv on events +27900 µs for 0",
		"req-b request on request 2 +27900 µs for 5700", "req-b vocode on vocode +28500 µs for 5000",
	}
	want[6] = "req-b request on request +27900 µs for 5700"
	if d := cmp.Diff(want, rows(list[0])); d != "" {
		t.Error(d)
	}
	// what goes on when the file ends says so
	if list[0].Repairs.Count[trace.RepairUnmatchedBegin] != 1 || list[1].Repairs.Total() != 0 {
		t.Errorf("%v; %v", &list[0].Repairs, &list[1].Repairs)
	}
	open := 0
	for i := range list[0].Slices.Len() {
		if string(list[0].Arg(i, ArgFinished)) == "false" {
			open++
		}
	}
	if open != 1 {
		t.Errorf("%d slices are unfinished", open)
	}
	thinker := read(t, "events_thinker_100.jsonl")[0]
	names := map[string]int{}
	for _, n := range thinker.Slices.Name {
		names[thinker.String(n)]++
	}
	if d := cmp.Diff(map[string]int{"request": 2, "wait": 2, "prefill": 2, "preprocess": 2, "handoff.send": 6},
		names); d != "" {
		t.Error(d)
	}
}

// A hand-off's two ends, in files of two processes, have one number; chunks have one each.
func TestHandoffs(t *testing.T) {
	ends := map[uint64][2]int{}
	var all []*trace.Trace
	for _, name := range []string{"events_thinker_100.jsonl", "events_talker_200.jsonl"} {
		all = append(all, read(t, name)...)
	}
	for _, tr := range all {
		for i, id := range tr.Flows.ID {
			e := ends[id]
			if tr.Flows.Start[i] {
				e[0]++
			} else {
				e[1]++
			}
			ends[id] = e
		}
	}
	whole := 0
	for _, e := range ends {
		if e == [2]int{1, 1} {
			whole++
		}
	}
	// three chunks and one payload a request; the talker's payload to code2wav has no event of its sender
	if whole != 8 || len(ends) != 10 {
		t.Errorf("%d of %d hand-offs have both ends: %v", whole, len(ends), ends)
	}
}

func TestDamaged(t *testing.T) {
	line := `{"request_id": "a", "stage": "s", "event_name": "encoder_start", "timestamp_ns": 5, "metadata": null}`
	list, err := Read(t.Context(), strings.NewReader(line+"\nnonsense\n{}\n\n"+
		strings.Replace(line, "start", "end", 1)+"\n"+strings.Replace(line, "start", "end", 1)))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if r := &list[0].Repairs; r.Count[RepairLine] != 2 || r.Count[trace.RepairUnmatchedEnd] != 1 {
		t.Errorf("%v", r)
	}
	for name, text := range map[string]string{"empty": "", "other": "{}\n",
		"time": strings.Replace(line, ": 5", ": 1e300", 1)} {
		if _, err := Read(t.Context(), strings.NewReader(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if Sniff([]byte(`{"event": "stage_config", "pid": 1}`)) {
		t.Error("other lines are taken for events")
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"events_thinker_100.jsonl", "events_talker_200.jsonl"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		Sniff(b)
		list, err := Read(t.Context(), bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, tr := range list {
			if err := tr.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
