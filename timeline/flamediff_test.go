package timeline

import (
	"context"
	"math"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
)

// TestFlameDiffOfItself: a trace laid over itself differs nowhere, and has the time that its
// flame graph has; over nothing but its steps it has no more.
func TestFlameDiffOfItself(t *testing.T) {
	list := inputs(t)
	list["pipeline"] = omni(t)
	for name, tl := range list {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && tl.Count() > 20_000 {
				t.Skip("the race detector needs no large traces")
			}
			for i := range tl.parts {
				for _, device := range []bool{true, false} {
					side := FlameSide{Timeline: tl, Trace: i}
					d, err := DiffFlames(context.Background(), side, side, device)
					if err != nil {
						t.Fatal(err)
					}
					f, err := tl.FlameOf(context.Background(), i, device)
					if err != nil || int64(d.ANs) != f.TotalNs {
						t.Errorf("trace %d, device %t: %g ns, the flame graph has %d (%v)", i, device, d.ANs, f.TotalNs, err)
					}
					alike(t, d)
					side.Steps = tl.stepsOf(i).Windows()
					if len(side.Steps) == 0 {
						continue
					}
					cut, err := DiffFlames(context.Background(), side, side, device)
					if err != nil || cut.ANs*float64(len(side.Steps)) > d.ANs+1 {
						t.Errorf("trace %d, device %t: %g ns in a mean of %d steps, %g in all (%v)", i, device, cut.ANs,
							len(side.Steps), d.ANs, err)
					}
					alike(t, cut)
				}
			}
		})
	}
}

func alike(t *testing.T, d *FlameDiff) {
	t.Helper()
	for _, c := range d.Children {
		alike(t, c)
	}
	if d.ANs != d.BNs || d.ASelfNs != d.BSelfNs || d.ACount != d.BCount {
		t.Errorf("%s: %g and %g ns, self %g and %g", d.Name, d.ANs, d.BNs, d.ASelfNs, d.BSelfNs)
	}
}

func TestStretches(t *testing.T) {
	s := newStretches([]analysis.Window{{StartNs: 10, EndNs: 20}, {StartNs: 15, EndNs: 30}, {StartNs: 28, EndNs: 29},
		{StartNs: 50, EndNs: 60}})
	for _, c := range []struct{ from, to, want int64 }{{0, 10, 0}, {0, 15, 5}, {0, 100, 30}, {25, 55, 10}, {30, 50, 0},
		{59, 100, 1}, {math.MinInt64 / 4, math.MaxInt64 / 4, 30}} {
		if got := s.of(c.from, c.to); got != c.want {
			t.Errorf("[%d, %d): %d, want %d", c.from, c.to, got, c.want)
		}
	}
	if s.has(9) || !s.has(10) || s.has(30) || !s.has(59) || s.has(60) {
		t.Error("which instants lie in the spans")
	}
	var all *stretches
	if all.of(3, 10) != 7 || !all.has(5) {
		t.Error("no spans are all of the time")
	}
}

func TestPairs(t *testing.T) {
	a, b := omni(t), omni(t)
	b.parts = append(b.parts[2:4:4], b.parts[0]) // talker, code2wav, thinker 0
	pairs, onlyA, onlyB := Pairs(a, b)
	if len(pairs) != 3 || len(onlyA) != 1 || len(onlyB) != 0 || a.Name(onlyA[0]) != "thinker rank 1" {
		t.Fatalf("%v, %v, %v", pairs, onlyA, onlyB)
	}
	for _, p := range pairs {
		if a.Name(p.A) != b.Name(p.B) {
			t.Errorf("%s is compared with %s", a.Name(p.A), b.Name(p.B))
		}
	}
	pairs, _, onlyB = Pairs(&Timeline{parts: a.parts[1:2]}, &Timeline{parts: a.parts[:1]})
	if len(pairs) != 1 || pairs[0].Name != "thinker rank 1 / thinker rank 0" || len(onlyB) != 0 {
		t.Errorf("two ranks of one stage: %v", pairs)
	}
}

// The sum of flame graphs has the time of each of them, place by place.
func TestSumFlames(t *testing.T) {
	one := func() *FlameDiff {
		return &FlameDiff{Name: "all", ANs: 10, BNs: 20, ACount: 1, BCount: 2, Children: []*FlameDiff{
			{Name: "x", ANs: 6, BNs: 8, ASelfNs: 6, BSelfNs: 8, ACount: 1, BCount: 1},
			{Name: "y", ANs: 4, BNs: 12, ASelfNs: 4, BSelfNs: 12, BCount: 1}}}
	}
	other := one()
	other.Children[0].Name = "z"
	d := SumFlames([]*FlameDiff{one(), other, one()})
	if d.ANs != 30 || d.BNs != 60 || d.BCount != 6 || len(d.Children) != 3 {
		t.Fatalf("%+v", d)
	}
	want := map[string]float64{"y": 12, "x": 12, "z": 6}
	for _, c := range d.Children {
		if c.ANs != want[c.Name] {
			t.Errorf("%s has %g ns of A, want %g", c.Name, c.ANs, want[c.Name])
		}
	}
	if d.Children[0].Name != "y" {
		t.Errorf("the widest comes as %s", d.Children[0].Name)
	}
}
