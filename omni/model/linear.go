package model

import (
	"context"
	"fmt"

	"github.com/kinetoscope/kinetoscope/omni/model/kernel"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// linear is y = x·Wᵀ + b with whole rows of W: a column-parallel layer, or one that
// every rank computes.
type linear struct {
	w    *kernel.Packed
	bias []float32 // nil: none
}

// part is a range of the output rows of a stored weight.
type part struct {
	name     string
	out      int // rows that the tensor has
	from, to int // rows that this rank takes
}

// whole is a part with every row.
func whole(name string, out int) part { return part{name, out, 0, out} }

// share is the part of rank, of size equal ones.
func (m *model) share(name string, out int) part {
	return part{name, out, m.rank * out / m.size, (m.rank + 1) * out / m.size}
}

// loadLinear reads prefix.weight of each part and puts their rows side by side.
func (m *model) loadLinear(in int, bias bool, parts ...part) (linear, error) {
	var rows, b []float32
	n := 0
	for _, p := range parts {
		w, err := m.src.tensor(p.name+".weight", p.out, in)
		if err != nil {
			return linear{}, err
		}
		rows = append(rows, w[p.from*in:p.to*in]...)
		n += p.to - p.from
		if bias {
			x, err := m.src.tensor(p.name+".bias", p.out)
			if err != nil {
				return linear{}, err
			}
			b = append(b, x[p.from:p.to]...)
		}
	}
	l := linear{w: kernel.PackTransposed(rows, in, n, in), bias: b}
	m.own(m.t, poolWeights, l.w.Data)
	m.own(m.t, poolWeights, l.bias)
	return l, nil
}

// apply writes rows of l.w.N to y from rows of l.w.K of x.
func (l *linear) apply(t *profiler.Track, y, x []float32, rows int) {
	sp := t.Begin(opLinear, profiler.CategoryOp)
	in := mmSpan(t, rows, l.w.K, l.w.N, l.bias != nil)
	kernel.Gemm(y, l.w.N, rows, x, l.w.K, l.w, false)
	if l.bias != nil {
		kernel.AddRows(y[:rows*l.w.N], l.bias)
	}
	in.End()
	sp.End()
}

// mmSpan opens the span of a product of m×k and k×n.
func mmSpan(t *profiler.Track, m, k, n int, bias bool) profiler.Span {
	name := opMM
	if bias {
		name = opAddMM
	}
	sp := t.Begin(name, profiler.CategoryOp)
	if !t.Enabled() {
		return sp
	}
	return sp.Shape(profiler.Float32, m, k).Shape(profiler.Float32, k, n).
		FLOPs(2 * int64(m) * int64(k) * int64(n)).
		Bytes(floatBytes * (int64(m)*int64(k) + int64(k)*int64(n) + int64(m)*int64(n)))
}

// rowLinear is y = x·Wᵀ + b with the columns of W split: a row-parallel layer. The sum
// over columns is made of Shards parts whatever the number of ranks; this rank holds
// Shards/size of them that follow each other, adds them up as its subtree of the binary
// tree, and the all-reduce adds the rest.
type rowLinear struct {
	parts []*kernel.Packed
	bias  []float32 // on every rank, added after the sum; nil: none
	in    int       // columns on this rank
	out   int
}

// loadRow reads name.weight, out rows of in columns.
func (m *model) loadRow(name string, in, out int, bias bool) (rowLinear, error) {
	w, err := m.src.tensor(name+".weight", out, in)
	if err != nil {
		return rowLinear{}, err
	}
	l := rowLinear{in: in / m.size, out: out}
	k := in / Shards
	for s := m.rank * Shards / m.size; s < (m.rank+1)*Shards/m.size; s++ {
		p := kernel.PackTransposed(w[s*k:], in, out, k)
		m.own(m.t, poolWeights, p.Data)
		l.parts = append(l.parts, p)
	}
	if bias {
		if l.bias, err = m.load(name+".bias", out); err != nil {
			return rowLinear{}, err
		}
	}
	return l, nil
}

// apply writes the sum over all ranks to y, on every rank.
func (l *rowLinear) apply(ctx context.Context, t *profiler.Track, m *model, y, x []float32, rows int) error {
	sp := t.Begin(opLinear, profiler.CategoryOp)
	n := rows * l.out
	in := mmSpan(t, rows, l.in, l.out, false)
	sumParts(m, t, y[:n], len(l.parts), func(dst []float32, i int) {
		kernel.Gemm(dst, l.out, rows, x[i*l.parts[i].K:], l.in, l.parts[i], false)
	})
	in.End()
	sp.End()
	if err := m.reduce(ctx, t, y[:n]); err != nil {
		return err
	}
	if l.bias != nil {
		sp := rowsOp(t, opAdd, rows, l.out)
		kernel.AddRows(y[:n], l.bias)
		sp.End()
	}
	return nil
}

// sumParts makes y the sum of n parts (1, 2 or 4) along the binary tree.
func sumParts(m *model, t *profiler.Track, y []float32, n int, compute func(dst []float32, i int)) {
	compute(y, 0)
	if n == 1 {
		return
	}
	a := m.floats(t, &m.sums[0], len(y))
	compute(a, 1)
	kernel.Add(y, a)
	if n == 2 {
		return
	}
	b := m.floats(t, &m.sums[1], len(y))
	compute(a, 2)
	compute(b, 3)
	kernel.Add(a, b)
	kernel.Add(y, a)
}

// reduce sums x over the ranks.
func (m *model) reduce(ctx context.Context, t *profiler.Track, x []float32) error {
	if m.size == 1 {
		return nil
	}
	if err := m.g.AllReduce(ctx, t, x); err != nil {
		return m.broke(fmt.Errorf("sum of shards: %w", err))
	}
	return nil
}

// gather makes rows of n elements of which each rank holds n/size: y from x.
func (m *model) gather(ctx context.Context, t *profiler.Track, y, x []float32, rows, n int, tmp *scratch) error {
	if m.size == 1 {
		copy(y, x[:rows*n])
		return nil
	}
	local := n / m.size
	all := m.floats(t, tmp, rows*n)
	if err := m.g.AllGather(ctx, t, all, x[:rows*local]); err != nil {
		return m.broke(fmt.Errorf("gather of columns: %w", err))
	}
	for r := range m.size {
		for i := range rows {
			copy(y[i*n+r*local:i*n+(r+1)*local], all[(r*rows+i)*local:])
		}
	}
	return nil
}
