package model

import (
	"math"

	"github.com/kinetoscope/kinetoscope/omni/model/kernel"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// Keys and values of one head lie in blocks of BlockSize positions, each ready to be the
// right hand side of the kernel:
//
//	keys     [head_dim][BlockSize]            one panel
//	values   [head_dim/Panel][BlockSize][Panel]   a panel for every Panel elements

// headFloats is the size of a block of one head.
func headFloats(dim int) int {
	return BlockSize * (dim + kernel.Panels(dim)*kernel.Panel)
}

// putKV writes the key and value of one position to a block of one head.
func putKV(block []float32, slot int, k, v []float32) {
	for i, x := range k {
		block[i*BlockSize+slot] = x
	}
	block = block[len(k)*BlockSize:]
	for i, x := range v {
		block[(i/kernel.Panel*BlockSize+slot)*kernel.Panel+i%kernel.Panel] = x
	}
}

// queryTile is the number of query rows taken together; scores of a tile stay in cache.
const queryTile = 32

// attention is the workspace of attend.
type attention struct {
	scores, q, out, kv scratch
}

// view is where the blocks of one head lie: block i begins at data[at[i]+head].
type view struct {
	data []float32
	at   []int
	head int
}

// attend computes softmax(q·Kᵀ/√dim)·V for m rows of one head. Row i sees the first first+i*step
// positions. q and out have rows of ldq and ldo elements.
//
// A row's result depends only on the positions that it sees: keys are taken in their order, and
// masked weights are exact zeros, which change no sum.
func (a *attention) attend(m *model, t *profiler.Track, out []float32, ldo int, q []float32, ldq, rows, dim, first,
	step int, kv view) {
	pad := kernel.Panels(dim) * kernel.Panel
	scale := float32(1 / math.Sqrt(float64(dim)))
	for i := 0; i < rows; i += queryTile {
		n := min(queryTile, rows-i)
		last := first + (i+n-1)*step
		blocks := (last + BlockSize - 1) / BlockSize
		ld := blocks * BlockSize
		scores := m.floats(t, &a.scores, n*ld)
		qs := m.floats(t, &a.q, n*dim)
		for r := range n {
			dst := qs[r*dim : (r+1)*dim]
			copy(dst, q[(i+r)*ldq:])
			kernel.Scale(dst, scale)
		}
		for b := range blocks {
			kernel.Tiles(scores[b*BlockSize:], ld, n, qs, dim, dim, kv.data[kv.at[b]+kv.head:], 1, false)
		}
		o := m.floats(t, &a.out, n*(pad+1))
		sums := o[n*pad:]
		for r := range n {
			sees := first + (i+r)*step
			row := scores[r*ld : r*ld+sees]
			sums[r] = kernel.ExpShifted(row, kernel.Max(row))
			clear(scores[r*ld+sees : (r+1)*ld])
		}
		for b := range blocks {
			v := kv.data[kv.at[b]+kv.head+dim*BlockSize:]
			valid := min(BlockSize, last-b*BlockSize)
			if valid == BlockSize {
				kernel.Tiles(o, pad, n, scores[b*BlockSize:], ld, BlockSize, v, pad/kernel.Panel, b > 0)
				continue
			}
			for p := range pad / kernel.Panel {
				kernel.Tiles(o[p*kernel.Panel:], pad, n, scores[b*BlockSize:], ld, valid, v[p*BlockSize*kernel.Panel:],
					1, b > 0)
			}
		}
		for r := range n {
			dst := out[(i+r)*ldo : (i+r)*ldo+dim]
			copy(dst, o[r*pad:])
			kernel.Scale(dst, 1/sums[r])
		}
	}
}

// sdpaSpan opens the span of attention of heads heads: q rows against kv positions each.
func sdpaSpan(t *profiler.Track, batch, heads, q, kv, dim int, pairs int64) profiler.Span {
	sp := t.Begin(opSDPA, profiler.CategoryOp)
	if !t.Enabled() {
		return sp
	}
	return sp.Shape(profiler.Float32, batch, heads, q, dim).Shape(profiler.Float32, batch, heads, kv, dim).
		FLOPs(4 * pairs * int64(heads) * int64(dim)).
		Bytes(2 * floatBytes * int64(heads) * int64(dim) * int64(q+kv))
}

// full is bidirectional attention of one sequence: heads heads of dim, side by side in
// the rows of q, k and v, whose rows are ldq and ldkv wide.
func (a *attention) full(m *model, t *profiler.Track, out []float32, ldo int, q []float32, ldq, rows int, k,
	v []float32, ldkv, positions, heads, dim int) {
	blocks := (positions + BlockSize - 1) / BlockSize
	size := headFloats(dim)
	data := m.floats(t, &a.kv, blocks*size)
	at := make([]int, blocks)
	for i := range at {
		at[i] = i * size
	}
	for h := range heads {
		for p := range positions {
			o := p*ldkv + h*dim
			putKV(data[at[p/BlockSize]:], p%BlockSize, k[o:o+dim], v[o:o+dim])
		}
		a.attend(m, t, out[h*dim:], ldo, q[h*dim:], ldq, rows, dim, positions, 0, view{data: data, at: at})
	}
}
