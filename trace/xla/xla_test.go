package xla_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

// text is a trace of one device of a kind, with three steps of two ops each.
func text(kind string, streams bool) string {
	var b strings.Builder
	b.WriteString(`{"displayTimeUnit": "ns", "metadata": {"highres-ticks": true}, "traceEvents": [`)
	row := func(format string, a ...any) { fmt.Fprintf(&b, format+",\n", a...) }
	row(`{"ph": "M", "pid": 3, "name": "process_name", "args": {"name": "/device:%s:2"}}`, kind)
	row(`{"ph": "M", "pid": 9, "name": "process_name", "args": {"name": "/host:CPU"}}`)
	row(`{"ph": "M", "pid": 3, "tid": 1, "name": "thread_name", "args": {"name": "XLA Ops"}}`)
	row(`{"ph": "M", "pid": 3, "tid": 2, "name": "thread_name", "args": {"name": "Steps"}}`)
	row(`{"ph": "M", "pid": 3, "tid": 14, "name": "thread_name", "args": {"name": "Stream #14(Compute)"}}`)
	row(`{"ph": "M", "pid": 3, "tid": 15, "name": "thread_name", "args": {"name": "Stream #15(MemcpyH2D)"}}`)
	for i := range 3 {
		ts := 100 * i
		row(`{"ph": "X", "pid": 9, "tid": 1, "ts": %d, "dur": 30, "name": "PjitFunction(f)"}`, ts)
		row(`{"ph": "X", "pid": 9, "tid": 1, "ts": %d, "dur": 5, "name": "cuLaunchKernel", "args": {"correlation_id": "%d"}}`, ts+10, i+1)
		row(`{"ph": "X", "pid": 3, "tid": 2, "ts": %d, "dur": 60, "name": "%d"}`, ts+40, i)
		row(`{"ph": "X", "pid": 3, "tid": 1, "ts": %d, "dur": 50, "name": "fusion.%d"}`, ts+40, i)
		if streams {
			row(`{"ph": "X", "pid": 3, "tid": 14, "ts": %d, "dur": 50, "name": "loop_fusion", "args": {"correlation_id": "%d"}}`, ts+40, i+1)
			row(`{"ph": "X", "pid": 3, "tid": 15, "ts": %d, "dur": 10, "name": "MemcpyH2D"}`, ts+30)
		}
	}
	b.WriteString(`{}]}`)
	return b.String()
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		kind            string
		streams         bool
		kernels, copies int
	}{{"GPU", true, 3, 3}, {"TPU", false, 3, 0}} {
		tr, err := kineto.Read(t.Context(), strings.NewReader(text(c.kind, c.streams)), kineto.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if tr.Meta.Format != "xla" || tr.Repairs.Total() > 1 { // the order of times
			t.Errorf("%s: format %s, repairs %s", c.kind, tr.Meta.Format, tr.Repairs.String())
		}
		n := map[trace.Category]int{}
		for i, cat := range tr.Slices.Cat {
			k := tr.Tracks[tr.Slices.Track[i]]
			if cat.Busy() {
				n[cat]++
				if k.Kind != trace.TrackGPU || k.Device != 2 {
					t.Errorf("%s: work on %+v", c.kind, k)
				}
			}
		}
		if n[trace.CatKernel] != c.kernels || n[trace.CatGPUMemcpy] != c.copies {
			t.Errorf("%s: %v", c.kind, n)
		}
		for i, cat := range tr.Slices.Cat {
			if cat == trace.CatCUDADriver && tr.Slices.Corr[i] < 1 {
				t.Errorf("%s: a launch without correlation", c.kind)
			}
		}
	}
}
