package analysis

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/trace"
)

var update = flag.Bool("update", false, "write docs/analyses.md's table and golden files")

const oracleDir = "../../shared/oracles"

// hf is a data frame as the oracle stores it.
type hf struct {
	Columns []string
	Index   []any
	Rows    [][]any
}

// col returns a row's value as a number; null is NaN.
func (d *hf) num(row int, col string) float64 {
	k := slices.Index(d.Columns, col)
	if k < 0 || k >= len(d.Rows[row]) {
		return math.NaN()
	}
	if v, ok := d.Rows[row][k].(float64); ok {
		return v
	}
	return math.NaN()
}

func (d *hf) text(row int, col string) string {
	s, _ := d.Rows[row][slices.Index(d.Columns, col)].(string)
	return s
}

// oracle is one result file.
type oracle struct {
	Params          json.RawMessage
	Result          json.RawMessage
	ResultUnrounded json.RawMessage `json:"result_unrounded"`
	Ranks           json.RawMessage // of load_summary
	Error           string
}

var errNoOracle = errors.New("no oracle")

func readOracle(dir, name string) (oracle, error) {
	var o oracle
	raw, err := os.ReadFile(filepath.Join(oracleDir, dir, name+".json"))
	if err != nil {
		return o, errNoOracle
	}
	return o, json.Unmarshal(raw, &o)
}

// exact returns the unrounded result if the oracle has it and the tolerance to use.
func (o oracle) exact() (json.RawMessage, float64) {
	if len(o.ResultUnrounded) > 0 {
		return o.ResultUnrounded, 0
	}
	return o.Result, 0.0051
}

// mismatch collects differences.
type mismatch struct{ list []string }

func (m *mismatch) addf(format string, a ...any) { m.list = append(m.list, fmt.Sprintf(format, a...)) }

// near compares to nine digits or to a rounding.
func (m *mismatch) near(what string, got, want, rounding float64) {
	if math.IsNaN(want) || math.IsNaN(got) {
		if math.IsNaN(want) != math.IsNaN(got) {
			m.addf("%s: got %v, HTA %v", what, got, want)
		}
		return
	}
	if math.Abs(got-want) > rounding+1e-9*max(1, math.Abs(want)) {
		m.addf("%s: got %v, HTA %v", what, got, want)
	}
}

func us(ns int64) float64 { return float64(ns) / 1000 }

// stats compares our statistics, in units of scale, with a described row.
func (m *mismatch) stats(what string, got Stats, scale float64, d *hf, row int, prefix string, rounding float64) {
	m.near(what+" count", float64(got.Count), d.num(row, prefix+"count"), 0)
	if got.Count == 0 {
		return
	}
	for name, v := range map[string]float64{"mean": got.Mean, "std": got.Std, "min": got.Min, "25%": got.P25, "50%": got.P50, "75%": got.P75, "max": got.Max} {
		want := d.num(row, prefix+name)
		if name == "std" && math.IsNaN(want) {
			want = 0 // of one number; ours is 0
		}
		m.near(what+" "+name, v/scale, want, rounding)
	}
}

// check is one analysis compared with one oracle file.
type check struct {
	name string
	file string
	run  func(f *frame, o oracle, m *mismatch)
}

var checks = []check{
	{"rows", "load_summary", checkRows},
	{"temporal breakdown", "temporal_breakdown", checkTemporal},
	{"kernel types", "gpu_kernel_breakdown_all", checkTypes},
	{"kernels", "gpu_kernel_breakdown_all", checkKernels},
	{"kernels, lumped", "gpu_kernel_breakdown", checkLumped},
	{"overlap", "comm_comp_overlap", checkOverlap},
	{"idle causes", "idle_time_breakdown", checkIdle},
	{"launch statistics", "cuda_kernel_launch_stats", checkLaunch(false)},
	{"launch statistics, no memory", "cuda_kernel_launch_stats_nomem", checkLaunch(true)},
	{"memory bandwidth", "memory_bw_summary", checkBandwidth},
	{"queue length", "queue_length_summary", checkQueue},
	{"full queue 1024", "time_blocked_on_full_queue", checkFull(1024)},
	{"full queue 8", "time_blocked_on_full_queue_q8", checkFull(8)},
	{"host annotations", "cpu_user_annotation_breakdown", checkAnnotations(false)},
	{"device annotations", "gpu_user_annotation_breakdown", checkAnnotations(true)},
	{"kernel sequences", "frequent_cuda_kernel_sequences", checkSequences},
	{"critical path", "critical_path", checkCritical},
	{"critical path, launch edges", "critical_path_zwle", checkCritical},
	{"stragglers", "potential_stragglers", func(*frame, oracle, *mismatch) {}},
}

func checkRows(f *frame, o oracle, m *mismatch) {
	var ranks map[string]struct {
		Rows float64 `json:"rows_after_load"`
		GPU  float64 `json:"gpu_rows(stream!=-1)"`
	}
	_ = json.Unmarshal(o.Ranks, &ranks)
	rows := 0
	for _, k := range f.keep {
		rows += b2i(k)
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
			for col, s := range map[string]Stats{"cpu_duration": l.CPU, "gpu_duration": l.GPU, "launch_delay": l.Delay} {
				row := func(name string) float64 {
					return w.Describe.num(slices.IndexFunc(w.Describe.Index, func(v any) bool { return v == name }), col)
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
			as = append(as, KernelRow{Name: r.Name, SumNs: r.SumNs, MaxNs: r.MaxNs, MinNs: r.MinNs, MeanNs: r.MeanNs, StdNs: r.StdNs})
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

var htaBounds = map[Bound]string{BoundCPU: "cpu_bound", BoundCompute: "gpu_compute_bound", BoundCommunicate: "gpu_communication_bound",
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

// reason says why we differ from HTA although Options.HTA is set, and which
// differences it covers: each must contain one of only. All else must agree.
type reason struct {
	why  string
	only []string
}

var (
	tieOrder = reason{"HTA's sort leaves the order of equal times open and its mean over changes depends on it; " +
		"count, extremes and quartiles agree", []string{" mean:", " std:"}}
	residue = reason{"HTA counts what rounding leaves of a sum of rates as a rate, in an order that its sort leaves open; " +
		"the largest rate and the other directions agree", []string{"Memcpy DtoD"}}
	negativeThread = reason{"one dependency edge, which weighs nothing, fewer: HTA chains a thread with a negative id to another one; " +
		"the path and all other edges agree", []string{"edges:", "edges dependency:"}}
)

// reasons is by analysis and dataset. The oracles have the stable-sort variant for the
// datasets without suffix only, hence the open ties of those with one.
var reasons = map[string]reason{
	"queue length/critical_path_simple_add+include_last_step": tieOrder,
	"queue length/kineto_resnet50_nw0+include_last_step":      tieOrder,
	"queue length/nccl_data+include_last_step":                tieOrder,
	"queue length/ns_resolution+include_last_step":            tieOrder,
	"queue length/trace_diff_control+include_last_step":       tieOrder,
	"queue length/trace_diff_test+include_last_step":          tieOrder,
	"memory bandwidth/ns_resolution+include_last_step":        residue,
	"memory bandwidth/trace_diff_test+include_last_step":      residue,
	"critical path/ns_resolution":                             negativeThread,
}

// explains says whether every difference is one that r covers.
func (r reason) explains(m mismatch) bool {
	for _, text := range m.list {
		if !slices.ContainsFunc(r.only, func(o string) bool { return strings.Contains(text, o) }) || strings.Contains(text, " max:") {
			return false
		}
	}
	return r.why != ""
}

func TestOracles(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(oracleDir, "*", "STATUS.json"))
	if err != nil || len(dirs) == 0 {
		t.Skip("shared oracles are not here")
	}
	table := newOracleTable()
	var lastName string
	var tr *trace.Trace
	for _, path := range dirs {
		dir := filepath.Base(filepath.Dir(path))
		name, variant, _ := strings.Cut(dir, "+")
		if name != lastName {
			tr, lastName = loadShared(t, name), name
		}
		f := newFrame(tr, Options{HTA: true, HTAIncludeLastStep: variant != ""})
		for _, c := range checks {
			verdict := runCheck(t, c, dir, f)
			table.set(c.name, dir, verdict)
		}
	}
	diffOracles(t, table)
	t.Log("\n" + table.text())
	table.golden(t)
}

// runCheck returns "agrees", "HTA fails" or the reason for a difference.
func runCheck(t *testing.T, c check, dir string, f *frame) string {
	o, err := readOracle(dir, c.file)
	if stable, err2 := readOracle(dir, c.file+".stable"); err2 == nil {
		o = stable // the same call with stable sorts: the only defined order of equal times
	}
	switch {
	case errors.Is(err, errNoOracle):
		return ""
	case err != nil:
		t.Fatalf("%s/%s: %v", dir, c.file, err)
	case o.Error != "" || htaFailed(o):
		return "HTA fails"
	case c.name == "critical path" || c.name == "critical path, launch edges":
		raw, _ := os.ReadFile(filepath.Join(oracleDir, dir, c.file+".json"))
		o.Result = raw
	case o.Ranks == nil && len(o.Result) == 0 || string(o.Result) == "null":
		return ""
	}
	var m mismatch
	c.run(f, o, &m)
	return judge(t, c.name, dir, m)
}

func judge(t *testing.T, analysis, dir string, m mismatch) string {
	t.Helper()
	r := reasons[analysis+"/"+dir]
	switch {
	case len(m.list) == 0 && r.why != "":
		t.Errorf("%s on %s agrees, yet a reason is given why it should not", analysis, dir)
	case len(m.list) == 0:
		return "agrees"
	case !r.explains(m):
		t.Errorf("%s on %s: %d differences\n  %s", analysis, dir, len(m.list), strings.Join(m.list[:min(len(m.list), 6)], "\n  "))
		return "differs"
	}
	return "differs: " + r.why
}

func diffOracles(t *testing.T, table *oracleTable) {
	for _, pair := range [][3]string{{"diff_trace_diff", "trace_diff_control", "trace_diff_test"}, {"diff_trace_compare", "trace_compare_base", "trace_compare_test"}} {
		a, b := loadShared(t, pair[1]), loadShared(t, pair[2])
		for _, v := range []string{"all", "cpu", "gpu"} {
			for _, all := range []bool{false, true} {
				file := "compare_" + v
				if all {
					file += "_alliters"
				}
				o, err := readOracle(pair[0], file)
				if err != nil {
					continue
				}
				d := Diff(a, b, Options{HTA: true, HTAAllSteps: true}, DiffOptions{HTAFirst: !all, HostOnly: v == "cpu", DeviceOnly: v == "gpu"})
				var m mismatch
				compareDiff(d, decodeFrame(o.Result), &m)
				name := "trace diff " + v
				if all {
					name += ", all steps"
				}
				table.set(name, pair[0], judge(t, name, pair[0], m))
			}
		}
	}
}

func compareDiff(got TraceDiff, d *hf, m *mismatch) {
	rows := map[string]DiffRow{}
	for _, r := range got.Rows {
		rows[r.Name] = r
	}
	if len(rows) != len(d.Rows) {
		m.addf("%d rows, HTA %d", len(rows), len(d.Rows))
	}
	for i := range d.Rows {
		name, _ := d.Index[i].(string)
		r, ok := rows[name]
		if !ok {
			m.addf("no row %.50q", name)
			continue
		}
		m.near(name+" A count", float64(r.A.Count), d.num(i, "Control_counts"), 0)
		m.near(name+" A ns", us(r.A.Ns), d.num(i, "Control_total_duration"), 0)
		m.near(name+" B count", float64(r.B.Count), d.num(i, "Test_counts"), 0)
		m.near(name+" B ns", us(r.B.Ns), d.num(i, "Test_total_duration"), 0)
	}
}

// oracleTable is the result of all comparisons.
type oracleTable struct {
	rows, cols []string
	cell       map[[2]string]string
}

func newOracleTable() *oracleTable { return &oracleTable{cell: map[[2]string]string{}} }

func (o *oracleTable) set(row, col, verdict string) {
	if verdict == "" {
		verdict = "–"
	}
	if !slices.Contains(o.rows, row) {
		o.rows = append(o.rows, row)
	}
	if !slices.Contains(o.cols, col) {
		o.cols = append(o.cols, col)
	}
	o.cell[[2]string{row, col}] = verdict
}

// text draws the table, one trace a line, with numbered reasons below.
func (o *oracleTable) text() string {
	var b strings.Builder
	var why []string
	b.WriteString("| trace |")
	for k := range o.rows {
		b.WriteString(" " + strconv.Itoa(k+1) + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(o.rows)) + "\n")
	for _, c := range o.cols {
		b.WriteString("| " + c + " |")
		for _, r := range o.rows {
			v := o.cell[[2]string{r, c}]
			switch {
			case v == "":
				v = "–"
			case v == "agrees":
				v = "✓"
			case v == "HTA fails":
				v = "E"
			case strings.HasPrefix(v, "differs"):
				k := slices.Index(why, v)
				if k < 0 {
					k = len(why)
					why = append(why, v)
				}
				v = string(rune('a' + k))
			}
			b.WriteString(" " + v + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for k, r := range o.rows {
		fmt.Fprintf(&b, "%d %s. ", k+1, r)
	}
	b.WriteString("\n\n✓ agrees, E HTA itself fails, – nothing to compare.")
	for k, w := range why {
		fmt.Fprintf(&b, " (%c) %s.", 'a'+k, w)
	}
	return b.String() + "\n"
}

const tableBegin, tableEnd = "<!-- oracles: written by go test ./analysis -run Oracles -update -->\n", "<!-- end -->\n"

// golden compares the table with the one in the docs, or writes it there.
func (o *oracleTable) golden(t *testing.T) {
	path := "../docs/analyses.md"
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), tableBegin)
	have, tail, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table: want the lines %q and %q", path, tableBegin, tableEnd)
	}
	if *update {
		if err := os.WriteFile(path, []byte(head+tableBegin+o.text()+tableEnd+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have != o.text() {
		t.Errorf("the table in %s is not the one found here; run with -update", path)
	}
}
