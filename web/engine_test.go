package web

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// memEngine is an omni.API in memory. Its answers follow from the request
// alone: the words of the last message, a tone a word, a picture of the seed.
type memEngine struct {
	stages  []omni.StageInfo
	gate    chan struct{} // non-nil: a receive before each output after the first
	stop    chan struct{} // non-nil: a receive before StopProfile returns
	maxText int           // words in a prompt; 0: no limit

	active   atomic.Int64 // Generate iterators that run
	batches  atomic.Int64 // Generate calls
	last     atomic.Pointer[omni.Request]
	opts     atomic.Pointer[protocol.StartRequest]
	notReady atomic.Bool

	mu      sync.Mutex
	running *session.Status // guarded by mu
	old     []session.Status
	n       int
}

const toneRate = 24000

func newOmni() *memEngine {
	return &memEngine{stages: []omni.StageInfo{
		{ID: 0, Name: "thinker", Type: "llm", Replicas: 1, Ranks: 2, Output: "text", Profiler: true},
		{ID: 1, Name: "talker", Type: "llm", Replicas: 1, Ranks: 1, Profiler: true},
		{ID: 2, Name: "code2wav", Type: "generation", Replicas: 1, Ranks: 1, Output: "audio", Profiler: true},
	}}
}

func newDiffusion() *memEngine {
	return &memEngine{stages: []omni.StageInfo{
		{ID: 0, Name: "text_encoder", Type: "generation", Replicas: 1, Ranks: 1, Profiler: true},
		{ID: 1, Name: "dit", Type: "diffusion", Replicas: 1, Ranks: 2, Profiler: true},
		{ID: 2, Name: "vae", Type: "generation", Replicas: 1, Ranks: 1, Output: "image", Profiler: true},
	}}
}

type engineError struct {
	status  int
	msg     string
	hint    string
	running *session.Status
}

func (e *engineError) Error() string            { return e.msg }
func (e *engineError) HTTPStatus() int          { return e.status }
func (e *engineError) Hint() string             { return e.hint }
func (e *engineError) Running() *session.Status { return e.running }

func (e *memEngine) Model() string            { return "mem/model" }
func (e *memEngine) Stages() []omni.StageInfo { return e.stages }
func (e *memEngine) Close() error             { return nil }

func (e *memEngine) Strays() int { return 0 }

func (e *memEngine) QueueDepth() map[string]int { return map[string]int{e.stages[0].Name: 3} }

func (e *memEngine) Ranks() []protocol.RankInfo {
	var out []protocol.RankInfo
	for _, st := range e.stages {
		for k := range st.Ranks {
			out = append(out, protocol.RankInfo{
				RankID: protocol.RankID{Pipeline: "mem", Stage: st.ID, Rank: k}, StageName: st.Name,
				Host: "here", PID: 100 + k, Engine: "native", Ready: !e.notReady.Load(),
			})
		}
	}
	return out
}

func (e *memEngine) CollectiveRPC(context.Context, string, map[string]any, []int) ([]protocol.StageReply, error) {
	return nil, nil
}

func (e *memEngine) Generate(ctx context.Context, r omni.Request) iter.Seq2[omni.Output, error] {
	return func(yield func(omni.Output, error) bool) {
		e.active.Add(1)
		defer e.active.Add(-1)
		e.batches.Add(1)
		e.last.Store(&r)
		prompt := r.Messages[len(r.Messages)-1].Content
		words := strings.Fields(prompt)
		if e.maxText > 0 && len(words) > e.maxText {
			yield(omni.Output{}, fmt.Errorf("thinker: %w", &engineError{status: 400,
				msg: fmt.Sprintf("prompt has %d tokens; at most %d fit", len(words), e.maxText)}))
			return
		}
		if prompt == "panic" {
			panic("engine bug")
		}
		for i, o := range e.outputs(r, words) {
			if i > 0 && e.gate != nil {
				select {
				case <-e.gate:
				case <-ctx.Done():
				}
			}
			if ctx.Err() != nil {
				yield(omni.Output{}, ctx.Err())
				return
			}
			if o.Text == "boom " {
				yield(omni.Output{}, fmt.Errorf("talker: rank 1 is lost"))
				return
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

func (e *memEngine) outputs(r omni.Request, words []string) []omni.Output {
	if e.stages[2].Output == "image" {
		n, w, h := max(r.Image.N, 1), max(r.Image.Width, 8), max(r.Image.Height, 8)
		var pngs [][]byte
		for i := range n {
			pngs = append(pngs, drawing(w, h, uint8(i)))
		}
		return []omni.Output{{
			Type: "image", StageName: "vae", Images: pngs, Finished: true, FinishReason: "stop",
			Metrics: omni.Metrics{Total: 40 * time.Millisecond,
				Stages: map[string]time.Duration{"dit.denoise_step": 30 * time.Millisecond}},
		}}
	}
	reason := "stop"
	if m := r.Sampling.MaxTokens; m != nil && *m < len(words) {
		words, reason = words[:*m], "length"
	}
	text := r.Modalities == nil || slices.Contains(r.Modalities, "text")
	audio := r.Modalities == nil || slices.Contains(r.Modalities, "audio")
	usage := omni.Usage{PromptTokens: 5, CompletionTokens: len(words), TotalTokens: 5 + len(words)}
	var out []omni.Output
	for i, w := range words {
		end := i == len(words)-1
		if text {
			o := omni.Output{Type: "text", StageName: "thinker", Text: w + " ", Finished: end}
			if end {
				o.FinishReason, o.Usage = reason, usage
			}
			out = append(out, o)
		}
		if audio {
			out = append(out, omni.Output{Type: "audio", StageName: "code2wav", PCM: tone(i), SampleRate: toneRate,
				Finished: end})
		}
	}
	out[len(out)-1].Metrics = omni.Metrics{
		TTFT: 12 * time.Millisecond, TimePerToken: 2500 * time.Microsecond, TimeToFirstAudio: 20 * time.Millisecond,
		Total: 50 * time.Millisecond, Stages: map[string]time.Duration{"thinker.prefill": 10 * time.Millisecond},
	}
	return out
}

// tone is word i's audio: 4 samples that name it.
func tone(i int) []int16 { return []int16{int16(i + 1), -int16(i + 1), 0, 256} }

func drawing(w, h int, shade uint8) []byte {
	im := image.NewGray(image.Rect(0, 0, w, h))
	im.SetGray(0, 0, color.Gray{Y: shade})
	var b bytes.Buffer
	if err := png.Encode(&b, im); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func (e *memEngine) StartProfile(_ context.Context, r protocol.StartRequest) (*session.Status, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running != nil {
		return nil, &engineError{status: http.StatusConflict, msg: "session " + e.running.ID + " is recording",
			hint: "stop it first", running: e.running}
	}
	var refs []protocol.StageRef
	for _, s := range e.stages {
		refs = append(refs, s.Ref())
	}
	if err := cmp.Or(r.Validate(), r.CheckStages(refs)); err != nil {
		return nil, err
	}
	e.opts.Store(&r)
	e.n++
	e.running = e.status(fmt.Sprintf("S%025d", e.n), r, session.StateRecording, protocol.StateRecording)
	return e.running, nil
}

func (e *memEngine) status(id string, o protocol.StartRequest, st session.State,
	rank protocol.RankState) *session.Status {
	out := &session.Status{ID: id, State: st, Prefix: o.Prefix, StartedAt: time.Unix(1700000000, 0).UTC()}
	for _, s := range e.stages {
		if o.Stages != nil && !slices.Contains(o.Stages, s.ID) {
			continue
		}
		stage := session.StageStatus{Stage: s.ID, Name: s.Name}
		for k := range s.Ranks {
			r := protocol.RankStatus{RankID: protocol.RankID{Pipeline: "mem", Stage: s.ID, Rank: k}, StageName: s.Name,
				State: rank, Session: id}
			if st == session.StateComplete {
				r.Artifacts = []protocol.Artifact{{Name: fmt.Sprintf("stage%d_%s/trace_rank%d.json.gz", s.ID, s.Name,
					k), Kind: "trace", Size: 10}}
			}
			stage.Ranks = append(stage.Ranks, r)
		}
		out.Stages = append(out.Stages, stage)
	}
	if st == session.StateComplete {
		out.Artifacts = []protocol.Artifact{{Name: "report #1.json", Kind: "report", Size: 2}}
	}
	return out
}

func (e *memEngine) StopProfile(ctx context.Context) (*session.Status, error) {
	if e.stop != nil {
		select {
		case <-e.stop:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running == nil {
		return nil, nil
	}
	st := e.status(e.running.ID, *e.opts.Load(), session.StateComplete, protocol.StateComplete)
	e.old = append(e.old, *st)
	e.running = nil
	return st, nil
}

func newOpts() protocol.StartRequest { return protocol.StartRequest{} }
