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

// errNoDir says what to do where the directory of a server's files cannot be known.
var errNoDir = errors.New("where it writes is not known here: give the directory as this host sees it, " +
	"?dir=/DIR (vLLM's torch_profiler_dir; for SGLang any that both can write to)")

// procRoot is where the host tells of its processes.
const procRoot = "/proc"

// defaultPorts are the engines' own.
var defaultPorts = map[protocol.Engine]string{protocol.EngineVLLM: "8000", protocol.EngineSGLang: "30000"}

// vllmDir is the directory in a vLLM's command line.
var vllmDir = regexp.MustCompile(`torch_profiler_dir["']?\s*[:=]\s*["']?([^"',}\s]+)`)

// findDir finds where a server of this host writes: a vLLM's command line has its
// torch_profiler_dir, an SGLang is told a directory below the system's temporary one.
func findDir(to Target) (string, error) {
	u, err := url.Parse(to.URL)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", errNoDir
	}
	if to.Engine == protocol.EngineSGLang {
		return os.TempDir(), nil
	}
	files, _ := filepath.Glob(filepath.Join(procRoot, "[0-9]*", "cmdline"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		args := strings.Split(string(text), "\x00")
		port := defaultPorts[to.Engine]
		if i := slices.Index(args, "--port"); i >= 0 && i+1 < len(args) {
			port = args[i+1]
		}
		for _, a := range args {
			if p, ok := strings.CutPrefix(a, "--port="); ok {
				port = p
			}
		}
		if m := vllmDir.FindStringSubmatch(strings.Join(args, " ")); m != nil && port == u.Port() && filepath.IsAbs(m[1]) {
			return m[1], nil
		}
	}
	return "", errNoDir
}
