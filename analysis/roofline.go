package analysis

import (
	"encoding/json"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/trace"
)

// RooflineReport is how much arithmetic the operators did and how fast.
type RooflineReport struct {
	Rank int           `json:"rank"`
	Rows []RooflineRow `json:"rows"` // most FLOPs first
	// FLOPs of all rows, and the share of the rank's operator device time (of its host
	// time where there is not a device) whose FLOPs are known.
	FLOPs      int64   `json:"flops"`
	KnownShare float64 `json:"known_share"`
}

// RooflineRow is all calls of one operator and one set of input shapes and types.
type RooflineRow struct {
	Name   string `json:"name"`
	Shapes string `json:"shapes"`
	DType  string `json:"dtype"` // of the first tensor
	Count  int64  `json:"count"`
	FLOPs  int64  `json:"flops"` // a multiply-add counts 2
	Bytes  int64  `json:"bytes"` // least traffic: every input read once, the output written once
	// Ns is the device time launched inside the calls, or the host time if they
	// launched nothing.
	Ns        int64   `json:"ns"`
	OnDevice  bool    `json:"on_device"`
	GFLOPs    float64 `json:"gflops"`    // 1e9 FLOPs a second
	Intensity float64 `json:"intensity"` // FLOPs a byte
	// Bound is "compute" or "memory" by where Intensity lies on the roof, and
	// RoofShare the achieved part of what the roof allows there; "" and 0 without a
	// roof. Above 1 means less traffic than counted: operands stayed in the caches.
	Bound     string  `json:"bound,omitempty"`
	RoofShare float64 `json:"roof_share"`
	First     int     `json:"first"` // slice
}

// Roofline answers how much arithmetic each operator did and how near it came to the
// roof; nil roofs leave the comparison out, RoofsOf knows those of common cards. FLOPs come from an operator's "flops"
// argument, else from its input shapes for matrix products, convolutions and attention. An
// operator inside a counted one does not count again. Causal attention counts as full.
func Roofline(tr *trace.Trace, opt Options, roofs Roofs) RooflineReport {
	return newFrame(tr, opt).roofline(roofs)
}

type rooflineBuilder struct {
	f      *frame
	t      *tree
	kind   []flopKind       // by name
	shapes map[string]int32 // input shapes as text -> their number
	dims   []shapeWork      // by that number
	types  map[string]string
	rowOf  []int32 // per slice: row+1 of the counted operator at or above it
	out    RooflineReport
	byKey  map[rooflineKey]int32
	host   []int64                    // per row
	each   func(i int32, flops int64) // called for every counted operator
	tells  []uint8                    // by template of arguments: 0 unknown, 1 without FLOPs, 2 with
}

type rooflineKey struct {
	name  trace.StringID
	shape int32
	dtype string
}

// shapeWork is a set of input shapes and, once asked for, what a formula makes of it.
type shapeWork struct {
	text            string
	dims            [][]int64
	done            flopKind
	flops, elements int64
	ok              bool
}

// shape interns the text of input shapes.
func (b *rooflineBuilder) shape(raw []byte) int32 {
	id, ok := b.shapes[string(raw)]
	if !ok {
		id = int32(len(b.dims))
		b.dims = append(b.dims, shapeWork{text: string(raw)})
		b.shapes[b.dims[id].text] = id
	}
	return id
}

// dtype returns the first tensor's type.
func (b *rooflineBuilder) dtype(i int32) string {
	raw := b.f.tr.Arg(int(i), argInputType)
	t, ok := b.types[string(raw)]
	if !ok {
		t = firstText(raw)
		b.types[string(raw)] = t
	}
	return t
}

// flops counts the operators of t; each, if given, is told of every counted one.
func (f *frame) flops(t *tree, each func(i int32, flops int64)) *rooflineBuilder {
	b := &rooflineBuilder{f: f, t: t, shapes: map[string]int32{}, types: map[string]string{},
		byKey: map[rooflineKey]int32{}, each: each}
	b.tells = make([]uint8, f.tr.ArgsTemplates())
	b.kind = make([]flopKind, f.tr.Strings.Len())
	for id := range b.kind {
		b.kind[id] = flopKindOf(f.tr.String(trace.StringID(id)))
	}
	b.rowOf = make([]int32, f.tr.Slices.Len())
	for _, i := range b.t.order {
		b.visit(i)
	}
	return b
}

func (f *frame) roofline(roofs Roofs) RooflineReport {
	b := f.flops(f.calls(), nil)
	b.out.Rank = f.rank
	var known, all int64
	for _, d := range f.dev {
		if h := f.partner[d]; h >= 0 {
			all += f.dur[d]
			if r := b.rowOf[h]; r > 0 {
				b.out.Rows[r-1].Ns += f.dur[d]
				b.out.Rows[r-1].OnDevice = true
				known += f.dur[d]
			}
		}
	}
	if len(f.dev) == 0 {
		for _, i := range b.t.order {
			if b.t.parent[i] < 0 {
				all += f.dur[i]
			}
		}
		for _, ns := range b.host {
			known += ns
		}
	}
	b.finish(roofs)
	b.out.KnownShare = share(known, all)
	return b.out
}

func (b *rooflineBuilder) visit(i int32) {
	s := &b.f.tr.Slices
	if p := b.t.parent[i]; p >= 0 && b.rowOf[p] > 0 {
		b.rowOf[i] = b.rowOf[p]
		return
	}
	if !isHostOp(s.Cat[i]) {
		return
	}
	k := b.kind[s.Name[i]]
	var flops int64
	var given bool
	if b.mayTell(s.Args[i]) {
		flops, given = b.f.tr.ArgInt(int(i), trace.ArgFLOPs)
	}
	if !given && k == flopNone {
		return
	}
	bytes, _ := b.f.tr.ArgSize(int(i), trace.ArgBytes)
	raw := b.f.tr.Arg(int(i), argInputDims)
	if !given && len(raw) == 0 {
		return
	}
	key := rooflineKey{name: s.Name[i], shape: b.shape(raw), dtype: b.dtype(i)}
	if !given {
		var moved int64
		var ok bool
		if flops, moved, ok = b.count(k, key.shape, i); !ok {
			return
		}
		bytes = moved * coll.DTypeSize(key.dtype)
	}
	if flops <= 0 {
		return
	}
	r, ok := b.byKey[key]
	if !ok {
		r = int32(len(b.out.Rows))
		b.byKey[key] = r
		b.out.Rows = append(b.out.Rows, RooflineRow{Name: b.f.name(i), Shapes: b.dims[key.shape].text, DType: key.dtype,
			First: int(i)})
		b.host = append(b.host, 0)
	}
	row := &b.out.Rows[r]
	row.Count++
	row.FLOPs += flops
	row.Bytes += bytes
	if b.each != nil {
		b.each(i, flops)
	}
	b.host[r] += b.f.dur[i]
	b.rowOf[i] = r + 1
}

// mayTell says whether the arguments have a number of FLOPs. Arguments of one template
// have the same keys.
func (b *rooflineBuilder) mayTell(args trace.ArgsRef) bool {
	if args == trace.NoArgs {
		return false
	}
	at := int(args.Template())
	if at >= len(b.tells) {
		return true
	}
	if b.tells[at] == 0 {
		b.tells[at] = 1
		if b.f.tr.RefArg(args, trace.ArgFLOPs) != nil {
			b.tells[at] = 2
		}
	}
	return b.tells[at] == 2
}

// count returns an operator's FLOPs and the elements that it must at least move.
func (b *rooflineBuilder) count(k flopKind, shape, i int32) (flops, elements int64, ok bool) {
	w := &b.dims[shape]
	if w.dims == nil {
		w.dims = parseDims([]byte(w.text))
	}
	switch k {
	case flopConv:
		return convWork(w.dims, concreteInputs(b.f.tr.Arg(int(i), argConcrete)))
	case flopConvBackward:
		return convBackwardWork(w.dims, concreteInputs(b.f.tr.Arg(int(i), argConcrete)))
	}
	if w.done != k {
		w.done = k
		w.flops, w.elements, w.ok = k.work(w.dims)
	}
	return w.flops, w.elements, w.ok
}

func (b *rooflineBuilder) finish(roofs Roofs) {
	for r := range b.out.Rows {
		row := &b.out.Rows[r]
		if !row.OnDevice {
			row.Ns = b.host[r]
		}
		row.GFLOPs = share(row.FLOPs, row.Ns) // FLOPs per ns are GFLOP/s
		row.Intensity = share(row.FLOPs, row.Bytes)
		b.out.FLOPs += row.FLOPs
		if roofs == nil || row.Bytes == 0 || row.Ns == 0 {
			continue
		}
		roof, ok := roofs(row.DType)
		if !ok || roof.FLOPs <= 0 || roof.Bytes <= 0 {
			continue
		}
		limit, bound := roof.FLOPs, "compute"
		if m := row.Intensity * roof.Bytes; m < limit {
			limit, bound = m, "memory"
		}
		row.Bound, row.RoofShare = bound, row.GFLOPs*1e9/limit
	}
	sortDesc(b.out.Rows, func(r *RooflineRow) int64 { return r.FLOPs })
}

// flopKind is a formula.
type flopKind uint8

const (
	flopNone flopKind = iota
	flopMM
	flopAddMM
	flopBMM
	flopBaddBMM
	flopLinear
	flopAttention
	flopConv
	flopConvBackward
)

func flopKindOf(name string) flopKind {
	switch name {
	case "aten::mm", "aten::_scaled_mm", "aten::_int_mm":
		return flopMM
	case "aten::addmm", "aten::_addmm_activation":
		return flopAddMM
	case "aten::bmm":
		return flopBMM
	case "aten::baddbmm":
		return flopBaddBMM
	case "aten::linear":
		return flopLinear
	case "aten::conv1d", "aten::conv2d", "aten::conv3d":
		return flopConv
	case "aten::convolution_backward":
		return flopConvBackward
	}
	if strings.HasPrefix(name, "aten::scaled_dot_product_attention") ||
		strings.HasPrefix(name, "aten::_scaled_dot_product_") &&
			!strings.Contains(name, "backward") {
		return flopAttention
	}
	return flopNone
}

// work applies the formula to the input shapes.
func (k flopKind) work(d [][]int64) (flops, elements int64, ok bool) {
	at := func(i, rank int) []int64 {
		if i < len(d) && len(d[i]) == rank {
			return d[i]
		}
		return nil
	}
	switch k {
	case flopMM, flopAddMM:
		o := int(k - flopMM)
		a, b := at(o, 2), at(o+1, 2)
		if a == nil || b == nil || a[1] != b[0] {
			return 0, 0, false
		}
		m, n, c := a[0], b[1], a[1]
		return 2 * m * n * c, m*c + c*n + m*n, true
	case flopBMM, flopBaddBMM:
		o := int(k - flopBMM)
		a, b := at(o, 3), at(o+1, 3)
		if a == nil || b == nil || a[0] != b[0] || a[2] != b[1] {
			return 0, 0, false
		}
		return 2 * a[0] * a[1] * a[2] * b[2], a[0] * (a[1]*a[2] + b[1]*b[2] + a[1]*b[2]), true
	case flopLinear:
		w := at(1, 2)
		if w == nil || len(d[0]) == 0 || d[0][len(d[0])-1] != w[1] {
			return 0, 0, false
		}
		rows := product(d[0][:len(d[0])-1])
		return 2 * rows * w[0] * w[1], rows*w[1] + w[0]*w[1] + rows*w[0], true
	case flopAttention:
		q, kk, v := at(0, 4), at(1, 4), at(2, 4)
		if q == nil || kk == nil || v == nil {
			return 0, 0, false
		}
		bh := q[0] * q[1]
		return 2 * bh * q[2] * kk[2] * (q[3] + v[3]), product(q) + product(kk) + product(v) + bh*q[2]*v[3], true
	}
	return 0, 0, false
}

// convWork counts a convolution whose stride, padding and dilation are known:
// 2 * outputs * kernel size * input channels of a group.
func convWork(d [][]int64, in []string) (flops, elements int64, ok bool) {
	if len(d) < 2 || len(d[0]) < 3 || len(d[0]) != len(d[1]) || len(in) < 6 {
		return 0, 0, false
	}
	x, w := d[0], d[1]
	space := len(x) - 2
	out := x[0] * w[0]
	for k := range space {
		stride, ok1 := listAt(in[3], k)
		pad, ok2 := listAt(in[4], k)
		dil, ok3 := listAt(in[5], k)
		if !ok1 || !ok2 || !ok3 || stride < 1 {
			return 0, 0, false
		}
		n := (x[2+k]+2*pad-dil*(w[2+k]-1)-1)/stride + 1
		if n < 1 {
			return 0, 0, false
		}
		out *= n
	}
	return 2 * out * product(w[1:]), product(x) + product(w) + out, true
}

// convBackwardWork counts the gradients of a convolution, each as much as the
// convolution itself. in[10] says which of input, weight and bias are wanted; without
// it the first two are.
func convBackwardWork(d [][]int64, in []string) (flops, elements int64, ok bool) {
	if len(d) < 3 || len(d[0]) < 3 || len(d[0]) != len(d[2]) || len(d[1]) != len(d[2]) {
		return 0, 0, false
	}
	grads := int64(2)
	if len(in) > 10 && strings.HasPrefix(in[10], "[") {
		mask := strings.Split(strings.ToLower(strings.Trim(in[10], "[]")), ",")
		grads = 0
		for _, m := range mask[:min(2, len(mask))] {
			if m = strings.TrimSpace(m); m == "true" || m == "1" {
				grads++
			}
		}
	}
	forward := 2 * product(d[0]) * product(d[2][1:])
	return grads * forward, product(d[0]) + product(d[1]) + product(d[2]) + grads*product(d[1]), grads > 0
}

func listAt(text string, k int) (int64, bool) {
	var v []int64
	if json.Unmarshal([]byte(text), &v) != nil || len(v) == 0 {
		return 0, false
	}
	return v[min(k, len(v)-1)], true
}

func product(d []int64) int64 {
	p := int64(1)
	for _, v := range d {
		p *= v
	}
	return p
}

// parseDims reads [[2,3],[],[[1,2],[3]]]; lists of tensors give an empty shape.
func parseDims(raw []byte) [][]int64 {
	var outer []json.RawMessage
	if json.Unmarshal(raw, &outer) != nil {
		return nil
	}
	d := make([][]int64, len(outer))
	for i, r := range outer {
		var v []int64
		if json.Unmarshal(r, &v) == nil {
			d[i] = v
		}
	}
	return d
}

func concreteInputs(raw []byte) []string {
	var v []string
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	return v
}

// firstText returns the first non-empty text of a JSON list of texts, or "".
func firstText(raw []byte) string {
	for _, s := range concreteInputs(raw) {
		if s != "" {
			return s
		}
	}
	return ""
}
