package stat

import "testing"

func TestStat(t *testing.T) {
	v := []int64{10, 20, 30, 50}
	for _, c := range []struct{ got, want float64 }{
		{Ratio(1, 4), 0.25}, {Ratio(1, 0), 0}, {Ratio(1, -1), 0},
		{Mean(v), 27.5}, {Mean(nil), 0},
		{Quantile(v, 0), 10}, {Quantile(v, 0.5), 25}, {Quantile(v, 1), 50}, {Quantile(v[:1], 0.99), 10},
		{Quantile(nil, 0.5), 0},
	} {
		if c.got != c.want {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
}
