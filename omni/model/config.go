package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
)

// ConfigFile is the name of a model's architecture file, SchedulerFile that of a DiT's
// schedule.
const (
	ConfigFile    = "config.json"
	SchedulerFile = "scheduler_config.json"
)

// Limits on what a config can ask for. They bound allocations made for a typing error,
// and lie far above what a CPU can run.
const (
	maxConfigBytes = 1 << 20
	maxDim         = 1 << 16 // hidden and intermediate sizes, channels
	maxLayers      = 1 << 10
	maxVocab       = 1 << 22
	maxPositions   = 1 << 20
	// MaxModelBytes bounds the weights of one model on one rank.
	MaxModelBytes = 16 << 30
)

// LLMConfig is config.json of a decoder-only transformer, in the Hugging Face spelling.
type LLMConfig struct {
	ModelType             string  `json:"model_type"`
	HiddenSize            int     `json:"hidden_size"`
	NumAttentionHeads     int     `json:"num_attention_heads"`
	NumKeyValueHeads      int     `json:"num_key_value_heads"` // absent: num_attention_heads
	HeadDim               int     `json:"head_dim"`            // absent: hidden_size / num_attention_heads
	NumHiddenLayers       int     `json:"num_hidden_layers"`
	IntermediateSize      int     `json:"intermediate_size"`
	RMSNormEps            float64 `json:"rms_norm_eps"` // absent: 1e-6
	RopeTheta             float64 `json:"rope_theta"`   // absent: 10000
	VocabSize             int     `json:"vocab_size"`
	MaxPositionEmbeddings int     `json:"max_position_embeddings"`
	TieWordEmbeddings     bool    `json:"tie_word_embeddings"`
	AttentionBias         bool    `json:"attention_bias"` // biases of q, k and v, as Qwen2 has
	HiddenAct             string  `json:"hidden_act"`     // "silu"
	BOSTokenID            int32   `json:"bos_token_id"`
	EOSTokenID            int32   `json:"eos_token_id"`
	// EmbeddingSize is the size of the extra input embeddings of a talker (the thinker's
	// hidden_size), projected by thinker_to_talker_proj; absent: they have hidden_size
	// and are not projected.
	EmbeddingSize int `json:"embedding_size"`
}

func (c *LLMConfig) defaults() {
	c.NumKeyValueHeads = orDefault(c.NumKeyValueHeads, c.NumAttentionHeads)
	if c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
	}
	c.RMSNormEps = orDefault(c.RMSNormEps, 1e-6)
	c.RopeTheta = orDefault(c.RopeTheta, 10000)
	c.HiddenAct = orDefault(c.HiddenAct, "silu")
}

func (c *LLMConfig) check(k *checker, size int) {
	k.within("hidden_size", c.HiddenSize, maxDim)
	k.within("num_attention_heads", c.NumAttentionHeads, maxDim)
	k.within("num_key_value_heads", c.NumKeyValueHeads, maxDim)
	k.within("num_hidden_layers", c.NumHiddenLayers, maxLayers)
	k.within("intermediate_size", c.IntermediateSize, maxDim)
	k.within("vocab_size", c.VocabSize, maxVocab)
	k.within("max_position_embeddings", c.MaxPositionEmbeddings, maxPositions)
	k.within("head_dim", c.HeadDim, maxDim)
	k.that(c.EmbeddingSize >= 0 && c.EmbeddingSize <= maxDim, "embedding_size", "%d: want 0 to %d", c.EmbeddingSize,
		maxDim)
	k.positive("rms_norm_eps", c.RMSNormEps)
	k.positive("rope_theta", c.RopeTheta)
	k.that(c.HiddenAct == "silu", "hidden_act", "%q: want \"silu\"", c.HiddenAct)
	if len(k.errs) > 0 {
		return
	}
	k.that(c.HeadDim%2 == 0, "head_dim", "%d is odd; rotary embeddings pair elements", c.HeadDim)
	k.that(c.NumAttentionHeads%c.NumKeyValueHeads == 0, "num_key_value_heads",
		"%d does not divide num_attention_heads %d", c.NumKeyValueHeads, c.NumAttentionHeads)
	k.splits("num_attention_heads", c.NumAttentionHeads, size)
	k.that(c.NumKeyValueHeads%size == 0 || size%c.NumKeyValueHeads == 0, "num_key_value_heads",
		"%d heads can neither be split nor copied over %d ranks", c.NumKeyValueHeads, size)
	k.splits("num_attention_heads * head_dim", c.NumAttentionHeads*c.HeadDim, Shards)
	k.splits("intermediate_size", c.IntermediateSize, Shards)
	h := float64(c.HiddenSize)
	perLayer := h*float64(c.HeadDim)*float64(2*c.NumAttentionHeads+2*c.NumKeyValueHeads) + 3*h*float64(
		c.IntermediateSize)
	k.fits(2*h*float64(c.VocabSize) + perLayer*float64(c.NumHiddenLayers))
}

// VocoderConfig is config.json of a convolutional vocoder, in the spelling of HiFi-GAN's,
// with a codec's embeddings in front.
type VocoderConfig struct {
	ModelType              string  `json:"model_type"`
	SamplingRate           int     `json:"sampling_rate"`
	CodebookSize           int     `json:"codebook_size"`
	NumCodebooks           int     `json:"num_codebooks"` // absent: 1
	CodebookDim            int     `json:"codebook_dim"`
	UpsampleInitialChannel int     `json:"upsample_initial_channel"` // halved by each upsampling
	UpsampleRates          []int   `json:"upsample_rates"`
	UpsampleKernelSizes    []int   `json:"upsample_kernel_sizes"` // each twice its rate
	ResblockKernelSizes    []int   `json:"resblock_kernel_sizes"`
	ResblockDilationSizes  [][]int `json:"resblock_dilation_sizes"`
	LeakyReLUSlope         float64 `json:"leaky_relu_slope"` // absent: 0.1
}

func (c *VocoderConfig) defaults() {
	c.NumCodebooks = orDefault(c.NumCodebooks, 1)
	c.LeakyReLUSlope = orDefault(c.LeakyReLUSlope, 0.1)
}

// Limits of a vocoder: one frame of a large codec is 0.1 s at 96 kHz.
const (
	maxSampleRate   = 384_000
	maxFrameSamples = 1 << 14
	maxKernel       = 63
	maxDilation     = 1 << 10
)

func (c *VocoderConfig) check(k *checker, size int) {
	k.within("sampling_rate", c.SamplingRate, maxSampleRate)
	k.within("codebook_size", c.CodebookSize, maxVocab)
	k.within("num_codebooks", c.NumCodebooks, 64)
	k.within("codebook_dim", c.CodebookDim, maxDim)
	k.within("upsample_initial_channel", c.UpsampleInitialChannel, maxDim)
	k.that(c.LeakyReLUSlope > 0 && c.LeakyReLUSlope < 1, "leaky_relu_slope", "%v: want between 0 and 1",
		c.LeakyReLUSlope)
	k.that(len(c.UpsampleRates) > 0 && len(c.UpsampleRates) <= 16, "upsample_rates", "%d of them: want 1 to 16",
		len(c.UpsampleRates))
	k.that(len(c.UpsampleKernelSizes) == len(c.UpsampleRates), "upsample_kernel_sizes",
		"%d of them, upsample_rates has %d", len(c.UpsampleKernelSizes), len(c.UpsampleRates))
	k.that(len(c.ResblockKernelSizes) > 0 && len(c.ResblockKernelSizes) <= 8, "resblock_kernel_sizes",
		"%d of them: want 1 to 8", len(c.ResblockKernelSizes))
	k.that(len(c.ResblockDilationSizes) == len(c.ResblockKernelSizes), "resblock_dilation_sizes",
		"%d of them, resblock_kernel_sizes has %d", len(c.ResblockDilationSizes), len(c.ResblockKernelSizes))
	if len(k.errs) > 0 {
		return
	}
	ch, frame, params := c.UpsampleInitialChannel, 1, float64(c.CodebookDim*c.NumCodebooks)*float64(c.CodebookSize)
	for i, r := range c.UpsampleRates {
		k.within(fmt.Sprintf("upsample_rates[%d]", i), r, 64)
		k.that(c.UpsampleKernelSizes[i] == 2*r, fmt.Sprintf("upsample_kernel_sizes[%d]", i),
			"%d: want %d, twice the rate", c.UpsampleKernelSizes[i], 2*r)
		k.that(ch%(2*Shards) == 0, "upsample_initial_channel",
			"%d: channels after %d halvings cannot be split in %d shards", c.UpsampleInitialChannel, i+1, Shards)
		params += float64(ch) * float64(ch) * float64(r)
		ch /= 2
		frame *= max(1, r)
		k.that(frame <= maxFrameSamples, "upsample_rates", "%v: a frame of more than %d samples", c.UpsampleRates,
			maxFrameSamples)
		if len(k.errs) > 0 {
			return
		}
		for j, ks := range c.ResblockKernelSizes {
			params += 2 * float64(ks) * float64(ch) * float64(ch) * float64(len(c.ResblockDilationSizes[j]))
		}
	}
	for j, ks := range c.ResblockKernelSizes {
		k.within(fmt.Sprintf("resblock_kernel_sizes[%d]", j), ks, maxKernel)
		k.that(len(c.ResblockDilationSizes[j]) > 0 && len(c.ResblockDilationSizes[j]) <= 8,
			fmt.Sprintf("resblock_dilation_sizes[%d]", j), "%d of them: want 1 to 8", len(c.ResblockDilationSizes[j]))
		for _, d := range c.ResblockDilationSizes[j] {
			k.within(fmt.Sprintf("resblock_dilation_sizes[%d]", j), d, maxDilation)
		}
	}
	k.splits("channels", Shards, size)
	k.fits(params)
}

// TextEncoderConfig is config.json of a bidirectional text encoder.
type TextEncoderConfig struct {
	ModelType             string  `json:"model_type"`
	HiddenSize            int     `json:"hidden_size"`
	NumAttentionHeads     int     `json:"num_attention_heads"`
	NumHiddenLayers       int     `json:"num_hidden_layers"`
	IntermediateSize      int     `json:"intermediate_size"`
	LayerNormEps          float64 `json:"layer_norm_eps"` // absent: 1e-5
	VocabSize             int     `json:"vocab_size"`
	MaxPositionEmbeddings int     `json:"max_position_embeddings"`
	HiddenAct             string  `json:"hidden_act"` // "gelu", by its tanh approximation
}

func (c *TextEncoderConfig) defaults() {
	c.LayerNormEps = orDefault(c.LayerNormEps, 1e-5)
	c.HiddenAct = orDefault(c.HiddenAct, "gelu")
}

func (c *TextEncoderConfig) check(k *checker, size int) {
	k.within("hidden_size", c.HiddenSize, maxDim)
	k.within("num_attention_heads", c.NumAttentionHeads, maxDim)
	k.within("num_hidden_layers", c.NumHiddenLayers, maxLayers)
	k.within("intermediate_size", c.IntermediateSize, maxDim)
	k.within("vocab_size", c.VocabSize, maxVocab)
	k.within("max_position_embeddings", c.MaxPositionEmbeddings, maxPositions)
	k.positive("layer_norm_eps", c.LayerNormEps)
	k.that(c.HiddenAct == "gelu", "hidden_act", "%q: want \"gelu\"", c.HiddenAct)
	if len(k.errs) > 0 {
		return
	}
	k.that(c.HiddenSize%c.NumAttentionHeads == 0, "num_attention_heads", "%d does not divide hidden_size %d",
		c.NumAttentionHeads, c.HiddenSize)
	k.splits("num_attention_heads", c.NumAttentionHeads, size)
	k.splits("hidden_size", c.HiddenSize, Shards)
	k.splits("intermediate_size", c.IntermediateSize, Shards)
	h := float64(c.HiddenSize)
	k.fits(h*float64(c.VocabSize+c.MaxPositionEmbeddings) +
		float64(c.NumHiddenLayers)*(4*h*h+2*h*float64(c.IntermediateSize)))
}

// DiTConfig is config.json of a diffusion transformer, in diffusers' spelling of
// PixArtTransformer2DModel.
type DiTConfig struct {
	ClassName         string  `json:"_class_name"`
	SampleSize        int     `json:"sample_size"` // largest latent height or width
	PatchSize         int     `json:"patch_size"`
	InChannels        int     `json:"in_channels"`
	OutChannels       int     `json:"out_channels"` // absent: in_channels
	NumLayers         int     `json:"num_layers"`
	NumAttentionHeads int     `json:"num_attention_heads"`
	AttentionHeadDim  int     `json:"attention_head_dim"`
	CaptionChannels   int     `json:"caption_channels"` // Dim of the Cond it takes
	NormEps           float64 `json:"norm_eps"`         // absent: 1e-6
	ActivationFn      string  `json:"activation_fn"`    // "gelu-approximate"
	// VAEScaleFactor is the number of pixels in height and width of a latent pixel. diffusers takes
	// it from the VAE; here the denoise stage may not hold the VAE. Absent: 8.
	VAEScaleFactor int `json:"vae_scale_factor"`
}

func (c *DiTConfig) sizeMultiple() int { return c.PatchSize * c.VAEScaleFactor }
func (c *DiTConfig) maxSize() int      { return c.SampleSize * c.VAEScaleFactor }

func (c *DiTConfig) defaults() {
	c.OutChannels = orDefault(c.OutChannels, c.InChannels)
	c.NormEps = orDefault(c.NormEps, 1e-6)
	c.ActivationFn = orDefault(c.ActivationFn, "gelu-approximate")
	c.VAEScaleFactor = orDefault(c.VAEScaleFactor, 8)
}

func (c *DiTConfig) check(k *checker, size int) {
	k.within("sample_size", c.SampleSize, 1<<12)
	k.within("patch_size", c.PatchSize, 64)
	k.within("in_channels", c.InChannels, 1<<10)
	k.within("num_layers", c.NumLayers, maxLayers)
	k.within("num_attention_heads", c.NumAttentionHeads, maxDim)
	k.within("attention_head_dim", c.AttentionHeadDim, maxDim)
	k.within("caption_channels", c.CaptionChannels, maxDim)
	k.within("vae_scale_factor", c.VAEScaleFactor, 64)
	k.positive("norm_eps", c.NormEps)
	k.that(c.ActivationFn == "gelu-approximate", "activation_fn", "%q: want \"gelu-approximate\"", c.ActivationFn)
	k.that(c.OutChannels == c.InChannels, "out_channels", "%d: want in_channels %d; learned variance is not supported",
		c.OutChannels, c.InChannels)
	if len(k.errs) > 0 {
		return
	}
	d := c.NumAttentionHeads * c.AttentionHeadDim
	k.that(c.SampleSize%c.PatchSize == 0, "sample_size", "%d is no multiple of patch_size %d", c.SampleSize,
		c.PatchSize)
	k.within("num_attention_heads * attention_head_dim", d, maxDim)
	k.splits("num_attention_heads", c.NumAttentionHeads, size)
	k.splits("num_attention_heads * attention_head_dim", d, 4) // shards, and the quarters of position embeddings
	k.fits(float64(c.NumLayers)*16*float64(d)*float64(d) + 7*float64(d)*float64(d))
}

// VAEConfig is config.json of a VAE decoder, in diffusers' spelling of AutoencoderKL.
type VAEConfig struct {
	ClassName        string  `json:"_class_name"`
	LatentChannels   int     `json:"latent_channels"`
	OutChannels      int     `json:"out_channels"`       // 3
	BlockOutChannels []int   `json:"block_out_channels"` // finest first; each but one doubles height and width
	LayersPerBlock   int     `json:"layers_per_block"`
	NormNumGroups    int     `json:"norm_num_groups"` // absent: 32
	NormEps          float64 `json:"norm_eps"`        // absent: 1e-6
	ScalingFactor    float64 `json:"scaling_factor"`  // absent: 1
	ShiftFactor      float64 `json:"shift_factor"`
	// The two parts of AutoencoderKL that may be left out; absent means present. Only
	// decoders without attention in the middle are supported.
	UsePostQuantConv     *bool `json:"use_post_quant_conv"`
	MidBlockAddAttention *bool `json:"mid_block_add_attention"`
}

func (c *VAEConfig) defaults() {
	c.OutChannels = orDefault(c.OutChannels, 3)
	c.NormNumGroups = orDefault(c.NormNumGroups, 32)
	c.NormEps = orDefault(c.NormEps, 1e-6)
	c.ScalingFactor = orDefault(c.ScalingFactor, 1)
}

func (c *VAEConfig) check(k *checker, size int) {
	k.within("latent_channels", c.LatentChannels, 1<<10)
	k.that(c.OutChannels == 3, "out_channels", "%d: want 3, red, green and blue", c.OutChannels)
	k.within("layers_per_block", c.LayersPerBlock, 64)
	k.within("norm_num_groups", c.NormNumGroups, maxDim)
	k.positive("norm_eps", c.NormEps)
	k.positive("scaling_factor", c.ScalingFactor)
	k.that(c.MidBlockAddAttention != nil && !*c.MidBlockAddAttention, "mid_block_add_attention",
		"want false; attention in the middle is not supported")
	k.that(len(c.BlockOutChannels) > 0 && len(c.BlockOutChannels) <= 6, "block_out_channels", "%d of them: want 1 to 6",
		len(c.BlockOutChannels))
	if len(k.errs) > 0 {
		return
	}
	k.splits("norm_num_groups", c.NormNumGroups, Shards)
	var params float64
	for i, ch := range c.BlockOutChannels {
		f := fmt.Sprintf("block_out_channels[%d]", i)
		k.within(f, ch, maxDim)
		k.splits(f, ch, c.NormNumGroups)
		params += 9 * float64(ch) * float64(ch) * float64(2*c.LayersPerBlock+7)
	}
	k.splits("channels", Shards, size)
	k.fits(params)
}

// config is implemented by all config types.
type config interface {
	defaults()
	check(k *checker, size int)
}

// readConfig reads and checks the config of a model that size ranks share. dir names the
// model in errors.
func readConfig(fsys fs.FS, dir, file string, overrides map[string]any, size int, c config) error {
	name := dir + "/" + file
	raw, err := readLimited(fsys, file)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrConfig, name, err)
	}
	if raw, err = override(raw, overrides); err == nil {
		err = json.Unmarshal(raw, c)
	}
	if te, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%w: %s: field %s: %s does not fit (offset %d)", ErrConfig, name, te.Field, te.Value,
			te.Offset)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrConfig, name, err)
	}
	k := &checker{file: name}
	k.that(size == 1 || size == 2 || size == Shards, "tensor_parallel_size", "%d ranks: want 1, 2 or %d", size, Shards)
	if len(k.errs) == 0 {
		c.defaults()
		c.check(k, size)
	}
	return errors.Join(k.errs...)
}

func readLimited(fsys fs.FS, file string) ([]byte, error) {
	f, err := fsys.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err == nil && len(raw) > maxConfigBytes {
		err = fmt.Errorf("more than %d bytes", maxConfigBytes)
	}
	return raw, err
}

// override replaces top-level fields of a JSON object.
func override(raw []byte, with map[string]any) ([]byte, error) {
	if len(with) == 0 {
		return raw, nil
	}
	var all map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&all); err != nil {
		return nil, err
	}
	if all == nil {
		all = map[string]any{}
	}
	for k, v := range with {
		all[k] = v
	}
	return json.Marshal(all)
}

// checker gathers what is wrong with a config file, naming file and field.
type checker struct {
	file string
	errs []error
}

func (k *checker) that(ok bool, field, format string, args ...any) {
	if !ok {
		k.errs = append(k.errs, fmt.Errorf("%w: %s: %s: %s", ErrConfig, k.file, field, fmt.Sprintf(format, args...)))
	}
}

func (k *checker) within(field string, v, limit int) {
	k.that(v != 0, field, "missing or 0")
	k.that(v >= 0 && v <= limit, field, "%d: want 1 to %d", v, limit)
}

func (k *checker) positive(field string, v float64) {
	k.that(v > 0 && !math.IsInf(v, 0), field, "%v: want a positive number", v)
}

func (k *checker) splits(field string, v, n int) {
	k.that(n > 0 && v%n == 0, field, "%d cannot be split in %d equal parts", v, n)
}

func (k *checker) fits(params float64) {
	k.that(params*4 <= MaxModelBytes, "size", "%.0f parameters take more than %d bytes", params, MaxModelBytes)
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
