package trace

import "strings"

// Names of the slices by which stages mark their work. The native engine and the
// torch worker write them, the analyses find them.
const (
	NamePrefill     = "prefill"      // llm: one prompt or chunk of it
	NameDecodeStep  = "decode_step"  // llm: one token for every running sequence
	NameTextEncode  = "text_encode"  // diffusion
	NameDenoiseStep = "denoise_step" // diffusion: one time step for the batch
	NameVAEDecode   = "vae_decode"   // diffusion
	NameVocode      = "vocode"       // generation: codec frames to samples
	NameHandoffSend = "handoff.send" // hand-off to the next stage; flow out
	NameHandoffRecv = "handoff.recv" // hand-off from the stage before; flow in
	NameWait        = "wait"         // nothing to do: queue empty or input not there yet
	NameSchedule    = "schedule"     // choosing the next batch
	NameSample      = "sample"       // logits to token
	NameAllReduce   = "c10d::allreduce_"
	NameAllGather   = "c10d::allgather_"
	NameBroadcast   = "c10d::broadcast_"
	NameRequest     = "request" // a request's life in a stage; async
	// NameMemoryHeld is around the allocations by which a native rank says, when a
	// recording begins, what it holds already.
	NameMemoryHeld = "memory.held"
	// NameWindowEnd is the mark where a window of recording ended, as Kineto writes it.
	NameWindowEnd = "Record Window End"
	// NameMemory is the name of the instants by which profilers record allocations, as Kineto writes it.
	NameMemory = "[memory]"
)

// HandoffOfStream is the name of a hand-off's flow whose ends are not when something was sent and when
// that arrived: of the whole of what went in pieces.
const HandoffOfStream = "handoff of a stream"

// Handoff reports whether a flow of this category is a hand-off between stages, whoever wrote it: its
// id holds across the processes of a pipeline, those of other flows within their trace.
func Handoff(category string) bool { return strings.HasPrefix(category, "handoff") }

// TrackServer is the name of the track whose counters are what a server told of itself while it was
// profiled: requests that run and wait, its cache, its latencies.
const TrackServer = "server metrics"

// Keys of arguments that the native engine writes and analyses read. Collectives use
// Kineto's own keys.
const (
	ArgRequest    = "request"  // one request id
	ArgRequests   = "requests" // request ids joined by ","
	ArgTraceID    = "trace_id" // W3C trace id of a request, where it arrives in a stage
	ArgStep       = "step"     // iteration number, from 0
	ArgStepNumber = "step_num" // the same as JAX's StepTraceAnnotation has it
	ArgBatch      = "batch"    // sequences or images in the batch
	ArgTokens     = "tokens"   // tokens processed
	ArgFLOPs      = "flops"
	ArgBytes      = "bytes"
	ArgCollective = "Collective name"
	ArgInNelems   = "In msg nelems"
	ArgOutNelems  = "Out msg nelems"
	ArgDType      = "dtype"
	ArgGroupSize  = "Group size"
	ArgGroupName  = "Process Group Name"
	ArgSeq        = "Seq"
	ArgFromStage  = "from_stage"
	ArgToStage    = "to_stage"
	ArgReason     = "reason" // of a wait: "queue", "input", "peer"
)
