package kernel

import "math"

// Constants of exp32: arguments are clamped so that 2^n is a normal number; the
// polynomial is that of Cephes' expf (Moshier, 1989), good to 2 ulp here.
const (
	expLow   = -87.3365478515625
	expHigh  = 88.37625885009766
	log2e    = 1.44269504088896341
	expRound = 12582912 // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
	ln2High  = 0.693359375
	ln2Low   = -2.12194440e-4
)

// exp32 is e^x without fused operations: the vector code gives the same bits. Results
// below e^-87.3 are e^-87.3, above e^88.4 e^88.4; a NaN stays one.
func exp32(x float32) float32 {
	if x < expLow {
		x = expLow
	}
	if x > expHigh {
		x = expHigh
	}
	s := float32(x*float32(log2e)) + expRound
	n := s - expRound
	r := x - float32(n*ln2High)
	r -= float32(n * ln2Low)
	p := float32(math.Float32frombits(0x39506967))
	p = float32(p*r) + math.Float32frombits(0x3ab743ce)
	p = float32(p*r) + math.Float32frombits(0x3c088908)
	p = float32(p*r) + math.Float32frombits(0x3d2aa9c1)
	p = float32(p*r) + math.Float32frombits(0x3e2aaaaa)
	p = float32(p*r) + 0.5
	p = float32(p*float32(r*r)) + r
	p++
	return p * math.Float32frombits(math.Float32bits(s)<<23+0x3f800000)
}

func expGeneric(dst, src []float32) {
	for i, x := range src {
		dst[i] = exp32(x)
	}
}

// lanes is the number of partial sums of Sum: element i goes to lane i%lanes.
const lanes = 8

// Sum adds x in a fixed order: eight interleaved partial sums, then a binary tree.
// Trailing zeros do not change the result.
func Sum(x []float32) float32 {
	var s [lanes]float32
	for len(x) >= lanes {
		for i := range s {
			s[i] += x[i]
		}
		x = x[lanes:]
	}
	for i, v := range x {
		s[i] += v
	}
	return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))
}

// SumSquares adds the squares of x in the order of Sum.
func SumSquares(x []float32) float32 {
	var s [lanes]float32
	for len(x) >= lanes {
		for i := range s {
			s[i] += float32(x[i] * x[i])
		}
		x = x[lanes:]
	}
	for i, v := range x {
		s[i] += float32(v * v)
	}
	return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))
}

// Max is the largest element; NaNs do not count, and of nothing it is -Inf.
func Max(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

// ExpShifted puts exp(x-shift) in place and returns the Sum.
func ExpShifted(x []float32, shift float32) float32 {
	for i := range x {
		x[i] -= shift
	}
	Exp(x, x)
	return Sum(x)
}

// Scale multiplies x by f.
func Scale(x []float32, f float32) {
	for i := range x {
		x[i] *= f
	}
}

// RMSNorm writes x / rms(x) * w to dst.
func RMSNorm(dst, x, w []float32, eps float32) {
	inv := 1 / float32(math.Sqrt(float64(SumSquares(x)/float32(len(x))+eps)))
	dst, w = dst[:len(x)], w[:len(x)]
	for i, v := range x {
		dst[i] = float32(v*inv) * w[i]
	}
}

// LayerNorm writes (x-mean)/std * w + b to dst; nil w is ones, nil b zeros.
func LayerNorm(dst, x, w, b []float32, eps float32) {
	dst = dst[:len(x)]
	mean := Sum(x) / float32(len(x))
	for i, v := range x {
		dst[i] = v - mean
	}
	inv := 1 / float32(math.Sqrt(float64(SumSquares(dst)/float32(len(x))+eps)))
	for i := range dst {
		dst[i] *= inv
	}
	if w != nil {
		for i, v := range w[:len(dst)] {
			dst[i] *= v
		}
	}
	if b != nil {
		for i, v := range b[:len(dst)] {
			dst[i] += v
		}
	}
}

// SiLU writes x * sigmoid(x) to dst.
func SiLU(dst, x []float32) {
	dst = dst[:len(x)]
	var e [256]float32
	for len(x) > 0 {
		n := min(len(x), len(e))
		for i, v := range x[:n] {
			e[i] = -v
		}
		Exp(e[:n], e[:n])
		for i, v := range x[:n] {
			dst[i] = v / (1 + e[i])
		}
		x, dst = x[n:], dst[n:]
	}
}

// Tanh writes tanh(x) to dst, as 1 - 2/(e^2x + 1); near 0 its error is absolute.
func Tanh(dst, x []float32) {
	dst = dst[:len(x)]
	var e [256]float32
	for len(x) > 0 {
		n := min(len(x), len(e))
		for i, v := range x[:n] {
			e[i] = 2 * v
		}
		Exp(e[:n], e[:n])
		for i := range n {
			dst[i] = 1 - 2/(e[i]+1)
		}
		x, dst = x[n:], dst[n:]
	}
}

// GELU writes the tanh approximation 0.5x(1+tanh(√(2/π)(x+0.044715x³))) to dst.
func GELU(dst, x []float32) {
	const c = 0.7978845608028654
	dst = dst[:len(x)]
	var e [256]float32
	for len(x) > 0 {
		n := min(len(x), len(e))
		for i, v := range x[:n] {
			v3 := float32(float32(v*v) * v)
			e[i] = float32(-2*c) * (v + float32(0.044715*v3))
		}
		Exp(e[:n], e[:n])
		for i, v := range x[:n] {
			dst[i] = v / (1 + e[i]) // 0.5(1+tanh u) = sigmoid(2u)
		}
		x, dst = x[n:], dst[n:]
	}
}

// leakyGeneric is LeakyReLU by the sign bit alone: signs of samples are random, so a branch on them
// is mispredicted every other time.
func leakyGeneric(dst, src []float32, slope float32) {
	factor := [2]float32{1, slope}
	for i, v := range src {
		dst[i] = v * factor[math.Float32bits(v)>>31]
	}
}

// Mul multiplies dst by src.
func Mul(dst, src []float32) {
	for i, v := range src[:len(dst)] {
		dst[i] *= v
	}
}

// AddRows adds the row b to each row of x.
func AddRows(x, b []float32) {
	for len(x) >= len(b) && len(b) > 0 {
		Add(x[:len(b)], b)
		x = x[len(b):]
	}
}

// RotateHalf applies rotary embeddings to one head in place, pairing element i with
// i+len/2 as Hugging Face's Llama does.
func RotateHalf(x, cos, sin []float32) {
	h := len(x) / 2
	a, b := x[:h], x[h:2*h]
	cos, sin = cos[:h], sin[:h]
	for i, u := range a {
		v := b[i]
		a[i] = float32(u*cos[i]) - float32(v*sin[i])
		b[i] = float32(v*cos[i]) + float32(u*sin[i])
	}
}
