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
	"dir=/DIR (vLLM's torch_profiler_dir; for SGLang any that both can write to)")

// procRoot is where the host tells of its processes.
const procRoot = "/proc"

// vllmDir is the directory in a vLLM's command line.
var vllmDir = regexp.MustCompile(`torch_profiler_dir["']?\s*[:=]\s*["']?([^"',}\s]+)`)

// findDir finds where a server of this host writes: a vLLM's command line has its
// torch_profiler_dir, an SGLang is told a directory below the system's temporary one. The
// port is the engine's usual one where the command line has none.
func findDir(to Target, usual string) (string, error) {
	u, err := url.Parse(to.URL)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", errNoDir
	}
	switch to.Engine {
	case protocol.EngineVLLM, protocol.EngineVLLMOmni:
	case protocol.EngineDynamo:
		return "", errNoDir // its system server's port is in no command line
	default:
		return os.TempDir(), nil
	}
	files, _ := filepath.Glob(filepath.Join(procRoot, "[0-9]*", "cmdline"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		args := strings.Split(string(text), "\x00")
		port := usual
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
