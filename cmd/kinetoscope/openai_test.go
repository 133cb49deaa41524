package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/kinetoscope/kinetoscope/internal/cli"
)

// startServer runs the serve verb in this process and returns its URL. The ranks are
// processes of the test binary.
func startServer(t *testing.T, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	ready := filepath.Join(dir, "ready")
	ctx, cancel := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, append([]string{"serve", "--addr", "127.0.0.1:0", "--ready-file", ready, "--runs-dir",
			filepath.Join(dir, "runs")}, args...),
			cli.Streams{In: strings.NewReader(""), Out: io.Discard, Err: &stderr})
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("serve: exit code %d: %s", code, stderr.String())
		}
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if url, err := os.ReadFile(ready); err == nil {
			return strings.TrimSpace(string(url))
		}
		select {
		case code := <-done:
			done <- code
			t.Fatalf("serve ended: %s", stderr.String())
		case <-tick.C:
		}
	}
}

func openaiClient(url string) openai.Client {
	return openai.NewClient(option.WithBaseURL(url+"/v1/"), option.WithAPIKey("none"), option.WithMaxRetries(0))
}

func post(t *testing.T, url string, body string, answer any) int {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer != nil {
		if err := json.Unmarshal(data, answer); err != nil {
			t.Fatalf("%s: %v in %s", url, err, data)
		}
	}
	return resp.StatusCode
}

func TestOpenAIClientOnOmni(t *testing.T) {
	url := startServer(t, "omni")
	c := openaiClient(url)
	models, err := c.Models.List(t.Context())
	if err != nil || len(models.Data) != 1 {
		t.Fatalf("models: %v, %v", models, err)
	}
	model := models.Data[0].ID
	if code := post(t, url+"/start_profile", "", nil); code != http.StatusOK {
		t.Fatalf("start_profile without a body: %d", code)
	}
	ask := openai.ChatCompletionNewParams{
		Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Say hello.")},
		MaxCompletionTokens: openai.Int(8), Seed: openai.Int(5), Modalities: []string{"text"},
	}
	plain, err := c.Chat.Completions.New(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	text := plain.Choices[0].Message.Content
	if text == "" || plain.Usage.CompletionTokens != 8 || plain.Choices[0].FinishReason != "length" {
		t.Errorf("answer %q, usage %+v, finish %s", text, plain.Usage, plain.Choices[0].FinishReason)
	}
	stream := c.Chat.Completions.NewStreaming(t.Context(), ask)
	var acc openai.ChatCompletionAccumulator
	pieces := 0
	for stream.Next() {
		acc.AddChunk(stream.Current())
		pieces++
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if got := acc.Choices[0].Message.Content; got != text || pieces < 8 {
		t.Errorf("streamed %q in %d pieces, want %q token by token", got, pieces, text)
	}
	ask.Modalities = []string{"text", "audio"}
	ask.Audio = openai.ChatCompletionAudioParam{Format: "wav",
		Voice: openai.ChatCompletionAudioParamVoiceUnion{OfString: openai.String("default")}}
	spoken, err := c.Chat.Completions.New(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	wav, err := base64.StdEncoding.DecodeString(spoken.Choices[0].Message.Audio.Data)
	if err != nil || !bytes.HasPrefix(wav, []byte("RIFF")) || len(wav) < 24000 {
		t.Errorf("audio of %d bytes, %v", len(wav), err)
	}
	if got := spoken.Choices[0].Message.Audio.Transcript; got != text {
		t.Errorf("transcript %q, want %q", got, text)
	}
	speech, err := c.Audio.Speech.New(t.Context(), openai.AudioSpeechNewParams{Model: model, Input: "Say hello.",
		Voice: openai.AudioSpeechNewParamsVoiceUnion{OfString: openai.String("default")}, ResponseFormat: "wav"})
	if err != nil {
		t.Fatal(err)
	}
	defer speech.Body.Close()
	if data, err := io.ReadAll(speech.Body); err != nil || !bytes.HasPrefix(data, []byte("RIFF")) {
		t.Errorf("speech of %d bytes, %v", len(data), err)
	}
	var st struct {
		State  string
		Stages []struct{ Ranks []struct{ State string } }
	}
	if code := post(t, url+"/stop_profile", "", &st); code != http.StatusOK || st.State != "complete" ||
		len(st.Stages) != 3 {
		t.Errorf("stop_profile: %d %+v", code, st)
	}
	if code := post(t, url+"/stop_profile", `{"unknown": 1}`, &st); code != http.StatusOK || st.State != "idle" {
		t.Errorf("second stop_profile: %d %s", code, st.State)
	}
	metrics, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer metrics.Body.Close()
	if data, err := io.ReadAll(metrics.Body); err != nil || !strings.Contains(string(data), "first_audio") {
		t.Errorf("/metrics: %v in\n%.500s", err, data)
	}
}

func TestOpenAIClientOnDiffusion(t *testing.T) {
	url := startServer(t, "diffusion")
	c := openaiClient(url)
	res, err := c.Images.Generate(t.Context(), openai.ImageGenerateParams{Model: "kinetoscope-diffusion",
		Prompt: "an owl",
		N:      openai.Int(3), Size: "64x64", ResponseFormat: "b64_json"}, option.WithJSONSet("num_inference_steps", 3))
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Data) != 3 {
		t.Fatalf("%d images, want 3", len(res.Data))
	}
	for i, d := range res.Data {
		data, err := base64.StdEncoding.DecodeString(d.B64JSON)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(data))
		if err != nil || img.Bounds().Dx() != 64 || img.Bounds().Dy() != 64 {
			t.Errorf("image %d: %v", i, err)
		}
	}
	for _, body := range []string{
		`{"model":"kinetoscope-diffusion","prompt":"x","size":"63x63"}`,
		`{"model":"kinetoscope-diffusion","prompt":"x","size":"big"}`,
		`{"model":"kinetoscope-diffusion","prompt":"x","n":0}`,
		`{"model":"kinetoscope-diffusion","prompt":"x","n":99}`,
		`{"model":"kinetoscope-diffusion","prompt":""}`,
		`{"prompt":`,
	} {
		var e struct {
			Error struct{ Message, Type string }
		}
		if code := post(t, url+"/v1/images/generations", body, &e); code != http.StatusBadRequest ||
			e.Error.Message == "" {
			t.Errorf("%s: %d %+v, want 400 with a message", body, code, e)
		}
	}
}
