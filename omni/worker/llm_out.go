package worker

import (
	"strings"

	"github.com/kinetoscope/kinetoscope/omni/wire"
)

// token takes the token that was sampled for q: it sends text, hands it on, and ends q where it
// should end.
func (r *llm) token(q *sequence, id int32) error {
	if r.talker {
		return r.frame(q, id)
	}
	eos := id == r.tok.EOS()
	q.tokens = append(q.tokens, id)
	q.handTok = append(q.handTok, id)
	switch {
	case eos:
		q.finish = "stop"
	case len(q.tokens)-q.prompt >= q.max:
		q.finish = "length"
	}
	var piece string
	if !eos {
		piece = q.detok.Push(id)
	}
	if q.finish != "" {
		piece += q.detok.Flush()
	}
	q.text.WriteString(piece)
	if err := r.sendText(q); err != nil {
		return err
	}
	if r.handsOn(q) && (q.finish != "" || len(q.handTok) >= r.s.cfg.HandoffChunk || q.handChunk == 0) {
		if err := r.handOn(q); err != nil {
			return err
		}
	}
	if q.finish != "" {
		return r.end(q)
	}
	return nil
}

// sendText sends the text that cannot be the beginning of a stop string any more, and ends the
// sequence where a stop string is complete.
func (r *llm) sendText(q *sequence) error {
	text := q.text.String()
	until, stopped := settled(text, q.settled, q.stop, q.finish != "")
	q.settled = until
	if stopped {
		q.finish = "stop"
	}
	final := q.finish != ""
	if until <= q.sent && !final || !r.s.cfg.FinalOutput {
		return nil
	}
	m := &wire.Message{Kind: wire.KindOutput, Type: r.s.cfg.FinalOutputType, Chunk: q.outChunk, Final: final,
		NewTokens: len(q.tokens) - q.prompt}
	if until > q.sent {
		m.Text = text[q.sent:until]
		q.sent = until
	}
	if final {
		m.Reason, m.PromptTokens = q.finish, q.prompt
	}
	q.outChunk++
	return r.s.output(q.req, m)
}

// settled returns how many bytes of text may be sent: those before the first stop string, if there
// is one; else those that no stop string can begin in; all of them if last says that no text
// follows. from is what the previous call returned, 0 at first: no stop string begins before it, so
// that a long text is not searched again for every token.
func settled(text string, from int, stops []string, last bool) (until int, stopped bool) {
	tail := text[from:]
	end, keep := -1, 0
	for _, stop := range stops {
		if stop == "" {
			continue
		}
		if i := strings.Index(tail, stop); i >= 0 && (end < 0 || i < end) {
			end = i
		}
		if !last {
			keep = max(keep, overlap(tail, stop))
		}
	}
	if end >= 0 {
		return from + end, true
	}
	return len(text) - keep, false
}

// overlap returns the length of the longest proper prefix of stop that text ends with.
func overlap(text, stop string) int {
	for n := min(len(stop)-1, len(text)); n > 0; n-- {
		if strings.HasSuffix(text, stop[:n]) {
			return n
		}
	}
	return 0
}

// handOn hands the thinker's new tokens with their hidden states to the talker; the
// first hand-off brings the prompt's hidden states too.
func (r *llm) handOn(q *sequence) error {
	m := &wire.Message{Chunk: q.handChunk, Final: q.finish != "", Tokens: q.handTok, Tensors: q.handHid}
	if q.handChunk == 0 {
		// The hidden state that predicted the first token is the prompt's last one. It conditions
		// the frames of that token, so the prompt has one state less.
		m.PromptTokens = q.prompt - 1
		if m.PromptTokens == 0 {
			m.PromptTokens = 1
			m.Tensors = append(m.Tensors[:1:1], m.Tensors...)
		}
	}
	err := r.s.handoff(q.req, m)
	q.handChunk++
	q.handTok, q.handHid = nil, nil
	return err
}

// frame takes a codec token of the talker.
func (r *llm) frame(q *sequence, id int32) error {
	q.tokens = append(q.tokens, id)
	q.handTok = append(q.handTok, id)
	n := len(q.tokens) - q.prompt
	switch {
	case q.condFinal && n >= len(q.cond)*r.framesPerToken():
		q.finish = "stop"
	case n >= q.max:
		q.finish = "length"
	}
	if q.finish != "" || len(q.handTok) >= r.s.cfg.HandoffChunk {
		err := r.s.handoff(q.req, &wire.Message{Chunk: q.handChunk, Final: q.finish != "", Tokens: q.handTok})
		q.handChunk++
		q.handTok = nil
		if err != nil {
			return err
		}
	}
	if q.finish != "" {
		return r.end(q)
	}
	return nil
}

// end forgets a finished sequence.
func (r *llm) end(q *sequence) error {
	err := r.s.done(q.req, q.durations)
	r.cancel(q.req.ID)
	return err
}

func (r *llm) cancel(id string) {
	q := r.byID[id]
	if q == nil {
		return
	}
	delete(r.byID, id)
	if q.id != 0 {
		r.free = append(r.free, q.id)
	}
	r.waiting = without(r.waiting, q)
	r.running = without(r.running, q)
}

func without[T comparable](list []T, x T) []T {
	out := list[:0]
	for _, v := range list {
		if v != x {
			out = append(out, v)
		}
	}
	clear(list[len(out):])
	return out
}
