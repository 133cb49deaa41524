package procs

import (
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/protocol"
)

func TestNames(t *testing.T) {
	for args, want := range map[string]string{
		"":                                   "torch",
		"VLLM::Worker_TP0":                   "vllm",
		"VLLM::EngineCore":                   "vllm",
		"sglang::scheduler_DP0_TP1":          "sglang",
		"python train.py":                    "train",
		"/usr/bin/python3.12 -u /a/b/dit.py": "dit",
		"python -X dev -W ignore -Bu x.py":   "x",
		"python -Xdev -Wignore x.py":         "x",
		"python -m a.b.c --port 1":           "c",
		"python -um a.b.c":                   "c",
		"python -ma.b":                       "b",
		"python -c import":                   "python",
		"python":                             "python",
		"python -":                           "python",
		"python -m":                          "python",
		"python -X":                          "python",
		"python --check-hash-based-pycs never s.py":                        "s",
		"python -m torch.distributed.run --nproc-per-node 2 t.py --x":      "t",
		"python -m torch.distributed.run --nproc_per_node=2 -m my.mod":     "mod",
		"python /usr/bin/torchrun --standalone --nproc-per-node 2 /a/t.py": "t",
		"torchrun --no_python --nnodes 1 ./serve":                          "serve",
		"torchrun --help": "torchrun",
		"/usr/bin/python3 /usr/local/bin/vllm serve m": "vllm",
		"/opt/my-server --x":                           "my-server",
		"pythonic x":                                   "pythonic",
		"python .py":                                   "torch",
		"python my\u00e9 model.v2.py":                  "my_",
		"python " + strings.Repeat("long", 30) + ".py": strings.Repeat("long", 16),
		"python /x/torch/_inductor/compile_worker/__main__.py --pickler=p": "__main__",
		"python /srv/a::b.py": "a__b",
	} {
		var a []string
		if args != "" {
			a = strings.Split(args, " ")
		}
		if got := nameOf(a); got != want {
			t.Errorf("%q: name %q, want %q", args, got, want)
		}
	}
	for title, want := range map[string]string{"trainer: step 5": "trainer", "": "torch", "/opt/x y": "x", "/": "_"} {
		if got := nameOf([]string{title}); got != want {
			t.Errorf("title %q: name %q, want %q", title, got, want)
		}
	}
}

func TestTitles(t *testing.T) {
	for s, want := range map[string]title{
		"VLLM::EngineCore":                 {program: "vllm"},
		"VLLM::EngineCore_DP3":             {program: "vllm", dp: 3, hasDP: true},
		"VLLM::Worker":                     {program: "vllm", hasRank: true},
		"VLLM::Worker_DP1_PP2_TP3_EP4":     {program: "vllm", dp: 1, pp: 2, tp: 3, hasDP: true, hasRank: true},
		"VLLM::Worker_PCP1_DCP2":           {program: "vllm"},
		"sglang::scheduler_TP1":            {program: "sglang", tp: 1, hasRank: true},
		"sglang::scheduler_TP1 busy":       {program: "sglang", tp: 1, hasRank: true},
		"sglang::scheduler_TP_TPx_TP99999": {program: "sglang"},
		"sglang::scheduler_TP-1_PP+1":      {program: "sglang"},
		"A::":                              {program: "a"},
		"VLLM::APIServer_1":                {program: "vllm", serves: true},
		"sglang::detokenizer":              {program: "sglang", serves: true},
	} {
		if got, ok := parseTitle([]string{s}); !ok || got != want {
			t.Errorf("%q: %+v, %v; want %+v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "python", "::x", "/opt/a::b", "a b::c"} {
		if got, ok := parseTitle([]string{s}); ok {
			t.Errorf("%q is a title: %+v", s, got)
		}
	}
}

func TestCompileWorkers(t *testing.T) {
	for args, want := range map[string]bool{
		"python /x/torch/_inductor/compile_worker/__main__.py --kind=fork": true,
		"python3 -m torch._inductor.compile_worker":                        true,
		"python train.py /torch/_inductor/compile_worker/__main__.py":      false,
		"cat /x/torch/_inductor/compile_worker/__main__.py":                false,
	} {
		if got := isCompileWorker(strings.Split(args, " ")); got != want {
			t.Errorf("%q: %v", args, got)
		}
	}
}

func FuzzTitle(f *testing.F) {
	for _, s := range []string{"VLLM::Worker_DP0_PP1_TP2", "python\x00-uX\x00dev\x00-m\x00a.b", "torchrun\x00--x\x00-m",
		"\xff::_TP07"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		args := splitArgs(s)
		title, _ := parseTitle(args)
		for _, n := range []int{title.dp, title.pp, title.tp} {
			if n < 0 || n > maxAxis {
				t.Errorf("%q: %+v", args, title)
			}
		}
		isCompileWorker(args)
		// A stage's name has the alphabet and length of a pipeline's.
		if err := protocol.ValidatePipelineName(nameOf(args)); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	})
}
