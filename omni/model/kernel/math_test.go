package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestExp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	x := []float32{0, 1, -1, 87, -87, 88.37, -1000, 1000, float32(math.Inf(1)), float32(math.Inf(-1)), 1e-30}
	for len(x) < 4003 {
		x = append(x, float32(r.NormFloat64()*20))
	}
	got, want := make([]float32, len(x)), make([]float32, len(x))
	Exp(got, x)
	expGeneric(want, x)
	sameBits(t, got, want, "vector against portable")
	for i, v := range x {
		ref := math.Exp(min(max(float64(v), expLow), expHigh))
		if e := math.Abs(float64(got[i])-ref) / ref; !(e < 4e-7) {
			t.Errorf("exp(%v) = %v, want %v, relative error %g", v, got[i], ref, e)
		}
	}
	nan := []float32{float32(math.NaN()), 1, 2, 3, 4, 5, 6, 7}
	Exp(nan, nan)
	if nan[0] == nan[0] || !(exp32(float32(math.NaN())) != exp32(float32(math.NaN()))) {
		t.Error("exp(NaN) is a number")
	}
}

func TestElementwise(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	x := random(r, 777)
	Scale(x, 3)
	dst := make([]float32, len(x))
	sig := func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }
	for _, c := range []struct {
		name string
		f    func(dst, x []float32)
		ref  func(x float64) float64
	}{
		{"silu", SiLU, func(v float64) float64 { return v * sig(v) }},
		{"tanh", Tanh, math.Tanh},
		{"gelu", GELU, func(v float64) float64 {
			return 0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
		}},
		{"leaky", func(d, x []float32) { LeakyReLU(d, x, 0.1) }, func(v float64) float64 { return max(v, 0.1*v) }},
	} {
		c.f(dst, x)
		for i, v := range x {
			if want := c.ref(float64(v)); math.Abs(float64(dst[i])-want) > 1e-6*(1+math.Abs(want)) {
				t.Errorf("%s(%v) = %v, want %v", c.name, v, dst[i], want)
			}
		}
	}
}

func TestLeakyReLU(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for n := range 70 {
		x := random(r, n)
		if n > 5 {
			negZero := math.Float32frombits(1 << 31)
			copy(x, []float32{0, negZero, float32(math.Inf(1)), float32(math.Inf(-1)), math.SmallestNonzeroFloat32,
				-math.MaxFloat32})
		}
		want := make([]float32, n)
		for i, v := range x {
			want[i] = v
			if v < 0 {
				want[i] = v * 0.1
			}
		}
		got := make([]float32, n)
		LeakyReLU(got, x, 0.1)
		sameBits(t, got, want, "vector")
		leakyGeneric(got, x, 0.1)
		sameBits(t, got, want, "portable")
		LeakyReLU(x, x, 0.1)
		sameBits(t, x, want, "in place")
	}
}

// BenchmarkLeakyReLU compares with the branch on random signs that it replaced.
func BenchmarkLeakyReLU(b *testing.B) {
	x := random(rand.New(rand.NewPCG(6, 6)), 1<<15)
	dst := make([]float32, len(x))
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"vector", func() { LeakyReLU(dst, x, 0.1) }},
		{"portable", func() { leakyGeneric(dst, x, 0.1) }},
		{"branch", func() {
			for i, v := range x {
				if v < 0 {
					v *= 0.1
				}
				dst[i] = v
			}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(8 * len(x)))
			for b.Loop() {
				c.f()
			}
		})
	}
}

func TestNorms(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	x, w, b := random(r, 100), random(r, 100), random(r, 100)
	var sum, sq float64
	for _, v := range x {
		sum += float64(v)
		sq += float64(v) * float64(v)
	}
	mean := sum / 100
	std := math.Sqrt(sq/100 - mean*mean + 1e-5)
	rms := math.Sqrt(sq/100 + 1e-5)
	got := make([]float32, 100)
	LayerNorm(got, x, w, b, 1e-5)
	for i, v := range x {
		want := (float64(v)-mean)/std*float64(w[i]) + float64(b[i])
		if math.Abs(float64(got[i])-want) > 2e-6*(1+math.Abs(want)) {
			t.Errorf("layer norm %d: %v, want %v", i, got[i], want)
		}
	}
	RMSNorm(got, x, w, 1e-5)
	for i, v := range x {
		if want := float64(v) / rms * float64(w[i]); math.Abs(float64(got[i])-want) > 2e-6*(1+math.Abs(want)) {
			t.Errorf("rms norm %d: %v, want %v", i, got[i], want)
		}
	}
}

// Attention relies on it: what lies masked behind a row's end does not change its sum.
func TestSumIgnoresTrailingZeros(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for n := range 40 {
		x := random(r, n)
		padded := append(append([]float32(nil), x...), make([]float32, 23)...)
		if a, b := Sum(x), Sum(padded); math.Float32bits(a) != math.Float32bits(b) {
			t.Errorf("n=%d: %v, padded %v", n, a, b)
		}
	}
}
