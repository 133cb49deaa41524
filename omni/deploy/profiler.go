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

// profilerDoc is a profiler_config in a deployment file.
type profilerDoc struct{ protocol.ProfilerOverride }

// UnmarshalYAML handles a profiler that is null.
func (d *profilerDoc) UnmarshalYAML(n ast.Node) error {
	if err := yaml.NodeToValue(n, &d.ProfilerOverride, yaml.Strict()); err != nil {
		return err
	}
	if m, ok := n.(ast.MapNode); ok {
		for it := m.MapRange(); it.Next(); {
			if it.Key().GetToken().Value == "profiler" && it.Value().Type() == ast.NullType {
				d.Profiler = protocol.ProfilerName{Set: true}
			}
		}
	}
	return nil
}

// apply overrides c with the fields that d has.
func (d *profilerDoc) apply(c *protocol.ProfilerConfig) {
	if d != nil {
		*c = d.Apply(*c)
	}
}

// ignored returns the fields of d that are set and have no effect.
func (d *profilerDoc) ignored() []string {
	if d == nil {
		return nil
	}
	return d.Ignored()
}

// ProfilerOverride is what --profiler-config and its dotted flags say.
type ProfilerOverride struct{ doc protocol.ProfilerOverride }

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
	return o.doc.Apply(c)
}

// Validate says what is wrong with the values that o sets.
func (o *ProfilerOverride) Validate() error {
	c := o.Apply(protocol.DefaultProfilerConfig())
	return c.Validate()
}

// Warnings says which of the fields that o sets have no effect.
func (o *ProfilerOverride) Warnings() []string {
	if o == nil {
		return nil
	}
	var out []string
	for _, name := range o.doc.Ignored() {
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
	if err := o.Validate(); err != nil {
		return fmt.Errorf("--profiler-config: %w", err) // said once, not for every stage
	}
	for i := range p.Stages {
		p.Stages[i].Profiler = o.Apply(p.Stages[i].Profiler)
	}
	return p.Validate()
}
