package report

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/internal/doors"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// asked is what each way of asking says of a quantity.
type asked struct {
	*testing.T
	doors.Doors
}

func (d asked) say(quantity, door string, v float64) {
	d.Helper()
	d.Say(d.T, quantity, door, v)
}

// TestTwoDoorsOneNumber asks the same runs by every way that a user has and compares.
func TestTwoDoorsOneNumber(t *testing.T) {
	for _, c := range []struct {
		name string
		run  []*trace.Trace
		need int // quantities to compare at least
	}{
		{"omni", pipetest.Omni(), 20},
		{"diffusion", pipetest.Diffusion(), 3},
		{"collectives", pipetest.Collectives(), 60},
		{"torch", pipetest.Torch(), 25},
		{"vLLM on Gloo", shared(t, "../../shared/engine-traces/tp2_rank*.gz"), 0},
		{"NCCL", shared(t, "../../shared/traces/nccl_data.json.gz"), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := asked{t, doors.Doors{}}
			r := analysis.All(c.run, analysis.Options{})
			d.ofComms(c.run)
			d.ofTraces(&r)
			d.ofTables(t, &r)
			d.ofRun(pipeline.Analyze(c.run, pipeline.Options{TopOps: -1}))
			if n := d.Check(t); n < c.need {
				t.Errorf("%d quantities compared, want %d", n, c.need)
			}
		})
	}
}

// shared reads traces that a check-out may have; none if it has not.
func shared(t *testing.T, pattern string) []*trace.Trace {
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		return nil
	}
	out, err := open.Files(t.Context(), files, open.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (d asked) ofComms(run []*trace.Trace) {
	for i, tr := range run {
		d.table("comms", i, analysis.Comms(tr, analysis.Options{}))
		o := analysis.CommComputeOverlap(tr, analysis.Options{})
		d.say(fmt.Sprint(i, " communication"), "comms", float64(o.CommunicationNs))
		d.say(fmt.Sprint(i, " hidden"), "comms", float64(o.OverlappedNs))
	}
	d.stragglers("comms", analysis.Stragglers(run, analysis.Options{}))
}

func (d asked) table(door string, i int, c analysis.CommTable) {
	bytes, calls, ns := map[string]float64{}, map[string]float64{}, map[string]float64{}
	sizes := map[string]int{}
	for _, r := range c.Rows {
		k := fmt.Sprint(i, " ", r.Op, " of ", r.Group, " ", r.GroupSize)
		bytes[k] += float64(r.Bytes) * float64(r.Count)
		calls[k] += float64(r.Count)
		ns[k] += float64(r.SumNs)
		sizes[k]++
	}
	for k := range calls {
		d.say(k+": bytes", door, bytes[k])
		d.say(k+": calls", door, calls[k])
		d.say(k+": time", door, ns[k])
	}
	for _, r := range c.Rows {
		if k := fmt.Sprint(i, " ", r.Op, " of ", r.Group, " ", r.GroupSize); sizes[k] == 1 {
			d.say(k+": bandwidth", door, r.AlgGBs)
			d.say(k+": bus bandwidth", door, r.BusGBs)
		}
	}
}

func (d asked) stragglers(door string, s analysis.StragglerReport) {
	for _, r := range s.Ranks {
		d.say(fmt.Sprint(r.Index, " waited"), door, float64(r.WaitNs))
		d.say(fmt.Sprint(r.Index, " matched"), door, float64(r.Matched))
		if r.Matched > 0 {
			d.say(fmt.Sprint(r.Index, " came last"), door, float64(r.LastCount)/float64(r.Matched))
		}
	}
}

// ofTraces is `report` of traces, the page and --json.
func (d asked) ofTraces(r *analysis.Report) {
	for i := range r.Ranks {
		k := &r.Ranks[i]
		d.table("report", i, k.Comms)
		d.say(fmt.Sprint(i, " communication"), "report", float64(k.Temporal.CommunicationNs))
		d.say(fmt.Sprint(i, " hidden"), "report", float64(k.Overlap.OverlappedNs))
		d.say(fmt.Sprint(i, " exposed"), "report", float64(k.Temporal.ExposedCommunicationNs))
		d.say(fmt.Sprint(i, " exposed"), "overlap", float64(k.Overlap.CommunicationNs-k.Overlap.OverlappedNs))
		d.say(fmt.Sprint(i, " device busy"), "report", float64(k.Temporal.BusyNs))
		var kinds int64
		for _, t := range k.Kernels.Types {
			kinds += t.Ns
		}
		d.say(fmt.Sprint(i, " device busy"), "kinds", float64(kinds))
	}
	if r.Stragglers != nil {
		d.stragglers("report", *r.Stragglers)
	}
}

// ofTables is what a table prints, as a program reads it.
func (d asked) ofTables(t *testing.T, r *analysis.Report) {
	list := make([]Ranked[analysis.CommTable], len(r.Ranks))
	for i, label := range numbers(len(r.Ranks)) {
		list[i] = Ranked[analysis.CommTable]{label, r.Ranks[i].Comms}
	}
	table := CommTable(list)
	at := map[string]int{}
	for c, col := range table.Columns {
		at[col.Key] = c
	}
	bytes := map[string]float64{}
	for _, row := range table.Rows() {
		var n, count float64
		if _, err := fmt.Sscan(row[at["bytes"]].Raw, &n); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(row[at["count"]].Raw, &count); err != nil {
			t.Fatal(err)
		}
		k := strings.Join([]string{row[at["rank"]].Raw, row[at["op"]].Raw, "of", row[at["group"]].Raw,
			row[at["group_size"]].Raw}, " ")
		bytes[k] += n * count
	}
	for k, n := range bytes {
		d.say(k+": bytes", "table", n)
	}
}

func numbers(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(i)
	}
	return out
}

// ofRun is report.json.
func (d asked) ofRun(r *pipeline.Report) {
	for _, s := range r.Stages {
		var all int64
		for _, k := range s.Ranks {
			i := k.Trace
			var bytes, ops int64
			for _, c := range k.Comms {
				q := fmt.Sprint(i, " ", c.Name, " of ", c.Group, " ", c.GroupSize)
				d.say(q+": bytes", "report.json", float64(c.Bytes))
				d.say(q+": calls", "report.json", float64(c.Calls))
				d.say(q+": time", "report.json", float64(c.TotalNs))
				if d.Said(q + ": bandwidth") {
					d.say(q+": bandwidth", "report.json", c.AlgGBPerS)
					d.say(q+": bus bandwidth", "report.json", c.BusGBPerS)
				}
				bytes += c.Bytes
			}
			for _, o := range k.Ops {
				if o.Comm {
					ops += o.Bytes
				}
			}
			all += k.CommBytes
			d.say(fmt.Sprint(i, " bytes of all"), "report.json's rank", float64(k.CommBytes))
			d.say(fmt.Sprint(i, " bytes of all"), "report.json's groups", float64(bytes))
			d.say(fmt.Sprint(i, " bytes of all"), "report.json's operators", float64(ops))
			d.say(fmt.Sprint(i, " device busy"), "report.json", float64(k.DeviceBusyNs))
			d.say(fmt.Sprint(i, " waited"), "report.json", float64(k.PeerWaitNs))
			d.say(fmt.Sprint(i, " matched"), "report.json", float64(k.Matched))
			if k.Matched > 0 {
				d.say(fmt.Sprint(i, " came last"), "report.json", k.LastInShare)
			}
		}
		d.say(fmt.Sprint(s.Name, " bytes of all"), "report.json's stage", float64(s.CommBytes))
		d.say(fmt.Sprint(s.Name, " bytes of all"), "report.json's ranks", float64(all))
	}
}
