package rank

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// maxCaptures is how many sessions a rank remembers: one that records and those
// that a hub has not yet collected. The oldest beyond are forgotten; their files stay.
const maxCaptures = 8

// Recorder is what a RecorderHandler drives; *profiler.Recorder is one.
type Recorder interface {
	Start(profiler.StartOptions) error
	Stop() (profiler.Stats, error)
}

// CallFunc runs a method of collective_rpc.
type CallFunc func(ctx context.Context, method string, args map[string]any) (any, error)

// RecorderHandler is the Handler of a process that records with package
// profiler. A session is written to <spool>/<session>/stageS_replicaR_rankK.ksrec.
//
// Its owner calls Step when a decode or denoise step has ended and Request when
// a request has; they cost one atomic read while nothing is recorded. BeginStep
// is optional and makes step counts exact: a step that began before the window
// opened is then not counted.
//
// Recording ends by StopRequest, by the schedule, after max_duration, at
// max_bytes (checked as the recorder writes, so the file is larger by what it
// then flushes), or when the hub that armed it has been silent for
// protocol.HubLossTimeout. The data is complete in every case.
type RecorderHandler struct {
	rec    Recorder
	info   protocol.RankInfo
	spool  string
	now    func() time.Time
	log    *slog.Logger
	call   CallFunc
	opened func() // may be nil
	hubTTL time.Duration

	wantSteps, wantRequests atomic.Bool // an armed schedule counts them
	inStep                  atomic.Bool // between BeginStep and Step
	sampleEvery             atomic.Int64

	mu       sync.Mutex
	closed   bool
	active   *capture            // armed or recording; at most one
	captures map[string]*capture // by session
	order    []string            // oldest first
	member   *Member
	wg       sync.WaitGroup // timers and notifications under way
}

// capture is one session on this rank. RecorderHandler.mu guards it.
type capture struct {
	req      protocol.ArmRequest
	path     string
	file     *limitWriter
	sched    schedule
	status   protocol.RankStatus
	asked    bool          // BeginRequest came
	begun    chan struct{} // closed at the agreed instant, or when the capture ends before
	skipStep bool          // the step under way began before the window
	timers   []*time.Timer
	hubTimer *time.Timer
}

// HandlerOption changes a RecorderHandler.
type HandlerOption func(*RecorderHandler)

// WithHandlerClock makes now the clock in which BeginRequest.AtNs is read.
func WithHandlerClock(now func() time.Time) HandlerOption {
	return func(h *RecorderHandler) { h.now = now }
}

// WithCalls makes f answer collective_rpc; without it every method is unknown.
func WithCalls(f CallFunc) HandlerOption { return func(h *RecorderHandler) { h.call = f } }

// WithOpened has f called whenever a recording begins. f must not block.
func WithOpened(f func()) HandlerOption { return func(h *RecorderHandler) { h.opened = f } }

// WithHubLossTimeout replaces protocol.HubLossTimeout.
func WithHubLossTimeout(d time.Duration) HandlerOption {
	return func(h *RecorderHandler) { h.hubTTL = d }
}

// WithHandlerLogger makes l the logger; slog.Default() without it.
func WithHandlerLogger(l *slog.Logger) HandlerOption {
	return func(h *RecorderHandler) { h.log = l }
}

// NewRecorderHandler returns the Handler that records with rec under spoolDir.
func NewRecorderHandler(rec Recorder, info protocol.RankInfo, spoolDir string, opts ...HandlerOption) *RecorderHandler {
	h := &RecorderHandler{rec: rec, info: info, spool: spoolDir, now: time.Now, log: slog.Default(),
		hubTTL: protocol.HubLossTimeout, captures: map[string]*capture{}}
	for _, o := range opts {
		o(h)
	}
	return h
}

// Joined keeps the Member for unasked reports.
func (h *RecorderHandler) Joined(m *Member) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.member = m
}

// Close ends what is armed or recording, keeping its files, and waits for all timers.
func (h *RecorderHandler) Close() error {
	h.mu.Lock()
	h.closed = true
	var err error
	if c := h.active; c != nil {
		err = h.end(c, protocol.StoppedByRequest)
	}
	h.mu.Unlock()
	h.wg.Wait()
	return err
}

// Arm makes the spool file, so that a full or read-only disk is known before anything starts.
func (h *RecorderHandler) Arm(_ context.Context, r protocol.ArmRequest) (protocol.RankStatus, error) {
	if _, err := ulid.ParseStrict(r.Session); err != nil {
		return protocol.RankStatus{}, fmt.Errorf("arm: session %q is not a ULID: %w", r.Session, err)
	}
	if err := r.Config.Validate(); err != nil {
		return protocol.RankStatus{}, fmt.Errorf("arm: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.captures[r.Session]; c != nil {
		return c.status, nil
	}
	if h.closed {
		return protocol.RankStatus{}, errors.New("arm: the rank is shutting down")
	}
	if old := h.active; old != nil && r.Hub != "" && old.req.Hub == r.Hub {
		// A hub has one session at a time, so it has given the old one up; its
		// abort may have been lost. The file stays in the spool.
		if err := h.end(old, protocol.StoppedBySuperseded); err != nil {
			h.log.Error("end of a superseded session", "session", old.req.Session, "err", err)
		}
	}
	if h.active != nil {
		return h.active.status, fmt.Errorf("arm: session %s is %s", h.active.req.Session, h.active.status.State)
	}
	dir := filepath.Join(h.spool, r.Session)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return protocol.RankStatus{}, fmt.Errorf("arm: %w", err)
	}
	c := &capture{req: r, path: filepath.Join(dir, h.info.FileBase()+protocol.RecordingExt),
		sched: newSchedule(r.Config), begun: make(chan struct{})}
	f, err := os.OpenFile(c.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return protocol.RankStatus{}, fmt.Errorf("arm: %w", err)
	}
	c.file = &limitWriter{f: f, max: r.MaxBytes, full: func() {
		h.async(func() { h.endBy(c, protocol.StoppedByMaxBytes) })
	}}
	c.status = protocol.RankStatus{RankID: h.info.RankID, StageName: h.info.StageName,
		State: protocol.StateArmed, Session: r.Session}
	h.active, h.captures[r.Session] = c, c
	h.order = append(h.order, r.Session)
	h.forgetOld()
	if r.Hub != "" {
		c.hubTimer = h.after(h.hubTTL, func() { h.endBy(c, protocol.StoppedByHubLost) })
		c.timers = append(c.timers, c.hubTimer)
	}
	return c.status, nil
}

func (h *RecorderHandler) forgetOld() {
	for len(h.order) > maxCaptures && h.captures[h.order[0]] != h.active {
		delete(h.captures, h.order[0])
		h.order = h.order[1:]
	}
}

// async runs f in a goroutine that Close waits for.
func (h *RecorderHandler) async(f func()) { h.wg.Go(f) }

// after runs f once d has passed, in a goroutine that Close waits for unless
// stopTimer comes first.
func (h *RecorderHandler) after(d time.Duration, f func()) *time.Timer {
	h.wg.Add(1)
	return time.AfterFunc(d, func() {
		defer h.wg.Done()
		f()
	})
}

func (h *RecorderHandler) stopTimer(t *time.Timer) {
	if t.Stop() {
		h.wg.Done()
	}
}

// Start waits for the agreed instant.
func (h *RecorderHandler) Start(ctx context.Context, r protocol.BeginRequest) (protocol.RankStatus, error) {
	h.mu.Lock()
	c := h.captures[r.Session]
	if c == nil {
		h.mu.Unlock()
		return protocol.RankStatus{}, fmt.Errorf("start: session %s is not armed here", r.Session)
	}
	if c.status.State == protocol.StateArmed && !c.asked {
		c.asked = true
		wait := time.Unix(0, r.AtNs).Sub(h.now())
		c.timers = append(c.timers, h.after(max(wait, 0), func() { h.begin(c) }))
	}
	h.mu.Unlock()
	select {
	case <-c.begun:
	case <-ctx.Done():
		return protocol.RankStatus{}, fmt.Errorf("start: %w", ctx.Err())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.status.State == protocol.StateFailed {
		return c.status, errors.New(c.status.Reason)
	}
	return h.live(c), nil
}

// begin is the agreed instant.
func (h *RecorderHandler) begin(c *capture) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.status.State != protocol.StateArmed {
		return
	}
	defer close(c.begun)
	c.status.State = protocol.StateRecording
	if d := time.Duration(c.req.MaxDurationNs); d > 0 {
		c.timers = append(c.timers, h.after(d, func() { h.endBy(c, protocol.StoppedByMaxDuration) }))
	}
	if c.req.LastNs > 0 {
		h.flight(c)
		return
	}
	if c.sched.start() == open {
		h.open(c)
	}
	if c.status.State == protocol.StateRecording {
		byRequest := c.req.Config.Iteration == "request"
		h.wantSteps.Store(!byRequest)
		h.wantRequests.Store(byRequest)
	}
}

// meta is what a recording says about its rank.
func (h *RecorderHandler) meta(session string) map[string]string {
	m := map[string]string{
		protocol.MetaPipeline: h.info.Pipeline, protocol.MetaStage: h.info.StageName,
		protocol.MetaStageType: string(h.info.StageType), protocol.MetaStageID: strconv.Itoa(h.info.Stage),
		protocol.MetaReplica: strconv.Itoa(h.info.Replica), protocol.MetaRank: strconv.Itoa(h.info.Rank),
		protocol.MetaWorldSize: strconv.Itoa(h.info.WorldSize), protocol.MetaHost: h.info.Host,
		protocol.MetaIncarnation: h.info.Incarnation,
	}
	if session != "" {
		m[protocol.MetaSession] = session
	}
	return m
}

// open opens the window: the recorder runs from here.
func (h *RecorderHandler) open(c *capture) {
	cfg := c.req.Config
	err := h.rec.Start(profiler.StartOptions{
		Out: c.file, RecordShapes: cfg.RecordShapes, WithStack: cfg.WithStack,
		WithFLOPs: cfg.WithFLOPs, WithMemory: cfg.WithMemory,
		Meta: h.meta(c.req.Session),
	})
	if err != nil {
		h.fail(c, fmt.Errorf("start recorder: %w", err))
		return
	}
	h.sampleEvery.Store(int64(cfg.SampleRequests))
	c.skipStep = h.inStep.Load()
	c.status.StartedAtNs = h.now().UnixNano()
	if h.opened != nil {
		h.opened()
	}
}

// SampleEvery is the running session's sample_requests, 0 without one: the owner then
// records only what belongs to requests that are sampled.
func (h *RecorderHandler) SampleEvery() int { return int(h.sampleEvery.Load()) }

// BeginStep says that a step begins.
func (h *RecorderHandler) BeginStep() { h.inStep.Store(true) }

// Step says that a decode or denoise step has ended.
func (h *RecorderHandler) Step() {
	h.inStep.Store(false)
	if h.wantSteps.Load() {
		h.iterationEnd(false)
	}
}

// Request says that a request has ended.
func (h *RecorderHandler) Request() {
	if h.wantRequests.Load() {
		h.iterationEnd(true)
	}
}

func (h *RecorderHandler) iterationEnd(request bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.active
	if c == nil || c.status.State != protocol.StateRecording || (c.req.Config.Iteration == "request") != request {
		return
	}
	if c.skipStep && !request {
		c.skipStep = false
		return
	}
	switch c.sched.iterationEnd() {
	case open:
		h.open(c)
	case shut:
		if err := h.end(c, c.sched.cause); err == nil {
			h.notify(c)
		}
	}
}

// endBy ends a capture for a reason of this rank's own and reports it.
func (h *RecorderHandler) endBy(c *capture, cause protocol.StopCause) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.status.State != protocol.StateArmed && c.status.State != protocol.StateRecording {
		return
	}
	if err := h.end(c, cause); err != nil {
		h.log.Error("end of a recording", "session", c.req.Session, "cause", cause, "err", err)
	}
	h.notify(c)
}

func (h *RecorderHandler) notify(c *capture) {
	if m := h.member; m != nil && !h.closed {
		s := c.status
		h.async(func() { m.Notify(s) })
	}
}

// end stops an armed or recording capture; the file is complete and synced after.
func (h *RecorderHandler) end(c *capture, cause protocol.StopCause) error {
	h.wantSteps.Store(false)
	h.wantRequests.Store(false)
	h.sampleEvery.Store(0)
	wasArmed := c.status.State == protocol.StateArmed
	var stats profiler.Stats
	var err error
	if c.status.StartedAtNs != 0 {
		stats, err = h.rec.Stop()
		c.status.StoppedAtNs = h.now().UnixNano()
	}
	if wasArmed {
		close(c.begun)
	}
	return h.finish(c, cause, stats, err)
}

// finish closes a capture's file and says what is in it; err is what went wrong before.
func (h *RecorderHandler) finish(c *capture, cause protocol.StopCause, stats profiler.Stats, err error) error {
	err = errors.Join(err, c.file.finish())
	h.release(c)
	c.status.State, c.status.StoppedBy = protocol.StateStopped, cause
	c.status.Events, c.status.Drops = stats.Events, stats.Drops
	c.status.Bytes, c.status.Iterations = uint64(c.file.written()), c.sched.recorded
	if c.status.StartedAtNs == 0 {
		c.status.Reason = "the schedule had not reached its first iteration to record"
		err = errors.Join(err, os.Remove(c.path))
	}
	if err != nil {
		c.status.State, c.status.Reason = protocol.StateFailed, "stop: "+err.Error()
	}
	return err
}

// fail ends a capture whose recorder would not start.
func (h *RecorderHandler) fail(c *capture, err error) {
	h.wantSteps.Store(false)
	h.wantRequests.Store(false)
	err = errors.Join(err, c.file.finish(), os.Remove(c.path))
	h.release(c)
	c.status.State, c.status.Reason = protocol.StateFailed, err.Error()
	h.log.Error("recording failed", "session", c.req.Session, "err", err)
	h.notify(c)
}

// release makes the rank free for the next session.
func (h *RecorderHandler) release(c *capture) {
	for _, t := range c.timers {
		h.stopTimer(t)
	}
	c.timers, c.hubTimer = nil, nil
	if h.active == c {
		h.active = nil
	}
}

// Stop ends the recording, whatever its schedule has reached.
func (h *RecorderHandler) Stop(_ context.Context, r protocol.StopRequest) (protocol.RankStatus, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.captures[r.Session]
	if c == nil {
		return protocol.RankStatus{}, fmt.Errorf("stop: session %s is not known here", r.Session)
	}
	if c.status.State == protocol.StateArmed || c.status.State == protocol.StateRecording {
		if err := h.end(c, protocol.StoppedByRequest); err != nil {
			h.log.Error("stop", "session", r.Session, "err", err)
		}
	}
	return c.status, nil
}

// Collect returns the recording of a stopped session; none if its window never opened.
// Of a session that this process does not know, it returns what an earlier process of
// the rank left.
func (h *RecorderHandler) Collect(_ context.Context, r protocol.CollectRequest) (protocol.RankStatus, []File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.captures[r.Session]
	switch {
	case c == nil:
		if path, ok := h.leftover(r.Session); ok {
			return protocol.RankStatus{State: protocol.StateStopped, Session: r.Session, Reason: "left by an earlier process"},
				[]File{{Name: "recording" + protocol.RecordingExt, Kind: protocol.KindRecording, Path: path}}, nil
		}
		return protocol.RankStatus{}, nil, fmt.Errorf("collect: session %s is not known here", r.Session)
	case c.status.State == protocol.StateArmed, c.status.State == protocol.StateRecording:
		return c.status, nil, fmt.Errorf("collect: session %s is %s", r.Session, c.status.State)
	case c.status.StartedAtNs == 0:
		return c.status, nil, nil
	}
	return c.status, []File{{Name: "recording" + protocol.RecordingExt, Kind: protocol.KindRecording, Path: c.path}}, nil
}

// Abort drops a session.
func (h *RecorderHandler) Abort(_ context.Context, r protocol.AbortRequest) (protocol.RankStatus, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.captures[r.Session]
	if c == nil {
		if path, ok := h.leftover(r.Session); ok && !r.Keep {
			return h.status(), removeSpooled(path)
		}
		return h.status(), nil
	}
	var err error
	if c.status.State == protocol.StateArmed || c.status.State == protocol.StateRecording {
		err = h.end(c, protocol.StoppedByRequest)
	}
	if r.Keep {
		return h.status(), err
	}
	delete(h.captures, r.Session)
	h.order = deleteOne(h.order, r.Session)
	return h.status(), errors.Join(err, removeSpooled(c.path))
}

func removeSpooled(path string) error {
	err := os.Remove(path)
	_ = os.Remove(filepath.Dir(path)) // goes with the last rank's file
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func deleteOne(list []string, s string) []string {
	for i, v := range list {
		if v == s {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}

// Status is that of the session that is armed or recording, or idle.
func (h *RecorderHandler) Status(context.Context) protocol.RankStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status()
}

func (h *RecorderHandler) status() protocol.RankStatus {
	if h.active == nil {
		return protocol.RankStatus{RankID: h.info.RankID, StageName: h.info.StageName, State: protocol.StateIdle}
	}
	return h.live(h.active)
}

// live is a capture's status with what has been counted so far.
func (h *RecorderHandler) live(c *capture) protocol.RankStatus {
	s := c.status
	if s.State == protocol.StateRecording {
		s.Bytes, s.Iterations = uint64(c.file.written()), c.sched.recorded
	}
	return s
}

// HubSeen keeps alive the session that this hub armed.
func (h *RecorderHandler) HubSeen(hub string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.active; c != nil && c.hubTimer != nil && c.req.Hub == hub && c.hubTimer.Stop() {
		c.hubTimer.Reset(h.hubTTL)
	}
}

// Call runs a method of collective_rpc.
func (h *RecorderHandler) Call(ctx context.Context, r protocol.CallRequest) (any, error) {
	if h.call == nil {
		return nil, fmt.Errorf("unknown method %q", r.Method)
	}
	return h.call(ctx, r.Method, r.Args)
}

// limitWriter counts what goes to a file and calls full once when it reaches max.
type limitWriter struct {
	f    *os.File
	max  int64 // 0: no bound
	n    atomic.Int64
	once sync.Once
	full func()
}

var _ io.Writer = (*limitWriter)(nil)

func (w *limitWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	if total := w.n.Add(int64(n)); w.max > 0 && total >= w.max {
		w.once.Do(w.full)
	}
	return n, err
}

func (w *limitWriter) written() int64 { return w.n.Load() }

func (w *limitWriter) finish() error { return errors.Join(w.f.Sync(), w.f.Close()) }
