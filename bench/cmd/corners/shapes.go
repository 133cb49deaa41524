package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// event is one of a trace's events, as torch writes them.
type event struct {
	Ph   string         `json:"ph"`
	Cat  string         `json:"cat"`
	Name string         `json:"name"`
	PID  int            `json:"pid"`
	TID  int            `json:"tid"`
	TS   float64        `json:"ts"`
	Dur  *float64       `json:"dur,omitempty"`
	ID   int            `json:"id,omitempty"`
	S    string         `json:"s,omitempty"`
	BP   string         `json:"bp,omitempty"`
	Args map[string]any `json:"args,omitempty"`
}

func (e *event) lasts(us float64) { e.Dur = &us }

func (e *event) kernel() bool   { return e.Cat == "kernel" }
func (e *event) operator() bool { return e.Cat == "cpu_op" }

// as turns an operator into an event of another kind.
func (e *event) as(ph, cat, name string, args map[string]any) {
	*e = event{Ph: ph, Cat: cat, Name: name, PID: e.PID, TID: e.TID, TS: e.TS, Args: args}
}

// shape is a kind of trace: edit changes event i of n of an ordinary one.
type shape struct {
	name string
	edit func(i, n int, e *event)
}

func annotation(name func(i int) string) func(i, n int, e *event) {
	return func(i, _ int, e *event) {
		if e.operator() {
			e.Cat, e.Name = "user_annotation", name(i)
		}
	}
}

func collective(i int, e *event, group string) {
	switch {
	case e.operator():
		e.Name = "c10d::allreduce_"
	case e.kernel():
		e.Name = "ncclDevKernel_AllReduce_Sum_bf16_RING_LL"
		for k, v := range map[string]any{"Collective name": "allreduce", "In msg nelems": 4, "dtype": "Float",
			"Group size": 2, "Process Group Name": group, "Seq": i} {
			e.Args[k] = v
		}
	}
}

func memory(address func(i int) int, bytes func(i int) int) func(i, n int, e *event) {
	return func(i, _ int, e *event) {
		if e.operator() {
			e.as("i", "cpu_instant_event", "[memory]", map[string]any{"Total Allocated": i * 100,
				"Total Reserved": 10_000_000, "Bytes": bytes(i), "Addr": address(i), "Device Id": 0, "Device Type": 1})
			e.S = "t"
		}
	}
}

func flow(cat string, begin func(i, n int) bool, id func(i int) int) func(i, n int, e *event) {
	return func(i, n int, e *event) {
		if e.operator() {
			e.as("f", cat, cat, nil)
			if begin(i, n) {
				e.Ph = "s"
			}
			e.ID, e.BP = id(i), "e"
		}
	}
}

// shapes are the ordinary trace and traces that differ from it as much as a file can.
var shapes = []shape{
	{"ordinary", func(int, int, *event) {}},
	{"one correlation id", func(_, _ int, e *event) {
		if e.Args["correlation"] != nil {
			e.Args["correlation"] = 1
		}
	}},
	{"one graph", func(i, _ int, e *event) {
		switch {
		case e.kernel():
			e.Args["correlation"], e.Args["graph node id"] = 1, i
		case !e.operator():
			e.Name = "cudaGraphLaunch"
		}
	}},
	{"one timestamp", func(_, _ int, e *event) { e.TS = 1000 }},
	{"one timestamp, no duration", func(_, _ int, e *event) { e.TS = 1000; e.lasts(0) }},
	{"one end", func(_, n int, e *event) { e.lasts(float64(10*n) - e.TS) }},
	{"a staircase", func(i, n int, e *event) {
		if !e.kernel() {
			e.lasts(5 * float64(n))
		}
	}},
	{"backwards", func(_, n int, e *event) { e.TS = float64(10*n) - e.TS }},
	{"one name", func(_, _ int, e *event) { e.Name = "x" }},
	{"a name each", func(i, _ int, e *event) { e.Name += strconv.Itoa(i) }},
	{"a C++ name each", func(i, _ int, e *event) {
		e.Name = fmt.Sprintf(
			"void at::native::foo_%d_kernel<float, (anonymous namespace)::Functor_%d>(int, float const*)", i, i)
	}},
	{"a Python frame each", func(i, _ int, e *event) {
		if e.operator() {
			e.Cat, e.Name = "python_function", fmt.Sprintf("vllm/engine/core_%d.py(%d): step_%d", i, i, i)
		}
	}},
	{"one track", func(_, _ int, e *event) { e.PID, e.TID = 1, 1 }},
	{"a track each", func(i, _ int, e *event) {
		e.TID = i
		if e.kernel() {
			e.Args["stream"] = i
		}
	}},
	{"a process each", func(i, _ int, e *event) {
		if !e.kernel() {
			e.PID = i + 100
		}
	}},
	{"a device each", func(i, _ int, e *event) {
		if e.kernel() {
			e.PID, e.Args["device"] = i, i
		}
	}},
	{"a deep stack", func(i, n int, e *event) {
		if !e.kernel() {
			e.TS = 1000 + float64(i)*0.001
			e.lasts(float64(2*n-2*i) * 0.001)
		}
	}},
	{"deep Python frames", func(i, n int, e *event) {
		if e.operator() {
			e.Cat, e.Name = "python_function", fmt.Sprintf("a/b.py(%d): f", i%50)
			e.TS = 1000 + float64(i)*0.001
			e.lasts(float64(2*n-2*i) * 0.01)
		}
	}},
	{"steps", annotation(func(i int) string { return "ProfilerStep#" + strconv.Itoa(i) })},
	{"decode steps", annotation(func(i int) string {
		return fmt.Sprintf("execute_context_%d(%d)_generation_%d(%d)", i%3, i, i%17, i)
	})},
	{"annotations", annotation(func(i int) string { return "phase " + strconv.Itoa(i) })},
	{"collectives", func(i, _ int, e *event) { collective(i, e, "0") }},
	{"a process group each", func(i, _ int, e *event) { collective(i, e, strconv.Itoa(i)) }},
	{"allocations", memory(func(i int) int { return 12345 + i/6*6 }, func(i int) int { return 100 - 200*(i/3%2) })},
	{"allocations, one address", memory(func(int) int { return 1 }, func(i int) int { return 100 - 200*(i/3%2) })},
	{"allocations that stay", memory(func(i int) int { return 512 * i }, func(int) int { return 512 })},
	{"flows, one id", flow("ac2g", func(i, _ int) bool { return i/3%2 == 0 }, func(int) int { return 1 })},
	{"flows, one id, begins first", flow("fwdbwd", func(i, n int) bool { return 2*i < n }, func(int) int { return 1 })},
	{"flows", flow("mine", func(i, _ int) bool { return i/3%2 == 0 }, func(i int) int { return 1 + i/6 })},
	{"counters, one name", func(i, _ int, e *event) {
		if e.operator() {
			e.as("C", "", "queue", map[string]any{"v": i})
		}
	}},
	{"counters, a name each", func(i, _ int, e *event) {
		if e.operator() {
			e.as("C", "", "queue "+strconv.Itoa(i), map[string]any{"v": i})
		}
	}},
	{"begins without an end", func(_, _ int, e *event) {
		if e.operator() {
			e.Ph, e.Dur = "B", nil
		}
	}},
	{"kernels that overlap", func(_, n int, e *event) {
		if e.kernel() {
			e.lasts(float64(10 * n))
		}
	}},
	{"kernels before their launches", func(_, n int, e *event) {
		if e.kernel() {
			e.TS -= float64(10 * n)
		}
	}},
	{"waits between streams", func(i, _ int, e *event) {
		if e.kernel() && i%2 == 0 {
			e.Cat, e.Name = "cuda_sync", "Stream Wait Event"
			e.Args["wait_on_stream"], e.Args["wait_on_cuda_event_record_corr_id"] = 7, 1
			e.Args["wait_on_cuda_event_id"] = 1
		}
	}},
	{"all arguments different", func(i, _ int, e *event) {
		if e.operator() {
			e.Args["Input Dims"], e.Args["Input type"] = [][]int{{i, i % 977}, {i % 31}}, []string{"float"}
			e.Args["a"+strconv.Itoa(i)] = i
		}
	}},
	{"a call stack each", func(i, _ int, e *event) {
		if e.operator() {
			e.Args["Call stack"] = fmt.Sprintf("f0.py(3): g%d;f1.py(3): g%d;f2.py(3): g%d", i, i, i)
		}
	}},
}

// pairs returns shapes that are two of list at once: the second edits what the first has made of an event.
func pairs(list []shape) []shape {
	var out []shape
	for i, a := range list {
		for _, b := range list[i+1:] {
			out = append(out, shape{a.name + " + " + b.name, func(i, n int, e *event) {
				a.edit(i, n, e)
				b.edit(i, n, e)
			}})
		}
	}
	return out
}

// marshal writes an event as Python does, without escaping <, > and &.
func marshal(e *event) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(e)
	return bytes.TrimSpace(b.Bytes()), err
}

// write writes the trace of a shape: operators, their launches and kernels in turn, events in
// total.
func (sh *shape) write(path string, events int) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	fmt.Fprint(w, `{"schemaVersion":1,"deviceProperties":[{"id":0,"name":"A100"}],`+
		`"baseTimeNanoseconds":1700000000000000000,"traceEvents":[`)
	for i := range events {
		k := i / 3
		at := 1000 + float64(k)*10
		e := event{Ph: "X", Cat: "cpu_op", Name: fmt.Sprintf("aten::op_%d", k*k%83), PID: 1, TID: 1, TS: at,
			Args: map[string]any{"External id": k, "Record function id": 0, "Ev Idx": k,
				"Concrete Inputs": []string{"", ""},
				"Input Dims":      [][]int{{8, 64 << (k * k % 5)}, {64}}, "Input type": []string{"float", "float"}}}
		e.lasts(8)
		switch i % 3 {
		case 1:
			e = event{Ph: "X", Cat: "cuda_runtime", Name: "cudaLaunchKernel", PID: 1, TID: 1, TS: at + 1,
				Args: map[string]any{"External id": k, "cbid": 211, "correlation": k + 1}}
			e.lasts(2)
		case 2:
			e = event{Ph: "X", Cat: "kernel", Name: fmt.Sprintf("void at::native::gemm_%d<float>(int, float*)",
				k*k%113),
				PID: 0, TID: 7, TS: at + 4, Args: map[string]any{"External id": k, "queued": 0, "device": 0,
					"context": 1,
					"stream":  7, "correlation": k + 1, "registers per thread": 16 + k*k%7, "shared memory": 0,
					"blocks per SM": float64(k*k%91) / 7, "warps per SM": float64(k*k%91) / 3.5,
					"grid": []int{k*k%91 + 1, 1, 1}, "block": []int{128, 1, 1},
					"est. achieved occupancy %": k * k % 91}}
			e.lasts(5)
		}
		sh.edit(i, events, &e)
		b, err := marshal(&e)
		if err != nil {
			return err
		}
		if i > 0 {
			w.WriteString(",\n")
		}
		w.Write(b)
	}
	w.WriteString("\n]}\n")
	return w.Flush()
}
