package steps

import (
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
)

// images is a server that made n images of ten denoise steps, of which the first of each image takes first(i) µs
// a kernel and the others 20, later ones of an image the slower for slow(i).
func images(n int, first, last func(i int) int64) *gpu {
	g := newGPU()
	for i := range n {
		for k := range int64(10) {
			dur := int64(20)
			switch {
			case k == 0:
				dur = first(i)
			case k > 7:
				dur = last(i)
			}
			g.label("denoise_step", func() { g.layers(4, 3, dur, "attn"); g.sync() })
		}
		g.now += 200_000
	}
	return g
}

// TestLoopsAreToldOnce: of many loops a finding of each kind tells the worst and how many there are. A slow first
// step that every loop has is none that a warm-up hides.
func TestLoopsAreToldOnce(t *testing.T) {
	steady := func(int) int64 { return 20 }
	for _, c := range []struct {
		name        string
		loops       int
		first, last func(i int) int64
		slow, drift string // text; "" for no finding
	}{
		{"one loop", 1, func(int) int64 { return 200 }, func(int) int64 { return 40 },
			"the first denoise step takes 5.80 ms, 4.7 times the mean: a warm-up before the window would hide it",
			"denoise steps get slower: the last quarter of 10 takes 1.17 ms"},
		{"the first of many", 30, func(i int) int64 { return 20 + 180*int64(max(0, 1-i)) }, steady,
			"the first denoise step takes 5.80 ms, 5.2 times the mean: a warm-up before the window would hide it", ""},
		{"each of many", 30, func(i int) int64 { return 200 + int64(i) }, func(i int) int64 { return 30 + int64(i%2) },
			"the first denoise step of 30 of 30 loops takes 2 times its loop's mean or more, in the worst",
			"denoise steps get slower in 30 of 30 loops, in the worst: the last quarter of 10 takes"},
		{"none", 30, steady, steady, "", ""},
	} {
		got := map[finding.Code][]string{}
		for _, f := range Find(images(c.loops, c.first, c.last).t, Options{}).Findings {
			got[f.Code] = append(got[f.Code], f.Text)
		}
		for code, want := range map[finding.Code]string{finding.SlowFirstStep: c.slow, finding.StepDrift: c.drift} {
			if all := got[code]; len(all) != min(1, len(want)) || want != "" && !strings.HasPrefix(all[0], want) {
				t.Errorf("%s: %d of %s: %q, want %q", c.name, len(all), code, all, want)
			}
		}
	}
}
