package omni

import (
	"slices"
	"time"

	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/wire"
)

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

func newGeneration(p *deploy.Pipeline, req *wire.Request, start time.Time) *generation {
	g := &generation{pipeline: p, req: req, start: start, open: slices.Clone(req.Outputs)}
	for _, h := range req.Route {
		g.working = append(g.working, h.Stage)
	}
	return g
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
	o := Output{
		RequestID:    g.req.ID,
		Stage:        st.ID,
		StageName:    st.Name,
		Type:         m.Type,
		Text:         m.Text,
		SampleRate:   m.SampleRate,
		Finished:     m.Final,
		FinishReason: m.Reason,
	}
	switch m.Type {
	case deploy.OutputText:
		if g.metrics.TTFT == 0 {
			g.metrics.TTFT = at
		}
		g.lastText = at
		if m.Final {
			g.usage = Usage{
				PromptTokens:     m.PromptTokens,
				CompletionTokens: m.NewTokens,
				TotalTokens:      m.PromptTokens + m.NewTokens,
			}
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
