package engine

import (
	"context"
	"errors"
	"image"

	"github.com/kinetoscope/kinetoscope/profiler"
)

// Limits of diffusion requests.
const (
	MaxDenoiseSteps = 1000 // the schedules' training steps
	MaxImages       = 64   // in one denoise step, guidance's second half not counted
)

// Cond is an encoded prompt, as it goes from the text encoder to the DiT.
type Cond struct {
	Tokens int       `json:"tokens"`
	Dim    int       `json:"dim"`
	Hidden []float32 `json:"hidden"` // Tokens rows of Dim
}

// TextEncoder is a bidirectional transformer.
type TextEncoder struct {
}

// OpenTextEncoder builds the encoder that o names, this rank's part of it.
func OpenTextEncoder(ctx context.Context, t *profiler.Track, o Options) (*TextEncoder, error) {
	return nil, errors.ErrUnsupported
}

// Config is the architecture.
func (e *TextEncoder) Config() *TextEncoderConfig { return nil }

// Encode encodes prompts in one batch; a prompt longer than the model takes is cut. The
// results are the caller's to keep.
func (e *TextEncoder) Encode(ctx context.Context, t *profiler.Track, prompts []string) ([]Cond, error) {
	return nil, errors.ErrUnsupported
}

// MemoryBytes is what weights and workspace take on this rank.
func (e *TextEncoder) MemoryBytes() int64 { return 0 }

// Close frees the encoder. It may be called twice.
func (e *TextEncoder) Close(t *profiler.Track) error { return nil }

// ImageSpec says what one image is to be.
type ImageSpec struct {
	Width, Height int     // pixels; multiples of DiT.SizeMultiple
	Steps         int     // denoise steps
	Guidance      float32 // > 1: classifier-free guidance with Negative
	Seed          uint64  // of the first noise
	Prompt        Cond
	Negative      Cond // what guidance leads away from; used if Guidance > 1
}

// Latent is a latent image, channels first.
type Latent struct {
	Channels int       `json:"channels"`
	Height   int       `json:"height"`
	Width    int       `json:"width"`
	Data     []float32 `json:"data"`
}

// ImageState is an image between denoise steps. Ranks hold equal copies.
type ImageState struct {
	spec   ImageSpec
	latent Latent
	step   int
}

// Step is the number of denoise steps made, Steps the number to make.
func (s *ImageState) Step() int { return s.step }

// Steps is the number of denoise steps that the image takes.
func (s *ImageState) Steps() int { return s.spec.Steps }

// Done says that every step was made.
func (s *ImageState) Done() bool { return s.step >= s.spec.Steps }

// Latent is the image as it is now. It shares memory with the state.
func (s *ImageState) Latent() Latent { return s.latent }

// DiT is a diffusion transformer with its schedule.
type DiT struct {
}

// OpenDiT builds the transformer that o names, this rank's part of it. The schedule is
// scheduler_config.json beside config.json, flow matching without one.
func OpenDiT(ctx context.Context, t *profiler.Track, o Options) (*DiT, error) {
	return nil, errors.ErrUnsupported
}

// Config is the architecture.
func (d *DiT) Config() *DiTConfig { return nil }

// SizeMultiple is what width and height of an image must be multiples of, MaxSize the
// largest of either, in pixels.
func (d *DiT) SizeMultiple() int { return 0 }

// MaxSize is the largest width or height in pixels.
func (d *DiT) MaxSize() int { return 0 }

// Check says what is wrong with a spec, but for its Cond.
func (d *DiT) Check(s ImageSpec) error { return nil }

// Init draws the first noise of an image from its seed and allocates its state.
func (d *DiT) Init(t *profiler.Track, s ImageSpec) (*ImageState, error) {
	return nil, errors.ErrUnsupported
}

// Step makes the next denoise step of every image of the batch in one pass. Images may
// be at different steps, of different sizes and schedules; images with guidance take two
// rows. An image that is done is an error.
func (d *DiT) Step(ctx context.Context, t *profiler.Track, batch []*ImageState) error {
	return errors.ErrUnsupported
}

// Free gives back what the state of an image takes.
func (d *DiT) Free(t *profiler.Track, s *ImageState) {}

// Images is the number of states that are allocated.
func (d *DiT) Images() int { return 0 }

// MemoryBytes is what weights, states and workspace take on this rank.
func (d *DiT) MemoryBytes() int64 { return 0 }

// Close frees the transformer. It may be called twice.
func (d *DiT) Close(t *profiler.Track) error { return nil }

// VAE is the decoder from latents to pixels.
type VAE struct {
}

// OpenVAE builds the decoder that o names, this rank's part of it.
func OpenVAE(ctx context.Context, t *profiler.Track, o Options) (*VAE, error) {
	return nil, errors.ErrUnsupported
}

// Config is the architecture.
func (v *VAE) Config() *VAEConfig { return nil }

// Decode turns latents to images. Images are the caller's to keep.
func (v *VAE) Decode(ctx context.Context, t *profiler.Track, latents []Latent) ([]*image.NRGBA, error) {
	return nil, errors.ErrUnsupported
}

// MemoryBytes is what weights and workspace take on this rank.
func (v *VAE) MemoryBytes() int64 { return 0 }

// Close frees the decoder. It may be called twice.
func (v *VAE) Close(t *profiler.Track) error { return nil }

// EncodePNG returns a PNG file.
func EncodePNG(img image.Image) ([]byte, error) { return nil, errors.ErrUnsupported }
