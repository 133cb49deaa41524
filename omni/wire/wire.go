// Package wire is what the orchestrator and the stages of a pipeline send each
// other while they serve: requests, hand-offs, outputs, cancellations. A message is
// one NATS payload, a frame: a JSON header with tensors and blobs behind it.
package wire

import (
	"fmt"
	"strings"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// Kind says what a Message is.
type Kind string

// The kinds of message.
const (
	KindSubmit  Kind = "submit"  // orchestrator -> first stage
	KindHandoff Kind = "handoff" // stage -> next stage
	KindCancel  Kind = "cancel"  // orchestrator -> every stage of the route
	KindOutput  Kind = "output"  // final-output stage -> orchestrator
	KindDone    Kind = "done"    // stage -> orchestrator: nothing more comes from it
	KindError   Kind = "error"   // stage -> orchestrator: the request failed there
)

// MaxHeader bounds a header: a prompt of MaxPrompt bytes in JSON's worst case and
// some hundred bytes of route.
const MaxHeader = 1 << 20

// MaxPrompt bounds a prompt, in bytes. It keeps a header far below MaxHeader; the
// stage's max_model_len is the bound that users meet.
const MaxPrompt = 128 << 10

// Hop is a replica that a request passes.
type Hop struct {
	Stage   int    `json:"stage"`
	Replica int    `json:"replica"`
	Subject string `json:"subject"` // where it takes hand-offs
}

// Request is what all stages of a request's route know about it.
type Request struct {
	ID       string    `json:"id"`
	Arrival  int64     `json:"arrival"` // Unix ns at the orchestrator
	Reply    string    `json:"reply"`   // subject for outputs
	Route    []Hop     `json:"route"`
	Outputs  []string  `json:"outputs"`
	Prompt   string    `json:"prompt"`
	Negative string    `json:"negative_prompt,omitempty"`
	Sampling *Sampling `json:"sampling,omitempty"` // of the stage that makes text; nil: defaults
	Image    *Image    `json:"image,omitempty"`
	// TraceParent is the W3C trace context that the request came with, as the header
	// has it; empty: none.
	TraceParent string `json:"traceparent,omitempty"`
}

// Sampling overrides a stage's defaults.
type Sampling struct {
	MaxTokens   *int     `json:"max_tokens,omitempty"`
	Temperature *float64 `json:"temperature,omitempty"`
	TopK        *int     `json:"top_k,omitempty"`
	TopP        *float64 `json:"top_p,omitempty"`
	Seed        *uint64  `json:"seed,omitempty"`
	Stop        []string `json:"stop,omitempty"`
	IgnoreEOS   bool     `json:"ignore_eos,omitempty"`
}

// Image is what a diffusion request draws, all fields set.
type Image struct {
	N        int     `json:"n"`
	Width    int     `json:"width"`  // pixels
	Height   int     `json:"height"` // pixels
	Steps    int     `json:"steps"`
	Guidance float64 `json:"guidance"`
	Seed     uint64  `json:"seed"`
}

// Message is a header. Fields beyond Kind and ID depend on Kind.
type Message struct {
	Kind    Kind     `json:"kind"`
	ID      string   `json:"id"`
	Request *Request `json:"request,omitempty"` // submit, cancel, and the first hand-off of a stage
	Reply   string   `json:"reply,omitempty"`   // of a hand-off: where errors go
	From    int      `json:"from"`              // stage
	Chunk   int      `json:"chunk"`             // hand-offs and outputs of a stage count from 0
	Final   bool     `json:"final,omitempty"`   // the last hand-off or output of the stage
	Flow    uint64   `json:"flow,omitempty"`    // of the recording: ties send to receive
	SentNs  int64    `json:"sent_ns,omitempty"` // on the clock of Host
	Host    string   `json:"host,omitempty"`

	Tokens []int32       `json:"tokens,omitempty"` // codec frames, token ids
	Text   string        `json:"text,omitempty"`
	Type   string        `json:"type,omitempty"`   // of an output: text, audio, image
	Reason string        `json:"reason,omitempty"` // finish reason, or error text
	Code   protocol.Code `json:"code,omitempty"`   // of an error
	Param  string        `json:"param,omitempty"`  // of an error: the request's field that is wrong

	SampleRate   int              `json:"sample_rate,omitempty"`
	PromptTokens int              `json:"prompt_tokens,omitempty"`
	NewTokens    int              `json:"new_tokens,omitempty"`
	Durations    map[string]int64 `json:"durations,omitempty"` // done: ns per phase

	// TookNs is how long a hand-off was on its way; the receiver sets it, where both
	// ends read the same clock.
	TookNs   int64       `json:"-"`
	Tensors  [][]float32 `json:"-"`
	BlobData [][]byte    `json:"-"`
}

// Flow returns the flow id of a hand-off: the same at both ends, in any process.
func Flow(request string, from, to, chunk int) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	mix := func(b byte) { h = (h ^ uint64(b)) * prime }
	for i := range len(request) {
		mix(request[i])
	}
	for _, v := range []int{from, to, chunk} {
		mix(byte(v))
		mix(byte(v >> 8))
		mix(byte(v >> 16))
	}
	// Viewers keep ids in doubles and signed integers: stay below 2^53, and off 0.
	return h>>11 | 1
}

// Encode returns m as one payload. A message beyond the wire's limits is an error.
func Encode(m *Message) ([]byte, error) {
	data, err := EncodeFrame(m, m.Tensors, m.BlobData)
	if err != nil {
		return nil, fmt.Errorf("%s of request %s: %w", m.Kind, m.ID, err)
	}
	if len(data) > protocol.MaxPayload {
		return nil, fmt.Errorf("%s of request %s: %d bytes are over the wire's %d; lower handoff_chunk or n", m.Kind,
			m.ID, len(data), protocol.MaxPayload)
	}
	return data, nil
}

// Decode reads a payload. The message does not keep data.
func Decode(data []byte) (*Message, error) {
	m := new(Message)
	var err error
	if m.Tensors, m.BlobData, err = DecodeFrame(data, m); err != nil {
		return nil, err
	}
	return m, nil
}

// Sampled reports whether a session with sample_requests every records a request that has no trace
// context. It depends only on the id, so that every stage and rank decides alike.
func Sampled(id string, every int) bool {
	return every <= 1 || (Flow(id, 0, 0, 0)>>1)%uint64(every) == 0 // the lowest bit is always set
}

// Hop returns the index in the route of the given stage, -1 if the request does not pass it.
func (r *Request) Hop(stage int) int {
	for i, h := range r.Route {
		if h.Stage == stage {
			return i
		}
	}
	return -1
}

// CheckSender refuses a message that arrived on subject if it claims another sender, or if its kind
// is not one that the sender may send.
func CheckSender(subject string, m *Message) error {
	sender := subject[strings.LastIndexByte(subject, '.')+1:]
	var ofHub bool
	switch m.Kind {
	case KindSubmit, KindCancel:
		ofHub = true
	}
	if sender == protocol.SenderHub {
		if !ofHub {
			return fmt.Errorf("a %s of request %s comes from the hub: only stages send that", m.Kind, m.ID)
		}
		return nil
	}
	stage, _, _ := strings.Cut(sender, "-")
	if ofHub || stage != fmt.Sprintf("s%d", m.From) {
		return fmt.Errorf("a %s of request %s says that stage %d sent it, and comes from %s: it is not taken", m.Kind,
			m.ID, m.From, sender)
	}
	return nil
}
