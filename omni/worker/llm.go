package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/omni/model"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
)

// sampler is a model.Sampler without the tokens that the stage never samples, which the llm adds.
type sampler struct {
	Temperature float32 `json:"temperature"`
	TopK        int     `json:"top_k"`
	TopP        float32 `json:"top_p"`
	Seed        uint64  `json:"seed"`
	IgnoreEOS   bool    `json:"ignore_eos"`
}

// llm runs an llm stage with continuous batching. A stage without sources is a
// thinker: it reads a prompt and makes text. One with a source is a talker: it makes
// codec frames, each conditioned on the hidden state of a token of the stage before.
type llm struct {
	loaded[*model.LLM]
	s      *stage
	tok    *model.Tokenizer // thinker
	talker bool
	// never holds the tokens that are not to be sampled, with and without EOS.
	never, neverEOS []int32

	byID    map[string]*sequence
	waiting []*sequence // in order of arrival
	running []*sequence // in order of admission
	free    []uint64    // sequences to forget with the next plan
	nextID  uint64
}

// sequence is a request in an llm stage.
type sequence struct {
	req       *wire.Request
	id        uint64  // in the KV cache; 0 while waiting
	tokens    []int32 // the prompt and all that was sampled
	prompt    int     // tokens of the prompt
	fed       int     // tokens in the KV cache
	max       int     // tokens to sample
	sampling  sampler
	stop      []string
	detok     *model.Detokenizer
	text      strings.Builder // all text so far
	sent      int             // bytes of text sent on
	settled   int             // bytes of text in which no stop string can begin any more
	outChunk  int
	handTok   []int32     // sampled, not handed on
	handHid   [][]float32 // hidden states not handed on, the prompt's first
	hidden    int         // positions whose hidden states were taken
	handChunk int
	finish    string // finish reason once finished
	durations map[string]int64
	arrived   time.Time

	// Used by a talker only.
	promptCond [][]float32 // conditions the prompt
	cond       [][]float32 // conditions sampled frames
	condFinal  bool
	nextChunk  int
}

func openLLM(ctx context.Context, s *stage) (runner, error) {
	m, err := model.OpenLLM(ctx, s.track, s.modelOptions())
	if err != nil {
		return nil, err
	}
	r := &llm{s: s, loaded: loaded[*model.LLM]{m}, talker: len(s.cfg.Sources) > 0, byID: map[string]*sequence{},
		nextID: 1}
	if r.talker {
		// Special tokens are never sampled: in the ids they follow the codebook, and the thinker
		// decides how long the answer is.
		for id := min(m.Config().BOSTokenID, m.Config().EOSTokenID); int(id) < m.VocabSize(); id++ {
			r.never = append(r.never, id)
		}
		r.neverEOS = r.never
		return r, nil
	}
	if r.tok, err = model.NewTokenizer(m.VocabSize()); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if s.cfg.LoadFormat == model.LoadDummy {
		r.never = r.tok.Unprintable()
	}
	r.neverEOS = append(slices.Clone(r.never), r.tok.EOS())
	return r, nil
}

func (r *llm) pending() int { return len(r.byID) }

func (r *llm) held() int { return r.m.KV().Seqs }

func (r *llm) accept(m *wire.Message) error {
	q := r.byID[m.ID]
	if m.Request != nil {
		if q != nil {
			return badRequest("request id %s is in use", m.ID)
		}
		if len(r.waiting) >= r.s.cfg.MaxQueue {
			return &rejection{code: protocol.CodeOverloaded, err: fmt.Errorf("%d requests wait already",
				len(r.waiting))}
		}
		var err error
		if q, err = r.open(m.Request); err != nil {
			return err
		}
		r.byID[m.ID] = q
		r.waiting = append(r.waiting, q)
	}
	if m.Kind != wire.KindHandoff {
		return nil
	}
	if q == nil {
		return nil // the request was cancelled here; its hand-offs are dropped
	}
	if m.Chunk != q.nextChunk {
		return fmt.Errorf("hand-off %d of stage %d was lost: got %d", q.nextChunk, m.From, m.Chunk)
	}
	q.nextChunk++
	q.durations[phaseHandoff] += m.TookNs
	return r.condition(q, m)
}

// condition takes a hand-off of hidden states. The first one starts with those of the prompt,
// PromptTokens of them.
func (r *llm) condition(q *sequence, m *wire.Message) error {
	want := r.m.EmbedSize()
	for i, h := range m.Tensors {
		if len(h) != want {
			return fmt.Errorf("hand-off %d: hidden state of %d values, the model takes %d (embedding_size)", m.Chunk,
				len(h), want)
		}
		if m.Chunk == 0 && i < m.PromptTokens {
			q.promptCond = append(q.promptCond, h)
		} else {
			q.cond = append(q.cond, h)
		}
	}
	q.condFinal = m.Final
	if m.Chunk > 0 {
		return nil
	}
	// The talker takes as much of the thinker's prompt as half of its own positions hold.
	if keep := r.maxLen() / 2; len(q.promptCond) > keep {
		q.promptCond = q.promptCond[len(q.promptCond)-keep:]
	}
	q.prompt = len(q.promptCond)
	for range q.promptCond {
		q.tokens = append(q.tokens, r.m.Config().BOSTokenID)
	}
	kv := r.m.KV()
	q.max = min(q.max, r.maxLen()-q.prompt, kv.Blocks*kv.BlockSize-q.prompt)
	if q.max < 1 {
		return badRequest("prompt of %d tokens leaves no room in the KV cache of %d blocks of %d; raise num_gpu_blocks_override", q.prompt, kv.Blocks, kv.BlockSize)
	}
	return nil
}

func (r *llm) maxLen() int { return min(r.m.MaxLen(), r.s.cfg.MaxModelLen) }

func (r *llm) open(req *wire.Request) (*sequence, error) {
	d := r.s.cfg.Sampling
	q := &sequence{req: req, max: d.MaxTokens, durations: map[string]int64{}, arrived: time.Now(),
		sampling: sampler{Temperature: float32(d.Temperature), TopK: d.TopK, TopP: float32(d.TopP), Seed: d.Seed,
			IgnoreEOS: d.IgnoreEOS}}
	if o := req.Sampling; o != nil && o.Seed != nil {
		q.sampling.Seed = *o.Seed + uint64(r.s.id.Stage)
	}
	if r.talker {
		return q, nil
	}
	q.tokens = r.tok.Encode(req.Prompt)
	q.prompt = len(q.tokens)
	q.detok = r.tok.NewDetokenizer()
	if o := req.Sampling; o != nil {
		override(&q.max, o.MaxTokens)
		override(&q.sampling.TopK, o.TopK)
		if o.Temperature != nil {
			q.sampling.Temperature = float32(*o.Temperature)
		}
		if o.TopP != nil {
			q.sampling.TopP = float32(*o.TopP)
		}
		q.stop = o.Stop
		q.sampling.IgnoreEOS = q.sampling.IgnoreEOS || o.IgnoreEOS
	}
	if q.prompt == 0 {
		return nil, badPrompt("the prompt is empty")
	}
	if limit := r.maxLen(); q.prompt >= limit {
		return nil, badPrompt("prompt of %d tokens is too long: the model takes %d with the answer; shorten it",
			q.prompt, limit)
	}
	q.max = max(1, min(q.max, r.maxLen()-q.prompt))
	if kv := r.m.KV(); (q.prompt+q.max+kv.BlockSize-1)/kv.BlockSize > kv.Blocks {
		return nil,
			badPrompt("prompt of %d tokens and answer of %d are more than the KV cache of %d blocks of %d holds; raise num_gpu_blocks_override", q.prompt, q.max, kv.Blocks, kv.BlockSize)
	}
	return q, nil
}

func override[T any](dst *T, v *T) {
	if v != nil {
		*dst = *v
	}
}

// ready reports whether q's next tokens can be fed.
func (r *llm) ready(q *sequence) bool {
	if !r.talker {
		return true
	}
	if len(q.promptCond) == 0 {
		return false
	}
	if q.fed < q.prompt {
		return true
	}
	return r.condAt(q, q.fed) != nil
}

// condAt returns what conditions the talker's token at pos, nil if it is not there yet.
func (r *llm) condAt(q *sequence, pos int) []float32 {
	if pos < q.prompt {
		return q.promptCond[pos]
	}
	if i := (pos - q.prompt) / r.framesPerToken(); i < len(q.cond) {
		return q.cond[i]
	}
	return nil
}

func (r *llm) framesPerToken() int { return r.s.cfg.Sampling.FramesPerToken }

// plan prefers prefill to decode: a new request's first token matters more than the next token of a
// running one. A step is one or the other, never both, so that each has a duration of its own.
func (r *llm) plan() *plan {
	r.admit()
	p := &plan{Free: r.free}
	r.free = nil
	if !r.planPrefill(p) && !r.planDecode(p) {
		if len(p.Free) == 0 {
			return nil
		}
		p.Kind = kindFree
	}
	return p
}

// admit moves waiting sequences to running while batch and cache have room.
func (r *llm) admit() {
	kv := r.m.KV()
	free := kv.Free
	for _, q := range r.running {
		if q.fed < len(q.tokens) {
			free -= r.m.BlocksNeeded(model.SeqID(q.id), len(q.tokens)-q.fed)
		}
	}
	for len(r.waiting) > 0 && len(r.running) < r.s.cfg.MaxNumSeqs {
		q := r.waiting[0]
		if !r.ready(q) {
			// A talker's request whose thinker has not started must not block the requests behind
			// it.
			i := slices.IndexFunc(r.waiting, r.ready)
			if i < 0 {
				return
			}
			r.waiting[0], r.waiting[i] = r.waiting[i], r.waiting[0]
			q = r.waiting[0]
		}
		need := (len(q.tokens) + kv.BlockSize) / kv.BlockSize
		if need > free {
			return
		}
		free -= need
		q.id = r.nextID
		r.nextID++
		q.durations["queue"] += int64(time.Since(q.arrived))
		r.running = append(r.running, q)
		r.waiting = r.waiting[1:]
	}
}

func (r *llm) planPrefill(p *plan) bool {
	budget, free := r.s.cfg.MaxNumBatchedTokens, r.m.KV().Free
	for _, q := range r.running {
		n := len(q.tokens) - q.fed
		if q.fed > 0 && q.fed >= q.prompt && n == 1 || budget == 0 || !r.ready(q) {
			continue
		}
		n = min(n, budget)
		need := r.m.BlocksNeeded(model.SeqID(q.id), n)
		if need > free {
			continue
		}
		free -= need
		budget -= n
		r.add(p, q, n)
	}
	p.Kind = trace.NamePrefill
	return len(p.Seqs) > 0
}

func (r *llm) planDecode(p *plan) bool {
	free := r.m.KV().Free
	for i := 0; i < len(r.running); i++ {
		q := r.running[i]
		if !r.ready(q) {
			continue
		}
		need := r.m.BlocksNeeded(model.SeqID(q.id), 1)
		for need > free && len(r.running)-1 > i {
			free += r.preempt(p)
		}
		if need > free {
			continue // the oldest holds the whole cache; this one goes on when that one has ended
		}
		free -= need
		r.add(p, q, 1)
	}
	p.Kind = trace.NameDecodeStep
	return len(p.Seqs) > 0
}

// preempt evicts the youngest running sequence's cache and returns how many blocks
// that frees. The sequence is computed anew later and gives the same tokens: sampling
// depends on seed and position alone.
func (r *llm) preempt(p *plan) int {
	q := r.running[len(r.running)-1]
	r.running = r.running[:len(r.running)-1]
	kv := r.m.KV()
	blocks := (q.fed + kv.BlockSize - 1) / kv.BlockSize
	p.Free = append(p.Free, q.id)
	q.id, q.fed = 0, 0
	q.arrived = time.Now()
	r.waiting = append([]*sequence{q}, r.waiting...)
	r.s.evictions.Add(1)
	r.s.log.Debug("preempted", "request", q.req.ID, "blocks", blocks)
	return blocks
}

func (r *llm) add(p *plan, q *sequence, n int) {
	ps := planSeq{ID: q.id, Tokens: q.tokens[q.fed : q.fed+n], Partial: q.fed+n < len(q.tokens), Hidden: r.handsOn(q)}
	if !ps.Partial {
		ps.Sampling = &q.sampling
	}
	if r.talker {
		for i := range n {
			if c := r.condAt(q, q.fed+i); c != nil {
				ps.Embeds = append(ps.Embeds, len(p.tensors))
				p.tensors = append(p.tensors, c)
			} else {
				ps.Embeds = append(ps.Embeds, -1)
			}
		}
	}
	p.Tokens += n
	p.Requests = append(p.Requests, q.req.ID)
	p.Seqs = append(p.Seqs, ps)
}

// handsOn reports whether hidden states of q are wanted by a later stage.
func (r *llm) handsOn(q *sequence) bool {
	if r.talker {
		return false
	}
	for _, next := range r.s.pipeline.Next(r.s.id.Stage) {
		if q.req.Hop(next.ID) >= 0 {
			return true
		}
	}
	return false
}

func (r *llm) run(ctx context.Context, t *profiler.Track, p *plan) (any, error) {
	for _, id := range p.Free {
		r.m.Free(t, model.SeqID(id))
	}
	if len(p.Seqs) == 0 {
		return nil, nil
	}
	batch := make([]model.SeqStep, len(p.Seqs))
	for i, ps := range p.Seqs {
		b := model.SeqStep{Seq: model.SeqID(ps.ID), Tokens: ps.Tokens, Partial: ps.Partial, WantHidden: ps.Hidden}
		if sm := ps.Sampling; sm != nil {
			b.Sampling = model.Sampler{Temperature: sm.Temperature, TopK: sm.TopK, TopP: sm.TopP, Seed: sm.Seed,
				Suppress: r.never}
			if sm.IgnoreEOS {
				b.Sampling.Suppress = r.neverEOS
			}
		}
		for _, e := range ps.Embeds {
			var c []float32
			if e >= 0 && e < len(p.tensors) {
				c = p.tensors[e]
			}
			b.Embeds = append(b.Embeds, c)
		}
		batch[i] = b
	}
	return r.m.Step(ctx, t, batch)
}

func (r *llm) emit(p *plan, result any, took time.Duration) error {
	if p.Kind == kindFree {
		return nil
	}
	outs := result.([]model.StepOut)
	for i, ps := range p.Seqs {
		q := r.find(ps.ID)
		if q == nil {
			continue // cancelled while the step ran
		}
		q.durations[p.Kind] += int64(took)
		if ps.Hidden {
			// A preempted sequence is computed anew: its first states were taken before.
			skip := min(q.hidden-q.fed, len(ps.Tokens))
			q.handHid = append(q.handHid, outs[i].Hidden[skip:]...)
			q.hidden += len(ps.Tokens) - skip
		}
		q.fed += len(ps.Tokens)
		if ps.Partial {
			continue
		}
		if err := r.token(q, outs[i].Token); err != nil {
			r.s.failRequest(q.req, protocol.CodeInternal, err)
			r.cancel(q.req.ID)
		}
	}
	return nil
}

func (r *llm) find(id uint64) *sequence {
	for _, q := range r.running {
		if q.id == id {
			return q
		}
	}
	return nil
}
