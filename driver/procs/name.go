package procs

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxStageName is what a stage's name may have in a deployment file.
	maxStageName = 64
	// noName is the stage of processes that say nothing at all.
	noName = "torch"
	// maxAxis bounds a title's DP, PP and TP: their product is a rank, also in 32 bits.
	maxAxis = 1<<12 - 1
)

// title is what a program says of itself: "VLLM::Worker_DP0_TP1".
type title struct {
	program        string // lower case
	dp, pp, tp     int    // 0 where not said
	hasDP, hasRank bool   // hasRank: PP or TP is said, or that it is the worker of a single rank
	serves         bool   // it runs no model
}

// servants begin the roles of processes that import torch and run no model: API servers and what stands between
// them and the ranks.
var servants = []string{"APIServer", "DPCoordinator", "detokenizer", "tokenizer_worker", "data_parallel_controller"}

// soleWorker is the role of the process that runs a vLLM's model where no axis tells it from others.
const soleWorker = "Worker"

// parseTitle reports false if args is no title of the form program::role.
func parseTitle(args []string) (title, bool) {
	if len(args) == 0 {
		return title{}, false
	}
	first, _, _ := strings.Cut(args[0], " ")
	program, role, ok := strings.Cut(first, "::")
	if !ok || program == "" || strings.Contains(program, "/") {
		return title{}, false
	}
	t := title{program: strings.ToLower(program), hasRank: role == soleWorker,
		serves: slices.ContainsFunc(servants, func(s string) bool { return strings.HasPrefix(role, s) })}
	for part := range strings.SplitSeq(role, "_") {
		if v, ok := axis(part, "DP"); ok {
			t.dp, t.hasDP = v, true
		} else if v, ok := axis(part, "PP"); ok {
			t.pp, t.hasRank = v, true
		} else if v, ok := axis(part, "TP"); ok {
			t.tp, t.hasRank = v, true
		}
	}
	return t, true
}

// replica is the one that a title says or, if it says none, that of the nearest title above that does; nil: none
// does.
func (t title) replica(above *title) (int, bool) {
	switch {
	case t.hasDP:
		return t.dp, true
	case above != nil && above.program == t.program:
		return above.dp, true
	}
	return 0, false
}

// saysReplicaAbove returns the nearest title of the ancestors, whose arguments args returns, that says a replica;
// nil if none does.
func saysReplicaAbove(ancestors []int, args func(pid int) []string) *title {
	for _, pid := range ancestors {
		if t, ok := parseTitle(args(pid)); ok && t.hasDP {
			return &t
		}
	}
	return nil
}

func axis(s, name string) (int, bool) {
	digits, ok := strings.CutPrefix(s, name)
	if !ok {
		return 0, false
	}
	return number(digits, maxAxis)
}

// number takes digits only, no sign.
func number(s string, limit uint64) (int, bool) {
	v, err := strconv.ParseUint(s, 10, 31)
	return int(v), err == nil && v <= limit
}

// nameOf derives a stage's name from a command line.
func nameOf(args []string) string {
	if t, ok := parseTitle(args); ok {
		return cleanName(t.program)
	}
	if len(args) == 0 {
		return noName
	}
	if len(args) == 1 { // perhaps a title in words: the rest may change
		word, _, _ := strings.Cut(args[0], " ")
		args = []string{strings.TrimRight(word, ":")}
	}
	exe := path.Base(args[0])
	if isPython(exe) {
		return cleanName(pythonProgram(args[1:]))
	}
	if exe == "torchrun" {
		return cleanName(torchrunTarget(args[1:]))
	}
	if args[0] == "" {
		return noName
	}
	return cleanName(exe)
}

// isPython knows python, python3, python3.12, python3.13t and their like of pypy.
func isPython(exe string) bool {
	v, ok := strings.CutPrefix(exe, "python")
	if !ok {
		v, ok = strings.CutPrefix(exe, "pypy")
	}
	return ok && strings.Trim(strings.TrimSuffix(v, "t"), "0123456789.") == ""
}

// splitPython returns what the interpreter is told to run, a script's path or a module,
// and its arguments; both are "" for code on the command line or a prompt.
func splitPython(args []string) (script, module string, rest []string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if len(a) < 2 || a[0] != '-' {
			if a == "-" {
				return "", "", nil
			}
			return a, "", args[i+1:]
		}
		if strings.HasPrefix(a, "--") {
			if a == "--check-hash-based-pycs" {
				i++
			}
			continue
		}
		at := strings.IndexAny(a, "cmXW") // letters before it are flags, after it its value
		if at < 0 {
			continue
		}
		value := a[at+1:]
		if value == "" {
			if i++; i < len(args) {
				value = args[i]
			}
		}
		switch a[at] {
		case 'c':
			return "", "", nil
		case 'm':
			return "", value, args[min(i+1, len(args)):]
		}
	}
	return "", "", nil
}

func pythonProgram(args []string) string {
	script, module, rest := splitPython(args)
	switch {
	case module == "torch.distributed.run" || module == "torch.distributed.launch" || path.Base(script) == "torchrun":
		return torchrunTarget(rest)
	case module != "":
		return lastPart(module)
	case script != "":
		return scriptName(script)
	}
	return "python"
}

// torchrunFlags are torchrun's options without a value, '-' for '_'.
var torchrunFlags = map[string]bool{"--standalone": true, "--no-python": true, "--run-path": true,
	"--use-env": true, "--virtual-local-rank": true, "--help": true, "-h": true}

// torchrunTarget is the name of what torchrun starts.
func torchrunTarget(args []string) string {
	module := false
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case !strings.HasPrefix(a, "-"):
			if module {
				return lastPart(a)
			}
			return scriptName(a)
		case a == "-m" || a == "--module":
			module = true
		case !strings.Contains(a, "=") && !torchrunFlags[strings.ReplaceAll(a, "_", "-")]:
			i++
		}
	}
	return "torchrun"
}

func lastPart(module string) string { return module[strings.LastIndexByte(module, '.')+1:] }

func scriptName(file string) string { return strings.TrimSuffix(path.Base(file), ".py") }

// compileWorker is the script of the processes that Inductor compiles kernels in.
const compileWorker = "/torch/_inductor/compile_worker/__main__.py"

func isCompileWorker(args []string) bool {
	if len(args) == 0 || !isPython(path.Base(args[0])) {
		return false
	}
	script, module, _ := splitPython(args[1:])
	return strings.HasSuffix(script, compileWorker) || module == "torch._inductor.compile_worker"
}

// cleanName makes s what a stage's name may be.
func cleanName(s string) string {
	out := []byte(nil)
	for _, r := range s {
		if len(out) == maxStageName {
			break
		}
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_', r == '-':
			out = append(out, byte(r))
		default:
			out = append(out, '_')
		}
	}
	if len(out) == 0 {
		return noName
	}
	return string(out)
}
