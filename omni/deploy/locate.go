package deploy

import (
	"errors"
	"fmt"
	"os"
	"reflect"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// FieldError is what is wrong with a field of a stage.
type FieldError struct {
	Stage int    // stage_id
	Name  string // stage_name
	Field string // as in the file, profiler_config.iteration say
	Err   error  // names the field and its value too
}

// Error names the stage, and through Err the field.
func (e *FieldError) Error() string { return fmt.Sprintf("stage %d (%s): %v", e.Stage, e.Name, e.Err) }

// Unwrap gives what is wrong.
func (e *FieldError) Unwrap() error { return e.Err }

// Locate puts before each FieldError in err the file and line of its field. A
// built-in pipeline has no file that a user could look into: err is returned as it is.
func Locate(nameOrFile string, err error) error {
	data, rerr := os.ReadFile(nameOrFile)
	if rerr != nil {
		return err
	}
	return locate(nameOrFile, data, err)
}

func locate(file string, data []byte, err error) error {
	tree, perr := parser.ParseBytes(data, 0)
	all := []error{err}
	if j, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // what errors.Join made, not what it wraps
		all = j.Unwrap()
	}
	out := make([]error, len(all))
	for i, e := range all {
		var f *FieldError
		line := 0
		if perr == nil && errors.As(e, &f) {
			line = lineOf(tree, f.Stage, f.Field)
		}
		if line > 0 {
			out[i] = fmt.Errorf("%s:%d: %w", file, line, e)
		} else {
			out[i] = fmt.Errorf("%s: %w", file, e)
		}
	}
	return errors.Join(out...)
}

// lineOf finds a field of a stage wherever it may be written: at the stage, in one of
// its parts, or for all stages. 0 is nowhere.
func lineOf(tree *ast.File, stage int, field string) int {
	var paths []string
	for _, list := range []string{"stage_args", "stages"} {
		at := fmt.Sprintf("$.%s[%d]", list, stage)
		for _, part := range []string{".", ".engine_args.", ".runtime.", ".default_sampling_params."} {
			paths = append(paths, at+part+field)
		}
	}
	paths = append(paths, "$."+field)
	for _, list := range []string{"stage_args", "stages"} { // the field is missing: the stage itself
		paths = append(paths, fmt.Sprintf("$.%s[%d]", list, stage))
	}
	for _, text := range paths {
		p, err := yaml.PathString(text)
		if err != nil {
			continue
		}
		if n, err := p.FilterFile(tree); err == nil && n != nil {
			return n.GetToken().Position.Line
		}
	}
	return 0
}

// plainType words an error about a value's type as YAML has types, not as Go does.
func plainType(err error) error {
	var t *yaml.TypeError
	if !errors.As(err, &t) || t.Token == nil {
		return err
	}
	names := map[reflect.Kind]string{
		reflect.Int:     "a whole number",
		reflect.Uint64:  "a whole number, 0 or more",
		reflect.Float64: "a number",
		reflect.Bool:    "true or false",
		reflect.String:  "text",
		reflect.Slice:   "a list",
		reflect.Struct:  "fields",
		reflect.Map:     "fields",
	}
	if want, ok := names[t.DstType.Kind()]; ok {
		return &yaml.SyntaxError{Message: fmt.Sprintf("%q: want %s", t.Token.Value, want), Token: t.Token}
	}
	return err
}
