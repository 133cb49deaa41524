package align

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// world is a synthetic replica: ranks with clocks that are wrong in a known way.
type world struct {
	skew  []int64   // rank = true - skew at the origin
	drift []float64 // rank's clock runs slower by this
}

const origin = int64(1_790_900_000_000_000_000)

func (w world) rankTime(r int, trueNs int64) int64 {
	return trueNs - w.skew[r] - int64(math.Round(w.drift[r]*float64(trueNs-origin)))
}

// hubTime inverts rankTime.
func (w world) hubTime(r int, rankNs int64) int64 {
	d := float64(rankNs - (origin - w.skew[r]))
	return origin + int64(math.Round(d/(1-w.drift[r])))
}

// run simulates n collectives, period apart, and a probe at the origin that is off by
// up to probeErr.
func (w world) run(rng *rand.Rand, n int, period, probeErr, jitter int64) []Rank {
	ranks := make([]Rank, len(w.skew))
	for r := range ranks {
		off := rng.Int64N(2*probeErr+1) - probeErr
		ranks[r] = Rank{
			Host: fmt.Sprint("host", r), Scope: "stage0",
			Clock:    protocol.ClockError{OffsetNs: w.skew[r] + off, ErrorNs: probeErr, RTTNs: 2 * probeErr},
			ProbedNs: w.rankTime(r, origin),
		}
	}
	for k := range n {
		at := origin + int64(k+1)*period
		last := at
		enter := make([]int64, len(ranks))
		for r := range ranks {
			enter[r] = at + rng.Int64N(period/4)
			last = max(last, enter[r])
		}
		for r := range ranks {
			leave := last + 20_000 + rng.Int64N(jitter+1)
			if rng.IntN(20) == 0 {
				leave += rng.Int64N(period / 4) // a late rank
			}
			ranks[r].Collectives = append(ranks[r].Collectives, Collective{
				Group: "tp", Name: "allreduce", Seq: int64(k), Start: w.rankTime(r, enter[r]),
				End: w.rankTime(r, leave),
			})
		}
	}
	return ranks
}

// check verifies that every clock is within its stated errors over the whole window.
func (w world) check(t interface{ Errorf(string, ...any) }, ranks []Rank, clocks []Clock) {
	for _, at := range []int64{0, 1, 2} {
		var errs []float64
		for r, c := range clocks {
			n := len(ranks[r].Collectives)
			ns := ranks[r].Collectives[int(at)*(n-1)/2].End
			e := float64(c.Map(ns) - w.hubTime(r, ns))
			errs = append(errs, e)
			// The hub cannot know how its own clock drifts against all ranks together.
			if slices.Max(w.drift) == 0 && math.Abs(e) > float64(c.ErrorNs)+1 {
				t.Errorf("rank %d: off by %.0f ns, stated %d", r, e, c.ErrorNs)
			}
		}
		for r := range clocks {
			for q := range r {
				stated := min(clocks[r].RelativeNs, clocks[q].RelativeNs)
				if d := errs[r] - errs[q]; ranks[r].Host != ranks[q].Host && math.Abs(d) > float64(stated)+1 {
					t.Errorf("ranks %d and %d at %d: off by %.0f ns against each other, stated %d", r, q, at, d, stated)
				}
			}
		}
	}
}

func TestAlignRecoversSkew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 8).Draw(t, "ranks")
		w := world{drift: make([]float64, n)}
		for range n {
			w.skew = append(w.skew, rapid.Int64Range(-5e9, 5e9).Draw(t, "skew"))
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		ranks := w.run(rng, rapid.IntRange(5, 80).Draw(t, "collectives"), 10_000_000, 300_000, 5_000)
		clocks := Align(ranks)
		w.check(t, ranks, clocks)
		for r, c := range clocks {
			if c.Contradicts || c.Matched != len(ranks[r].Collectives) {
				t.Errorf("rank %d: %+v", r, c)
			}
		}
	})
}

func TestAlignImprovesOnProbes(t *testing.T) {
	w := world{skew: []int64{5e9, -3e6, 0, 700}, drift: make([]float64, 4)}
	ranks := w.run(rand.New(rand.NewPCG(3, 4)), 200, 10_000_000, 300_000, 5_000)
	clocks := Align(ranks)
	w.check(t, ranks, clocks)
	for r, c := range clocks {
		if c.RelativeNs > 60_000 || c.ErrorNs > 300_000 {
			t.Errorf("rank %d: errors %d and %d ns, the probe's is 300000", r, c.RelativeNs, c.ErrorNs)
		}
	}
}

func TestAlignRecoversDrift(t *testing.T) {
	w := world{skew: []int64{0, 3_000_000, -7_000_000}, drift: []float64{0, 40e-6, -25e-6}}
	ranks := w.run(rand.New(rand.NewPCG(1, 2)), 600, 100_000_000, 200_000, 5_000) // one minute
	clocks := Align(ranks)
	w.check(t, ranks, clocks)
	for r, c := range clocks {
		if got, want := c.Drift-clocks[0].Drift, w.drift[r]-w.drift[0]; math.Abs(got-want) > 1e-6 {
			t.Errorf("rank %d: drift %.2f ppm, want %.2f", r, got*1e6, want*1e6)
		}
	}
	// Without the line the ends of the window would be milliseconds apart.
	if lag := 65e-6 * 60e9; float64(clocks[1].RelativeNs) > lag/10 {
		t.Errorf("relative error %d ns", clocks[1].RelativeNs)
	}
}

func TestAlignHosts(t *testing.T) {
	probe := func(o, e int64) protocol.ClockError {
		return protocol.ClockError{OffsetNs: o, ErrorNs: e, RTTNs: 2 * e}
	}
	got := Align([]Rank{
		{Host: "a", Clock: probe(100, 50)}, {Host: "a", Clock: probe(160, 30)}, // 130..150
		{Host: "b", Clock: probe(0, 10)}, {Host: "b", Clock: probe(1000, 10)}, // cannot be one clock
		{Clock: probe(7, 7)}, {},
	})
	want := []Clock{
		{OffsetNs: 140, ErrorNs: 10}, {OffsetNs: 140, ErrorNs: 10}, {OffsetNs: 0, ErrorNs: 10},
		{OffsetNs: 1000, ErrorNs: 10},
		{OffsetNs: 7, ErrorNs: 7}, {ErrorNs: UnprobedNs},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAlignTellsContradiction(t *testing.T) {
	w := world{skew: []int64{0, 0}, drift: []float64{0, 0}}
	ranks := w.run(rand.New(rand.NewPCG(1, 2)), 50, 10_000_000, 1000, 1000)
	ranks[1].Clock.OffsetNs += 50_000_000 // the probe was wrong
	clocks := Align(ranks)
	if !clocks[0].Contradicts || !clocks[1].Contradicts || clocks[0].ErrorNs < 25_000_000 {
		t.Errorf("%+v", clocks)
	}
}

func TestAlignGroupsOverlap(t *testing.T) {
	// Two groups of two that share rank 1: rank 0 and rank 2 never meet.
	w := world{skew: []int64{1e6, 0, -2e6}, drift: make([]float64, 3)}
	all := w.run(rand.New(rand.NewPCG(5, 5)), 100, 10_000_000, 2_000_000, 2000)
	for r := range all {
		all[r].Collectives = slices.DeleteFunc(all[r].Collectives, func(c Collective) bool {
			return c.Seq%2 == 0 && r == 2 || c.Seq%2 == 1 && r == 0
		})
		for i := range all[r].Collectives {
			all[r].Collectives[i].Group = fmt.Sprint("g", all[r].Collectives[i].Seq%2)
		}
	}
	clocks := Align(all)
	for r := range clocks {
		if d := (clocks[r].OffsetNs - w.skew[r]) - (clocks[1].OffsetNs - w.skew[1]); abs(d) > clocks[r].RelativeNs {
			t.Errorf("rank %d: %d ns from rank 1, stated %d", r, d, clocks[r].RelativeNs)
		}
	}
}

func TestAlignSharedClock(t *testing.T) {
	// Ranks 0 and 1 share a host and a clock; what their ends differ by is not the clock.
	w := world{skew: []int64{500, 500, 9_000_000}, drift: make([]float64, 3)}
	ranks := w.run(rand.New(rand.NewPCG(8, 1)), 100, 10_000_000, 200_000, 5000)
	ranks[1].Host = ranks[0].Host
	for i := range ranks[1].Collectives {
		ranks[1].Collectives[i].End += 40_000
	}
	clocks := Align(ranks)
	if clocks[0].OffsetNs != clocks[1].OffsetNs {
		t.Errorf("one clock has the offsets %d and %d", clocks[0].OffsetNs, clocks[1].OffsetNs)
	}
	w.check(t, ranks, clocks)
	alone := Align(ranks[:2])
	if alone[0].Matched != 0 || alone[0].RelativeNs != 0 || alone[0].ErrorNs > 200_000 {
		t.Errorf("one clock needs no collectives: %+v", alone[0])
	}
}

func TestAlignNeverWorseThanProbe(t *testing.T) {
	w := world{skew: []int64{0, 0}, drift: []float64{0, 0}}
	ranks := w.run(rand.New(rand.NewPCG(1, 9)), 3, 10_000_000, 100, 1000) // a probe better than collectives
	clocks := Align(ranks)
	w.check(t, ranks, clocks)
	for r, c := range clocks {
		if c.ErrorNs > 2*100 || c.RelativeNs > 4*100 {
			t.Errorf("rank %d: error %d ns, the probe's is 100", r, c.ErrorNs)
		}
	}
}

func TestMedian(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SliceOfN(rapid.Float64Range(-9, 9), 0, 40).Draw(t, "values")
		if rapid.Bool().Draw(t, "equal ones") {
			for i := range v {
				v[i] = math.Round(v[i] / 4)
			}
		}
		got, want := median(v), 0.0
		if s := slices.Sorted(slices.Values(v)); len(s) > 0 {
			want = (s[(len(s)-1)/2] + s[len(s)/2]) / 2
		}
		if got != want {
			t.Errorf("median of %v is %v, want %v", v, got, want)
		}
	})
}

func TestMerge(t *testing.T) {
	defer goleak.VerifyNone(t)
	rapid.Check(t, func(t *rapid.T) {
		type item struct{ time, seq, n int64 }
		var seqs []iter.Seq[item]
		var want []item
		for s := range rapid.IntRange(0, 6).Draw(t, "sequences") {
			times := rapid.SliceOfN(rapid.Int64Range(0, 20), 0, 30).Draw(t, "times")
			slices.Sort(times)
			var items []item
			for n, at := range times {
				items = append(items, item{at, int64(s), int64(n)})
			}
			seqs = append(seqs, slices.Values(items))
			want = append(want, items...)
		}
		slices.SortStableFunc(want, func(a, b item) int { return int(a.time - b.time) })
		got := slices.Collect(Merge(func(i item) int64 { return i.time }, seqs...))
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		for range Merge(func(i item) int64 { return i.time }, seqs...) {
			break // stops every sequence
		}
	})
}
