package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/doors"
	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/web"
)

// TestOneNumber asks real runs by every door that a user has (the verbs in JSON and CSV, the
// report, report.json, the reader's page) and wants one number for each quantity.
func TestOneNumber(t *testing.T) {
	for _, c := range []struct {
		name string
		dir  func(t *testing.T) string
		run  bool // of a pipeline, with a report.json
		need int  // quantities that two doors say, at least
		ops  []string
	}{
		{"omni", pipelineRun("omni"), true, 150, []string{"allreduce", "allgather", "broadcast"}},
		{"diffusion", pipelineRun("diffusion"), true, 40, nil},
		{"all kinds of collectives", written(pipetest.Collectives), false, 100,
			[]string{"allgather", "reducescatter", "alltoall", "broadcast", "allreduce"}},
		{"torch on devices", written(pipetest.Torch), false, 80, []string{"allgather"}},
		{"work that never ended", corpus("impossible", "many never ended"), false, 20, nil},
		{"times of another clock", corpus("impossible", "a time of another clock"), false, 20, nil},
		{"graphs of which a part was lost", corpus("lost work", "of graphs, whole and in part"), false, 20, nil},
		{"ranks in one file, one twice", corpus("twice", "in an archive beside"), false, 40, nil},
		{"torch on the processor", file("../../analysis/testdata/torch_cpu.json.gz"), false, 100, nil},
		{"vLLM", file("../../shared/engine-traces/tp2_rank*.gz"), false, 100, []string{"allreduce"}},
		{"NCCL", file("../../shared/traces/nccl_data.json.gz"), false, 20, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := c.dir(t)
			q := &numbers{T: t, paths: []string{dir}, said: doors.Doors{}}
			if n := q.ask(c.run); n < c.need {
				t.Errorf("%d quantities are said by two doors, want %d", n, c.need)
			}
			for _, op := range c.ops {
				q.everyDoor(op, c.run)
			}
		})
	}
}

// pipelineRun captures a native pipeline.
func pipelineRun(name string) func(t *testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		if testing.Short() {
			t.Skip("runs a pipeline")
		}
		root := t.TempDir()
		prompts := filepath.Join(root, "prompts.txt")
		if err := os.WriteFile(prompts, []byte("a red fox in the snow\na harbour at night\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		q := &numbers{T: t}
		q.verb(nil, "capture", "--pipeline", name, "--prompts", prompts, "--tensor-parallel-size", "2", "--runs-dir",
			filepath.Join(root, "runs"))
		dirs, err := filepath.Glob(filepath.Join(root, "runs", "*"))
		if err != nil || len(dirs) != 1 {
			t.Fatal(dirs, err)
		}
		return dirs[0]
	}
}

// written writes the ranks of a job in Kineto's layout, as torch leaves them.
func written(make func() []*trace.Trace) func(t *testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		dir := t.TempDir()
		kineto, ok := format.Lookup("kineto")
		if !ok {
			t.Fatal("traces of Kineto are not written")
		}
		for i, tr := range make() {
			var b bytes.Buffer
			w := kineto.Create(&b, format.WriteOptions{Name: "x", Workers: 1, Ranks: 1})
			if err := w.Add(t.Context(), format.Rank{Trace: tr}); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("rank%d.json", i)), b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
}

// file is the traces of a pattern, in a directory of their own.
func file(pattern string) func(t *testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			t.Skipf("no %s here", pattern)
		}
		dir := t.TempDir()
		for _, f := range files {
			from, err := filepath.Abs(f)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
}

// numbers asks one run and notes the answers. Quantities of a trace begin with its place.
type numbers struct {
	*testing.T
	paths       []string
	said        doors.Doors
	drifts      []float64 // that steps says of any loop
	collectives []string
}

// ask asks by every door, and returns how many quantities two of them said.
func (q *numbers) ask(run bool) int {
	q.comms()
	q.ops()
	q.steps()
	q.traces()
	q.device()
	q.page()
	if run {
		q.pipeline(q.paths[0])
	}
	return q.said.Check(q.T)
}

// everyDoor wants the sizes, calls and times of an operation's collectives from every door that
// has collectives: a door that leaves an operation out would agree with all others.
func (q *numbers) everyDoor(op string, run bool) {
	q.Helper()
	doors := []string{"comms", "report --traces", "page"}
	if run {
		doors = append(doors, "report.json")
	}
	n := 0
	for quantity, by := range q.said {
		// "0 allgather of GROUP of 2 bytes"
		if words := strings.Fields(quantity); len(words) < 3 || words[1] != op || words[2] != "of" {
			continue
		}
		n++
		for _, door := range doors {
			if _, ok := by[door]; !ok {
				q.Errorf("%s does not say %s", door, quantity)
			}
		}
	}
	if n < 3 {
		q.Errorf("no %s among %v", op, q.collectives)
	}
}

// oneNumber is a command of scripts: onenumber FILE asks the run of a capture's --json by every door.
func oneNumber(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		var r captureResult
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &r))
		q := &numbers{T: t, paths: []string{ts.MkAbs(r.Session.RunDir)}, said: doors.Doors{}}
		if n := q.ask(true); n < 30 {
			ts.Fatalf("%d quantities are said by two doors", n)
		}
	}
}

func (q *numbers) say(door string, v float64, what ...any) {
	q.Helper()
	q.said.Say(q.T, strings.TrimSpace(fmt.Sprintln(what...)), door, v)
}

// verb runs a verb as the shell would and decodes what it prints into out; nil leaves it.
func (q *numbers) verb(out any, args ...string) string {
	q.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(q.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr}); code != 0 {
		q.Fatalf("%v: exit code %d: %s", args, code, &stderr)
	}
	if out != nil {
		if err := json.Unmarshal(stdout.Bytes(), out); err != nil {
			q.Fatalf("%v: %v", args, err)
		}
	}
	return stdout.String()
}

func (q *numbers) json(out any, verb string, flags ...string) {
	q.Helper()
	q.verb(out, append(append([]string{verb, "--json"}, flags...), q.paths...)...)
}

// comms is the verb comms, as JSON and as CSV.
func (q *numbers) comms() {
	var v struct {
		Ranks      []analysis.CommTable
		Overlap    []analysis.Overlap
		Stragglers *analysis.StragglerReport
	}
	q.json(&v, "comms")
	for i := range v.Ranks {
		q.commRows("comms", i, v.Ranks[i].Rows)
		q.say("comms", float64(v.Overlap[i].CommunicationNs), i, "communication of devices")
		q.say("comms", float64(v.Overlap[i].OverlappedNs), i, "communication behind compute")
	}
	q.stragglers("comms", v.Stragglers)
	rows, err := csv.NewReader(strings.NewReader(q.verb(nil, "comms", "--csv", q.paths[0]))).ReadAll()
	if err != nil {
		q.Fatal(err)
	}
	for op, n := range sumsOf(q.T, rows) {
		q.say("comms --csv", n[0], "all", op, "bytes")
		q.say("comms --csv", n[1], "all", op, "calls")
	}
	all := map[string][2]float64{}
	for i := range v.Ranks {
		for _, r := range v.Ranks[i].Rows {
			s := all[r.Op]
			all[r.Op] = [2]float64{s[0] + float64(r.Bytes)*float64(r.Count), s[1] + float64(r.Count)}
		}
	}
	for op, n := range all {
		q.say("comms", n[0], "all", op, "bytes")
		q.say("comms", n[1], "all", op, "calls")
	}
}

// sumsOf sums bytes and calls of the rows of comms --csv by operation.
func sumsOf(t *testing.T, rows [][]string) map[string][2]float64 {
	t.Helper()
	at := func(key string) int { return slices.Index(rows[0], key) }
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	out := map[string][2]float64{}
	for _, r := range rows[1:] {
		s, n := out[r[at("op")]], number(r[at("count")])
		out[r[at("op")]] = [2]float64{s[0] + n*number(r[at("bytes")]), s[1] + n}
	}
	return out
}

// commRows sums rows by operation and group, as report.json has them.
func (q *numbers) commRows(door string, i int, rows []analysis.CommRow) {
	type sums struct{ bytes, calls, ns float64 }
	by := map[string]sums{}
	for _, r := range rows {
		k := fmt.Sprint(r.Op, " of ", r.Group, " of ", r.GroupSize)
		s := by[k]
		by[k] = sums{s.bytes + float64(r.Bytes)*float64(r.Count), s.calls + float64(r.Count), s.ns + float64(r.SumNs)}
		if !slices.Contains(q.collectives, r.Op) {
			q.collectives = append(q.collectives, r.Op)
		}
	}
	for k, s := range by {
		q.say(door, s.bytes, i, k, "bytes")
		q.say(door, s.calls, i, k, "calls")
		q.say(door, s.ns, i, k, "time")
	}
}

func (q *numbers) stragglers(door string, s *analysis.StragglerReport) {
	if s == nil {
		return
	}
	q.say(door, float64(s.Matched), "matched collectives")
	for _, r := range s.Ranks {
		q.say(door, float64(r.WaitNs), r.Index, "waited for others")
		q.say(door, float64(r.BlameNs), r.Index, "others waited for it")
		q.say(door, float64(r.Matched), r.Index, "matched")
		q.say(door, float64(r.LastCount), r.Index, "came last")
	}
}

// ops is the verb ops.
func (q *numbers) ops() {
	var v struct{ Ranks []analysis.OpTable }
	q.json(&v, "ops")
	for i := range v.Ranks {
		q.opRows("ops", i, &v.Ranks[i])
	}
}

func (q *numbers) opRows(door string, i int, t *analysis.OpTable) {
	q.say(door, float64(t.CPUNs), i, "operators' host time")
	q.say(door, float64(t.DeviceNs), i, "operators' device time")
	for _, r := range t.Rows {
		q.say(door, float64(r.Count), i, r.Name, "calls")
		q.say(door, float64(r.SelfCPUNs), i, r.Name, "self")
		q.say(door, float64(r.CPUNs), i, r.Name, "total")
		q.say(door, float64(r.SelfDeviceNs), i, r.Name, "device")
	}
}

// steps is the verb steps.
func (q *numbers) steps() {
	var v struct{ Ranks []steps.Report }
	q.json(&v, "steps")
	for i := range v.Ranks {
		for _, k := range v.Ranks[i].Kinds {
			q.stepKind("steps", i, k.Kind.String(), &k)
		}
		for _, d := range v.Ranks[i].Drifts {
			q.drifts = append(q.drifts, d.Change)
		}
	}
}

func (q *numbers) stepKind(door string, i int, kind string, k *steps.Stats) {
	q.say(door, float64(k.Count), i, kind, "steps")
	q.say(door, float64(k.TotalNs), i, kind, "time in steps")
	q.say(door, k.MeanNs, i, kind, "mean of steps")
	q.say(door, k.P99Ns, i, kind, "p99 of steps")
}

// traces is report of traces one by one.
func (q *numbers) traces() {
	var v struct {
		Report analysis.Report
		Steps  []steps.Report
	}
	q.json(&v, "report", "--traces")
	for i := range v.Report.Ranks {
		k := &v.Report.Ranks[i]
		q.commRows("report --traces", i, k.Comms.Rows)
		q.opRows("report --traces", i, &k.Ops)
		q.say("report --traces", float64(k.Temporal.CommunicationNs), i, "communication of devices")
		q.say("report --traces", float64(k.Overlap.OverlappedNs), i, "communication behind compute")
		q.say("report --traces", float64(k.Temporal.BusyNs), i, "device busy")
		var kinds int64
		for _, x := range k.Kernels.Types {
			kinds += x.Ns
		}
		q.say("report --traces, kinds of work", float64(kinds), i, "device busy")
	}
	q.stragglers("report --traces", v.Report.Stragglers)
	for i := range v.Steps {
		for _, k := range v.Steps[i].Kinds {
			q.stepKind("report --traces", i, k.Kind.String(), &k)
		}
	}
}

// page asks the reader's endpoints of the server that view starts.
func (q *numbers) page() {
	ready := filepath.Join(q.TempDir(), "ready")
	ctx, stop := context.WithCancel(q.Context())
	done := make(chan int, 1)
	var said safeBuffer
	go func() {
		done <- run(ctx, []string{"view", "--no-open", "--addr", "127.0.0.1:0", "--ready-file", ready, q.paths[0]},
			cli.Streams{In: strings.NewReader(""), Out: &said, Err: &said})
	}()
	defer func() {
		stop()
		if code := <-done; code != 0 {
			q.Errorf("view: exit code %d: %s", code, &said)
		}
	}()
	var u *url.URL
	waittest.Until(q.T, time.Minute, "view serves", func() bool {
		b, err := os.ReadFile(ready)
		if err == nil {
			u, err = url.Parse(strings.TrimSpace(string(b)))
		}
		return err == nil
	})
	get := func(path string, out any) {
		q.Helper()
		r, err := http.NewRequestWithContext(q.Context(), http.MethodGet,
			"http://"+u.Host+"/v1/runs/"+web.ViewID+"/"+path, nil)
		if err != nil {
			q.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimPrefix(u.Fragment, "key="))
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			q.Fatal(err)
		}
		err = errors.Join(json.NewDecoder(resp.Body).Decode(out), resp.Body.Close())
		if err != nil || resp.StatusCode != http.StatusOK {
			q.Fatalf("%s: %s: %v", path, resp.Status, err)
		}
	}
	var comm timeline.Communication
	get("communication", &comm)
	rows := map[int][]analysis.CommRow{}
	for _, r := range comm.Rows {
		rows[r.Trace] = append(rows[r.Trace], r.Row)
	}
	for i, list := range rows {
		q.commRows("page", i, list)
	}
	for _, r := range comm.Ranks {
		if comm.Matched > 0 {
			q.say("page", float64(r.WaitNs), r.Trace, "waited for others")
			q.say("page", float64(r.LastCount), r.Trace, "came last")
		}
	}
	var times struct{ Data []timeline.StepTimes }
	get("steptimes", &times)
	for _, s := range times.Data {
		for _, k := range s.Kinds {
			q.stepKind("page", s.Trace, k.Kind.String(), &k.Stats)
		}
		var ops timeline.OpsTable
		get(fmt.Sprintf("ops?trace=%d", s.Trace), &ops)
		for _, r := range ops.Rows {
			if r.Kind == "op" {
				q.say("page", float64(r.Count), s.Trace, r.Name, "calls")
				q.say("page", float64(r.SelfHostNs), s.Trace, r.Name, "self")
			}
		}
	}
	var over timeline.Overview
	get("overview", &over)
	if over.Requests > 0 {
		q.say("page", over.Latency.TTFT.P50Ns, "TTFT")
		q.say("page", float64(over.Requests), "requests")
	}
}

// pipeline is report of a run, which must be what its report.json says.
func (q *numbers) pipeline(dir string) {
	var r, file pipeline.Report
	q.json(&r, "report")
	b, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if err == nil {
		err = json.Unmarshal(b, &file)
	}
	if err != nil {
		q.Fatal(err)
	}
	if !reflect.DeepEqual(r, file) {
		q.Error("report --json is not report.json")
	}
	var fresh pipeline.Report
	q.json(&fresh, "report", "--fresh")
	q.say("report --fresh", fresh.Latency.TTFT.P50Ns, "TTFT")
	q.say("report.json", file.Latency.TTFT.P50Ns, "TTFT")
	q.say("report.json", float64(file.RequestCount), "requests")
	for k := range file.Batches {
		if d := file.Batches[k].Drift; d != 0 && !slices.Contains(q.drifts, d) {
			q.Errorf("report.json says a drift of %v of batch %d, steps knows %v", d, k, q.drifts)
		}
	}
	for _, s := range file.Stages {
		for k := range s.Ranks {
			q.rank(&s.Ranks[k])
		}
	}
}

func (q *numbers) rank(k *pipeline.Rank) {
	i := k.Trace
	for _, c := range k.Comms {
		group := fmt.Sprint(c.Name, " of ", c.Group, " of ", c.GroupSize)
		q.say("report.json", float64(c.Bytes), i, group, "bytes")
		q.say("report.json", float64(c.Calls), i, group, "calls")
		q.say("report.json", float64(c.TotalNs), i, group, "time")
	}
	for _, o := range k.Ops {
		q.say("report.json", float64(o.Calls), i, o.Name, "calls")
		q.say("report.json", float64(o.TotalNs), i, o.Name, "total")
		q.say("report.json", float64(o.SelfNs), i, o.Name, "self")
	}
	for _, s := range k.Steps {
		kind := s.Category.String()
		q.say("report.json", float64(s.Count), i, kind, "steps")
		q.say("report.json", float64(s.TotalNs), i, kind, "time in steps")
		q.say("report.json", s.MeanNs, i, kind, "mean of steps")
		q.say("report.json", s.P99Ns, i, kind, "p99 of steps")
	}
	if k.Matched > 0 {
		q.say("report.json", float64(k.PeerWaitNs), i, "waited for others")
		q.say("report.json", float64(k.Matched), i, "matched")
	}
	q.say("report.json", float64(k.DeviceBusyNs), i, "device busy")
}
