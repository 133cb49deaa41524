package openai

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/omni"
)

var (
	omniCaps  = Capabilities{Model: "m", Text: true, Audio: true}
	imageCaps = Capabilities{Model: "m", Image: true}
)

func ptr[T any](v T) *T { return &v }

func TestParseChat(t *testing.T) {
	tests := []struct {
		name, body string
		want       Chat
	}{
		{
			"least", `{"messages":[{"role":"user","content":"hi"}]}`,
			Chat{Text: true, Audio: true, Format: FormatWAV, Request: omni.Request{
				Messages: []omni.Message{{Role: "user", Content: "hi"}}, Modalities: []string{"text", "audio"},
			}},
		},
		{
			"parts, developer, null content, unknown fields",
			`{"model":"m","user":"u","store":true,"messages":[{"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":null,"name":"x"},{"role":"user","content":""}],"modalities":["text"]}`,
			Chat{Text: true, Format: FormatWAV, Request: omni.Request{
				Messages:   []omni.Message{{Role: "system", Content: "a\nb"}, {Role: "assistant"}, {Role: "user"}},
				Modalities: []string{"text"},
			}},
		},
		{
			"sampling",
			`{"messages":[{"role":"user","content":"hi"}],"max_tokens":9,"max_completion_tokens":3,"temperature":0,"top_k":-1,"top_p":1,"seed":7,"stop":"END","ignore_eos":true,"n":1,"modalities":["audio"],"stream":true,"stream_options":{"include_usage":true},"logprobs":null,"tools":[],"response_format":{"type":"text"}}`,
			Chat{Stream: true, IncludeUsage: true, Audio: true, Format: FormatPCM, Request: omni.Request{
				Messages: []omni.Message{{Role: "user", Content: "hi"}}, Modalities: []string{"text", "audio"},
				Sampling: omni.Sampling{MaxTokens: ptr(3), Temperature: ptr(0.0), TopK: ptr(-1), TopP: ptr(1.0),
					Seed: ptr(uint64(7)), Stop: []string{"END"}, IgnoreEOS: true},
			}},
		},
	}
	for _, tt := range tests {
		got, err := ParseChat([]byte(tt.body), omniCaps)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if d := cmp.Diff(&tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

func TestChatImageFields(t *testing.T) {
	got,
		err := ParseChat(
		[]byte(`{"messages":[{"role":"user","content":"x"}],"n":4,"size":"64x64","seed":1,"true_cfg_scale":2,
		"extra_body":{"num_inference_steps":8,"guidance_scale":4.5,"negative_prompt":"blur","num_outputs_per_prompt":2}}`), imageCaps)
	if err != nil {
		t.Fatal(err)
	}
	want := omni.Image{N: 2, Width: 64, Height: 64, Steps: 8, Guidance: 4.5, NegativePrompt: "blur",
		Seed: ptr(uint64(1))}
	if d := cmp.Diff(want, got.Request.Image); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSizes(t *testing.T) {
	for text, ok := range map[string]bool{
		"64x64": true, "auto": true, "": true, "64X64": false, "65x64": true, "4097x64": false, "0x64": false,
		"-64x64": false,
		"64x":    false, "99999999999999999999x1": false, "64x64x64": false, " 64x64": false,
	} {
		_, err := parseSize(text, "size")
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && !strings.Contains(err.Error(), "allowed are 1x1 to 4096x4096") {
			t.Errorf("%q: %v does not name the sizes", text, err)
		}
	}
}

func TestWAVHeaderSizes(t *testing.T) {
	const largest = (math.MaxUint32 - WAVHeaderSize) / 2
	for samples, want := range map[int]uint32{0: 0, 10: 20, largest: largest * 2, largest + 1: math.MaxUint32,
		UnknownSize: math.MaxUint32} {
		h := AppendWAVHeader(nil, 24000, samples)
		if len(h) != WAVHeaderSize {
			t.Fatalf("header has %d bytes", len(h))
		}
		if got := uint32(h[40]) | uint32(h[41])<<8 | uint32(h[42])<<16 | uint32(h[43])<<24; got != want {
			t.Errorf("%d samples: data size %d, want %d", samples, got, want)
		}
	}
}

func TestAnswerRefusesMixedRatesAndEndlessAudio(t *testing.T) {
	var a Answer
	if err := a.Add(omni.Output{PCM: []int16{1}, SampleRate: 24000}); err != nil {
		t.Fatal(err)
	}
	if err := a.Add(omni.Output{PCM: []int16{1}, SampleRate: 16000, StageName: "code2wav"}); err == nil ||
		!strings.Contains(err.Error(), "code2wav") {
		t.Errorf("err = %v", err)
	}
	if err := a.Add(omni.Output{PCM: make([]int16, MaxAudioBytes/2), SampleRate: 24000}); !errors.Is(err,
		ErrAudioTooLong) {
		t.Errorf("err = %v", err)
	}
}

// TestStreamEqualsCompletion: the deltas of a stream, joined, are the message
// that is not streamed, however the outputs were cut.
func TestStreamEqualsCompletion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var outs []omni.Output
		for range rapid.IntRange(0, 8).Draw(t, "n") {
			if rapid.Bool().Draw(t, "audio") {
				outs = append(outs, omni.Output{Type: "audio", PCM: rapid.SliceOf(rapid.Int16()).Draw(t, "pcm"),
					SampleRate: 24000})
			} else {
				outs = append(outs, omni.Output{Type: "text", Text: rapid.StringMatching(`[a-zé<" ]*`).Draw(t, "text")})
			}
		}
		c := &Chat{Text: true, Audio: true, Format: FormatPCM}
		c.Request.ID = "chatcmpl-1"
		st := NewStream(c, "m", time.Unix(1, 0))
		chunks := []Chunk{st.Open()}
		var whole Answer
		for _, o := range outs {
			more, err := st.Add(o)
			if err != nil {
				t.Fatal(err)
			}
			chunks = append(chunks, more...)
			if err := whole.Add(o); err != nil {
				t.Fatal(err)
			}
		}
		chunks = append(chunks, st.Close()...)
		text, pcm := joined(t, chunks)
		if want := string(whole.AudioBytes(FormatPCM)); text != whole.Text || pcm != want {
			t.Fatalf("stream gives %q and %d bytes, want %q and %d", text, len(pcm), whole.Text, len(want))
		}
		if r := chunks[len(chunks)-1].Choices[0].FinishReason; r == nil || *r != "stop" {
			t.Fatalf("last chunk has no reason")
		}
	})
}

// joined reads chunks back from their JSON, as a client does.
func joined(t *rapid.T, chunks []Chunk) (text, pcm string) {
	for _, c := range chunks {
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var v struct {
			Choices []struct {
				Delta struct {
					Content string
					Audio   struct{ Data []byte }
				}
			}
		}
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		for _, k := range v.Choices {
			text += k.Delta.Content
			pcm += string(k.Delta.Audio.Data)
		}
	}
	return text, pcm
}

// checkError holds what every refusal promises a client.
func checkError(t *testing.T, err error) {
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T is no *Error: %v", err, err)
	}
	if e.Status < 400 || e.Status > 499 || e.Message == "" || e.Type == "" || e.Code == "" {
		t.Fatalf("error lacks a part: %+v", e)
	}
}

var seeds = []string{
	`{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"stop":["x"],"audio":{"format":"wav"},"stream":true}`,
	`{"prompt":"a","n":2,"size":"64x64","seed":-1,"guidance_scale":1e300}`,
	`{"input":"a","response_format":"pcm","speed":1}`,
	`{"messages":[{"role":"user","content":{"a":[1,2]}}]}`, "{\"messages\":\n\n[", `[]`, `null`, `{"n":1e99}`,
	`{"seed":9223372036854775808}`, "\xff", `{"stop":"\ud800"}`,
}

func FuzzParseChat(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, caps := range []Capabilities{omniCaps, imageCaps} {
			c, err := ParseChat(data, caps)
			if err != nil {
				checkError(t, err)
				continue
			}
			if n := len(c.Request.Messages); n < 1 || n > MaxMessages || len(c.Request.Sampling.Stop) > omni.MaxStops ||
				len(c.Request.Modalities) == 0 {
				t.Fatalf("accepted out of bounds: %+v", c)
			}
			if m := c.Request.Sampling.MaxTokens; m != nil && *m < 1 {
				t.Fatalf("accepted max_tokens %d", *m)
			}
		}
	})
}

func FuzzParseImages(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseImages(data, Capabilities{Model: "m", Image: true})
		if err != nil {
			checkError(t, err)
			return
		}
		im := r.Image
		if im.N < 1 || im.N > MaxImages || im.Width < 0 || im.Width > MaxImageSide || im.Height > MaxImageSide ||
			im.Steps > omni.MaxSteps || im.Guidance > omni.MaxGuidance {
			t.Fatalf("accepted out of bounds: %+v", im)
		}
	})
}

func FuzzParseSpeech(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sp, err := ParseSpeech(data, omniCaps)
		if err != nil {
			checkError(t, err)
			return
		}
		if sp.Format != FormatWAV && sp.Format != FormatPCM || len(sp.Request.Messages) != 1 {
			t.Fatalf("accepted %+v", sp)
		}
	})
}
