package server

import (
	"errors"
	"maps"
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

// vllmCUDA matches whether a vLLM's command line has the profiler of CUDA.
var vllmCUDA = regexp.MustCompile(`["']?profiler["']?\s*[:=]\s*["']?cuda\b`)

// rangesOfCUDA reports whether a server on this host was started with the profiler of CUDA.
func rangesOfCUDA(to Target, e engine) bool {
	u, err := url.Parse(to.URL)
	return err == nil && loopback(u.Hostname()) && slices.ContainsFunc(commands(), func(args []string) bool {
		_, ok := engineOf(args)
		return ok && portOf(args, e.port()) == u.Port() && vllmCUDA.MatchString(strings.Join(args, " "))
	})
}

// loopback reports whether a host is this one.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// findDir finds where a server of an engine writes that serves on this host.
func findDir(to Target, e engine) (string, error) {
	u, err := url.Parse(to.URL)
	if err != nil {
		return "", err
	}
	if !loopback(u.Hostname()) {
		return "", errNoDir
	}
	return e.dir(func() []string { return commandsOf(to, e) })
}

// commandsOf returns the command lines of this host's processes that serve at a target's port.
func commandsOf(to Target, e engine) []string {
	u, err := url.Parse(to.URL)
	if err != nil {
		return nil
	}
	var out []string
	for _, args := range commands() {
		if portOf(args, e.port()) == u.Port() {
			out = append(out, strings.Join(args, " "))
		}
	}
	return out
}

// commands returns the command lines of all processes of this host.
func commands() [][]string {
	var out [][]string
	files, _ := filepath.Glob(filepath.Join(procRoot, "[0-9]*", "cmdline"))
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			out = append(out, strings.Split(string(text), "\x00"))
		}
	}
	return out
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

// OfThisHost finds servers on this host by their command lines.
func OfThisHost() []Target {
	var out []Target
	seen := map[string]bool{}
	for _, args := range commands() {
		name, ok := engineOf(args)
		if !ok {
			continue
		}
		t := Target{Engine: name, Stage: string(name), URL: "http://127.0.0.1:" + portOf(args, engines[name].port()),
			Token: os.Getenv(TokenEnv)}
		if !seen[t.URL] {
			seen[t.URL] = true
			out = append(out, t)
		}
	}
	return out
}

// commandWords is how many words of a command line tell what it starts: an interpreter, its options and
// the program. Those behind may be anything.
const commandWords = 4

// engineOf returns the engine that a command line starts.
func engineOf(args []string) (protocol.Engine, bool) {
	args = args[:min(len(args), commandWords)]
	for _, name := range slices.Sorted(maps.Keys(engines)) {
		if engines[name].runs(args) {
			return name, true
		}
	}
	return "", false
}
