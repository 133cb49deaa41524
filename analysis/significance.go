package analysis

import (
	"cmp"
	"math"
	"slices"
)

// maxExact is the largest product of sample sizes for which the distribution of U is
// counted out; beyond it the normal approximation is within 0.001.
const maxExact = 400

// Chance is the two-sided probability that two samples of one distribution differ in rank as
// much as a and b do (Mann and Whitney 1947); 1 if one is empty.
func Chance(a, b []float64) float64 { return mannWhitney(a, b) }

// mannWhitney returns the two-sided probability that two samples of one distribution
// differ in rank as much as a and b do (Mann and Whitney 1947). Small samples without
// ties are counted exactly; otherwise the normal approximation with corrections for
// continuity and ties is used. Empty samples give 1.
func mannWhitney(a, b []float64) float64 {
	n, m := len(a), len(b)
	if n == 0 || m == 0 {
		return 1
	}
	type value struct {
		v     float64
		fromA bool
	}
	all := make([]value, 0, n+m)
	for _, v := range a {
		all = append(all, value{v, true})
	}
	for _, v := range b {
		all = append(all, value{v, false})
	}
	slices.SortFunc(all, func(x, y value) int { return cmp.Compare(x.v, y.v) })
	rankA, ties := 0.0, 0.0
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].v == all[i].v {
			j++
		}
		rank := float64(i+j+1) / 2 // mean of the ranks i+1 … j
		for _, x := range all[i:j] {
			if x.fromA {
				rankA += rank
			}
		}
		t := float64(j - i)
		ties += t*t*t - t
		i = j
	}
	u := rankA - float64(n)*float64(n+1)/2
	u = min(u, float64(n*m)-u)
	if ties == 0 && n*m <= maxExact {
		return exactU(n, m, int(u))
	}
	total := float64(n + m)
	sd := math.Sqrt(float64(n) * float64(m) / 12 * (total + 1 - ties/(total*(total-1))))
	if sd == 0 {
		return 1
	}
	z := (float64(n*m)/2 - u - 0.5) / sd
	return min(1, math.Erfc(max(0, z)/math.Sqrt2))
}

// exactU is the two-sided probability of U at most u: the share of the arrangements of
// n and m things with so few inversions, doubled.
func exactU(n, m, u int) float64 {
	// count[j][k]: ways to place j of the m among the first i of the n with k inversions.
	count := make([][]float64, m+1)
	for j := range count {
		count[j] = make([]float64, n*m+1)
		count[j][0] = 1
	}
	for i := 1; i <= n; i++ {
		next := make([][]float64, m+1)
		next[0] = make([]float64, n*m+1)
		next[0][0] = 1
		for j := 1; j <= m; j++ {
			next[j] = make([]float64, n*m+1)
			for k := range next[j] {
				next[j][k] = next[j-1][k]
				if k >= j {
					next[j][k] += count[j][k-j]
				}
			}
		}
		count = next
	}
	sum, all := 0.0, 0.0
	for k, c := range count[m] {
		all += c
		if k <= u {
			sum += c
		}
	}
	return min(1, 2*sum/all)
}

// benjaminiHochberg turns probabilities into false discovery rates (Benjamini and
// Hochberg 1995).
func benjaminiHochberg(p []float64) []float64 {
	q := make([]float64, len(p))
	var order []int // of those that say something; 1 stays 1 and sorts last
	for i := range p {
		if q[i] = 1; p[i] < 1 {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(p[a], p[b]) })
	low := 1.0
	for k := len(order) - 1; k >= 0; k-- {
		low = min(low, p[order[k]]*float64(len(p))/float64(k+1))
		q[order[k]] = low
	}
	return q
}
