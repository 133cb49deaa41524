// Package tracegen writes traces in Kineto's layout, of any size and always the same
// for the same options, for benchmarks and tests that need big ones.
//
// A trace is a training loop: annotated steps of operators with shapes on one thread,
// launches and the kernels they start on a device, flows between them, Python frames
// and memory instants in the share asked for. Sizes of names and arguments, and the
// share of events of each kind, follow what real files have.
package tracegen

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// Options says what to write. The zero value of a field means the default.
type Options struct {
	Bytes  int64 // stop at the end of the operator that reaches this size; default 1 MiB
	Rank   int
	World  int // default 1
	Seed   uint64
	Python bool // with frames of Python, as with_stack writes them
	Memory bool // with allocations, as profile_memory writes them
	Unlike bool // with a random text in every slice's arguments, the worst for a reader
}

// Counts says how much was written.
type Counts struct {
	Bytes                   int64
	Slices, Flows, Instants int
}

type kernelName struct{ op, kernel string }

var names = func() (list []kernelName) {
	for i := range 60 {
		op := []string{"aten::addmm", "aten::native_layer_norm", "aten::gelu", "aten::copy_", "aten::_softmax",
			"aten::bmm"}[i%6]
		list = append(list, kernelName{
			op: op,
			kernel: fmt.Sprintf(
				"void at::native::(anonymous namespace)::%s_kernel<%d, float, at::native::TensorIterator<%d>, "+
					"std::array<char*, %d>>(int, at::native::TensorIterator<%d>, std::array<char*, %d>)", op[6:], 64+i, i,
				i%4+1, i, i%4+1),
		})
	}
	return list
}()

type generator struct {
	w   *bufio.Writer
	o   Options
	r   *rand.Rand
	n   Counts
	ts  int64 // ns since the base
	gpu int64 // end of the last kernel
	ext int
	cor int
	mem int64
	any bool
}

// WriteFile writes one trace to a new file at path, packed by gzip at level 6 if the name ends in .gz.
func WriteFile(path string, o Options) (n Counts, err error) {
	f, err := os.Create(path)
	if err != nil {
		return n, err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if !strings.HasSuffix(path, ".gz") {
		return Write(f, o)
	}
	z, err := gzip.NewWriterLevel(f, 6)
	if err != nil {
		return n, err
	}
	if n, err = Write(z, o); err != nil {
		return n, err
	}
	return n, z.Close()
}

// Write writes one trace to w.
func Write(w io.Writer, o Options) (Counts, error) {
	if o.Bytes <= 0 {
		o.Bytes = 1 << 20
	}
	if o.World <= 0 {
		o.World = 1
	}
	g := &generator{w: bufio.NewWriterSize(w, 1<<20), o: o, r: rand.New(rand.NewPCG(o.Seed, uint64(o.Rank))),
		ts: 4458676000000000}
	g.p("{\n  \"schemaVersion\": 1,\n  \"deviceProperties\": [\n    {\n      \"id\": %d, \"name\": \"Generated GPU\", \"totalGlobalMem\": 85899345920, \"numSms\": 132\n    }\n  ],\n", o.Rank)
	g.p("  \"distributedInfo\": {\"backend\": \"nccl\", \"rank\": %d, \"world_size\": %d},\n  \"displayTimeUnit\": \"ms\",\n  \"baseTimeNanoseconds\": 1751410836000000000,\n  \"traceEvents\": [", o.Rank, o.World)
	start := g.ts
	for step := 0; g.n.Bytes < o.Bytes || step == 0; step++ {
		g.step(step)
	}
	g.slice("Trace", "PyTorch Profiler (0)", lane{`"Spans"`, `"PyTorch Profiler"`}, start, g.ts-start, `"Op count": 0`)
	g.p("\n  ],\n  \"traceName\": \"generated.json\"\n}\n")
	return g.n, g.w.Flush()
}

func (g *generator) p(format string, a ...any) {
	n, _ := fmt.Fprintf(g.w, format, a...) // Flush reports the error
	g.n.Bytes += int64(n)
}

func (g *generator) event(format string, a ...any) {
	if g.any {
		g.p(",")
	}
	g.any = true
	g.p("\n  {\n    "+format+"\n  }", a...)
}

func us(ns int64) string { return fmt.Sprintf("%d.%03d", ns/1000, ns%1000) }

// lane is where a slice is: ids of its process and thread, as the file spells them.
type lane struct{ pid, tid string }

func (g *generator) slice(cat, name string, on lane, start, dur int64, args string) {
	g.n.Slices++
	if g.o.Unlike {
		args += `, "Note": "` + g.note() + `"`
	}
	g.event("\"ph\": \"X\", \"cat\": %q, \"name\": %q, \"pid\": %s, \"tid\": %s,\n    \"ts\": %s, \"dur\": %s,\n    \"args\": {\n      %s\n    }",
		cat, name, on.pid, on.tid, us(start), us(dur), args)
}

// note returns a text that differs from all others.
func (g *generator) note() string {
	var b [24]byte
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], g.r.Uint64())
	}
	return base64.RawURLEncoding.EncodeToString(b[:])
}

const (
	host   = "4711"
	thread = "4711"
	stream = "7"
)

// main is the thread that all host slices are on.
var main = lane{host, thread}

// opsPerStep is the number of operators between two marks of a step.
const opsPerStep = 2000

func (g *generator) step(n int) {
	start := g.ts
	for range opsPerStep {
		if g.n.Bytes >= g.o.Bytes {
			break
		}
		g.op()
	}
	g.ext++
	g.slice("user_annotation", fmt.Sprintf("ProfilerStep#%d", n), main, start, g.ts-start,
		fmt.Sprintf(`"External id": %d,"Record function id": 0, "Ev Idx": %d`, g.ext, g.ext))
}

// op writes an operator with a child, its launch, kernel and flow.
func (g *generator) op() {
	k := names[g.r.IntN(len(names))]
	rows := 1 << g.r.IntN(8)
	g.ts += int64(g.r.IntN(4000)) + 100
	start, dur := g.ts, int64(g.r.IntN(30000))+12000
	g.ext += 2
	args := func(id int) string {
		return fmt.Sprintf(`"External id": %d,"Record function id": 0, "Concrete Inputs": ["", "", "1."], "Input type": ["float", "float", "Scalar"], `+
			`"Input Strides": [[4096, 1], [1, 4096], []], "Input Dims": [[%d, 4096], [4096, 4096], []], "Ev Idx": %d`,
			id, rows, id)
	}
	if g.o.Python {
		for d := range 3 {
			g.slice("python_function", fmt.Sprintf("model/layer_%d.py(%d): forward", g.r.IntN(400), 10+d), main,
				start+int64(d), dur-int64(2*d),
				fmt.Sprintf(`"Python id": %d, "Python parent id": %d, "Ev Idx": %d`, g.ext*3+d, g.ext*3+d-1, g.ext))
		}
	}
	g.slice("cpu_op", k.op, main, start+10, dur-20, args(g.ext-1))
	g.slice("cpu_op", "aten::empty", main, start+500, 1800, args(g.ext))
	if g.o.Memory {
		b := int64(rows) * 16384
		if g.mem > 1<<33 {
			b = -b
		}
		g.mem += b
		g.n.Instants++
		g.event("\"ph\": \"i\", \"cat\": \"cpu_instant_event\", \"s\": \"t\", \"name\": \"[memory]\",\n    \"pid\": %s, \"tid\": %s,\n    \"ts\": %s,\n    \"args\": {\n      "+
			"\"Total Reserved\": 10737418240, \"Total Allocated\": %d, \"Bytes\": %d, \"Addr\": %d, \"Device Id\": 0, \"Device Type\": 1, \"Ev Idx\": %d\n    }",
			host, thread, us(start+900), g.mem, b, 139876543210496+g.mem, g.ext)
	}
	g.launch(k, start+4000, rows)
	g.ts = start + dur
}

func (g *generator) launch(k kernelName, at int64, rows int) {
	g.cor++
	cor := g.cor
	g.slice("cuda_runtime", "cudaLaunchKernel", main, at, 5200,
		fmt.Sprintf(`"External id": %d, "cbid": 211, "correlation": %d`, g.ext-1, cor))
	g.flow("s", host, thread, at, cor)
	start := max(g.gpu+int64(g.r.IntN(900)), at+6000)
	dur := int64(rows)*300 + int64(g.r.IntN(2000)) + 1500
	g.gpu = start + dur
	dev := fmt.Sprint(g.o.Rank)
	g.slice("kernel", k.kernel, lane{dev, stream}, start, dur, fmt.Sprintf(
		`"External id": %d,      "queued": 0, "device": %s, "context": 1,      "stream": %s, "correlation": %d,      "registers per thread": 40,      `+
			`"shared memory": 400,      "blocks per SM": 4.740741,      "warps per SM": 75.851852,      "grid": [%d, 1, 1],      "block": [512, 1, 1],      "est. achieved occupancy %%": 75`,
		g.ext-1, dev, stream, cor, rows))
	g.flow("f", dev, stream, start, cor)
}

func (g *generator) flow(ph, pid, tid string, at int64, id int) {
	g.n.Flows++
	bind := ""
	if ph == "f" {
		bind = `, "bp": "e"`
	}
	g.event("\"ph\": %q, \"id\": %d, \"pid\": %s, \"tid\": %s, \"ts\": %s,\n    \"cat\": \"ac2g\", \"name\": \"ac2g\"%s", ph, id, pid, tid, us(at), bind)
}
