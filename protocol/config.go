package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The values of ProfilerConfig.Profiler beside "", which is off.
const (
	ProfilerTorch = "torch"
	// ProfilerCUDA opens and closes a range for a profiler outside, nsys say.
	ProfilerCUDA = "cuda"
)

// The values of ProfilerConfig.Iteration.
const (
	IterationStep    = "step"    // a decode or denoise step
	IterationRequest = "request" // a whole request
)

// activities are what a torch profiler can be told to record. A device answers to each
// name but CPU.
var activities = []string{"CPU", "GPU", "CUDA", "XPU", "NPU", "MUSA", "PRIVATEUSE1"}

// Validate returns everything that is wrong with c, joined; each error is a *FieldError.
func (c ProfilerConfig) Validate() error {
	var errs []error
	for _, p := range c.problems() {
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

func (c ProfilerConfig) problems() (out []*FieldError) {
	add := func(field string, value any, allowed string) {
		out = append(out, bad("profiler_config."+field, value, allowed))
	}
	if c.Profiler != "" && c.Profiler != ProfilerTorch && c.Profiler != ProfilerCUDA {
		add("profiler", c.Profiler, "torch, cuda, null")
	}
	if c.Iteration != "" && c.Iteration != IterationStep && c.Iteration != IterationRequest {
		add("iteration", c.Iteration, "step, request")
	}
	for _, f := range []struct {
		name  string
		value int
	}{{"delay_iterations", c.DelayIterations}, {"max_iterations", c.MaxIterations},
		{"sample_requests", c.SampleRequests},
		{"wait_iterations", c.WaitIterations}, {"warmup_iterations", c.WarmupIterations}} {
		if f.value < 0 {
			add(f.name, f.value, "0 and more")
		}
	}
	if c.ActiveIterations < 1 && c.Profiler != "" {
		add("active_iterations", c.ActiveIterations, "1 and more")
	}
	names := strings.Join(activities, ", ")
	if n := len(c.Activities); n > len(activities) {
		add(
			"torch_profiler_activities",
			fmt.Sprintf("of %d entries", n),
			fmt.Sprintf("up to %d of %s", len(activities), names),
		)
		return out
	}
	for _, a := range c.Activities {
		if !slices.Contains(activities, strings.ToUpper(a)) {
			add("torch_profiler_activities", a, names)
		}
	}
	return out
}

// ValidateFor returns the settings of c that an engine does not support, beside the errors of
// Validate. The error is a *FieldError.
func (c ProfilerConfig) ValidateFor(e Engine) error {
	if e != EngineNative {
		return nil
	}
	if c.Profiler == ProfilerCUDA {
		return &FieldError{
			"profiler_config.profiler",
			`profiler_config.profiler "cuda": native stages run on the CPU; use torch`,
		}
	}
	cpu := func(a string) bool { return strings.EqualFold(a, "CPU") }
	if len(c.Activities) > 0 && !slices.ContainsFunc(c.Activities, cpu) {
		return &FieldError{"profiler_config.torch_profiler_activities",
			fmt.Sprintf("profiler_config.torch_profiler_activities %q: native stages run on the CPU; add CPU",
				c.Activities)}
	}
	return nil
}

// ProfilerOverride is a profiler_config that leaves fields open: nil is not said.
type ProfilerOverride struct {
	Profiler          ProfilerName `yaml:"profiler" json:"profiler"`
	TorchProfilerDir  *string      `yaml:"torch_profiler_dir" json:"torch_profiler_dir"`
	WithStack         *bool        `yaml:"torch_profiler_with_stack" json:"torch_profiler_with_stack"`
	WithFLOPs         *bool        `yaml:"torch_profiler_with_flops" json:"torch_profiler_with_flops"`
	UseGzip           *bool        `yaml:"torch_profiler_use_gzip" json:"torch_profiler_use_gzip"`
	DumpCUDATimeTotal *bool        `yaml:"torch_profiler_dump_cuda_time_total" json:"torch_profiler_dump_cuda_time_total"`
	RecordShapes      *bool        `yaml:"torch_profiler_record_shapes" json:"torch_profiler_record_shapes"`
	WithMemory        *bool        `yaml:"torch_profiler_with_memory" json:"torch_profiler_with_memory"`
	ExecutionTrace    *bool        `yaml:"torch_profiler_execution_trace" json:"torch_profiler_execution_trace"`
	IgnoreFrontend    *bool        `yaml:"ignore_frontend" json:"ignore_frontend"`
	Activities        *[]string    `yaml:"torch_profiler_activities" json:"torch_profiler_activities"`
	DelayIterations   *int         `yaml:"delay_iterations" json:"delay_iterations"`
	MaxIterations     *int         `yaml:"max_iterations" json:"max_iterations"`
	WaitIterations    *int         `yaml:"wait_iterations" json:"wait_iterations"`
	WarmupIterations  *int         `yaml:"warmup_iterations" json:"warmup_iterations"`
	ActiveIterations  *int         `yaml:"active_iterations" json:"active_iterations"`
	Iteration         *string      `yaml:"iteration" json:"iteration"`
	SampleRequests    *int         `yaml:"sample_requests" json:"sample_requests"`

	// Of vLLM's workers alone: read, so that a configuration written for them works, and
	// without effect.
	CaptureGraphs      any `yaml:"capture_torch_profiler" json:"capture_torch_profiler"`
	DetailedAnnotation any `yaml:"detailed_trace_annotation" json:"detailed_trace_annotation"`
	ProtonDir          any `yaml:"proton_profiler_dir" json:"proton_profiler_dir"`
	ProtonContext      any `yaml:"proton_context" json:"proton_context"`
	ProtonData         any `yaml:"proton_data" json:"proton_data"`
	ProtonBackend      any `yaml:"proton_backend" json:"proton_backend"`
	ProtonMode         any `yaml:"proton_mode" json:"proton_mode"`
	ProtonHook         any `yaml:"proton_hook" json:"proton_hook"`
	ProtonFormat       any `yaml:"proton_output_format" json:"proton_output_format"`
	ProtonGraphs       any `yaml:"proton_graph_attribution" json:"proton_graph_attribution"`
}

// ProfilerName is the name of a profiler, or null, which switches an inherited one off. Unlike a
// pointer, it tells null from an absent field.
type ProfilerName struct {
	Set  bool
	Name string
}

// UnmarshalJSON reads a string or null.
func (p *ProfilerName) UnmarshalJSON(data []byte) error {
	p.Set, p.Name = true, ""
	return json.Unmarshal(data, &p.Name)
}

// UnmarshalYAML reads a string. Decoders do not call it for null.
func (p *ProfilerName) UnmarshalYAML(decode func(any) error) error {
	p.Set = true
	return decode(&p.Name)
}

// Apply returns c with what o sets. A nil o sets nothing.
func (o *ProfilerOverride) Apply(c ProfilerConfig) ProfilerConfig {
	if o == nil {
		return c
	}
	if o.Profiler.Set {
		c.Profiler = o.Profiler.Name
	}
	set(&c.TorchProfilerDir, o.TorchProfilerDir)
	set(&c.WithStack, o.WithStack)
	set(&c.WithFLOPs, o.WithFLOPs)
	set(&c.UseGzip, o.UseGzip)
	set(&c.DumpCUDATimeTotal, o.DumpCUDATimeTotal)
	set(&c.RecordShapes, o.RecordShapes)
	set(&c.WithMemory, o.WithMemory)
	set(&c.ExecutionTrace, o.ExecutionTrace)
	set(&c.IgnoreFrontend, o.IgnoreFrontend)
	set(&c.Activities, o.Activities)
	set(&c.DelayIterations, o.DelayIterations)
	set(&c.MaxIterations, o.MaxIterations)
	set(&c.WaitIterations, o.WaitIterations)
	set(&c.WarmupIterations, o.WarmupIterations)
	set(&c.ActiveIterations, o.ActiveIterations)
	set(&c.Iteration, o.Iteration)
	set(&c.SampleRequests, o.SampleRequests)
	return c
}

func set[T any](dst *T, src *T) {
	if src != nil {
		*dst = *src
	}
}

// Ignored returns the names of the fields of o that are set and have no effect.
func (o *ProfilerOverride) Ignored() []string {
	if o == nil {
		return nil
	}
	var names []string
	for _, f := range []struct {
		name  string
		value any
	}{
		{"capture_torch_profiler", o.CaptureGraphs}, {"detailed_trace_annotation", o.DetailedAnnotation},
		{"proton_profiler_dir", o.ProtonDir}, {"proton_context", o.ProtonContext}, {"proton_data", o.ProtonData},
		{"proton_backend", o.ProtonBackend}, {"proton_mode", o.ProtonMode}, {"proton_hook", o.ProtonHook},
		{"proton_output_format", o.ProtonFormat}, {"proton_graph_attribution", o.ProtonGraphs},
	} {
		if f.value != nil {
			names = append(names, "profiler_config."+f.name)
		}
	}
	return names
}
