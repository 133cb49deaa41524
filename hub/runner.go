package hub

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

const (
	// abortTimeout bounds the telling of a rank that a session is dropped; the
	// rank's own watchdogs do it if this does not reach it.
	abortTimeout = 2 * time.Second
	// eventsPerRank sizes a session's queue: each rank has one request under way,
	// one loss and one unasked report at a time.
	eventsPerRank = 4
	// resumeWait is how long after a hub's restart a rank has to reconnect and
	// show its presence before it counts as lost.
	resumeWait = 15 * time.Second
)

// runner is the shell of one session: one goroutine feeds its machine, each
// action runs in one of its own and answers with an event.
type runner struct {
	h       *Hub
	id      string
	m       *session.Machine // run's goroutine only
	events  chan session.Event
	begun   chan struct{} // closed when the session records or has ended
	done    chan struct{} // closed when run returns
	resumed bool          // an earlier hub began it

	recorded atomic.Bool // the recording has begun once
	noRoom   atomic.Bool // the run store took something no more
	// arrived is what the ranks left, before anything was made of it. The conversion's
	// until it has ended, then run's.
	arrived []protocol.Artifact

	ctx     context.Context // of the session
	cancel  context.CancelFunc
	actx    context.Context // of the actions: ends when the session's state does
	acancel context.CancelFunc
	actions sync.WaitGroup
	aborts  sync.WaitGroup
	arming  chan struct{} // held by ranks that are measured and armed; armedAtOnce
	watches sync.WaitGroup
	incs    map[protocol.RankID]session.Target // the targets, by rank

	mu       sync.Mutex
	st       *session.Status // published, never changed
	runDir   string
	store    *store.Run                              // open from the first file on
	clocks   map[protocol.RankID]protocol.ClockError // as measured last
	remarks  map[protocol.RankID]string              // remarks for a rank's reason, however the rank ends
	orphans  map[protocol.RankID]bool                // see gone
	told     map[protocol.RankID]chan struct{}       // closed when an abort has been answered or given up
	answered map[protocol.RankID]bool                // ranks that have answered their abort
	writing  map[protocol.RankID]protocol.Writing    // how far the ranks' files are
	progress atomic.Pointer[session.Progress]
}

func newRunner(h *Hub, m *session.Machine) *runner {
	r := &runner{
		h: h, id: m.ID(), m: m, begun: make(chan struct{}), done: make(chan struct{}),
		st: m.Status(), incs: map[protocol.RankID]session.Target{},
		told: map[protocol.RankID]chan struct{}{}, answered: map[protocol.RankID]bool{},
		clocks: map[protocol.RankID]protocol.ClockError{}, remarks: map[protocol.RankID]string{},
		orphans: map[protocol.RankID]bool{}, writing: map[protocol.RankID]protocol.Writing{},
	}
	ranks := m.Snapshot().Ranks
	for _, rec := range ranks {
		r.incs[rec.Target.RankID] = rec.Target
	}
	r.arming = make(chan struct{}, armedAtOnce)
	r.events = make(chan session.Event, eventsPerRank*len(ranks)+eventsPerRank)
	r.ctx, r.cancel = context.WithCancel(h.ctx)
	r.actx, r.acancel = context.WithCancel(r.ctx)
	return r
}

// post gives the machine an event unless the session is over.
func (r *runner) post(ev session.Event) {
	select {
	case r.events <- ev:
	case <-r.ctx.Done():
	}
}

// status returns a copy of what was last published.
func (r *runner) status() *session.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.progressOf(r.st)
}

// withProgress is a published status with how far the session is by now.
func (r *runner) withProgress(st *session.Status) *session.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.progressOf(st)
}

// progressOf is withProgress for callers that hold mu.
func (r *runner) progressOf(old *session.Status) *session.Status {
	st := *old
	st.Stages = slices.Clone(st.Stages)
	if p := r.progress.Load(); p != nil && st.State == session.StateConverting {
		st.Progress = p
	}
	if st.State != session.StateStopping && st.State != session.StateCollecting {
		return &st
	}
	for i := range st.Stages {
		ranks := slices.Clone(st.Stages[i].Ranks)
		for j := range ranks {
			if w, ok := r.writing[ranks[j].RankID]; ok && ranks[j].State == protocol.StateStopped {
				ranks[j].Writing = &w
			}
		}
		st.Stages[i].Ranks = ranks
	}
	return &st
}

// wrote takes what a rank says of its files while they are waited for. The session does not
// depend on it.
func (r *runner) wrote(id protocol.RankID, w protocol.Writing) {
	if _, ok := r.incs[id]; !ok {
		return
	}
	w.Files, w.Done = max(w.Files, 0), min(max(w.Done, 0), max(w.Files, 0))
	w.Bytes, w.Sent = max(w.Bytes, 0), max(w.Sent, 0)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writing[id] = w
}

// run drives the session to its end, or until the hub closes.
func (r *runner) run(first session.Event) {
	defer close(r.done)
	defer r.wait()
	r.watchTargets()
	timer := time.NewTimer(0)
	defer timer.Stop()
	ev := first
	for {
		actions := r.m.Step(time.Now(), ev)
		// What is queued is taken along before the state is written down.
		for more := true; more; {
			select {
			case ev := <-r.events:
				actions = append(actions, r.m.Step(time.Now(), ev)...)
			default:
				more = false
			}
		}
		r.publish(actions)
		if r.m.State().Terminal() {
			return
		}
		wait := time.Hour // no deadline is set: only events matter
		if next := r.m.NextTick(); !next.IsZero() {
			wait = max(time.Until(next), 0)
		}
		timer.Reset(wait)
		select {
		case ev = <-r.events:
		case <-timer.C:
			ev = session.Tick{}
		case <-r.ctx.Done():
			return
		}
	}
}

// wait ends all that the session runs, waits for it and leaves the hub's table.
func (r *runner) wait() {
	r.cancel()
	r.actions.Wait()
	r.aborts.Wait()
	r.watches.Wait()
	r.forget()
}

// publish writes the session down, then performs its actions. The end is published last, so that a
// client that waited for it finds the manifest written and every rank told.
func (r *runner) publish(actions []session.Action) {
	ended := r.m.State().Terminal()
	if !ended {
		// Durable first: a record that a client has seen must be there after a restart.
		r.persist()
		r.show()
	}
	for _, a := range actions {
		switch a.Kind {
		case session.DoFinish:
		case session.DoAbort:
			r.abort(a)
		default:
			r.actions.Go(func() { r.do(a) })
		}
	}
	if ended {
		r.acancel()
		r.actions.Wait()
		r.aborts.Wait()
		r.finish()
		r.persist()
		if !r.noRoom.Load() && r.ctx.Err() == nil {
			r.h.dropRecord(r.id)
		}
		r.show()
		r.h.retire(r.h.ctx)
	}
}

func (r *runner) persist() {
	rec := record{Hub: r.h.cfg.Name, RunDir: r.dir(), Session: r.m.Snapshot()}
	if r.m.State().Terminal() && r.noRoom.Load() {
		rec.Arrived = r.arrived
	}
	if err := r.h.persist(r.ctx, rec); err != nil && r.ctx.Err() == nil && r.h.Health() == nil {
		r.h.log.Error("a restarted hub would not know this", "err", err)
	}
}

// show makes the machine's status the one that clients see.
func (r *runner) show() {
	st := r.m.Status()
	st.RunDir = r.dir()
	if st.State.Terminal() && r.noRoom.Load() {
		r.h.waits(st)
	}
	r.h.setURLs(st)
	r.mu.Lock()
	r.st = st
	r.mu.Unlock()
	r.h.mu.Lock()
	r.h.book.Put(st)
	r.h.mu.Unlock()
	switch st.State {
	case session.StateRecording, session.StateStopping, session.StateCollecting, session.StateConverting,
		session.StateComplete, session.StatePartial:
		r.recorded.Store(true)
	}
	switch st.State {
	case session.StateIdle, session.StateArming, session.StateArmed:
	default:
		select {
		case <-r.begun:
		default:
			close(r.begun)
		}
	}
}

func setURLs(id string, as []protocol.Artifact) {
	for i := range as {
		as[i].URL = "/v1/sessions/" + id + "/artifacts/" + as[i].Name
	}
}

// forget ends the session's part in the hub; its status stays in the book.
func (r *runner) forget() {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	delete(r.h.runners, r.id)
	if r.store != nil {
		if err := r.store.Close(); err != nil {
			r.h.log.Warn("close run", "session", r.id, "err", err)
		}
	}
}

// watchTargets posts a loss the moment the registry knows of it. After a restart
// of the hub a rank has resumeWait to say that it is there.
func (r *runner) watchTargets() {
	for id, t := range r.incs {
		if t.Incarnation == "" {
			continue // its arm says so
		}
		r.watches.Go(func() {
			ctx, cancel := context.WithTimeout(r.ctx, resumeWait)
			defer cancel()
			e, err := r.h.reg.await(ctx, id, t.Incarnation)
			if err == nil {
				select {
				case <-r.ctx.Done():
					return
				case <-e.ctx.Done():
					err = context.Cause(e.ctx)
				}
			}
			if r.ctx.Err() == nil {
				r.post(r.gone(id, err.Error()))
			}
		})
	}
}

// ask requests one method within the action's deadline.
func (r *runner) ask(ctx context.Context, a session.Action, method protocol.Method, in, out any) error {
	ctx, cancel := context.WithDeadline(ctx, a.Deadline)
	defer cancel()
	inc := r.incs[a.Rank].Incarnation
	if r.resumed {
		if _, err := r.h.reg.await(ctx, a.Rank, inc); err != nil {
			return &RankError{Rank: a.Rank, Method: method, State: protocol.StateLost, Reason: err.Error()}
		}
	}
	return r.h.request(ctx, a.Rank, inc, method, in, out)
}

// abort tells a rank to drop the session; only the session's end waits for the answer.
func (r *runner) abort(a session.Action) {
	told := make(chan struct{})
	r.mu.Lock()
	r.told[a.Rank] = told
	r.mu.Unlock()
	r.aborts.Go(func() {
		defer close(told)
		a.Deadline = time.Now().Add(abortTimeout)
		var s protocol.RankStatus
		err := r.ask(r.ctx, a, protocol.MethodAbort, protocol.AbortRequest{Session: r.id, Reason: a.Reason,
			Keep: a.Keep}, &s)
		r.mu.Lock()
		r.answered[a.Rank] = err == nil
		r.mu.Unlock()
		if err != nil && r.ctx.Err() == nil {
			r.h.log.Warn("a rank was not told to drop a session; its own watchdog will", "session", r.id, "err", err)
		}
	})
}

// do performs one action and posts its answer, unless that was posted already.
func (r *runner) do(a session.Action) {
	ev, err := r.perform(a)
	if err != nil {
		ev = failure(a, err)
		if r.actx.Err() == nil {
			r.h.log.Warn("session", "session", r.id, "action", a.Kind, "rank", a.Rank.Key(), "err", err)
		}
	}
	if ev != nil {
		r.answer(ev)
	}
}

// answer posts the result of an action, if the session still waits for it.
func (r *runner) answer(ev session.Event) {
	if r.actx.Err() != nil {
		return
	}
	select {
	case r.events <- ev:
	case <-r.actx.Done():
	}
}

// home records that a rank's files have arrived, and only then calls tell, which tells the rank. A
// rank that has nothing left to wait for may leave at once; a session that learnt of its leaving first
// would count the rank as lost and look for its files in vain.
func (r *runner) home(ev session.Collected, tell func()) {
	r.answer(ev)
	tell()
}

// failure is the event for an action that did not succeed.
func failure(a session.Action, err error) session.Event {
	if a.Kind == session.DoConvert {
		return session.Converted{Err: err.Error()}
	}
	if re, ok := errors.AsType[*RankError](err); ok {
		switch re.State {
		case protocol.StateLost:
			return session.Lost{Rank: a.Rank, Reason: re.Reason}
		case protocol.StateTimedOut:
			return session.TimedOut{Rank: a.Rank, Of: a.Kind, Reason: re.Reason}
		}
		return session.Failed{Rank: a.Rank, Of: a.Kind, Reason: re.Reason}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return session.TimedOut{Rank: a.Rank, Of: a.Kind, Reason: string(a.Kind) + " took too long: " + err.Error()}
	}
	return session.Failed{Rank: a.Rank, Of: a.Kind, Reason: err.Error()}
}

// perform performs one action. Without an error and an event it has answered by itself.
func (r *runner) perform(a session.Action) (session.Event, error) {
	var s protocol.RankStatus
	switch a.Kind {
	case session.DoArm:
		return r.arm(a)
	case session.DoStart:
		return r.start(a)
	case session.DoStop:
		if err := r.ask(r.actx, a, protocol.MethodStop, protocol.StopRequest{Session: r.id}, &s); err != nil {
			if re, ok := errors.AsType[*RankError](err); ok && re.State == protocol.StateLost {
				return r.gone(a.Rank, re.Reason), nil
			}
			return nil, err
		}
		return session.Stopped{Rank: a.Rank, Status: s}, nil
	case session.DoCollect:
		return r.collect(a)
	case session.DoSalvage:
		return r.salvage(a)
	case session.DoConvert:
		return r.convert(a)
	}
	return nil, errors.New("unknown action " + string(a.Kind))
}

// roomTimeout bounds the making of a rank's object store before it is armed.
const roomTimeout = 2 * time.Second

// makeRoom makes the object store that a rank's files will need while all servers of a
// cluster are there to hold it. Without it the files wait in the spool.
func (r *runner) makeRoom(ctx context.Context, id protocol.RankID) {
	ctx, cancel := context.WithTimeout(ctx, roomTimeout)
	defer cancel()
	if _, _, err := r.h.uploads(ctx, id); err != nil {
		r.h.log.Warn("no room for a rank's files yet", "rank", id.Key(), "err", err)
	}
}

// arm measures the rank's clock and arms it.
func (r *runner) arm(a session.Action) (session.Event, error) {
	t := r.incs[a.Rank]
	if t.Incarnation == "" {
		return session.Lost{Rank: a.Rank, Reason: errAbsent, Absent: true}, nil
	}
	ctx, cancel := context.WithDeadline(r.actx, a.Deadline)
	defer cancel()
	select {
	case r.arming <- struct{}{}:
		defer func() { <-r.arming }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.makeRoom(ctx, a.Rank)
	clock, err := r.h.probeClock(ctx, a.Rank, t.Incarnation)
	if err != nil {
		return nil, err
	}
	cfg := r.m.Config() // set once by New
	var s protocol.RankStatus
	err = r.ask(ctx, a, protocol.MethodArm, protocol.ArmRequest{
		Session: r.id, Config: t.Config, MaxDurationNs: int64(cfg.MaxDuration), MaxBytes: cfg.MaxBytes,
		LastNs: int64(cfg.Last), Hub: r.h.cfg.Name,
	}, &s)
	if err != nil {
		return nil, err
	}
	if s.State != protocol.StateArmed {
		return nil, errors.New("asked to arm, the rank is " + string(s.State) + ": " + s.Reason)
	}
	r.remember(a.Rank, clock)
	return session.Armed{Rank: a.Rank, Clock: clock}, nil
}
