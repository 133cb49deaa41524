package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/analysis/steps"
	"github.com/kinetoscope/kinetoscope/trace"
)

// TestLostRank: that a rank was lost is the first thing said, and no verdict hides it.
func TestLostRank(t *testing.T) {
	all := pipetest.Omni()
	for lost := range all {
		for _, left := range []bool{true, false} {
			traces := append([]*trace.Trace{}, all...)
			if !left {
				traces[lost] = nil
			}
			m := &all[lost].Meta
			o := Options{Outcomes: []Outcome{{StageID: m.StageID, Stage: m.Stage, Replica: m.Replica, Rank: m.Rank,
				State: "lost", Reason: "killed by signal 9"}}}
			r := Analyze(traces, o)
			who := fmt.Sprintf("%s rank %d", m.Stage, m.Rank)
			first := r.Findings[0]
			if !first.Doubt || first.Severity != analysis.Critical ||
				!strings.HasPrefix(first.Text, who+" is lost: killed by signal 9") ||
				!strings.Contains(first.Where, who) {
				t.Errorf("%s, left %v: the first finding is %+v", who, left, first)
			}
			if len(r.Outcomes) != 1 || (r.Outcomes[0].Trace >= 0) != left {
				t.Errorf("%s, left %v: %+v", who, left, r.Outcomes)
			}
			if left {
				if b := r.Bottleneck; b != nil && b.Missing != "known in part only: "+who {
					t.Errorf("the bottleneck says of %s %q", who, b.Missing)
				}
				for _, f := range r.Findings {
					if strings.Contains(f.Text, "bottleneck") && !strings.Contains(f.Text, "known in part only: "+who) {
						t.Errorf("%q hides that %s is there in part", f.Text, who)
					}
				}
				continue
			}
			if first.Evidence.Rank != -1 {
				t.Errorf("the evidence is in trace %d", first.Evidence.Rank)
			}
			for _, f := range r.Findings {
				if strings.Contains(f.Text, "bottleneck") &&
					!strings.Contains(f.Text, "not looked at for lack of a trace: "+who) {
					t.Errorf("%q hides that %s is missing", f.Text, who)
				}
			}
			alone := len(r.stagesWithout()) > 0
			if r.Bottleneck != nil && alone && !strings.Contains(r.Bottleneck.Why, m.Stage+" there is no trace") {
				t.Errorf("the bottleneck hides that %s is missing: %s", m.Stage, r.Bottleneck.Why)
			}
		}
	}
	r := Analyze(nil, Options{Outcomes: []Outcome{{Stage: "dit", State: "timed_out"}}})
	if len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Text, "dit rank 0 is timed out") {
		t.Errorf("no rank left a trace: %+v", r.Findings)
	}
	r = Analyze(all, Options{Outcomes: []Outcome{{StageID: all[0].Meta.StageID, Stage: all[0].Meta.Stage,
		State: "complete", Reason: "its memory snapshot is missing"}}})
	if f := r.Findings[0]; f.Severity != analysis.Notice || !strings.Contains(f.Text, "memory snapshot") {
		t.Errorf("%+v", f)
	}
}

// TestEngineSteps: the report of a pipeline knows the steps that engines label.
func TestEngineSteps(t *testing.T) {
	for _, labels := range [][2]string{
		{"execute_context_1(96_96)_generation_0(0)", "execute_context_0(0)_generation_4(4)"},
		{"execute_new_4_cached_0", "execute_new_0_cached_4"},
		{"step[EXTEND bs=4 toks=96]", "step[DECODE bs=4]"},
		{"[Executor] _forward_step 0: 4 ctx reqs, 96 ctx tokens, 0 gen reqs",
			"[Executor] _forward_step 1: 0 ctx reqs, 0 ctx tokens, 4 gen reqs"},
	} {
		r := pipetest.NewRank(0, "llm", 0, 0, 1, 1200)
		r.Slice(labels[0], 0, 300, nil)
		for i := range int64(8) {
			r.Slice(labels[1], 300+100*i, 90, nil)
		}
		rep := Analyze([]*trace.Trace{r.T}, Options{})
		s := rep.Stages[0].Steps
		if len(s) != 2 || s[0].Category != CatPrefill || s[0].Count != 1 || s[1].Category != CatDecode ||
			s[1].Count != 8 || s[1].Batch != 4 || s[1].Tokens != 32 {
			t.Errorf("%s: %+v", labels[1], s)
		}
		if rep.Bottleneck == nil || rep.Bottleneck.BusyShare < 0.8 {
			t.Errorf("%s: bottleneck %+v", labels[1], rep.Bottleneck)
		}
	}
}

// TestOneDrift: the drift of denoise steps and their times are the same in both reports, with
// a device and without.
func TestOneDrift(t *testing.T) {
	for _, device := range []bool{false, true} {
		r := pipetest.NewRank(1, "dit", 0, 0, 1, 100_000)
		gpu := trace.TrackID(0)
		if device {
			gpu = r.T.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: 0, Stream: 7})
		}
		at, free := int64(100), int64(0)
		for i := range int64(20) {
			took := 400 - 9*i
			if i == 0 {
				took = 3000
			}
			r.Slice(trace.NameDenoiseStep, at, took, pipetest.Args{trace.ArgRequests: "a", trace.ArgStep: i})
			if device { // launches run ahead of the device
				c := r.On(r.Main, "cudaLaunchKernel", trace.CatCUDARuntime, at+5, 5, nil)
				free = max(free, at+20)
				k := r.On(gpu, "gemm", trace.CatKernel, free, 2*took, nil)
				free += 2 * took
				r.T.Slices.Corr[c], r.T.Slices.Corr[k] = i+1, i+1
			}
			at += took + 10
		}
		rep, found := Analyze([]*trace.Trace{r.T}, Options{}), steps.Find(r.T, steps.Options{})
		if len(rep.Batches) != 1 || len(found.Drifts) != 1 {
			t.Fatalf("%d batches, %d drifts", len(rep.Batches), len(found.Drifts))
		}
		if a, b := rep.Batches[0].Drift, found.Drifts[0].Change; a != b || a > -0.2 {
			t.Errorf("device %v: drift %g in the pipeline's report, %g in that of steps", device, a, b)
		}
		if a, b := rep.Stages[0].Steps[0], found.Kinds[0]; a.MeanNs != b.MeanNs || a.P99Ns != b.P99Ns ||
			a.Count != b.Count {
			t.Errorf("device %v: steps %+v and %+v", device, a, b)
		}
	}
}
