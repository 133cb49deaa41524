package engine

// LLMConfig is config.json of a decoder-only transformer, in the Hugging Face spelling.
type LLMConfig struct {
	ModelType             string  `json:"model_type"`
	HiddenSize            int     `json:"hidden_size"`
	NumAttentionHeads     int     `json:"num_attention_heads"`
	NumKeyValueHeads      int     `json:"num_key_value_heads"` // 0: num_attention_heads
	HeadDim               int     `json:"head_dim"`            // 0: hidden_size / num_attention_heads
	NumHiddenLayers       int     `json:"num_hidden_layers"`
	IntermediateSize      int     `json:"intermediate_size"`
	RMSNormEps            float64 `json:"rms_norm_eps"` // 0: 1e-6
	RopeTheta             float64 `json:"rope_theta"`   // 0: 10000
	VocabSize             int     `json:"vocab_size"`
	MaxPositionEmbeddings int     `json:"max_position_embeddings"`
	TieWordEmbeddings     bool    `json:"tie_word_embeddings"`
	AttentionBias         bool    `json:"attention_bias"` // biases of q, k and v, as Qwen2 has
	HiddenAct             string  `json:"hidden_act"`     // "silu"
	BOSTokenID            int32   `json:"bos_token_id"`
	EOSTokenID            int32   `json:"eos_token_id"`
	// EmbeddingSize is the size of the extra input embeddings of a talker (the thinker's
	// hidden_size); 0: none are projected.
	EmbeddingSize int `json:"embedding_size"`
}

// VocoderConfig is config.json of a convolutional vocoder, in the spelling of HiFi-GAN's,
// with a codec's embeddings in front.
type VocoderConfig struct {
	ModelType              string  `json:"model_type"`
	SamplingRate           int     `json:"sampling_rate"`
	CodebookSize           int     `json:"codebook_size"`
	NumCodebooks           int     `json:"num_codebooks"`
	CodebookDim            int     `json:"codebook_dim"`
	UpsampleInitialChannel int     `json:"upsample_initial_channel"`
	UpsampleRates          []int   `json:"upsample_rates"`
	UpsampleKernelSizes    []int   `json:"upsample_kernel_sizes"` // each twice its rate
	ResblockKernelSizes    []int   `json:"resblock_kernel_sizes"`
	ResblockDilationSizes  [][]int `json:"resblock_dilation_sizes"`
	LeakyReLUSlope         float64 `json:"leaky_relu_slope"`
}

// TextEncoderConfig is config.json of a bidirectional text encoder.
type TextEncoderConfig struct {
	ModelType             string  `json:"model_type"`
	HiddenSize            int     `json:"hidden_size"`
	NumAttentionHeads     int     `json:"num_attention_heads"`
	NumHiddenLayers       int     `json:"num_hidden_layers"`
	IntermediateSize      int     `json:"intermediate_size"`
	LayerNormEps          float64 `json:"layer_norm_eps"`
	VocabSize             int     `json:"vocab_size"`
	MaxPositionEmbeddings int     `json:"max_position_embeddings"`
	HiddenAct             string  `json:"hidden_act"` // "gelu"
}

// DiTConfig is config.json of a diffusion transformer, in diffusers' spelling.
type DiTConfig struct {
	ClassName         string  `json:"_class_name"`
	SampleSize        int     `json:"sample_size"` // largest latent height or width
	PatchSize         int     `json:"patch_size"`
	InChannels        int     `json:"in_channels"`
	OutChannels       int     `json:"out_channels"` // in_channels
	NumLayers         int     `json:"num_layers"`
	NumAttentionHeads int     `json:"num_attention_heads"`
	AttentionHeadDim  int     `json:"attention_head_dim"`
	CaptionChannels   int     `json:"caption_channels"` // Dim of the Cond it takes
	NormEps           float64 `json:"norm_eps"`
	ActivationFn      string  `json:"activation_fn"`    // "gelu-approximate"
	VAEScaleFactor    int     `json:"vae_scale_factor"` // pixels a latent pixel
}

// VAEConfig is config.json of a VAE decoder, in diffusers' spelling of AutoencoderKL.
type VAEConfig struct {
	ClassName        string  `json:"_class_name"`
	LatentChannels   int     `json:"latent_channels"`
	OutChannels      int     `json:"out_channels"`       // 3
	BlockOutChannels []int   `json:"block_out_channels"` // finest first; each but one doubles height and width
	LayersPerBlock   int     `json:"layers_per_block"`
	NormNumGroups    int     `json:"norm_num_groups"`
	NormEps          float64 `json:"norm_eps"`
	ScalingFactor    float64 `json:"scaling_factor"`
	ShiftFactor      float64 `json:"shift_factor"`
}

// Builtins names the models that are compiled in; each is a value of Options.Model.
func Builtins() []string {
	return []string{"builtin/thinker", "builtin/talker", "builtin/code2wav", "builtin/text_encoder", "builtin/dit", "builtin/vae"}
}
