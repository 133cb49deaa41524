package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kinetoscope/kinetoscope/omni/collective"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Names of what the loop records.
var (
	nameWait     = profiler.Intern(trace.NameWait)
	nameSchedule = profiler.Intern(trace.NameSchedule)
	nameSend     = profiler.Intern(trace.NameHandoffSend)
	nameRecv     = profiler.Intern(trace.NameHandoffRecv)
	nameRequest  = profiler.Intern(trace.NameRequest) // an arrival
	nameHeld     = profiler.Intern(trace.NameMemoryHeld)

	keyRequest  = profiler.Intern(trace.ArgRequest)
	keyTraceID  = profiler.Intern(trace.ArgTraceID)
	keyRequests = profiler.Intern(trace.ArgRequests)
	keyStep     = profiler.Intern(trace.ArgStep)
	keyBatch    = profiler.Intern(trace.ArgBatch)
	keyTokens   = profiler.Intern(trace.ArgTokens)
	keyFrom     = profiler.Intern(trace.ArgFromStage)
	keyTo       = profiler.Intern(trace.ArgToStage)
	keyChunk    = profiler.Intern("chunk")
	keyReason   = profiler.Intern(trace.ArgReason)

	reasonQueue = profiler.Intern("queue") // no request
	reasonInput = profiler.Intern("input") // there are requests, but the stage before has not handed on
	reasonPeer  = profiler.Intern("peer")  // a follower waits for rank 0's plan

	// stepNames are the slices that plans are recorded as.
	stepNames = map[string]profiler.Name{}
)

func init() {
	for _, n := range []string{trace.NamePrefill, trace.NameDecodeStep, trace.NameTextEncode, trace.NameDenoiseStep,
		trace.NameVAEDecode, trace.NameVocode} {
		stepNames[n] = profiler.Intern(n)
	}
}

// idleInterval is how long a rank waits for work before it looks up. Rank 0 then sends its
// followers an empty plan, well within a collective's timeout. It is long because an idle server
// should cost next to nothing; the begin of a recording ends a wait at once.
const idleInterval = 10 * time.Second

// runner is the model of a stage and the state of the stage's requests. Run is called on every rank
// with the same plans, all other methods on rank 0 only.
type runner interface {
	// accept takes a message from another stage or the orchestrator. An error fails
	// the request that it belongs to.
	accept(m *wire.Message) error
	// plan chooses the next batch, nil if nothing is ready.
	plan() *plan
	// run executes a plan; its result goes to emit.
	run(ctx context.Context, t *profiler.Track, p *plan) (any, error)
	// emit hands on what a plan made.
	emit(p *plan, result any, took time.Duration) error
	// cancel drops a request and frees what it holds with the next plan.
	cancel(id string)
	// pending is the number of requests that the stage holds.
	pending() int
	// report records the memory that the model holds, at the start of a recording.
	report(t *profiler.Track)
	// held is the number of sequences, streams or images that have memory in the model.
	held() int
	// close frees the model; it is the last call.
	close(t *profiler.Track) error
}

// plan is one step of a stage, the same on every rank of a replica.
type plan struct {
	Kind     string     `json:"kind"` // the slice's name; "" is an empty plan
	Step     int        `json:"step"`
	Requests []string   `json:"requests,omitempty"`
	Tokens   int        `json:"tokens,omitempty"`
	Free     []uint64   `json:"free,omitempty"` // sequences, streams or images to forget first
	Seqs     []planSeq  `json:"seqs,omitempty"`
	Images   []planInit `json:"images,omitempty"`  // to be initialised before the step
	Prompts  []string   `json:"prompts,omitempty"` // text encoder
	Ended    int        `json:"ended,omitempty"`   // requests that ended since the last plan
	// Decided is what trace contexts say about recording the Requests.
	Decided map[string]bool `json:"decided,omitempty"`

	tensors [][]float32 // in the order in which Seqs, Images refer to them
}

// planSeq is a sequence's part of a plan.
type planSeq struct {
	ID       uint64   `json:"id"`
	Tokens   []int32  `json:"tokens,omitempty"`
	Embeds   []int    `json:"embeds,omitempty"` // indices of tensors, -1 for none
	Sampling *sampler `json:"sampling,omitempty"`
	Partial  bool     `json:"partial,omitempty"`
	Hidden   bool     `json:"hidden,omitempty"`
	Latent   []int    `json:"latent,omitempty"` // channels, height, width; data is tensor Embeds[0]
}

// stage is a rank's loop and what it stands on.
type stage struct {
	cfg      *deploy.Stage
	pipeline *deploy.Pipeline
	id       protocol.RankID
	group    collective.Group
	nc       *nats.Conn
	rec      *profiler.Recorder
	track    *profiler.Track // owned by the loop
	log      *slog.Logger
	inbox    chan *wire.Message // rank 0
	// cancelled is used by rank 0. A request reaches a later stage with the first hand-off of the
	// stage before, and its cancellation comes from the hub, so the cancellation may come first.
	cancelled cancellations
	wake      chan struct{} // a recording began
	ended     int           // requests whose end no plan has told the followers yet
	host      string
	phases    *phases
	flight    *flight // nil: deployed without
	runner    runner
	iterate   iterator
	sampling  sampling
	steps     int
	reported  bool // whether the current recording has the model's memory

	// Copies of the loop's counts, which the loop stores before it waits and call reads.
	pending, held atomic.Int64
	evictions     atomic.Int64 // sequences whose cache was given to others
}

// iterator drives the recording's schedule.
type iterator interface {
	SampleEvery() int
	BeginStep() // an iteration begins
	Step()      // an iteration ended
	Request()   // a request ended
}

// listen subscribes rank 0 to its data subject. The returned function ends it.
func (s *stage) listen() (stop func(), err error) {
	t := s.rec.Track("hand-off")
	sub, err := s.nc.Subscribe(protocol.FromAll(protocol.DataSubject(s.id.Pipeline, s.id.Stage, s.id.Replica)),
		func(msg *nats.Msg) {
			m, err := wire.Decode(msg.Data)
			if err == nil {
				err = wire.CheckSender(msg.Subject, m)
			}
			if err != nil {
				s.log.Error("message dropped", "stage", s.cfg.Name, "err", err)
				return
			}
			traceID := ""
			if m.Request != nil {
				traceID = s.sampling.note(m.Request)
			}
			t := s.trackOf(t, m.ID)
			if m.Kind == wire.KindHandoff {
				if m.Host == s.host {
					m.TookNs = max(0, time.Now().UnixNano()-m.SentNs)
					s.phases.observe(phaseHandoff, time.Duration(m.TookNs))
				}
				// The slice ends before the loop can act on the message, so that in the trace the
				// cause ends before its effect begins.
				traced(t.Begin(nameRecv, profiler.CategoryAnnotation).Text(keyRequest, m.ID).
					Int(keyFrom, int64(m.From)).Int(keyChunk, int64(m.Chunk)).Bytes(int64(len(msg.Data))).
					FlowIn(m.Flow), traceID).End()
			}
			if m.Kind == wire.KindSubmit {
				traced(t.Instant(nameRequest, profiler.CategoryAnnotation).Text(keyRequest, m.ID), traceID)
			}
			select {
			case s.inbox <- m:
			default:
				// A cancel waits for room in the inbox, for what it frees may be what fills the
				// inbox.
				if m.Kind == wire.KindCancel {
					s.inbox <- m
					return
				}
				s.fail(m, protocol.CodeOverloaded, fmt.Errorf("queue of %d messages is full", cap(s.inbox)))
			}
		})
	if err != nil {
		return nil, fmt.Errorf("subscribe to the stage's subject: %w", err)
	}
	if err := sub.SetPendingLimits(wire.PendingMessages, wire.PendingBytes); err != nil {
		return nil, err
	}
	return func() {
		done := make(chan struct{})
		sub.SetClosedHandler(func(string) { close(done) })
		if !s.nc.IsConnected() {
			_ = sub.Unsubscribe() // nothing comes any more
		} else if sub.Drain() == nil {
			for {
				select {
				case <-s.inbox: // makes room for a callback that is blocked
					continue
				case <-done:
				case <-time.After(time.Second):
				}
				break
			}
		}
		t.Close()
	}, nil
}

// traced adds the trace id of a request to the span that marks its arrival in the stage.
func traced(sp profiler.Span, traceID string) profiler.Span {
	if traceID == "" {
		return sp
	}
	return sp.Text(keyTraceID, traceID)
}

// lead is rank 0's loop.
func (s *stage) lead(ctx context.Context) error {
	idle := time.NewTicker(idleInterval)
	defer idle.Stop()
	for {
		s.drain()
		sp := s.track.Begin(nameSchedule, profiler.CategoryAnnotation)
		p := s.runner.plan()
		sp.End()
		if p == nil {
			if err := s.wait(ctx, idle.C); err != nil {
				return err
			}
			continue
		}
		p.Step, p.Decided = s.steps, s.sampling.of(p.Requests...)
		if err := s.share(ctx, p); err != nil {
			return err
		}
		begin := time.Now()
		result, err := s.execute(ctx, p)
		if err != nil {
			return err
		}
		if err := s.runner.emit(p, result, time.Since(begin)); err != nil {
			return err
		}
	}
}

// drain takes the messages that are in the inbox now.
func (s *stage) drain() {
	for range cap(s.inbox) {
		select {
		case m := <-s.inbox:
			s.take(m)
		default:
			return
		}
	}
}

func (s *stage) take(m *wire.Message) {
	if m.Kind == wire.KindCancel {
		s.runner.cancel(m.ID)
		s.sampling.forget(m.ID)
		s.cancelled.add(m)
		return
	}
	if s.cancelled.has(m) {
		return
	}
	if err := s.runner.accept(m); err != nil {
		code := protocol.CodeInternal
		var r *rejection
		if errors.As(err, &r) {
			code = r.code
		}
		s.fail(m, code, err)
		s.runner.cancel(m.ID)
	}
}

// rejection is an error of accept that is the fault of the request, or that says the queue is full.
type rejection struct {
	code  protocol.Code
	err   error
	param string // the field of the request that is wrong, if it is known
}

func (r *rejection) Error() string { return r.err.Error() }
func (r *rejection) Unwrap() error { return r.err }

func badRequest(format string, args ...any) error {
	return &rejection{code: protocol.CodeBadRequest, err: fmt.Errorf(format, args...)}
}

func badPrompt(format string, args ...any) error {
	return &rejection{code: protocol.CodeBadRequest, err: fmt.Errorf(format, args...), param: "prompt"}
}

func (s *stage) wait(ctx context.Context, tick <-chan time.Time) error {
	s.reportMemory()
	reason := reasonQueue
	if s.runner.pending() > 0 {
		reason = reasonInput
	}
	s.pending.Store(int64(s.runner.pending()))
	s.held.Store(int64(s.runner.held()))
	if s.ended > 0 && s.group.Size() > 1 {
		if err := s.share(ctx, &plan{}); err != nil { // a session may count requests, so the followers must know
			return err
		}
	}
	sp := s.track.Begin(nameWait, profiler.CategoryAnnotation).Str(keyReason, reason)
	select {
	case <-ctx.Done():
		sp.End()
		return ctx.Err()
	case m := <-s.inbox:
		sp.End()
		s.take(m)
		return nil
	case <-s.wake:
	case <-tick:
	}
	sp.End()
	return s.share(ctx, &plan{})
}

// wakeUp ends a wait when a recording begins, so that the loop's next work is recorded from the
// recording's begin on, and reports the model's memory first.
func (s *stage) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// share sends a plan to the followers. It is recorded only when there is work: an
// empty plan is part of waiting.
func (s *stage) share(ctx context.Context, p *plan) error {
	if s.group.Size() == 1 {
		return nil
	}
	p.Ended, s.ended = s.ended, 0
	data, err := wire.EncodeFrame(p, p.tensors, nil)
	if err != nil {
		return fmt.Errorf("stage %s: plan %d: %w", s.cfg.Name, p.Step, err)
	}
	t := s.track
	if p.Kind == "" {
		t = nil
	}
	_, err = s.group.Broadcast(ctx, t, data)
	return err
}

// follow is the loop of every rank but 0.
func (s *stage) follow(ctx context.Context) error {
	for {
		s.reportMemory()
		sp := s.track.Begin(nameWait, profiler.CategoryAnnotation).Str(keyReason, reasonPeer)
		data, err := s.group.Broadcast(ctx, nil, nil)
		sp.End()
		if err != nil {
			return err
		}
		p := new(plan)
		if p.tensors, _, err = wire.DecodeFrame(data, p); err != nil {
			return fmt.Errorf("stage %s rank %d: plan: %w", s.cfg.Name, s.id.Rank, err)
		}
		for range p.Ended {
			s.iterate.Request()
		}
		if p.Kind == "" {
			continue
		}
		if _, err := s.execute(ctx, p); err != nil {
			return err
		}
	}
}

// kindFree is a plan that only forgets; it is no iteration.
const kindFree = "free"

// execute runs a plan inside its step's slice and counts the iteration.
func (s *stage) execute(ctx context.Context, p *plan) (any, error) {
	if p.Kind == kindFree {
		return s.runner.run(ctx, s.track, p)
	}
	s.reportMemory()
	batch := max(len(p.Seqs), len(p.Requests))
	t := s.track.If(sampled(p.Requests, p.Decided, s.iterate.SampleEvery()))
	s.iterate.BeginStep()
	begin := time.Now()
	sp := t.Begin(stepNames[p.Kind], profiler.CategoryAnnotation).
		Int(keyStep, int64(p.Step)).Int(keyBatch, int64(batch)).Int(keyTokens, int64(p.Tokens))
	if t.Enabled() {
		sp = sp.Text(keyRequests, strings.Join(p.Requests, ","))
	}
	result, err := s.runner.run(ctx, t, p)
	sp.End()
	s.phases.observe(p.Kind, time.Since(begin))
	if err != nil {
		return nil, fmt.Errorf("stage %d (%s) rank %d, %s %d: %w", s.cfg.ID, s.cfg.Name, s.id.Rank, p.Kind, p.Step, err)
	}
	s.steps = p.Step + 1
	s.iterate.Step()
	return result, nil
}

// reportMemory records, once in a recording, what was allocated before the recording began. A slice
// around it tells these allocations from those that happen while recording.
func (s *stage) reportMemory() {
	on := s.rec.Recording()
	if on && !s.reported {
		sp := s.track.Begin(nameHeld, profiler.CategoryAnnotation)
		s.runner.report(s.track)
		sp.End()
	}
	s.reported = on
}

// handoff sends m to the request's next stages in its route. The first message of a
// request carries the request itself.
func (s *stage) handoff(req *wire.Request, m *wire.Message) error {
	m.Kind, m.ID, m.From, m.Reply = wire.KindHandoff, req.ID, s.id.Stage, req.Reply
	if m.Chunk == 0 {
		m.Request = req
	}
	for _, next := range s.pipeline.Next(s.id.Stage) {
		hop := req.Hop(next.ID)
		if hop < 0 {
			continue
		}
		m.Flow = wire.Flow(req.ID, s.id.Stage, next.ID, m.Chunk)
		m.SentNs, m.Host = time.Now().UnixNano(), s.host
		t := s.trackOf(s.track, req.ID)
		sp := t.Begin(nameSend, profiler.CategoryAnnotation).Text(keyRequest, req.ID).Int(keyTo, int64(next.ID)).
			Int(keyChunk, int64(m.Chunk)).FlowOut(m.Flow)
		data, err := wire.Encode(m)
		if err == nil {
			sp = sp.Bytes(int64(len(data)))
			err = s.nc.Publish(protocol.From(req.Route[hop].Subject, s.id.Sender()), data)
		}
		sp.End()
		if err != nil {
			return fmt.Errorf("hand request %s to stage %d (%s): %w", req.ID, next.ID, next.Name, err)
		}
	}
	return nil
}

// output sends m to the orchestrator.
func (s *stage) output(req *wire.Request, m *wire.Message) error {
	m.ID, m.From = req.ID, s.id.Stage
	data, err := wire.Encode(m)
	if err != nil {
		return err
	}
	return s.nc.Publish(protocol.From(req.Reply, s.id.Sender()), data)
}

// call answers collective_rpc. It runs beside the loop and touches nothing of it.
func (s *stage) call(_ context.Context, method string, args map[string]any) (any, error) {
	switch method {
	case protocol.CallPing:
		return "pong", nil
	case protocol.CallDurations:
		return s.phases.read(), nil
	case protocol.CallFlight:
		on, ok := args["on"].(bool)
		if !ok {
			return nil, fmt.Errorf("flight: on is %v: want true or false", args["on"])
		}
		return s.flight.set(on)
	case protocol.CallInfo:
		return map[string]any{"stage": s.cfg.Name, "rank": s.id.Rank, "world_size": s.group.Size(), "pid": os.Getpid(),
			"recording": s.rec.Recording(), "requests": s.pending.Load(), "held": s.held.Load(),
			"evictions": s.evictions.Load()}, nil
	}
	return nil, fmt.Errorf("unknown method %q: ping, info, durations or flight", method)
}

// done tells the orchestrator that the stage has finished req.
func (s *stage) done(req *wire.Request, durations map[string]int64) error {
	s.iterate.Request()
	s.ended++
	s.sampling.forget(req.ID)
	return s.output(req, &wire.Message{Kind: wire.KindDone, Durations: durations})
}

// fail tells the orchestrator that the request of a message failed here.
func (s *stage) fail(m *wire.Message, code protocol.Code, err error) {
	req := m.Request
	if req == nil {
		req = &wire.Request{ID: m.ID, Reply: m.Reply}
	}
	s.failRequest(req, code, err)
}

func (s *stage) failRequest(req *wire.Request, code protocol.Code, err error) {
	text := fmt.Sprintf("stage %d (%s): %v", s.cfg.ID, s.cfg.Name, err)
	m := &wire.Message{Kind: wire.KindError, Code: code, Reason: text}
	var r *rejection
	if errors.As(err, &r) {
		m.Param = r.param
	}
	s.sampling.forget(req.ID)
	if err := s.output(req, m); err != nil {
		s.log.Error("tell the orchestrator of a failed request", "request", req.ID, "err", err)
	}
}
