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

// queue holds the requests of a one-shot stage, in order of arrival.
type queue struct {
	s       *stage
	waiting []*wire.Message
}

func (q *queue) pending() int { return len(q.waiting) }

func (q *queue) held() int { return 0 }

func (q *queue) accept(m *wire.Message) error {
	if m.Request == nil {
		return fmt.Errorf("hand-off %d without its request: the first was lost", m.Chunk)
	}
	if len(q.waiting) >= q.s.cfg.MaxQueue {
		return &rejection{code: protocol.CodeOverloaded, err: fmt.Errorf("%d requests wait already", len(q.waiting))}
	}
	q.waiting = append(q.waiting, m)
	return nil
}

func (q *queue) cancel(id string) {
	kept := q.waiting[:0]
	for _, m := range q.waiting {
		if m.ID != id {
			kept = append(kept, m)
		}
	}
	clear(q.waiting[len(kept):])
	q.waiting = kept
}

// textEncoder encodes prompts, several requests in a batch.
type textEncoder struct {
	queue
	loaded[*model.TextEncoder]
	batch []*wire.Message // of the plan in flight
}

func openTextEncoder(ctx context.Context, s *stage) (runner, error) {
	m, err := model.OpenTextEncoder(ctx, s.track, s.modelOptions())
	if err != nil {
		return nil, err
	}
	return &textEncoder{queue: queue{s: s}, loaded: loaded[*model.TextEncoder]{m}}, nil
}

// guided reports whether an image request uses classifier-free guidance.
func guided(r *wire.Request) bool { return r.Image != nil && r.Image.Guidance > 1 }

func (r *textEncoder) plan() *plan {
	p := &plan{Kind: trace.NameTextEncode}
	r.batch = nil
	for len(r.waiting) > 0 && len(r.batch) < r.s.cfg.MaxNumSeqs {
		m := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.batch = append(r.batch, m)
		p.Requests = append(p.Requests, m.ID)
		p.Prompts = append(p.Prompts, m.Request.Prompt)
		if guided(m.Request) {
			p.Prompts = append(p.Prompts, m.Request.Negative)
		}
	}
	if len(r.batch) == 0 {
		return nil
	}
	return p
}

func (r *textEncoder) run(ctx context.Context, t *profiler.Track, p *plan) (any, error) {
	return r.m.Encode(ctx, t, p.Prompts)
}

func (r *textEncoder) emit(p *plan, result any, took time.Duration) error {
	conds := result.([]model.Cond)
	for _, m := range r.batch {
		n := 1
		if guided(m.Request) {
			n = 2
		}
		out := &wire.Message{Final: true}
		for _, c := range conds[:n] {
			out.Tensors = append(out.Tensors, c.Hidden)
			out.Tokens = append(out.Tokens, int32(c.Tokens))
		}
		conds = conds[n:]
		if err := r.s.handoff(m.Request, out); err != nil {
			r.s.failRequest(m.Request, protocol.CodeInternal, err)
			continue
		}
		if err := r.s.done(m.Request, map[string]int64{p.Kind: int64(took)}); err != nil {
			return err
		}
	}
	return nil
}

// vae decodes latents to images, several requests in a batch.
type vae struct {
	queue
	loaded[*model.VAE]
	batch []*wire.Message
}

func openVAE(ctx context.Context, s *stage) (runner, error) {
	m, err := model.OpenVAE(ctx, s.track, s.modelOptions())
	if err != nil {
		return nil, err
	}
	return &vae{queue: queue{s: s}, loaded: loaded[*model.VAE]{m}}, nil
}

func (r *vae) plan() *plan {
	p := &plan{Kind: trace.NameVAEDecode}
	r.batch = nil
	for len(r.waiting) > 0 {
		m := r.waiting[0]
		if len(r.batch) > 0 && len(p.Seqs)+len(m.Tensors) > r.s.cfg.MaxNumSeqs {
			break
		}
		r.waiting = r.waiting[1:]
		r.batch = append(r.batch, m)
		p.Requests = append(p.Requests, m.ID)
		for _, latent := range m.Tensors {
			p.Seqs = append(p.Seqs, planSeq{Embeds: []int{len(p.tensors)}, Latent: shape(m.Tokens)})
			p.tensors = append(p.tensors, latent)
		}
	}
	if len(r.batch) == 0 {
		return nil
	}
	return p
}

func shape(dims []int32) []int {
	out := make([]int, len(dims))
	for i, d := range dims {
		out[i] = int(d)
	}
	return out
}

func (r *vae) run(ctx context.Context, t *profiler.Track, p *plan) (any, error) {
	latents := make([]model.Latent, len(p.Seqs))
	for i, ps := range p.Seqs {
		if len(ps.Latent) != 3 || len(ps.Embeds) != 1 || ps.Embeds[0] < 0 || ps.Embeds[0] >= len(p.tensors) {
			return nil, fmt.Errorf("latent %d of the plan has shape %v", i, ps.Latent)
		}
		latents[i] = model.Latent{Channels: ps.Latent[0], Height: ps.Latent[1], Width: ps.Latent[2],
			Data: p.tensors[ps.Embeds[0]]}
	}
	images, err := r.m.Decode(ctx, t, latents)
	if err != nil || r.s.id.Rank != 0 {
		return nil, err
	}
	sp := t.Begin(nameEncodePNG, profiler.CategoryAnnotation).Int(keyBatch, int64(len(images)))
	defer sp.End()
	files := make([][]byte, len(images))
	for i, img := range images {
		if files[i], err = model.EncodePNG(img); err != nil {
			return nil, err
		}
	}
	return files, nil
}

var nameEncodePNG = profiler.Intern("encode_png")

func (r *vae) emit(p *plan, result any, took time.Duration) error {
	files := result.([][]byte)
	for _, m := range r.batch {
		n := len(m.Tensors)
		out := &wire.Message{Kind: wire.KindOutput, Type: r.s.cfg.FinalOutputType, Final: true, Reason: "stop",
			BlobData: files[:n]}
		files = files[n:]
		if err := r.s.output(m.Request, out); err != nil {
			return err
		}
		if err := r.s.done(m.Request, map[string]int64{p.Kind: int64(took), phaseHandoff: m.TookNs}); err != nil {
			return err
		}
	}
	return nil
}
