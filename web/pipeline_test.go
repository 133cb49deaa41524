package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"image/png"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/web/api"
)

// open starts a built-in pipeline with its rank processes and serves it.
func open(t *testing.T, pipeline string) (omni.API, string) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts rank processes")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	eng, err := omni.Open(ctx, omni.Config{Pipeline: pipeline, RunsDir: t.TempDir(),
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := eng.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	_, url := start(t, eng, func(c *Config) { c.Sessions = HubSessions(eng.Hub()) })
	return eng, url
}

// TestRealOmni captures a real pipeline over HTTP while a real client uses it.
func TestRealOmni(t *testing.T) {
	eng, url := open(t, "omni")
	if status, _, body := call(t, "GET", url+"/health", ""); status != 200 {
		t.Fatalf("health: %d %s", status, body)
	}
	for _, prefix := range []string{"first", "second"} {
		status, _, body := call(t, "POST", url+"/start_profile", `{"profile_prefix":"`+prefix+`"}`)
		if status != 200 {
			t.Fatalf("start: %d %s", status, body)
		}
		if status, _, body = call(t, "POST", url+"/start_profile", ""); status != 409 ||
			parse[errorReply](t, body).Session == nil {
			t.Errorf("second start: %d %s", status, body)
		}
		realChat(t, eng, url)
		status, _, body = call(t, "POST", url+"/stop_profile", "")
		st := parse[session.Status](t, body)
		if status != 200 || st.State != session.StateComplete || len(st.Stages) != 3 {
			t.Fatalf("stop: %d %s", status, body)
		}
		for _, stage := range st.Stages {
			for _, r := range stage.Ranks {
				if r.State != protocol.StateComplete || r.Events == 0 {
					t.Errorf("stage %d rank %d: %s, %d events", r.Stage, r.Rank, r.State, r.Events)
				}
				for _, a := range r.Artifacts {
					download(t, url, a)
				}
			}
		}
		for _, a := range st.Artifacts {
			download(t, url, a)
		}
	}
	_, _, body := call(t, "GET", url+"/v1/sessions", "")
	if l := parse[api.SessionList](t, body); len(l.Data) != 2 || l.Data[0].Prefix != "second" {
		t.Errorf("sessions: %s", body)
	}
	status, _, body := call(t, "POST", url+"/stop_profile", "")
	if status != 200 || !strings.Contains(body, `"idle"`) {
		t.Errorf("idle stop: %d %s", status, body)
	}
	status, _, body = call(t, "POST", url+"/v1/chat/completions", `{"messages":[{"role":"user","content":"`+
		strings.Repeat("long ", 100000)+`"}]}`)
	if status != 400 {
		t.Errorf("prompt too long: %d %s", status, body)
	}
	status, _, body = call(t, "POST", url+"/v1/chat/completions", `{"messages":[{"role":"user","content":"`+
		strings.Repeat("word ", 3000)+`"}]}`)
	if status != 400 || !strings.Contains(body, `"param":"prompt"`) {
		t.Errorf("prompt too long for the model: %d %s", status, body)
	}
}

func realChat(t *testing.T, eng omni.API, url string) {
	t.Helper()
	c := client(url)
	p := ask("What does a horse do when it gallops?")
	p.Model, p.MaxCompletionTokens, p.Seed = eng.Model(), openai.Int(6), openai.Int(1)
	whole, err := c.Chat.Completions.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if whole.Usage.CompletionTokens == 0 || whole.JSON.ExtraFields["metrics"].Raw() == "" {
		t.Errorf("no usage or metrics: %s", whole.RawJSON()[:min(400, len(whole.RawJSON()))])
	}
	st := c.Chat.Completions.NewStreaming(t.Context(), p)
	defer st.Close()
	var text string
	var pcm []byte
	for st.Next() {
		for _, k := range st.Current().Choices {
			text += k.Delta.Content
			b, err := base64.StdEncoding.DecodeString(k.Delta.Audio.Data)
			if err != nil {
				t.Fatal(err)
			}
			pcm = append(pcm, b...)
		}
	}
	if st.Err() != nil {
		t.Fatal(st.Err())
	}
	wav, err := base64.StdEncoding.DecodeString(whole.Choices[0].Message.Audio.Data)
	if err != nil {
		t.Fatal(err)
	}
	if text != whole.Choices[0].Message.Content || len(pcm) == 0 || !bytes.Equal(pcm, wav[44:]) {
		t.Errorf("the stream (%q, %d bytes) is not the answer (%q, %d bytes)", text, len(pcm),
			whole.Choices[0].Message.Content, len(wav)-44)
	}
}

// download checks that a's URL gives the bytes that the manifest promises.
func download(t *testing.T, url string, a protocol.Artifact) {
	t.Helper()
	res, err := http.Get(url + a.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.Errorf("%s: %d %v", a.URL, res.StatusCode, err)
		return
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != a.SHA256 || int64(len(data)) != a.Size {
		t.Errorf("%s: %d bytes are not those of the manifest (%d)", a.Name, len(data), a.Size)
	}
	if a.Kind == "trace" {
		zr, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", a.Name, err)
		}
		var trace struct{ TraceEvents []json.RawMessage }
		if err := json.NewDecoder(zr).Decode(&trace); err != nil || len(trace.TraceEvents) == 0 {
			t.Errorf("%s: %d events, %v", a.Name, len(trace.TraceEvents), err)
		}
	}
}

func TestRealDiffusion(t *testing.T) {
	_, url := open(t, "diffusion")
	c := client(url)
	res, err := c.Images.Generate(t.Context(), openai.ImageGenerateParams{Prompt: "a horse in motion",
		N: openai.Int(2)},
		option.WithJSONSet("seed", 3), option.WithJSONSet("num_inference_steps", 2))
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Data) != 2 {
		t.Fatalf("%d images", len(res.Data))
	}
	for i, d := range res.Data {
		b, err := base64.StdEncoding.DecodeString(d.B64JSON)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := png.Decode(bytes.NewReader(b)); err != nil {
			t.Errorf("image %d: %v", i, err)
		}
	}
	status, _, body := call(t, "POST", url+"/v1/images/generations", `{"prompt":"a","size":"63x1000"}`)
	if status != 400 || !strings.Contains(body, "multiples of 16 up to 512") ||
		!strings.Contains(body, `"param":"size"`) {
		t.Errorf("wrong size: %d %s", status, body)
	}
	if status, _, body = call(t, "POST", url+"/v1/chat/completions",
		`{"messages":[{"role":"user","content":"a horse"}],"num_inference_steps":1}`); status != 200 ||
		!strings.Contains(body, "data:image/png;base64,") {
		t.Errorf("chat draws: %d %.300s", status, body)
	}
}
