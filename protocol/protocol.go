// Package protocol is what hub, ranks and agents say to each other over NATS (subjects,
// messages, limits), what clients ask of a session (StartRequest, ProfilerConfig), and the
// words that all of them share. It does no I/O. docs/protocol.md describes the messages,
// docs/http.md the request.
package protocol

import (
	"fmt"
	"time"
)

// Version is the protocol's number; a rank of another major number is refused.
const Version = 1

// Limits of the wire.
const (
	// MaxPayload is the largest NATS message, in bytes; one hand-off of hidden
	// states or latents must fit.
	MaxPayload = 8 << 20
	// PresenceInterval is how often a rank renews its presence: once in half of PresenceTTL, after
	// which the hub asks, and no more often, because an idle pipeline should cost next to nothing.
	PresenceInterval = 2 * time.Second
	// PresenceTTL is how long a rank counts as alive after its last renewal: more than two intervals,
	// so that one late renewal does not make it dead.
	PresenceTTL = 5 * time.Second
	// MaxQuiet bounds RankInfo.QuietNs: torch frees some ten million slices in it. A rank
	// that has died meanwhile is missed so much later.
	MaxQuiet = time.Minute
	// MaxLead bounds RankInfo.LeadNs, because the start of a session waits that long.
	MaxLead = time.Minute
	// MaxFlush bounds RankInfo.FlushNs: torch was seen to write for minutes, with Python
	// stacks for tens of them.
	MaxFlush = time.Hour
	// MaxPrefix bounds profile_prefix: file names hold 255 bytes and the run's
	// directory adds a time, an id and separators.
	MaxPrefix = 100
)

// Names of the JetStream buckets.
const (
	BucketRanks     = "ks_ranks"     // KV: presence, key RankID.Key(), value RankInfo
	BucketSessions  = "ks_sessions"  // KV: one session a key
	BucketArtifacts = "ks_artifacts" // object store: <session>/<rank key>/<file>
)

// ServiceName is the NATS micro service that every rank registers.
const ServiceName = "kinetoscope-rank"

// RankID names a rank of a pipeline.
type RankID struct {
	Pipeline string `json:"pipeline"`
	Stage    int    `json:"stage"`
	Replica  int    `json:"replica"`
	Rank     int    `json:"rank"`
}

// Key is the rank's key in BucketRanks.
func (r RankID) Key() string {
	return fmt.Sprintf("%s.s%d.r%d.k%d", r.Pipeline, r.Stage, r.Replica, r.Rank)
}

// Subject is where the rank answers method.
func (r RankID) Subject(method Method) string {
	return "ks.v1.rank." + r.Key() + "." + string(method)
}

// RankInfo is a rank's presence: its identity, and whether it can be profiled.
type RankInfo struct {
	RankID
	Protocol    int             `json:"protocol"`
	Incarnation string          `json:"incarnation"` // ULID, new for each process
	StageName   string          `json:"stage_name"`
	StageType   StageType       `json:"stage_type"`
	WorldSize   int             `json:"world_size"` // ranks in the replica
	Engine      Engine          `json:"engine"`
	PID         int             `json:"pid"`
	Host        string          `json:"host"`
	Profiler    *ProfilerConfig `json:"profiler_config,omitempty"` // nil: not configured
	StartedAt   time.Time       `json:"started_at"`
	Ready       bool            `json:"ready"`               // the model is loaded and requests are served
	SpoolDir    string          `json:"spool_dir,omitempty"` // where the rank keeps recordings, on Host
	CollAddr    string          `json:"coll_addr,omitempty"` // where ranks of the replica meet for collectives
	// QuietNs says that the process may be silent for so long after this renewal, MaxQuiet
	// at most: it is about to do what lets nothing else in it run.
	QuietNs int64 `json:"quiet_ns,omitempty"`
	// LeadNs is how long after the agreed instant its profiler may begin, and FlushNs how
	// long after its end the files may take: the hub waits so much longer for the answers
	// to start and collect, MaxLead and MaxFlush at most.
	LeadNs  int64 `json:"lead_ns,omitempty"`
	FlushNs int64 `json:"flush_ns,omitempty"`
	// AheadNs is how long before the agreed instant the rank has to be told of it, MaxLead at
	// most: the session's instant lies so much later, for all ranks, so that they begin together.
	AheadNs int64 `json:"ahead_ns,omitempty"`
	// Session is the session that the rank is armed for or records, so that a hub finds a
	// profiler that no session owns.
	Session string `json:"session,omitempty"`
	// Server is the server that the rank drives, ENGINE://HOST:PORT, so that no other agent drives it too.
	Server string `json:"server,omitempty"`
}

// ProfilerConfig has vLLM's field names and defaults; see DefaultProfilerConfig.
type ProfilerConfig struct {
	Profiler          string `json:"profiler" yaml:"profiler"` // "torch"; "" is off
	TorchProfilerDir  string `json:"torch_profiler_dir" yaml:"torch_profiler_dir"`
	WithStack         bool   `json:"torch_profiler_with_stack" yaml:"torch_profiler_with_stack"`
	WithFLOPs         bool   `json:"torch_profiler_with_flops" yaml:"torch_profiler_with_flops"`
	UseGzip           bool   `json:"torch_profiler_use_gzip" yaml:"torch_profiler_use_gzip"`
	DumpCUDATimeTotal bool   `json:"torch_profiler_dump_cuda_time_total" yaml:"torch_profiler_dump_cuda_time_total"`
	RecordShapes      bool   `json:"torch_profiler_record_shapes" yaml:"torch_profiler_record_shapes"`
	WithMemory        bool   `json:"torch_profiler_with_memory" yaml:"torch_profiler_with_memory"`
	ExecutionTrace    bool   `json:"torch_profiler_execution_trace" yaml:"torch_profiler_execution_trace"`
	IgnoreFrontend    bool   `json:"ignore_frontend" yaml:"ignore_frontend"`
	// Activities are what torch records: "CPU", and the device by any of its names
	// ("CUDA", "XPU" …); none is all that the process has.
	Activities       []string `json:"torch_profiler_activities,omitempty" yaml:"torch_profiler_activities,omitempty"`
	DelayIterations  int      `json:"delay_iterations" yaml:"delay_iterations"`
	MaxIterations    int      `json:"max_iterations" yaml:"max_iterations"` // 0: no limit
	WaitIterations   int      `json:"wait_iterations" yaml:"wait_iterations"`
	WarmupIterations int      `json:"warmup_iterations" yaml:"warmup_iterations"`
	ActiveIterations int      `json:"active_iterations" yaml:"active_iterations"`
	Iteration        string   `json:"iteration" yaml:"iteration"` // "step" or "request"
	// SampleRequests records only the steps of one request in so many, chosen by its id
	// and so the same in every stage; 0 and 1 record all.
	SampleRequests int `json:"sample_requests" yaml:"sample_requests"`
}

// DefaultProfilerConfig returns vLLM's defaults.
func DefaultProfilerConfig() ProfilerConfig {
	return ProfilerConfig{
		WithStack: true, UseGzip: true, DumpCUDATimeTotal: true,
		ActiveIterations: 5, Iteration: "step",
	}
}

// RankState is where a rank is in a session.
type RankState string

// The states of a rank. The last four end it.
const (
	StateIdle      RankState = "idle"
	StateArmed     RankState = "armed"
	StateRecording RankState = "recording"
	StateStopped   RankState = "stopped" // recording ended, artifacts not yet collected
	StateComplete  RankState = "complete"
	StateFailed    RankState = "failed"
	StateLost      RankState = "lost"
	StateTimedOut  RankState = "timed_out"
)

var rankStates = []RankState{StateIdle, StateArmed, StateRecording, StateStopped, StateComplete, StateFailed, StateLost,
	StateTimedOut}

// Terminal reports whether s ends a rank's part in a session.
func (s RankState) Terminal() bool {
	switch s {
	case StateComplete, StateFailed, StateLost, StateTimedOut:
		return true
	}
	return false
}

// RankStatus is one rank's part in a session.
type RankStatus struct {
	RankID
	StageName string    `json:"stage_name"`
	State     RankState `json:"state"`
	// why failed, lost or timed out; of a complete rank, what its artifacts lack
	Reason      string     `json:"reason,omitempty"`
	Session     string     `json:"session,omitempty"`
	StartedAtNs int64      `json:"started_at_ns,omitempty"` // rank's clock, Unix ns
	StoppedAtNs int64      `json:"stopped_at_ns,omitempty"`
	Clock       ClockError `json:"clock"`
	Events      uint64     `json:"events"`
	Bytes       uint64     `json:"bytes"`
	Drops       uint64     `json:"drops"`
	Iterations  int        `json:"iterations"` // recorded
	StoppedBy   StopCause  `json:"stopped_by,omitempty"`
	Artifacts   []Artifact `json:"artifacts,omitempty"`
	// Held are the sessions, oldest first, whose files the rank still has: they have ended, and the
	// hub has not confirmed that they were collected. Only in answers to status.
	Held []string `json:"held,omitempty"`
	// Writing is how far the files are of a rank that has ended to record and is waited for;
	// in unasked reports, and in a session's status meanwhile.
	Writing *Writing `json:"writing,omitempty"`
	// Others are further ranks that this one recorded and that were unknown before their files
	// arrived. Only in answers to collect.
	Others []RankStatus `json:"others,omitempty"`
}

// Writing says how far the files of a rank are after the recording: its profiler may write for
// minutes, and the files are handed over after that.
type Writing struct {
	Files int   `json:"files"`          // that are there, also those that grow
	Done  int   `json:"done"`           // of them, those with a valid end
	Bytes int64 `json:"bytes"`          // in all of them
	Sent  int64 `json:"sent,omitempty"` // bytes handed over so far
}

// WritingInterval is how often a rank says how far its files are while it is waited for.
const WritingInterval = time.Second

// ClockError is a rank's clock against the hub's: hub = rank + Offset, give or take Error.
type ClockError struct {
	OffsetNs int64 `json:"offset_ns"`
	ErrorNs  int64 `json:"error_ns"`
	RTTNs    int64 `json:"rtt_ns"`
}

// Artifact is a file that a rank left.
type Artifact struct {
	Name   string       `json:"name"` // path in the run, "stage0_thinker/trace_rank0.json.gz"
	Kind   ArtifactKind `json:"kind"`
	Size   int64        `json:"size"`
	SHA256 string       `json:"sha256"`
	Object string       `json:"object,omitempty"` // in BucketArtifacts until it is collected
	// Parts, if not 0, is how many objects hold the file: PartName(Object, i) for each i below it.
	Parts int    `json:"parts,omitempty"`
	URL   string `json:"url,omitempty"` // where the hub serves it
}

// ClockProbe and ClockReply are NTP's four time stamps less the last, Unix ns.
type ClockProbe struct {
	T1 int64 `json:"t1"`
}

// ClockReply answers a ClockProbe.
type ClockReply struct {
	T1 int64 `json:"t1"`
	T2 int64 `json:"t2"`
	T3 int64 `json:"t3"`
}

// ArmRequest makes a rank ready to record a session; it records nothing yet.
type ArmRequest struct {
	Session       string         `json:"session"`
	Config        ProfilerConfig `json:"config"`
	MaxDurationNs int64          `json:"max_duration_ns"` // the rank stops itself after it
	MaxBytes      int64          `json:"max_bytes"`
	// LastNs, if not 0, asks for the last LastNs of the flight recorder at the start
	// instant instead of a recording from there on.
	LastNs int64  `json:"last_ns,omitempty"`
	Hub    string `json:"hub,omitempty"` // whose beats keep the session alive; "": nobody's
}

// BeginRequest is the body of MethodStart: the rank records from AtNs of its own clock
// on, at once if that is past.
type BeginRequest struct {
	Session string `json:"session"`
	AtNs    int64  `json:"at_ns"`
}

// StopRequest ends recording. Stopping a stopped session is not an error.
type StopRequest struct {
	Session string `json:"session"`
}

// CollectRequest asks a rank to upload what it recorded.
type CollectRequest struct {
	Session string `json:"session"`
	// Bucket is the object store that takes it; BucketArtifacts if empty.
	Bucket string `json:"bucket,omitempty"`
	// Parts says that the hub puts large files together that come as several objects, so that an
	// upload that was cut goes on where it was.
	Parts bool `json:"parts,omitempty"`
}

// AbortRequest drops a session on a rank, whatever its state: recording ends,
// spooled files are removed unless Keep. Aborting an unknown session is not an error.
type AbortRequest struct {
	Session string `json:"session"`
	Reason  string `json:"reason"`
	Keep    bool   `json:"keep,omitempty"` // leave spooled files where they are
}

// CallRequest is collective_rpc on one rank.
type CallRequest struct {
	Method string         `json:"method"`
	Args   map[string]any `json:"args,omitempty"`
}

// CallReply is one rank's answer to a CallRequest.
type CallReply struct {
	RankID
	OK     bool   `json:"ok"`
	Error  string `json:"error,omitempty"`
	Result any    `json:"result,omitempty"`
}

// StageReply is a stage's one answer to a fan-out: every rank's status, none left out.
type StageReply struct {
	Stage     int         `json:"stage"`
	StageName string      `json:"stage_name"`
	Ranks     []CallReply `json:"ranks"`
}
