package omni

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Generate sends r through the pipeline and yields its outputs as they become ready.
// It ends after the last output, or with one error. A caller that stops ranging, or a
// ctx that ends, cancels the request in every stage and frees what it held there.
// Errors of requests are *Error.
func (e *Engine) Generate(ctx context.Context, r Request) iter.Seq2[Output, error] {
	return func(yield func(Output, error) bool) {
		if r.ID == "" {
			r.ID = ulid.Make().String()
		}
		if e.attached {
			yield(Output{RequestID: r.ID}, &Error{Code: protocol.CodeBadRequest, Request: r.ID, Err: errors.New("no model is served here, only processes that have attached are profiled")})
			return
		}
		req, err := r.build(e.pipeline, e.known, r.ID)
		if err != nil {
			yield(Output{RequestID: r.ID}, err)
			return
		}
		start := time.Now()
		c, err := e.orch.submit(req)
		if err != nil {
			yield(Output{RequestID: r.ID}, err)
			return
		}
		defer e.orch.forget(c)
		g := &generation{pipeline: e.pipeline, req: req, start: start, open: slices.Clone(req.Outputs)}
		for _, h := range req.Route {
			g.working = append(g.working, h.Stage)
		}
		for {
			m, err := c.next(ctx)
			if err != nil {
				e.orch.cancel(c)
				e.trigger.ended(time.Since(start), err)
				yield(Output{RequestID: r.ID}, err)
				return
			}
			for _, out := range g.take(m) {
				if !yield(out, nil) {
					if !g.ended() {
						e.orch.cancel(c)
					}
					return
				}
			}
			if g.ended() {
				e.trigger.ended(g.metrics.Total, nil)
				return
			}
		}
	}
}

// generation assembles a request's outputs from its stages' messages.
type generation struct {
	pipeline *deploy.Pipeline
	req      *wire.Request
	start    time.Time
	open     []string // outputs that are not finished
	working  []int    // stages that are not done
	held     []Output // the last output, until all stages are done and the metrics complete
	usage    Usage
	metrics  Metrics
	lastText time.Duration
	sent     bool
}

func (g *generation) ended() bool { return g.sent }

// take returns the outputs that m completes.
func (g *generation) take(m *wire.Message) []Output {
	at := time.Since(g.start)
	var out []Output
	switch m.Kind {
	case wire.KindDone:
		g.working = slices.DeleteFunc(g.working, func(id int) bool { return id == m.From })
		if g.metrics.Stages == nil {
			g.metrics.Stages = map[string]time.Duration{}
		}
		for phase, ns := range m.Durations {
			g.metrics.Stages[g.pipeline.Stage(m.From).Name+"."+phase] += time.Duration(ns)
		}
	case wire.KindOutput:
		if o := g.output(m, at); slices.Contains(g.req.Outputs, m.Type) {
			out = append(out, o)
		}
	}
	if len(g.open) > 0 || len(g.working) > 0 {
		if n := len(out); n > 0 && out[n-1].Finished && len(g.open) == 0 {
			g.held, out = append(g.held, out[n-1]), out[:n-1]
		}
		return out
	}
	g.metrics.Total = at
	out = append(g.held, out...)
	for i := range out {
		out[i].Metrics = g.metrics
	}
	g.sent = true
	return out
}

func (g *generation) output(m *wire.Message, at time.Duration) Output {
	st := g.pipeline.Stage(m.From)
	o := Output{RequestID: g.req.ID, Stage: st.ID, StageName: st.Name, Type: m.Type, Text: m.Text, SampleRate: m.SampleRate,
		Finished: m.Final, FinishReason: m.Reason}
	switch m.Type {
	case deploy.OutputText:
		if g.metrics.TTFT == 0 {
			g.metrics.TTFT = at
		}
		g.lastText = at
		if m.Final {
			g.usage = Usage{PromptTokens: m.PromptTokens, CompletionTokens: m.NewTokens, TotalTokens: m.PromptTokens + m.NewTokens}
			if m.NewTokens > 1 {
				g.metrics.TimePerToken = (g.lastText - g.metrics.TTFT) / time.Duration(m.NewTokens-1)
			}
		}
	case deploy.OutputAudio:
		if g.metrics.TimeToFirstAudio == 0 {
			g.metrics.TimeToFirstAudio = at
		}
		for _, b := range m.BlobData {
			for i := 0; i+1 < len(b); i += 2 {
				o.PCM = append(o.PCM, int16(b[i])|int16(b[i+1])<<8)
			}
		}
	case deploy.OutputImage:
		o.Images = m.BlobData
	}
	if m.Final {
		g.open = slices.DeleteFunc(g.open, func(t string) bool { return t == m.Type })
		o.Usage = g.usage
	}
	return o
}
