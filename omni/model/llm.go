package model

import (
	"context"
	"fmt"
	"math"

	"github.com/kinetoscope/kinetoscope/omni/model/kernel"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// Limits and sizes of an LLM.
const (
	// BlockSize is the number of positions in a block of the KV cache: one panel of the
	// matrix kernel.
	BlockSize = kernel.Panel
	// DefaultKVSeqs is how many sequences of full length the default pool holds.
	DefaultKVSeqs = 8
	// DefaultMaxStepTokens bounds the workspace; prompts longer than it go in chunks.
	DefaultMaxStepTokens = 512
	// MaxBatch bounds the sequences of one step.
	MaxBatch = 256
)

// SeqStep is one sequence's part of a step: a whole prompt, a chunk of one, or the last
// token.
type SeqStep struct {
	Seq SeqID
	// Tokens are the new positions. They may be empty if Embeds are given.
	Tokens []int32
	// Embeds are added to the token embeddings, one a new position: the talker's
	// conditioning. Each has EmbedSize elements, or is nil for none at that position.
	// With Tokens given the lengths are equal.
	Embeds   [][]float32
	Sampling Sampler
	// Partial says that more of the prompt follows: nothing is sampled.
	Partial bool
	// WantHidden asks for StepOut.Hidden.
	WantHidden bool
}

// StepOut is what a step made of one SeqStep.
type StepOut struct {
	Token   int32   // sampled; -1 if the step was Partial
	Logprob float32 // natural log of the model's probability of Token, before sampling parameters
	// Hidden holds the last hidden state (after the final norm) of each new position,
	// HiddenSize elements each, if wanted. It is the caller's to keep.
	Hidden [][]float32
}

// KVStats says how full the KV cache is.
type KVStats struct {
	Blocks, Free  int   // of the pool
	BlockSize     int   // positions in a block
	BytesPerBlock int64 // on this rank, all layers
	Seqs          int   // sequences that exist
}

// LLM is a decoder-only transformer with a paged KV cache: thinker and talker.
type LLM struct {
	*model
	cfg     LLMConfig
	heads   int // on this rank
	kvHeads int // on this rank
	maxStep int

	embedTable []float32
	project    *linear // of SeqStep.Embeds; nil: none
	layers     []llmLayer
	norm       []float32
	head       linear // rows of the vocabulary, padded to a multiple of the ranks
	kv         *kvCache
	cos, sin   []float32 // rotary table, positions × head_dim/2, grown on demand

	x, h, qkv, ctx, up, ext, extp, last, lgts, all scratch
	att                                            attention
}

type llmLayer struct {
	attnNorm, mlpNorm []float32
	qkv               linear
	o                 rowLinear
	gateUp            linear
	down              rowLinear
}

// OpenLLM builds the model that o names, this rank's part of it.
func OpenLLM(ctx context.Context, t *profiler.Track, o Options) (_ *LLM, err error) {
	l := &LLM{}
	if l.model, err = open(ctx, t, o, &l.cfg); err != nil {
		return nil, err
	}
	defer l.opened(&err, l.Close)
	c := &l.cfg
	l.heads = c.NumAttentionHeads / l.size
	l.kvHeads = max(1, c.NumKeyValueHeads/l.size)
	l.maxStep = orDefault(o.MaxStepTokens, DefaultMaxStepTokens)
	if l.maxStep < 1 || o.KVBlocks < 0 {
		return nil, fmt.Errorf("%s: max step tokens %d, kv blocks %d: want positive numbers", o.Model, o.MaxStepTokens,
			o.KVBlocks)
	}
	if err := l.loadWeights(ctx); err != nil {
		return nil, err
	}
	blocks := orDefault(o.KVBlocks, DefaultKVSeqs*((c.MaxPositionEmbeddings+BlockSize-1)/BlockSize))
	if l.kv, err = newKVCache(l.model, blocks, c.NumHiddenLayers, l.kvHeads, c.HeadDim); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *LLM) loadWeights(ctx context.Context) (err error) {
	c := &l.cfg
	if l.embedTable, err = l.load("model.embed_tokens.weight", c.VocabSize, c.HiddenSize); err != nil {
		return err
	}
	if c.EmbeddingSize > 0 {
		p, err := l.loadLinear(c.EmbeddingSize, true, whole("thinker_to_talker_proj", c.HiddenSize))
		if err != nil {
			return err
		}
		l.project = &p
	}
	l.layers = make([]llmLayer, c.NumHiddenLayers)
	for i := range l.layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.loadLayer(&l.layers[i], fmt.Sprintf("model.layers.%d.", i)); err != nil {
			return err
		}
	}
	if l.norm, err = l.load("model.norm.weight", c.HiddenSize); err != nil {
		return err
	}
	name := "lm_head"
	if c.TieWordEmbeddings {
		name = "model.embed_tokens"
	}
	per := (c.VocabSize + l.size - 1) / l.size
	from, to := min(l.rank*per, c.VocabSize), min((l.rank+1)*per, c.VocabSize)
	l.head, err = l.loadLinear(c.HiddenSize, false, part{name, c.VocabSize, from, to})
	return err
}

func (l *LLM) loadLayer(y *llmLayer, p string) (err error) {
	c := &l.cfg
	d := c.HeadDim
	kvFrom := l.rank * c.NumKeyValueHeads / l.size
	kv := func(name string) part {
		return part{p + name, c.NumKeyValueHeads * d, kvFrom * d, (kvFrom + l.kvHeads) * d}
	}
	if y.attnNorm, err = l.load(p+"input_layernorm.weight", c.HiddenSize); err != nil {
		return err
	}
	if y.mlpNorm, err = l.load(p+"post_attention_layernorm.weight", c.HiddenSize); err != nil {
		return err
	}
	y.qkv, err = l.loadLinear(c.HiddenSize, c.AttentionBias,
		l.share(p+"self_attn.q_proj", c.NumAttentionHeads*d), kv("self_attn.k_proj"), kv("self_attn.v_proj"))
	if err != nil {
		return err
	}
	if y.o, err = l.loadRow(p+"self_attn.o_proj", c.NumAttentionHeads*d, c.HiddenSize, false); err != nil {
		return err
	}
	y.gateUp, err = l.loadLinear(c.HiddenSize, false,
		l.share(p+"mlp.gate_proj", c.IntermediateSize), l.share(p+"mlp.up_proj", c.IntermediateSize))
	if err != nil {
		return err
	}
	y.down, err = l.loadRow(p+"mlp.down_proj", c.IntermediateSize, c.HiddenSize, false)
	return err
}

// Config is the architecture. Not to be modified.
func (l *LLM) Config() *LLMConfig { return &l.cfg }

// HiddenSize is the length of one hidden state.
func (l *LLM) HiddenSize() int { return l.cfg.HiddenSize }

// EmbedSize is the length of one element of SeqStep.Embeds: embedding_size of the
// config if it has one (the model then projects it), the hidden size otherwise.
func (l *LLM) EmbedSize() int { return orDefault(l.cfg.EmbeddingSize, l.cfg.HiddenSize) }

// VocabSize is the number of tokens.
func (l *LLM) VocabSize() int { return l.cfg.VocabSize }

// MaxLen is the longest sequence in positions.
func (l *LLM) MaxLen() int { return l.cfg.MaxPositionEmbeddings }

// MaxStepTokens is the largest number of new positions of one step, all sequences
// together.
func (l *LLM) MaxStepTokens() int { return l.maxStep }

// BlocksNeeded is how many free blocks n more positions of seq would take.
func (l *LLM) BlocksNeeded(seq SeqID, n int) int { return l.kv.needed(seq, n) }

// Len is the number of positions that seq has in the cache; 0 if it does not exist.
func (l *LLM) Len(seq SeqID) int {
	if s := l.kv.seqs[seq]; s != nil {
		return s.length
	}
	return 0
}

// KV says how full the cache is.
func (l *LLM) KV() KVStats {
	return KVStats{Blocks: l.kv.blocks, Free: len(l.kv.free), BlockSize: BlockSize, BytesPerBlock: l.kv.blockBytes,
		Seqs: len(l.kv.seqs)}
}

// Free gives back all blocks of seq and forgets it. It does nothing if seq does not exist.
func (l *LLM) Free(t *profiler.Track, seq SeqID) { l.kv.release(t, seq) }

// MemoryBytes is what weights, cache and workspace take on this rank.
func (l *LLM) MemoryBytes() int64 {
	n := l.bytes
	if l.kv != nil {
		n += l.kv.blockBytes * int64(l.kv.blocks)
	}
	return n
}

// Close frees the model. It may be called twice.
func (l *LLM) Close(t *profiler.Track) error {
	if !l.close(t) {
		return nil
	}
	if l.kv != nil {
		for seq := range l.kv.seqs {
			l.kv.release(t, seq)
		}
		l.kv = &kvCache{}
	}
	m, c := l.model, l.cfg
	*l = LLM{model: m, cfg: c, kv: l.kv}
	return nil
}

// ropeRow returns cosines and sines of one position, growing the table as needed.
func (l *LLM) ropeRow(pos int) (cos, sin []float32) {
	h := l.cfg.HeadDim / 2
	for len(l.cos) < (pos+1)*h {
		p := float64(len(l.cos) / h)
		for i := range h {
			a := p * math.Pow(l.cfg.RopeTheta, -float64(2*i)/float64(l.cfg.HeadDim))
			l.cos = append(l.cos, float32(math.Cos(a)))
			l.sin = append(l.sin, float32(math.Sin(a)))
		}
	}
	return l.cos[pos*h : (pos+1)*h], l.sin[pos*h : (pos+1)*h]
}
