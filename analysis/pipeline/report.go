package pipeline

import (
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/made"
)

// SchemaVersion is the version of report.json. It grows when a field changes its
// meaning or goes away; new fields do not change it.
const SchemaVersion = 1

// Report describes what a captured pipeline did.
type Report struct {
	SchemaVersion      int       `json:"schema_version"`       // of this format
	StartNs            int64     `json:"start_ns"`             // earliest window start of the ranks
	EndNs              int64     `json:"end_ns"`               // latest window end
	WindowNs           int64     `json:"window_ns"`            // EndNs - StartNs
	Aligned            bool      `json:"aligned"`              // the ranks' clocks are comparable
	ClockUncertaintyNs int64     `json:"clock_uncertainty_ns"` // of comparisons between ranks, ±
	StripCells         int       `json:"strip_cells"`          // letters in each Rank.Strip
	Stages             []Stage   `json:"stages"`               // by stage id
	Requests           []Request `json:"requests"`             // by arrival, 1000 at most
	RequestCount       int       `json:"request_count"`        // how many there were
	Latency            Latency   `json:"latency"`
	// of the request whose output came first; null if no request was followed to an output
	FirstOutput  *Chain      `json:"first_output"`
	MedianOutput *Chain      `json:"median_output"` // of the request whose time to first output is the median
	Batches      []Batch     `json:"batches"`       // of diffusion, by start
	Bottleneck   *Bottleneck `json:"bottleneck"`    // null if no stage worked
	Findings     []Finding   `json:"findings"`      // what is in doubt, then worst first
	// Outcomes are the ranks of the session that did not complete or whose artifacts are
	// incomplete: the report has a part of their work or none.
	Outcomes []Outcome `json:"outcomes"`
	// Made says on which cards and with which programs the traces were recorded; nil in reports of
	// older versions.
	Made *made.Made `json:"made,omitempty"`
}

// Outcome says how a rank's part of the session ended, for ranks that did not complete.
type Outcome struct {
	StageID int    `json:"stage_id"` // of the deployment
	Stage   string `json:"stage"`    // the stage's name
	Replica int    `json:"replica"`  // of the stage
	Rank    int    `json:"rank"`     // in the replica
	State   string `json:"state"`    // "lost", "failed", "timed_out" …; "complete" if only something is missing
	Reason  string `json:"reason"`   // for people
	Trace   int    `json:"trace"`    // index of what it left among the traces given to Analyze; -1 if it left none
}

// Stage is one stage: its ranks one by one and together.
type Stage struct {
	StageID    int            `json:"stage_id"`     // -1: the trace does not say
	Name       string         `json:"name"`         // the stage's name
	Ranks      []Rank         `json:"ranks"`        // by replica, then rank
	WindowNs   int64          `json:"window_ns"`    // sum over ranks
	Time       []CategoryTime `json:"time"`         // sum over ranks
	BusyShare  float64        `json:"busy_share"`   // of WindowNs: everything but wait and other
	PeerWaitNs int64          `json:"peer_wait_ns"` // sum over ranks, see Rank.PeerWaitNs
	// over the first rank of every replica: ranks of a replica step together
	Steps        []StepStats `json:"steps"`
	Ops          []Op        `json:"ops"`           // sum over ranks, most self time first
	FLOPs        int64       `json:"flops"`         // sum over ranks
	CommBytes    int64       `json:"comm_bytes"`    // sum over ranks
	HandoffBytes int64       `json:"handoff_bytes"` // sent to other stages
	GFLOPPerS    float64     `json:"gflop_per_s"`   // FLOPs by the time in steps, one rank's mean
}

// Rank is one rank's share.
type Rank struct {
	Trace       int            `json:"trace"`          // index into the traces given to Analyze
	Replica     int            `json:"replica"`        // of the stage
	Rank        int            `json:"rank"`           // in the replica
	Host        string         `json:"host,omitempty"` // where it ran, if its trace says so
	File        string         `json:"file,omitempty"` // its trace or recording
	Slices      int            `json:"slices"`         // in its trace
	StartNs     int64          `json:"start_ns"`       // of its window
	EndNs       int64          `json:"end_ns"`         // of its window
	WindowNs    int64          `json:"window_ns"`      // EndNs - StartNs
	Time        []CategoryTime `json:"time"`           // all categories that occur, in their order; sums to WindowNs
	BusyShare   float64        `json:"busy_share"`     // of WindowNs: everything but wait and other
	WaitReasons []WaitReason   `json:"wait_reasons"`   // splits category wait
	Steps       []StepStats    `json:"steps"`          // one entry a kind
	Ops         []Op           `json:"ops"`            // most self time first
	Comms       []Comm         `json:"comms"`          // most time first
	FLOPs       int64          `json:"flops"`          // none counted twice
	// of the messages of its collectives, see coll.Collective.Bytes
	CommBytes int64 `json:"comm_bytes"`
	// inside collectives, for the last rank; see coll.Matching.Blames
	PeerWaitNs int64 `json:"peer_wait_ns"`
	// of the matched collectives: those that this rank entered last
	LastInShare     float64 `json:"last_in_share"`
	Matched         int     `json:"matched_collectives"` // found on other ranks too
	HandoffBytes    int64   `json:"handoff_bytes"`       // sent
	HasDevice       bool    `json:"has_device"`          // its trace has device work; Time is the host's all the same
	DeviceBusyNs    int64   `json:"device_busy_ns"`      // some stream of some device was busy
	DeviceBusyShare float64 `json:"device_busy_share"`   // DeviceBusyNs of WindowNs
	// what happened over the report's window: one letter a cell, see Category.Letter
	Strip string `json:"strip"`
	// Metrics are what the rank's server told of itself meanwhile; none of ranks without a server,
	// and of those for which another rank of the server speaks.
	Metrics []Metric `json:"metrics,omitempty"`
}

// Metric is a quantity that a server told several times: a gauge as it was, a rate or a latency of
// the time since the last sample.
type Metric struct {
	Name    string  `json:"name"`    // with its unit: "TTFT p99 ms"
	Samples int     `json:"samples"` // how many there are in the window
	Min     float64 `json:"min"`     // the least of them
	Mean    float64 `json:"mean"`    // of the samples, each as much as any other
	Max     float64 `json:"max"`     // the most of them
	Last    float64 `json:"last"`    // the one at the end
}

// CategoryTime is a category's part of a window.
type CategoryTime struct {
	Category    Category `json:"category"`     // its name
	ExclusiveNs int64    `json:"exclusive_ns"` // what it has of the window for itself
	Share       float64  `json:"share"`        // ExclusiveNs of the window
	TotalNs     int64    `json:"total_ns"`     // covered by slices of the category on any track, hidden ones too
}

// WaitReason splits the category wait.
type WaitReason struct {
	Reason      string `json:"reason"`       // "queue", "input", "peer" or "unknown"
	ExclusiveNs int64  `json:"exclusive_ns"` // of the category's
}

// StepStats sums the steps of one kind. Percentiles interpolate linearly between the two nearest
// ranks.
type StepStats struct {
	Category Category `json:"category"`   // the kind
	Count    int      `json:"count"`      // steps
	TotalNs  int64    `json:"total_ns"`   // whole steps, communication inside them too
	MeanNs   float64  `json:"mean_ns"`    // TotalNs by Count
	P50Ns    float64  `json:"p50_ns"`     // the median
	P90Ns    float64  `json:"p90_ns"`     // nine in ten take this or less
	P99Ns    float64  `json:"p99_ns"`     // 99 in a hundred take this or less
	MinNs    int64    `json:"min_ns"`     // the shortest
	MaxNs    int64    `json:"max_ns"`     // the longest
	MaxSlice int      `json:"max_slice"`  // index of the longest in its trace
	Tokens   int64    `json:"tokens"`     // sum of the steps' token counts; 0 if not recorded
	Batch    float64  `json:"batch_mean"` // mean batch; 0 if not recorded
	// Sample are the durations of the steps in order of time, at most MaxSample of them, evenly
	// spread. Another capture's steps are tested against them. Set for stages, not for ranks.
	Sample []int64 `json:"sample,omitempty"`
}

// MaxSample is how many durations a report keeps of a stage's steps of one kind: enough for a rank
// test to detect a tenth of a standard deviation, and two kilobytes of text.
const MaxSample = 256

// Op sums the calls of one operator.
type Op struct {
	Name      string  `json:"name"`                    // as the trace has it
	Calls     int     `json:"calls"`                   // of the name, nested ones too
	SelfNs    int64   `json:"self_ns"`                 // without operators inside
	TotalNs   int64   `json:"total_ns"`                // nested calls of the same name counted once
	Share     float64 `json:"share"`                   // SelfNs of the window
	FLOPs     int64   `json:"flops"`                   // of all calls that carry them
	GFLOPPerS float64 `json:"gflop_per_s"`             // FLOPs by the time of the calls that carry them; or 0
	Bytes     int64   `json:"bytes"`                   // that the calls say they moved; of collectives their messages
	MaxNs     int64   `json:"max_ns"`                  // the longest call
	MaxTrace  int     `json:"max_trace"`               // where it is: index of the trace and of the slice
	MaxSlice  int     `json:"max_slice"`               // the longest call's, in trace MaxTrace
	Comm      bool    `json:"communication,omitempty"` // a collective

	flopNs int64
}

// Comm sums the collectives of one operation and group.
type Comm struct {
	Name       string  `json:"name"`         // the operation as coll.Normal names it: "allreduce", "allgather" …
	Group      string  `json:"group"`        // process group name, with its description if known
	GroupSize  int     `json:"group_size"`   // ranks in the group; 0 if not recorded
	Calls      int     `json:"calls"`        // of this rank
	Bytes      int64   `json:"bytes"`        // of the messages, see coll.Collective.Bytes
	TotalNs    int64   `json:"total_ns"`     // of all calls, waits for other ranks too
	MeanNs     float64 `json:"mean_ns"`      // TotalNs by Calls
	AlgGBPerS  float64 `json:"alg_gb_per_s"` // message by time of the median call
	BusGBPerS  float64 `json:"bus_gb_per_s"` // AlgGBPerS times coll.BusFactor
	PeerWaitNs int64   `json:"peer_wait_ns"` // of TotalNs: for the last rank
}

// Request is one request's way through the pipeline. A duration is -1 where the
// trace does not show it.
type Request struct {
	ID            string         `json:"id"`                 // as its slices name it
	TraceID       string         `json:"trace_id,omitempty"` // of the W3C trace context that it came with
	ArrivalNs     int64          `json:"arrival_ns"`         // earliest sign of it
	Partial       bool           `json:"partial"`            // began before the window or goes on after it
	TTFTNs        int64          `json:"ttft_ns"`            // arrival to first token of the first llm stage
	FirstOutputNs int64          `json:"first_output_ns"`    // arrival to the end of the first vocoder chunk or image
	OutputKind    string         `json:"output_kind"`        // "audio", "image", "text" or ""
	TotalNs       int64          `json:"total_ns"`           // arrival to the last slice that names the request
	Tokens        int            `json:"tokens"`             // made by the first llm stage
	PerTokenNs    float64        `json:"per_token_ns"`       // mean between tokens after the first, or 0
	Stages        []RequestStage `json:"stages"`             // by stage id
}

// RequestStage is a request's time in one stage, seen by the rank that handled it.
type RequestStage struct {
	StageID   int            `json:"stage_id"`   // of the deployment
	Name      string         `json:"name"`       // the stage's name
	Replica   int            `json:"replica"`    // that handled it
	Rank      int            `json:"rank"`       // in the replica
	ArrivalNs int64          `json:"arrival_ns"` // in the stage
	QueueNs   int64          `json:"queue_ns"`   // arrival to first step
	Phases    []RequestPhase `json:"phases"`     // its steps by kind
	EndNs     int64          `json:"end_ns"`     // of its last step in the stage
}

// RequestPhase sums the steps that a request shared.
type RequestPhase struct {
	Category Category `json:"category"` // the kind of step
	Steps    int      `json:"steps"`    // that the request shared
	TotalNs  int64    `json:"total_ns"` // of these steps
}

// Latency summarises a duration over all requests, without those that are partial or did not get so
// far.
type Latency struct {
	TTFT        Quantiles `json:"ttft"`         // Request.TTFTNs
	FirstOutput Quantiles `json:"first_output"` // Request.FirstOutputNs
	Total       Quantiles `json:"total"`        // Request.TotalNs
}

// Quantiles describe a set of durations.
type Quantiles struct {
	Count  int     `json:"count"`   // durations in the set
	MeanNs float64 `json:"mean_ns"` // their mean
	P50Ns  float64 `json:"p50_ns"`  // the median
	P99Ns  float64 `json:"p99_ns"`  // 99 in a hundred are this or less
	MaxNs  int64   `json:"max_ns"`  // the longest
}

// Chain is the path of one request to its first output: links without gaps.
type Chain struct {
	Request  string `json:"request"`  // its id
	Output   string `json:"output"`   // "audio", "image", "text"
	StartNs  int64  `json:"start_ns"` // the first link's
	TotalNs  int64  `json:"total_ns"` // sum of the links
	Complete bool   `json:"complete"` // followed back to the request's arrival
	Links    []Link `json:"links"`    // in the order of time
}

// Link is one part of a Chain.
type Link struct {
	Kind    string `json:"kind"`               // "queue", "handoff" or a Category's name
	Text    string `json:"text"`               // "thinker prefill", "hand-off thinker to talker"
	StageID int    `json:"stage_id"`           // where the time went
	Stage   string `json:"stage"`              // the stage's name
	Replica int    `json:"replica"`            // of the stage
	Rank    int    `json:"rank"`               // in the replica
	Trace   int    `json:"trace"`              // index into the traces given to Analyze
	Slice   int    `json:"slice"`              // the link's first slice in that trace, or -1
	StartNs int64  `json:"start_ns"`           // where the link before it ended
	DurNs   int64  `json:"dur_ns"`             // until the next one begins
	Steps   int    `json:"steps,omitempty"`    // steps that the request shared
	ViaFlow bool   `json:"via_flow,omitempty"` // a hand-off found by its flow, not by order
}

// Batch is requests for images that shared all their denoise steps. With continuous
// batching a step can serve several batches.
type Batch struct {
	Requests []string `json:"requests"` // their ids
	// the recorded batch, if no other request shares the steps; else the number of requests; 0 if neither is known
	Images       int       `json:"images"`
	StageID      int       `json:"stage_id"`       // of the denoise loop
	Replica      int       `json:"replica"`        // of that stage
	StartNs      int64     `json:"start_ns"`       // of the first text encoding
	TotalNs      int64     `json:"total_ns"`       // first text encoding to last image
	TextEncodeNs int64     `json:"text_encode_ns"` // of its text encodings
	DenoiseNs    int64     `json:"denoise_ns"`     // first step's start to last step's end
	VAEDecodeNs  int64     `json:"vae_decode_ns"`  // of its VAE decodes
	Steps        StepStats `json:"steps"`          // its denoise steps
	Drift        float64   `json:"drift"`          // change of the longest of its drift.Loops
	PerImageNs   float64   `json:"per_image_ns"`   // TotalNs by Images
}

// Limit says what limits the pace of a stage.
type Limit string

// The limits of a stage.
const (
	LimitCompute Limit = "compute"
	LimitComm    Limit = "communication"
	LimitPeer    Limit = "peer" // waits inside collectives for a slower rank
	LimitHandoff Limit = "handoff"
	LimitHost    Limit = "host" // scheduling and sampling
	LimitLoad    Limit = "load" // no stage is busy half of the time: more requests would fit
)

// Bottleneck is the stage that sets the pipeline's pace.
type Bottleneck struct {
	StageID   int         `json:"stage_id"`   // of the deployment
	Stage     string      `json:"stage"`      // the stage's name
	BusyShare float64     `json:"busy_share"` // of the time while steps run
	Limit     Limit       `json:"limit"`      // what holds it back
	Why       string      `json:"why"`        // one sentence
	Others    []StageBusy `json:"others"`     // the other stages, for comparison
	// Missing names the ranks whose work this lacks in part or wholly; empty if it has all.
	Missing string `json:"missing,omitempty"`
}

// StageBusy is another stage's busy share.
type StageBusy struct {
	StageID   int     `json:"stage_id"`   // of the deployment
	Stage     string  `json:"stage"`      // its name
	BusyShare float64 `json:"busy_share"` // over the same time as Bottleneck.BusyShare
}

// Finding is an analysis.Finding and the words for where to look.
type Finding struct {
	analysis.Finding
	Where string `json:"where"` // "thinker rank 1: decode_step at +12.3 ms"
}
