// Package sglangomni reads the request events of SGLang-Omni: what its request profiler
// (POST /start_request_profile) appends to events_<stage>_<pid>.jsonl, an event a line:
//
//	{"request_id", "stage", "event_name", "timestamp_ns", "run_id", "pid", "metadata": {…}}
//
// Times are ns since the Unix epoch. A file is a process's; stages that share a process share
// its file, and each becomes a trace. Events that belong together become slices, with the
// names by which the analyses know a stage's work (package trace):
//
//	stage_input_received … stage_complete            "request", on a lane of its own
//	scheduler_queue_enter … scheduler_prefill_start  "wait", reason queue
//	scheduler_prefill_start … scheduler_first_emit   "prefill"; else … stage_first_stream_chunk_sent
//	code2wav_decode_start … code2wav_decode_end      "vocode"
//	X_start … X_end                                  X: "encoder", "preprocess", "scheduler_request_build"
//	stage_hop_sent, stage_stream_chunk_sent          "handoff.send" of no length, an arrow begins
//	stage_input_received, stage_stream_chunk_received "handoff.recv" of no length, an arrow ends
//
// All other events are instants. What began and did not end in the file ends with it and says
// so. The definition is sglang_omni/profiler/event_recorder.py and views.py of
// https://github.com/sgl-project/sglang-omni.
package sglangomni

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Format is Meta.Format of such traces.
const Format = "sglang-omni"

// FormatError reports that a file holds no events of SGLang-Omni.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "no request events of SGLang-Omni: " + e.Reason }

// Limits of what is read.
const (
	maxLine   = 1 << 20 // bytes of a line; an event's metadata are some fields
	maxEvents = 1 << 24 // of a file: what a day of requests makes
	maxTimeNs = int64(4e18)
)

// RepairLine counts lines that are not events.
const RepairLine = "line dropped: no event"

// ArgFinished is false for what had not ended when the file did.
const ArgFinished = "finished"

// Event is a line of a file.
type Event struct {
	Request  string                     `json:"request_id"`
	Stage    string                     `json:"stage"`
	Name     string                     `json:"event_name"`
	TimeNs   int64                      `json:"timestamp_ns"`
	Run      string                     `json:"run_id"`
	PID      int                        `json:"pid"`
	Metadata map[string]json.RawMessage `json:"metadata"`
}

// Sniff reports whether head begins with an event.
func Sniff(head []byte) bool {
	line, _, _ := bytes.Cut(bytes.TrimLeft(head, " \t\r\n"), []byte("\n"))
	return bytes.HasPrefix(line, []byte("{")) && bytes.Contains(line, []byte(`"request_id"`)) &&
		bytes.Contains(line, []byte(`"event_name"`)) && bytes.Contains(line, []byte(`"timestamp_ns"`))
}

// Read reads the stages of a file, sorted by name. Lines that are not events are counted in the
// Repairs of the first.
func Read(ctx context.Context, r io.Reader) ([]*trace.Trace, error) {
	byStage := map[string][]Event{}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	n, bad := 0, 0
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		if n%4096 == 0 && ctx.Err() != nil {
			return nil, fmt.Errorf("read events: %w", ctx.Err())
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil || e.Name == "" || e.TimeNs <= 0 || e.TimeNs > maxTimeNs {
			bad++
			continue
		}
		if n++; n > maxEvents {
			return nil, &FormatError{Reason: fmt.Sprintf("more than %d events", maxEvents)}
		}
		e.Stage = cmp.Or(e.Stage, "unknown")
		byStage[e.Stage] = append(byStage[e.Stage], e)
	}
	cut := lines.Err()
	switch {
	case n == 0 && cut != nil:
		return nil, &FormatError{Reason: cut.Error()}
	case n == 0:
		return nil, &FormatError{Reason: "no line is an event"}
	}
	var out []*trace.Trace
	for _, stage := range slices.Sorted(maps.Keys(byStage)) {
		out = append(out, build(stage, byStage[stage]))
	}
	out[0].Repairs.Add(RepairLine, bad)
	if cut != nil {
		out[0].Repairs.Add(trace.RepairTruncatedFile, 1)
	}
	return out, nil
}

// pair is an interval between two events of a request in a stage.
type pair struct{ begin, end, name string }

// pairs are the intervals whose events are not named X_start and X_end. Of two that begin
// with one event the first that ends counts.
var pairs = []pair{
	{"stage_input_received", "stage_complete", trace.NameRequest},
	{"scheduler_queue_enter", "scheduler_prefill_start", trace.NameWait},
	{"scheduler_prefill_start", "scheduler_first_emit", trace.NamePrefill},
	{"scheduler_prefill_start", "stage_first_stream_chunk_sent", trace.NamePrefill},
	{"code2wav_decode_start", "code2wav_decode_end", trace.NameVocode},
}

// The events of hand-offs between stages: whose metadata name the other stage.
const (
	hopSent, hopReceived     = "stage_hop_sent", "stage_input_received"
	chunkSent, chunkReceived = "stage_stream_chunk_sent", "stage_stream_chunk_received"
)

// builder makes one stage's trace.
type builder struct {
	t        *trace.Trace
	stage    string
	pid      int
	open     map[openKey][]Event
	spans    []trace.Span
	hops     map[string]int  // how often the same hand-off was seen
	streamed map[string]bool // request, sender and receiver between which chunks went
	last     int64
	main     trace.TrackID
}

type openKey struct{ request, name, begin string }

func build(stage string, events []Event) *trace.Trace {
	slices.SortStableFunc(events, func(a, b Event) int { return cmp.Compare(a.TimeNs, b.TimeNs) })
	b := &builder{t: trace.New(), stage: stage, pid: events[0].PID, open: map[openKey][]Event{},
		hops: map[string]int{}, streamed: map[string]bool{},
		last: events[len(events)-1].TimeNs}
	m := &b.t.Meta
	m.Format, m.Stage, m.WallClock, m.PID = Format, stage, true, b.pid
	m.Learnt = map[trace.Field]trace.From{trace.FieldStage: trace.FromContent}
	b.main = b.track("events")
	for i := range events {
		b.event(&events[i])
	}
	b.close()
	m.WindowStart, m.WindowEnd = events[0].TimeNs, b.last
	b.t.Trim()
	return b.t
}

func (b *builder) track(name string) trace.TrackID {
	n := int64(len(b.t.Tracks))
	kind := trace.TrackOther
	if n == 0 {
		kind = trace.TrackCPU
	}
	return b.t.AddTrack(trace.Track{Kind: kind, PID: int64(b.pid), TID: n, Device: -1, Stream: -1,
		Process: b.stage, Name: name, SortIndex: n})
}

func (b *builder) event(e *Event) {
	switch e.Name {
	case hopSent:
		b.hop(e, trace.NameHandoffSend, b.stage, e.text("to_stage"), "payload")
	case chunkSent:
		b.hop(e, trace.NameHandoffSend, b.stage, e.text("to_stage"), "chunk")
	case hopReceived:
		if from := e.text("from_stage"); from != "" && from != "coordinator" {
			b.hop(e, trace.NameHandoffRecv, from, b.stage, "payload")
		}
	case chunkReceived:
		b.hop(e, trace.NameHandoffRecv, e.text("from_stage"), b.stage, "chunk")
	}
	paired := false
	for _, p := range b.pairsOf(e.Name) {
		paired = true
		if p.end == e.Name {
			b.end(p, e)
		}
		if p.begin == e.Name {
			k := openKey{e.Request, p.name, p.begin}
			if len(b.open[k]) == 0 || b.open[k][len(b.open[k])-1].TimeNs != e.TimeNs { // two pairs may begin alike
				b.open[k] = append(b.open[k], *e)
			}
		}
	}
	if !paired || e.Name == hopReceived {
		b.t.AddInstant(e.TimeNs, e.Name, trace.CatUserAnnotation, b.main, e.args(nil))
	}
}

// pairsOf returns the intervals that an event begins or ends.
func (b *builder) pairsOf(name string) (out []pair) {
	for _, p := range pairs {
		if p.begin == name || p.end == name {
			out = append(out, p)
		}
	}
	if len(out) > 0 {
		return out
	}
	if what, ok := strings.CutSuffix(name, "_start"); ok && what != "" {
		return []pair{{name, what + "_end", what}}
	}
	if what, ok := strings.CutSuffix(name, "_end"); ok && what != "" {
		return []pair{{what + "_start", name, what}}
	}
	return nil
}

// end closes the oldest interval that waits for the event; an end without a begin is an
// instant.
func (b *builder) end(p pair, e *Event) {
	k := openKey{e.Request, p.name, p.begin}
	if len(b.open[k]) == 0 {
		if p.name != trace.NamePrefill { // a prefill ends with one of two events; the second one may come alone
			b.t.AddInstant(e.TimeNs, e.Name, trace.CatUserAnnotation, b.main, e.args(nil))
			b.t.Repairs.Add(trace.RepairUnmatchedEnd, 1)
		}
		return
	}
	begin := b.open[k][0]
	if b.open[k] = b.open[k][1:]; len(b.open[k]) == 0 {
		delete(b.open, k)
	}
	both := begin
	both.Metadata = maps.Clone(begin.Metadata)
	if both.Metadata == nil {
		both.Metadata = map[string]json.RawMessage{}
	}
	maps.Copy(both.Metadata, e.Metadata)
	args := both.args(func(o *trace.ArgsObject) {
		if p.name == trace.NameWait {
			o.Text(trace.ArgReason, "queue")
		}
	})
	b.span(p.name, begin.TimeNs, e.TimeNs, args)
}

// span adds an interval of a kind of work, which has lanes of its own.
func (b *builder) span(what string, start, end int64, args []byte) {
	b.spans = append(b.spans, trace.Span{Kind: what, Start: start, End: end, Name: what, Args: args})
}

// hop adds one end of a hand-off: a slice of no length and an end of an arrow. Both stages compute
// the arrow's number from what both know.
func (b *builder) hop(e *Event, name, from, to, kind string) {
	key := strings.Join([]string{e.Request, from, to, kind, string(e.Metadata["chunk_id"])}, "\x00")
	b.hops[key]++
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%d", key, b.hops[key])
	b.t.AddSlice(trace.Slice{Start: e.TimeNs, Name: name, Cat: trace.CatUserAnnotation, Track: b.main,
		Corr: trace.NoCorrelation, Args: e.args(func(o *trace.ArgsObject) {
			o.Text("from", from)
			o.Text("to", to)
		})})
	arrow := "handoff"
	if link := strings.Join([]string{e.Request, from, to}, "\x00"); kind == "chunk" {
		b.streamed[link] = true
	} else if b.streamed[link] {
		// The next stage has its input with the first chunk, and the payload is handed on after the last one:
		// the two belong together, but neither is when the other was sent or arrived.
		arrow = trace.HandoffOfStream
	}
	b.t.AddFlow(e.TimeNs, h.Sum64(), "handoff", arrow, b.main, name == trace.NameHandoffSend)
}

// close ends what is open with the file, and lays the intervals on lanes.
func (b *builder) close() {
	for k, list := range b.open {
		for i := range list {
			b.t.Repairs.Add(trace.RepairUnmatchedBegin, 1)
			args := list[i].args(func(o *trace.ArgsObject) { o.Raw(ArgFinished, []byte("false")) })
			b.span(k.name, list[i].TimeNs, b.last, args)
		}
	}
	b.t.AddSpans(b.spans, func(what string, lane int) trace.TrackID {
		name := what
		if lane > 0 {
			name = fmt.Sprintf("%s %d", what, lane+1)
		}
		return b.step(what, name)
	})
}

// step returns a lane. A lane of work is a thread's, so that it counts as the stage's time; a lane
// of requests is not.
func (b *builder) step(what, name string) trace.TrackID {
	id := b.track(name)
	if what != trace.NameRequest {
		b.t.Tracks[id].Kind = trace.TrackCPU
	}
	return id
}

// text is a text of the metadata, "" if there is none.
func (e *Event) text(key string) string {
	var s string
	if json.Unmarshal(e.Metadata[key], &s) != nil {
		return ""
	}
	return s
}

// args are the event's request and metadata as arguments, with what more adds.
func (e *Event) args(more func(*trace.ArgsObject)) []byte {
	var o trace.ArgsObject
	if e.Request != "" {
		o.Text(trace.ArgRequest, e.Request)
	}
	for _, k := range slices.Sorted(maps.Keys(e.Metadata)) {
		if !reserved[k] {
			o.Raw(k, e.Metadata[k])
		}
	}
	if more != nil {
		more(&o)
	}
	return o.Done()
}

// reserved are the arguments that this package writes itself.
var reserved = map[string]bool{trace.ArgRequest: true, trace.ArgReason: true, ArgFinished: true, "from": true,
	"to": true}
