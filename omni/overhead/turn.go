package overhead

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// turn is what one state did in one round.
type turn struct {
	phases  map[phaseKey]wire.Durations // without buckets
	latency float64                     // s, mean of the requests
	rate    float64                     // requests/s
}

type phaseKey struct{ stage, phase string }

// Fixed returns n requests, those of load over and over, that make the same work
// whenever they are sent: sampling has a seed and goes on to max_tokens.
func Fixed(load []omni.Request, n int) []omni.Request {
	if len(load) == 0 {
		return nil
	}
	out := make([]omni.Request, n)
	for i := range out {
		r := load[i%len(load)]
		r.ID = ""
		r.Sampling.IgnoreEOS = true
		if r.Sampling.Seed == nil {
			seed := uint64(i)
			r.Sampling.Seed = &seed
		}
		if r.Image.Seed == nil {
			r.Image.Seed = r.Sampling.Seed
		}
		out[i] = r
	}
	return out
}

// drive sends every request of load once and waits for all, or for the first to fail.
func (m *meter) drive(ctx context.Context, load []omni.Request) (turn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, turnTimeout,
		fmt.Errorf("one state's requests took more than %v: send fewer a round", turnTimeout))
	defer cancel()
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	took := make([]time.Duration, len(load))
	begin := time.Now()
	for range min(m.o.Concurrency, len(load)) {
		wg.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= len(load) || ctx.Err() != nil {
					return
				}
				sent := time.Now()
				if err := m.send(ctx, load[n]); err != nil {
					once.Do(func() { first = fmt.Errorf("request %d: %w", n+1, err) })
					cancel()
					return
				}
				took[n] = time.Since(sent)
			}
		})
	}
	wg.Wait()
	whole := time.Since(begin)
	if cause := context.Cause(ctx); first != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		first = cause
	}
	if first == nil {
		first = ctx.Err() // ended between two requests
	}
	var sum time.Duration
	for _, d := range took {
		sum += d
	}
	return turn{latency: sum.Seconds() / float64(len(load)), rate: float64(len(load)) / whole.Seconds()}, first
}

// send serves one request to its end.
func (m *meter) send(ctx context.Context, r omni.Request) error {
	for _, err := range m.eng.Generate(ctx, r) {
		if err != nil {
			return err
		}
	}
	return nil
}

// durations asks the stages that answer how long their phases took so far.
func (m *meter) durations(ctx context.Context) (map[phaseKey]wire.Durations, error) {
	out := map[phaseKey]wire.Durations{}
	if len(m.answering) == 0 {
		return out, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	replies, err := m.eng.CollectiveRPC(ctx, protocol.CallDurations, nil, m.answering)
	if err != nil {
		return nil, err
	}
	sums, silent := omni.SumDurations(replies)
	for name, err := range silent {
		return nil, fmt.Errorf("durations of stage %s: %w", name, err)
	}
	for _, d := range sums {
		out[phaseKey{d.Stage, d.Phase}] = d.Durations
	}
	return out, nil
}

// rested waits until the ranks have put the last session behind them: every stage that
// times its steps answers, and, where the pipeline says how it is, every replica serves.
func (m *meter) rested(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, restTimeout)
	defer cancel()
	var err error
	late := wait.Until(ctx, restPoll, func() bool {
		err = nil
		if h, ok := m.eng.(interface{ Health() error }); ok {
			err = h.Health()
		}
		if err == nil {
			_, err = m.durations(ctx)
		}
		return err == nil
	})
	if late != nil {
		return fmt.Errorf("the pipeline did not come to rest: %w; %w", err, late)
	}
	return nil
}

// subtract returns the durations that were added between before and after.
func subtract(after, before map[phaseKey]wire.Durations) (map[phaseKey]wire.Durations, error) {
	out := map[phaseKey]wire.Durations{}
	for key, b := range before {
		if after[key].Count < b.Count {
			return nil, fmt.Errorf("stage %s counts %d times %s after %d: a rank was restarted", key.stage,
				after[key].Count, key.phase, b.Count)
		}
	}
	for key, a := range after {
		b := before[key]
		out[key] = wire.Durations{Count: a.Count - b.Count, SumSeconds: a.SumSeconds - b.SumSeconds}
	}
	return out, nil
}

// setFlight switches the flight recorders and returns whether any is on. A process that
// takes part and does not know the question is not an error.
func (m *meter) setFlight(ctx context.Context, on bool) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	replies, err := m.eng.CollectiveRPC(ctx, protocol.CallFlight, map[string]any{"on": on}, nil)
	if err != nil {
		return false, err
	}
	flying := false
	for _, s := range replies {
		for _, r := range s.Ranks {
			is, ok := r.Result.(bool)
			flying = flying || r.OK && ok && is
		}
	}
	if !on && flying {
		return flying, errors.New("a flight recorder cannot be switched off")
	}
	return flying, nil
}
