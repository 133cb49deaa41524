package deploy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sort"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// profilerDoc distinguishes a field that is absent from one that is false or 0.
type profilerDoc struct {
	Profiler          profilerName `yaml:"profiler" json:"profiler"`
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

	// Of vLLM's workers alone.
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

// ignored returns the fields of d that are set and have no effect.
func (d *profilerDoc) ignored() []string {
	if d == nil {
		return nil
	}
	return setFields([]namedField{
		{"profiler_config.capture_torch_profiler", d.CaptureGraphs}, {"profiler_config.detailed_trace_annotation", d.DetailedAnnotation},
		{"profiler_config.proton_profiler_dir", d.ProtonDir}, {"profiler_config.proton_context", d.ProtonContext}, {"profiler_config.proton_data", d.ProtonData},
		{"profiler_config.proton_backend", d.ProtonBackend}, {"profiler_config.proton_mode", d.ProtonMode}, {"profiler_config.proton_hook", d.ProtonHook},
		{"profiler_config.proton_output_format", d.ProtonFormat}, {"profiler_config.proton_graph_attribution", d.ProtonGraphs},
	})
}

// profilerName is a profiler's name, or null, which switches off what was on: unlike
// in a pointer null is told from absent.
type profilerName struct {
	set  bool
	name string
}

// UnmarshalJSON reads a string or null.
func (p *profilerName) UnmarshalJSON(data []byte) error {
	p.set, p.name = true, ""
	return json.Unmarshal(data, &p.name)
}

// UnmarshalYAML reads a string. The decoder does not call it for null.
func (p *profilerName) UnmarshalYAML(n ast.Node) error {
	p.set = true
	return yaml.NodeToValue(n, &p.name)
}

// UnmarshalYAML sees to a profiler that is null.
func (d *profilerDoc) UnmarshalYAML(n ast.Node) error {
	type fields profilerDoc
	if err := yaml.NodeToValue(n, (*fields)(d), yaml.Strict()); err != nil {
		return err
	}
	if m, ok := n.(ast.MapNode); ok {
		for it := m.MapRange(); it.Next(); {
			if it.Key().GetToken().Value == "profiler" && it.Value().Type() == ast.NullType {
				d.Profiler = profilerName{set: true}
			}
		}
	}
	return nil
}

// apply overrides c with the fields that d has.
func (d *profilerDoc) apply(c *protocol.ProfilerConfig) {
	if d == nil {
		return
	}
	if d.Profiler.set {
		c.Profiler = d.Profiler.name
	}
	set(&c.TorchProfilerDir, d.TorchProfilerDir)
	set(&c.WithStack, d.WithStack)
	set(&c.WithFLOPs, d.WithFLOPs)
	set(&c.UseGzip, d.UseGzip)
	set(&c.DumpCUDATimeTotal, d.DumpCUDATimeTotal)
	set(&c.RecordShapes, d.RecordShapes)
	set(&c.WithMemory, d.WithMemory)
	set(&c.ExecutionTrace, d.ExecutionTrace)
	set(&c.IgnoreFrontend, d.IgnoreFrontend)
	set(&c.Activities, d.Activities)
	set(&c.DelayIterations, d.DelayIterations)
	set(&c.MaxIterations, d.MaxIterations)
	set(&c.WaitIterations, d.WaitIterations)
	set(&c.WarmupIterations, d.WarmupIterations)
	set(&c.ActiveIterations, d.ActiveIterations)
	set(&c.Iteration, d.Iteration)
	set(&c.SampleRequests, d.SampleRequests)
}

// ProfilerOverride is a profiler_config that may leave fields open: what
// --profiler-config and its dotted flags say.
type ProfilerOverride struct{ doc profilerDoc }

// ParseProfilerJSON reads a JSON object with some fields of a profiler_config. An unknown
// field is an error.
func ParseProfilerJSON(text string) (*ProfilerOverride, error) {
	var o ProfilerOverride
	if err := o.mergeJSON([]byte(text)); err != nil {
		return nil, err
	}
	return &o, nil
}

// SetDotted reads the dotted flags, --profiler-config.FIELD=VALUE.
func (o *ProfilerOverride) SetDotted(fields map[string]string) error {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		value := strings.TrimSpace(fields[name])
		key, _ := json.Marshal(name)
		err := o.mergeJSON(fmt.Appendf(nil, "{%s:%s}", key, value))
		if err != nil {
			quoted, _ := json.Marshal(value)
			err = o.mergeJSON(fmt.Appendf(nil, "{%s:%s}", key, quoted))
		}
		if err != nil {
			list, _ := json.Marshal(strings.Split(value, ","))
			if o.mergeJSON(fmt.Appendf(nil, "{%s:%s}", key, list)) != nil {
				return fmt.Errorf("--profiler-config.%s=%s: %w", name, value, err)
			}
		}
	}
	return nil
}

func (o *ProfilerOverride) mergeJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o.doc); err != nil {
		return plainJSON(err)
	}
	if dec.More() {
		return fmt.Errorf("text after the object")
	}
	return nil
}

// Apply returns c with what o sets.
func (o *ProfilerOverride) Apply(c protocol.ProfilerConfig) protocol.ProfilerConfig {
	o.doc.apply(&c)
	return c
}

// Warnings says which of the fields that o sets have no effect.
func (o *ProfilerOverride) Warnings() []string {
	if o == nil {
		return nil
	}
	var out []string
	for _, name := range o.doc.ignored() {
		out = append(out, name+" has no effect here")
	}
	return out
}

// plainJSON words an error as a user of the command line reads it.
func plainJSON(err error) error {
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		want := map[reflect.Kind]string{reflect.Int: "a whole number", reflect.Bool: "true or false"}[t.Type.Kind()]
		return fmt.Errorf("%s: want %s, not a %s", t.Field, cmp.Or(want, "text"), t.Value)
	}
	if text, ok := strings.CutPrefix(err.Error(), "json: "); ok {
		return errors.New(text)
	}
	return err
}

// Override applies o to every stage of p and validates the result.
func (p *Pipeline) Override(o *ProfilerOverride) error {
	if err := ValidateProfiler(o.Apply(protocol.DefaultProfilerConfig())); err != nil {
		return fmt.Errorf("--profiler-config: %w", err) // said once, not for every stage
	}
	for i := range p.Stages {
		p.Stages[i].Profiler = o.Apply(p.Stages[i].Profiler)
	}
	return p.Validate()
}
