package model

import (
	"github.com/kinetoscope/kinetoscope/omni/model/kernel"
)

// A convolution weight is stored as torch stores it, [out][in][taps…]; it is packed with
// its rows in the order tap, input channel, so that each tap is a segment of the kernel's
// left hand side.

// packConv packs output channels outFrom…outTo and input channels inFrom…inTo of w.
func packConv(w []float32, in, taps, outFrom, outTo, inFrom, inTo int) *kernel.Packed {
	k := inTo - inFrom
	p := kernel.NewPacked(taps*k, outTo-outFrom)
	for o := outFrom; o < outTo; o++ {
		for c := inFrom; c < inTo; c++ {
			for tap := range taps {
				p.Set(tap*k+c-inFrom, o-outFrom, w[(o*in+c)*taps+tap])
			}
		}
	}
	return p
}

// colConv is a convolution of which this rank computes some output channels.
type colConv struct {
	w    *kernel.Packed
	bias []float32
	in   int // channels of the input
}

// loadConv reads an [out][in][taps] weight and the rows of it that p takes; dims are
// the taps' dimensions.
func (m *model) loadConv(p part, in int, dims ...int) (colConv, error) {
	taps := 1
	for _, d := range dims {
		taps *= d
	}
	w, err := m.src.tensor(p.name+".weight", append([]int{p.out, in}, dims...)...)
	if err != nil {
		return colConv{}, err
	}
	b, err := m.src.tensor(p.name+".bias", p.out)
	if err != nil {
		return colConv{}, err
	}
	c := colConv{w: packConv(w, in, taps, p.from, p.to, 0, in), bias: append([]float32(nil), b[p.from:p.to]...), in: in}
	m.own(m.t, poolWeights, c.w.Data)
	m.own(m.t, poolWeights, c.bias)
	return c, nil
}

// rowConv is a convolution whose input channels are split, as rowLinear.
type rowConv struct {
	parts []*kernel.Packed
	bias  []float32
	in    int // channels on this rank
	out   int
}

func (m *model) loadRowConv(name string, in, out int, dims ...int) (rowConv, error) {
	taps := 1
	for _, d := range dims {
		taps *= d
	}
	w, err := m.src.tensor(name+".weight", append([]int{out, in}, dims...)...)
	if err != nil {
		return rowConv{}, err
	}
	c := rowConv{in: in / m.size, out: out}
	k := in / Shards
	for s := m.rank * Shards / m.size; s < (m.rank+1)*Shards/m.size; s++ {
		p := packConv(w, in, taps, 0, out, s*k, (s+1)*k)
		m.own(m.t, poolWeights, p.Data)
		c.parts = append(c.parts, p)
	}
	if c.bias, err = m.load(name+".bias", out); err != nil {
		return rowConv{}, err
	}
	return c, nil
}
