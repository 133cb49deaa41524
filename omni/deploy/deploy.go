// Package deploy is the deployment file: which stages a pipeline has, how many
// replicas and ranks each runs as, what they load, and how they are profiled. It
// reads the spellings that vLLM-Omni uses (stage_args with engine_args, or stages
// with the engine's arguments beside stage_id) and has no side effects.
package deploy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/driver/server"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Limits of a deployment. They keep a typing error from starting a fork bomb.
const (
	MaxStages   = 32
	MaxReplicas = 64
	MaxRanks    = 4    // ranks of a replica: the engine's row-parallel layers have four virtual shards
	MaxInflight = 4096 // requests in a pipeline at once
	MaxFlightMB = 4096 // of flight recorder a rank
	// DefaultFlightMB holds the last ten seconds of the built-in stages several times.
	DefaultFlightMB = 16
)

// Output types.
const (
	OutputText  = "text"
	OutputAudio = "audio"
	OutputImage = "image"
)

// Pipeline is a deployment: ordered stages and the limits they share.
type Pipeline struct {
	Name        string  `json:"name"`         // also the first part of the ranks' subjects
	Model       string  `json:"model"`        // name that the API serves
	MaxInflight int     `json:"max_inflight"` // requests admitted at once; more are refused
	Stages      []Stage `json:"stages"`
	// Targets are servers that are profiled as they are. A deployment with no stages besides them
	// runs no model. They hold the keys that open the servers and are not published.
	Targets []server.Target `json:"-"`
	// Named says that the name stands in the file and was not derived from the file's name.
	Named bool `json:"-"`
}

// TargetsOnly reports whether the deployment runs no model itself.
func (p *Pipeline) TargetsOnly() bool { return len(p.Stages) == 0 && len(p.Targets) > 0 }

// Stage is one stage of a pipeline.
type Stage struct {
	ID       int                `json:"stage_id"`
	Name     string             `json:"stage_name"`
	Type     protocol.StageType `json:"stage_type"`
	Replicas int                `json:"num_replicas"`
	Ranks    int                `json:"tensor_parallel_size"`
	External bool               `json:"external"` // ranks are started by hand; serve waits for them
	Env      map[string]string  `json:"env,omitempty"`
	Devices  string             `json:"devices,omitempty"`
	Engine   protocol.Engine    `json:"engine"`           // native, torch
	Python   string             `json:"python,omitempty"` // torch: the interpreter; "" is the supervisor's choice

	Architecture string `json:"model_arch"`  // llm, vocoder, text_encoder, dit, vae
	Model        string `json:"model"`       // "builtin/NAME" or a directory with config.json; torch: see docs/torch.md
	LoadFormat   string `json:"load_format"` // dummy, safetensors; torch: dummy, auto, safetensors
	Seed         uint64 `json:"seed"`        // of dummy weights

	MaxNumSeqs          int `json:"max_num_seqs"`           // sequences or images in a batch
	MaxNumBatchedTokens int `json:"max_num_batched_tokens"` // prefill tokens in a step
	MaxModelLen         int `json:"max_model_len"`          // positions of a sequence
	BlockSize           int `json:"block_size"`             // tokens of a KV block
	NumKVBlocks         int `json:"num_gpu_blocks_override"`
	MaxQueue            int `json:"max_queue"`     // requests waiting in a replica
	HandoffChunk        int `json:"handoff_chunk"` // tokens or frames of a hand-off

	Sources         []int          `json:"engine_input_source,omitempty"`
	FinalOutput     bool           `json:"final_output"`
	FinalOutputType string         `json:"final_output_type,omitempty"`
	Sampling        SamplingParams `json:"default_sampling_params"`

	// FlightRecorderMB is each rank's memory in MiB for the recent past, recorded
	// always; 0 is off.
	FlightRecorderMB int                     `json:"flight_recorder_mb"`
	Profiler         protocol.ProfilerConfig `json:"profiler_config"`
}

// SamplingParams are a stage's defaults for what a request leaves open.
type SamplingParams struct {
	Temperature       float64 `json:"temperature"`
	TopK              int     `json:"top_k"`
	TopP              float64 `json:"top_p"`
	MaxTokens         int     `json:"max_tokens"`
	Seed              uint64  `json:"seed"`
	IgnoreEOS         bool    `json:"ignore_eos"`
	NumInferenceSteps int     `json:"num_inference_steps"`
	GuidanceScale     float64 `json:"guidance_scale"`
	Height            int     `json:"height"`
	Width             int     `json:"width"`
	FramesPerToken    int     `json:"frames_per_token"` // talker: codec frames for a text token
}

// Stage returns the stage with the given id, or nil.
func (p *Pipeline) Stage(id int) *Stage {
	for i := range p.Stages {
		if p.Stages[i].ID == id {
			return &p.Stages[i]
		}
	}
	return nil
}

// Refs names the stages as requests are checked against them.
func (p *Pipeline) Refs() []protocol.StageRef {
	var refs []protocol.StageRef
	for _, s := range p.Stages {
		refs = append(refs, protocol.StageRef{ID: s.ID, Name: s.Name})
	}
	return refs
}

// Next returns the stages that take s's output.
func (p *Pipeline) Next(id int) []*Stage {
	var next []*Stage
	for i := range p.Stages {
		if slices.Contains(p.Stages[i].Sources, id) {
			next = append(next, &p.Stages[i])
		}
	}
	return next
}

// Route returns the ids of the stages that a request for the given outputs passes,
// in order: the stages that make them and all before those. An output that no stage
// makes is an error naming those that exist.
func (p *Pipeline) Route(outputs []string) ([]int, error) {
	need := map[int]bool{}
	var mark func(id int)
	mark = func(id int) {
		if need[id] {
			return
		}
		need[id] = true
		for _, s := range p.Stage(id).Sources {
			mark(s)
		}
	}
	for _, out := range outputs {
		i := slices.IndexFunc(p.Stages, func(s Stage) bool { return s.FinalOutput && s.FinalOutputType == out })
		if i < 0 {
			return nil, fmt.Errorf("pipeline %s makes no %s; it makes %s", p.Name, out, strings.Join(p.Outputs(), ", "))
		}
		mark(p.Stages[i].ID)
	}
	var route []int
	for _, s := range p.Stages {
		if need[s.ID] {
			route = append(route, s.ID)
		}
	}
	return route, nil
}

// Outputs returns what the pipeline makes, in stage order.
func (p *Pipeline) Outputs() []string {
	var out []string
	for _, s := range p.Stages {
		if s.FinalOutput {
			out = append(out, s.FinalOutputType)
		}
	}
	return out
}

// Torch reports whether the stage's ranks are Python processes.
func (s *Stage) Torch() bool { return s.Engine == protocol.EngineTorch }

// Profiled reports whether a profiler is configured for s.
func (s *Stage) Profiled() bool { return s.Profiler.Profiler != "" }
