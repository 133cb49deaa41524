package vllmomni

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
)

// FormatMonitor is Meta.Format of what an orchestrator's monitor wrote (--enable-orch-monitor): counters of
// windows of a second, in one object that the server writes when it ends:
//
//	{"configured_window_s", "windows": {"duration_s", "loop_idle", "loop_active", …}, "replicas": {NAME: {…}}}
//
// It says when no window was: times count from the first. The definition is
// vllm_omni/engine/orchestrator_monitor.py of https://github.com/vllm-project/vllm-omni.
const FormatMonitor = "vllm-omni-monitor"

const (
	// maxMonitor bounds such a file in bytes: a month of windows of some replicas.
	maxMonitor = 256 << 20
	// maxWindowS bounds a window: one lasts until the loop comes by.
	maxWindowS = 24 * 3600
)

// SniffMonitor reports whether head is the beginning of a monitor's file.
func SniffMonitor(head []byte) bool {
	head = bytes.TrimLeft(head, " \t\r\n")
	return bytes.HasPrefix(head, []byte("{")) &&
		bytes.Contains(head[:min(len(head), 256)], []byte(`"configured_window_s"`))
}

// ReadMonitor reads a monitor's file.
func ReadMonitor(ctx context.Context, r io.Reader) (*trace.Trace, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxMonitor+1))
	if err != nil {
		return nil, fmt.Errorf("read a monitor: %w", err)
	}
	if len(text) > maxMonitor {
		return nil, &FormatError{Reason: fmt.Sprintf("a monitor of more than %d bytes", maxMonitor)}
	}
	var doc struct {
		Windows  map[string][]float64
		Replicas map[string]map[string][]float64
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, &FormatError{Reason: err.Error()}
	}
	durations := doc.Windows["duration_s"]
	if len(durations) == 0 {
		return nil, &FormatError{Reason: "the monitor has no window"}
	}
	starts := make([]int64, len(durations)+1)
	for i, d := range durations {
		if math.IsNaN(d) || d < 0 || d > maxWindowS {
			return nil, &FormatError{Reason: fmt.Sprintf("window %d lasts %v s", i, d)}
		}
		starts[i+1] = starts[i] + int64(d*1e9)
	}
	t := trace.New()
	t.Meta.Format, t.Meta.Role, t.Meta.WindowEnd = FormatMonitor, Role, starts[len(starts)-1]
	track := t.AddTrack(trace.Track{Kind: trace.TrackOther, Device: -1, Stream: -1, Process: "vLLM-Omni",
		Name: trace.TrackServer})
	add := func(name string, values []float64) {
		for i, v := range values[:min(len(values), len(durations))] {
			t.AddCounter(starts[i], name, name, track, v)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(doc.Windows)) {
		if key != "duration_s" {
			add("orchestrator "+key, doc.Windows[key])
		}
	}
	for _, replica := range slices.Sorted(maps.Keys(doc.Replicas)) {
		for _, key := range slices.Sorted(maps.Keys(doc.Replicas[replica])) {
			add(replica+" "+key, doc.Replicas[replica][key])
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read a monitor: %w", ctx.Err())
		}
	}
	t.Trim()
	return t, nil
}
