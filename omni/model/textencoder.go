package model

import (
	"context"
	"fmt"

	"github.com/kinetoscope/kinetoscope/omni/model/kernel"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// MaxPrompts bounds the prompts of one Encode.
const MaxPrompts = 256

// Cond is an encoded prompt, as it goes from the text encoder to the DiT.
type Cond struct {
	Tokens int       `json:"tokens"`
	Dim    int       `json:"dim"`
	Hidden []float32 `json:"hidden"` // Tokens rows of Dim
}

// TextEncoder is a bidirectional transformer with norms before its blocks. Weights are
// named as in Hugging Face's CLIPTextModel.
type TextEncoder struct {
	*model
	cfg           TextEncoderConfig
	tok           *Tokenizer
	tokens        []float32
	positions     []float32
	layers        []encoderLayer
	normW, normB  []float32
	x, h, qkv, up scratch
	ctx           scratch
	att           attention
}

type encoderLayer struct {
	norm1W, norm1B, norm2W, norm2B []float32
	qkv, fc1                       linear
	out, fc2                       rowLinear
}

// OpenTextEncoder builds the encoder that o names, this rank's part of it.
func OpenTextEncoder(ctx context.Context, t *profiler.Track, o Options) (_ *TextEncoder, err error) {
	e := &TextEncoder{}
	if e.model, err = open(ctx, t, o, &e.cfg); err != nil {
		return nil, err
	}
	defer e.opened(&err, e.Close)
	c := &e.cfg
	if e.tok, err = NewTokenizer(c.VocabSize); err != nil {
		return nil, fmt.Errorf("%w: %s/%s: vocab_size: %w", ErrConfig, o.Model, ConfigFile, err)
	}
	if c.MaxPositionEmbeddings < 2 {
		return nil, fmt.Errorf("%w: %s/%s: max_position_embeddings: %d: want at least 2", ErrConfig, o.Model,
			ConfigFile, c.MaxPositionEmbeddings)
	}
	return e, e.loadWeights(ctx)
}

func (e *TextEncoder) loadWeights(ctx context.Context) (err error) {
	c := &e.cfg
	const p = "text_model."
	if e.tokens, err = e.load(p+"embeddings.token_embedding.weight", c.VocabSize, c.HiddenSize); err != nil {
		return err
	}
	if e.positions, err = e.load(p+"embeddings.position_embedding.weight", c.MaxPositionEmbeddings,
		c.HiddenSize); err != nil {
		return err
	}
	if e.normW, e.normB, err = e.loadNorm(p+"final_layer_norm", c.HiddenSize); err != nil {
		return err
	}
	e.layers = make([]encoderLayer, c.NumHiddenLayers)
	for i := range e.layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.loadLayer(&e.layers[i], fmt.Sprintf("%sencoder.layers.%d.", p, i)); err != nil {
			return err
		}
	}
	return nil
}

// loadNorm reads scale and offset of a norm.
func (m *model) loadNorm(name string, n int) (w, b []float32, err error) {
	if w, err = m.load(name+".weight", n); err != nil {
		return nil, nil, err
	}
	b, err = m.load(name+".bias", n)
	return w, b, err
}

func (e *TextEncoder) loadLayer(y *encoderLayer, p string) (err error) {
	d, n := e.cfg.HiddenSize, e.cfg.IntermediateSize
	if y.norm1W, y.norm1B, err = e.loadNorm(p+"layer_norm1", d); err != nil {
		return err
	}
	if y.norm2W, y.norm2B, err = e.loadNorm(p+"layer_norm2", d); err != nil {
		return err
	}
	y.qkv, err = e.loadLinear(d, true, e.share(p+"self_attn.q_proj", d), e.share(p+"self_attn.k_proj", d),
		e.share(p+"self_attn.v_proj", d))
	if err != nil {
		return err
	}
	if y.out, err = e.loadRow(p+"self_attn.out_proj", d, d, true); err != nil {
		return err
	}
	if y.fc1, err = e.loadLinear(d, true, e.share(p+"mlp.fc1", n)); err != nil {
		return err
	}
	y.fc2, err = e.loadRow(p+"mlp.fc2", n, d, true)
	return err
}

// Config is the architecture. Not to be modified.
func (e *TextEncoder) Config() *TextEncoderConfig { return &e.cfg }

// Encode encodes prompts in one batch; a prompt longer than the model takes is cut. The
// results are the caller's to keep.
func (e *TextEncoder) Encode(ctx context.Context, t *profiler.Track, prompts []string) ([]Cond, error) {
	if err := e.ready(ctx); err != nil {
		return nil, err
	}
	if len(prompts) == 0 || len(prompts) > MaxPrompts {
		return nil, fmt.Errorf("%s: %d prompts, want 1 to %d", e.name, len(prompts), MaxPrompts)
	}
	d := e.cfg.HiddenSize
	var ids []int32
	from := []int{0}
	for _, p := range prompts {
		ids = append(ids, e.tokenize(p)...)
		from = append(from, len(ids))
	}
	x := e.floats(t, &e.x, len(ids)*d)
	embedRows(t, x, e.tokens, d, ids)
	sp := rowsOp(t, opAdd, len(ids), d)
	for i := range prompts {
		kernel.Add(x[from[i]*d:from[i+1]*d], e.positions[:(from[i+1]-from[i])*d])
	}
	sp.End()
	for i := range e.layers {
		if err := e.layer(ctx, t, &e.layers[i], x, from); err != nil {
			return nil, err
		}
	}
	layerNorm(t, x, x, d, e.normW, e.normB, float32(e.cfg.LayerNormEps))
	out := make([]Cond, len(prompts))
	for i := range out {
		out[i] = Cond{Tokens: from[i+1] - from[i], Dim: d, Hidden: append([]float32(nil), x[from[i]*d:from[i+1]*d]...)}
	}
	return out, nil
}

// tokenize frames a prompt by BOS and EOS, cutting it to what the model takes.
func (e *TextEncoder) tokenize(prompt string) []int32 {
	n := e.cfg.MaxPositionEmbeddings
	// A token is at least a byte, so that more bytes than this are cut off anyway.
	prompt = prompt[:min(len(prompt), n*e.tok.longest)]
	ids := e.tok.encode([]int32{tokenBOS}, prompt)
	return append(ids[:min(len(ids), n-1)], tokenEOS)
}

func (e *TextEncoder) layer(ctx context.Context, t *profiler.Track, y *encoderLayer, x []float32, from []int) error {
	c := &e.cfg
	d, eps := c.HiddenSize, float32(c.LayerNormEps)
	rows := len(x) / d
	heads, dim := c.NumAttentionHeads/e.size, d/c.NumAttentionHeads
	local := heads * dim
	h := e.floats(t, &e.h, len(x))
	layerNorm(t, h, x, d, y.norm1W, y.norm1B, eps)
	qkv := e.floats(t, &e.qkv, rows*3*local)
	y.qkv.apply(t, qkv, h, rows)
	out := e.floats(t, &e.ctx, rows*local)
	var pairs int64
	longest := 0
	for i := range len(from) - 1 {
		n := from[i+1] - from[i]
		pairs += int64(n) * int64(n)
		longest = max(longest, n)
	}
	sp := sdpaSpan(t, len(from)-1, heads, longest, longest, dim, pairs)
	for i := range len(from) - 1 {
		q := qkv[from[i]*3*local:]
		n := from[i+1] - from[i]
		e.att.full(e.model, t, out[from[i]*local:], local, q, 3*local, n, q[local:], q[2*local:], 3*local, n, heads,
			dim)
	}
	sp.End()
	if err := y.out.apply(ctx, t, e.model, h, out, rows); err != nil {
		return err
	}
	add(t, x, h, d)
	layerNorm(t, h, x, d, y.norm2W, y.norm2B, eps)
	up := e.floats(t, &e.up, rows*y.fc1.w.N)
	y.fc1.apply(t, up, h, rows)
	activate(t, opGELU, kernel.GELU, up, y.fc1.w.N)
	if err := y.fc2.apply(ctx, t, e.model, h, up, rows); err != nil {
		return err
	}
	add(t, x, h, d)
	return nil
}

// MemoryBytes is what weights and workspace take on this rank.
func (e *TextEncoder) MemoryBytes() int64 { return e.bytes }

// Close frees the encoder. It may be called twice.
func (e *TextEncoder) Close(t *profiler.Track) error {
	if e.close(t) {
		*e = TextEncoder{model: e.model, cfg: e.cfg}
	}
	return nil
}
