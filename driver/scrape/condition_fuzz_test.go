package scrape

import (
	"math"
	"testing"
)

// A condition that is taken can hold: its bound is a number. Judging it needs no metric.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"ttft_p99 > 800ms", "waiting / running > 4", "a < 1", "a > 1e999", "> 1", "a >", "1 > 1",
		"m_rate * 2 >= 5%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Parse(s)
		if err != nil {
			return
		}
		if math.IsInf(c.bound, 0) || math.IsNaN(c.bound) {
			t.Fatalf("%q is taken with the bound %v", s, c.bound)
		}
		if _, known, holds, err := c.Judge(nil, &Sample{}); err == nil && holds && !known {
			t.Fatalf("%q holds of nothing", s)
		}
	})
}
