// Package omni runs a generative pipeline: its stages as rank processes, the
// hand-offs between them, and the requests that go through. It is the offline
// API; the server in package web is a shell round it.
package omni

import (
	"context"
	"iter"
	"time"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// Request asks the pipeline for one generation.
type Request struct {
	ID         string    // empty: a ULID
	Messages   []Message // the conversation; diffusion takes the last user text as prompt
	Modalities []string  // "text", "audio", "image"; nil: all that the pipeline makes
	Sampling   Sampling
	Image      Image
	// TraceParent is the W3C trace context that the request belongs to; zero: none. Its
	// trace id is in the traces of every stage, and a session with sample_requests
	// records the request if the context is sampled, whatever the request's id says.
	TraceParent profiler.TraceParent
}

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Sampling says how llm stages choose tokens. Nil fields take the stage's default_sampling_params.
type Sampling struct {
	MaxTokens   *int     `json:"max_tokens,omitempty"`
	Temperature *float64 `json:"temperature,omitempty"` // 0: greedy
	TopK        *int     `json:"top_k,omitempty"`       // <= 0: all
	TopP        *float64 `json:"top_p,omitempty"`
	Seed        *uint64  `json:"seed,omitempty"`
	Stop        []string `json:"stop,omitempty"`
	IgnoreEOS   bool     `json:"ignore_eos,omitempty"`
}

// Image says what a diffusion pipeline draws.
type Image struct {
	N              int     `json:"n,omitempty"` // images, batched; 0: 1
	Width          int     `json:"width,omitempty"`
	Height         int     `json:"height,omitempty"`
	Steps          int     `json:"num_inference_steps,omitempty"`
	Guidance       float64 `json:"guidance_scale,omitempty"` // > 1: classifier-free guidance
	NegativePrompt string  `json:"negative_prompt,omitempty"`
	Seed           *uint64 `json:"seed,omitempty"`
}

// Output is a piece of what a request made, as it became ready.
type Output struct {
	RequestID    string
	Stage        int
	StageName    string
	Type         string   // "text", "audio", "image"
	Text         string   // new text
	PCM          []int16  // new mono samples
	SampleRate   int      // Hz, of PCM
	Images       [][]byte // PNG files
	Finished     bool     // the last output of this type
	FinishReason string   // "stop", "length"
	Usage        Usage    // with the last output
	Metrics      Metrics  // with the last output
}

// Usage counts tokens.
type Usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

// Metrics are the durations of one request.
type Metrics struct {
	TTFT             time.Duration // to the first text token
	TimePerToken     time.Duration // mean between text tokens
	TimeToFirstAudio time.Duration
	Total            time.Duration
	Stages           map[string]time.Duration // "thinker.prefill", "dit.denoise_step" …: summed time
}

// StageInfo describes a stage of an open pipeline.
type StageInfo struct {
	ID       int
	Name     string
	Type     protocol.StageType
	Engine   protocol.Engine
	Replicas int
	Ranks    int    // in a replica
	Output   string // "text", "audio", "image" or "" if its output is handed on only
	Profiler bool   // has a profiler_config with a profiler
}

// Ref names the stage as requests are checked against it.
func (s StageInfo) Ref() protocol.StageRef { return protocol.StageRef{ID: s.ID, Name: s.Name} }

// API is what an open pipeline offers; *Engine implements it. The server in package web is written against it.
type API interface {
	Model() string
	Stages() []StageInfo
	Generate(ctx context.Context, r Request) iter.Seq2[Output, error]
	StartProfile(ctx context.Context, r protocol.StartRequest) (*session.Status, error)
	StopProfile(ctx context.Context) (*session.Status, error)
	CollectiveRPC(ctx context.Context, method string, args map[string]any, stages []int) ([]protocol.StageReply, error)
	Close() error
}
