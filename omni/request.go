package omni

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/model"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Limits of a request, checked before anything is started for it.
const (
	MaxStops = 16 // stop strings, which are searched for after every token
	// MaxStopBytes bounds one of them: it is part of every message of the request.
	MaxStopBytes = 1 << 10
	MaxImages    = model.MaxImages       // n of an image request, which is one batch
	MaxSteps     = model.MaxDenoiseSteps // denoise steps
	MaxGuidance  = 100                   // guidance_scale; far below it images are saturated
)

// build checks r and writes it as the stages take it.
func (r *Request) build(p *deploy.Pipeline, known facts, id string) (*wire.Request, error) {
	outputs := r.Modalities
	if outputs == nil {
		outputs = p.Outputs()
	}
	if len(outputs) == 0 {
		return nil, badParam("modalities", "modalities is empty: ask for %s", strings.Join(p.Outputs(), ", "))
	}
	if _, err := p.Route(outputs); err != nil {
		return nil, &Error{Code: protocol.CodeBadRequest, Param: "modalities", Err: err}
	}
	w := &wire.Request{ID: id, Outputs: outputs, Prompt: r.prompt(p)}
	if !utf8.ValidString(w.Prompt) || !utf8.ValidString(r.Image.NegativePrompt) {
		return nil, badParam("prompt", "the prompt is not valid UTF-8")
	}
	if strings.TrimSpace(w.Prompt) == "" {
		return nil, badParam("prompt", "the prompt is empty")
	}
	if n := len(w.Prompt) + len(r.Image.NegativePrompt); n > wire.MaxPrompt {
		return nil, badParam("prompt", "prompt of %d bytes is too long: %d at most", n, wire.MaxPrompt)
	}
	if err := r.Sampling.Validate(); err != nil {
		return nil, err
	}
	w.Sampling = (*wire.Sampling)(&r.Sampling)
	if r.TraceParent.Validate() == nil {
		w.TraceParent = r.TraceParent.String()
	}
	if dit := imageStage(p); dit != nil {
		img, err := r.Image.build(dit, known[dit.ID])
		if err != nil {
			return nil, err
		}
		w.Image, w.Negative = img, r.Image.NegativePrompt
	}
	return w, nil
}

// prompt renders the conversation as the first stage reads it. A diffusion pipeline
// takes what the user said last.
func (r *Request) prompt(p *deploy.Pipeline) string {
	if imageStage(p) != nil {
		for i := len(r.Messages) - 1; i >= 0; i-- {
			if r.Messages[i].Role == "user" {
				return r.Messages[i].Content
			}
		}
		return ""
	}
	var b strings.Builder
	for _, m := range r.Messages {
		if strings.TrimSpace(m.Content) == "" {
			continue
		}
		b.WriteString("<|" + m.Role + "|>\n" + m.Content + "\n")
	}
	if b.Len() > 0 {
		b.WriteString("<|assistant|>\n")
	}
	return b.String()
}

func imageStage(p *deploy.Pipeline) *deploy.Stage {
	for i := range p.Stages {
		if p.Stages[i].Type == protocol.StageDiffusion {
			return &p.Stages[i]
		}
	}
	return nil
}

// Validate says what is wrong with s for any stage; the error is an *Error.
func (s *Sampling) Validate() error {
	switch {
	case s.MaxTokens != nil && *s.MaxTokens < 1:
		return badParam("max_tokens", "max_tokens %d: 1 or more", *s.MaxTokens)
	case s.Temperature != nil && !(*s.Temperature >= 0 && *s.Temperature <= 100):
		return badParam("temperature", "temperature %v: 0 to 100", *s.Temperature)
	case s.TopP != nil && !(*s.TopP > 0 && *s.TopP <= 1):
		return badParam("top_p", "top_p %v: more than 0, 1 at most", *s.TopP)
	case len(s.Stop) > MaxStops:
		return badParam("stop", "%d stop strings: %d at most", len(s.Stop), MaxStops)
	}
	for i, stop := range s.Stop {
		if field := fmt.Sprintf("stop[%d]", i); stop == "" {
			return badParam(field, "%s is empty", field)
		} else if len(stop) > MaxStopBytes {
			return badParam(field, "%s has %d bytes: %d at most", field, len(stop), MaxStopBytes)
		} else if !utf8.ValidString(stop) {
			return badParam(field, "%s is not valid UTF-8", field)
		}
	}
	return nil
}

// build checks i against the stage and what is known of its model.
func (i *Image) build(st *deploy.Stage, known model.Facts) (*wire.Image, error) {
	d := st.Sampling
	w := &wire.Image{N: cmp.Or(i.N, 1), Width: cmp.Or(i.Width, d.Width), Height: cmp.Or(i.Height, d.Height),
		Steps: cmp.Or(i.Steps, d.NumInferenceSteps), Guidance: cmp.Or(i.Guidance, d.GuidanceScale), Seed: d.Seed}
	if i.Seed != nil {
		w.Seed = *i.Seed
	}
	switch {
	case w.N < 1 || w.N > min(MaxImages, st.MaxNumSeqs):
		return nil, badParam("n", "n = %d: 1 to %d images in a request", w.N, min(MaxImages, st.MaxNumSeqs))
	case w.Steps < 1 || w.Steps > MaxSteps:
		return nil, badParam("num_inference_steps", "num_inference_steps %d: 1 to %d", w.Steps, MaxSteps)
	case !(w.Guidance >= 0 && w.Guidance <= MaxGuidance):
		return nil, badParam("guidance_scale", "guidance_scale %v: 0 to %d", w.Guidance, MaxGuidance)
	case w.Width < 1 || w.Height < 1:
		return nil, badParam("size", "size %dx%d: both more than 0", w.Width, w.Height)
	}
	if m := known.SizeMultiple; m > 0 && (w.Width%m != 0 || w.Height%m != 0 || max(w.Width, w.Height) > known.MaxSize) {
		return nil, badParam("size", "size %dx%d: width and height are multiples of %d up to %d",
			w.Width, w.Height, m, known.MaxSize)
	}
	return w, nil
}
