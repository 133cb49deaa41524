package server

import (
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// errNoDir says what to do if the directory of a server's files is not known.
var errNoDir = errors.New("where it writes is not known here: give the directory as this host sees it, " +
	"dir=/DIR (vLLM's torch_profiler_dir; for SGLang any that both can write to)")

// procRoot is where the host describes its processes.
const procRoot = "/proc"

// vllmDir matches the directory in a vLLM's command line.
var vllmDir = regexp.MustCompile(`torch_profiler_dir["']?\s*[:=]\s*["']?([^"',}\s]+)`)

// vllmStacks matches whether a vLLM's command line asks for call stacks.
var vllmStacks = regexp.MustCompile(`torch_profiler_with_stack["']?\s*[:=]\s*["']?(\w+)`)

// vllmCUDA matches whether a vLLM's command line has the profiler of CUDA.
var vllmCUDA = regexp.MustCompile(`["']?profiler["']?\s*[:=]\s*["']?cuda\b`)

// rangesOfCUDA reports whether a server on this host was started with the profiler of CUDA.
func rangesOfCUDA(to Target, usual string) bool {
	u, err := url.Parse(to.URL)
	if err != nil || !loopback(u.Hostname()) {
		return false
	}
	files, _ := filepath.Glob(filepath.Join(procRoot, "[0-9]*", "cmdline"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !vllmCUDA.Match(text) {
			continue
		}
		args := strings.Split(string(text), "\x00")
		if _, ok := engineOf(args); ok && portOf(args, usual) == u.Port() {
			return true
		}
	}
	return false
}

// loopback reports whether a host is this one.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// findDir finds where a server on this host writes. A vLLM has its torch_profiler_dir in its
// command line; an SGLang is told to write below the system's temporary directory. usual is the
// engine's default port.
func findDir(to Target, usual string) (string, error) {
	u, err := url.Parse(to.URL)
	if err != nil {
		return "", err
	}
	if !loopback(u.Hostname()) {
		return "", errNoDir
	}
	switch to.Engine {
	case protocol.EngineVLLM, protocol.EngineVLLMOmni:
	case protocol.EngineDynamo:
		return "", errNoDir // no command line has the port of its system server
	default:
		return os.TempDir(), nil
	}
	if m := vllmDir.FindStringSubmatch(commandOf(to, usual)); m != nil && filepath.IsAbs(m[1]) {
		return m[1], nil
	}
	return "", errNoDir
}

// commandOf returns the command line of the server on this host that listens on the target's port
// and names a directory for traces, "" if there is none.
func commandOf(to Target, usual string) string {
	u, err := url.Parse(to.URL)
	if err != nil {
		return ""
	}
	files, _ := filepath.Glob(filepath.Join(procRoot, "[0-9]*", "cmdline"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		args := strings.Split(string(text), "\x00")
		line := strings.Join(args, " ")
		if portOf(args, usual) == u.Port() && vllmDir.MatchString(line) {
			return line
		}
	}
	return ""
}

// portOf returns the port in a command line, or usual if it has none.
func portOf(args []string, usual string) string {
	port := usual
	if i := slices.Index(args, "--port"); i >= 0 && i+1 < len(args) {
		port = args[i+1]
	}
	for _, a := range args {
		if p, ok := strings.CutPrefix(a, "--port="); ok {
			port = p
		}
	}
	return port
}

// OfThisHost finds servers on this host by their command lines: vLLM's, vLLM-Omni's and SGLang's.
func OfThisHost() []Target {
	var out []Target
	seen := map[string]bool{}
	files, _ := filepath.Glob(filepath.Join(procRoot, "[0-9]*", "cmdline"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		args := strings.Split(string(text), "\x00")
		e, ok := engineOf(args)
		if !ok {
			continue
		}
		t := Target{Engine: e, Stage: string(e), URL: "http://127.0.0.1:" + portOf(args, engines[e].port()),
			Token: os.Getenv(TokenEnv)}
		if !seen[t.URL] {
			seen[t.URL] = true
			out = append(out, t)
		}
	}
	return out
}

// engineOf returns the engine that a command line starts.
func engineOf(args []string) (protocol.Engine, bool) {
	for i, a := range args[:min(len(args), 4)] {
		switch {
		case a == "sglang.launch_server" || strings.HasSuffix(a, "/sglang/launch_server.py"):
			return protocol.EngineSGLang, true
		case a == "serve" && i > 0 && (filepath.Base(args[i-1]) == "vllm" || filepath.Base(args[i-1]) == "vllm-omni"):
			return protocol.EngineVLLM, true
		case a == "vllm.entrypoints.openai.api_server":
			return protocol.EngineVLLM, true
		}
	}
	return "", false
}
