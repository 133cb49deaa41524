package openai

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/omni"
)

// MaxAudioBytes bounds the audio that an answer gathers in memory, about 23
// minutes at 24 kHz. Streams are not gathered and have no such bound.
const MaxAudioBytes = 64 << 20

// ErrAudioTooLong means that the audio of an answer exceeds MaxAudioBytes.
var ErrAudioTooLong = errors.New("audio is over 64 MiB; ask for a stream")

// Answer gathers a request's outputs.
type Answer struct {
	Text         string
	PCM          []int16
	SampleRate   int // Hz; 0 until audio came
	Images       [][]byte
	FinishReason string
	Usage        omni.Usage
	Metrics      omni.Metrics

	text strings.Builder
}

// Add takes one output. It fails if the sample rate changes or the audio gets too long.
func (a *Answer) Add(o omni.Output) error {
	if err := a.Note(o); err != nil {
		return err
	}
	a.text.WriteString(o.Text)
	a.Text = a.text.String()
	if 2*(len(a.PCM)+len(o.PCM)) > MaxAudioBytes {
		return ErrAudioTooLong
	}
	a.PCM = append(a.PCM, o.PCM...)
	a.Images = append(a.Images, o.Images...)
	return nil
}

// Note keeps usage, metrics and the finish reason of o, but not its payload.
func (a *Answer) Note(o omni.Output) error {
	if len(o.PCM) > 0 {
		if o.SampleRate <= 0 || a.SampleRate != 0 && a.SampleRate != o.SampleRate {
			return fmt.Errorf("stage %s gave audio at %d Hz after %d Hz", o.StageName, o.SampleRate, a.SampleRate)
		}
		a.SampleRate = o.SampleRate
	}
	// The reason for which the text ended (stop, length) is the answer's; audio only follows the
	// text.
	if o.FinishReason != "" && (a.FinishReason == "" || o.Type == "text") {
		a.FinishReason = o.FinishReason
	}
	if o.Usage.TotalTokens > 0 {
		a.Usage = o.Usage
	}
	if o.Metrics.Total > 0 || len(o.Metrics.Stages) > 0 {
		a.Metrics = o.Metrics
	}
	return nil
}

func (a *Answer) reason() string {
	if a.FinishReason == "" {
		return "stop"
	}
	return a.FinishReason
}

// AudioBytes returns all samples in format f.
func (a *Answer) AudioBytes(f AudioFormat) []byte {
	b := make([]byte, 0, WAVHeaderSize+2*len(a.PCM))
	if f == FormatWAV {
		b = AppendWAVHeader(b, a.SampleRate, len(a.PCM))
	}
	return AppendPCM(b, a.PCM)
}

// Completion builds the body that answers c.
func (a *Answer) Completion(c *Chat, model string, now time.Time) Completion {
	msg := Message{Role: "assistant"}
	switch {
	case c.Image && len(a.Images) > 0:
		msg.Content = imageParts(a.Images)
	case c.Text:
		msg.Content = a.Text
	}
	if c.Audio {
		msg.Audio = &Audio{
			ID: audioID(c.Request.ID), Data: base64.StdEncoding.EncodeToString(a.AudioBytes(c.Format)),
			ExpiresAt: now.Unix() + AudioTTLSeconds, Transcript: a.Text,
		}
	}
	return Completion{
		ID: c.Request.ID, Object: "chat.completion", Created: now.Unix(), Model: model,
		Choices: []Choice{{Message: msg, FinishReason: a.reason()}},
		Usage:   a.Usage, Metrics: MetricsOf(a.Metrics),
	}
}

func audioID(request string) string {
	return "audio-" + strings.TrimPrefix(request, "chatcmpl-")
}

// Stream turns outputs into the chunks of a streamed completion. It holds no
// payload, so a stream may be of any length.
type Stream struct {
	chat    *Chat
	model   string
	created int64
	sum     Answer
	spoke   bool // an audio delta went out
}

// NewStream starts the stream that answers c.
func NewStream(c *Chat, model string, now time.Time) *Stream {
	return &Stream{chat: c, model: model, created: now.Unix()}
}

// Summary returns usage, metrics and reason so far; its payload is empty.
func (s *Stream) Summary() *Answer { return &s.sum }

func (s *Stream) chunk(modality string, d Delta) Chunk {
	return Chunk{
		ID: s.chat.Request.ID, Object: "chat.completion.chunk", Created: s.created, Model: s.model,
		Modality: modality, Choices: []ChunkChoice{{Delta: d}},
	}
}

// Open is the first chunk: the role.
func (s *Stream) Open() Chunk {
	empty := ""
	return s.chunk("", Delta{Role: "assistant", Content: &empty})
}

// Add returns the chunks for one output.
func (s *Stream) Add(o omni.Output) ([]Chunk, error) {
	first := s.sum.SampleRate == 0
	if err := s.sum.Note(o); err != nil {
		return nil, err
	}
	var out []Chunk
	if o.Text != "" {
		var d Delta
		if s.chat.Text {
			d.Content = &o.Text
		}
		if s.chat.Audio {
			d.Audio = s.audio(AudioDelta{Transcript: o.Text})
		}
		out = append(out, s.chunk("text", d))
	}
	if len(o.PCM) > 0 && s.chat.Audio {
		b := make([]byte, 0, WAVHeaderSize+2*len(o.PCM))
		if first && s.chat.Format == FormatWAV {
			b = AppendWAVHeader(b, o.SampleRate, UnknownSize)
		}
		data := base64.StdEncoding.EncodeToString(AppendPCM(b, o.PCM))
		out = append(out, s.chunk("audio", Delta{Audio: s.audio(AudioDelta{Data: data})}))
	}
	if len(o.Images) > 0 {
		out = append(out, s.chunk("image", Delta{Content: imageParts(o.Images)}))
	}
	return out, nil
}

// audio gives the first delta of the answer's audio its id.
func (s *Stream) audio(d AudioDelta) *AudioDelta {
	if !s.spoke {
		d.ID, s.spoke = audioID(s.chat.Request.ID), true
	}
	return &d
}

// Close returns the last chunks: the audio's expiry, the reason with the
// metrics, and the usage if it was asked for.
func (s *Stream) Close() []Chunk {
	var out []Chunk
	if s.spoke {
		out = append(out, s.chunk("audio", Delta{Audio: &AudioDelta{ExpiresAt: s.created + AudioTTLSeconds}}))
	}
	reason := s.sum.reason()
	end := s.chunk("", Delta{})
	end.Choices[0].FinishReason = &reason
	end.Metrics = MetricsOf(s.sum.Metrics)
	out = append(out, end)
	if s.chat.IncludeUsage {
		u := s.chunk("", Delta{})
		u.Choices, u.Usage = []ChunkChoice{}, &s.sum.Usage
		out = append(out, u)
	}
	return out
}
