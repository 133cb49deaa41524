package align

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// stages simulates a pipeline of stages, each on a host of its own, whose ranks were never probed:
// n requests go through all of them, and come back where both is set, each hand-off fastest
// or slower.
func (w world) stages(rng *rand.Rand, n int, period, fastest int64, both bool) []Rank {
	ranks := make([]Rank, len(w.skew))
	for r := range ranks {
		ranks[r] = Rank{Host: fmt.Sprint("host", r), Scope: fmt.Sprint("stage", r)}
	}
	id := uint64(0)
	send := func(from, to int, at int64) (arrived int64) {
		id++
		arrived = at + fastest + int64(rng.ExpFloat64()*float64(fastest))
		ranks[from].HandOffs = append(ranks[from].HandOffs, HandOff{id, w.rankTime(from, at), true})
		ranks[to].HandOffs = append(ranks[to].HandOffs, HandOff{id, w.rankTime(to, arrived), false})
		return arrived
	}
	for k := range n {
		at := origin + int64(k+1)*period
		for r := range len(ranks) - 1 {
			at = send(r, r+1, at) + rng.Int64N(1_000_000)
		}
		for r := len(ranks) - 1; r > 0 && both; r-- {
			at = send(r, r-1, at) + rng.Int64N(1_000_000)
		}
	}
	return ranks
}

// wrongBy is by how much a clock is wrong when rank r reads ns.
func (w world) wrongBy(c Clock, r int, ns int64) int64 { return c.Map(ns) - w.hubTime(r, ns) }

// Hand-offs that go both ways put stages on one clock within what is said, and within what the
// fastest take; drift is in what is said.
func TestHandOffsBothWays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 6).Draw(t, "stages")
		w := world{}
		drifts := rapid.Bool().Draw(t, "drifts")
		for range n {
			w.skew = append(w.skew, rapid.Int64Range(-4e8, 4e8).Draw(t, "skew"))
			d := 0.0
			if drifts {
				d = rapid.Float64Range(-40e-6, 40e-6).Draw(t, "drift")
			}
			w.drift = append(w.drift, d)
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		fastest := rapid.Int64Range(20_000, 500_000).Draw(t, "fastest")
		ranks := w.stages(rng, rapid.IntRange(1, 60).Draw(t, "requests"), 20_000_000, fastest, true)
		clocks := Align(ranks)
		for r, c := range clocks {
			if c.Contradicts || c.Apart() || c.HandOffs == 0 || c.HandOffNs == 0 {
				t.Fatalf("rank %d: %+v", r, c)
			}
			for q := range r {
				for _, k := range []int{0, len(ranks[r].HandOffs) - 1} {
					at := w.hubTime(r, ranks[r].HandOffs[k].Ns)
					d := abs(w.wrongBy(c, r, w.rankTime(r, at)) - w.wrongBy(clocks[q], q, w.rankTime(q, at)))
					if d > min(c.HandOffNs, clocks[q].HandOffNs)+2 {
						t.Errorf("stages %d and %d are off by %d ns, stated %d and %d", r, q, d, c.HandOffNs,
							clocks[q].HandOffNs)
					}
				}
			}
		}
		if !drifts && len(ranks[0].HandOffs) >= 80 {
			for r := 1; r < n; r++ {
				d := abs(w.wrongBy(clocks[r], r, ranks[r].HandOffs[0].Ns) - w.wrongBy(clocks[r-1], r-1,
					ranks[r-1].HandOffs[0].Ns))
				if d > fastest {
					t.Errorf("stages %d and %d are off by %d ns, the fastest hand-off takes %d", r-1, r, d, fastest)
				}
			}
		}
	})
}

// Where hand-offs go one way, nothing arrives before it was sent, no clock is moved that need not
// be, and no clock is wrong by more than it says.
func TestHandOffsOneWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 6).Draw(t, "stages")
		w := world{drift: make([]float64, n)}
		for range n {
			w.skew = append(w.skew, rapid.Int64Range(-9e8, 9e8).Draw(t, "skew"))
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		ranks := w.stages(rng, rapid.IntRange(1, 40).Draw(t, "requests"), 20_000_000, 100_000, false)
		clocks := Align(ranks)
		possible := true
		for r := range n - 1 {
			possible = possible && w.skew[r+1]-w.skew[r] < 100_000 // received late on the wall clocks
		}
		for r, c := range clocks {
			if e := abs(w.wrongBy(c, r, w.rankTime(r, origin))); e > c.ErrorNs+1 {
				t.Errorf("stage %d is off by %d ns, stated %d", r, e, c.ErrorNs)
			}
			if c.Early > 0 || c.Contradicts || c.HandOffNs != 0 {
				t.Errorf("stage %d: %+v", r, c)
			}
			if possible && c.OffsetNs != 0 {
				t.Errorf("stage %d was moved by %d ns", r, c.OffsetNs)
			}
		}
	})
}

// A clock that is wrong by more than a wall clock may be is moved all the same, and that is said.
func TestHandOffsOfFarClocks(t *testing.T) {
	w := world{skew: []int64{0, 30e9}, drift: make([]float64, 2)}
	clocks := Align(w.stages(rand.New(rand.NewPCG(1, 1)), 10, 20_000_000, 100_000, false))
	if !clocks[1].Contradicts || clocks[1].Early > 0 {
		t.Errorf("%+v", clocks)
	}
	w.skew[1] = -30e9 // everything takes half a minute: nothing is impossible
	clocks = Align(w.stages(rand.New(rand.NewPCG(1, 1)), 10, 20_000_000, 100_000, false))
	if clocks[1].Contradicts || clocks[1].TransitNs < 29e9 {
		t.Errorf("%+v", clocks)
	}
}

// Ranks that collectives tie move as one when hand-offs move their stage.
func TestHandOffsMoveStages(t *testing.T) {
	w := world{skew: []int64{0, 2_000_000, 300_000_000}, drift: make([]float64, 3)}
	rng := rand.New(rand.NewPCG(2, 2))
	ranks := w.run(rng, 40, 10_000_000, 300_000, 5000)
	pipe := w.stages(rng, 40, 10_000_000, 50_000, true)
	for r := range ranks {
		ranks[r].Clock, ranks[r].HandOffs = Rank{}.Clock, pipe[r].HandOffs
	}
	ranks[2].Collectives = nil
	clocks := Align(ranks)
	off := func(r int) int64 { return w.wrongBy(clocks[r], r, ranks[r].HandOffs[3].Ns) }
	if d := abs(off(1) - off(0)); d > 20_000 || d > clocks[0].RelativeNs {
		t.Errorf("the two ranks of a stage are off by %d ns, stated %d", d, clocks[0].RelativeNs)
	}
	if d := abs(off(2) - off(1)); d > 50_000 || clocks[2].HandOffNs == 0 || d > clocks[2].HandOffNs {
		t.Errorf("the stage after is off by %d ns, stated %d", d, clocks[2].HandOffNs)
	}
}

// One host has one clock, unless most of what its ranks sent to each other arrived too early.
func TestHandOffsOfOneHost(t *testing.T) {
	for _, c := range []struct {
		skew int64
		one  bool
	}{{0, true}, {400_000_000, false}} {
		w := world{skew: []int64{0, c.skew}, drift: make([]float64, 2)}
		ranks := w.stages(rand.New(rand.NewPCG(3, 3)), 10, 20_000_000, 100_000, false)
		ranks[0].Host, ranks[1].Host = "localhost", "localhost"
		got := Align(ranks)
		if one := got[0].HandOffs == 0; one != c.one || got[1].Early > 0 {
			t.Errorf("%d ns apart: %+v", c.skew, got)
		}
	}
}

// What has several senders is no evidence.
func TestHandOffsOfSeveralSenders(t *testing.T) {
	ranks := []Rank{
		{Host: "a", HandOffs: []HandOff{{1, 100, true}, {2, 500, true}, {2, 600, true}}},
		{Host: "b", HandOffs: []HandOff{{1, 200, true}}},
		{Host: "c", HandOffs: []HandOff{{1, 50, false}, {2, 10, false}, {3, 1, false}}},
	}
	for r, c := range Align(ranks) {
		if c.HandOffs != 0 || c.OffsetNs != 0 {
			t.Errorf("rank %d: %+v", r, c)
		}
	}
}

func TestMedianWithout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Float64Range(-9, 9), 2, 40).Draw(t, "values")
		if rapid.Bool().Draw(t, "equal ones") {
			for i := range all {
				all[i] = math.Round(all[i] / 4)
			}
		}
		k := rapid.IntRange(1, len(all)-1).Draw(t, "without")
		without, rest := slices.Clone(all[:k]), slices.Clone(all[k:])
		slices.Sort(all)
		if got, want := medianWithout(all, without), median(rest); got != want {
			t.Errorf("median of %v without %v is %v, want %v", all, without, got, want)
		}
	})
}

// More clocks than are bounded two by two are within what is said too, which is never closer.
func TestAlignManyClocks(t *testing.T) {
	n := exactUnits + 40
	w := world{drift: make([]float64, n)}
	rng := rand.New(rand.NewPCG(4, 4))
	for range n {
		w.skew = append(w.skew, rng.Int64N(2e9)-1e9)
	}
	ranks := w.run(rng, 30, 10_000_000, 300_000, 5000)
	clocks := Align(ranks)
	w.check(t, ranks, clocks)
	events := match(ranks)
	unit := make([]int, n)
	for i := range unit {
		unit[i] = i
	}
	c := components(ranks, unit, events)[0]
	c.refine(clocks)
	exact, pivots := c.exact(clocks), c.byPivots(clocks)
	for u := range exact {
		if pivots[u] < exact[u] || pivots[u] > 2*exact[u] {
			t.Errorf("clock %d: ±%d ns by way of others, exactly ±%d", u, pivots[u], exact[u])
		}
	}
}

// BenchmarkAlign is of one collective after the other that all ranks are in, each on a host of its own.
func BenchmarkAlign(b *testing.B) {
	for _, n := range []int{64, 256, 1024} {
		w := world{skew: make([]int64, n), drift: make([]float64, n)}
		ranks := w.run(rand.New(rand.NewPCG(1, 1)), 100, 10_000_000, 300_000, 5000)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				Align(ranks)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n*100), "ns/part")
		})
	}
}
