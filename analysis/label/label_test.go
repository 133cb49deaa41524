package label

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/trace"
)

func TestParseLabel(t *testing.T) {
	const ann, frame = trace.CatUserAnnotation, trace.CatPythonFunction
	for _, c := range []struct {
		name string
		cat  trace.Category
		want Label
		ok   bool
	}{
		{"execute_context_1(888_788544)_generation_0(0)", ann, Label{Method: VLLM, Kind: Prefill, Batch: 1, Prefills: 1,
			Tokens: 888}, true},
		{"execute_context_0(0)_generation_12(0)", ann, Label{Method: VLLM, Kind: Decode, Batch: 12, Tokens: 12}, true},
		{"execute_context_2(30_500)_generation_3(0)", ann, Label{Method: VLLM, Kind: Mixed, Batch: 5, Prefills: 2,
			Tokens: 33}, true},
		{"execute_32_context_0(sq0sk0sqsq0sqsk0)_generation_32(sq32sk55086sqsq32sqsk55086)", ann,
			Label{Method: VLLM, Kind: Decode, Batch: 32, Tokens: 32}, true},
		{"execute_context_0(0)_generation_0(0)", ann, Label{Method: VLLM, Skip: true}, true},
		{"execute_model", ann, Label{}, false},
		{"capture_32_FULL", ann, Label{Method: VLLM, Skip: true}, true},
		{"step[EXTEND bs=15 toks=15360]", ann, Label{Method: SGLang, Kind: Prefill, Batch: 15, Prefills: 15,
			Tokens: 15360}, true},
		{"step[decode bs=4]", ann, Label{Method: SGLang, Kind: Decode, Batch: 4, Tokens: 4}, true},
		{"step[DRAFT_EXTEND_V2 bs=4 toks=16]", ann, Label{Method: SGLang, Kind: Decode, Batch: 4, Tokens: 16}, true},
		{"[Executor] _forward_step 12: num_ctx_requests=1, num_ctx_tokens=37, num_generation_requests=0", ann,
			Label{Method: TRTLLM, Kind: Prefill, Batch: 1, Prefills: 1, Tokens: 37}, true},
		{"_forward_step 13: ctx_reqs: 0, gen_reqs: 6, gen_tokens: 12", ann,
			Label{Method: TRTLLM, Kind: Decode, Batch: 6, Tokens: 12}, true},
		{"step[DECODE bs=32 toks=32]", ann, Label{Method: SGLang, Kind: Decode, Batch: 32, Tokens: 32}, true},
		{"step[TARGET_VERIFY bs=4 toks=16]", ann, Label{Method: SGLang, Kind: Decode, Batch: 4, Tokens: 16}, true},
		{"step[IDLE]", ann, Label{Method: SGLang, Skip: true}, true},
		{"diffusion_step", ann, Label{Method: Omni, Kind: Denoise}, true},
		{"diffusion_forward", ann, Label{Method: OmniForward, Kind: Generation}, true},
		{"nn.Module: xFuserFluxTransformer2DWrapper_0", frame, Label{Method: Diffusers, Kind: Denoise}, true},
		{"execute_context_2(96)_generation_14(14)", ann, Label{Method: VLLM, Kind: Mixed, Batch: 16, Prefills: 2,
			Tokens: 110}, true},
		// vLLM's labels of its scheduler's output.
		{"execute_new_4_cached_0", ann, Label{Method: VLLM, Kind: Prefill, Batch: 4, Prefills: 4}, true},
		{"execute_new_2_cached_4", ann, Label{Method: VLLM, Kind: Mixed, Batch: 6, Prefills: 2}, true},
		{"execute_new_0_cached_6", ann, Label{Method: VLLM, Kind: Decode, Batch: 6, Tokens: 6}, true},
		{"execute_new_0_cached_0", ann, Label{Method: VLLM, Skip: true}, true},
		{"execute_model_new_1(512)_cached_7(7)", ann, Label{Method: VLLM, Kind: Mixed, Batch: 8, Prefills: 1,
			Tokens: 519}, true},
		{"execute_519_prefill_1(512)_decode_7(7)", ann, Label{Method: VLLM, Kind: Mixed, Batch: 8, Prefills: 1,
			Tokens: 519}, true},
		{"execute_new_0_cached_6", trace.CatCPUOp, Label{Method: VLLM, Kind: Decode, Batch: 6, Tokens: 6}, true},
		{"execute_renewed_4", ann, Label{}, false},
		{"execute_new_2_running_3", ann, Label{Method: VLLM, Kind: Mixed, Batch: 5, Prefills: 2}, true},
		{"execute_scheduled_new_reqs_0_scheduled_cached_reqs_3", ann, Label{Method: VLLM, Kind: Decode, Batch: 3,
			Tokens: 3}, true},
		{"execute_2_prefills_3_decodes", ann, Label{Method: VLLM, Kind: Mixed, Batch: 5, Prefills: 2}, true},
		{"execute_model[prefill=0,decode=2]", ann, Label{Method: VLLM, Kind: Decode, Batch: 2, Tokens: 2}, true},
		{"iter 7: 2 ctx reqs, 0 gen reqs", ann, Label{Method: TRTLLM, Kind: Prefill, Batch: 2, Prefills: 2}, true},
		{"step[DLLM_EXTEND bs=2 toks=64]", ann, Label{Method: SGLang, Batch: 2, Tokens: 64}, true},
		// TensorRT-LLM.
		{"[Executor] _forward_step 0: 1 ctx reqs, 512 ctx tokens, 0 gen reqs", ann,
			Label{Method: TRTLLM, Kind: Prefill, Batch: 1, Prefills: 1, Tokens: 512}, true},
		{"[Executor] _forward_step 11: 0 ctx reqs, 0 ctx tokens, 4 gen reqs", ann,
			Label{Method: TRTLLM, Kind: Decode, Batch: 4, Tokens: 4}, true},
		{"[Executor] _forward_step 12: 2 ctx reqs, 96 ctx tokens, 3 gen reqs", ann,
			Label{Method: TRTLLM, Kind: Mixed, Batch: 5, Prefills: 2, Tokens: 99}, true},
		{"[Executor] _forward_step 13: 0 ctx reqs, 0 ctx tokens, 0 gen reqs", ann, Label{Method: TRTLLM, Skip: true},
			true},
		{"PyExecutor: forward_step 7: 1 context requests, 8 context tokens, 2 generation requests, 6 generation tokens",
			ann, Label{Method: TRTLLM, Kind: Mixed, Batch: 3, Prefills: 1, Tokens: 14}, true},
		{"_forward_step", ann, Label{}, false},
		// SGLang: the draft model, split prefill, detailed annotations, no tokens.
		{"step[DECODE bs=32]", ann, Label{Method: SGLang, Kind: Decode, Batch: 32, Tokens: 32}, true},
		{"step[DRAFT_EXTEND bs=4 toks=12]", ann, Label{Method: SGLang, Kind: Decode, Batch: 4, Tokens: 12}, true},
		{"step[DRAFT_EXTEND_V2 bs=4]", ann, Label{Method: SGLang, Kind: Decode, Batch: 4}, true},
		{"step[SPLIT_PREFILL bs=1 toks=64]", ann, Label{Method: SGLang, Kind: Prefill, Batch: 1, Prefills: 1,
			Tokens: 64}, true},
		{"step[EXTEND bs=3 toks=96 c=1 g=2 c_sq=94 c_sk=94 g_sq=2]", ann,
			Label{Method: SGLang, Kind: Mixed, Batch: 3, Prefills: 1, Tokens: 96}, true},
		{"step[EXTEND bs=3 toks=96 c=3 g=0 c_sq=96]", ann, Label{Method: SGLang, Kind: Prefill, Batch: 3, Prefills: 3,
			Tokens: 96}, true},
		{"step[MIXED bs=5 toks=40 c=2 g=3]", ann, Label{Method: SGLang, Kind: Mixed, Batch: 5, Prefills: 2, Tokens: 40},
			true},
		{"step[MIXED bs=2 c=2 g=0 c_sq=6 g_sq=0]", ann, Label{Method: SGLang, Kind: Prefill, Batch: 2, Prefills: 2,
			Tokens: 6}, true},
		{"step[DECODE bs=8 g_sq=24 g_sk=900]", ann, Label{Method: SGLang, Kind: Decode, Batch: 8, Tokens: 24}, true},
		{"forward_decode", ann, Label{Method: SGLang, Kind: Decode}, true},
		{"forward_extend bs=2 toks=40", ann, Label{Method: SGLang, Kind: Prefill, Batch: 2, Prefills: 2, Tokens: 40},
			true},
		{"draft_extend", ann, Label{Method: SGLang, Kind: Decode}, true},
		{"target_verify bs=4", ann, Label{Method: SGLang, Kind: Decode, Batch: 4}, true},
		{"forward_idle", ann, Label{Method: SGLang, Skip: true}, true},
		{"forward_pass", ann, Label{}, false},
		{"forward_and_loss", ann, Label{}, false},
		{"draft", ann, Label{}, false},
		// vLLM on TPUs, and what else tells requests and tokens without a split.
		{"execute_model: 6 reqs, 6 toks", ann, Label{Method: VLLM, Kind: Decode, Batch: 6, Tokens: 6}, true},
		{"execute_model: 3 reqs, 700 toks", ann, Label{Method: VLLM, Batch: 3, Tokens: 700}, true},
		{"execute_num_reqs_5_num_tokens_5", ann, Label{Method: VLLM, Kind: Decode, Batch: 5, Tokens: 5}, true},
		{"execute_num_reqs_2_num_tokens_90", ann, Label{Method: VLLM, Batch: 2, Tokens: 90}, true},
		{"execute_model: 0 reqs, 0 toks", ann, Label{Method: VLLM, Skip: true}, true},
		{"execute_context_script", ann, Label{}, false},
		// ATOM.
		{"prefill[bs=2 tok=900 ctx=[500, 400]]", ann, Label{Method: ATOM, Kind: Prefill, Batch: 2, Prefills: 2,
			Tokens: 900}, true},
		{"decode[bs=29/32 tok=29 d=29]", ann, Label{Method: ATOM, Kind: Decode, Batch: 29, Tokens: 29}, true},
		{"eager_decode[bs=7 tok=21 d=7 spec=2]", ann, Label{Method: ATOM, Kind: Decode, Batch: 7, Tokens: 21}, true},
		{"decode[bs=12 tok=50 p=2 d=10 tbo=1]", ann, Label{Method: ATOM, Kind: Mixed, Batch: 12, Prefills: 2,
			Tokens: 50}, true},
		{"dummy_decode[bs=1/8 tok=1 d=1]", ann, Label{Method: ATOM, Kind: Decode, Skip: true, Batch: 1, Tokens: 1},
			true},
		{"encode[bs=4]", ann, Label{}, false},
		// Frames of model runners; those of attention have the same names.
		{"sglang/srt/model_executor/model_runner.py(2101): forward_decode", frame, Label{Method: Runner, Kind: Decode},
			true},
		{"/usr/lib/python3/sglang/srt/model_executor/model_runner.py(9): forward_extend", frame,
			Label{Method: Runner, Kind: Prefill}, true},
		{"sglang/srt/model_executor/cuda_graph_runner.py(800): replay", frame, Label{Method: Runner, Kind: Decode},
			true},
		{"sglang/srt/model_executor/piecewise_cuda_graph_runner.py(80): replay", frame,
			Label{Method: Runner, Kind: Prefill}, true},
		{"sglang/srt/model_executor/model_runner.py(33): forward_idle", frame, Label{Method: Runner, Skip: true}, true},
		{"sglang/srt/layers/attention/flashinfer_backend.py(5): forward_decode", frame, Label{}, false},
		{"vllm/v1/worker/gpu_model_runner.py(2700): execute_model", frame, Label{Method: Runner}, true},
		{"vllm/v1/worker/gpu/model_runner.py(900): execute_model", frame, Label{Method: Runner}, true},
		{"vllm/v1/worker/gpu_worker.py(55): execute_model", frame, Label{}, false},
		{"step[DUMMY_FIRST]", ann, Label{Method: SGLang, Skip: true}, true},
		{"ProfilerStep#12", ann, Label{Method: ProfilerStep}, true},
		{"ProfilerStep#12", trace.CatCPUOp, Label{Method: ProfilerStep}, true},
		{"decode_step", trace.CatCPUOp, Label{}, false},
		{"ProfilerStepper", ann, Label{Method: ProfilerStep}, false},
		{"decode_step", ann, Label{Method: Native, Kind: Decode}, true},
		{"nn.Module: FluxTransformer2DModel_0", frame, Label{Method: Diffusers, Kind: Denoise}, true},
		{"nn.Module: UNet2DConditionModel_0", frame, Label{Method: Diffusers, Kind: Denoise}, true},
		{"nn.Module: Linear_3", frame, Label{}, false},
		{"diffusers/schedulers/scheduling_flow_match_euler_discrete.py(370): step", frame,
			Label{Method: Diffusers, Kind: Denoise, rank: 1, atEnd: true}, true},
		{"torch/optim/lr_scheduler.py(12): step", frame, Label{}, false},
	} {
		got, ok := Parse(c.name, c.cat)
		got.spec = noPart // see TestSpeculative
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

// FuzzParse: no name makes Parse panic, and what it reads is no nonsense.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"execute_new_1_cached_2", "step[DECODE bs=1", "_forward_step 1 ctx req",
		"execute_99999999999999999999_context_1(1)_generation_1(1)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for _, c := range []trace.Category{trace.CatUserAnnotation, trace.CatPythonFunction, trace.CatCPUOp} {
			l, ok := Parse(name, c)
			if ok && (l.Batch < 0 || l.Prefills < 0 || l.Tokens < 0 || l.Method == "" || l.Method.Words() == "" ||
				l.Kind >= NumKinds) {
				t.Errorf("%q: %+v", name, l)
			}
		}
	})
}

func TestEveryKindHasAName(t *testing.T) {
	if NumKinds.String() != "kind of step(10)" || (NumKinds-1).String() != "training" {
		t.Errorf("%v, %v", NumKinds, NumKinds-1)
	}
}

var vllmPattern = regexp.MustCompile(`(?:^|[_\[( ,])(context|ctx|new|prefill|generation|gen|cached|decode|running)` +
	`(?:_(?:reqs|requests|seqs))?[_=](\d+)(?:\((?:sq)?(\d*)[^)]*\))?`)

// TestVLLMParts: the labels' parts are those of a pattern, in any text.
func TestVLLMParts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		pieces := append([]string{"_", "=", "(", ")", "sq", "1", "20", "[", ",", " ", "x", "s", "_reqs", "_seqs"},
			vllmWords...)
		text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 20).Draw(rt, "text"), "")
		var want []vllmPart
		for _, m := range vllmPattern.FindAllStringSubmatch(text, -1) {
			want = append(want, vllmPart{m[1], m[2], m[3]})
		}
		if got := vllmParts(text); !slices.Equal(got, want) {
			rt.Fatalf("%q: %q, want %q", text, got, want)
		}
	})
}

func BenchmarkEngine(b *testing.B) {
	for b.Loop() {
		Engine("execute_context_2(512)_generation_17(17)")
	}
}

// An annotation with the number of a step is one whatever its name, and its name may say what it computes.
func TestNumberedSteps(t *testing.T) {
	tr := trace.New()
	add := func(name, args string, cat trace.Category) int {
		return tr.AddSlice(trace.Slice{Name: name, Cat: cat, Args: []byte(args)})
	}
	for _, c := range []struct {
		name, args string
		cat        trace.Category
		want       Label
		ok         bool
	}{
		{"train", `{"step_num": "3"}`, trace.CatUserAnnotation, Label{Method: StepTrace, Kind: Training}, true},
		{"Prefill 8", `{"step_num": 0}`, trace.CatUserAnnotation, Label{Method: StepTrace, Kind: Prefill}, true},
		{"decode", `{"step_num": 1}`, trace.CatUserAnnotation, Label{Method: StepTrace, Kind: Decode}, true},
		{"f", `{"x": 2, "step_num": 1}`, trace.CatUserAnnotation, Label{Method: StepTrace}, true},
		{"step[DECODE bs=4]", `{"step_num": 1}`, trace.CatUserAnnotation,
			Label{Method: SGLang, Kind: Decode, Batch: 4, Tokens: 4, spec: decodes}, true},
		{"train", `{"step_num": "many"}`, trace.CatUserAnnotation, Label{}, false},
		{"train", `{"step": 3}`, trace.CatUserAnnotation, Label{}, false},
		{"f", `{"step_num": 3}`, trace.CatCPUOp, Label{}, false},
	} {
		i := add(c.name, c.args, c.cat)
		found, _ := Find(tr, func(k int) bool { return k == i })
		if len(found) > 1 || (len(found) == 1) != c.ok || c.ok && found[0].Label != c.want {
			t.Errorf("%s %s: %+v, want %+v", c.name, c.args, found, c.want)
		}
	}
}

// Of annotations with one name those with a number are steps, whichever comes first.
func TestNumberedBesideOthers(t *testing.T) {
	tr := trace.New()
	for i, args := range []string{`{}`, `{"step_num": 1}`, `{"x": 2}`, `{"step_num": 2}`} {
		tr.AddSlice(trace.Slice{Name: "infer", Start: int64(10 * i), Dur: 5, Cat: trace.CatUserAnnotation,
			Args: []byte(args)})
	}
	found, skipped := Find(tr, func(int) bool { return true })
	if len(found) != 2 || found[0].Slice != 1 || found[1].Slice != 3 || skipped != 0 {
		t.Errorf("%+v, %d skipped", found, skipped)
	}
}
