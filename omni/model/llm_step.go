package model

import (
	"context"
	"fmt"
	"math"

	"github.com/kinetoscope/kinetoscope/omni/model/kernel"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// row is where a SeqStep's positions lie among the rows of a step.
type row struct {
	seq   *sequence
	from  int // first row
	n     int // rows
	first int // position of the first
}

// Step runs one continuous batch: prefill chunks and decode rows mixed, each sequence at
// most once. Results are in the order of batch. ErrNoKVBlocks, ErrTooLong and errors
// about arguments leave everything as it was.
func (l *LLM) Step(ctx context.Context, t *profiler.Track, batch []SeqStep) ([]StepOut, error) {
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	total, err := l.checkBatch(batch)
	if err != nil {
		return nil, err
	}
	rows := make([]row, len(batch))
	at := 0
	for i, b := range batch {
		n := b.positions()
		s := l.kv.extend(t, b.Seq, n)
		rows[i] = row{s, at, n, s.length}
		at += n
	}
	x := l.input(t, batch, rows, total)
	for i := range l.layers {
		if err := l.layer(ctx, t, i, x, rows, total); err != nil {
			return nil, err
		}
	}
	for _, r := range rows {
		r.seq.length += r.n
	}
	h := l.floats(t, &l.h, total*l.cfg.HiddenSize)
	rmsNorm(t, h, x, l.norm, float32(l.cfg.RMSNormEps))
	return l.output(ctx, t, batch, rows, h)
}

func (b *SeqStep) positions() int { return max(len(b.Tokens), len(b.Embeds)) }

// checkBatch says whether a batch can run, and how many rows it has.
func (l *LLM) checkBatch(batch []SeqStep) (rows int, err error) {
	if len(batch) == 0 || len(batch) > MaxBatch {
		return 0, fmt.Errorf("%s: step of %d sequences, want 1 to %d", l.name, len(batch), MaxBatch)
	}
	seen := make(map[SeqID]bool, len(batch))
	blocks := 0
	for i := range batch {
		b := &batch[i]
		if seen[b.Seq] {
			return 0, fmt.Errorf("%s: sequence %d is twice in a step", l.name, b.Seq)
		}
		seen[b.Seq] = true
		if err := l.checkSeq(b); err != nil {
			return 0, fmt.Errorf("%s: sequence %d: %w", l.name, b.Seq, err)
		}
		rows += b.positions()
		blocks += l.kv.needed(b.Seq, b.positions())
	}
	if rows > l.maxStep {
		return 0, fmt.Errorf("%s: step of %d positions, limit %d: send prompts in chunks", l.name, rows, l.maxStep)
	}
	if blocks > len(l.kv.free) {
		return 0, fmt.Errorf("%s: step needs %d blocks, %d of %d are free: %w", l.name, blocks, len(l.kv.free),
			l.kv.blocks, ErrNoKVBlocks)
	}
	return rows, nil
}

func (l *LLM) checkSeq(b *SeqStep) error {
	n := b.positions()
	if n == 0 {
		return fmt.Errorf("no new positions")
	}
	if len(b.Tokens) > 0 && len(b.Embeds) > 0 && len(b.Tokens) != len(b.Embeds) {
		return fmt.Errorf("%d tokens but %d embeddings", len(b.Tokens), len(b.Embeds))
	}
	if have := l.Len(b.Seq); have+n > l.cfg.MaxPositionEmbeddings {
		return fmt.Errorf("%d positions and %d more, limit %d: %w", have, n, l.cfg.MaxPositionEmbeddings, ErrTooLong)
	}
	for i, id := range b.Tokens {
		if id < 0 || int(id) >= l.cfg.VocabSize {
			return fmt.Errorf("token %d at %d is outside the vocabulary of %d", id, i, l.cfg.VocabSize)
		}
	}
	for i, e := range b.Embeds {
		if e != nil && len(e) != l.EmbedSize() {
			return fmt.Errorf("embedding %d has %d elements, want %d", i, len(e), l.EmbedSize())
		}
	}
	return b.Sampling.check(l.cfg.VocabSize)
}

// input makes the first hidden states: token embeddings and extra ones.
func (l *LLM) input(t *profiler.Track, batch []SeqStep, rows []row, total int) []float32 {
	d := l.cfg.HiddenSize
	x := l.floats(t, &l.x, total*d)
	extra := 0
	ids := make([]int32, 0, total)
	for _, b := range batch {
		ids = append(ids, b.Tokens...)
		for range b.positions() - len(b.Tokens) {
			ids = append(ids, noToken)
		}
		for _, e := range b.Embeds {
			if e != nil {
				extra++
			}
		}
	}
	embedRows(t, x, l.embedTable, d, ids)
	if extra == 0 {
		return x
	}
	e := l.EmbedSize()
	ext := l.floats(t, &l.ext, extra*e)
	var where []int
	for i, b := range batch {
		for j, v := range b.Embeds {
			if v != nil {
				copy(ext[len(where)*e:], v)
				where = append(where, rows[i].from+j)
			}
		}
	}
	if l.project != nil {
		p := l.floats(t, &l.extp, extra*d)
		l.project.apply(t, p, ext, extra)
		ext = p
	}
	sp := rowsOp(t, opAdd, extra, d)
	for i, r := range where {
		kernel.Add(x[r*d:(r+1)*d], ext[i*d:(i+1)*d])
	}
	sp.End()
	return x
}

// layer adds one layer to x.
func (l *LLM) layer(ctx context.Context, t *profiler.Track, i int, x []float32, rows []row, total int) error {
	c, y := &l.cfg, &l.layers[i]
	d, eps := c.HiddenSize, float32(c.RMSNormEps)
	h := l.floats(t, &l.h, total*d)
	rmsNorm(t, h, x, y.attnNorm, eps)
	qkv := l.floats(t, &l.qkv, total*y.qkv.w.N)
	y.qkv.apply(t, qkv, h, total)
	l.rope(t, qkv, rows)
	l.writeKV(t, i, qkv, rows)
	ctxt := l.floats(t, &l.ctx, total*l.heads*c.HeadDim)
	l.attention(t, i, ctxt, qkv, rows)
	if err := y.o.apply(ctx, t, l.model, h, ctxt, total); err != nil {
		return err
	}
	add(t, x, h, d)

	rmsNorm(t, h, x, y.mlpNorm, eps)
	up := l.floats(t, &l.up, total*y.gateUp.w.N)
	y.gateUp.apply(t, up, h, total)
	inner := swiGLU(t, up, total)
	if err := y.down.apply(ctx, t, l.model, h, inner, total); err != nil {
		return err
	}
	add(t, x, h, d)
	return nil
}

// swiGLU turns rows of [gate, up] to rows of silu(gate)*up at the front of x.
func swiGLU(t *profiler.Track, x []float32, rows int) []float32 {
	n := len(x) / rows / 2
	sp := rowsOp(t, opSiLU, rows, n).FLOPs(elementwiseOps * int64(rows*n))
	for r := range rows {
		g := x[r*2*n : r*2*n+n]
		kernel.SiLU(g, g)
	}
	sp.End()
	sp = rowsOp(t, opMul, rows, n)
	for r := range rows {
		g := x[r*2*n : r*2*n+n]
		kernel.Mul(g, x[r*2*n+n:(r+1)*2*n])
		copy(x[r*n:(r+1)*n], g)
	}
	sp.End()
	return x[:rows*n]
}

func (l *LLM) qkvWidth() int { return (l.heads + 2*l.kvHeads) * l.cfg.HeadDim }

// rope rotates queries and keys in place.
func (l *LLM) rope(t *profiler.Track, qkv []float32, rows []row) {
	d, w := l.cfg.HeadDim, l.qkvWidth()
	sp := rowsOp(t, opRope, len(qkv)/w, (l.heads+l.kvHeads)*d)
	for _, r := range rows {
		for i := range r.n {
			cos, sin := l.ropeRow(r.first + i)
			x := qkv[(r.from+i)*w:]
			for h := range l.heads + l.kvHeads {
				kernel.RotateHalf(x[h*d:(h+1)*d], cos, sin)
			}
		}
	}
	sp.End()
}

// writeKV puts keys and values of the new positions to the cache.
func (l *LLM) writeKV(t *profiler.Track, layer int, qkv []float32, rows []row) {
	d, w := l.cfg.HeadDim, l.qkvWidth()
	sp := rowsOp(t, opKVWrite, len(qkv)/w, 2*l.kvHeads*d)
	for _, r := range rows {
		for i := range r.n {
			pos := r.first + i
			block := l.kv.data[r.seq.at[pos/BlockSize]+layer*l.kv.layerSize:]
			k := qkv[(r.from+i)*w+l.heads*d:]
			v := k[l.kvHeads*d:]
			for h := range l.kvHeads {
				putKV(block[h*l.kv.headSize:], pos%BlockSize, k[h*d:(h+1)*d], v[h*d:(h+1)*d])
			}
		}
	}
	sp.End()
}

// attention computes every query head of the new positions.
func (l *LLM) attention(t *profiler.Track, layer int, out, qkv []float32, rows []row) {
	d, w := l.cfg.HeadDim, l.qkvWidth()
	group := l.heads / l.kvHeads
	var pairs int64
	kvLen := 0
	for _, r := range rows {
		pairs += int64(r.n) * int64(2*r.first+r.n+1) / 2
		kvLen = max(kvLen, r.first+r.n)
	}
	sp := sdpaSpan(t, len(rows), l.heads, len(qkv)/w, kvLen, d, pairs)
	ldo := l.heads * d
	for _, r := range rows {
		for h := range l.kvHeads {
			kv := view{l.kv.data, r.seq.at, layer*l.kv.layerSize + h*l.kv.headSize}
			if r.n == 1 { // the heads of a group are the rows
				o := h * group * d
				l.att.attend(l.model, t, out[r.from*ldo+o:], d, qkv[r.from*w+o:], d, group, d, r.first+1, 0, kv)
				continue
			}
			for q := h * group; q < (h+1)*group; q++ {
				l.att.attend(l.model, t, out[r.from*ldo+q*d:], ldo, qkv[r.from*w+q*d:], w, r.n, d, r.first+1, 1, kv)
			}
		}
	}
	sp.End()
}

// output makes the results from the normalized hidden states.
func (l *LLM) output(ctx context.Context, t *profiler.Track, batch []SeqStep, rows []row, h []float32) ([]StepOut,
	error) {
	d := l.cfg.HiddenSize
	out := make([]StepOut, len(batch))
	n := 0
	for i, b := range batch {
		out[i].Token = -1
		if b.WantHidden {
			all := append([]float32(nil), h[rows[i].from*d:(rows[i].from+rows[i].n)*d]...)
			out[i].Hidden = make([][]float32, rows[i].n)
			for j := range out[i].Hidden {
				out[i].Hidden[j] = all[j*d : (j+1)*d : (j+1)*d]
			}
		}
		if !b.Partial {
			n++
		}
	}
	if n == 0 {
		return out, nil
	}
	logits, err := l.logits(ctx, t, batch, rows, h, n)
	if err != nil {
		return nil, err
	}
	sp := t.Begin(spanSample, profiler.CategoryAnnotation).Int(argBatch, int64(n))
	at := 0
	for i, b := range batch {
		if b.Partial {
			continue
		}
		v := l.cfg.VocabSize
		lg := logits[at*v : (at+1)*v]
		out[i].Token, out[i].Logprob = b.Sampling.sample(t, lg, uint64(rows[i].first+rows[i].n))
		at++
	}
	sp.End()
	return out, nil
}

// logits computes the logits of the last position of the n sequences that sample.
func (l *LLM) logits(ctx context.Context, t *profiler.Track, batch []SeqStep, rows []row, h []float32,
	n int) ([]float32, error) {
	d, v := l.cfg.HiddenSize, l.cfg.VocabSize
	last := l.floats(t, &l.last, n*d)
	at := 0
	for i, b := range batch {
		if !b.Partial {
			copy(last[at*d:(at+1)*d], h[(rows[i].from+rows[i].n-1)*d:])
			at++
		}
	}
	if l.size == 1 {
		logits := l.floats(t, &l.lgts, n*v)
		l.head.apply(t, logits, last, n)
		return logits, nil
	}
	per := (v + l.size - 1) / l.size
	part := l.floats(t, &l.up, 2*n*per)
	local, padded := part[:n*l.head.w.N], part[n*per:]
	l.head.apply(t, local, last, n)
	for i := range n {
		copy(padded[i*per:(i+1)*per], local[i*l.head.w.N:(i+1)*l.head.w.N])
	}
	all := l.floats(t, &l.all, n*per*l.size)
	if err := l.g.AllGather(ctx, t, all, padded); err != nil {
		return nil, l.broke(fmt.Errorf("gather of logits: %w", err))
	}
	logits := l.floats(t, &l.lgts, n*v)
	for r := range l.size {
		for i := range n {
			from, to := min(r*per, v), min((r+1)*per, v)
			copy(logits[i*v+from:i*v+to], all[(r*n+i)*per:])
		}
	}
	return logits, nil
}

// logSumExp is log Σ exp x.
func logSumExp(x []float32) float64 {
	m := kernel.Max(x)
	var s float64
	var e [256]float32
	for len(x) > 0 {
		n := min(len(x), len(e))
		for i, v := range x[:n] {
			e[i] = v - m
		}
		kernel.Exp(e[:n], e[:n])
		for _, v := range e[:n] {
			s += float64(v)
		}
		x = x[n:]
	}
	return float64(m) + math.Log(s)
}
