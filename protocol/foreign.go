package protocol

import (
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// foreignStart is what the starts of other servers' profilers say in words of their own, so
// that scripts and load generators written for them start a session here. vLLM's body needs
// none: its members are ours.
type foreignStart struct {
	// SGLang's. Where files go (output_dir) and how they are split (profile_by_stage,
	// merge_profiles, profile_id) is left out: they come home as artifacts of a rank each.
	NumSteps     *int     `json:"num_steps,omitempty"`
	StartStep    *int     `json:"start_step,omitempty"`
	WithStack    *bool    `json:"with_stack,omitempty"`
	RecordShapes *bool    `json:"record_shapes,omitempty"`
	Activities   []string `json:"activities,omitempty"`
	// DelaySteps is vLLM's word for delay_iterations in one of its branches.
	DelaySteps *int `json:"delay_steps,omitempty"`
}

// IgnoredStart returns the members of a body of POST /start_profile that UnmarshalJSON takes no
// notice of, sorted; nil if it is no JSON object.
func IgnoredStart(body []byte) []string { return Ignored(body, startMembers) }

// Ignored returns the members of a body that are not among those that are taken, sorted; nil if it is no
// JSON object.
func Ignored(body []byte, taken map[string]bool) (names []string) {
	var members map[string]jsontext.Value
	if json.Unmarshal(body, &members) != nil {
		return nil
	}
	for name := range members {
		if !taken[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// startMembers are the members that a start takes.
var startMembers = func() map[string]bool {
	out := map[string]bool{}
	for _, t := range []reflect.Type{reflect.TypeFor[startJSON](), reflect.TypeFor[foreignStart]()} {
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			out[name] = true
		}
	}
	return out
}()

// apply says in r what f asks for. What r says in our own words goes before it.
func (f *foreignStart) apply(r *StartRequest) error {
	if f.StartStep != nil && *f.StartStep > 0 {
		return &FieldError{"start_step",
			"start_step counts from a server's start, which differs between servers: use delay_iterations"}
	}
	if r.MaxIterations == nil && f.NumSteps != nil {
		r.MaxIterations = f.NumSteps
	}
	if r.DelayIterations == nil && f.DelaySteps != nil {
		r.DelayIterations = f.DelaySteps
	}
	if r.Config != nil || f.WithStack == nil && f.RecordShapes == nil && f.Activities == nil {
		return nil
	}
	c := DefaultProfilerConfig()
	c.Profiler, c.WithStack = ProfilerTorch, false // the costly one only if it is asked for
	set(&c.WithStack, f.WithStack)
	set(&c.RecordShapes, f.RecordShapes)
	c.Activities = f.Activities
	r.Config = &c
	return nil
}
