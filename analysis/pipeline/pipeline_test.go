package pipeline

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/trace"
)

const us = pipetest.Us

func times(l []CategoryTime) map[string]int64 {
	m := map[string]int64{}
	for _, t := range l {
		m[t.Category.String()] = t.ExclusiveNs / us
	}
	return m
}

func TestExclusiveTimes(t *testing.T) {
	r := Analyze(pipetest.Omni(), Options{})
	want := []map[string]int64{
		// 2 prefills and 7 decode steps of 1000 µs, each with 150 µs of all-reduce.
		{"prefill": 1700, "decode": 5950, "communication": 1350, "handoff": 200, "schedule": 50, "sample": 100,
			"wait": 10_250, "other": 400},
		{"prefill": 1800, "decode": 6300, "communication": 900, "schedule": 50, "sample": 100, "wait": 10_250,
			"other": 600},
		{"prefill": 1000, "decode": 4000, "handoff": 300, "wait": 6950, "other": 7750},
		{"vocode": 4000, "handoff": 100, "wait": 10_300, "other": 5600},
	}
	var got []map[string]int64
	for _, s := range r.Stages {
		for _, k := range s.Ranks {
			got = append(got, times(k.Time))
			var sum int64
			for _, c := range k.Time {
				sum += c.ExclusiveNs
			}
			if sum != k.WindowNs {
				t.Errorf("%s rank %d: categories sum to %d, window %d", s.Name, k.Rank, sum, k.WindowNs)
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("exclusive µs (-want +got):\n%s", d)
	}
}

func TestChainToFirstAudio(t *testing.T) {
	r := Analyze(pipetest.Omni(), Options{})
	type link struct {
		Text      string
		Start, Us int64
		Steps     int
		Rank      int
		Flow      bool
	}
	want := []link{
		{"thinker queue", 100, 200, 0, 0, false},
		{"thinker prefill", 300, 1000, 1, 0, false},
		{"thinker decode", 1300, 1100, 1, 0, false},
		{"hand-off thinker to talker", 2400, 200, 0, 0, true},
		{"talker queue", 2600, 100, 0, 0, false},
		{"talker prefill", 2700, 500, 1, 0, false},
		{"talker decode", 3200, 2000, 4, 0, false},
		{"hand-off talker to code2wav", 5200, 150, 0, 0, true},
		{"code2wav queue", 5350, 50, 0, 0, false},
		{"code2wav vocode", 5400, 2000, 1, 0, false},
	}
	c := r.FirstOutput
	if c == nil {
		t.Fatal("no chain")
	}
	var got []link
	var sum int64
	for _, l := range c.Links {
		got = append(got, link{l.Text, (l.StartNs - pipetest.Epoch) / us, l.DurNs / us, l.Steps, l.Rank, l.ViaFlow})
		sum += l.DurNs
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("links (-want +got):\n%s", d)
	}
	if c.Request != "a" || c.Output != "audio" || !c.Complete || c.TotalNs != 7300*us || sum != c.TotalNs {
		t.Errorf("chain %s to %s: complete %v, total %d, sum of links %d", c.Request, c.Output, c.Complete, c.TotalNs,
			sum)
	}
	if q := r.Requests[0]; q.ID != "a" || q.TTFTNs != 1300*us || q.FirstOutputNs != 7300*us || q.Tokens != 8 ||
		q.Partial {
		t.Errorf("request a: %+v", q)
	}
	if q := r.Requests[1]; q.ID != "b" || q.TTFTNs != 2700*us || q.FirstOutputNs != 13_600*us {
		t.Errorf("request b: %+v", q)
	}
	if r.Latency.TTFT.Count != 2 || r.Latency.TTFT.MeanNs != 2e6 {
		t.Errorf("ttft: %+v", r.Latency.TTFT)
	}
}

func TestChainWithoutFlows(t *testing.T) {
	traces := pipetest.Omni()
	for _, tr := range traces {
		tr.Flows = trace.Flows{}
	}
	with, without := Analyze(pipetest.Omni(), Options{}).FirstOutput, Analyze(traces, Options{}).FirstOutput
	for i := range with.Links {
		with.Links[i].ViaFlow = false
	}
	if d := cmp.Diff(with, without); d != "" {
		t.Errorf("chain by request ids differs from chain by flows (-flows +ids):\n%s", d)
	}
}

func TestCollectives(t *testing.T) {
	s := Analyze(pipetest.Omni(), Options{}).Stages[0]
	r0, r1 := s.Ranks[0], s.Ranks[1]
	if r0.Matched != 9 || r0.PeerWaitNs != 9*50*us || r1.PeerWaitNs != 0 || r1.LastInShare != 1 || r0.LastInShare != 0 {
		t.Errorf("rank 0: %d matched, waits %d; rank 1: waits %d, last in %g", r0.Matched, r0.PeerWaitNs, r1.PeerWaitNs,
			r1.LastInShare)
	}
	c := r0.Comms[0]
	want := Comm{Name: "allreduce", Group: "tp", GroupSize: 2, Calls: 9, Bytes: 9 * 16384, TotalNs: 1350 * us,
		MeanNs: 150e3, AlgGBPerS: c.AlgGBPerS, BusGBPerS: c.AlgGBPerS, PeerWaitNs: 450 * us}
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("allreduce (-want +got):\n%s", d)
	}
	if got, want := c.AlgGBPerS, 9*16384/1350e3; got != want {
		t.Errorf("bandwidth %g, want %g GB/s", got, want)
	}
}

func TestOps(t *testing.T) {
	s := Analyze(pipetest.Omni(), Options{}).Stages[0]
	byName := map[string]Op{}
	for _, o := range s.Ranks[0].Ops {
		byName[o.Name] = o
	}
	lin := byName["aten::linear"]
	if lin.Calls != 9 || lin.SelfNs != 900*us || lin.TotalNs != 6300*us || lin.FLOPs != 630e6 || lin.GFLOPPerS != 100 {
		t.Errorf("linear: %+v", lin)
	}
	if mm := byName["aten::mm"]; mm.SelfNs != 5400*us {
		t.Errorf("mm: %+v", mm)
	}
	if s.Ranks[0].FLOPs != 630e6 {
		t.Errorf("rank FLOPs %d", s.Ranks[0].FLOPs)
	}
	if !byName[trace.NameAllReduce].Comm {
		t.Error("all-reduce is not marked as communication")
	}
}

func TestSteps(t *testing.T) {
	s := Analyze(pipetest.Omni(), Options{}).Stages[1]
	want := []StepStats{
		{Category: CatPrefill, Count: 2, TotalNs: 1000 * us, MeanNs: 500e3, P50Ns: 500e3, P90Ns: 500e3, P99Ns: 500e3,
			MinNs: 500 * us, MaxNs: 500 * us, Tokens: 4, MaxSlice: 2, Sample: []int64{500 * us, 500 * us}},
		{Category: CatDecode, Count: 8, TotalNs: 4000 * us, MeanNs: 500e3, P50Ns: 500e3, P90Ns: 500e3, P99Ns: 500e3,
			MinNs: 500 * us, MaxNs: 500 * us, Tokens: 8, Batch: 1, MaxSlice: 4,
			Sample: slices.Repeat([]int64{500 * us}, 8)},
	}
	if d := cmp.Diff(want, s.Steps); d != "" {
		t.Errorf("steps (-want +got):\n%s", d)
	}
}

// TestSampleIsSpread keeps durations of the whole capture, not of its begin.
func TestSampleIsSpread(t *testing.T) {
	const n = 3 * MaxSample / 2
	d := &rankData{}
	for i := range int64(n) {
		d.spans = append(d.spans, span{cls: clsDecode, start: 100 * i, end: 100*i + i + 1})
	}
	stats := stepStats([]*rankData{d})
	sample(stats, []*rankData{d})
	got := stats[0].Sample
	if len(got) != MaxSample || !slices.IsSorted(got) || got[len(got)-1] != n || got[0] > 2 {
		t.Errorf("%d of %d durations, from %d to %d", len(got), n, got[0], got[len(got)-1])
	}
}

func TestDiffusion(t *testing.T) {
	r := Analyze(pipetest.Diffusion(), Options{})
	if len(r.Batches) != 1 {
		t.Fatalf("%d batches", len(r.Batches))
	}
	b := r.Batches[0]
	if b.Images != 2 || b.TextEncodeNs != 1000*us || b.DenoiseNs != 16_800*us || b.VAEDecodeNs != 2000*us ||
		b.TotalNs != 20_600*us || b.Steps.Count != 16 || b.PerImageNs != 10_300e3 {
		t.Errorf("batch: %+v", b)
	}
	if d := b.Drift - 0.2; d > 1e-9 || d < -1e-9 {
		t.Errorf("drift %g, want 0.2", b.Drift)
	}
	if c := r.FirstOutput; c == nil || c.Output != "image" || c.TotalNs != 20_600*us || len(c.Links) != 7 {
		t.Errorf("chain: %+v", c)
	}
	if r.Bottleneck == nil || r.Bottleneck.Stage != "dit" || r.Bottleneck.Limit != LimitCompute {
		t.Errorf("bottleneck: %+v", r.Bottleneck)
	}
}

func TestUnalignedAndEmpty(t *testing.T) {
	if r := Analyze(nil, Options{}); len(r.Stages) != 0 || r.Stages == nil {
		t.Errorf("no traces: %+v", r)
	}
	if r := Analyze([]*trace.Trace{nil, trace.New()}, Options{}); len(r.Stages) != 1 {
		t.Errorf("an empty trace: %+v", r)
	}
	traces := pipetest.Omni()
	traces[2].Meta.WallClock = false
	r := Analyze(traces, Options{})
	if r.Aligned || r.FirstOutput != nil || len(r.Requests) != 0 || len(r.Findings) == 0 ||
		r.Findings[0].Severity.String() != "critical" {
		t.Errorf("unaligned traces: aligned %v, %d requests, findings %v", r.Aligned, len(r.Requests), r.Findings)
	}
}

func TestOffsets(t *testing.T) {
	traces := pipetest.Omni()
	offs := []int64{0, 0, 7_000_000, -3_000_000}
	for i, tr := range traces {
		for k := range tr.Slices.Start {
			tr.Slices.Start[k] -= offs[i]
		}
		for k := range tr.Flows.Time {
			tr.Flows.Time[k] -= offs[i]
		}
		tr.Meta.WindowStart -= offs[i]
		tr.Meta.WindowEnd -= offs[i]
	}
	want, got := Analyze(pipetest.Omni(), Options{}), Analyze(traces, Options{Offsets: offs})
	want.Findings, got.Findings = nil, nil // their evidence is on the trace's own clock
	if d := cmp.Diff(want, got, cmp.AllowUnexported(Op{})); d != "" {
		t.Errorf("moved clocks change the report (-want +got):\n%s", d)
	}
}

func TestEveryCategoryHasANameAndALetter(t *testing.T) {
	if n := Category(NumCategories); n.String() != "category(13)" || (n-1).String() != "other" ||
		len(categoryLetters) != int(n) || n.Letter() != '?' {
		t.Errorf("%v, %v, %d letters", n, n-1, len(categoryLetters))
	}
	for c := range Category(NumCategories) {
		if back, ok := CategoryOfLetter(c.Letter()); !ok || back != c {
			t.Errorf("%v has letter %c, which is %v", c, c.Letter(), back)
		}
	}
	if _, ok := CategoryOfLetter(OutsideWindow); ok {
		t.Error("the space outside the window has a category")
	}
}
