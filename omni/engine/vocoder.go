package engine

import (
	"context"
	"errors"

	"github.com/kinetoscope/kinetoscope/profiler"
)

// MaxChunkFrames bounds the frames of one VocodeChunk, and with them the workspace.
const MaxChunkFrames = 512

// VocodeChunk is the next piece of one stream.
type VocodeChunk struct {
	Stream SeqID
	// Codes are codec frames, Codebooks() codes each, frame after frame. A code is
	// 0 … CodebookSize()-1.
	Codes []int32
}

// Vocoder turns codec frames to sound (code2wav). Every convolution is causal and a
// stream carries its left context from chunk to chunk, so that sound made in chunks is
// bit for bit the sound made at once.
type Vocoder struct {
}

// OpenVocoder builds the vocoder that o names, this rank's part of it.
func OpenVocoder(ctx context.Context, t *profiler.Track, o Options) (*Vocoder, error) {
	return nil, errors.ErrUnsupported
}

// Config is the architecture.
func (v *Vocoder) Config() *VocoderConfig { return nil }

// SampleRate is in Hz.
func (v *Vocoder) SampleRate() int { return 0 }

// FrameSamples is the number of samples that one frame gives.
func (v *Vocoder) FrameSamples() int { return 0 }

// Codebooks is the number of codes in a frame.
func (v *Vocoder) Codebooks() int { return 0 }

// CodebookSize is the number of codes of each codebook.
func (v *Vocoder) CodebookSize() int { return 0 }

// Decode makes the sound of each chunk: mono samples in [-1, 1], FrameSamples a frame,
// the caller's to keep. Each stream is named at most once.
func (v *Vocoder) Decode(ctx context.Context, t *profiler.Track, chunks []VocodeChunk) ([][]float32, error) {
	return nil, errors.ErrUnsupported
}

// Streams is the number of streams that hold state.
func (v *Vocoder) Streams() int { return 0 }

// Free forgets a stream.
func (v *Vocoder) Free(t *profiler.Track, stream SeqID) {}

// MemoryBytes is what weights, streams and workspace take on this rank.
func (v *Vocoder) MemoryBytes() int64 { return 0 }

// Close frees the vocoder. It may be called twice.
func (v *Vocoder) Close(t *profiler.Track) error { return nil }
