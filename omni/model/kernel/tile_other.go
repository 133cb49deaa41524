//go:build !amd64 || purego

package kernel

func panels(c []float32, ldc, m int, a []float32, lda int, segs []int, klen int, b []float32, np int, acc bool) {
	panelsGeneric(c, ldc, m, a, lda, segs, klen, b, np, acc)
}

// Add adds src to dst; they are equally long.
func Add(dst, src []float32) { addGeneric(dst, src[:len(dst)]) }

// Exp puts exp(src[i]) to dst[i]; they are equally long and may be the same.
func Exp(dst, src []float32) { expGeneric(dst, src[:len(dst)]) }

// LeakyReLU puts src[i], or slope*src[i] where src[i] is negative, to dst[i]; they are
// equally long and may be the same.
func LeakyReLU(dst, src []float32, slope float32) { leakyGeneric(dst, src[:len(dst)], slope) }
