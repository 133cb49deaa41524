package protocol

import "github.com/kinetoscope/kinetoscope/profiler/format"

// Method is what a rank can be asked, each at RankID.Subject of it.
type Method string

// The methods of a rank.
const (
	MethodClock   Method = "clock"   // ClockProbe -> ClockReply
	MethodArm     Method = "arm"     // ArmRequest -> RankStatus
	MethodStart   Method = "start"   // BeginRequest -> RankStatus
	MethodStop    Method = "stop"    // StopRequest -> RankStatus
	MethodCollect Method = "collect" // CollectRequest -> RankStatus with Artifacts
	MethodAbort   Method = "abort"   // AbortRequest -> RankStatus: drop an armed or running session
	MethodStatus  Method = "status"  // no body -> RankStatus
	MethodCall    Method = "call"    // CallRequest -> CallReply: collective_rpc on one rank
)

// The names of CallRequest.Method that ranks of native and torch stages answer.
const (
	CallPing      = "ping"
	CallInfo      = "info"      // what the stage holds
	CallDurations = "durations" // histograms of its phases, measured always
	// CallFlight, with the argument "on", switches the flight recorder; the result says
	// whether it is on.
	CallFlight = "flight"
)

// ArtifactKind says what a file of a run is.
type ArtifactKind string

// The kinds of artifact. docs/artifacts.md describes the files.
const (
	KindRecording      ArtifactKind = "recording"       // package profiler's, RecordingExt
	KindTrace          ArtifactKind = "trace"           // Kineto-compatible JSON
	KindOps            ArtifactKind = "ops"             // operator workbook
	KindStacks         ArtifactKind = "stacks"          // folded call stacks
	KindTable          ArtifactKind = "table"           // operator table as text
	KindEvents         ArtifactKind = "events"          // a server's own events, JSON lines
	KindMetrics        ArtifactKind = "metrics"         // a server's own metrics meanwhile, counters of a trace
	KindNsys           ArtifactKind = "nsys"            // a report of Nsight Systems, .nsys-rep
	KindMemory         ArtifactKind = "memory"          // snapshot and timeline of allocations
	KindExecutionTrace ArtifactKind = "execution_trace" // torch's graph of operators
	KindAscend         ArtifactKind = "ascend"          // what torch_npu writes beside its trace
	KindTimeline       ArtifactKind = "timeline"        // all ranks on one clock
	KindReport         ArtifactKind = "report"          // report.json and report.svg
	KindOutput         ArtifactKind = "output"          // what the captured requests generated
)

// RecordingExt ends the name of a recording.
const RecordingExt = format.Ext

// Engine says what runs a rank's model and records it.
type Engine string

// The engines.
const (
	EngineNative          Engine = "native"           // the reference models in Go
	EngineTorch           Engine = "torch"            // a Python process that speaks this protocol
	EngineVLLM            Engine = "vllm"             // a vLLM server as it is, over HTTP
	EngineSGLang          Engine = "sglang"           // an SGLang server as it is, over HTTP
	EngineVLLMOmni        Engine = "vllm-omni"        // a stage of a vLLM-Omni server as it is
	EngineSGLangDiffusion Engine = "sglang-diffusion" // SGLang's diffusion server as it is
	EngineSGLangOmni      Engine = "sglang-omni"      // a stage of an sglang-omni server as it is
	EngineDynamo          Engine = "dynamo"           // a worker of NVIDIA Dynamo as it is
	EngineTensorRTLLM     Engine = "trtllm"           // a trtllm-serve as it is
	EngineKineto          Engine = "kineto"           // a PyTorch process as it is, over Kineto's daemon protocol
)

// AgentUploads reports whether the files of ranks of e come by an agent, or by who else drives profilers
// for ranks that do not speak this protocol: into AgentBucket, not into a bucket of the rank's own.
func (e Engine) AgentUploads() bool { return e != EngineNative && e != EngineTorch }

// StageType says how a stage generates.
type StageType string

// The types of stage, as vLLM-Omni names them.
const (
	StageLLM        StageType = "llm"        // autoregressive
	StageGeneration StageType = "generation" // one shot: text encoder, code2wav, VAE
	StageDiffusion  StageType = "diffusion"  // a denoise loop
)

// StageTypes are all of them.
var StageTypes = []StageType{StageLLM, StageGeneration, StageDiffusion}

// Code says whose fault an error is, on the wire and over HTTP.
type Code string

// The codes of an error.
const (
	CodeBadRequest Code = "bad_request" // the request's: correct it
	CodeOverloaded Code = "overloaded"  // try again later
	CodeLost       Code = "lost"        // a rank that worked on it is gone
	CodeInternal   Code = "internal"
	CodeClosed     Code = "closed" // the pipeline is shutting down
	// These say what is in the way: a session that has not ended, which a second start and a
	// deletion of its run meet; a pin, which keeps a run; another process that uses the data
	// directory, and another hub of the same name on the NATS cluster.
	CodeSessionRunning Code = "session_running"
	CodeRunPinned      Code = "run_pinned"
	CodeDataDirTaken   Code = "data_dir_taken"
	CodeNameTaken      Code = "name_taken"
)

// HTTPStatus is the status with which a server answers an error of code c.
func (c Code) HTTPStatus() int {
	switch c {
	case CodeBadRequest:
		return 400
	case CodeOverloaded, CodeClosed, CodeLost:
		return 503
	case CodeSessionRunning, CodeRunPinned, CodeDataDirTaken, CodeNameTaken:
		return 409
	}
	return 500
}

// Keys of a recording's metadata, which say whose it is. Values are texts; numbers are
// written in decimal.
const (
	MetaPipeline    = "pipeline"
	MetaStageID     = "stage_id"
	MetaStage       = "stage" // its name
	MetaStageType   = "stage_type"
	MetaReplica     = "replica"
	MetaRank        = "rank"
	MetaWorldSize   = "world_size"
	MetaHost        = "host"
	MetaIncarnation = "incarnation"
	MetaSession     = "session"
	MetaBackend     = "backend" // of the collectives: "tcp", "nccl" …
)
