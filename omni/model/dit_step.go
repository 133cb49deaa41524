package model

import (
	"context"
	"fmt"

	"github.com/kinetoscope/kinetoscope/omni/model/kernel"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// pass is one run of the transformer within a step: an image with one of its prompts.
type pass struct {
	s       *ImageState
	caption []float32
	from, n int // rows
	capFrom int // rows of captions
	capN    int
}

// Step makes the next denoise step of every image of the batch in one pass. Images may
// be at different steps, of different sizes and schedules; images with guidance take two
// rows of the batch. An image that is done, freed or twice in the batch is an error.
func (d *DiT) Step(ctx context.Context, t *profiler.Track, batch []*ImageState) error {
	if err := d.ready(ctx); err != nil {
		return err
	}
	if err := d.checkImages(batch); err != nil {
		return err
	}
	passes, rows, caps := d.passes(batch)
	x := d.patchify(t, passes, rows)
	emb, six := d.timeEmbedding(t, passes)
	cap := d.floats(t, &d.caps, caps*d.dim)
	for _, p := range passes {
		copy(cap[p.capFrom*d.dim:], p.caption)
	}
	for i := range d.blocks {
		if err := d.block(ctx, t, &d.blocks[i], x, cap, six, passes, rows, caps); err != nil {
			return err
		}
	}
	h := d.floats(t, &d.h, rows*d.dim)
	layerNorm(t, h, x, d.dim, nil, nil, float32(d.cfg.NormEps))
	sp := rowsOp(t, opModulate, rows, d.dim)
	mod := d.floats(t, &d.mod, 2*d.dim)
	for i, p := range passes {
		copy(mod, d.table)
		kernel.Add(mod[:d.dim], emb[i*d.dim:(i+1)*d.dim])
		kernel.Add(mod[d.dim:], emb[i*d.dim:(i+1)*d.dim])
		modulate(h[p.from*d.dim:(p.from+p.n)*d.dim], mod[:d.dim], mod[d.dim:])
	}
	sp.End()
	y := d.floats(t, &d.y, rows*d.out.w.N)
	d.out.apply(t, y, h, rows)
	d.advance(t, batch, passes, y)
	return nil
}

func (d *DiT) checkImages(batch []*ImageState) error {
	if len(batch) == 0 || len(batch) > MaxImages {
		return fmt.Errorf("%s: step of %d images, want 1 to %d", d.name, len(batch), MaxImages)
	}
	seen := make(map[*ImageState]bool, len(batch))
	for i, s := range batch {
		switch {
		case s == nil || !d.images[s]:
			return fmt.Errorf("%s: image %d of the batch is not held by this model", d.name, i)
		case seen[s]:
			return fmt.Errorf("%s: image %d is twice in the batch", d.name, i)
		case s.Done():
			return fmt.Errorf("%s: image %d has made all of its %d steps", d.name, i, s.Steps())
		}
		seen[s] = true
	}
	return nil
}

func (d *DiT) passes(batch []*ImageState) (passes []pass, rows, caps int) {
	p := d.cfg.PatchSize
	for _, s := range batch {
		n := s.latent.Height / p * (s.latent.Width / p)
		for _, c := range s.captions {
			passes = append(passes, pass{s, c, rows, n, caps, len(c) / d.dim})
			rows += n
			caps += len(c) / d.dim
		}
	}
	return passes, rows, caps
}

// patchify embeds patches and their positions.
func (d *DiT) patchify(t *profiler.Track, passes []pass, rows int) []float32 {
	c, p := d.cfg.InChannels, d.cfg.PatchSize
	k := c * p * p
	sp := rowsOp(t, opPatchify, rows, k)
	px := d.floats(t, &d.px, rows*k)
	for _, q := range passes {
		l := q.s.latent
		wide := l.Width / p
		for i := range q.n {
			row := px[(q.from+i)*k : (q.from+i+1)*k]
			y, x := i/wide*p, i%wide*p
			for ch := range c {
				for dy := range p {
					copy(row[(ch*p+dy)*p:][:p], l.Data[(ch*l.Height+y+dy)*l.Width+x:])
				}
			}
		}
	}
	sp.End()
	x := d.floats(t, &d.x, rows*d.dim)
	d.patch.apply(t, x, px, rows)
	sp = rowsOp(t, opAdd, rows, d.dim)
	for _, q := range passes {
		kernel.Add(x[q.from*d.dim:(q.from+q.n)*d.dim], q.s.pos)
	}
	sp.End()
	return x
}

// timeEmbedding returns a row of dim and one of 6*dim for each pass.
func (d *DiT) timeEmbedding(t *profiler.Track, passes []pass) (emb, six []float32) {
	n := len(passes)
	sin := d.floats(t, &d.mod, n*(timeDim+d.dim))
	sin, mid := sin[:n*timeDim], sin[n*timeDim:]
	sp := rowsOp(t, opTimestep, n, timeDim)
	for i, p := range passes {
		row := sin[i*timeDim : (i+1)*timeDim]
		sinusoid(row, p.s.moves[p.s.step].time)
		for j := range timeDim / 2 { // cosines first, as diffusers' flip_sin_to_cos
			row[j], row[timeDim/2+j] = row[timeDim/2+j], row[j]
		}
	}
	sp.End()
	d.time1.apply(t, mid, sin, n)
	activate(t, opSiLU, kernel.SiLU, mid, d.dim)
	emb = d.floats(t, &d.emb, n*d.dim)
	d.time2.apply(t, emb, mid, n)
	copy(mid, emb)
	activate(t, opSiLU, kernel.SiLU, mid, d.dim)
	six = d.floats(t, &d.six, n*6*d.dim)
	d.adaln.apply(t, six, mid, n)
	return emb, six
}

// modulate makes rows x*(1+scale)+shift.
func modulate(x, shift, scale []float32) {
	n := len(shift)
	scale = scale[:n]
	for ; len(x) >= n; x = x[n:] {
		row := x[:n]
		for i, v := range row {
			row[i] = float32(v*(1+scale[i])) + shift[i]
		}
	}
}

// gateAdd makes rows x + y*gate.
func gateAdd(x, y, gate []float32) {
	n := len(gate)
	for ; len(x) >= n; x, y = x[n:], y[n:] {
		row, add := x[:n], y[:n]
		for i, v := range add {
			row[i] += float32(v * gate[i])
		}
	}
}

// modulation is the part-th shift, scale or gate of a pass in a block.
func (d *DiT) modulation(dst []float32, b *ditBlock, six []float32, pass, part int) []float32 {
	n := d.dim
	copy(dst, b.table[part*n:(part+1)*n])
	kernel.Add(dst[:n], six[(pass*6+part)*n:(pass*6+part+1)*n])
	return dst[:n]
}

// modulated normalizes x and applies shift and scale, parts from and from+1.
func (d *DiT) modulated(t *profiler.Track, b *ditBlock, x, six []float32, passes []pass, from int) []float32 {
	h := d.floats(t, &d.h, len(x))
	layerNorm(t, h, x, d.dim, nil, nil, float32(d.cfg.NormEps))
	sp := rowsOp(t, opModulate, len(x)/d.dim, d.dim)
	mod := d.floats(t, &d.mod, 2*d.dim)
	for i, p := range passes {
		shift := d.modulation(mod, b, six, i, from)
		scale := d.modulation(mod[d.dim:], b, six, i, from+1)
		modulate(h[p.from*d.dim:(p.from+p.n)*d.dim], shift, scale)
	}
	sp.End()
	return h
}

// gated adds y to x through the gate that is part part.
func (d *DiT) gated(t *profiler.Track, b *ditBlock, x, y, six []float32, passes []pass, part int) {
	sp := rowsOp(t, opAdd, len(x)/d.dim, d.dim)
	mod := d.floats(t, &d.mod, d.dim)
	for i, p := range passes {
		gateAdd(x[p.from*d.dim:(p.from+p.n)*d.dim], y[p.from*d.dim:], d.modulation(mod, b, six, i, part))
	}
	sp.End()
}

func (d *DiT) block(ctx context.Context, t *profiler.Track, b *ditBlock, x, cap, six []float32, passes []pass, rows,
	caps int) error {
	c := &d.cfg
	heads, dim := c.NumAttentionHeads/d.size, c.AttentionHeadDim
	local := heads * dim

	h := d.modulated(t, b, x, six, passes, 0)
	qkv := d.floats(t, &d.qkv, rows*3*local)
	b.qkv.apply(t, qkv, h, rows)
	out := d.floats(t, &d.ctx, rows*local)
	sp := d.sdpa(t, passes, heads, dim, false)
	for _, p := range passes {
		q := qkv[p.from*3*local:]
		d.att.full(d.model, t, out[p.from*local:], local, q, 3*local, p.n, q[local:], q[2*local:], 3*local, p.n, heads,
			dim)
	}
	sp.End()
	if err := b.out.apply(ctx, t, d.model, h, out, rows); err != nil {
		return err
	}
	d.gated(t, b, x, h, six, passes, 2)

	q := qkv[:rows*local]
	b.q.apply(t, q, x, rows)
	kv := d.floats(t, &d.kv, caps*2*local)
	b.kv.apply(t, kv, cap, caps)
	sp = d.sdpa(t, passes, heads, dim, true)
	for _, p := range passes {
		k := kv[p.capFrom*2*local:]
		d.att.full(d.model, t, out[p.from*local:], local, q[p.from*local:], local, p.n, k, k[local:], 2*local, p.capN,
			heads, dim)
	}
	sp.End()
	if err := b.crossOut.apply(ctx, t, d.model, h, out, rows); err != nil {
		return err
	}
	add(t, x, h, d.dim)

	h = d.modulated(t, b, x, six, passes, 3)
	up := d.floats(t, &d.up, rows*b.fc1.w.N)
	b.fc1.apply(t, up, h, rows)
	activate(t, opGELU, kernel.GELU, up, b.fc1.w.N)
	if err := b.fc2.apply(ctx, t, d.model, h, up, rows); err != nil {
		return err
	}
	d.gated(t, b, x, h, six, passes, 5)
	return nil
}

func (d *DiT) sdpa(t *profiler.Track, passes []pass, heads, dim int, cross bool) profiler.Span {
	var pairs int64
	q, kv := 0, 0
	for _, p := range passes {
		n := p.n
		if cross {
			n = p.capN
		}
		pairs += int64(p.n) * int64(n)
		q, kv = max(q, p.n), max(kv, n)
	}
	return sdpaSpan(t, len(passes), heads, q, kv, dim, pairs)
}

// advance moves each latent by what was predicted for it.
func (d *DiT) advance(t *profiler.Track, batch []*ImageState, passes []pass, y []float32) {
	sp := t.Begin(opSchedule, profiler.CategoryOp).Int(argBatch, int64(len(batch)))
	defer sp.End()
	n, p, ch := d.out.w.N, d.cfg.PatchSize, d.cfg.OutChannels
	at := 0
	for _, s := range batch {
		first := passes[at]
		uncond := y[first.from*n : (first.from+first.n)*n]
		cond := uncond
		if len(s.captions) == 2 {
			next := passes[at+1]
			cond = y[next.from*n : (next.from+next.n)*n]
		}
		at += len(s.captions)
		m := s.moves[s.step]
		keep, take := float32(m.keep), float32(m.take)
		l := s.latent
		wide := l.Width / p
		for i := range first.n {
			top, left := i/wide*p, i%wide*p
			for e := range n { // patch row, patch column, channel
				v := cond[i*n+e]
				if len(s.captions) == 2 {
					u := uncond[i*n+e]
					v = u + float32(s.spec.Guidance*(v-u))
				}
				o := &l.Data[(e%ch*l.Height+top+e/ch/p)*l.Width+left+e/ch%p]
				*o = float32(keep*(*o)) + float32(take*v)
			}
		}
		s.step++
	}
}
