package analysis

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
)

func checkRows(f *frame, o oracle, m *mismatch) {
	var ranks map[string]struct {
		Rows float64 `json:"rows_after_load"`
		GPU  float64 `json:"gpu_rows(stream!=-1)"`
	}
	_ = json.Unmarshal(o.Ranks, &ranks)
	rows := 0
	for _, k := range f.keep {
		rows += stat.One(k)
	}
	for _, r := range ranks {
		m.near("rows", float64(rows), r.Rows, 0)
		m.near("device rows", float64(len(f.dev)), r.GPU, 0)
	}
}

func checkTemporal(f *frame, o oracle, m *mismatch) {
	raw, _ := o.exact()
	d := decodeFrame(raw)
	t := f.temporal()
	m.near("idle", us(t.IdleNs), d.num(0, "idle_time(us)"), 0)
	m.near("compute", us(t.ComputeNs), d.num(0, "compute_time(us)"), 0)
	m.near("non-compute", us(t.NonComputeNs), d.num(0, "non_compute_time(us)"), 0)
	m.near("span", us(t.SpanNs), d.num(0, "kernel_time(us)"), 0)
	m.near("idle share", 100*t.IdleShare, d.num(0, "idle_time_pctg"), 0)
	m.near("compute share", 100*t.ComputeShare, d.num(0, "compute_time_pctg"), 0)
}

func decodeFrame(raw json.RawMessage) *hf {
	var d hf
	_ = json.Unmarshal(raw, &d)
	return &d
}

func kernelFrames(o oracle) (types, kernels *hf) {
	var r struct {
		Types   hf `json:"kernel_type_df"`
		Kernels hf `json:"kernel_df"`
	}
	_ = json.Unmarshal(o.Result, &r)
	return &r.Types, &r.Kernels
}

var htaKindNames = map[Kind]string{KindCompute: "COMPUTATION", KindCommunication: "COMMUNICATION", KindMemory: "MEMORY"}

func checkTypes(f *frame, o oracle, m *mismatch) {
	d, _ := kernelFrames(o)
	got := map[string]KernelType{}
	for _, t := range f.kernels().Types {
		var names []string
		for _, k := range t.Kinds {
			names = append(names, htaKindNames[k])
		}
		got[strings.Join(names, " overlapping ")] = t
	}
	for i := range d.Rows {
		name := d.text(i, "kernel_type")
		m.near(name, us(got[name].Ns), d.num(i, "sum"), 0)
		m.near(name+" share", 100*got[name].Share, d.num(i, "percentage"), 0.051)
		delete(got, name)
	}
	for name := range got {
		m.addf("HTA has no type %q", name)
	}
}

func checkKernelRows(rows []KernelRow, d *hf, m *mismatch) {
	type key struct{ kind, name string }
	got := map[key]KernelRow{}
	for _, r := range rows {
		got[key{htaKindNames[r.Kind], r.Name}] = r
	}
	if len(got) != len(d.Rows) {
		m.addf("%d rows, HTA %d", len(got), len(d.Rows))
	}
	for i := range d.Rows {
		r, ok := got[key{d.text(i, "kernel_type"), d.text(i, "name")}]
		name := d.text(i, "name")
		name = name[:min(len(name), 50)]
		if !ok {
			m.addf("no row %q", name)
			continue
		}
		m.near(name+" sum", us(r.SumNs), d.num(i, "sum (us)"), 0)
		m.near(name+" max", us(r.MaxNs), d.num(i, "max (us)"), 0)
		m.near(name+" min", us(r.MinNs), d.num(i, "min (us)"), 0)
		m.near(name+" mean", r.MeanNs/1000, d.num(i, "mean (us)"), 0)
		m.near(name+" std", r.StdNs/1000, d.num(i, "stddev"), 1e-6)
	}
}

func checkKernels(f *frame, o oracle, m *mismatch) {
	_, d := kernelFrames(o)
	checkKernelRows(f.kernelTable(), d, m)
}

func checkLumped(f *frame, o oracle, m *mismatch) {
	_, d := kernelFrames(o)
	var rows []KernelRow
	for _, k := range []Kind{KindCompute, KindCommunication, KindMemory} {
		var of []KernelRow
		for _, r := range f.kernelTable() {
			if r.Kind == k {
				of = append(of, r)
			}
		}
		rows = append(rows, lumpHTA(of, 10, 0.8)...)
	}
	checkKernelRows(rows, d, m)
}

func checkOverlap(f *frame, o oracle, m *mismatch) {
	raw, _ := o.exact()
	d := decodeFrame(raw)
	got := f.overlap()
	want := d.num(0, "comp_comm_overlap_pctg")
	if got.CommunicationNs == 0 {
		if !math.IsNaN(want) {
			m.addf("no communication, HTA %v", want)
		}
		return
	}
	m.near("share", 100*got.Share, want, 0)
}

func checkIdle(f *frame, o oracle, m *mismatch) {
	var r struct {
		Idle  hf `json:"idle_df"`
		Stats hf `json:"interval_stats_df"`
	}
	_ = json.Unmarshal(o.Result, &r)
	byStream := map[float64]StreamIdle{}
	for _, s := range f.idle().Streams {
		byStream[float64(s.Lane.Stream)] = s
	}
	causes := map[string]IdleCause{"host_wait": HostWait, "kernel_wait": KernelWait, "other": OtherWait}
	for i := range r.Idle.Rows {
		cause := r.Idle.text(i, "idle_category")
		p := byStream[r.Idle.num(i, "stream")].Causes[causes[cause]]
		what := fmt.Sprintf("stream %v %s", r.Idle.num(i, "stream"), cause)
		m.near(what, us(p.Ns), r.Idle.num(i, "idle_time"), 0.0051)
		if want := r.Idle.num(i, "idle_time_ratio"); !math.IsNaN(want) {
			m.near(what+" share", p.Share, want, 0.0051)
		}
	}
	for i := range r.Stats.Rows {
		cause, _ := r.Stats.Index[i].(string)
		p := byStream[r.Stats.num(i, "stream")].Causes[causes[cause]]
		m.stats(fmt.Sprintf("stream %v %s", r.Stats.num(i, "stream"), cause), p.Gaps, 1000, &r.Stats, i, "", 0.0051)
	}
}

func checkLaunch(noMemory bool) func(*frame, oracle, *mismatch) {
	return func(f *frame, o oracle, m *mismatch) {
		var r map[string]struct {
			N        float64
			CPU      float64 `json:"sum_cpu_duration"`
			GPU      float64 `json:"sum_gpu_duration"`
			Delay    float64 `json:"sum_launch_delay"`
			Short    float64 `json:"short_kernels(cpu<=50 and gpu<cpu)"`
			Runtime  float64 `json:"runtime_outliers(cpu>50)"`
			Late     float64 `json:"launch_delay_outliers(>100)"`
			Describe hf
		}
		_ = json.Unmarshal(o.Result, &r)
		l := f.launches(LaunchOptions{NoMemory: noMemory})
		for _, w := range r {
			m.near("n", float64(l.Count), w.N, 0)
			m.near("cpu", l.CPU.Sum/1000, w.CPU, 0)
			m.near("gpu", l.GPU.Sum/1000, w.GPU, 0)
			m.near("delay", l.Delay.Sum/1000, w.Delay, 0)
			m.near("short", float64(l.Short), w.Short, 0)
			m.near("runtime outliers", float64(l.RuntimeOutliers), w.Runtime, 0)
			m.near("delay outliers", float64(l.DelayOutliers), w.Late, 0)
			if l.Count == 0 {
				continue
			}
			for col, s := range map[string]Stats{"cpu_duration": l.CPU, "gpu_duration": l.GPU,
				"launch_delay": l.Delay} {
				row := func(name string) float64 {
					return w.Describe.num(slices.IndexFunc(w.Describe.Index, func(v any) bool { return v == name }),
						col)
				}
				m.near(col+" mean", s.Mean/1000, row("mean"), 0)
				if l.Count > 1 {
					m.near(col+" std", s.Std/1000, row("std"), 1e-6)
				}
				m.near(col+" 25%", s.P25/1000, row("25%"), 0)
				m.near(col+" 50%", s.P50/1000, row("50%"), 0)
				m.near(col+" 75%", s.P75/1000, row("75%"), 0)
				m.near(col+" max", s.Max/1000, row("max"), 0)
			}
		}
	}
}

func indexPart(d *hf, row, part int) any {
	v, _ := d.Index[row].([]any)
	if part < len(v) {
		return v[part]
	}
	return nil
}

func checkBandwidth(f *frame, o oracle, m *mismatch) {
	d := decodeFrame(o.Result)
	got := map[string]DirectionUsage{}
	for _, u := range f.bandwidth().Directions {
		if u.Points.Count > 0 {
			got[u.Name] = u
		}
	}
	if len(got) != len(d.Rows) {
		m.addf("%d directions, HTA %d", len(got), len(d.Rows))
	}
	for i := range d.Rows {
		name, _ := indexPart(d, i, 1).(string)
		m.stats(name, got[name].Points, 1, d, i, "memory_bw_gbps/", 1e-6)
	}
}

func checkQueue(f *frame, o oracle, m *mismatch) {
	d := decodeFrame(o.Result)
	got := map[float64]StreamQueue{}
	for _, q := range f.queue().Streams {
		got[float64(q.Lane.Stream)] = q
	}
	if len(got) != len(d.Rows) {
		m.addf("%d streams, HTA %d", len(got), len(d.Rows))
	}
	for i := range d.Rows {
		stream, _ := indexPart(d, i, 1).(float64)
		m.stats(fmt.Sprintf("stream %v", stream), got[stream].Points, 1, d, i, "queue_length/", 1e-6)
	}
}

func checkFull(limit int) func(*frame, oracle, *mismatch) {
	return func(f *frame, o oracle, m *mismatch) {
		d := decodeFrame(o.Result)
		q := f.queue()
		for i := range d.Rows {
			stream := d.num(i, "stream")
			for _, s := range q.Streams {
				if float64(s.Lane.Stream) == stream {
					ns, part := s.Blocked(limit)
					m.near(fmt.Sprintf("stream %v", stream), us(ns), d.num(i, "duration_at_max_queue_length"), 0)
					m.near("share", part, d.num(i, "relative_duration_at_max_queue_length"), 0)
				}
			}
		}
	}
}

func checkAnnotations(device bool) func(*frame, oracle, *mismatch) {
	return func(f *frame, o oracle, m *mismatch) {
		d := decodeFrame(o.Result)
		a := f.annotations()
		rows := a.CPU
		if device {
			rows = a.GPU
		}
		var as []KernelRow
		for _, r := range rows {
			as = append(as, KernelRow{Name: r.Name, SumNs: r.SumNs, MaxNs: r.MaxNs, MinNs: r.MinNs, MeanNs: r.MeanNs,
				StdNs: r.StdNs})
		}
		if len(d.Rows) == 0 && len(as) == 0 {
			return
		}
		d.Columns = append(d.Columns, "kernel_type")
		for i := range d.Rows {
			d.Rows[i] = append(d.Rows[i], "")
		}
		checkKernelRows(as, d, m)
	}
}

func checkSequences(f *frame, o oracle, m *mismatch) {
	var ranks map[string]map[string]json.RawMessage
	_ = json.Unmarshal(o.Result, &ranks)
	for _, ops := range ranks {
		for op, raw := range ops {
			var failed struct{ Error string }
			if json.Unmarshal(raw, &failed); failed.Error != "" {
				continue
			}
			d := decodeFrame(raw)
			got := map[string]Sequence{}
			for _, s := range f.sequences(op, 3) {
				got[s.Pattern()] = s
			}
			if len(got) != len(d.Rows) {
				m.addf("%s: %d patterns, HTA %d", op, len(got), len(d.Rows))
			}
			for i := range d.Rows {
				s, ok := got[d.text(i, "pattern")]
				if !ok {
					m.addf("%s: no pattern %.80s", op, d.text(i, "pattern"))
					continue
				}
				m.near(op+" count", float64(s.Count), d.num(i, "count"), 0)
				m.near(op+" gpu", us(s.GPUNs), d.num(i, "GPU kernel duration (us)"), 0)
				m.near(op+" cpu", us(s.CPUNs), d.num(i, "CPU op duration (us)"), 0)
			}
		}
	}
}

// htaFailed says whether HTA failed on every operator.
func htaFailed(o oracle) bool {
	var ranks map[string]map[string]struct{ Error string }
	if json.Unmarshal(o.Result, &ranks) != nil {
		return false
	}
	n, bad := 0, 0
	for _, ops := range ranks {
		for _, r := range ops {
			n++
			if r.Error != "" {
				bad++
			}
		}
	}
	return n > 0 && n == bad
}

var htaBounds = map[Bound]string{BoundCPU: "cpu_bound", BoundCompute: "gpu_compute_bound",
	BoundCommunicate:  "gpu_communication_bound",
	BoundKernelKernel: "gpu_kernel_kernel_overhead", BoundLaunch: "gpu_kernel_launch_overhead"}

func checkCritical(f *frame, o oracle, m *mismatch) {
	var p struct {
		Annotation string
		Instance   *int `json:"instance_id"`
		Launch     bool `json:"CRITICAL_PATH_ADD_ZERO_WEIGHT_LAUNCH_EDGE"`
	}
	_ = json.Unmarshal(o.Params, &p)
	var want struct {
		Nodes  int                `json:"n_nodes"`
		Edges  int                `json:"n_edges"`
		Count  map[string]int     `json:"edges_by_type"`
		Weight map[string]float64 `json:"edge_weight_by_type"`
		Total  float64            `json:"critical_path_total_weight(graph weights)"`
		Length int                `json:"critical_path_length_nodes"`
		Path   [][]any            `json:"critical_path"`
		Bounds map[string]float64 `json:"duration_by_bound"`
	}
	_ = json.Unmarshal(o.Result, &want)
	co := CriticalOptions{Annotation: p.Annotation, ZeroWeightLaunchEdges: p.Launch}
	if p.Instance != nil {
		co.Instance = *p.Instance
	}
	got, err := f.critical(co)
	if err != nil {
		m.addf("%v", err)
		return
	}
	m.near("total", us(got.TotalNs), want.Total, 0)
	m.near("length", float64(len(got.Edges)+1), float64(want.Length), 0)
	m.near("nodes", float64(got.Graph.Nodes), float64(want.Nodes), 0)
	m.near("edges", float64(got.Graph.Edges), float64(want.Edges), 0)
	for t := range numEdgeTypes {
		m.near("edges "+t.String(), float64(got.Graph.Count[t]), float64(want.Count["critical_path_"+t.String()]), 0)
		m.near("weight "+t.String(), us(got.Graph.Weight[t]), want.Weight["critical_path_"+t.String()], 0)
	}
	for _, b := range got.Bounds {
		m.near(b.Bound.String(), us(b.Ns), want.Bounds[htaBounds[b.Bound]], 0)
	}
	for k, e := range got.Edges {
		idx, _ := want.Path[k][0].(float64)
		if uint32(idx) != f.tr.Slices.Event[e.From] {
			m.addf("node %d: event %d, HTA %v", k, f.tr.Slices.Event[e.From], idx)
			break
		}
	}
}
