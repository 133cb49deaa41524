package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"flag"
	"image/png"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/kinetoscope/kinetoscope/omni"
	wire "github.com/kinetoscope/kinetoscope/web/openai"
)

var update = flag.Bool("update", false, "rewrite golden files")

func client(url string) openai.Client {
	return openai.NewClient(option.WithBaseURL(url+"/v1/"), option.WithAPIKey("none"), option.WithMaxRetries(0))
}

func ask(text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:    "mem/model",
		Messages: []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("be brief"), openai.UserMessage(text)},
	}
}

func TestClientChat(t *testing.T) {
	eng := newOmni()
	_, url := start(t, eng)
	p := ask("one two three")
	p.Modalities = []string{"text", "audio"}
	p.Audio = openai.ChatCompletionAudioParam{Format: "wav",
		Voice: openai.ChatCompletionAudioParamVoiceUnion{OfString: openai.String("alloy")}}
	p.MaxCompletionTokens = openai.Int(2)
	p.Temperature, p.TopP, p.Seed = openai.Float(0.5), openai.Float(0.9), openai.Int(-7)
	p.Stop = openai.ChatCompletionNewParamsStopUnion{OfStringArray: []string{"END"}}
	c := client(url)
	res, err := c.Chat.Completions.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	ch := res.Choices[0]
	if ch.Message.Content != "one two " || ch.FinishReason != "length" || res.Usage.CompletionTokens != 2 ||
		res.Usage.TotalTokens != 7 {
		t.Errorf("answer %+v, usage %+v", ch, res.Usage)
	}
	if ch.Message.Audio.Transcript != "one two " || ch.Message.Audio.ID == "" ||
		ch.Message.Audio.ExpiresAt <= res.Created {
		t.Errorf("audio %+v", ch.Message.Audio)
	}
	wav, err := base64.StdEncoding.DecodeString(ch.Message.Audio.Data)
	if err != nil {
		t.Fatal(err)
	}
	checkWAV(t, wav, slices.Concat(tone(0), tone(1)), false)
	m := res.JSON.ExtraFields["metrics"].Raw()
	if want := `{"ttft_ms":12,"time_per_output_token_ms":2.5,"time_to_first_audio_ms":20,"total_ms":50,"stages":{"thinker.prefill":10}}`; m != want {
		t.Errorf("metrics %s", m)
	}
	got := eng.last.Load()
	seed, temp, topP, two := ^uint64(6), 0.5, 0.9, 2
	want := &omni.Request{
		ID:         res.ID,
		Messages:   []omni.Message{{Role: "system", Content: "be brief"}, {Role: "user", Content: "one two three"}},
		Modalities: []string{"text", "audio"},
		Sampling:   omni.Sampling{MaxTokens: &two, Temperature: &temp, TopP: &topP, Seed: &seed, Stop: []string{"END"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("request (-want +got):\n%s", d)
	}
}

// checkWAV parses the header on its own, field by field.
func checkWAV(t *testing.T, b []byte, pcm []int16, stream bool) {
	t.Helper()
	if len(b) != 44+2*len(pcm) {
		t.Fatalf("WAV has %d bytes, want %d", len(b), 44+2*len(pcm))
	}
	le := binary.LittleEndian
	riff, data := uint32(len(b)-8), uint32(len(b)-44)
	if stream {
		riff, data = 0xFFFFFFFF, 0xFFFFFFFF
	}
	type header struct {
		RIFF, WAVE, Fmt, Data            string
		Size, FmtSize, Rate, Bps, DataSz uint32
		PCM, Channels, Block, Bits       uint16
	}
	got := header{
		string(b[:4]), string(b[8:12]), string(b[12:16]), string(b[36:40]),
		le.Uint32(b[4:]), le.Uint32(b[16:]), le.Uint32(b[24:]), le.Uint32(b[28:]), le.Uint32(b[40:]),
		le.Uint16(b[20:]), le.Uint16(b[22:]), le.Uint16(b[32:]), le.Uint16(b[34:]),
	}
	want := header{"RIFF", "WAVE", "fmt ", "data", riff, 16, toneRate, 2 * toneRate, data, 1, 1, 2, 16}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("WAV header (-want +got):\n%s", d)
	}
	samples(t, b[44:], pcm)
}

func samples(t *testing.T, b []byte, want []int16) {
	t.Helper()
	got := make([]int16, len(b)/2)
	if _, err := binary.Decode(b, binary.LittleEndian, got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("samples (-want +got):\n%s", d)
	}
}

func TestClientChatModalities(t *testing.T) {
	_, url := start(t, newOmni())
	c := client(url)
	p := ask("one two")
	p.Modalities = []string{"text"}
	res, err := c.Chat.Completions.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if res.Choices[0].Message.Content != "one two " || res.Choices[0].Message.JSON.Audio.Valid() {
		t.Errorf("text only: %s", res.RawJSON())
	}
	p.Modalities = []string{"audio"}
	if res, err = c.Chat.Completions.New(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	m := res.Choices[0].Message
	if m.JSON.Content.Valid() || m.Audio.Transcript != "one two " || m.Audio.Data == "" {
		t.Errorf("audio only: %s", res.RawJSON())
	}
}

func TestClientChatStream(t *testing.T) {
	_, url := start(t, newOmni())
	for _, format := range []string{"", "wav"} {
		p := ask("one two three")
		if format != "" {
			p.Modalities = []string{"text", "audio"}
			p.Audio = openai.ChatCompletionAudioParam{Format: openai.ChatCompletionAudioParamFormat(format)}
		}
		p.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
		c := client(url)
		st := c.Chat.Completions.NewStreaming(t.Context(), p)
		var acc openai.ChatCompletionAccumulator
		var audio []byte
		var transcript, audioID string
		for st.Next() {
			ch := st.Current()
			if !acc.AddChunk(ch) {
				t.Fatalf("chunk does not fit: %s", ch.RawJSON())
			}
			for _, k := range ch.Choices {
				b, err := base64.StdEncoding.DecodeString(k.Delta.Audio.Data)
				if err != nil {
					t.Fatal(err)
				}
				audio = append(audio, b...)
				transcript += k.Delta.Audio.Transcript
				audioID += k.Delta.Audio.ID
			}
		}
		if err := st.Err(); err != nil {
			t.Fatal(err)
		}
		st.Close()
		if got := acc.Choices[0].Message.Content; got != "one two three " || transcript != got {
			t.Errorf("text %q, transcript %q", got, transcript)
		}
		if acc.Choices[0].FinishReason != "stop" || acc.Usage.TotalTokens != 8 ||
			!strings.HasPrefix(audioID, "audio-") {
			t.Errorf("reason %q, usage %+v, audio id %q", acc.Choices[0].FinishReason, acc.Usage, audioID)
		}
		pcm := slices.Concat(tone(0), tone(1), tone(2))
		if format == "wav" {
			checkWAV(t, audio, pcm, true)
		} else {
			samples(t, audio, pcm)
		}
	}
}

func TestClientChatErrors(t *testing.T) {
	_, url := start(t, newOmni())
	c := client(url)
	p := ask("one")
	p.Model = "gpt-9"
	_, err := c.Chat.Completions.New(t.Context(), p)
	var e *openai.Error
	if !errors.As(err, &e) || e.StatusCode != 404 || e.Code != "model_not_found" || e.Param != "model" {
		t.Errorf("err = %v", err)
	}
	st := c.Chat.Completions.NewStreaming(t.Context(), ask("one boom two"))
	var text string
	for st.Next() {
		for _, k := range st.Current().Choices {
			text += k.Delta.Content
		}
	}
	if text != "one " || st.Err() == nil || !strings.Contains(st.Err().Error(), "rank 1 is lost") {
		t.Errorf("text %q, err %v", text, st.Err())
	}
}

func TestClientSpeech(t *testing.T) {
	_, url := start(t, newOmni())
	c := client(url)
	for _, stream := range []bool{false, true} {
		for _, f := range []openai.AudioSpeechNewParamsResponseFormat{"wav", "pcm"} {
			res, err := c.Audio.Speech.New(t.Context(), openai.AudioSpeechNewParams{
				Model: "mem/model", Input: "one two", ResponseFormat: f,
				Voice: openai.AudioSpeechNewParamsVoiceUnion{OfString: openai.String("alloy")},
			}, option.WithJSONSet("stream", stream))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			pcm := slices.Concat(tone(0), tone(1))
			if f == "wav" {
				checkWAV(t, b, pcm, stream)
			} else {
				samples(t, b, pcm)
			}
			if got := res.Header.Get("Content-Type"); got != "audio/"+string(f) {
				t.Errorf("content type %q", got)
			}
			if (res.ContentLength < 0) != stream || res.Header.Get("X-Sample-Rate") != "24000" {
				t.Errorf("length %d, rate %q", res.ContentLength, res.Header.Get("X-Sample-Rate"))
			}
		}
	}
}

func TestSpeechStreamsAsMade(t *testing.T) {
	eng := newOmni()
	eng.gate = make(chan struct{})
	_, url := start(t, eng)
	res, err := http.Post(url+"/v1/audio/speech", "application/json",
		strings.NewReader(`{"input":"one two","stream":true,"response_format":"pcm"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	first := make([]byte, 2*len(tone(0)))
	if _, err := io.ReadFull(res.Body, first); err != nil { // the engine waits at the gate
		t.Fatal(err)
	}
	samples(t, first, tone(0))
	eng.gate <- struct{}{}
	rest, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	samples(t, rest, tone(1))
}

func TestClientImages(t *testing.T) {
	eng := newDiffusion()
	_, url := start(t, eng)
	c := client(url)
	res, err := c.Images.Generate(t.Context(), openai.ImageGenerateParams{
		Prompt: "a horse in motion", N: openai.Int(3), Size: "64x32", ResponseFormat: "b64_json",
	}, option.WithJSONSet("seed", 5), option.WithJSONSet("num_inference_steps", 4),
		option.WithJSONSet("guidance_scale", 3.5), option.WithJSONSet("negative_prompt", "blur"))
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Data) != 3 || res.Size != "64x32" || eng.batches.Load() != 1 {
		t.Fatalf("%d images of size %q in %d batches", len(res.Data), res.Size, eng.batches.Load())
	}
	for i, d := range res.Data {
		b, err := base64.StdEncoding.DecodeString(d.B64JSON)
		if err != nil {
			t.Fatal(err)
		}
		im, err := png.Decode(bytes.NewReader(b))
		if err != nil || im.Bounds().Dx() != 64 || im.Bounds().Dy() != 32 {
			t.Errorf("image %d: %v", i, err)
		}
	}
	seed := uint64(5)
	want := omni.Image{N: 3, Width: 64, Height: 32, Steps: 4, Guidance: 3.5, NegativePrompt: "blur", Seed: &seed}
	if d := cmp.Diff(want, eng.last.Load().Image); d != "" {
		t.Errorf("image (-want +got):\n%s", d)
	}
	if m := res.JSON.ExtraFields["metrics"].Raw(); m != `{"total_ms":40,"stages":{"dit.denoise_step":30}}` {
		t.Errorf("metrics %s", m)
	}
}

func TestChatDraws(t *testing.T) {
	eng := newDiffusion()
	_, url := start(t, eng)
	_, _, body := call(t, "POST", url+"/v1/chat/completions",
		`{"messages":[{"role":"user","content":[{"type":"text","text":"a horse"}]}],"seed":1,"extra_body":{"height":16,"width":32,"num_outputs_per_prompt":2,"num_inference_steps":3}}`)
	c := parse[struct {
		Choices []struct {
			Message struct {
				Content []wire.ImagePart
			}
		}
	}](t, body)
	parts := c.Choices[0].Message.Content
	if len(parts) != 2 || parts[0].Type != "image_url" {
		t.Fatalf("parts %+v", parts)
	}
	data, ok := strings.CutPrefix(parts[1].ImageURL.URL, "data:image/png;base64,")
	b, err := base64.StdEncoding.DecodeString(data)
	if !ok || err != nil || !bytes.Equal(b, drawing(32, 16, 1)) {
		t.Errorf("second image is not the one drawn: %v", err)
	}
	if im := eng.last.Load().Image; im.Steps != 3 || im.N != 2 || *im.Seed != 1 {
		t.Errorf("image %+v", im)
	}
}

func TestClientModels(t *testing.T) {
	_, url := start(t, newOmni())
	c := client(url)
	page, err := c.Models.List(t.Context())
	if err != nil || len(page.Data) != 1 || page.Data[0].ID != "mem/model" {
		t.Fatalf("%+v %v", page, err)
	}
	m, err := c.Models.Get(t.Context(), "mem/model")
	if err != nil || m.OwnedBy != "kinetoscope" {
		t.Errorf("%+v %v", m, err)
	}
}

// volatile parts of an answer, for golden text.
var volatile = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`(chatcmpl|audio)-[0-9A-Z]{26}`), "$1-ID"},
	{regexp.MustCompile(`"(created|expires_at)":\d+`), `"$1":0`},
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	for _, v := range volatile {
		got = v.re.ReplaceAllString(got, v.to)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; -update rewrites):\n%s", path, d)
	}
}

func TestStreamGolden(t *testing.T) {
	_, url := start(t, newOmni())
	_, durl := start(t, newDiffusion())
	tests := []struct{ name, url, body string }{
		{"text.sse", url,
			`{"stream":true,"modalities":["text"],"messages":[{"role":"user","content":"<one> \"two\""}]}`},
		{"text_audio_usage.sse", url,
			`{"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"one two"}]}`},
		{"audio_wav.sse", url,
			`{"stream":true,"modalities":["audio"],"audio":{"format":"wav"},"messages":[{"role":"user","content":"one"}]}`},
		{"error.sse", url, `{"stream":true,"modalities":["text"],"messages":[{"role":"user","content":"one boom"}]}`},
		{"image.sse", durl, `{"stream":true,"messages":[{"role":"user","content":"a horse"}]}`},
	}
	for _, tt := range tests {
		status, h, body := call(t, "POST", tt.url+"/v1/chat/completions", tt.body)
		if status != 200 || h.Get("Content-Type") != "text/event-stream; charset=utf-8" {
			t.Errorf("%s: %d %v", tt.name, status, h)
		}
		golden(t, tt.name, body)
	}
}

func TestCancelledClientFreesTheRequest(t *testing.T) {
	eng := newOmni()
	eng.gate = make(chan struct{})
	_, url := start(t, eng)
	for _, tt := range []struct{ path, body string }{
		{"/v1/chat/completions", `{"messages":[{"role":"user","content":"one two"}]}`},
		{"/v1/chat/completions", `{"stream":true,"messages":[{"role":"user","content":"one two"}]}`},
		{"/v1/audio/speech", `{"input":"one two"}`},
		{"/v1/audio/speech", `{"input":"one two","stream":true}`},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "POST", url+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if res, err := http.DefaultClient.Do(req); err == nil {
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		}()
		eventually(t, "engine at work", func() bool { return eng.active.Load() == 1 })
		cancel()
		<-done
		eventually(t, "engine freed", func() bool { return eng.active.Load() == 0 })
	}
	_, _, body := call(t, "GET", url+"/metrics", "")
	if !strings.Contains(body,
		`kinetoscope_http_requests_total{code="499",method="POST",path="/v1/chat/completions"}`) {
		t.Error("no 499 is counted")
	}
}

// endless streams audio until its context ends.
type endless struct{ *memEngine }

func (e endless) Generate(ctx context.Context, r omni.Request) iter.Seq2[omni.Output, error] {
	if r.Messages[len(r.Messages)-1].Content != "endless" {
		return e.memEngine.Generate(ctx, r)
	}
	return func(yield func(omni.Output, error) bool) {
		e.active.Add(1)
		defer e.active.Add(-1)
		pcm := make([]int16, 1<<15)
		for ctx.Err() == nil {
			if !yield(omni.Output{Type: "audio", PCM: pcm, SampleRate: toneRate}, nil) {
				return
			}
		}
		yield(omni.Output{}, ctx.Err())
	}
}

func TestSlowClientBlocksNobodyAndIsCutOff(t *testing.T) {
	eng := newOmni()
	_, url := start(t, endless{eng}, func(c *Config) { c.stallTimeout = 300 * time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"input":"endless","stream":true}`
	if _, err := io.WriteString(conn, "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: 33\r\n\r\n"+
		body); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("%q %v", line, err)
	}
	// The client reads no more. Others are served meanwhile, and it is cut off.
	if status, _, _ := call(t, "POST", url+"/v1/audio/speech", `{"input":"one"}`); status != 200 {
		t.Errorf("other client: %d", status)
	}
	eventually(t, "stalled client cut off", func() bool { return eng.active.Load() == 0 })
}

func TestBodyDeadlineDoesNotCutTheAnswer(t *testing.T) {
	eng := newOmni()
	eng.gate = make(chan struct{})
	_, url := start(t, eng, func(c *Config) { c.bodyTimeout = 100 * time.Millisecond })
	// A client that does not send its body is refused …
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn,
		"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: 33\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	reply, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(reply), "read body after 1 bytes") {
		t.Errorf("%v %s", err, reply)
	}
	// … on a path that reads none, too …
	idle, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if _, err := io.WriteString(idle,
		"POST /none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 33\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	if reply, err := io.ReadAll(idle); err != nil || !strings.Contains(string(reply), "404") {
		t.Errorf("%v %s", err, reply)
	}
	// … and after as long a time, an answer still streams.
	req, _ := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/audio/speech",
		strings.NewReader(`{"input":"one two","stream":true,"response_format":"pcm"}`))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	timer := time.NewTimer(2 * max(time.Since(before), 100*time.Millisecond))
	<-timer.C
	eng.gate <- struct{}{}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	samples(t, b, slices.Concat(tone(0), tone(1)))
}

func TestOverload(t *testing.T) {
	s, url := start(t, newOmni())
	for range MaxGenerations {
		s.generations <- struct{}{}
	}
	status, h, body := call(t, "POST", url+"/v1/audio/speech", `{"input":"one"}`)
	if status != 503 || h.Get("Retry-After") == "" || !strings.Contains(body, "512") {
		t.Errorf("%d %s", status, body)
	}
	for range MaxGenerations {
		<-s.generations
	}
	if status, _, _ := call(t, "POST", url+"/v1/audio/speech", `{"input":"one"}`); status != 200 {
		t.Errorf("after the rush: %d", status)
	}
}
