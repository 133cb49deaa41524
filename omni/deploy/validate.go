package deploy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// Validate fills in defaults and returns everything that is wrong with p, joined.
func (p *Pipeline) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if p.Name == "" {
		p.Name = "pipeline"
	}
	if err := protocol.ValidatePipelineName(p.Name); err != nil {
		errs = append(errs, err)
	}
	if p.Model == "" {
		p.Model = "kinetoscope-" + p.Name
	}
	if p.MaxInflight == 0 {
		p.MaxInflight = 256
	}
	if p.MaxInflight < 0 || p.MaxInflight > MaxInflight {
		bad("max_inflight %d: 1 to %d", p.MaxInflight, MaxInflight)
	}
	if len(p.Stages) == 0 && len(p.Targets) == 0 {
		bad("no stages: add a list stage_args (or stages), or targets")
	}
	if len(p.Stages) > MaxStages {
		bad("%d stages: %d at most", len(p.Stages), MaxStages)
	}
	for i := range p.Stages {
		s := &p.Stages[i]
		if s.ID != i {
			errs = append(errs, &FieldError{Stage: i, Name: s.Name, Field: "stage_id",
				Err: fmt.Errorf("stage_id %d: ids count from 0 in order, this is %d", s.ID, i)})
			continue
		}
		s.setDefaults()
		for _, err := range s.validate() {
			errs = append(errs, s.at(err))
		}
	}
	if len(errs) == 0 && !p.TargetsOnly() {
		errs = append(errs, p.validateEdges()...)
	}
	return errors.Join(errs...)
}

// at says which field err is about: the first word of err is the field.
func (s *Stage) at(err error) error {
	field, _, _ := strings.Cut(err.Error(), " ")
	return &FieldError{Stage: s.ID, Name: s.Name, Field: field, Err: err}
}

func (s *Stage) setDefaults() {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	if s.Name == "" {
		s.Name = fmt.Sprintf("stage%d", s.ID)
	}
	if s.Engine == "" {
		s.Engine = protocol.EngineNative
	}
	if s.LoadFormat == "" {
		s.LoadFormat = "dummy"
	}
	def(&s.Replicas, 1)
	def(&s.Ranks, 1)
	def(&s.MaxNumSeqs, 8)
	def(&s.MaxNumBatchedTokens, 256)
	def(&s.MaxModelLen, 1024)
	def(&s.BlockSize, 16)
	def(&s.NumKVBlocks, (s.MaxModelLen/s.BlockSize+1)*s.MaxNumSeqs)
	def(&s.MaxQueue, 1024)
	def(&s.HandoffChunk, 8)
	def(&s.Sampling.MaxTokens, 64)
	def(&s.Sampling.NumInferenceSteps, 20)
	def(&s.Sampling.Height, 64)
	def(&s.Sampling.Width, 64)
	def(&s.Sampling.FramesPerToken, 2)
	if s.Sampling.TopP == 0 {
		s.Sampling.TopP = 1
	}
}

func (s *Stage) validate() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !protocol.ValidStageName(s.Name) {
		bad("stage_name %q: %s", s.Name, protocol.StageNameRule)
	}
	if !slices.Contains(protocol.StageTypes, s.Type) {
		bad("stage_type %q: one of llm, generation, diffusion", s.Type)
	}
	errs = append(errs, s.validateEngine()...)
	if s.Replicas < 1 || s.Replicas > MaxReplicas {
		bad("num_replicas %d: 1 to %d", s.Replicas, MaxReplicas)
	}
	if s.Ranks != 1 && s.Ranks != 2 && s.Ranks != MaxRanks {
		bad("tensor_parallel_size %d: 1, 2 or 4", s.Ranks)
	}
	for _, f := range []field{{"max_num_seqs", s.MaxNumSeqs}, {"max_num_batched_tokens", s.MaxNumBatchedTokens},
		{"max_model_len", s.MaxModelLen}, {"block_size", s.BlockSize}, {"num_gpu_blocks_override", s.NumKVBlocks},
		{"max_queue", s.MaxQueue}, {"handoff_chunk", s.HandoffChunk}} {
		if f.value < 1 {
			bad("%s %d: at least 1", f.name, f.value)
		}
	}
	if s.FlightRecorderMB < 0 || s.FlightRecorderMB > MaxFlightMB {
		bad("flight_recorder_mb %d: 0 to %d", s.FlightRecorderMB, MaxFlightMB)
	}
	if s.FinalOutput && !slices.Contains([]string{OutputText, OutputAudio, OutputImage}, s.FinalOutputType) {
		bad("final_output_type %q: text, audio or image", s.FinalOutputType)
	}
	errs = append(errs, s.validateProfiler()...)
	return errs
}

// validateEngine checks what depends on the engine.
func (s *Stage) validateEngine() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	formats, model := []string{"dummy", "safetensors"}, "builtin/NAME or a directory with config.json"
	switch s.Engine {
	case protocol.EngineNative:
		if s.Python != "" {
			bad("python %q: only stages with engine: torch run in it", s.Python)
		}
	case protocol.EngineTorch:
		formats = append(formats, "auto")
		model = "a directory, a model of the hub, or module:function"
		if strings.HasPrefix(s.Model, "builtin/") {
			bad("model %q: built-in models are of the native engine; a torch stage wants %s", s.Model, model)
		}
	default:
		bad("engine %q: native or torch", s.Engine)
	}
	if !slices.Contains(formats, s.LoadFormat) {
		bad("load_format %q: one of %s", s.LoadFormat, strings.Join(formats, ", "))
	}
	if s.Model == "" {
		bad("model is missing: %s", model)
	}
	return errs
}

// validateProfiler checks the stage's profiler_config, one error a field.
func (s *Stage) validateProfiler() []error {
	var errs []error
	if joined,
		ok := s.Profiler.Validate().(interface{ Unwrap() []error }); ok { //nolint:errorlint // what errors.Join made
		errs = joined.Unwrap()
	}
	if err := s.Profiler.ValidateFor(s.Engine); err != nil {
		errs = append(errs, err)
	}
	return errs
}

type field struct {
	name  string
	value int
}

func (p *Pipeline) validateEdges() []error {
	var errs []error
	seen := map[string]bool{}
	for _, s := range p.Stages {
		if s.ID > 0 && len(s.Sources) == 0 {
			errs = append(errs, s.at(fmt.Errorf("engine_input_source is missing: nothing would reach it")))
		}
		for _, src := range s.Sources {
			if src < 0 || src >= s.ID {
				errs = append(errs, s.at(fmt.Errorf("engine_input_source %d: must be a stage before it", src)))
			}
		}
		if s.FinalOutput {
			if seen[s.FinalOutputType] {
				errs = append(errs, s.at(fmt.Errorf("a stage before it makes %s already", s.FinalOutputType)))
			}
			seen[s.FinalOutputType] = true
		}
	}
	if len(seen) == 0 {
		errs = append(errs, fmt.Errorf("no stage has final_output: requests would never end"))
	}
	return errs
}
