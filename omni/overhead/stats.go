package overhead

import (
	"math"
	"slices"
)

// Ratio compares a state with the first one, round by round: two measurements of one
// round lie seconds apart; between two rounds the load of the machine may have changed.
type Ratio struct {
	Median float64 `json:"median"` // of the rounds' ratios
	// Low and High enclose the true median with Confidence, whatever the distribution:
	// they are order statistics. Of fewer than MinRounds rounds they are the extremes.
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Rounds int     `json:"rounds"` // that had a value in both states
	// WithinNoise says that 1 lies from Low to High, or that the rounds are too few to
	// tell: chance explains the ratio.
	WithinNoise bool `json:"within_noise"`
}

// Confidence is that of Ratio's Low and High.
const Confidence = 0.95

// MinRounds is the least of which all can lie on one side by chance in fewer than 1 -
// Confidence of all cases: two in 64.
const MinRounds = 6

// MaxRounds bounds a measurement: a thousand rounds tell effects of the noise's thirtieth.
const MaxRounds = 1000

// Compare returns the ratios of with to base, nil if no round has both. Values that are not
// positive do not count.
func Compare(base, with []float64) *Ratio {
	var all []float64
	for i := range min(len(base), len(with)) {
		if base[i] > 0 && with[i] > 0 {
			all = append(all, with[i]/base[i])
		}
	}
	n := len(all)
	if n == 0 {
		return nil
	}
	slices.Sort(all)
	k := trim(n)
	r := &Ratio{Median: quantile(all, 0.5), Low: all[k], High: all[n-1-k], Min: all[0], Max: all[n-1], Rounds: n}
	r.WithinNoise = n < MinRounds || r.Low <= 1 && 1 <= r.High
	return r
}

// trim is how many of n sorted values may be left out at either end so that the rest
// still encloses their distribution's median with Confidence. The number of values below
// the median is binomial with probability one half.
func trim(n int) int {
	term := math.Exp2(-float64(n)) // binom(n, k) / 2^n
	tails := 2 * term
	k := 0
	for k < n/2 {
		term *= float64(n-k) / float64(k+1)
		if tails += 2 * term; tails > 1-Confidence {
			break
		}
		k++
	}
	return k
}

// quantile interpolates between the two nearest of sorted, as Hyndman and Fan's
// definition 7 does; 0 of none.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// median returns the median of the positive values, 0 if there are none.
func median(values []float64) float64 {
	values = slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return !(v > 0) })
	slices.Sort(values)
	return quantile(values, 0.5)
}

// order is the sequence of n states in a round. Over n rounds, 2n if n is odd, each
// state stands at each place equally often and follows each other one equally often
// (a Williams design): neither drift nor what a state leaves behind favours one.
func order(n, round int) []int {
	out := make([]int, n)
	for i := range out {
		step := (i + 1) / 2 // 0, 1, n-1, 2, n-2 …
		if i%2 == 0 {
			step = n - step
		}
		out[i] = (step + round) % n
	}
	if n%2 == 1 && round/n%2 == 1 {
		slices.Reverse(out)
	}
	return out
}
