// Package overhead measures what profiling costs an open pipeline, on its own ranks and
// under a load of the caller's: rounds in which states of the profiler take turns and
// each serves the same requests. Steps are timed by the ranks themselves, which they do
// always, recording or not, so that native and torch stages are measured alike.
package overhead

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// Names of the states.
const (
	StateOff       = "off"       // no session, no flight recorder
	StateFlight    = "flight"    // no session, the flight recorder as deployed
	StateArmed     = "armed"     // a session whose window never opens
	StateRecording = "recording" // a session that records from its start
)

// Limits of the load on the pipeline.
const (
	// callTimeout bounds one question to the ranks. They answer beside their steps; a
	// Python rank may be late by the export of a trace.
	callTimeout = 20 * time.Second
	// turnTimeout bounds the load of one state in one round: a session is not to run
	// longer, and a longer round measures no better.
	turnTimeout = protocol.DefaultMaxDuration
	// stopTimeout bounds the end of a session; its own bounds lie below it.
	stopTimeout = 5 * time.Minute
	// restTimeout bounds the wait for ranks that are silent after a session: Python frees
	// a recording with its lock held, for seconds on a busy machine.
	restTimeout = time.Minute
	// restPoll is how often they are looked at; it is short beside a turn.
	restPoll = 20 * time.Millisecond
	// never is a delay_iterations that no round reaches.
	never = math.MaxInt32
)

// Recording is one more way to record: a state of its own.
type Recording struct {
	Name   string // of the state
	Config protocol.ProfilerConfig
}

// Options say what Measure does.
type Options struct {
	Rounds      int            // MinRounds to MaxRounds
	Load        []omni.Request // sent once in each state of each round; see Fixed
	Concurrency int            // requests on their way at once; 0 is 1
	Stages      []int          // that sessions capture; nil: all that have a profiler
	Also        []Recording    // beside the stages' own configuration
	// Progress, if set, is told before each turn how many of all are over.
	Progress func(done, total int, what string)
}

// Prepare changes p so that its sessions record the whole of a load: the schedule's
// fields of every profiler_config are cleared.
func Prepare(p *deploy.Pipeline) {
	for i := range p.Stages {
		WholeLoad(&p.Stages[i].Profiler)
	}
}

// WholeLoad clears the fields of c that choose when to record.
func WholeLoad(c *protocol.ProfilerConfig) {
	c.DelayIterations, c.MaxIterations, c.WaitIterations, c.WarmupIterations = 0, 0, 0, 0
}

// state is one state of the profiler.
type state struct {
	name    string
	flight  bool
	session *protocol.StartRequest // nil: none
	records bool
}

// meter is one measurement under way.
type meter struct {
	eng    omni.API
	o      Options
	states []state
	stages []omni.StageInfo
	// answering are the stages that say how long their steps take; silent the others,
	// by name.
	answering []int
	silent    map[string]error
	drops     uint64
	turns     [][]turn // by round, by state
}

// Measure runs the rounds and returns what was found. It starts sessions on eng one
// after the other and removes their runs, so nothing else may profile eng meanwhile,
// and the pipeline should have been changed by Prepare before it was opened. Between
// states it waits until the last session's files are fetched. When it returns, with an
// error too, no session of its own is left and the flight recorders are on again.
func Measure(ctx context.Context, eng omni.API, o Options) (_ *Report, err error) {
	if o.Rounds < MinRounds || o.Rounds > MaxRounds {
		return nil, fmt.Errorf("%d rounds: %d, or there is no telling an effect from chance, to %d", o.Rounds,
			MinRounds, MaxRounds)
	}
	if len(o.Load) == 0 {
		return nil, errors.New("no requests: give the load at least one")
	}
	o.Concurrency = max(1, min(o.Concurrency, len(o.Load)))
	if o.Progress == nil {
		o.Progress = func(int, int, string) {}
	}
	m := &meter{eng: eng, o: o, stages: eng.Stages(), silent: map[string]error{}}
	flying, err := m.setFlight(ctx, true)
	if err != nil {
		return nil, err
	}
	m.states = states(o, flying, m.stages)
	if flying {
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
			defer cancel()
			_, back := m.setFlight(ctx, true)
			err = errors.Join(err, back)
		}()
	}
	total := o.Rounds * len(m.states)
	o.Progress(0, total, "warming up")
	if err := m.warmUp(ctx); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	for round := range o.Rounds {
		m.turns = append(m.turns, make([]turn, len(m.states)))
		for i, s := range order(len(m.states), round) {
			st := &m.states[s]
			o.Progress(round*len(m.states)+i, total, fmt.Sprintf("round %d of %d: %s", round+1, o.Rounds, st.name))
			t, err := m.turn(ctx, st)
			if err != nil {
				return nil, fmt.Errorf("round %d, %s: %w", round+1, st.name, err)
			}
			m.turns[round][s] = t
		}
	}
	o.Progress(total, total, "done")
	return m.report(), nil
}

// states returns the states that take turns. If no rank has a flight recorder, the flight recorder
// is not among them.
func states(o Options, flying bool, stages []omni.StageInfo) []state {
	delay, none := never, 0
	out := []state{{name: StateOff}}
	if flying {
		out = append(out, state{name: StateFlight, flight: true})
	}
	profiled := o.Stages // a configuration of the session's own would profile every stage
	for _, s := range stages {
		if o.Stages == nil && s.Profiler {
			profiled = append(profiled, s.ID)
		}
	}
	session := func(delay *int, c *protocol.ProfilerConfig) *protocol.StartRequest {
		return &protocol.StartRequest{Stages: profiled, Config: c, DelayIterations: delay, MaxIterations: &none,
			MaxDuration: turnTimeout}
	}
	out = append(out,
		state{name: StateArmed, flight: flying, session: session(&delay, nil)},
		state{name: StateRecording, flight: flying, session: session(&none, nil), records: true})
	for i := range o.Also {
		out = append(out, state{name: o.Also[i].Name, flight: flying, session: session(&none, &o.Also[i].Config),
			records: true})
	}
	return out
}

// warmUp serves the load once unmeasured and asks every stage whether it times its steps.
func (m *meter) warmUp(ctx context.Context) error {
	if _, err := m.drive(ctx, m.o.Load); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	replies, err := m.eng.CollectiveRPC(ctx, protocol.CallDurations, nil, nil)
	if err != nil {
		return err
	}
	_, m.silent = omni.SumDurations(replies)
	for _, s := range m.stages {
		if m.silent[s.Name] == nil {
			m.answering = append(m.answering, s.ID)
		}
	}
	return nil
}

// turn puts the profiler into a state, lets the pipeline settle, and measures the load.
func (m *meter) turn(ctx context.Context, s *state) (t turn, err error) {
	if err := m.rested(ctx); err != nil {
		return t, err
	}
	if _, err := m.setFlight(ctx, s.flight); err != nil {
		return t, err
	}
	if s.session != nil {
		if _, err := m.eng.StartProfile(ctx, *s.session); err != nil {
			return t, fmt.Errorf("start the session: %w", err)
		}
		defer func() {
			if end := m.endSession(ctx, s); err == nil {
				err = end
			}
		}()
	}
	// What the change of state cost is not the state's: buffers, caches, a trace freed.
	if _, err := m.drive(ctx, m.o.Load[:1]); err != nil {
		return t, err
	}
	before, err := m.durations(ctx)
	if err != nil {
		return t, err
	}
	if t, err = m.drive(ctx, m.o.Load); err != nil {
		return t, err
	}
	after, err := m.durations(ctx)
	if err != nil {
		return t, err
	}
	t.phases, err = subtract(after, before)
	return t, err
}

// endSession stops the state's session, removes its run, and returns what was wrong with it: a
// recording that did not cover its round measured something else.
func (m *meter) endSession(ctx context.Context, s *state) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	st, err := m.eng.StopProfile(ctx)
	if err != nil {
		return fmt.Errorf("stop the session: %w", err)
	}
	if st.RunDir != "" {
		err = os.RemoveAll(st.RunDir)
	}
	m.drops += drops(st)
	return errors.Join(err, covered(st, s.records))
}

func drops(st *session.Status) (n uint64) {
	for _, stage := range st.Stages {
		for _, r := range stage.Ranks {
			n += r.Drops
		}
	}
	return n
}

// covered names a rank that did not do what the state requires: record from beginning to end, or
// not at all.
func covered(st *session.Status, records bool) error {
	for _, stage := range st.Stages {
		for _, r := range stage.Ranks {
			who := fmt.Sprintf("stage %d (%s) replica %d rank %d", stage.Stage, stage.Name, r.Replica, r.Rank)
			switch {
			case r.State != protocol.StateComplete:
				return fmt.Errorf("%s is %s: %s", who, r.State, r.Reason)
			case r.StoppedBy != protocol.StoppedByRequest:
				return fmt.Errorf("%s stopped by itself (%s) before the round was over: send fewer requests a round",
					who, r.StoppedBy)
			case records != (r.StartedAtNs != 0):
				return fmt.Errorf("%s: it recorded is %v, which the state is not: %s", who, !records, r.Reason)
			}
		}
	}
	return nil
}
