package badtraces

import (
	"fmt"
	"strings"
)

// host writes the rows of one process, its launches and the work of its devices, in the order
// in which its methods are called.
type host struct {
	pid    int64
	api    string // what launches: "cudaLaunchKernel", "hipModuleLaunchKernel"
	rank   int    // -1 leaves the header without one
	world  int
	rows   []any
	corr   int
	device int64
	stream int
	tid    int64  // of the thread that runs, the first if 0
	head   string // of the file, in place of torch's; "-" for none
}

func newHost(api string) *host { return &host{pid: 4000, api: api, rank: -1, stream: 7} }

// thread is the number of the thread that runs.
func (h *host) thread() int64 {
	if h.tid != 0 {
		return h.tid
	}
	return h.pid
}

// x adds a slice of the host; args are keys and values in turn.
func (h *host) x(cat, name string, at, dur float64, args ...any) {
	h.rows = append(h.rows, event{"ph": "X", "cat": cat, "name": name, "pid": h.pid, "tid": h.thread(), "ts": at,
		"dur":  dur,
		"args": pairs(args)})
}

func pairs(args []any) event {
	out := event{}
	for i := 0; i+1 < len(args); i += 2 {
		out[fmt.Sprint(args[i])] = args[i+1]
	}
	return out
}

func (h *host) op(name string, at, dur float64)    { h.x("cpu_op", name, at, dur) }
func (h *host) label(name string, at, dur float64) { h.x("user_annotation", name, at, dur) }
func (h *host) frame(name string, at, dur float64) { h.x("python_function", name, at, dur) }

// call is a call of the runtime that launches nothing.
func (h *host) call(name string, at, dur float64) {
	h.corr++
	h.x("cuda_runtime", name, at, dur, "correlation", h.corr)
}

// run launches work at a time, which begins at start.
func (h *host) run(kernel string, at, start, dur float64, args ...any) {
	h.call(h.api, at, 5)
	h.work("kernel", kernel, start, dur, args...)
}

// work is work of the last call, on the current stream of the current device.
func (h *host) work(cat, name string, start, dur float64, args ...any) {
	a := pairs(args)
	a["device"], a["stream"], a["correlation"] = h.device, h.stream, h.corr
	h.rows = append(h.rows, event{"ph": "X", "cat": cat, "name": name, "pid": h.device, "tid": h.stream, "ts": start,
		"dur":  dur,
		"args": a})
}

// file is the process's trace as torch writes it.
func (h *host) file(name string) File {
	head := `"schemaVersion": 1, "baseTimeNanoseconds": 1750000000000000000, `
	if h.rank >= 0 {
		head += fmt.Sprintf(`"distributedInfo": {"backend": "nccl", "rank": %d, "world_size": %d}, `, h.rank, h.world)
	}
	if h.head != "" {
		head = strings.TrimPrefix(h.head, "-")
	}
	return File{name, "{" + head + `"traceEvents": ` + Array(h.rows) + "}\n"}
}
