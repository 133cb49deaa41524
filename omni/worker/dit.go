package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/kinetoscope/kinetoscope/omni/model"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
)

// dit runs the denoise loop with continuous batching: images of all requests that fit
// make a step together, each at its own step of its own schedule.
type dit struct {
	queue
	loaded[*model.DiT]
	running []*denoising
	byID    map[string]*denoising
	free    []uint64
	nextID  uint64

	// states are the images on this rank, by the plan's ids. Every rank has its own.
	states map[uint64]*model.ImageState
}

// denoising is a request in the denoise loop.
type denoising struct {
	req       *wire.Request
	images    []uint64
	durations map[string]int64
}

// planInit draws the first noise of an image before the step.
type planInit struct {
	ID       uint64  `json:"id"`
	Width    int     `json:"width"`
	Height   int     `json:"height"`
	Steps    int     `json:"steps"`
	Guidance float64 `json:"guidance"`
	Seed     uint64  `json:"seed"`
	Cond     int     `json:"cond"`     // index of the tensor
	Tokens   int     `json:"tokens"`   // of the condition
	Negative int     `json:"negative"` // index of the tensor, -1 for none
	NegToken int     `json:"neg_tokens"`
}

func openDiT(ctx context.Context, s *stage) (runner, error) {
	m, err := model.OpenDiT(ctx, s.track, s.modelOptions())
	if err != nil {
		return nil, err
	}
	return &dit{queue: queue{s: s}, loaded: loaded[*model.DiT]{m}, byID: map[string]*denoising{},
		states: map[uint64]*model.ImageState{}, nextID: 1}, nil
}

func (r *dit) pending() int { return len(r.waiting) + len(r.running) }

func (r *dit) held() int { return r.m.Images() }

func (r *dit) accept(m *wire.Message) error {
	if m.Request != nil {
		img := m.Request.Image
		if img == nil {
			return badRequest("the request names no image size")
		}
		if img.N > r.s.cfg.MaxNumSeqs {
			return badRequest("n = %d: the stage batches %d images at most (max_num_seqs)", img.N, r.s.cfg.MaxNumSeqs)
		}
		want := 1
		if guided(m.Request) {
			want = 2
		}
		if len(m.Tensors) != want || len(m.Tokens) != want {
			return fmt.Errorf("hand-off of %d conditions, want %d", len(m.Tensors), want)
		}
		if err := r.m.Check(model.ImageSpec{Width: img.Width, Height: img.Height, Steps: img.Steps,
			Guidance: float32(img.Guidance), Seed: img.Seed}); err != nil {
			return badRequest("%w", err)
		}
	}
	return r.queue.accept(m)
}

func (r *dit) plan() *plan {
	p := &plan{Kind: trace.NameDenoiseStep, Free: r.free}
	r.free = nil
	r.admit(p)
	for _, q := range r.running {
		for _, id := range q.images {
			p.Seqs = append(p.Seqs, planSeq{ID: id})
		}
		p.Requests = append(p.Requests, q.req.ID)
	}
	if len(p.Seqs) > 0 {
		return p
	}
	if len(p.Free) > 0 {
		p.Kind = kindFree
		return p
	}
	return nil
}

func (r *dit) admit(p *plan) {
	room := r.s.cfg.MaxNumSeqs
	for _, q := range r.running {
		room -= len(q.images)
	}
	for len(r.waiting) > 0 && r.waiting[0].Request.Image.N <= room {
		m := r.waiting[0]
		r.waiting = r.waiting[1:]
		img := m.Request.Image
		room -= img.N
		q := &denoising{req: m.Request, durations: map[string]int64{phaseHandoff: m.TookNs}}
		cond, negative := len(p.tensors), -1
		p.tensors = append(p.tensors, m.Tensors...)
		neg := 0
		if len(m.Tensors) > 1 {
			negative, neg = cond+1, int(m.Tokens[1])
		}
		for k := range img.N {
			p.Images = append(p.Images, planInit{ID: r.nextID, Width: img.Width, Height: img.Height, Steps: img.Steps,
				Guidance: img.Guidance, Seed: img.Seed + uint64(k), Cond: cond, Tokens: int(m.Tokens[0]),
				Negative: negative, NegToken: neg})
			q.images = append(q.images, r.nextID)
			r.nextID++
		}
		r.byID[q.req.ID] = q
		r.running = append(r.running, q)
	}
}

func (r *dit) run(ctx context.Context, t *profiler.Track, p *plan) (any, error) {
	for _, id := range p.Free {
		if st := r.states[id]; st != nil {
			r.m.Free(t, st)
			delete(r.states, id)
		}
	}
	for _, in := range p.Images {
		st, err := r.init(t, p, in)
		if err != nil {
			return nil, fmt.Errorf("image %d: %w", in.ID, err)
		}
		r.states[in.ID] = st
	}
	if len(p.Seqs) == 0 {
		return nil, nil
	}
	batch := make([]*model.ImageState, len(p.Seqs))
	for i, ps := range p.Seqs {
		if batch[i] = r.states[ps.ID]; batch[i] == nil {
			return nil, fmt.Errorf("image %d is not on this rank", ps.ID)
		}
	}
	return nil, r.m.Step(ctx, t, batch)
}

func (r *dit) init(t *profiler.Track, p *plan, in planInit) (*model.ImageState, error) {
	cond := func(i, tokens int) (model.Cond, error) {
		if i < 0 || i >= len(p.tensors) || tokens < 1 || len(p.tensors[i])%tokens != 0 {
			return model.Cond{}, fmt.Errorf("condition of %d tokens does not fit its tensor", tokens)
		}
		return model.Cond{Tokens: tokens, Dim: len(p.tensors[i]) / tokens, Hidden: p.tensors[i]}, nil
	}
	spec := model.ImageSpec{Width: in.Width, Height: in.Height, Steps: in.Steps, Guidance: float32(in.Guidance),
		Seed: in.Seed}
	var err error
	if spec.Prompt, err = cond(in.Cond, in.Tokens); err != nil {
		return nil, err
	}
	if in.Negative >= 0 {
		if spec.Negative, err = cond(in.Negative, in.NegToken); err != nil {
			return nil, err
		}
	}
	return r.m.Init(t, spec)
}

func (r *dit) emit(p *plan, _ any, took time.Duration) error {
	for _, id := range p.Requests {
		q := r.byID[id]
		if q == nil {
			continue // cancelled while the step ran
		}
		q.durations[p.Kind] += int64(took)
		if !r.states[q.images[0]].Done() {
			continue
		}
		m := &wire.Message{Final: true}
		for _, img := range q.images {
			l := r.states[img].Latent()
			m.Tensors = append(m.Tensors, l.Data)
			m.Tokens = []int32{int32(l.Channels), int32(l.Height), int32(l.Width)}
		}
		if err := r.s.handoff(q.req, m); err != nil {
			r.s.failRequest(q.req, protocol.CodeInternal, err)
		} else if err := r.s.done(q.req, q.durations); err != nil {
			return err
		}
		r.cancel(id)
	}
	return nil
}

func (r *dit) cancel(id string) {
	r.queue.cancel(id)
	if q := r.byID[id]; q != nil {
		delete(r.byID, id)
		r.running = without(r.running, q)
		r.free = append(r.free, q.images...)
	}
}
