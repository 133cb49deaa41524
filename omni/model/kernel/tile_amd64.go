//go:build !purego

package kernel

import "golang.org/x/sys/cpu"

var (
	hasAVX2   = cpu.X86.HasAVX2
	hasAVX512 = cpu.X86.HasAVX512F
)

//go:noescape
func tile8x16AVX512(c *float32, ldc int, a *float32, lda int, b *float32, segs *int, nseg, klen int, acc bool)

//go:noescape
func tile4x16AVX2(c *float32, ldc int, a *float32, lda int, b *float32, segs *int, nseg, klen int, acc bool)

//go:noescape
func tile2x32AVX2(c *float32, ldc int, a *float32, lda int, b *float32, segs *int, nseg, klen int, acc bool)

//go:noescape
func tile1x64AVX2(c *float32, ldc int, a *float32, lda int, b *float32, segs *int, nseg, klen int, acc bool)

//go:noescape
func tile1x16AVX2(c *float32, ldc int, a *float32, lda int, b *float32, segs *int, nseg, klen int, acc bool)

//go:noescape
func addAVX2(dst, src *float32, n int)

//go:noescape
func expAVX2(dst, src *float32, n int)

//go:noescape
func leakyAVX2(dst, src *float32, n int, slope float32)

// Exp puts exp(src[i]) to dst[i]; they are equally long and may be the same.
func Exp(dst, src []float32) {
	src = src[:len(dst)]
	n := 0
	if hasAVX2 && len(dst) >= 8 {
		n = len(dst) &^ 7
		expAVX2(&dst[0], &src[0], n)
	}
	expGeneric(dst[n:], src[n:])
}

// panels computes m rows of np whole panels that follow each other in b.
func panels(c []float32, ldc, m int, a []float32, lda int, segs []int, klen int, b []float32, np int, acc bool) {
	if !hasAVX2 {
		panelsGeneric(c, ldc, m, a, lda, segs, klen, b, np, acc)
		return
	}
	pk := len(segs) * klen * Panel
	s0 := &segs[0]
	for i := 0; i < m; {
		rows := 1
		switch {
		case m-i >= 8 && hasAVX512:
			rows = 8
		case m-i >= 4:
			rows = 4
		case m-i >= 2:
			rows = 2
		}
		ai := &a[i*lda]
		for p := 0; p < np; {
			ci, bi := &c[i*ldc+p*Panel], &b[p*pk]
			switch {
			case rows == 8:
				tile8x16AVX512(ci, ldc, ai, lda, bi, s0, len(segs), klen, acc)
				p++
			case rows == 4:
				tile4x16AVX2(ci, ldc, ai, lda, bi, s0, len(segs), klen, acc)
				p++
			case rows == 2 && np-p >= 2:
				tile2x32AVX2(ci, ldc, ai, lda, bi, s0, len(segs), klen, acc)
				p += 2
			case rows == 2:
				tile1x16AVX2(ci, ldc, ai, lda, bi, s0, len(segs), klen, acc)
				tile1x16AVX2(&c[(i+1)*ldc+p*Panel], ldc, &a[(i+1)*lda], lda, bi, s0, len(segs), klen, acc)
				p++
			case np-p >= 4:
				tile1x64AVX2(ci, ldc, ai, lda, bi, s0, len(segs), klen, acc)
				p += 4
			default:
				tile1x16AVX2(ci, ldc, ai, lda, bi, s0, len(segs), klen, acc)
				p++
			}
		}
		i += rows
	}
}

// Add adds src to dst; they are equally long.
func Add(dst, src []float32) {
	src = src[:len(dst)]
	n := 0
	if hasAVX2 && len(dst) >= 8 {
		n = len(dst) &^ 7
		addAVX2(&dst[0], &src[0], n)
	}
	addGeneric(dst[n:], src[n:])
}

// LeakyReLU puts src[i], or slope*src[i] where src[i] is negative, to dst[i]; they are
// equally long and may be the same.
func LeakyReLU(dst, src []float32, slope float32) {
	src = src[:len(dst)]
	n := 0
	if hasAVX2 && len(dst) >= 8 {
		n = len(dst) &^ 7
		leakyAVX2(&dst[0], &src[0], n, slope)
	}
	leakyGeneric(dst[n:], src[n:], slope)
}
