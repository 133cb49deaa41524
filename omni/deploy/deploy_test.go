package deploy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBuiltins(t *testing.T) {
	for _, name := range Builtins {
		p, warnings, err := Load(name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(warnings) > 0 {
			t.Errorf("%s: warnings %v", name, warnings)
		}
		for _, s := range p.Stages {
			if !s.Profiled() || !s.Profiler.RecordShapes || !s.Profiler.WithStack {
				t.Errorf("%s stage %s: profiler_config %+v: want the common one over the defaults", name, s.Name,
					s.Profiler)
			}
		}
	}
}

func TestRoute(t *testing.T) {
	p, _, err := Load("omni")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		outputs []string
		want    []int
	}{
		{[]string{"text"}, []int{0}},
		{[]string{"audio"}, []int{0, 1, 2}},
		{[]string{"text", "audio"}, []int{0, 1, 2}},
	} {
		got, err := p.Route(c.outputs)
		if err != nil || !cmp.Equal(got, c.want) {
			t.Errorf("Route(%v) = %v, %v, want %v", c.outputs, got, err, c.want)
		}
	}
	if _, err := p.Route([]string{"image"}); err == nil || !strings.Contains(err.Error(), "text, audio") {
		t.Errorf("Route(image) = %v, want an error naming what the pipeline makes", err)
	}
}

func TestSpellings(t *testing.T) {
	nested := "stage_args:\n- stage_id: 0\n  stage_type: llm\n  engine_args: {model: m, model_stage: thinker, tensor_parallel_size: 2, gpu_memory_utilization: 0.8}\n  final_output: true\n  final_output_type: text\n"
	flat := "stages:\n- stage_id: 0\n  stage_type: llm\n  model: m\n  model_stage: thinker\n  tensor_parallel_size: 2\n  gpu_memory_utilization: 0.8\n  final_output: true\n  final_output_type: text\n"
	a, wa, err := Parse("dir/p.yaml", []byte(nested))
	if err != nil {
		t.Fatal(err)
	}
	b, wb, err := Parse("dir/p.yaml", []byte(flat))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("nested and flat differ:\n%s", diff)
	}
	if a.Stages[0].Model != "dir/m" || a.Name != "p" || a.Stages[0].Name != "thinker" {
		t.Errorf("got %+v", a)
	}
	if len(wa) != 1 || !strings.Contains(wa[0], "gpu_memory_utilization") || !cmp.Equal(wa, wb) {
		t.Errorf("warnings %v and %v, want one about gpu_memory_utilization", wa, wb)
	}
}

func TestErrors(t *testing.T) {
	const head = "stage_args:\n- stage_id: 0\n  stage_type: llm\n  engine_args: {model: m}\n  final_output: true\n  final_output_type: text\n"
	for name, c := range map[string]struct{ yaml, want string }{
		"unknown field": {head + "  engine_argz: 1\n", "[7:3]"},
		"wrong type": {strings.Replace(head, "{model: m}", "{model: m, max_num_seqs: many}", 1),
			"\"many\": want a whole number"},
		"no stages":      {"name: x\n", "no stages"},
		"wrong stage id": {strings.Replace(head, "stage_id: 0", "stage_id: 3", 1), "f.yaml:2: stage 0"},
		"model missing":  {strings.Replace(head, "{model: m}", "{seed: 1}", 1), "f.yaml:2: stage 0 (stage0): model"},
		"common profiler": {"profiler_config: {profiler: torch,\n  iteration: token}\n" + head,
			"f.yaml:2: stage 0 (stage0): profiler_config.iteration"},
		"three ranks": {strings.Replace(head, "{model: m}", "{model: m, tensor_parallel_size: 3}", 1),
			"f.yaml:4: stage 0 (stage0): tensor_parallel_size 3: 1, 2 or 4"},
		"stage type": {strings.Replace(head, "llm", "gpt", 1), "f.yaml:3: stage 0 (stage0): stage_type \"gpt\""},
		"profiler": {head + "profiler_config: {profiler: perf}\n",
			"f.yaml:7: stage 0 (stage0): profiler_config.profiler \"perf\""},
		"profiler field": {head + "profiler_config: {profilr: torch}\n", "[7:"},
		"source": {head + "- stage_id: 1\n  stage_type: llm\n  engine_args: {model: m}\n",
			"f.yaml:7: stage 1 (stage1): engine_input_source is missing"},
		"no final output": {strings.Replace(head, "final_output: true", "final_output: false", 1),
			"no stage has final_output"},
		"not YAML": {"stage_args: [", ""},
	} {
		_, _, err := Parse("f.yaml", []byte(c.yaml))
		if err == nil || !strings.HasPrefix(err.Error(), "f.yaml:") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want the file and %q", name, err, c.want)
		}
	}
}

func TestProfilerOverride(t *testing.T) {
	o, err := ParseProfilerJSON(`{"profiler":"torch","torch_profiler_with_stack":false}`)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.SetDotted(map[string]string{"max_iterations": "7", "torch_profiler_dir": "/x",
		"torch_profiler_use_gzip": "false"}); err != nil {
		t.Fatal(err)
	}
	p, _, _ := Load("omni")
	if err := p.Override(o); err != nil {
		t.Fatal(err)
	}
	c := p.Stages[1].Profiler
	if c.WithStack || c.UseGzip || c.MaxIterations != 7 || c.TorchProfilerDir != "/x" || !c.RecordShapes {
		t.Errorf("got %+v", c)
	}
	if _, err := ParseProfilerJSON(`{"profilr":1}`); err == nil || !strings.Contains(err.Error(), "profilr") {
		t.Errorf("unknown field: %v", err)
	}
	if err := o.SetDotted(map[string]string{"max_iterations": "many"}); err == nil ||
		!strings.Contains(err.Error(), "want a whole number") {
		t.Errorf("max_iterations=many: %v", err)
	}
	if o, err = ParseProfilerJSON(`{"max_iterations":-1}`); err != nil {
		t.Fatal(err)
	}
	if err := p.Override(o); err == nil || strings.Count(err.Error(), "max_iterations -1") != 1 {
		t.Errorf("max_iterations -1 in three stages: %v, want it said once", err)
	}
}

// Null is not absent: it switches off what is on for all stages.
func TestProfilerNull(t *testing.T) {
	const text = "profiler_config: {profiler: torch}\nstages:\n- {stage_id: 0, stage_type: llm, model: m, final_output: true, final_output_type: text, profiler_config: {profiler: %s}}\n"
	for value, want := range map[string]string{"null": "", "~": "", `""`: "", "torch": "torch"} {
		p, _, err := Parse("f.yaml", fmt.Appendf(nil, text, value))
		if err != nil || p.Stages[0].Profiler.Profiler != want {
			t.Errorf("profiler: %s: %+v, %v, want %q", value, p, err, want)
		}
	}
	for _, o := range []string{`{"profiler":null}`, `{"profiler":""}`} {
		p, _, _ := Load("omni")
		override, err := ParseProfilerJSON(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Override(override); err != nil || p.Stages[0].Profiled() {
			t.Errorf("%s: %v, profiled %v", o, err, p.Stages[0].Profiled())
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range Builtins {
		data, _ := builtins.ReadFile("builtin/" + name + ".yaml")
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, _, err := Parse("f.yaml", data)
		if (p == nil) != (err != nil) {
			t.Fatalf("Parse = %v, %v", p, err)
		}
	})
}
