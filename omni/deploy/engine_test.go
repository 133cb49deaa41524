package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// stageYAML is a pipeline of one stage with the given engine arguments.
func stageYAML(args string) []byte {
	return []byte(`
name: p
stage_args:
  - stage_id: 0
    stage_name: thinker
    stage_type: llm
    final_output: true
    final_output_type: text
    engine_args: {` + args + `}
`)
}

func TestEngine(t *testing.T) {
	for _, c := range []struct {
		args, want string // want: in the error, "" for none
	}{
		{"model: builtin/thinker, model_arch: llm", ""},
		{"engine: native, model: builtin/thinker, model_arch: llm", ""},
		{"engine: torch, model: org/model, load_format: auto", ""},
		{"engine: torch, model: org/model, python: /opt/py/bin/python, profiler_config: {profiler: cuda}", ""},
		{"engine: steam, model: x", `engine "steam": native or torch`},
		{"engine: torch, model: builtin/thinker", "built-in models are of the native engine"},
		{"engine: torch", "module:function"},
		{"engine: torch, model: m, load_format: pickle", "dummy, safetensors, auto"},
		{"model: m, load_format: auto", "dummy, safetensors"},
		{"model: m, python: python3.12", "only stages with engine: torch"},
		{"engine: torch, model: m, profiler_config: {profiler: torch, torch_profiler_activities: [CUDA]}", ""},
		{"engine: torch, model: m, profiler_config: {torch_profiler_activities: [TPU]}",
			`torch_profiler_activities "TPU": allowed are CPU`},
		{"model: m, profiler_config: {torch_profiler_activities: [CUDA]}", "add CPU"},
		{"model: m, profiler_config: {profiler: cuda}", "native stages run on the CPU"},
	} {
		p, _, err := Parse("p.yaml", stageYAML(c.args))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.args, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		case c.want == "" && p.Stages[0].Torch() != strings.Contains(c.args, "torch"):
			t.Errorf("%s: engine %q", c.args, p.Stages[0].Engine)
		}
	}
}

func TestModelOfATorchStage(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "local"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "voc.py"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for model, want := range map[string]string{
		"local":         filepath.Join(dir, "local"),
		"org/of-a-hub":  "org/of-a-hub",
		"voc.py:vocode": filepath.Join(dir, "voc.py:vocode"),
		"package.mod:f": "package.mod:f",
	} {
		p, _, err := Parse(filepath.Join(dir, "p.yaml"), stageYAML(`engine: torch, model: "`+model+`"`))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Stages[0].Model; got != want {
			t.Errorf("model %s becomes %s, want %s", model, got, want)
		}
	}
	// A native stage's model is a directory, there or not.
	p, _, err := Parse(filepath.Join(dir, "p.yaml"), stageYAML("model: mine"))
	if err != nil || p.Stages[0].Model != filepath.Join(dir, "mine") {
		t.Errorf("native model: %v, %v", p, err)
	}
}

// A config written for vLLM's own workers is read; what has no effect is said.
func TestFieldsOfVLLMAlone(t *testing.T) {
	_, warnings, err := Parse("p.yaml",
		stageYAML("engine: torch, model: m, profiler_config: {profiler: torch, proton_mode: x, capture_torch_profiler: false}"))
	want := []string{
		"stage 0 (thinker): profiler_config.capture_torch_profiler has no effect here",
		"stage 0 (thinker): profiler_config.proton_mode has no effect here",
	}
	if err != nil || !slices.Equal(warnings, want) {
		t.Errorf("%v, %q, want %q", err, warnings, want)
	}
	o, err := ParseProfilerJSON(`{"detailed_trace_annotation": true}`)
	if err != nil || !slices.Equal(o.Warnings(),
		[]string{"profiler_config.detailed_trace_annotation has no effect here"}) {
		t.Errorf("%v, %q", err, o.Warnings())
	}
}

func TestDottedList(t *testing.T) {
	for _, text := range []string{"CPU,CUDA", `["CPU","CUDA"]`} {
		var o ProfilerOverride
		if err := o.SetDotted(map[string]string{"torch_profiler_activities": text}); err != nil {
			t.Fatal(err)
		}
		if got := o.Apply(protocol.DefaultProfilerConfig()).Activities; !slices.Equal(got, []string{"CPU", "CUDA"}) {
			t.Errorf("%s: %q", text, got)
		}
	}
	var o ProfilerOverride
	if err := o.SetDotted(map[string]string{"max_iterations": "a,b"}); err == nil ||
		!strings.Contains(err.Error(), "want a whole number") {
		t.Error(err)
	}
}
