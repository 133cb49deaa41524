package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
	"pgregory.net/rapid"
)

func random(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// chain is the definition: one sum in the order of k, each step rounded.
func chain(c []float32, ldc, m int, a []float32, lda int, segs []int, klen int, b *Packed, acc bool) {
	for i := range m {
		for j := range b.N {
			var s float32
			if acc {
				s = c[i*ldc+j]
			}
			k := 0
			for _, o := range segs {
				for d := range klen {
					s += float32(a[i*lda+o+d] * b.At(k, j))
					k++
				}
			}
			c[i*ldc+j] = s
		}
	}
}

func sameBits(t interface {
	Helper()
	Fatalf(string, ...any)
}, got, want []float32, what string) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: element %d: got %v (%08x), want %v (%08x)", what, i, got[i], math.Float32bits(got[i]),
				want[i], math.Float32bits(want[i]))
		}
	}
}

func TestGemmIsOneChain(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := rapid.IntRange(1, 21).Draw(rt, "m")
		n := rapid.IntRange(1, 150).Draw(rt, "n")
		klen := rapid.IntRange(1, 40).Draw(rt, "klen")
		nseg := rapid.IntRange(1, 5).Draw(rt, "nseg")
		acc := rapid.Bool().Draw(rt, "acc")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		segs := make([]int, nseg)
		for i := range segs {
			segs[i] = r.IntN(50)
		}
		lda, ldc := klen+r.IntN(9), n+r.IntN(9)
		a := random(r, m*lda+50+klen)
		b := NewPacked(nseg*klen, n)
		for k := range b.K {
			for j := range n {
				b.Set(k, j, float32(r.NormFloat64()))
			}
		}
		c := random(r, m*ldc)
		want := append([]float32(nil), c...)
		gen := append([]float32(nil), c...)
		chain(want, ldc, m, a, lda, segs, klen, b, acc)
		GemmSegs(c, ldc, m, a, lda, segs, klen, b, acc)
		sameBits(rt, c, want, "GemmSegs")
		if full := n / Panel; full > 0 {
			panelsGeneric(gen, ldc, m, a, lda, segs, klen, b.Data, full, acc)
			for i := range m {
				sameBits(rt, gen[i*ldc:i*ldc+full*Panel], want[i*ldc:i*ldc+full*Panel], "panelsGeneric")
			}
		}
	})
}

func TestAdd(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 70 {
		a, b := random(r, n), random(r, n)
		want := append([]float32(nil), a...)
		addGeneric(want, b)
		Add(a, b)
		sameBits(t, a, want, fmt.Sprint("n=", n))
	}
}

// Gonum's product keeps the order of k too: its rows do not depend on the batch, its
// columns not on the split. The kernels differ in speed, not in contract.
func TestGonumKeepsOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const m, n, k = 70, 96, 200
	a, b := random(r, m*k), random(r, k*n)
	p := NewPacked(k, n)
	for i := range k {
		for j := range n {
			p.Set(i, j, b[i*n+j])
		}
	}
	c, g := make([]float32, m*n), make([]float32, m*n)
	Gemm(c, n, m, a, k, p, false)
	gonum(g, a, b, m, n, k)
	sameBits(t, g, c, "gonum")
}

func gonum(c, a, b []float32, m, n, k int) {
	blas32.Gemm(blas.NoTrans, blas.NoTrans, 1,
		blas32.General{Rows: m, Cols: k, Stride: k, Data: a},
		blas32.General{Rows: k, Cols: n, Stride: n, Data: b}, 0,
		blas32.General{Rows: m, Cols: n, Stride: n, Data: c})
}

func TestGemmAllocates(t *testing.T) {
	p := NewPacked(64, 40)
	a, c := make([]float32, 7*64), make([]float32, 7*40)
	if n := testing.AllocsPerRun(50, func() { Gemm(c, 40, 7, a, 64, p, false) }); n != 0 {
		t.Fatalf("Gemm allocates %v times, want 0", n)
	}
}

func BenchmarkGemm(b *testing.B) {
	for _, s := range []struct{ m, n, k int }{{1, 384, 384}, {4, 1024, 384}, {64, 1024, 384}, {512, 256, 128}} {
		r := rand.New(rand.NewPCG(5, 6))
		a, w := random(r, s.m*s.k), random(r, s.k*s.n)
		p := NewPacked(s.k, s.n)
		for i := range s.k {
			for j := range s.n {
				p.Set(i, j, w[i*s.n+j])
			}
		}
		c := make([]float32, s.m*s.n)
		run := func(name string, f func()) {
			b.Run(fmt.Sprintf("%dx%dx%d/%s", s.m, s.n, s.k, name), func(b *testing.B) {
				for b.Loop() {
					f()
				}
				b.ReportMetric(2*float64(s.m*s.n*s.k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
		run("kernel", func() { Gemm(c, s.n, s.m, a, s.k, p, false) })
		run("portable", func() { panelsGeneric(c, s.n, s.m, a, s.k, whole, s.k, p.Data, s.n/Panel, false) })
		run("gonum", func() { gonum(c, a, w, s.m, s.n, s.k) })
		run("naive", func() { chain(c, s.n, s.m, a, s.k, whole, s.k, p, false) })
	}
}
