// Package model holds the reference models of the native pipelines: a decoder-only
// transformer (thinker, talker), a vocoder (code2wav), a text encoder, a diffusion
// transformer and a VAE decoder. They run on the CPU, one goroutine a rank, and every
// operator is recorded on the track that the caller passes.
//
// # Same bits
//
// What a model computes for one sequence, stream or image depends on its weights and
// inputs alone: not on the number of ranks (1, 2 or 4), not on what else is in the
// batch, not on how a prompt is cut into chunks. Three rules give that. Every output
// of a matrix product is one chain of float32 multiply-adds in the order of k. A sum
// over split inputs is always made of Shards parts, added in a fixed binary tree that
// ranks and their all-reduce share. Random numbers are a function of seed and position.
//
// # Ranks
//
// All ranks of a replica open the same model with the same Options but for Group, and
// make the same calls in the same order with the same arguments. After an error from
// the group the model is broken: each later call returns that error, and only Free and
// Close are of use. An error found in the arguments changes nothing, on no rank. A
// context that is cancelled in the middle of a step breaks a replica of several ranks for
// the same reason: a request is cancelled between steps, by Free.
//
// # Steps
//
// Models record operators; the caller opens the slice of the step (trace.NamePrefill,
// trace.NameDecodeStep, trace.NameDenoiseStep …), because it knows requests and
// iteration. A model is used by one goroutine at a time. Slices in results are valid
// until the next call on the model, unless said otherwise.
package model

import (
	"errors"

	"github.com/kinetoscope/kinetoscope/omni/collective"
)

// Shards is the number of parts that every split sum has, whatever the number of ranks.
// It is also the largest tensor_parallel_size.
const Shards = 4

// How weights come.
const (
	LoadAuto        = ""            // safetensors if the directory holds any, dummy otherwise
	LoadDummy       = "dummy"       // seeded random numbers, a function of seed and tensor name
	LoadSafetensors = "safetensors" // *.safetensors, or model.safetensors.index.json
)

// Errors of this package, to be matched with errors.Is.
var (
	// ErrNoKVBlocks says that the pool has too few free blocks for a step. Nothing was
	// changed: free a sequence, or make the step smaller, and try again.
	ErrNoKVBlocks = errors.New("no free kv cache blocks")
	// ErrTooLong says that a sequence would pass max_position_embeddings.
	ErrTooLong = errors.New("sequence too long for the model")
	// ErrConfig is wrapped by every error about a config.json.
	ErrConfig = errors.New("invalid model config")
	// ErrClosed says that the model was closed.
	ErrClosed = errors.New("model closed")
)

// SeqID names a sequence or stream of a model; the caller chooses it. The first step
// that names it creates it, Free ends it.
type SeqID uint64

// Options says which model is opened and which part of it this rank holds.
type Options struct {
	Model      string           // directory with a config.json, or one of Builtins
	LoadFormat string           // LoadAuto, LoadDummy or LoadSafetensors
	Seed       uint64           // of dummy weights
	Group      collective.Group // the replica's ranks; nil: one rank. Closing it is the caller's.
	Overrides  map[string]any   // fields of config.json replaced, as vLLM's hf_overrides

	// KVBlocks is the pool of an LLM in blocks of BlockSize positions; 0: room for
	// DefaultKVSeqs sequences of max_position_embeddings.
	KVBlocks int
	// MaxStepTokens bounds the new positions of one LLM step; 0: DefaultMaxStepTokens.
	MaxStepTokens int
}
