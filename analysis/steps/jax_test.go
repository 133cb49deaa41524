package steps

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace/kineto"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// JAX's own capture says the same in both of its formats: a step for each StepTraceAnnotation.
func TestJAXFiles(t *testing.T) {
	var durations [2][]int64
	for k, name := range []string{"cpu.xplane.pb", "cpu.trace.json.gz"} {
		file := filepath.Join("..", "..", "trace", "xplane", "testdata", name)
		list, err := open.Files(t.Context(), []string{file}, open.Options{})
		if err != nil {
			t.Fatal(err)
		}
		tr := list[0]
		r := Find(tr, Options{})
		if r.Method != ByStepTrace || len(r.Steps) != 3 || !strings.Contains(r.How, "step_num") {
			t.Fatalf("%s: %d steps by %s: %s", name, len(r.Steps), r.Method, r.How)
		}
		for _, s := range r.Steps {
			if s.Name != "step" || s.Kind != Unknown || s.EndNs-s.StartNs != tr.Slices.Dur[s.Slice] {
				t.Errorf("%s: %+v", name, s)
			}
			durations[k] = append(durations[k], s.EndNs-s.StartNs)
		}
	}
	if !slices.Equal(durations[0], durations[1]) {
		t.Errorf("the steps last %v", durations)
	}
}

// Steps of JAX have the work of the card that was launched in them; one inside another is part of it.
func TestJAXOnACard(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"displayTimeUnit": "ns", "metadata": {"highres-ticks": true}, "traceEvents": [
		{"ph": "M", "pid": 3, "name": "process_name", "args": {"name": "/device:GPU:0"}},
		{"ph": "M", "pid": 3, "tid": 14, "name": "thread_name", "args": {"name": "Stream #14(Compute)"}},
		{"ph": "M", "pid": 9, "name": "process_name", "args": {"name": "/host:CPU"}}`)
	row := func(format string, a ...any) { fmt.Fprintf(&b, ",\n"+format, a...) }
	for i := range 4 {
		at := 1000 * i
		row(`{"ph": "X", "pid": 9, "tid": 1, "ts": %d, "dur": 200, "name": "train_step", "args": {"step_num": "%d"}}`, at, 7+i)
		row(`{"ph": "X", "pid": 9, "tid": 1, "ts": %d, "dur": 100, "name": "micro", "args": {"step_num": "0"}}`, at+5)
		for k := range 2 {
			n := 2*i + k + 1
			row(`{"ph": "X", "pid": 9, "tid": 1, "ts": %d, "dur": 5, "name": "cuLaunchKernel", "args": {"correlation_id": "%d"}}`,
				at+10+10*k, n)
			row(`{"ph": "X", "pid": 3, "tid": 14, "ts": %d, "dur": 300, "name": "fusion_%d", "args": {"correlation_id": "%d"}}`,
				at+100+300*k, k, n)
		}
	}
	b.WriteString(`]}`)
	tr, err := kineto.Read(t.Context(), strings.NewReader(b.String()), kineto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := Find(tr, Options{})
	if r.Method != ByStepTrace || len(r.Steps) != 4 || r.UnlinkedNs != 0 {
		t.Fatalf("%d steps by %s: %+v", len(r.Steps), r.Method, r)
	}
	for _, s := range r.Steps {
		if s.Name != "train_step" || s.Kind != Training || s.Slices != 2 || s.BusyNs != 600_000 {
			t.Errorf("%+v", s)
		}
	}
}
