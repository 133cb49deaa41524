// Package stat has the arithmetic of the analyses of steps and pipelines: ratios whose denominator
// may be zero, means, quantiles and counts.
package stat

// Ratio returns a divided by b, 0 unless b is positive. For bytes and nanoseconds it is GB/s.
func Ratio(a, b int64) float64 {
	if b <= 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// One is 1 if b, else 0: to count what holds, and to order by it.
func One(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Mean returns the mean of v, 0 if v is empty.
func Mean(v []int64) float64 {
	if len(v) == 0 {
		return 0
	}
	var sum float64
	for _, n := range v {
		sum += float64(n)
	}
	return sum / float64(len(v))
}

// Quantile returns the q-quantile, q from 0 to 1, of v, which must be ascending: it interpolates
// linearly between the two nearest ranks. It is 0 if v is empty.
func Quantile(v []int64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	x := q * float64(len(v)-1)
	i := int(x)
	if i+1 >= len(v) {
		return float64(v[len(v)-1])
	}
	f := x - float64(i)
	return float64(v[i])*(1-f) + float64(v[i+1])*f
}
