package compare

import (
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
)

// capture is a synthetic capture of n requests through two stages, of which the second takes
// talker times as long a step as 1 ms, and the first output 100 such.
func capture(n int, talker float64, bottleneck string) *pipeline.Report {
	r := &pipeline.Report{Aligned: true, RequestCount: n, Bottleneck: &pipeline.Bottleneck{Stage: bottleneck}}
	var first, ttft, total []int64
	for i := range n {
		q := pipeline.Request{TTFTNs: 10e6 + int64(i)*1000, FirstOutputNs: int64(100e6*talker) + int64(i)*1000,
			TotalNs: int64(200e6*talker) + int64(i)*1000, OutputKind: "audio"}
		r.Requests = append(r.Requests, q)
		ttft, first, total = append(ttft, q.TTFTNs), append(first, q.FirstOutputNs), append(total, q.TotalNs)
	}
	r.Latency = pipeline.Latency{TTFT: pipeline.QuantilesOf(ttft), FirstOutput: pipeline.QuantilesOf(first),
		Total: pipeline.QuantilesOf(total)}
	for _, s := range []struct {
		name  string
		ranks int
		by    float64
	}{{"thinker", 2, 1}, {"talker", 1, talker}} {
		r.Stages = append(r.Stages, pipeline.Stage{
			Name: s.name, Ranks: make([]pipeline.Rank, s.ranks),
			Steps: []pipeline.StepStats{{Category: pipeline.CatDecode, Count: 50, P50Ns: 1e6 * s.by,
				P99Ns: 2e6 * s.by}},
			Time: []pipeline.CategoryTime{{Category: pipeline.CatDecode, ExclusiveNs: int64(50e6 * s.by), Share: 0.5}},
		})
	}
	return r
}

func TestPipelines(t *testing.T) {
	base := func() *pipeline.Report { return capture(20, 1, "thinker") }
	lost := base()
	lost.Outcomes = []pipeline.Outcome{{Stage: "thinker", Rank: 1, State: "lost", Reason: "it was killed"}}
	other := base()
	other.Stages[1].Name = "code2wav"
	for _, c := range []struct {
		name    string
		a, b    Side
		verdict string
		differs string
		doubts  string
	}{
		{"same", Side{Report: base()}, Side{Report: base()},
			"No difference in first audio that could not be chance (p50 100 ms → 100 ms over 20 and 20 requests); the bottleneck stays at thinker.", "", ""},
		{"slower", Side{Report: base(), Cards: []string{"1 × X"}},
			Side{Report: capture(20, 1.5, "talker"), Cards: []string{"1 × Y"}},
			"First audio takes 50% longer in B (p50 100 ms → 150 ms over 20 and 20 requests); of the steps, talker decode changed most " +
				"(p50 1.00 ms → 1.50 ms over 50 and 50, not tested against chance); the bottleneck moved from thinker to talker.",
			"cards: 1 × X in A, 1 × Y in B", ""},
		{"one request", Side{Report: capture(1, 1, "thinker")}, Side{Report: capture(1, 3, "thinker")},
			"Too few requests to tell a difference in first audio from chance (p50 100 ms → 300 ms over 1 and 1 requests); of the steps, " +
				"talker decode changed most (p50 1.00 ms → 3.00 ms over 50 and 50, not tested against chance); the bottleneck stays at thinker.", "", ""},
		{"no request", Side{Report: base()}, Side{Report: capture(0, 1, "thinker")},
			"No latency of a request was measured on both sides; the bottleneck stays at thinker.",
			"requests: 20 in A, 0 in B", ""},
		{"lost rank", Side{Report: lost}, Side{Report: base()},
			"No difference in first audio that could not be chance (p50 100 ms → 100 ms over 20 and 20 requests); the bottleneck stays at thinker.",
			"", "A: thinker replica 0 rank 1 is lost: it was killed."},
		{"other stages", Side{Report: base(), Versions: []string{"k 1"}},
			Side{Report: other, Versions: []string{"k 2"}},
			"No difference in first audio that could not be chance (p50 100 ms → 100 ms over 20 and 20 requests); the bottleneck stays at thinker.",
			"ranks: thinker ×2, talker ×1 in A, thinker ×2, code2wav ×1 in B|versions: k 1 in A, k 2 in B", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Pipelines(c.a, c.b)
			if r.Verdict != c.verdict {
				t.Errorf("verdict\n%s, want\n%s", r.Verdict, c.verdict)
			}
			if got := strings.Join(r.Differs, "|"); got != c.differs {
				t.Errorf("differs %q, want %q", got, c.differs)
			}
			if got := strings.Join(r.Doubts, "|"); got != c.doubts {
				t.Errorf("doubts %q, want %q", got, c.doubts)
			}
		})
	}
	r := Pipelines(Side{Report: base()}, Side{Report: other})
	if len(r.Steps) != 3 || r.Steps[1].B.Count != 0 || r.Steps[2].A.Count != 0 || len(r.Time) != 3 {
		t.Errorf("a stage that one side lacks: %+v", r.Steps)
	}
}

// TestStepSignificance tells steps that differ from steps that only seem to, and says where a
// report keeps too few.
func TestStepSignificance(t *testing.T) {
	side := func(n int, by float64) Side {
		r := capture(20, 1, "thinker")
		st := &r.Stages[1].Steps[0]
		st.P50Ns *= by
		for i := range n {
			st.Sample = append(st.Sample, int64(by*1e6)+int64(i*37%n)*20_000)
		}
		return Side{Report: r}
	}
	for name, c := range map[string]struct {
		a, b  Side
		sure  bool
		words string
	}{
		"slower": {side(30, 1), side(30, 1.4), true,
			"talker decode changed most (p50 1.00 ms → 1.40 ms over 50 and 50);"},
		"within chance": {side(12, 1), side(12, 1.06), false,
			"(p50 1.00 ms → 1.06 ms over 50 and 50, which may be chance);"},
		"older report": {side(0, 1), side(30, 2), false, "over 50 and 50, not tested against chance);"},
	} {
		r := Pipelines(c.a, c.b)
		if s := r.Steps[1]; s.Significant != c.sure || !strings.Contains(r.Verdict, c.words) {
			t.Errorf("%s: significant %t (chance %g): %s", name, s.Significant, s.Chance, r.Verdict)
		}
	}
}
