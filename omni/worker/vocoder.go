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

// vocoder runs code2wav: each hand-off of codec frames becomes sound at once, so that
// the first audio does not wait for the last frame.
type vocoder struct {
	loaded[*model.Vocoder]
	s      *stage
	byID   map[string]*stream
	order  []*stream // round-robin over requests that have frames
	free   []uint64
	nextID uint64
}

// stream is a request in the vocoder.
type stream struct {
	req       *wire.Request
	id        uint64
	codes     []int32 // handed over, not played
	rest      []int32 // codes of an incomplete frame
	final     bool    // nothing more is handed over
	nextChunk int
	outChunk  int
	durations map[string]int64
}

func openVocoder(ctx context.Context, s *stage) (runner, error) {
	m, err := model.OpenVocoder(ctx, s.track, s.modelOptions())
	if err != nil {
		return nil, err
	}
	return &vocoder{s: s, loaded: loaded[*model.Vocoder]{m}, byID: map[string]*stream{}, nextID: 1}, nil
}

func (r *vocoder) pending() int { return len(r.byID) }

func (r *vocoder) held() int { return r.m.Streams() }

func (r *vocoder) accept(m *wire.Message) error {
	q := r.byID[m.ID]
	if m.Request != nil && q == nil {
		if len(r.byID) >= r.s.cfg.MaxQueue {
			return &rejection{code: protocol.CodeOverloaded, err: fmt.Errorf("%d requests are in the stage already",
				len(r.byID))}
		}
		q = &stream{req: m.Request, id: r.nextID, durations: map[string]int64{}}
		r.nextID++
		r.byID[m.ID] = q
		r.order = append(r.order, q)
	}
	if q == nil || m.Kind != wire.KindHandoff {
		return nil
	}
	if m.Chunk != q.nextChunk {
		return fmt.Errorf("hand-off %d of stage %d was lost: got %d", q.nextChunk, m.From, m.Chunk)
	}
	q.nextChunk++
	q.durations[phaseHandoff] += m.TookNs
	for _, c := range m.Tokens {
		if c < 0 || int(c) >= r.m.CodebookSize() {
			return fmt.Errorf("hand-off %d of stage %d: code %d, the codebook has %d", m.Chunk, m.From, c,
				r.m.CodebookSize())
		}
	}
	codes := append(q.rest, m.Tokens...)
	whole := len(codes) - len(codes)%r.m.Codebooks()
	q.codes = append(q.codes, codes[:whole]...)
	q.rest = append([]int32(nil), codes[whole:]...)
	q.final = m.Final
	return nil
}

func (r *vocoder) plan() *plan {
	p := &plan{Kind: trace.NameVocode, Free: r.free}
	r.free = nil
	for _, q := range r.order {
		if len(p.Seqs) == r.s.cfg.MaxNumSeqs {
			break
		}
		if len(q.codes) == 0 {
			continue
		}
		n := min(len(q.codes), r.s.cfg.HandoffChunk*r.m.Codebooks(), model.MaxChunkFrames*r.m.Codebooks())
		p.Seqs = append(p.Seqs, planSeq{ID: q.id, Tokens: q.codes[:n]})
		p.Requests = append(p.Requests, q.req.ID)
		p.Tokens += n / r.m.Codebooks()
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

func (r *vocoder) run(ctx context.Context, t *profiler.Track, p *plan) (any, error) {
	for _, id := range p.Free {
		r.m.Free(t, model.SeqID(id))
	}
	if len(p.Seqs) == 0 {
		return nil, nil
	}
	chunks := make([]model.VocodeChunk, len(p.Seqs))
	for i, ps := range p.Seqs {
		chunks[i] = model.VocodeChunk{Stream: model.SeqID(ps.ID), Codes: ps.Tokens}
	}
	return r.m.Decode(ctx, t, chunks)
}

func (r *vocoder) emit(p *plan, result any, took time.Duration) error {
	if p.Kind == kindFree {
		return nil
	}
	for i, samples := range result.([][]float32) {
		q := r.byID[p.Requests[i]]
		if q == nil || q.id != p.Seqs[i].ID {
			continue // cancelled while the step ran
		}
		q.durations[p.Kind] += int64(took)
		q.codes = q.codes[len(p.Seqs[i].Tokens):]
		m := &wire.Message{Kind: wire.KindOutput, Type: r.s.cfg.FinalOutputType, Chunk: q.outChunk,
			SampleRate: r.m.SampleRate(),
			Final:      q.final && len(q.codes) == 0, BlobData: [][]byte{pcmBytes(model.PCM16(samples))}}
		q.outChunk++
		if m.Final {
			m.Reason = "stop"
		}
		if err := r.s.output(q.req, m); err != nil {
			return err
		}
		if m.Final {
			if err := r.s.done(q.req, q.durations); err != nil {
				return err
			}
			r.cancel(q.req.ID)
		}
	}
	// The next plan begins with another request.
	if len(r.order) > 1 {
		r.order = append(r.order[1:], r.order[0])
	}
	return nil
}

func pcmBytes(pcm []int16) []byte {
	b := make([]byte, 0, 2*len(pcm))
	for _, v := range pcm {
		b = append(b, byte(v), byte(v>>8))
	}
	return b
}

func (r *vocoder) cancel(id string) {
	if q := r.byID[id]; q != nil {
		delete(r.byID, id)
		r.order = without(r.order, q)
		r.free = append(r.free, q.id)
	}
}
