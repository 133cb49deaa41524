package cause

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/trace"
)

const us = 1000

// call is a slice of the host with what it calls; its time is that of its parts and own.
type call struct {
	name string
	cat  trace.Category
	own  int64 // µs before the parts
	in   []call
}

// program draws iterations: the host runs a call, then launches one kernel and goes on.
type program struct {
	t            *trace.Trace
	host, stream trace.TrackID
	now, corr    int64
}

func newProgram() *program {
	p := &program{t: trace.New()}
	p.host = p.t.AddTrack(trace.Track{PID: 1, TID: 1, Device: -1, Stream: -1})
	p.stream = p.t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: 7})
	return p
}

func (p *program) run(c call) {
	at := p.t.AddSlice(trace.Slice{Start: p.now * us, Name: c.name, Cat: c.cat, Track: p.host,
		Corr: trace.NoCorrelation})
	start := p.now
	p.now += c.own
	for _, x := range c.in {
		p.run(x)
	}
	p.t.Slices.Dur[at] = (p.now - start) * us
}

func (p *program) kernel(dur int64) {
	p.corr++
	p.t.AddSlice(trace.Slice{Start: p.now * us, Dur: 5 * us, Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime,
		Track: p.host, Corr: p.corr})
	p.now += 5
	p.t.AddSlice(trace.Slice{Start: (p.now + 2) * us, Dur: dur * us, Name: "gemm", Cat: trace.CatKernel,
		Track: p.stream, Corr: p.corr})
	p.now += 2 + dur
}

const (
	frame = trace.CatPythonFunction
	op    = trace.CatCPUOp
	ann   = trace.CatUserAnnotation
	api   = trace.CatCUDARuntime
)

func TestCauses(t *testing.T) {
	for _, c := range []struct {
		what     call
		name, on string
	}{
		{call{"vllm/distributed/shm_broadcast.py(600): dequeue", frame, 0,
			[]call{{"<built-in function sched_yield>", frame, 4000, nil}}},
			"shm_broadcast.py: dequeue", "another process, by yielding"},
		{call{"srv/engine.py(10): next_batch", frame, 5,
			[]call{{"queue.py(154): get", frame, 5, []call{{"threading.py(355): wait", frame, 5,
				[]call{{"<built-in method acquire of _thread.lock object at 0x7f00deadbeef>", frame, 4000, nil}}}}}}},
			"engine.py: next_batch", "a lock"},
		{call{"enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__", ann, 5000, nil},
			"enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__", "the data loader"},
		{call{"ProfilerStep#3", ann, 0, []call{{"enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", ann,
			5000, nil}}},
			"enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", "the data loader"},
		{call{"aten::to", op, 5, []call{{"aten::copy_", op, 5, []call{{"hipMemcpyWithStream", api, 4630, nil}}}}},
			"hipMemcpyWithStream in aten::copy_", "a copy"},
		{call{"aten::item", op, 1, []call{{"cudaStreamSynchronize", api, 4000, nil}}},
			"cudaStreamSynchronize in aten::item", "the device"},
		{call{"vllm/v1/sample/sampler.py(70): forward", frame, 4000, nil}, "sampler.py: forward", ""},
		{call{`C:\srv\api.py(3): poll`, frame, 5,
			[]call{{"<built-in method poll of select.epoll object at 0x1>", frame, 4000, nil}}}, "api.py: poll",
			"a socket"},
		{call{"aten::index_select", op, 4000, nil}, "aten::index_select", ""},
		{call{"threading.py(1): run", frame, 0, []call{{"<built-in function sleep>", frame, 4000, nil}}},
			"<built-in function sleep>", "a timer"},
		{call{"nccl:all_reduce", ann, 4000, nil}, "nccl:all_reduce", "a collective"},
	} {
		p := newProgram()
		for range 6 {
			p.run(c.what)
			p.kernel(300)
		}
		r := Of(plausible.Look(p.t))
		m := r.Main()
		if m == nil || m.Name != c.name || m.On != c.on || m.Count != 6 || m.Share < 0.9 {
			t.Errorf("%s: %+v of %d ns", c.name, m, r.WaitNs)
			continue
		}
		if n := p.t.Slices.Dur[m.Slice]; n == 0 || !strings.Contains(m.Text(), c.name) {
			t.Errorf("%s: slice %d of %d ns, %q", c.name, m.Slice, n, m.Text())
		}
	}
}

func TestNothingRecorded(t *testing.T) {
	p := newProgram()
	for range 5 {
		p.kernel(100)
		p.now += 1000
	}
	p.kernel(100)
	r := Of(plausible.Look(p.t))
	if r.Main() != nil || r.UnrecordedNs < 4900*us || r.UnrecordedNs > r.WaitNs {
		t.Errorf("%+v", r)
	}
	if r := Of(plausible.Look(trace.New())); r.WaitNs != 0 || r.Rows == nil {
		t.Errorf("an empty trace: %+v", r)
	}
}

// TestOtherThread: what another thread does is not what the launching one waited for.
func TestOtherThread(t *testing.T) {
	p := newProgram()
	other := p.t.AddTrack(trace.Track{PID: 1, TID: 2, Device: -1, Stream: -1})
	p.t.AddSlice(trace.Slice{Dur: 10_000 * us, Name: "log.py(1): drain", Cat: frame, Track: other,
		Corr: trace.NoCorrelation})
	for range 5 {
		p.run(call{"srv.py(2): schedule", frame, 2000, nil})
		p.kernel(50)
	}
	if m := func() *Row { r := Of(plausible.Look(p.t)); return r.Main() }(); m == nil || m.Name != "srv.py: schedule" {
		t.Errorf("%+v", m)
	}
}

// TestAnything: the parts of the waiting never add up to more than it.
func TestAnything(t *testing.T) {
	names := []string{"a.py(1): f", "queue.py(3): get", "<built-in method acquire of _thread.lock object at 0x1>",
		"aten::mm", "cudaLaunchKernel", "ProfilerStep#1"}
	cats := []trace.Category{frame, op, ann, api, trace.CatKernel}
	rapid.Check(t, func(rt *rapid.T) {
		p := newProgram()
		for range rapid.IntRange(0, 60).Draw(rt, "slices") {
			c := rapid.SampledFrom(cats).Draw(rt, "cat")
			s := trace.Slice{Start: rapid.Int64Range(0, 300).Draw(rt, "start") * 20 * us,
				Dur:  rapid.Int64Range(0, 60).Draw(rt, "dur") * 20 * us,
				Name: rapid.SampledFrom(names).Draw(rt, "name"), Cat: c, Track: p.host,
				Corr: rapid.Int64Range(-1, 9).Draw(rt, "corr")}
			if c == trace.CatKernel {
				s.Track = p.stream
			}
			p.t.AddSlice(s)
		}
		r := Of(plausible.Look(p.t))
		var sum int64
		for _, x := range r.Rows {
			if sum += x.Ns; x.Ns <= 0 || x.Count < 1 || x.Name == "" {
				rt.Fatalf("%+v", x)
			}
		}
		if sum > r.WaitNs || r.UnrecordedNs < 0 || len(r.Rows) < MaxRows && sum+r.UnrecordedNs != r.WaitNs {
			rt.Fatalf("%d of %d, %d unrecorded", sum, r.WaitNs, r.UnrecordedNs)
		}
	})
}
