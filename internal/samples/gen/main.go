// Command gen writes samples of what this version of the program writes: a recording, an
// index, a message of each kind and a manifest, all fields filled in. Run it at a release:
//
//	go run ./internal/samples/gen internal/samples/testdata/NAME
//
// It and package samples use nothing that versions long ago did not have, so that they run
// there too.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/samples"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/trace/index"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	filled := map[string]any{}
	for name, m := range samples.Messages() {
		v := reflect.New(reflect.TypeOf(m))
		fill(v.Elem(), name, maxDepth)
		filled[name] = v.Interface()
	}
	filled["manifest"].(*store.Manifest).SchemaVersion = store.SchemaVersion
	b, err := json.MarshalIndent(filled, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "messages.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	if err := record(filepath.Join(dir, "recording.ksrec")); err != nil {
		return err
	}
	return keepIndex(filepath.Join(dir, "trace.ktindex"))
}

var day = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// maxDepth is how deep values that hold others of their type are filled.
const maxDepth = 11

// fill gives every field a value that is not its zero.
func fill(v reflect.Value, name string, depth int) {
	if depth == 0 {
		return
	}
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(day))
		return
	}
	if v.Type() == reflect.TypeFor[json.RawMessage]() {
		v.Set(reflect.ValueOf(json.RawMessage(`{"a": 1}`)))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(strings.ToLower(name))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name, depth-1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), name, depth-1)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, "key", depth-1)
		fill(value, name, depth-1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Interface:
		if v.NumMethod() == 0 {
			v.Set(reflect.ValueOf(name))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				fill(v.Field(i), f.Name, depth-1)
			}
		}
	}
}

// record writes a recording of three steps with an operator, a counter and a flow each.
func record(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	rec := profiler.New(profiler.Config{Process: "sample"})
	track := rec.Track("work")
	if err := rec.Start(profiler.StartOptions{Out: f, RecordShapes: true, WithFLOPs: true,
		Meta: map[string]string{"sample": "yes"}}); err != nil {
		return err
	}
	step, op, tokens := profiler.Intern("decode_step"), profiler.Intern("aten::mm"), profiler.Intern("tokens")
	for range 3 {
		s := track.Begin(step, profiler.CategoryAnnotation)
		o := track.Begin(op, profiler.CategoryOp)
		o.End()
		track.Counter(tokens, 7)
		s.End()
	}
	_, err = rec.Stop()
	return err
}

// keepIndex writes the index of a trace of two slices.
func keepIndex(path string) error {
	t, err := kineto.Read(context.Background(),
		strings.NewReader(`{"schemaVersion": 1, "distributedInfo": {"rank": 3, "world_size": 4}, "traceEvents": [
{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 10, "dur": 5, "args": {"External id": 7, "Input Dims": [[2, 3]]}},
{"ph": "X", "cat": "kernel", "name": "sgemm", "pid": 0, "tid": 7, "ts": 12, "dur": 9, "args": {"correlation": 9, "stream": 7}}]}`), kineto.Options{})
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return index.Write(f, t, index.Stamp{Size: 100, ModTime: 200})
}
