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
	for name, v := range map[string]float64{"mean": got.Mean, "std": got.Std, "min": got.Min, "25%": got.P25,
		"50%": got.P50, "75%": got.P75, "max": got.Max} {
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
	negativeThread = reason{"one dependency edge, which weighs nothing, fewer, probably for how HTA takes the one thread with a negative id; " +
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
		if !slices.ContainsFunc(r.only, func(o string) bool { return strings.Contains(text, o) }) ||
			strings.Contains(text, " max:") {
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
		t.Errorf("%s on %s: %d differences\n  %s", analysis, dir, len(m.list),
			strings.Join(m.list[:min(len(m.list), 6)], "\n  "))
		return "differs"
	}
	return "differs: " + r.why
}

func diffOracles(t *testing.T, table *oracleTable) {
	for _, pair := range [][3]string{{"diff_trace_diff", "trace_diff_control", "trace_diff_test"},
		{"diff_trace_compare", "trace_compare_base", "trace_compare_test"}} {
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
				d := Diff(a, b, Options{HTA: true, HTAAllSteps: true},
					DiffOptions{HTAFirst: !all, HostOnly: v == "cpu", DeviceOnly: v == "gpu"})
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
