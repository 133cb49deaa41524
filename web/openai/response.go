package openai

import (
	"encoding/base64"
	"time"

	"github.com/kinetoscope/kinetoscope/omni"
)

// Metrics is the extension member "metrics": one request's durations in
// milliseconds, as the engine measured them. A duration that the request does
// not have is left out.
type Metrics struct {
	TTFT             float64            `json:"ttft_ms,omitempty"`
	TimePerToken     float64            `json:"time_per_output_token_ms,omitempty"`
	TimeToFirstAudio float64            `json:"time_to_first_audio_ms,omitempty"`
	Total            float64            `json:"total_ms,omitempty"`
	Stages           map[string]float64 `json:"stages,omitempty"` // "thinker.prefill" …, ms
}

// MetricsOf converts m; nil if it holds nothing.
func MetricsOf(m omni.Metrics) *Metrics {
	out := &Metrics{
		TTFT:             ms(m.TTFT),
		TimePerToken:     ms(m.TimePerToken),
		TimeToFirstAudio: ms(m.TimeToFirstAudio),
		Total:            ms(m.Total),
	}
	for name, d := range m.Stages {
		if out.Stages == nil {
			out.Stages = make(map[string]float64, len(m.Stages))
		}
		out.Stages[name] = ms(d)
	}
	if out.Stages == nil && m.TTFT == 0 && m.TimePerToken == 0 && m.TimeToFirstAudio == 0 && m.Total == 0 {
		return nil
	}
	return out
}

// ms keeps microseconds; more digits would be noise.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Completion is the body of a chat completion that is not streamed.
type Completion struct {
	ID      string     `json:"id"`
	Object  string     `json:"object"` // "chat.completion"
	Created int64      `json:"created"`
	Model   string     `json:"model"`
	Choices []Choice   `json:"choices"`
	Usage   omni.Usage `json:"usage"`
	Metrics *Metrics   `json:"metrics,omitempty"`
}

// Choice is a completion's one answer.
type Choice struct {
	Index        int     `json:"index"`
	Message      Message `json:"message"`
	FinishReason string  `json:"finish_reason"`
}

// Message is what the pipeline said. Content is a string, an array of image
// parts, or null if only audio was asked for.
type Message struct {
	Role    string  `json:"role"`
	Content any     `json:"content"`
	Refusal *string `json:"refusal"`
	Audio   *Audio  `json:"audio,omitempty"`
}

// Audio is a message's audio, whole.
type Audio struct {
	ID         string `json:"id"`
	Data       string `json:"data"` // base64 in the format asked for
	ExpiresAt  int64  `json:"expires_at"`
	Transcript string `json:"transcript"`
}

// ImagePart is a drawn image as a content part.
type ImagePart struct {
	Type     string   `json:"type"` // "image_url"
	ImageURL ImageURL `json:"image_url"`
}

// ImageURL holds an image as a data URL.
type ImageURL struct {
	URL string `json:"url"`
}

func imageParts(pngs [][]byte) []ImagePart {
	parts := make([]ImagePart, len(pngs))
	for i, p := range pngs {
		parts[i] = ImagePart{"image_url", ImageURL{"data:image/png;base64," + base64.StdEncoding.EncodeToString(p)}}
	}
	return parts
}

// Chunk is one event of a streamed chat completion.
type Chunk struct {
	ID       string        `json:"id"`
	Object   string        `json:"object"` // "chat.completion.chunk"
	Created  int64         `json:"created"`
	Model    string        `json:"model"`
	Modality string        `json:"modality,omitempty"` // vLLM-Omni's: what the delta holds
	Choices  []ChunkChoice `json:"choices"`
	Usage    *omni.Usage   `json:"usage,omitempty"`
	Metrics  *Metrics      `json:"metrics,omitempty"`
}

// ChunkChoice is what a chunk adds to the answer.
type ChunkChoice struct {
	Index        int     `json:"index"`
	Delta        Delta   `json:"delta"`
	FinishReason *string `json:"finish_reason"`
}

// Delta is a piece of a message. Content is a *string or image parts.
type Delta struct {
	Role    string      `json:"role,omitempty"`
	Content any         `json:"content,omitempty"`
	Audio   *AudioDelta `json:"audio,omitempty"`
}

// AudioDelta is a piece of a message's audio. Data decodes on its own;
// the decoded pieces joined are one PCM stream or WAV file.
type AudioDelta struct {
	ID         string `json:"id,omitempty"`
	Data       string `json:"data,omitempty"`
	Transcript string `json:"transcript,omitempty"`
	ExpiresAt  int64  `json:"expires_at,omitempty"`
}

// Images is the body of an image generation.
type Images struct {
	Created      int64     `json:"created"`
	Data         []ImgData `json:"data"`
	OutputFormat string    `json:"output_format"` // "png"
	Size         string    `json:"size,omitempty"`
	Metrics      *Metrics  `json:"metrics,omitempty"`
}

// ImgData is one image.
type ImgData struct {
	B64JSON string `json:"b64_json"`
}

// ImagesOf builds the body for PNG files drawn for r.
func ImagesOf(r *omni.Request, pngs [][]byte, m omni.Metrics, now time.Time) Images {
	out := Images{Created: now.Unix(), OutputFormat: "png", Data: make([]ImgData, len(pngs)), Metrics: MetricsOf(m)}
	for i, p := range pngs {
		out.Data[i].B64JSON = base64.StdEncoding.EncodeToString(p)
	}
	if r.Image.Width > 0 {
		out.Size = Size{r.Image.Width, r.Image.Height}.String()
	}
	return out
}

// Model is an entry of GET /v1/models.
type Model struct {
	ID      string `json:"id"`
	Object  string `json:"object"` // "model"
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// ModelList is the body of GET /v1/models.
type ModelList struct {
	Object string  `json:"object"` // "list"
	Data   []Model `json:"data"`
}
