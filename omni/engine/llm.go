package engine

import (
	"context"
	"errors"

	"github.com/kinetoscope/kinetoscope/profiler"
)

// Limits and sizes of an LLM.
const (
	// BlockSize is the number of positions in a block of the KV cache: one panel of the
	// matrix kernel.
	BlockSize = 16
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
}

// OpenLLM builds the model that o names, this rank's part of it.
func OpenLLM(ctx context.Context, t *profiler.Track, o Options) (*LLM, error) {
	return nil, errors.ErrUnsupported
}

// Config is the architecture.
func (m *LLM) Config() *LLMConfig { return nil }

// HiddenSize is the length of one hidden state.
func (m *LLM) HiddenSize() int { return 0 }

// EmbedSize is the length of one element of SeqStep.Embeds: embedding_size of the
// config if it has one (the model then projects it), the hidden size otherwise.
func (m *LLM) EmbedSize() int { return 0 }

// VocabSize is the number of tokens.
func (m *LLM) VocabSize() int { return 0 }

// MaxLen is the longest sequence in positions.
func (m *LLM) MaxLen() int { return 0 }

// Step runs one continuous batch: prefill chunks and decode rows mixed, each sequence at
// most once. Results are in the order of batch. ErrNoKVBlocks, ErrTooLong and errors
// about arguments leave everything as it was.
func (m *LLM) Step(ctx context.Context, t *profiler.Track, batch []SeqStep) ([]StepOut, error) {
	return nil, errors.ErrUnsupported
}

// BlocksNeeded is how many free blocks n more positions of seq would take.
func (m *LLM) BlocksNeeded(seq SeqID, n int) int { return 0 }

// Len is the number of positions that seq has in the cache; 0 if it does not exist.
func (m *LLM) Len(seq SeqID) int { return 0 }

// KV says how full the cache is.
func (m *LLM) KV() KVStats { return KVStats{} }

// Free gives back all blocks of seq and forgets it. Freeing what does not exist is
// nothing.
func (m *LLM) Free(t *profiler.Track, seq SeqID) {}

// MemoryBytes is what weights, cache and workspace take on this rank.
func (m *LLM) MemoryBytes() int64 { return 0 }

// Close frees the model. It may be called twice.
func (m *LLM) Close(t *profiler.Track) error { return nil }
