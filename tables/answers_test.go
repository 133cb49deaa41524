package tables

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/kinetoscope/kinetoscope/analyses"
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/table"
)

func answersOf(traces []*trace.Trace) *Answers {
	a, d := &Answers{}, Wanted(nil)
	for i, t := range traces {
		p := d.PartOf(RankOf(analysis.NewSubject(t), fmt.Sprint("t", i)))
		p.Label = fmt.Sprint(i)
		a.Parts = append(a.Parts, p)
	}
	return a
}

func must(t *testing.T, a *Answers, f func(*Answers) (table.Table, error)) *table.Table {
	t.Helper()
	out, err := f(a)
	if err != nil {
		t.Fatal(err)
	}
	return &out
}

// rowsOf returns the rows of a table as maps by column.
func rowsOf(t *table.Table) (rows []map[string]any) {
	for _, r := range t.All() {
		m := map[string]any{}
		for k, v := range r {
			m[t.Columns[k].Name] = v
		}
		rows = append(rows, m)
	}
	return rows
}

// The parts of a device's time are all of it, whatever kinds of work it did.
func TestPartsOfTheSpan(t *testing.T) {
	tr := trace.New()
	k := tr.AddTrack(trace.Track{Kind: trace.TrackGPU, PID: 1, Device: 0, Stream: 7})
	add := func(start, dur int64, cat trace.Category, name string) {
		tr.AddSlice(trace.Slice{Start: start, Dur: dur, Name: name, Cat: cat, Track: k, Corr: trace.NoCorrelation})
	}
	add(0, 100, trace.CatKernel, "gemm")
	add(150, 70, tr.Category("mtia_ccp_events"), "pe_exe")
	add(220, 30, trace.CatGPUMemcpy, "Memcpy DtoD")
	add(250, 40, trace.CatKernel, "ncclDevKernel_AllReduce")
	r := rowsOf(must(t, answersOf([]*trace.Trace{tr}), ranks))[0]
	sum := int64(0)
	for _, part := range []string{"compute", "exposed_communication", "exposed_memory", "other", "device_idle"} {
		if ns, ok := r[part].(int64); !ok || ns == 0 {
			t.Errorf("no %s: %v", part, r[part])
		} else {
			sum += ns
		}
	}
	if sum != 290 || r["device_span"] != sum {
		t.Errorf("the parts are %d of a span of %v", sum, r["device_span"])
	}
}

// The tables say what the verbs say.
func TestAnswersAreTheVerbs(t *testing.T) {
	traces := pipetest.Torch()
	a := answersOf(traces)
	all := analysis.All(traces, analysis.Options{})
	for i, r := range rowsOf(must(t, a, ranks)) {
		w := all.Ranks[i].Temporal
		if r["device_busy"] != w.BusyNs || r["exposed_communication"] != w.ExposedCommunicationNs ||
			r["trace"] != fmt.Sprint("t", i) {
			t.Errorf("rank %d: %v, want %+v", i, r, w)
		}
	}
	paper := report.TraceReport{Report: &all, Names: report.NamesOf(traces)}
	var found []analyses.Found
	for i, tr := range traces {
		s := steps.Find(tr, steps.Options{})
		f, err := page().Rank(analysis.NewSubject(tr))
		if err != nil {
			t.Fatal(err)
		}
		found, paper.Labels = append(found, f), append(paper.Labels, fmt.Sprint(i))
		got := stepsOf(RankOf(analysis.NewSubject(tr), "x"))
		if got.Rows != len(s.Steps) || got.Rows == 0 {
			t.Errorf("rank %d: %d steps, want %d", i, got.Rows, len(s.Steps))
		}
		for k, r := range rowsOf(&got) {
			if r["dur"] != s.Steps[k].Ns() || r["kind"] != s.Steps[k].Kind.String() || r["ts"] != s.Steps[k].AtNs {
				t.Errorf("step %d: %v, want %+v", k, r, s.Steps[k])
			}
		}
	}
	rows := rowsOf(must(t, a, findings))
	if _, err := page().Build(&paper, found); err != nil {
		t.Fatal(err)
	}
	want := paper.Report.Findings
	if len(rows) != len(want) || len(want) == 0 {
		t.Errorf("%d findings, want %d", len(rows), len(want))
	}
	var got, texts []string
	for i := range rows {
		got = append(got, rows[i]["text"].(string))
	}
	for _, f := range want {
		texts = append(texts, f.Text)
	}
	slices.Sort(got)
	slices.Sort(texts)
	if !slices.Equal(got, texts) {
		t.Errorf("findings\n%q\nwant\n%q", got, texts)
	}
}

// Of a pipeline requests and findings are those of its report.
func TestAnswersOfPipeline(t *testing.T) {
	traces := pipetest.Omni()
	a := answersOf(traces)
	rep := pipeline.Analyze(traces, pipeline.Options{})
	a.Pipelines = []Pipeline{{Name: "run", Report: rep}}
	asked, said := must(t, a, requests), must(t, a, findings)
	if asked.Rows != len(rep.Requests) || asked.Rows == 0 || said.Rows != len(rep.Findings) || said.Rows == 0 {
		t.Fatalf("%d requests, %d findings", asked.Rows, said.Rows)
	}
	for i, r := range rowsOf(asked) {
		q := rep.Requests[i]
		if r["request"] != q.ID || r["dur"] != q.TotalNs || r["trace"] != "run" || q.TTFTNs >= 0 &&
			r["ttft"] != q.TTFTNs {
			t.Errorf("request %v, want %+v", r, q)
		}
	}
	of := 0
	for _, r := range rowsOf(said) {
		if r["stage"] != nil && r["trace"] != "run" {
			of++
		}
	}
	if of == 0 {
		t.Error("no finding says of which rank it is")
	}
}

// Kernels are the device slices, each with its launch.
func TestKernels(t *testing.T) {
	tr := pipetest.Torch()[0]
	k := kernelsOf(RankOf(analysis.NewSubject(tr), "x"))
	s := table.Slices(table.Rank{Trace: tr, Name: "x"})
	device := 0
	for _, r := range rowsOf(&s) {
		if r["kind"] == "device" {
			device++
		}
	}
	launched := 0
	for _, r := range rowsOf(&k) {
		if id, ok := r["launch_id"].(int64); ok {
			launched++
			if tr.Slices.Corr[id] != r["correlation"] ||
				r["launch_to_start"].(int64) != r["ts"].(int64)-tr.Slices.Start[id] {
				t.Errorf("launch of %v", r)
			}
		}
	}
	if k.Rows != device || launched == 0 {
		t.Errorf("%d kernels of %d, %d launched", k.Rows, device, launched)
	}
}

// Parts joined say what all traces say at once.
func TestJoin(t *testing.T) {
	for name, traces := range map[string][]*trace.Trace{"torch": pipetest.Torch(),
		"collectives": pipetest.Collectives()} {
		parts := make([]analysis.RankPart, len(traces))
		for i, tr := range traces {
			parts[i] = analysis.PartOf(analysis.NewSubject(tr), analysis.Options{})
		}
		got, err := json.Marshal(analysis.Join(parts).Stragglers)
		if err != nil {
			t.Fatal(err)
		}
		all := analysis.All(traces, analysis.Options{})
		want, err := json.Marshal(all.Stragglers)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: %s, want %s, %v", name, got, want, err)
		}
	}
}
