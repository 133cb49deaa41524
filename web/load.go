package web

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/web/api"
	"github.com/kinetoscope/kinetoscope/web/openai"
)

const (
	// loadWindow is the time over which the load of a pipeline is shown: long enough for a median,
	// short enough to describe the present.
	loadWindow = time.Minute
	// loadEvery is how often ranks are asked for their counts while somebody watches.
	loadEvery = 2 * time.Second
	// maxFinished bounds the finished requests that are remembered; with more in loadWindow
	// the window is shorter, and the answer says so.
	maxFinished = 4096
)

// finished is a request that has ended well.
type finished struct {
	at               time.Time
	ttft, firstAudio time.Duration // 0: it had none
	tokens           int
}

// finishedRing remembers the last requests, for their median. It is safe for concurrent use.
type finishedRing struct {
	mu   sync.Mutex
	list [maxFinished]finished
	n    int // ever added
}

func (f *finishedRing) add(a *openai.Answer, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list[f.n%maxFinished] = finished{now, a.Metrics.TTFT, a.Metrics.TimeToFirstAudio, a.Usage.CompletionTokens}
	f.n++
}

// since returns the requests that ended after t. from is the time since which the list is complete.
func (f *finishedRing) since(t time.Time) (out []finished, from time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	from = t
	for i := f.n - 1; i >= max(0, f.n-maxFinished); i-- {
		r := f.list[i%maxFinished]
		if r.at.Before(t) {
			return out, t
		}
		out = append(out, r)
		from = r.at
	}
	if f.n <= maxFinished {
		from = t
	}
	return out, from
}

// phaseKey is a phase of a stage.
type phaseKey struct{ stage, phase string }

type phaseCount struct {
	n   uint64
	sum float64 // s
}

// loadSample is what the ranks had counted at one time.
type loadSample struct {
	at     time.Time
	phases map[phaseKey]phaseCount
	whole  bool // every stage answered, so a phase that is missing has not run yet
}

// loader samples the load of a pipeline. It is used by one goroutine.
type loader struct {
	s       *Server
	samples []loadSample // oldest first, of loadWindow
}

// next asks the ranks and says what the load is over the window that the samples cover.
func (l *loader) next(ctx context.Context, now time.Time) api.Load {
	for len(l.samples) > 0 && now.Sub(l.samples[0].at) > loadWindow {
		l.samples = slices.Delete(l.samples, 0, 1)
	}
	sample := loadSample{at: now, phases: map[phaseKey]phaseCount{}}
	if timer, ok := l.s.api.(StageTimer); ok {
		ctx, cancel := context.WithTimeout(ctx, durationTimeout)
		defer cancel()
		list, err := timer.StageDurations(ctx) // what does not answer is left out
		if err != nil {
			l.s.log.Debug("stage durations", "err", err)
		}
		sample.whole = err == nil
		for _, d := range list {
			sample.phases[phaseKey{d.Stage, d.Phase}] = phaseCount{d.Count, d.SumSeconds}
		}
	}
	l.samples = append(l.samples, sample)
	out := api.Load{At: now, Stages: []api.StageLoad{}, Requests: l.requests(now)}
	var queue map[string]int
	if q, ok := l.s.api.(QueueDepther); ok {
		queue = q.QueueDepth()
	}
	for _, st := range l.s.api.Stages() {
		sl := api.StageLoad{Stage: st.ID, Name: st.Name, Phases: l.phases(st.Name)}
		if n, ok := queue[st.Name]; ok {
			sl.Queue = &n
		}
		out.Stages = append(out.Stages, sl)
	}
	return out
}

// phases compares the last sample with the first that has the phase too.
func (l *loader) phases(stage string) []api.PhaseLoad {
	last, out := l.samples[len(l.samples)-1], []api.PhaseLoad{}
	for key, now := range last.phases {
		if key.stage != stage {
			continue
		}
		for _, first := range l.samples[:len(l.samples)-1] {
			was, ok := first.phases[key]
			if !ok && !first.whole || now.n < was.n { // the ranks started anew
				continue
			}
			over := last.at.Sub(first.at).Seconds()
			p := api.PhaseLoad{Phase: key.phase, Count: now.n - was.n, OverS: over}
			if over > 0 {
				p.PerS = float64(p.Count) / over
			}
			if p.Count > 0 {
				p.MeanS = (now.sum - was.sum) / float64(p.Count)
			}
			out = append(out, p)
			break
		}
	}
	slices.SortFunc(out, func(a, b api.PhaseLoad) int { return cmp.Compare(a.Phase, b.Phase) })
	return out
}

// requests sums up those that ended lately.
func (l *loader) requests(now time.Time) api.RequestLoad {
	list, from := l.s.metrics.finished.since(now.Add(-loadWindow))
	out := api.RequestLoad{Finished: len(list), OverS: now.Sub(from).Seconds(), InFlight: len(l.s.generations)}
	var ttft, audio []int64
	tokens := 0
	for _, r := range list {
		tokens += r.tokens
		if r.ttft > 0 {
			ttft = append(ttft, int64(r.ttft))
		}
		if r.firstAudio > 0 {
			audio = append(audio, int64(r.firstAudio))
		}
	}
	if out.OverS > 0 {
		out.PerS, out.TokensPerS = float64(len(list))/out.OverS, float64(tokens)/out.OverS
	}
	out.TTFT, out.FirstAudio = quantiles(ttft), quantiles(audio)
	return out
}

// quantiles returns nil for an empty list.
func quantiles(ns []int64) *pipeline.Quantiles {
	if len(ns) == 0 {
		return nil
	}
	q := pipeline.QuantilesOf(ns)
	return &q
}
