// Package kernel holds the arithmetic of the engine: matrix product and element-wise
// functions on float32 slices, without recording, allocation or goroutines.
//
// # Order of sums
//
// Every element of a product is one chain: s = s + a[k]*b[k] for k rising, product and
// sum each rounded to float32. Nothing is fused or split, so the result depends neither
// on the shape of the rest of the matrices nor on the processor: the vector code and the
// portable code give the same bits. (gonum's Sgemm keeps the order too, see the
// benchmarks for why it is not used here.)
//
// # Packed matrices
//
// The right hand side is packed in panels of Panel columns; a panel holds its columns of
// row k side by side, k rising. Weights are packed once when a model is opened.
//
//	panel 0: b[0][0:16] b[1][0:16] … b[K-1][0:16]
//	panel 1: b[0][16:32] …
//
// # Segments
//
// The left hand side of a product may be scattered: K is len(segs) runs of klen
// elements, run s of row i beginning at a[i*lda+segs[s]]. That makes a convolution a
// product without copying its input: a segment a tap.
package kernel

// Panel is the width of a panel in columns: two AVX2 registers, one AVX-512 register.
const Panel = 16

// rowBlock rows of A are taken through all panels before the next, so that they stay in
// the second level cache while the panels stream by.
const rowBlock = 64

// Packed is a matrix of K rows and N columns in panels. The last panel is padded with
// zeros.
type Packed struct {
	K, N int
	Data []float32 // Panels(N) * K * Panel
}

// Panels is the number of panels of n columns.
func Panels(n int) int { return (n + Panel - 1) / Panel }

// NewPacked returns a zero matrix.
func NewPacked(k, n int) *Packed {
	return &Packed{K: k, N: n, Data: make([]float32, Panels(n)*k*Panel)}
}

// Set sets the element of row k and column n.
func (p *Packed) Set(k, n int, v float32) {
	p.Data[(n/Panel*p.K+k)*Panel+n%Panel] = v
}

// At is the element of row k and column n.
func (p *Packed) At(k, n int) float32 {
	return p.Data[(n/Panel*p.K+k)*Panel+n%Panel]
}

// PackTransposed packs the transpose of w, which has rows of stride elements: column n
// of the result is w[n*stride : n*stride+k], as linear layers store their weights.
func PackTransposed(w []float32, stride, n, k int) *Packed {
	p := NewPacked(k, n)
	for j := range n {
		row := w[j*stride : j*stride+k]
		dst := p.Data[j/Panel*k*Panel+j%Panel:]
		for i, v := range row {
			dst[i*Panel] = v
		}
	}
	return p
}

var whole = []int{0}

// Gemm computes c = a·b (acc: c += a·b) for m rows; a has rows of lda, c of ldc elements.
func Gemm(c []float32, ldc, m int, a []float32, lda int, b *Packed, acc bool) {
	GemmSegs(c, ldc, m, a, lda, whole, b.K, b, acc)
}

// GemmSegs is Gemm with a scattered left hand side; see the package's Segments. b.K is
// len(segs)*klen.
func GemmSegs(c []float32, ldc, m int, a []float32, lda int, segs []int, klen int, b *Packed, acc bool) {
	if m == 0 || b.N == 0 {
		return
	}
	if len(segs)*klen != b.K || klen == 0 {
		panic("kernel: segments do not make up K")
	}
	for _, s := range segs {
		_ = a[s : (m-1)*lda+s+klen]
	}
	_ = c[:(m-1)*ldc+b.N]
	full := b.N / Panel
	for i := 0; i < m; i += rowBlock {
		rows := min(rowBlock, m-i)
		if full > 0 {
			panels(c[i*ldc:], ldc, rows, a[i*lda:], lda, segs, klen, b.Data, full, acc)
		}
		if rest := b.N - full*Panel; rest > 0 {
			lastPanel(c[i*ldc+full*Panel:], ldc, rows, a[i*lda:], lda, segs, klen, b.Data[full*b.K*Panel:], rest, acc)
		}
	}
}

// lastPanel computes the rest columns of a panel that is not full, by way of a buffer.
func lastPanel(c []float32, ldc, m int, a []float32, lda int, segs []int, klen int, b []float32, rest int, acc bool) {
	var tmp [8 * Panel]float32
	for i := 0; i < m; i += 8 {
		rows := min(8, m-i)
		if acc {
			for r := range rows {
				copy(tmp[r*Panel:], c[(i+r)*ldc:][:rest])
			}
		}
		panels(tmp[:], Panel, rows, a[i*lda:], lda, segs, klen, b, 1, acc)
		for r := range rows {
			copy(c[(i+r)*ldc:][:rest], tmp[r*Panel:])
		}
	}
}

// Tiles computes c = a·b (acc: +=) for m rows and np panels of k rows each that follow
// each other in b. Attention uses it on the blocks of its cache.
func Tiles(c []float32, ldc, m int, a []float32, lda, k int, b []float32, np int, acc bool) {
	if m == 0 || k == 0 || np == 0 {
		return
	}
	_, _, _ = a[:(m-1)*lda+k], b[:np*k*Panel], c[:(m-1)*ldc+np*Panel]
	panels(c, ldc, m, a, lda, whole, k, b, np, acc)
}

// panelsGeneric is the portable panels: four columns of four rows at a time in registers.
func panelsGeneric(c []float32, ldc, m int, a []float32, lda int, segs []int, klen int, b []float32, np int, acc bool) {
	pk := len(segs) * klen * Panel
	for p := range np {
		bp := b[p*pk : (p+1)*pk]
		i := 0
		for ; i+2 <= m; i += 2 {
			for j := 0; j < Panel; j += 4 {
				tile2x4(c[i*ldc+p*Panel+j:], ldc, a[i*lda:], lda, segs, klen, bp[j:], acc)
			}
		}
		for ; i < m; i++ {
			for j := 0; j < Panel; j += 4 {
				tile1x4(c[i*ldc+p*Panel+j:], a[i*lda:], segs, klen, bp[j:], acc)
			}
		}
	}
}

func tile2x4(c []float32, ldc int, a []float32, lda int, segs []int, klen int, b []float32, acc bool) {
	var s00, s01, s02, s03, s10, s11, s12, s13 float32
	c0, c1 := c[:4:4], c[ldc:ldc+4:ldc+4]
	if acc {
		s00, s01, s02, s03 = c0[0], c0[1], c0[2], c0[3]
		s10, s11, s12, s13 = c1[0], c1[1], c1[2], c1[3]
	}
	o := 0
	for _, s := range segs {
		a0, a1 := a[s:s+klen], a[lda+s:lda+s+klen]
		for k, x := range a0 {
			y := a1[k]
			w := b[o : o+4 : o+4]
			s00 += float32(x * w[0])
			s01 += float32(x * w[1])
			s02 += float32(x * w[2])
			s03 += float32(x * w[3])
			s10 += float32(y * w[0])
			s11 += float32(y * w[1])
			s12 += float32(y * w[2])
			s13 += float32(y * w[3])
			o += Panel
		}
	}
	c0[0], c0[1], c0[2], c0[3] = s00, s01, s02, s03
	c1[0], c1[1], c1[2], c1[3] = s10, s11, s12, s13
}

func tile1x4(c, a []float32, segs []int, klen int, b []float32, acc bool) {
	var s0, s1, s2, s3 float32
	c = c[:4:4]
	if acc {
		s0, s1, s2, s3 = c[0], c[1], c[2], c[3]
	}
	o := 0
	for _, s := range segs {
		for _, x := range a[s : s+klen] {
			w := b[o : o+4 : o+4]
			s0 += float32(x * w[0])
			s1 += float32(x * w[1])
			s2 += float32(x * w[2])
			s3 += float32(x * w[3])
			o += Panel
		}
	}
	c[0], c[1], c[2], c[3] = s0, s1, s2, s3
}

func addGeneric(dst, src []float32) {
	for i, v := range src {
		dst[i] += v
	}
}
