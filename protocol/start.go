package protocol

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
)

// StartRequest asks for a session: what to record, of whom, and until when. It is the
// body of POST /start_profile, and what programs, commands and the hub hand on to each
// other unchanged. Its zero value records all stages that have a profiler as they are
// configured, until a stop.
type StartRequest struct {
	Prefix string // part of the run's name, see ValidatePrefix
	Stages []int  // nil: all that have a profiler
	// Config, if set, is in place of each stage's own. It does not say where files go:
	// TorchProfilerDir is the deployment's.
	Config          *ProfilerConfig
	DelayIterations *int // nil: the configuration's
	MaxIterations   *int // nil: the configuration's; 0: no limit
	// MaxDuration is when every rank stops by itself; 0 is DefaultMaxDuration.
	MaxDuration time.Duration
	// MaxBytes bounds what a rank records, in bytes: the size of a recording or, for a torch rank,
	// the growth of the process's memory. 0 is no bound.
	MaxBytes     int64
	AllowPartial bool // go on without ranks that do not arm
	// Last, if not 0, takes what the ranks' flight recorders hold of that long before
	// now, all at one instant, instead of recording from now on. The session ends by
	// itself.
	Last time.Duration
}

// Limits of the durations of a StartRequest.
const (
	// MinDuration is the shortest: the ranks begin together give or take as much.
	MinDuration = time.Millisecond
	// MaxDuration is the longest: a bound is there to be reached.
	MaxDuration = 24 * time.Hour
)

// FieldError says what is wrong with one field of a request or a configuration.
type FieldError struct {
	Field string // as it is spelled in JSON: "profile_prefix", "stages[1]", "profiler_config.iteration"
	Text  string // the field, what is wrong with it, what is allowed
}

// Error is Text.
func (e *FieldError) Error() string { return e.Text }

// HTTPStatus is 400: the request is to be corrected.
func (e *FieldError) HTTPStatus() int { return CodeBadRequest.HTTPStatus() }

// bad says that a field has a value that is not allowed.
func bad(field string, value any, allowed string) *FieldError {
	v := fmt.Sprint(value)
	if s, ok := value.(string); ok {
		v = fmt.Sprintf("%q", s)
	}
	return &FieldError{field, fmt.Sprintf("%s %s: allowed are %s", field, v, allowed)}
}

// Validate returns what is wrong with r, as far as that can be known without a pipeline. The error
// is a *FieldError.
func (r *StartRequest) Validate() error {
	if err := ValidatePrefix(r.Prefix); err != nil {
		return err
	}
	if r.Stages != nil && len(r.Stages) == 0 {
		return &FieldError{"stages", "stages is empty: leave it out for all stages"}
	}
	for _, n := range []struct {
		field string
		value *int
	}{{"delay_iterations", r.DelayIterations}, {"max_iterations", r.MaxIterations}} {
		if n.value != nil && *n.value < 0 {
			return bad(n.field, *n.value, "0 and more")
		}
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"max_duration_s", r.MaxDuration}, {"last_s", r.Last}} {
		if d.value != 0 {
			if err := checkSeconds(d.field, d.value.Seconds()); err != nil {
				return err
			}
		}
	}
	if r.MaxBytes < 0 {
		return bad("max_bytes", r.MaxBytes, "0 (no bound) and more")
	}
	if r.Config == nil {
		return nil
	}
	if r.Config.TorchProfilerDir != "" {
		return &FieldError{"profiler_config.torch_profiler_dir",
			"profiler_config.torch_profiler_dir is the deployment's to set: leave it out"}
	}
	if p := r.Config.problems(); len(p) > 0 {
		return p[0]
	}
	return nil
}

func checkSeconds(field string, s float64) error {
	if !(s >= MinDuration.Seconds() && s <= MaxDuration.Seconds()) {
		return bad(field, s, fmt.Sprintf("%g to %g seconds", MinDuration.Seconds(), MaxDuration.Seconds()))
	}
	return nil
}

// StageRef names a stage of a pipeline.
type StageRef struct {
	ID   int
	Name string
}

// CheckStages refuses stages that are not among those of the pipeline. The error is a
// *FieldError that lists them.
func (r *StartRequest) CheckStages(pipeline []StageRef) error {
	for i, id := range r.Stages {
		if slices.ContainsFunc(pipeline, func(s StageRef) bool { return s.ID == id }) {
			continue
		}
		names := make([]string, len(pipeline))
		for j, s := range pipeline {
			names[j] = fmt.Sprintf("%d (%s)", s.ID, s.Name)
		}
		field := fmt.Sprintf("stages[%d]", i)
		return &FieldError{
			field,
			fmt.Sprintf("%s: there is no stage %d; the stages are %s", field, id, strings.Join(names, ", ")),
		}
	}
	return nil
}

// ConfigFor returns the configuration in force for a rank with a configuration of its
// own, nil being none; nil if there is then no profiler.
func (r *StartRequest) ConfigFor(own *ProfilerConfig) *ProfilerConfig {
	if r.Config != nil {
		own = r.Config
	}
	if own == nil || own.Profiler == "" {
		return nil
	}
	c := *own
	set(&c.DelayIterations, r.DelayIterations)
	set(&c.MaxIterations, r.MaxIterations)
	return &c
}

// startJSON is a StartRequest in JSON.
type startJSON struct {
	Stages          []int          `json:"stages,omitempty"`
	Prefix          string         `json:"profile_prefix,omitempty"`
	DelayIterations *int           `json:"delay_iterations,omitempty"`
	MaxIterations   *int           `json:"max_iterations,omitempty"`
	MaxDurationS    *float64       `json:"max_duration_s,omitempty"`
	MaxBytes        int64          `json:"max_bytes,omitzero"`
	LastS           *float64       `json:"last_s,omitempty"`
	AllowPartial    bool           `json:"allow_partial,omitzero"`
	Config          jsontext.Value `json:"profiler_config,omitempty"`
}

// MarshalJSON writes the body of POST /start_profile.
func (r StartRequest) MarshalJSON() ([]byte, error) {
	j := startJSON{Stages: r.Stages, Prefix: r.Prefix, DelayIterations: r.DelayIterations,
		MaxIterations: r.MaxIterations,
		MaxBytes:      r.MaxBytes, AllowPartial: r.AllowPartial}
	for _, d := range []struct {
		value time.Duration
		to    **float64
	}{{r.MaxDuration, &j.MaxDurationS}, {r.Last, &j.LastS}} {
		if s := d.value.Seconds(); s != 0 {
			*d.to = &s
		}
	}
	if r.Config != nil {
		var err error
		if j.Config, err = json.Marshal(r.Config); err != nil {
			return nil, fmt.Errorf("profiler_config: %w", err)
		}
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads a body of POST /start_profile. Members that it does not know are
// ignored, for load generators post their whole request; not those of profiler_config,
// where a misspelled one would record something else. The members of SGLang's start are
// taken too: num_steps, with_stack, record_shapes, activities. What profiler_config leaves out
// has its default, the profiler is "torch". Errors are those of
// github.com/go-json-experiment/json, and *FieldError for a duration that is out of range.
func (r *StartRequest) UnmarshalJSON(data []byte) error {
	var j struct {
		startJSON
		foreignStart
	}
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	out := StartRequest{
		Stages:          j.Stages,
		Prefix:          j.Prefix,
		DelayIterations: j.DelayIterations,
		MaxIterations:   j.MaxIterations,
		MaxBytes:        j.MaxBytes,
		AllowPartial:    j.AllowPartial,
	}
	for _, d := range []struct {
		field string
		value *float64
		to    *time.Duration
	}{{"max_duration_s", j.MaxDurationS, &out.MaxDuration}, {"last_s", j.LastS, &out.Last}} {
		if d.value == nil {
			continue
		}
		// Checked here, and not only in Validate: a value that is too small would round to 0, which
		// means something else, and one that is too large would overflow.
		if err := checkSeconds(d.field, *d.value); err != nil {
			return err
		}
		*d.to = time.Duration(*d.value * float64(time.Second))
	}
	if k := j.Config.Kind(); k != 0 && k != 'n' {
		c := DefaultProfilerConfig()
		c.Profiler = ProfilerTorch
		var o ProfilerOverride
		if err := json.Unmarshal(j.Config, &o, json.RejectUnknownMembers(true)); err != nil {
			return &ConfigError{Value: j.Config, Err: err}
		}
		c = o.Apply(c)
		out.Config = &c
	}
	if err := j.apply(&out); err != nil {
		return err
	}
	*r = out
	return nil
}

// ConfigError says that the profiler_config of a request cannot be read. Its Err is one
// of github.com/go-json-experiment/json, with positions in Value.
type ConfigError struct {
	Value jsontext.Value
	Err   error
}

// Error names profiler_config.
func (e *ConfigError) Error() string { return "profiler_config: " + e.Err.Error() }

// Unwrap gives what is wrong.
func (e *ConfigError) Unwrap() error { return e.Err }

// ValidatePrefix refuses a profile_prefix that cannot be part of the name of a run's
// directory on every system: path separators, "..", a dot in front, control characters
// (also those that turn the direction of text or end a line), invalid UTF-8, more than MaxPrefix
// bytes. The error is a *FieldError.
func ValidatePrefix(s string) error {
	refuse := func(format string, args ...any) error {
		return &FieldError{"profile_prefix", "profile_prefix " + fmt.Sprintf(format, args...)}
	}
	switch {
	case len(s) > MaxPrefix:
		return refuse("has %d bytes; at most %d are allowed", len(s), MaxPrefix)
	case !utf8.ValidString(s):
		return refuse("is not valid UTF-8")
	case strings.HasPrefix(s, "."):
		return refuse("%q begins with a dot", s)
	case strings.Contains(s, ".."):
		return refuse("%q contains \"..\"", s)
	}
	for _, c := range s {
		if c == '/' || c == '\\' || c == ':' {
			return refuse("%q contains the path separator %q", s, c)
		}
		if neutral.Command(c) {
			return refuse("%q contains a control character", s)
		}
	}
	return nil
}
