// Package vllmomni reads what a vLLM-Omni server tells of its stages beside its traces, in two forms.
//
// Its concurrency trace (VLLM_OMNI_CONCURRENCY_TRACE_PATH) is lines of JSON that all its processes append
// to one file, each with "event", "pid", "run_id" and the seconds "ts_unix_s" and "ts_monotonic_s":
//
//	stage_completed            "stage_request" on a lane of the stage, stage_gen_time_ms long until the event
//	request_completed          "pipeline_request" on a lane of all stages, e2e_total_ms long
//	tts_slot_started … tts_slot_completed  "slot" of a request
//	batch_composition_changed  counters: the stage's batch size and scheduled tokens
//	gpu_sample                 counters: use of the device and its memory
//	prometheus_sample          counters, by metric and labels
//
// All other events are instants. The definition is vllm_omni/metrics/concurrency_trace.py of
// https://github.com/vllm-project/vllm-omni. What its orchestrator's monitor writes is in monitor.go.
//
// None of it is a rank's work: all tracks are trace.TrackOther.
package vllmomni

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Format is Meta.Format of such traces.
const Format = "vllm-omni"

// Role says of traces of this package that they are the server's, and no rank's.
const Role = "server"

// FormatError reports that a file is none of vLLM-Omni's.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "no trace of vLLM-Omni's stages: " + e.Reason }

// Limits of what is read.
const (
	maxLine   = 1 << 20 // bytes of a line; an event has some fields
	maxEvents = 1 << 24 // of a file: two samples a second of a hundred metrics for a day
	maxTimeS  = 4e9
	// maxSpanMs bounds how long one request may have taken: a day.
	maxSpanMs = 24 * 3600 * 1e3
)

// RepairLine counts lines that are not events.
const RepairLine = "line dropped: no event"

// The names of rows. They are not trace.NameRequest: that is a request in the stage whose trace it is in, and
// these are of all stages.
const (
	nameStage    = "stage_request"
	namePipeline = "pipeline_request"
	nameSlot     = "slot"
)

// kindSlots is what the lanes of slots are called.
const kindSlots = "slots"

// event is a line of the file.
type event struct {
	name   string
	at     int64 // ns since the Unix epoch
	fields map[string]json.RawMessage
}

// Sniff reports whether head begins with an event.
func Sniff(head []byte) bool {
	line, _, _ := bytes.Cut(bytes.TrimLeft(head, " \t\r\n"), []byte("\n"))
	return bytes.HasPrefix(line, []byte("{")) && bytes.Contains(line, []byte(`"event"`)) &&
		bytes.Contains(line, []byte(`"ts_unix_s"`)) && bytes.Contains(line, []byte(`"ts_monotonic_s"`))
}

// Read reads a concurrency trace. Lines that are not events are counted in its Repairs.
func Read(ctx context.Context, r io.Reader) (*trace.Trace, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	var events []event
	bad := 0
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		if len(events)%4096 == 0 && ctx.Err() != nil {
			return nil, fmt.Errorf("read events: %w", ctx.Err())
		}
		e, ok := parse(line)
		if !ok {
			bad++
			continue
		}
		if events = append(events, e); len(events) > maxEvents {
			return nil, &FormatError{Reason: fmt.Sprintf("more than %d events", maxEvents)}
		}
	}
	if len(events) == 0 {
		return nil, &FormatError{Reason: cmp.Or(fmt.Sprint(lines.Err()), "no line is an event")}
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	b := builder{t: trace.New(), tracks: map[string]trace.TrackID{},
		slots: map[string]event{}, from: events[0].at, to: events[len(events)-1].at}
	m := &b.t.Meta
	m.Format, m.WallClock, m.Role = Format, true, Role
	for i := range events {
		b.add(&events[i])
	}
	b.close()
	m.WindowStart, m.WindowEnd = b.from, b.to
	b.t.Repairs.Add(RepairLine, bad)
	if lines.Err() != nil {
		b.t.Repairs.Add(trace.RepairTruncatedFile, 1)
	}
	b.t.Trim()
	return b.t, nil
}

func parse(line []byte) (e event, ok bool) {
	if json.Unmarshal(line, &e.fields) != nil || json.Unmarshal(e.fields["event"], &e.name) != nil || e.name == "" {
		return e, false
	}
	s, ok := e.number("ts_unix_s")
	if !ok || s <= 0 || s > maxTimeS {
		return e, false
	}
	e.at = int64(s * 1e9)
	return e, true
}

// number is a number among the event's fields.
func (e *event) number(key string) (v float64, ok bool) {
	raw, there := e.fields[key]
	return v, there && json.Unmarshal(raw, &v) == nil && string(raw) != "null"
}

func (e *event) text(key string) string {
	var s string
	if json.Unmarshal(e.fields[key], &s) != nil {
		return ""
	}
	return s
}

// stage names the event's stage, "" if it has none.
func (e *event) stage() string {
	if n, ok := e.number("stage_id"); ok {
		return fmt.Sprintf("stage %d", int(n))
	}
	return ""
}

// common are the fields that every event has, and that are told by its place.
var common = []string{"event", "pid", "run_id", "ts_unix_s", "ts_monotonic_s", "request_id"}

// args are the event's request and fields as arguments.
func (e *event) args() []byte {
	var o trace.ArgsObject
	if id := e.text("request_id"); id != "" {
		o.Text(trace.ArgRequest, id)
	}
	for _, k := range slices.Sorted(maps.Keys(e.fields)) {
		if !slices.Contains(common, k) {
			o.Raw(k, e.fields[k])
		}
	}
	return o.Done()
}

// builder makes the trace.
type builder struct {
	t        *trace.Trace
	tracks   map[string]trace.TrackID
	slots    map[string]event // that have begun, by request
	spans    []trace.Span
	from, to int64
}

// track returns the track of a name, a new one the first time.
func (b *builder) track(name string) trace.TrackID {
	id, ok := b.tracks[name]
	if !ok {
		n := int64(len(b.t.Tracks))
		id = b.t.AddTrack(trace.Track{Kind: trace.TrackOther, TID: n, Device: -1, Stream: -1, Process: "vLLM-Omni",
			Name: name, SortIndex: n})
		b.tracks[name] = id
	}
	return id
}

func (b *builder) add(e *event) {
	switch e.name {
	case "stage_completed":
		b.span(e, "stage_gen_time_ms", nameStage, cmp.Or(e.stage(), "stages"))
	case "request_completed":
		b.span(e, "e2e_total_ms", namePipeline, "all stages")
	case "tts_slot_started":
		b.slots[e.text("request_id")] = *e
	case "tts_slot_completed":
		id := e.text("request_id")
		began, ok := b.slots[id]
		if !ok {
			b.instant(e)
			b.t.Repairs.Add(trace.RepairUnmatchedEnd, 1)
			return
		}
		delete(b.slots, id)
		b.slot(began.at, e.at, e)
	case "batch_composition_changed", "stage1_batch_started":
		b.count(e, e.stage()+" batch size", "batch_size")
		b.count(e, e.stage()+" scheduled tokens", "scheduled_tokens")
	case "gpu_sample":
		n, _ := e.number("gpu_index")
		device := fmt.Sprintf("device %d ", int(n))
		b.count(e, device+"use %", "gpu_utilization_pct")
		b.count(e, device+"memory bytes", "memory_used_bytes")
	case "prometheus_sample":
		b.count(e, metricName(e), "value")
	default:
		b.instant(e)
	}
}

// span adds what ended with the event and took as many milliseconds as a field says.
func (b *builder) span(e *event, field, name, where string) {
	ms, ok := e.number(field)
	if !ok || ms < 0 || ms > maxSpanMs {
		b.instant(e)
		return
	}
	start := e.at - int64(ms*1e6)
	b.from = min(b.from, start)
	b.spans = append(b.spans, trace.Span{Kind: where, Start: start, End: e.at, Name: name, Args: e.args()})
}

// slot adds the time in which a request held a slot; e is the last that is known of it.
func (b *builder) slot(start, end int64, e *event) {
	b.spans = append(b.spans, trace.Span{Kind: kindSlots, Start: start, End: end, Name: nameSlot, Args: e.args()})
}

func (b *builder) instant(e *event) {
	b.t.AddInstant(e.at, e.name, trace.CatUserAnnotation, b.track("events"), e.args())
}

func (b *builder) count(e *event, name, field string) {
	if v, ok := e.number(field); ok {
		name = strings.TrimSpace(name)
		b.t.AddCounter(e.at, name, name, b.track(trace.TrackServer), v)
	}
}

// metricName is a metric's name with its labels, as it stands in /metrics.
func metricName(e *event) string {
	var labels map[string]string
	_ = json.Unmarshal(e.fields["labels"], &labels) // a sample without labels has none
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, fmt.Sprintf("%s=%q", k, labels[k]))
	}
	name := e.text("metric")
	if len(parts) > 0 {
		name += "{" + strings.Join(parts, ",") + "}"
	}
	return name
}

// close ends the slots that are open with the file, and lays all intervals on lanes.
func (b *builder) close() {
	for _, id := range slices.Sorted(maps.Keys(b.slots)) {
		e := b.slots[id]
		b.t.Repairs.Add(trace.RepairUnmatchedBegin, 1)
		b.slot(e.at, b.to, &e)
	}
	b.t.AddSpans(b.spans, func(where string, lane int) trace.TrackID {
		name := where
		if lane > 0 {
			name = fmt.Sprintf("%s, lane %d", where, lane+1)
		}
		return b.track(name)
	})
}
