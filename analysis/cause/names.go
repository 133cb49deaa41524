package cause

import (
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Short writes a frame as "core.py: step" and leaves other names as they are, without
// addresses of objects.
func Short(name string) string {
	name = trace.WithoutAddresses(strings.ReplaceAll(name, " object at 0x", " at 0x"))
	if !strings.Contains(name, ".py") {
		return name
	}
	if file, function, ok := frameOf(name); ok {
		return file + ": " + function
	}
	return name
}

// frameOf parts a Python frame as torch writes it, "vllm/engine/core.py(600): step", into its
// file without directories and its function.
func frameOf(name string) (file, function string, ok bool) {
	const behind = "): "
	for from := 0; ; {
		at := strings.Index(name[from:], behind)
		if at < 0 {
			return "", "", false
		}
		at += from
		from = at + 1
		path := strings.TrimRight(name[:at], "0123456789")
		function = name[at+len(behind):]
		if len(path) == at || !strings.HasSuffix(path, "(") || function == "" {
			continue
		}
		path = path[:len(path)-1]
		file = path[strings.LastIndexAny(path, `/\`)+1:]
		stem, source := strings.CutSuffix(file, ".py")
		if !source {
			stem, source = strings.CutSuffix(file, ".pyx")
		}
		if source && stem != "" && !strings.ContainsAny(file, "()") {
			return file, function, true
		}
	}
}

// plumbing are parts of the names of frames, of Python and torch, that wait, call or wrap on behalf
// of another frame.
var plumbing = []string{
	"threading.py(", "queue.py(", "selectors.py(", "socket.py(", "ssl.py(", "subprocess.py(", "contextlib.py(",
	"functools.py(",
	"asyncio/", "concurrent/futures/", "multiprocessing/", "asyncio\\", "multiprocessing\\", "<frozen ", "<string>(",
	"torch/_ops.py(", "torch/nn/modules/module.py(", "torch/utils/_contextlib.py(", "torch/autograd/profiler.py(",
	"torch/profiler/",
	"torch/_dynamo/", "uvloop/", "zmq/", "torch/multiprocessing/",
}

// isPlumbing reports whether a Python frame shows how the program waits or calls, but not where.
func isPlumbing(name string) bool {
	if strings.HasPrefix(name, "<built-in ") || strings.HasPrefix(name, "<method ") {
		return true
	}
	for _, p := range plumbing {
		if strings.Contains(name, p) {
			return true
		}
	}
	return false
}

// waits maps parts of the names of plumbing to what such a frame waits on, the more specific first.
var waits = []struct{ part, on string }{
	{"queue.py(", "a queue"}, {"queues.py(", "a queue"}, {"Queue", "a queue"},
	{"_thread.lock", "a lock"}, {"_thread.RLock", "a lock"}, {"threading.py(", "a lock"}, {"acquire", "a lock"},
	{"emaphore", "a lock"}, {"SemLock", "a lock"},
	{"sched_yield", "another process, by yielding"}, {"sleep", "a timer"}, {"waitpid", "another process"},
	{"poll", "a socket"}, {"select", "a socket"}, {"recv", "a socket"}, {"socket", "a socket"}, {"zmq", "a socket"},
	{"posix.read", "a file or pipe"}, {"io.open", "a file or pipe"}, {"connection.py(", "a file or pipe"},
}

// waitsOn returns what a slice waits on, as far as its name shows it.
func waitsOn(cat trace.Category, name string) string {
	contains := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(name, p) {
				return true
			}
		}
		return false
	}
	switch {
	case cat.Runtime() && contains("emcpy"):
		return "a copy"
	case cat.Runtime() && contains("ynchronize"):
		return "the device"
	case cat.Runtime():
		return ""
	case cat != trace.CatPythonFunction && contains("DataLoader"):
		return "the data loader"
	case cat != trace.CatPythonFunction && contains("nccl:", "c10d::", "gloo:", "hccl:", "rccl:", "xccl:"):
		return "a collective"
	case cat != trace.CatPythonFunction || !isPlumbing(name):
		return ""
	}
	for _, w := range waits {
		if strings.Contains(name, w.part) {
			return w.on
		}
	}
	return ""
}
