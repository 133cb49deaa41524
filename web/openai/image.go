package openai

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/omni"
)

// allowedSizes is what a client is told; the model may allow fewer.
var allowedSizes = fmt.Sprintf("allowed are 1x1 to %dx%d", MaxImageSide, MaxImageSide)

// Size is an image's size in pixels.
type Size struct{ Width, Height int }

// String returns "64x48": width, then height.
func (s Size) String() string { return fmt.Sprintf("%dx%d", s.Width, s.Height) }

// imageFields are the image members of a chat body or its extra_body.
type imageFields struct {
	Size                *string  `json:"size"`
	Width               *int     `json:"width"`
	Height              *int     `json:"height"`
	NumInferenceSteps   *int     `json:"num_inference_steps"`
	GuidanceScale       *float64 `json:"guidance_scale"`
	TrueCFGScale        *float64 `json:"true_cfg_scale"` // vLLM-Omni's name for some models
	NegativePrompt      *string  `json:"negative_prompt"`
	NumOutputsPerPrompt *int     `json:"num_outputs_per_prompt"`
}

// setImage fills im from the body's image members; those in extra_body win.
func (b *chatBody) setImage(im *omni.Image) error {
	im.Seed = seedOf(b.Seed)
	if b.N != nil {
		im.N = *b.N
	}
	if err := b.imageFields.apply(im, ""); err != nil {
		return err
	}
	if b.ExtraBody != nil {
		return b.ExtraBody.apply(im, "extra_body.")
	}
	return nil
}

func (f *imageFields) apply(im *omni.Image, prefix string) error {
	if f.Size != nil {
		s, err := parseSize(*f.Size, prefix+"size")
		if err != nil {
			return err
		}
		im.Width, im.Height = s.Width, s.Height
	}
	if f.Width != nil || f.Height != nil {
		if f.Width == nil || f.Height == nil {
			return Invalid(prefix+"width", "width and height go together; one is missing")
		}
		s := Size{*f.Width, *f.Height}
		if err := checkSize(s, prefix+"width"); err != nil {
			return err
		}
		im.Width, im.Height = s.Width, s.Height
	}
	if n := f.NumOutputsPerPrompt; n != nil {
		if *n < 1 || *n > MaxImages {
			return Invalid(prefix+"num_outputs_per_prompt", "num_outputs_per_prompt is %d; allowed are 1 to %d", *n,
				MaxImages)
		}
		im.N = *n
	}
	if f.NegativePrompt != nil {
		im.NegativePrompt = *f.NegativePrompt
	}
	if err := setSteps(im, f.NumInferenceSteps, prefix); err != nil {
		return err
	}
	if err := setGuidance(im, f.TrueCFGScale, prefix+"true_cfg_scale"); err != nil {
		return err
	}
	return setGuidance(im, f.GuidanceScale, prefix+"guidance_scale")
}

func setSteps(im *omni.Image, steps *int, prefix string) error {
	if steps == nil {
		return nil
	}
	if *steps < 1 || *steps > omni.MaxSteps {
		return Invalid(prefix+"num_inference_steps", "num_inference_steps is %d; allowed are 1 to %d", *steps,
			omni.MaxSteps)
	}
	im.Steps = *steps
	return nil
}

func setGuidance(im *omni.Image, g *float64, param string) error {
	if g == nil {
		return nil
	}
	if *g < 0 || *g > omni.MaxGuidance {
		return Invalid(param, "%s is %g; allowed are 0 to %d", param, *g, omni.MaxGuidance)
	}
	im.Guidance = *g
	return nil
}

// parseSize reads "64x48"; "auto" is the zero Size, the pipeline's own.
func parseSize(text, param string) (Size, error) {
	if text == "auto" || text == "" {
		return Size{}, nil
	}
	w, h, ok := strings.Cut(text, "x")
	width, werr := strconv.Atoi(w)
	height, herr := strconv.Atoi(h)
	if !ok || werr != nil || herr != nil {
		return Size{}, Invalid(param, "size %q is not WIDTHxHEIGHT; %s", text, allowedSizes)
	}
	s := Size{width, height}
	return s, checkSize(s, param)
}

func checkSize(s Size, param string) error {
	if s.Width < 1 || s.Height < 1 || s.Width > MaxImageSide || s.Height > MaxImageSide {
		return Invalid(param, "size %s is not allowed; %s", s, allowedSizes)
	}
	return nil
}

type imagesBody struct {
	Model             string   `json:"model"`
	Prompt            string   `json:"prompt"`
	N                 *int     `json:"n"`
	Size              string   `json:"size"`
	ResponseFormat    string   `json:"response_format"`
	OutputFormat      string   `json:"output_format"`
	Stream            bool     `json:"stream"`
	Seed              *int64   `json:"seed"`
	NumInferenceSteps *int     `json:"num_inference_steps"`
	GuidanceScale     *float64 `json:"guidance_scale"`
	TrueCFGScale      *float64 `json:"true_cfg_scale"`
	NegativePrompt    string   `json:"negative_prompt"`
}

// ParseImages reads and checks the body of POST /v1/images/generations.
func ParseImages(data []byte, c Capabilities) (*omni.Request, error) {
	var b imagesBody
	if err := Decode(data, &b); err != nil {
		return nil, err
	}
	if err := c.CheckModel(b.Model); err != nil {
		return nil, err
	}
	if err := b.check(c); err != nil {
		return nil, err
	}
	im := omni.Image{N: 1, NegativePrompt: b.NegativePrompt, Seed: seedOf(b.Seed)}
	if b.N != nil {
		im.N = *b.N
	}
	s, err := parseSize(b.Size, "size")
	if err != nil {
		return nil, err
	}
	im.Width, im.Height = s.Width, s.Height
	if err := setSteps(&im, b.NumInferenceSteps, ""); err != nil {
		return nil, err
	}
	if err := setGuidance(&im, b.TrueCFGScale, "true_cfg_scale"); err != nil {
		return nil, err
	}
	if err := setGuidance(&im, b.GuidanceScale, "guidance_scale"); err != nil {
		return nil, err
	}
	return &omni.Request{
		Messages:   []omni.Message{{Role: "user", Content: b.Prompt}},
		Modalities: []string{"image"},
		Image:      im,
	}, nil
}

func (b *imagesBody) check(c Capabilities) error {
	switch {
	case !c.Image:
		return unsupported("model", "model %q makes no images; it makes %s", c.Model,
			strings.Join(c.modalities(), ", "))
	case strings.TrimSpace(b.Prompt) == "":
		return missing("prompt")
	case len([]rune(b.Prompt)) > MaxImagePrompt:
		return Invalid("prompt", "prompt has %d characters; at most %d are allowed", len([]rune(b.Prompt)),
			MaxImagePrompt)
	case b.N != nil && (*b.N < 1 || *b.N > MaxImages):
		return Invalid("n", "n is %d; allowed are 1 to %d", *b.N, MaxImages)
	case b.ResponseFormat != "" && b.ResponseFormat != "b64_json":
		return unsupported(
			"response_format",
			"response_format %q is not supported; the one allowed is b64_json",
			b.ResponseFormat,
		)
	case b.OutputFormat != "" && b.OutputFormat != "png":
		return unsupported("output_format", "output_format %q is not supported; the one allowed is png", b.OutputFormat)
	case b.Stream:
		return unsupported("stream", "images are not streamed; leave stream out")
	}
	return nil
}
