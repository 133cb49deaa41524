package deploy

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/kinetoscope/kinetoscope/protocol"
)

//go:embed builtin/*.yaml
var builtins embed.FS

// Builtins are the names that Load takes instead of a file.
var Builtins = []string{"omni", "diffusion"}

// Load reads a built-in pipeline by name or a deployment file by path. The warnings
// name fields that are read for compatibility and have no effect here.
func Load(nameOrFile string) (*Pipeline, []string, error) {
	for _, b := range Builtins {
		if nameOrFile == b {
			data, err := builtins.ReadFile("builtin/" + b + ".yaml")
			if err != nil {
				return nil, nil, err
			}
			return Parse(b+".yaml", data)
		}
	}
	data, err := os.ReadFile(nameOrFile)
	if errors.Is(err, os.ErrNotExist) && !strings.ContainsAny(nameOrFile, "./\\") {
		return nil, nil, fmt.Errorf(
			"no pipeline %q: built in are %s; or give a YAML file",
			nameOrFile,
			strings.Join(Builtins, " and "),
		)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read deployment: %w", err)
	}
	return Parse(nameOrFile, data)
}

// Parse reads a deployment file and validates it. Unknown fields and values of a
// wrong type are errors with file, line and column.
func Parse(file string, data []byte) (*Pipeline, []string, error) {
	var doc document
	dec := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict())
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("%s: %s", file, yaml.FormatError(plainType(err), false, true))
	}
	p, warnings, err := doc.pipeline(file)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := p.Validate(); err != nil {
		return nil, nil, locate(file, data, err)
	}
	return p, warnings, nil
}

// document is the file as written.
type document struct {
	Name        string       `yaml:"name"`
	Model       string       `yaml:"model"`
	MaxInflight int          `yaml:"max_inflight"`
	StageArgs   []stageDoc   `yaml:"stage_args"`
	Stages      []stageDoc   `yaml:"stages"`
	Profiler    *profilerDoc `yaml:"profiler_config"`
	Runtime     *runtimeDoc  `yaml:"runtime"`
	Targets     []targetDoc  `yaml:"targets"`
	AsyncChunk  *bool        `yaml:"async_chunk"` // hand-offs are always chunked here
}

type runtimeDoc struct {
	Enabled  *bool `yaml:"enabled"`
	Defaults struct {
		WindowSize  *int `yaml:"window_size"`
		MaxInflight int  `yaml:"max_inflight"`
	} `yaml:"defaults"`
	Edges []struct {
		From       int  `yaml:"from"`
		To         int  `yaml:"to"`
		WindowSize *int `yaml:"window_size"`
	} `yaml:"edges"`
}

type stageDoc struct {
	StageID   *int   `yaml:"stage_id"`
	StageName string `yaml:"stage_name"`
	StageType string `yaml:"stage_type"`
	Runtime   struct {
		Process      any               `yaml:"process"` // true, or external
		Devices      any               `yaml:"devices"`
		MaxBatchSize int               `yaml:"max_batch_size"`
		NumReplicas  int               `yaml:"num_replicas"`
		Env          map[string]string `yaml:"env"`
	} `yaml:"runtime"`
	EngineArgs        engineDoc   `yaml:"engine_args"`
	Flat              engineDoc   `yaml:",inline"`
	EngineInputSource []int       `yaml:"engine_input_source"`
	InputSources      []int       `yaml:"input_sources"`
	FinalOutput       bool        `yaml:"final_output"`
	FinalOutputType   string      `yaml:"final_output_type"`
	Sampling          samplingDoc `yaml:"default_sampling_params"`
	IsComprehension   any         `yaml:"is_comprehension"`
	CustomInput       any         `yaml:"custom_process_input_func"`
	OutputConnectors  any         `yaml:"output_connectors"`
	InputConnectors   any         `yaml:"input_connectors"`
}

type engineDoc struct {
	Model               string            `yaml:"model"`
	ModelStage          string            `yaml:"model_stage"`
	ModelArch           string            `yaml:"model_arch"`
	TensorParallelSize  int               `yaml:"tensor_parallel_size"`
	LoadFormat          string            `yaml:"load_format"`
	Seed                uint64            `yaml:"seed"`
	MaxNumSeqs          int               `yaml:"max_num_seqs"`
	MaxNumBatchedTokens int               `yaml:"max_num_batched_tokens"`
	MaxModelLen         int               `yaml:"max_model_len"`
	BlockSize           int               `yaml:"block_size"`
	NumKVBlocks         int               `yaml:"num_gpu_blocks_override"`
	MaxQueue            int               `yaml:"max_queue"`
	HandoffChunk        int               `yaml:"handoff_chunk"`
	NumReplicas         int               `yaml:"num_replicas"`
	Devices             any               `yaml:"devices"`
	Env                 map[string]string `yaml:"env"`
	FlightRecorderMB    *int              `yaml:"flight_recorder_mb"`
	Profiler            *profilerDoc      `yaml:"profiler_config"`
	Engine              string            `yaml:"engine"`
	Python              string            `yaml:"python"`

	// Read so that a file written for vLLM-Omni works as it is.
	WorkerCls            any `yaml:"worker_cls"`
	WorkerType           any `yaml:"worker_type"`
	SchedulerCls         any `yaml:"scheduler_cls"`
	GPUMemoryUtilization any `yaml:"gpu_memory_utilization"`
	EnforceEager         any `yaml:"enforce_eager"`
	TrustRemoteCode      any `yaml:"trust_remote_code"`
	EngineOutputType     any `yaml:"engine_output_type"`
	EnablePrefixCaching  any `yaml:"enable_prefix_caching"`
	DistributedBackend   any `yaml:"distributed_executor_backend"`
	HFConfigName         any `yaml:"hf_config_name"`
	DType                any `yaml:"dtype"`
}

// ignored returns the fields of e that are set and have no effect.
func (e *engineDoc) ignored() []string {
	return setFields([]namedField{
		{"worker_cls", e.WorkerCls}, {"worker_type", e.WorkerType}, {"scheduler_cls", e.SchedulerCls},
		{"gpu_memory_utilization", e.GPUMemoryUtilization}, {"enforce_eager", e.EnforceEager},
		{"trust_remote_code", e.TrustRemoteCode}, {"engine_output_type", e.EngineOutputType},
		{"enable_prefix_caching", e.EnablePrefixCaching}, {"distributed_executor_backend", e.DistributedBackend},
		{"hf_config_name", e.HFConfigName}, {"dtype", e.DType},
	})
}

// namedField is a field of a document; value is nil where it is not set.
type namedField struct {
	name  string
	value any
}

// setFields returns the names of those that are set.
func setFields(fields []namedField) []string {
	var names []string
	for _, f := range fields {
		if f.value != nil {
			names = append(names, f.name)
		}
	}
	return names
}

type samplingDoc struct {
	Temperature       *float64 `yaml:"temperature"`
	TopK              *int     `yaml:"top_k"`
	TopP              *float64 `yaml:"top_p"`
	MaxTokens         *int     `yaml:"max_tokens"`
	Seed              *uint64  `yaml:"seed"`
	IgnoreEOS         *bool    `yaml:"ignore_eos"`
	NumInferenceSteps *int     `yaml:"num_inference_steps"`
	GuidanceScale     *float64 `yaml:"guidance_scale"`
	Height            *int     `yaml:"height"`
	Width             *int     `yaml:"width"`
	FramesPerToken    *int     `yaml:"frames_per_token"`
	Detokenize        any      `yaml:"detokenize"`
	RepetitionPenalty any      `yaml:"repetition_penalty"`
}

func set[T any](dst *T, src *T) {
	if src != nil {
		*dst = *src
	}
}

func (d *document) pipeline(file string) (*Pipeline, []string, error) {
	if len(d.StageArgs) > 0 && len(d.Stages) > 0 {
		return nil, nil, errors.New("both stage_args and stages: write one of them")
	}
	p := &Pipeline{Name: d.Name, Model: d.Model, MaxInflight: d.MaxInflight}
	if p.Name == "" {
		p.Name = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	}
	if d.Runtime != nil && p.MaxInflight == 0 && d.Runtime.Defaults.MaxInflight > 1 {
		p.MaxInflight = d.Runtime.Defaults.MaxInflight
	}
	var err error
	if p.Targets, err = d.targets(file); err != nil {
		return nil, nil, err
	}
	p.Named = d.Name != ""
	var warnings []string
	for _, name := range d.Profiler.ignored() {
		warnings = append(warnings, name+" has no effect here")
	}
	for i, sd := range append(d.StageArgs, d.Stages...) {
		st, ignored, err := sd.stage(i, d.Profiler)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range ignored {
			warnings = append(warnings, fmt.Sprintf("stage %d (%s): %s has no effect here", i, st.Name, name))
		}
		st.Model = modelPath(st, filepath.Dir(file))
		p.Stages = append(p.Stages, st)
	}
	if d.Runtime != nil {
		for _, e := range d.Runtime.Edges {
			to := p.Stage(e.To)
			if to == nil || p.Stage(e.From) == nil {
				return nil, nil, fmt.Errorf("runtime.edges: %d -> %d: no such stage", e.From, e.To)
			}
			if len(to.Sources) == 0 {
				to.Sources = []int{e.From}
			}
		}
	}
	return p, warnings, nil
}

// modelPath is the stage's model as its ranks find it. Paths in a deployment file are
// relative to it. A torch stage may also name a model of a hub or module:function, which
// stay as they are unless the file is there.
func modelPath(st Stage, dir string) string {
	if st.Model == "" || strings.HasPrefix(st.Model, "builtin/") || filepath.IsAbs(st.Model) {
		return st.Model
	}
	path := filepath.Join(dir, st.Model)
	if !st.Torch() {
		return path
	}
	onDisk := path
	if file, _, ok := strings.Cut(path, ".py:"); ok {
		onDisk = file + ".py"
	}
	if _, err := os.Stat(onDisk); err != nil {
		return st.Model
	}
	if abs, err := filepath.Abs(path); err == nil { // the rank's working directory may be another
		return abs
	}
	return path
}

func (sd *stageDoc) stage(i int, common *profilerDoc) (Stage, []string, error) {
	e := merge(sd.EngineArgs, sd.Flat)
	s := Stage{
		ID: i, Name: sd.StageName, Type: protocol.StageType(sd.StageType),
		Replicas: cmp.Or(sd.Runtime.NumReplicas, e.NumReplicas), Ranks: e.TensorParallelSize,
		Env: sd.Runtime.Env, Architecture: e.ModelArch, Model: e.Model, LoadFormat: e.LoadFormat, Seed: e.Seed,
		MaxNumSeqs: cmp.Or(e.MaxNumSeqs, sd.Runtime.MaxBatchSize), MaxNumBatchedTokens: e.MaxNumBatchedTokens,
		MaxModelLen: e.MaxModelLen, BlockSize: e.BlockSize, NumKVBlocks: e.NumKVBlocks, MaxQueue: e.MaxQueue,
		HandoffChunk: e.HandoffChunk, Engine: protocol.Engine(e.Engine), Python: e.Python,
		Sources: sd.EngineInputSource, FinalOutput: sd.FinalOutput,
		FinalOutputType: sd.FinalOutputType, Profiler: protocol.DefaultProfilerConfig(),
	}
	s.FlightRecorderMB = DefaultFlightMB
	set(&s.FlightRecorderMB, e.FlightRecorderMB)
	if sd.StageID != nil {
		s.ID = *sd.StageID
	}
	if s.Name == "" {
		s.Name = e.ModelStage
	}
	if len(s.Sources) == 0 {
		s.Sources = sd.InputSources
	}
	if s.Env == nil {
		s.Env = e.Env
	}
	switch v := sd.Runtime.Process.(type) {
	case nil, bool:
	case string:
		if v != "external" {
			return s, nil, fmt.Errorf("stage %d: runtime.process %q: true or external", i, v)
		}
		s.External = true
	default:
		return s, nil, fmt.Errorf("stage %d: runtime.process %v: true or external", i, v)
	}
	if dev := sd.Runtime.Devices; dev != nil {
		s.Devices = fmt.Sprint(dev)
	} else if e.Devices != nil {
		s.Devices = fmt.Sprint(e.Devices)
	}
	common.apply(&s.Profiler)
	e.Profiler.apply(&s.Profiler)
	sd.Sampling.apply(&s.Sampling)
	return s, append(e.ignored(), e.Profiler.ignored()...), nil
}

func (d *samplingDoc) apply(s *SamplingParams) {
	set(&s.Temperature, d.Temperature)
	set(&s.TopK, d.TopK)
	set(&s.TopP, d.TopP)
	set(&s.MaxTokens, d.MaxTokens)
	set(&s.Seed, d.Seed)
	set(&s.IgnoreEOS, d.IgnoreEOS)
	set(&s.NumInferenceSteps, d.NumInferenceSteps)
	set(&s.GuidanceScale, d.GuidanceScale)
	set(&s.Height, d.Height)
	set(&s.Width, d.Width)
	set(&s.FramesPerToken, d.FramesPerToken)
}
