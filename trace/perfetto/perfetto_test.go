package perfetto

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

var update = flag.Bool("update", false, "rewrite golden files")

// fieldSpec says how a field is printed: as a message of another type, or by kind.
type fieldSpec struct {
	name    string
	message string
	kind    byte // 's' text, 'd' double, 'i' signed, 0 number
}

// schema is the part of Perfetto's protos that the package writes, by number, written
// down apart from wire.go so that a wrong constant there shows.
var schema = map[string]map[protowire.Number]fieldSpec{
	"Trace": {1: {"packet", "TracePacket", 0}},
	"TracePacket": {
		6: {"clock_snapshot", "ClockSnapshot", 0}, 8: {"timestamp", "", 0}, 10: {"trusted_packet_sequence_id", "", 0},
		11: {"track_event", "TrackEvent", 0}, 12: {"interned_data", "InternedData", 0}, 13: {"sequence_flags", "", 0},
		60: {"track_descriptor", "TrackDescriptor", 0}, 87: {"first_packet_on_sequence", "", 0},
	},
	"ClockSnapshot": {1: {"clocks", "Clock", 0}, 2: {"primary_trace_clock", "", 0}},
	"Clock":         {1: {"clock_id", "", 0}, 2: {"timestamp", "", 0}},
	"TrackDescriptor": {
		1: {"uuid", "", 0}, 2: {"name", "", 's'}, 3: {"process", "Process", 0}, 4: {"thread", "Thread", 0},
		5: {"parent_uuid", "", 0},
		8: {"counter", "Counter", 0}, 11: {"child_ordering", "", 0}, 12: {"sibling_order_rank", "", 0},
	},
	"Process": {1: {"pid", "", 0}, 6: {"process_name", "", 's'}, 8: {"process_labels", "", 's'}},
	"Thread":  {1: {"pid", "", 0}, 2: {"tid", "", 0}, 5: {"thread_name", "", 's'}},
	"Counter": {3: {"unit", "", 0}},
	"TrackEvent": {
		3: {"category_iids", "", 0}, 4: {"debug_annotations", "Annotation", 0}, 9: {"type", "", 0},
		10: {"name_iid", "", 0},
		11: {"track_uuid", "", 0}, 30: {"counter_value", "", 'i'}, 44: {"double_counter_value", "", 'd'},
		47: {"flow_ids", "", 0}, 48: {"terminating_flow_ids", "", 0},
	},
	"InternedData": {1: {"event_categories", "Interned", 0}, 2: {"event_names", "Interned", 0},
		3: {"debug_annotation_names", "Interned", 0}},
	"Interned": {1: {"iid", "", 0}, 2: {"name", "", 's'}},
	"Annotation": {
		1: {"name_iid", "", 0}, 2: {"bool_value", "", 0}, 3: {"uint_value", "", 0}, 4: {"int_value", "", 'i'},
		5: {"double_value", "", 'd'},
		6: {"string_value", "", 's'}, 10: {"name", "", 's'}, 11: {"dict_entries", "Annotation", 0},
		12: {"array_values", "Annotation", 0},
	},
}

// decode prints a message as text, one packet a line.
func decode(message string, b []byte) (string, error) {
	var out []string
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return "", protowire.ParseError(n)
		}
		b = b[n:]
		spec, ok := schema[message][num]
		if !ok {
			return "", fmt.Errorf("%s has no field %d", message, num)
		}
		var text string
		switch kind {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return "", protowire.ParseError(n)
			}
			text, b = fmt.Sprint(v), b[n:]
			if spec.kind == 'i' {
				text = fmt.Sprint(int64(v))
			}
		case protowire.Fixed64Type:
			v, n := protowire.ConsumeFixed64(b)
			if n < 0 {
				return "", protowire.ParseError(n)
			}
			text, b = fmt.Sprint(v), b[n:]
			if spec.kind == 'd' {
				text = fmt.Sprint(math.Float64frombits(v))
			}
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return "", protowire.ParseError(n)
			}
			b = b[n:]
			if text = fmt.Sprintf("%q", v); spec.message != "" {
				inner, err := decode(spec.message, v)
				if err != nil {
					return "", err
				}
				text = "{" + inner + "}"
			}
		}
		out = append(out, spec.name+":"+text)
	}
	if message == "Trace" {
		return strings.ReplaceAll(strings.Join(out, "\n"), "packet:", "") + "\n", nil
	}
	return strings.Join(out, " "), nil
}

func sample() *trace.Trace {
	t := trace.New()
	t.Meta.Format, t.Meta.WallClock, t.Meta.Stage = "native", true, "thinker"
	cpu := t.AddTrack(trace.Track{PID: 4, TID: 7, Device: -1, Stream: -1, Name: "scheduler"})
	gpu := t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: 7})
	add := func(start, dur int64, name string, track trace.TrackID, args string) {
		t.AddSlice(trace.Slice{Start: start, Dur: dur, Name: name, Cat: trace.CatCPUOp, Track: track,
			Args: []byte(args)})
	}
	add(100, 100, "step", cpu,
		`{"step": 3, "ok": true, "none": null, "ratio": 0.5, "Addr": 18446603336221196288, "who": "é\n"}`)
	add(110, 20, "mm", cpu, `{"Input Dims": [[2,3],[]], "nested": {"a": {"b": -1}}}`)
	add(130, 0, "point", cpu, "")
	add(190, 50, "late", cpu, "") // overlaps step
	add(120, 10, "kernel", gpu, "")
	add(130, 10, "kernel", gpu, "")
	t.AddFlow(115, 77, "handoff", "handoff", cpu, true)
	t.AddFlow(130, 77, "handoff", "handoff", gpu, false)
	t.AddFlow(300, 78, "handoff", "handoff", gpu, true) // in no slice
	t.AddInstant(125, "token", trace.CatUserAnnotation, cpu, []byte(`{"request": "r-1"}`))
	t.AddInstant(126, "[memory]", trace.CatCPUInstant, cpu,
		[]byte(`{"Device Id": -1, "Bytes": 8, "Total Allocated": 4096, "Total Reserved": 8192}`))
	t.AddCounter(105, "batch", "value", cpu, 3)
	t.AddCounter(106, "pool bytes", "kv", cpu, 0.25)
	t.AddCounter(107, "batch", "value", cpu, math.Inf(1))
	return t
}

func write(t interface{ Fatal(...any) }, w io.Writer, o RankOptions, traces ...*trace.Trace) Stats {
	p := NewWriter(w, 100)
	for _, tr := range traces {
		for _, seq := range p.AddRank(tr, o) {
			for e := range seq {
				p.Emit(e)
			}
		}
	}
	stats, err := p.Close()
	if err != nil {
		t.Fatal(err)
	}
	return stats
}

func TestWriteGolden(t *testing.T) {
	var b bytes.Buffer
	stats := write(t, &b, RankOptions{Name: "stage0 thinker rank 0", Labels: []string{"host a"},
		Clock: func(ns int64) int64 { return ns + 1000 }}, sample())
	want := Stats{Packets: stats.Packets, Slices: 6, Instants: 2, Counters: 5, FlowEnds: 3, Overlapped: 1, Dropped: 1}
	if stats != want {
		t.Errorf("stats %+v, want %+v", stats, want)
	}
	got, err := decode("Trace", b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "sample.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(golden), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

func TestFlowIDs(t *testing.T) {
	local := func(string) bool { return false }
	ids := func(o RankOptions) [2]uint64 {
		p := NewWriter(io.Discard, 0)
		var out [2]uint64
		for i := range out {
			p.AddRank(sample(), o)
			r := &rankTracks{p: p, t: sample(), number: uint64(i + 1), global: o.GlobalFlow}
			out[i] = r.flowID(0)
		}
		return out
	}
	if got := ids(RankOptions{GlobalFlow: func(string) bool { return true }}); got != [2]uint64{77, 77} {
		t.Errorf("global: %v", got)
	}
	if got := ids(RankOptions{GlobalFlow: local}); got[0] == got[1] || got[0] == 77 {
		t.Errorf("local ids collide: %v", got)
	}
}

// TestSlicesNest checks what Perfetto asks of every track: ends match begins, times of
// a sequence do not go back, and no slice is lost.
func TestSlicesNest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := trace.New()
		id := tr.AddTrack(trace.Track{Device: -1, Stream: -1})
		n := rapid.IntRange(0, 40).Draw(t, "slices")
		for range n {
			tr.AddSlice(trace.Slice{
				Start: rapid.Int64Range(1, 60).Draw(t, "start"), Dur: rapid.Int64Range(0, 30).Draw(t, "dur"), Name: "s",
				Track: id,
			})
		}
		p := NewWriter(io.Discard, 0)
		begun := map[int32]bool{}
		for _, seq := range p.AddRank(tr, RankOptions{}) {
			checkSequence(t, tr, seq, begun)
		}
		if len(begun) != n {
			t.Errorf("%d of %d slices", len(begun), n)
		}
	})
}

func checkSequence(t *rapid.T, tr *trace.Trace, seq iter.Seq[Event], begun map[int32]bool) {
	var open []int32
	last := int64(math.MinInt64)
	for e := range seq {
		if e.Time < last {
			t.Errorf("time goes back from %d to %d", last, e.Time)
		}
		last = e.Time
		switch e.kind {
		case eventBegin:
			begun[e.index] = true
			open = append(open, e.index)
		case eventEnd:
			if len(open) == 0 || open[len(open)-1] != e.index || e.Time != tr.Slices.End(int(e.index)) {
				t.Errorf("end of slice %d at %d with %v open", e.index, e.Time, open)
				return
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Errorf("%v never end", open)
	}
}

func TestWriteReportsError(t *testing.T) {
	p := NewWriter(failing{}, 0)
	for range 20_000 {
		p.counter(1, 1, 1)
	}
	if _, err := p.Close(); err == nil {
		t.Error("no error")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestAnnotationsDamaged(t *testing.T) {
	for raw, want := range map[string]string{
		`{"a": `:                       `debug_annotations:{name_iid:2 string_value:"{\"a\": "}`,
		`[1]`:                          `debug_annotations:{name_iid:1 string_value:"[1]"}`,
		`{"a": 1e999}`:                 `debug_annotations:{name_iid:1 string_value:"1e999"}`,
		`{"a": [[[[[[[[[[1]]]]]]]]]]}`: `debug_annotations:{name_iid:1 array_values:{array_values:{array_values:{array_values:{array_values:{array_values:{array_values:{string_value:"[[[1]]]"}}}}}}}}`,
		``:                             ``,
		` { } `:                        ``,
		`{"a": -9223372036854775808}`:  `debug_annotations:{name_iid:1 int_value:-9223372036854775808}`,
		`{"a": -9223372036854775809}`:  `debug_annotations:{name_iid:1 double_value:-9.223372036854776e+18}`,
		`{"a": 1} x`:                   `debug_annotations:{name_iid:2 string_value:"{\"a\": 1} x"}`,
		`{"a": tru}`:                   `debug_annotations:{name_iid:2 string_value:"{\"a\": tru}"}`,
	} {
		p := NewWriter(io.Discard, 0)
		p.annotations([]byte(raw))
		got, err := decode("TrackEvent", p.event)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", raw, got, err, want)
		}
	}
}

func TestEmitDoesNotAllocatePerEvent(t *testing.T) {
	const n = 5000
	tr := trace.New()
	id := tr.AddTrack(trace.Track{Device: -1, Stream: -1})
	for i := range int64(n) {
		tr.AddSlice(trace.Slice{Start: i * 10, Dur: 5, Name: "op", Track: id,
			Args: []byte(
				`{"External id": 123456, "Input Dims": [[2,3],[3,4]], "type": ["float", "é"], "ratio": true}`)})
	}
	p := NewWriter(io.Discard, 0)
	var events []Event
	for _, seq := range p.AddRank(tr, RankOptions{}) {
		for e := range seq {
			events = append(events, e)
		}
	}
	if a := testing.AllocsPerRun(3, func() {
		for _, e := range events {
			p.Emit(e)
		}
	}); a > n/100 {
		t.Errorf("%.0f allocations for %d slices", a, n)
	}
}

func FuzzAnnotations(f *testing.F) {
	f.Add([]byte(`{"a": [1, -2.5e3, {"b": "\u00e9"}], "c": null}`))
	f.Add([]byte(`{"a": [[[[[[[[[["]"]]]]]]]]]]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := NewWriter(io.Discard, 0)
		p.annotations(raw)
		if _, err := decode("TrackEvent", p.event); err != nil {
			t.Error(err)
		}
	})
}
