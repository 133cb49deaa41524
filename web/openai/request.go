package openai

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kinetoscope/kinetoscope/omni"
)

// Capabilities is what the pipeline behind the server makes.
type Capabilities struct {
	Model string
	Text  bool
	Audio bool
	Image bool
}

// CapabilitiesOf reads what api's stages put out.
func CapabilitiesOf(model string, stages []omni.StageInfo) Capabilities {
	c := Capabilities{Model: model}
	for _, s := range stages {
		switch s.Output {
		case "text":
			c.Text = true
		case "audio":
			c.Audio = true
		case "image":
			c.Image = true
		}
	}
	return c
}

func (c Capabilities) modalities() []string {
	var m []string
	if c.Text {
		m = append(m, "text")
	}
	if c.Audio {
		m = append(m, "audio")
	}
	if c.Image {
		m = append(m, "image")
	}
	return m
}

// CheckModel returns a 404 if model is neither empty nor the one served.
func (c Capabilities) CheckModel(model string) error {
	if model == "" || model == c.Model {
		return nil
	}
	return &Error{
		Status: http.StatusNotFound, Type: TypeInvalidRequest, Code: "model_not_found", Param: "model",
		Message: fmt.Sprintf("model %q does not exist; this server has %q", model, c.Model),
	}
}

// AudioFormat is how audio bytes are written.
type AudioFormat string

// The audio formats; both hold 16-bit little-endian mono samples.
const (
	FormatWAV AudioFormat = "wav"
	FormatPCM AudioFormat = "pcm16"
)

// Chat is a validated chat completion request.
type Chat struct {
	Request      omni.Request
	Stream       bool
	IncludeUsage bool
	Text         bool // the client wants message.content
	Audio        bool // the client wants message.audio
	Image        bool // the pipeline draws; content is image parts
	Format       AudioFormat
}

type chatBody struct {
	Model               string         `json:"model"`
	Messages            []chatMessage  `json:"messages"`
	Modalities          []string       `json:"modalities"`
	Audio               *chatAudio     `json:"audio"`
	Stream              bool           `json:"stream"`
	StreamOptions       *streamOptions `json:"stream_options"`
	N                   *int           `json:"n"`
	MaxTokens           *int           `json:"max_tokens"`
	MaxCompletionTokens *int           `json:"max_completion_tokens"`
	Temperature         *float64       `json:"temperature"`
	TopP                *float64       `json:"top_p"`
	TopK                *int           `json:"top_k"`
	Seed                *int64         `json:"seed"`
	Stop                jsontext.Value `json:"stop"`
	IgnoreEOS           bool           `json:"ignore_eos"`
	unsupportedFields
	imageFields
	ExtraBody *imageFields `json:"extra_body"` // vLLM-Omni's clients send it nested
}

// unsupportedFields are members that would change the answer and that no
// stage can honour; a request that uses one is refused.
type unsupportedFields struct {
	Tools            []jsontext.Value `json:"tools"`
	LogProbs         bool             `json:"logprobs"`
	PresencePenalty  float64          `json:"presence_penalty"`
	FrequencyPenalty float64          `json:"frequency_penalty"`
	ResponseFormat   *struct {
		Type string `json:"type"`
	} `json:"response_format"`
}

type chatMessage struct {
	Role    string         `json:"role"`
	Content jsontext.Value `json:"content"`
}

type chatAudio struct {
	Format string `json:"format"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type contentPart struct {
	Type string  `json:"type"`
	Text *string `json:"text"`
}

// ParseChat reads and checks the body of POST /v1/chat/completions.
func ParseChat(data []byte, c Capabilities) (*Chat, error) {
	var b chatBody
	if err := Decode(data, &b); err != nil {
		return nil, err
	}
	if err := c.CheckModel(b.Model); err != nil {
		return nil, err
	}
	if err := b.unsupportedFields.check(); err != nil {
		return nil, err
	}
	out := &Chat{Stream: b.Stream, IncludeUsage: b.StreamOptions != nil && b.StreamOptions.IncludeUsage}
	var err error
	if out.Request.Messages, err = parseMessages(b.Messages); err != nil {
		return nil, err
	}
	if err := out.setModalities(&b, c); err != nil {
		return nil, err
	}
	if err := b.checkN(out.Image); err != nil {
		return nil, err
	}
	if out.Request.Sampling, err = b.sampling(); err != nil {
		return nil, err
	}
	if out.Image {
		err = b.setImage(&out.Request.Image)
	}
	return out, err
}

func (u unsupportedFields) check() error {
	switch {
	case len(u.Tools) > 0:
		return unsupported("tools", "tools are not supported by this pipeline")
	case u.LogProbs:
		return unsupported("logprobs", "logprobs are not supported by this pipeline")
	case u.PresencePenalty != 0:
		return unsupported("presence_penalty", "presence_penalty is not supported; leave it out or give 0")
	case u.FrequencyPenalty != 0:
		return unsupported("frequency_penalty", "frequency_penalty is not supported; leave it out or give 0")
	case u.ResponseFormat != nil && u.ResponseFormat.Type != "" && u.ResponseFormat.Type != "text":
		return unsupported(
			"response_format",
			"response_format %q is not supported; the one allowed is text",
			u.ResponseFormat.Type,
		)
	}
	return nil
}

func (b *chatBody) checkN(image bool) error {
	limit := MaxChoices
	if image {
		limit = MaxImages
	}
	if b.N != nil && (*b.N < 1 || *b.N > limit) {
		return Invalid("n", "n is %d; allowed are 1 to %d", *b.N, limit)
	}
	return nil
}

func parseMessages(in []chatMessage) ([]omni.Message, error) {
	if len(in) == 0 {
		return nil, missing("messages")
	}
	if len(in) > MaxMessages {
		return nil, Invalid("messages", "%d messages; at most %d are allowed", len(in), MaxMessages)
	}
	out := make([]omni.Message, len(in))
	for i, m := range in {
		switch m.Role {
		case "system", "user", "assistant":
			out[i].Role = m.Role
		case "developer": // OpenAI's newer word for system
			out[i].Role = "system"
		case "":
			return nil, missing(fmt.Sprintf("messages[%d].role", i))
		default:
			return nil, Invalid(fmt.Sprintf("messages[%d].role", i),
				"role %q is not supported; allowed are system, developer, user, assistant", m.Role)
		}
		text, err := parseContent(m.Content, fmt.Sprintf("messages[%d].content", i))
		if err != nil {
			return nil, err
		}
		out[i].Content = text
	}
	return out, nil
}

// parseContent reads a string or an array of text parts, which it joins with
// line breaks. An assistant's null content is empty.
func parseContent(raw jsontext.Value, param string) (string, error) {
	switch raw.Kind() {
	case '"':
		var s string
		return s, prefixed(Decode(raw, &s), param)
	case '[':
	case 'n':
		return "", nil
	case 0:
		return "", missing(param)
	default:
		return "", Invalid(param, "%s: want a string or an array of parts, got %s", param, kindName(raw.Kind()))
	}
	var parts []contentPart
	if err := prefixed(Decode(raw, &parts), param); err != nil {
		return "", err
	}
	texts := make([]string, len(parts))
	for i, p := range parts {
		at := fmt.Sprintf("%s[%d]", param, i)
		if p.Type != "text" {
			return "", unsupported(at+".type", "content part type %q is not supported; the one allowed is text", p.Type)
		}
		if p.Text == nil {
			return "", missing(at + ".text")
		}
		texts[i] = *p.Text
	}
	return strings.Join(texts, "\n"), nil
}

// prefixed names the field under which an inner value was decoded; the offset
// in the message is the one inside that value.
func prefixed(err error, param string) error {
	if e, ok := err.(*Error); ok {
		e.Param = param + strings.TrimSuffix("."+e.Param, ".")
		e.Param = strings.Replace(e.Param, ".[", "[", 1)
		e.Message = "in " + param + ": " + e.Message
		return e
	}
	return err
}

func (ch *Chat) setModalities(b *chatBody, c Capabilities) error {
	has := c.modalities()
	want := b.Modalities
	if len(want) == 0 {
		want = has
	}
	for i, m := range want {
		if !slices.Contains(has, m) {
			return Invalid(fmt.Sprintf("modalities[%d]", i),
				"modality %q is not made by model %q; it makes %s", m, c.Model, strings.Join(has, ", "))
		}
	}
	ch.Text = slices.Contains(want, "text")
	ch.Audio = slices.Contains(want, "audio")
	ch.Image = slices.Contains(want, "image")
	for _, m := range has {
		// The transcript is part of an audio answer, asked for or not.
		if slices.Contains(want, m) || m == "text" && ch.Audio {
			ch.Request.Modalities = append(ch.Request.Modalities, m)
		}
	}
	ch.Format = FormatWAV
	if b.Stream {
		ch.Format = FormatPCM
	}
	if b.Audio != nil && b.Audio.Format != "" {
		f, err := parseFormat(b.Audio.Format, "audio.format")
		if err != nil {
			return err
		}
		ch.Format = f
	}
	return nil
}

func parseFormat(s, param string) (AudioFormat, error) {
	switch s {
	case "wav":
		return FormatWAV, nil
	case "pcm16", "pcm":
		return FormatPCM, nil
	}
	return "", Invalid(param, "audio format %q is not supported; allowed are wav, pcm16", s)
}

func (b *chatBody) sampling() (omni.Sampling, error) {
	s := omni.Sampling{
		Temperature: b.Temperature,
		TopK:        b.TopK,
		TopP:        b.TopP,
		IgnoreEOS:   b.IgnoreEOS,
		Seed:        seedOf(b.Seed),
	}
	s.MaxTokens = b.MaxTokens
	name := "max_tokens"
	if b.MaxCompletionTokens != nil {
		s.MaxTokens, name = b.MaxCompletionTokens, "max_completion_tokens"
	}
	if s.MaxTokens != nil && *s.MaxTokens < 1 {
		return s, Invalid(name, "%s is %d; it must be at least 1", name, *s.MaxTokens)
	}
	if t := b.Temperature; t != nil && (*t < 0 || *t > 2) {
		return s, Invalid("temperature", "temperature is %g; allowed are 0 to 2", *t)
	}
	if p := b.TopP; p != nil && (*p <= 0 || *p > 1) {
		return s, Invalid("top_p", "top_p is %g; it must be over 0 and at most 1", *p)
	}
	if k := b.TopK; k != nil && *k < -1 {
		return s, Invalid("top_k", "top_k is %d; allowed are -1 or 0 (all) and more", *k)
	}
	var err error
	if s.Stop, err = parseStop(b.Stop); err != nil {
		return s, err
	}
	if e, ok := errors.AsType[*omni.Error](s.Validate()); ok {
		return s, Invalid(e.Param, "%s", e)
	}
	return s, nil
}

// seedOf keeps every bit of the client's seed; -1 and its like are seeds too.
func seedOf(v *int64) *uint64 {
	if v == nil {
		return nil
	}
	u := uint64(*v)
	return &u
}

func parseStop(raw jsontext.Value) ([]string, error) {
	var stop []string
	switch raw.Kind() {
	case 0, 'n':
		return nil, nil
	case '"':
		var s string
		if err := prefixed(Decode(raw, &s), "stop"); err != nil {
			return nil, err
		}
		stop = []string{s}
	case '[':
		if err := prefixed(Decode(raw, &stop), "stop"); err != nil {
			return nil, err
		}
	default:
		return nil, Invalid("stop", "stop: want a string or an array of strings, got %s", kindName(raw.Kind()))
	}
	return stop, nil
}

// Speech is a validated speech request.
type Speech struct {
	Request omni.Request
	Format  AudioFormat
	Stream  bool
}

type speechBody struct {
	Model          string   `json:"model"`
	Input          string   `json:"input"`
	ResponseFormat string   `json:"response_format"`
	StreamFormat   string   `json:"stream_format"`
	Stream         bool     `json:"stream"`
	Speed          *float64 `json:"speed"`
	Seed           *int64   `json:"seed"`
	MaxTokens      *int     `json:"max_tokens"`
}

// ParseSpeech reads and checks the body of POST /v1/audio/speech.
func ParseSpeech(data []byte, c Capabilities) (*Speech, error) {
	b := speechBody{ResponseFormat: string(FormatWAV)}
	if err := Decode(data, &b); err != nil {
		return nil, err
	}
	if err := c.CheckModel(b.Model); err != nil {
		return nil, err
	}
	if !c.Audio {
		return nil, unsupported("model", "model %q makes no audio; it makes %s", c.Model,
			strings.Join(c.modalities(), ", "))
	}
	if strings.TrimSpace(b.Input) == "" {
		return nil, missing("input")
	}
	if n := len([]rune(b.Input)); n > MaxSpeechInput {
		return nil, Invalid("input", "input has %d characters; at most %d are allowed", n, MaxSpeechInput)
	}
	if b.StreamFormat != "" && b.StreamFormat != "audio" {
		return nil, unsupported(
			"stream_format",
			"stream_format %q is not supported; the one allowed is audio",
			b.StreamFormat,
		)
	}
	if b.Speed != nil && *b.Speed != 1 {
		return nil, unsupported("speed", "speed %g is not supported; leave it out or give 1", *b.Speed)
	}
	if b.MaxTokens != nil && *b.MaxTokens < 1 {
		return nil, Invalid("max_tokens", "max_tokens is %d; it must be at least 1", *b.MaxTokens)
	}
	f, err := parseFormat(b.ResponseFormat, "response_format")
	if err != nil {
		return nil, err
	}
	return &Speech{
		Format: f,
		Stream: b.Stream,
		Request: omni.Request{
			Messages:   []omni.Message{{Role: "user", Content: b.Input}},
			Modalities: []string{"audio"},
			Sampling:   omni.Sampling{Seed: seedOf(b.Seed), MaxTokens: b.MaxTokens},
		},
	}, nil
}
