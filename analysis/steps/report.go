package steps

import (
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/cause"
	"github.com/kinetoscope/kinetoscope/analysis/drift"
	"github.com/kinetoscope/kinetoscope/analysis/internal/enum"
	"github.com/kinetoscope/kinetoscope/analysis/label"
)

// SchemaVersion is the version of Report as JSON.
const SchemaVersion = 1

// Kind is what a step computes.
type Kind = label.Kind

// The kinds of step.
const (
	Unknown    = label.Unknown
	Prefill    = label.Prefill
	Decode     = label.Decode
	Mixed      = label.Mixed
	Denoise    = label.Denoise
	TextEncode = label.TextEncode
	VAEDecode  = label.VAEDecode
	Vocode     = label.Vocode
	Generation = label.Generation
	Training   = label.Training
	numKinds   = label.NumKinds
)

// Method is how steps were found: by one of package label's, or as below.
type Method = label.Method

// The methods.
const (
	ByNative       = label.Native
	ByVLLM         = label.VLLM
	BySGLang       = label.SGLang
	ByTRTLLM       = label.TRTLLM
	ByOmni         = label.Omni
	ByOmniForward  = label.OmniForward
	ByDiffusers    = label.Diffusers
	ByProfilerStep = label.ProfilerStep
	ByStepTrace    = label.StepTrace

	ByKernels    Method = "kernels"    // period of the launched kernels
	ByOperators  Method = "operators"  // period of the host's operators
	ByAnnotation Method = "annotation" // the user's annotation that covers most
	ByNothing    Method = "none"
)

// Bound says what sets a step's pace.
type Bound uint8

// The bounds.
const (
	BoundNone   Bound = iota // no device work, or not known
	BoundDevice              // the device was busy
	BoundHost                // the device waited for launches
	BoundOther               // the device waited, but not for launches: dependencies, copies, starting kernels
	numBounds
)

var boundNames = enum.Of[Bound]("bound", "none", "device", "host", "other")

// String returns the bound's name.
func (b Bound) String() string { return boundNames.Text(b) }

// MarshalText writes the bound's name.
func (b Bound) MarshalText() ([]byte, error) { return boundNames.Marshal(b) }

// UnmarshalText reads the bound's name.
func (b *Bound) UnmarshalText(text []byte) error { return boundNames.Unmarshal(b, text) }

// Report describes the steps of a rank. Times are ns on the trace's clock.
type Report struct {
	SchemaVersion int       `json:"schema_version"`
	Rank          int       `json:"rank"` // -1 if unknown
	Method        Method    `json:"method"`
	How           string    `json:"how"`     // one sentence: what the steps were found by
	Typed         string    `json:"typed"`   // what the kinds rest on: "label", "kernel names" or ""
	Skipped       int       `json:"skipped"` // labels that are not steps: idle ones, captures of graphs
	Steps         []Step    `json:"steps"`   // by start
	Kinds         []Stats   `json:"kinds"`   // most time first
	Verdict       Verdict   `json:"verdict"`
	Drifts        []Drift   `json:"drifts"`      // of denoise loops, by start
	Graphs        []Graph   `json:"graphs"`      // replayed graphs, most device time first
	GraphShare    float64   `json:"graph_share"` // of device slices: those that replays launched
	Requests      []Request `json:"requests"`    // by first step; empty if steps name no requests
	// OutsideNs is device work that was launched between steps. UnlinkedNs is work without a launch
	// in the trace; it is counted for the step during which it began.
	OutsideNs  int64              `json:"outside_ns"`
	UnlinkedNs int64              `json:"unlinked_ns"`
	Findings   []analysis.Finding `json:"findings"` // worst first
}

// Step is one iteration.
type Step struct {
	Kind    Kind   `json:"kind"`
	Name    string `json:"name"`  // of its label; "" if found by repetition
	Slice   int    `json:"slice"` // its label, or the launch it begins with; -1 if unknown
	StartNs int64  `json:"start_ns"`
	EndNs   int64  `json:"end_ns"` // of its label on the host; of a step found by repetition, the begin of the next
	// Batch counts the sequences in the label, Prefills those in prefill; Tokens is how many tokens
	// the step computes.
	Batch    int `json:"batch"`
	Prefills int `json:"prefills"`
	Tokens   int `json:"tokens"`

	DeviceStartNs int64 `json:"device_start_ns"` // first device work that the step launched; 0 if none
	DeviceEndNs   int64 `json:"device_end_ns"`
	// The step's turn, which begins at AtNs and lasts SpanNs; see the package's documentation.
	// Without device work AtNs is StartNs and SpanNs 0.
	AtNs   int64 `json:"at_ns"`
	SpanNs int64 `json:"span_ns"`
	// Parts of SpanNs. For several devices these are means over all that work in the trace.
	BusyNs      int64 `json:"busy_ns"`       // some stream of the device was busy
	HostIdleNs  int64 `json:"host_idle_ns"`  // idle because nothing was launched
	BlindIdleNs int64 `json:"blind_idle_ns"` // idle before work whose launch is not in the trace
	Slices      int   `json:"device_slices"`
	Launches    int   `json:"launches"` // calls that started device work
	// MissingLaunches counts calls in the step whose device work is missing from the trace. Such a
	// step is left out of all shares and verdicts.
	MissingLaunches int   `json:"missing_launches"`
	GraphLaunches   int   `json:"graph_launches"`
	GraphSlices     int   `json:"graph_slices"` // device slices that graphs started
	Bound           Bound `json:"bound"`

	doubted  bool    `pack:"-"` // one slice of it takes most of all time, see doubtDominant
	worstGap int32   `pack:"-"` // device slice that ended the longest gap for the host; -1 if none
	gapNs    int64   `pack:"-"`
	untilNs  int64   `pack:"-"` // end of its turn on the host
	requests []int32 `pack:"-"`
}

// whole reports whether shares and verdicts may rest on the step: the work of all its launches is in
// the trace, and it is not one slice that takes most of all time.
func (s *Step) whole() bool { return s.MissingLaunches == 0 && !s.doubted }

// Ns is how long the step took: its turn if the trace has device work, else its time on the host.
func (s *Step) Ns() int64 {
	if s.SpanNs > 0 {
		return s.SpanNs
	}
	return s.EndNs - s.StartNs
}

// Stats sums the steps of one kind.
type Stats struct {
	Kind    Kind    `json:"kind"`
	Count   int     `json:"count"`
	TotalNs int64   `json:"total_ns"` // of Step.Ns
	MeanNs  float64 `json:"mean_ns"`
	P50Ns   float64 `json:"p50_ns"`
	P99Ns   float64 `json:"p99_ns"`
	MaxNs   int64   `json:"max_ns"`
	Worst   int     `json:"worst"` // index into Report.Steps
	// Whole counts the steps of whose launches no device work is missing, and of which no slice takes
	// most of all time: the shares and means of device work below are of these.
	Whole         int     `json:"whole_steps"`
	HostMeanNs    float64 `json:"host_mean_ns"`
	BusyShare     float64 `json:"busy_share"`      // of the spans
	HostIdleShare float64 `json:"host_idle_share"` // of the spans
	Slices        float64 `json:"device_slices_mean"`
	Launches      float64 `json:"launches_mean"`
	GraphShare    float64 `json:"graph_share"` // of its device slices
	Batch         float64 `json:"batch_mean"`
	Tokens        int64   `json:"tokens"`
	TokensPerS    float64 `json:"tokens_per_s"` // while such steps run
	HostBound     int     `json:"host_bound"`   // steps
	DeviceBound   int     `json:"device_bound"`
}

// Verdict says what sets the pace over all steps, with the evidence.
type Verdict struct {
	Bound     Bound   `json:"bound"`
	Text      string  `json:"text"`
	SpanNs    int64   `json:"span_ns"`          // of the turns of the steps whose device work is whole
	Unknown   int     `json:"unknown_steps"`    // steps that launched work which the trace does not have
	Doubted   int     `json:"doubted_steps"`    // steps left out for one slice that takes most of all time
	Outside   int     `json:"outside_launches"` // of no step, whose work the trace does not have; 0 if they are few
	BusyShare float64 `json:"busy_share"`       // of SpanNs, as are the next; of several devices the mean
	// SurelyBusyShare is BusyShare if each slice of a stream whose slices lie over each other ended
	// where the next begins. It is less than BusyShare only where a stream is doubted for that.
	SurelyBusyShare float64 `json:"surely_busy_share"`
	HostIdleShare   float64 `json:"host_idle_share"`
	OtherShare      float64 `json:"other_idle_share"` // idle for other reasons, or none that the trace shows
	BlindShare      float64 `json:"blind_idle_share"` // of OtherShare: before work whose launch is not in the trace
	// LaunchDelayNs is the median time from a launch call's end to the begin of its first device
	// work. It is long if the device is behind.
	LaunchDelayNs float64 `json:"launch_delay_p50_ns"`
	LaunchesPerMs float64 `json:"launches_per_ms"`
	LongestGapNs  int64   `json:"longest_host_gap_ns"`
	Slice         int     `json:"slice"` // the device slice that ended it; -1 if none
	// Cause is what the host did most, over the whole trace, while the devices waited for it; nil
	// if nothing stands out.
	Cause *cause.Row `json:"cause"`
	// PauseNs is the time, from the first step or device work to the end of the last, that is in no
	// turn.
	PauseNs    int64   `json:"pause_ns"`
	PauseShare float64 `json:"pause_share"` // of that time
	// Devices are the devices that work in the trace, by id. TogetherShare is the part of their
	// busy time in which at least two of them were busy; 0 with one device.
	Devices       []DeviceShare `json:"devices"`
	TogetherShare float64       `json:"together_share"`
}

// DeviceShare is one device's part of the time in steps.
type DeviceShare struct {
	Device        int64   `json:"device"`
	BusyNs        int64   `json:"busy_ns"`
	BusyShare     float64 `json:"busy_share"` // of Verdict.SpanNs
	HostIdleShare float64 `json:"host_idle_share"`
}

// Drift describes how the steps of one denoise loop change.
type Drift struct {
	First, Last int   `json:"-"` // indices into Report.Steps
	StartNs     int64 `json:"start_ns"`
	drift.Drift
}

// Graph is one CUDA or HIP graph, identified by the kernels that it launches.
type Graph struct {
	Name     string  `json:"name"` // "graph of 544 kernels (cudaGraphLaunch)"
	Call     string  `json:"call"`
	Slices   int     `json:"device_slices"` // a replay
	Replays  int     `json:"replays"`
	DeviceNs int64   `json:"device_ns"` // summed durations of its slices
	MeanNs   float64 `json:"mean_ns"`   // from first to last slice of a replay
	LaunchNs float64 `json:"launch_mean_ns"`
	Kind     Kind    `json:"kind"`  // of the steps that replay it, Unknown if several
	Top      string  `json:"top"`   // the name with the most device time in it
	Slice    int     `json:"slice"` // the first launch call
	// Part says that the trace lacks a part of the kernels in these replays of another graph.
	Part bool `json:"part,omitempty"`
}

// Request is a request's part in the steps.
type Request struct {
	ID          string      `json:"id"`
	FirstNs     int64       `json:"first_ns"` // begin of its first step
	LastNs      int64       `json:"last_ns"`  // end of its last step
	Kinds       []KindShare `json:"kinds"`
	GapNs       int64       `json:"gap_ns"` // from its first step to its last, time in steps of others and in none
	FirstStepNs int64       `json:"first_step_ns"`
}

// KindShare is a request's part in the steps of a kind.
type KindShare struct {
	Kind    Kind    `json:"kind"`
	Steps   int     `json:"steps"`
	Ns      int64   `json:"ns"`       // whole steps
	ShareNs float64 `json:"share_ns"` // each step divided by its batch
}

// Own returns the findings about the steps: those but the doubts about the trace, which all
// analyses of it have.
func (r *Report) Own() []analysis.Finding {
	var out []analysis.Finding
	for _, f := range r.Findings {
		if !f.Doubt {
			out = append(out, f)
		}
	}
	return out
}

// Windows returns the steps' times on the host, for analyses of parts of a trace.
func (r *Report) Windows() []analysis.Window {
	out := make([]analysis.Window, len(r.Steps))
	for i, s := range r.Steps {
		out[i] = analysis.Window{StartNs: s.StartNs, EndNs: s.EndNs}
	}
	return out
}
