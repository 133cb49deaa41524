package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// errClosed says that the hub has been closed.
var errClosed = errors.New("the hub is closed")

// StartProfile starts a session on a pipeline and returns once all ranks record. If it
// returns an error, nothing records: the error is a *protocol.FieldError, *ErrNoProfiler,
// *ErrNoRanks, *ErrAbsent, *ErrNoRoom, *ErrBusy or *ErrNotStarted, or ctx ended and the start was undone.
func (h *Hub) StartProfile(ctx context.Context, pipeline string, q protocol.StartRequest) (*session.Status, error) {
	targets, err := h.targets(pipeline, &q)
	if err != nil {
		return nil, err
	}
	if err := h.room(len(targets), q.MaxBytes); err != nil {
		return nil, err
	}
	m := session.New(ulid.Make().String(), session.Config{
		Pipeline: pipeline, Prefix: q.Prefix, MaxDuration: q.MaxDuration, MaxBytes: q.MaxBytes,
		AllowPartial: q.AllowPartial, Last: q.Last, Timeouts: h.patience(targets), Ahead: h.ahead(targets),
	}, targets)
	r, err := h.launch(ctx, m, session.Begin{})
	if err != nil {
		return nil, err
	}
	select {
	case <-r.begun:
	case <-ctx.Done():
		r.post(session.Cancel{Reason: "the client went away"})
		// One that has begun meanwhile must not stay on either.
		r.post(session.Stop{By: "client_gone"})
		return nil, fmt.Errorf("start of session %s: %w", m.ID(), context.Cause(ctx))
	case <-r.done:
	}
	st := r.status()
	switch {
	case r.recorded.Load():
		return st, nil
	case st.State.Terminal():
		return nil, &ErrNotStarted{Session: st}
	}
	return nil, errClosed
}

// targets validates everything that is asked before anything happens.
func (h *Hub) targets(pipeline string, q *protocol.StartRequest) ([]session.Target, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	ranks, err := h.chosen(pipeline, q)
	if err != nil {
		return nil, err
	}
	var out []session.Target
	var without []string
	for _, info := range ranks {
		stage := fmt.Sprintf("%d (%s)", info.Stage, info.StageName)
		cfg := q.ConfigFor(info.Profiler)
		if cfg == nil {
			if !slices.Contains(without, stage) {
				without = append(without, stage)
			}
			continue
		}
		if err := cmp.Or(cfg.Validate(), cfg.ValidateFor(info.Engine)); err != nil {
			f, _ := errors.AsType[*protocol.FieldError](err)
			return nil, &protocol.FieldError{Field: f.Field, Text: fmt.Sprintf("stage %s: %v", stage, err)}
		}
		out = append(out, session.Target{RankID: info.RankID, StageName: info.StageName, Incarnation: info.Incarnation,
			Config: *cfg, Host: info.Host, SpoolDir: info.SpoolDir})
	}
	if len(out) == 0 || len(without) > 0 && q.Stages != nil {
		return nil, &ErrNoProfiler{Pipeline: pipeline, Stages: without}
	}
	return out, nil
}

// chosen returns the ranks of the stages of a pipeline that q chooses.
func (h *Hub) chosen(pipeline string, q *protocol.StartRequest) ([]protocol.RankInfo, error) {
	ranks := h.reg.list(pipeline)
	if len(ranks) == 0 {
		return nil, &ErrNoRanks{Pipeline: pipeline}
	}
	ranks = h.withAbsent(pipeline, ranks)
	if q.Stages == nil {
		return ranks, absent(ranks, q)
	}
	var stages []protocol.StageRef // the ranks are in order of their stages
	for _, r := range ranks {
		if n := len(stages); n == 0 || stages[n-1].ID != r.Stage {
			stages = append(stages, protocol.StageRef{ID: r.Stage, Name: r.StageName})
		}
	}
	if err := q.CheckStages(stages); err != nil {
		return nil, err
	}
	ranks = slices.DeleteFunc(ranks, func(r protocol.RankInfo) bool { return !slices.Contains(q.Stages, r.Stage) })
	return ranks, absent(ranks, q)
}

// StopProfile ends the recording and returns the session when its artifacts are durable.
// With nothing recording, a session whose artifacts are still being made is waited for
// and returned; with none of those either, the status says idle. Stopping twice is no
// error. If ctx ends, the session goes on to its end without the caller.
func (h *Hub) StopProfile(ctx context.Context) (*session.Status, error) {
	h.mu.Lock()
	var r *runner
	for _, st := range h.book.All() { // ids do not tell the youngest: the clock may have been set back
		if c := h.runners[st.ID]; c != nil && !st.State.Terminal() {
			r = c
			break
		}
	}
	h.mu.Unlock()
	if r == nil {
		return &session.Status{State: session.StateIdle}, nil
	}
	r.post(session.Stop{By: string(protocol.StoppedByRequest)})
	return h.Wait(ctx, r.id)
}

// Wait returns a session when it has ended.
func (h *Hub) Wait(ctx context.Context, id string) (*session.Status, error) {
	h.mu.Lock()
	r := h.runners[id]
	h.mu.Unlock()
	if r == nil {
		return h.Session(id)
	}
	select {
	case <-r.done:
		if st := r.status(); st.State.Terminal() {
			return st, nil
		}
		return r.status(), errClosed
	case <-ctx.Done():
		return r.status(), fmt.Errorf("wait for session %s: %w", id, context.Cause(ctx))
	}
}

// Session returns a session by id: from memory, or if it is older from its run.
func (h *Hub) Session(id string) (*session.Status, error) {
	h.mu.Lock()
	st, ok := h.book.Get(id)
	r := h.runners[id]
	h.mu.Unlock()
	if ok && r != nil {
		return r.withProgress(st), nil
	}
	if ok {
		return st, nil
	}
	if _, err := ulid.ParseStrict(id); err != nil {
		return nil, &ErrUnknownSession{ID: id}
	}
	run, err := h.store.Resolve(id)
	if err == nil {
		defer run.Close()
		if st, err = readManifest(h.store, run.Dir()); err == nil {
			return st, nil
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, &ErrUnknownSession{ID: id}
	}
	return nil, fmt.Errorf("session %s: %w", id, err)
}

// Sessions returns the sessions that the hub remembers, youngest first: all that
// are under way and the last session.KeepFinished.
func (h *Hub) Sessions() []*session.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.book.All()
	for i, st := range all {
		if r := h.runners[st.ID]; r != nil {
			all[i] = r.withProgress(st)
		}
	}
	return all
}

// launch enters m and runs it, beginning with first.
func (h *Hub) launch(ctx context.Context, m *session.Machine, first session.Event) (*runner, error) {
	r := newRunner(h, m)
	if _, ok := first.(session.Begin); ok {
		st := r.status()
		st.State = session.StateArming // held from here on
		if err := h.admit(st); err != nil {
			return nil, err
		}
		// The record comes first: a hub that starts after this one finds the
		// session and disarms its ranks.
		if err := link.Retry(ctx, func() error {
			return h.persist(ctx, record{Hub: h.cfg.Name, Session: m.Snapshot()})
		}); err != nil {
			h.mu.Lock()
			st := r.status()
			st.State, st.Error = session.StateFailed, err.Error()
			h.book.Put(st)
			h.mu.Unlock()
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errClosed
	}
	h.runners[r.id] = r
	h.wg.Go(func() { r.run(first) })
	return r, nil
}

// admit enters a new session in the book, which then holds the recorders.
func (h *Hub) admit(st *session.Status) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed
	}
	if n := len(h.runners); n >= MaxUnfinished {
		return &ErrBacklog{Unfinished: n}
	}
	err := h.book.Admit(st)
	if busy, ok := errors.AsType[*session.BusyError](err); ok {
		return &ErrBusy{Session: busy.Running}
	}
	return err
}

// record is what BucketSessions holds of a session.
type record struct {
	Hub     string           `json:"hub"`
	RunDir  string           `json:"run_dir,omitempty"`
	Session session.Snapshot `json:"session"`
	// Arrived is what the ranks left, of a session that waits for room: all else in its
	// run was made of it, and is made again.
	Arrived []protocol.Artifact `json:"arrived,omitempty"`
}

func (h *Hub) sessionKey(id string) string { return h.cfg.Name + "." + id }

// persistTimeout bounds the writing of one record.
const persistTimeout = 5 * time.Second

// persist writes a session down so that another hub can continue it.
func (h *Hub) persist(ctx context.Context, rec record) error {
	id := rec.Session.ID
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("record session %s: %w", id, err)
	}
	if err := h.keepRecord(rec, b); err != nil {
		h.log.Debug("a recovery without this hub would know less", "session", id, "err", err)
	}
	if err := h.Health(); err != nil { // nobody would answer
		return fmt.Errorf("record session %s: %w", id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, persistTimeout)
	defer cancel()
	if _, err = h.sess.Put(ctx, h.sessionKey(id), b); err != nil {
		if h.srv != nil && h.nc.IsConnected() && h.ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			h.srv.failed.Store(true) // in this process only a storage that fails does not answer
		}
		return fmt.Errorf("record session %s: %w", id, err)
	}
	return nil
}

// recover reads the sessions of the hub before this one and goes on with those
// that had not ended.
func (h *Hub) recover(ctx context.Context) error {
	w, err := h.sess.Watch(ctx, h.cfg.Name+".*")
	if err != nil {
		return fmt.Errorf("read sessions: %w", err)
	}
	defer w.Stop()
	var recs []record
	for done := false; !done; {
		select {
		case kv := <-w.Updates():
			if kv == nil {
				done = true
				break
			}
			var rec record
			if kv.Operation() != jetstream.KeyValuePut {
				continue
			}
			if err := json.Unmarshal(kv.Value(), &rec); err != nil {
				h.log.Error("a session's record cannot be read and is left alone", "key", kv.Key(), "err", err)
				continue
			}
			recs = append(recs, rec)
		case <-ctx.Done():
			return fmt.Errorf("read sessions: %w", ctx.Err())
		}
	}
	slices.SortFunc(recs, func(a, b record) int { return strings.Compare(a.Session.ID, b.Session.ID) })
	for _, rec := range recs {
		m := session.Restore(rec.Session)
		st := m.Status()
		st.RunDir = rec.RunDir
		finished := false
		unsure := m.State() != session.StateComplete || len(rec.Arrived) > 0
		if unsure && rec.RunDir != "" {
			// The hub may have died between the manifest and the last record, or the run was
			// finished later than the session.
			if man, err := readManifest(h.store, rec.RunDir); err == nil {
				st, finished = man, true
			}
		}
		if st.State.Terminal() && !finished && unsure && h.strandIfSpooled(rec) {
			h.waits(st)
		}
		h.mu.Lock()
		h.book.Put(st)
		h.mu.Unlock()
		if st.State.Terminal() {
			continue
		}
		h.log.Info("going on with a session of the hub before", "session", m.ID(), "state", m.State())
		r := newRunner(h, m)
		r.runDir = rec.RunDir
		r.resumed = true
		h.mu.Lock()
		h.runners[r.id] = r
		h.wg.Go(func() { r.run(session.Resume{}) })
		h.mu.Unlock()
	}
	return nil
}

// readManifest returns the session of a finished run.
func readManifest(s *store.Store, dir string) (*session.Status, error) {
	run, err := s.Reopen(dir)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	man, err := run.Manifest()
	if err != nil {
		return nil, err
	}
	man.Session.RunDir = run.Dir()
	return &man.Session, nil
}

// onEvent takes the unasked report that a rank's recording has ended.
func (h *Hub) onEvent(msg *nats.Msg) {
	s, err := readEvent(msg.Subject, msg.Data)
	if err != nil {
		h.log.Warn("rank event cannot be read", "subject", msg.Subject, "err", err)
		return
	}
	h.mu.Lock()
	r := h.runners[s.Session]
	h.mu.Unlock()
	if r != nil && s.Writing != nil {
		r.wrote(s.RankID, *s.Writing)
		return
	}
	if r != nil && (s.State == protocol.StateStopped || s.State == protocol.StateFailed) {
		r.post(session.Stopped{Rank: s.RankID, Status: s})
	}
}

// readEvent decodes an event of a rank, whose subject it must be.
func readEvent(subject string, data []byte) (s protocol.RankStatus, err error) {
	if err = json.Unmarshal(data, &s); err != nil {
		return s, err
	}
	if s.EventSubject() != subject {
		return s, fmt.Errorf("it is of %s", s.Text())
	}
	return s, s.Hear()
}
