package omni

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// callQueue bounds what a request's client has not yet taken. It is above all
// messages that a request of the longest model can make, so a full queue means that
// the client stopped reading.
const callQueue = 4096

// orchestrator routes requests through the stages and their outputs back.
type orchestrator struct {
	pipeline *deploy.Pipeline
	nc       *nats.Conn
	sub      *nats.Subscription
	reply    string // where stages send outputs
	log      *slog.Logger
	// replicas returns the replicas of a stage whose ranks are all ready.
	replicas func(stage int) []int
	// watch, if set, calls lost once for a replica that loses a rank before stop is called.
	watch func(stage, replica int, lost func(error)) (stop func())

	mu       sync.Mutex
	closed   bool
	inflight map[string]*call
	load     map[hopKey]int // requests at each replica
}

type hopKey struct{ stage, replica int }

// call is a request on its way.
type call struct {
	req  *wire.Request
	msgs chan *wire.Message // never closed; end says that no more come
	end  chan struct{}      // closed when err is set
	err  error
	once sync.Once

	unwatch []func() // submit and forget's goroutine only
}

func (c *call) fail(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.end)
	})
}

func newOrchestrator(
	p *deploy.Pipeline,
	nc *nats.Conn,
	log *slog.Logger,
	replicas func(int) []int,
) (*orchestrator, error) {
	o := &orchestrator{
		pipeline: p,
		nc:       nc,
		log:      log,
		replicas: replicas,
		inflight: map[string]*call{},
		load:     map[hopKey]int{},
	}
	o.reply = protocol.OutputSubject(p.Name, ulid.Make().String())
	sub, err := nc.Subscribe(protocol.FromAll(o.reply), o.receive)
	if err != nil {
		return nil, fmt.Errorf("subscribe to outputs: %w", err)
	}
	if err := sub.SetPendingLimits(wire.PendingMessages, wire.PendingBytes); err != nil {
		return nil, err
	}
	o.sub = sub
	return o, nil
}

// receive hands a stage's message to the request that it belongs to. It never blocks.
func (o *orchestrator) receive(msg *nats.Msg) {
	m, err := wire.Decode(msg.Data)
	if err == nil {
		err = wire.CheckSender(msg.Subject, m)
	}
	if err != nil {
		o.log.Error("output dropped", "err", err)
		return
	}
	o.mu.Lock()
	c := o.inflight[m.ID]
	o.mu.Unlock()
	if c == nil {
		return // ended already
	}
	if m.Kind == wire.KindError {
		c.fail(&Error{Code: m.Code, Request: m.ID, Param: m.Param, Err: errors.New(m.Reason)})
		return
	}
	select {
	case c.msgs <- m:
	default:
		c.fail(
			&Error{
				Code:    protocol.CodeOverloaded,
				Request: m.ID,
				Err:     fmt.Errorf("the client left %d messages unread", callQueue),
			},
		)
	}
}

// submit admits a request, chooses its replicas and sends it off.
func (o *orchestrator) submit(req *wire.Request) (*call, error) {
	stages, err := o.pipeline.Route(req.Outputs)
	if err != nil {
		return nil, &Error{Code: protocol.CodeBadRequest, Request: req.ID, Err: err}
	}
	c := &call{req: req, msgs: make(chan *wire.Message, callQueue), end: make(chan struct{})}
	if err := o.admit(c, stages); err != nil {
		return nil, err
	}
	if o.watch != nil {
		for _, h := range req.Route {
			c.unwatch = append(c.unwatch, o.watch(h.Stage, h.Replica, func(why error) {
				c.fail(&Error{Code: protocol.CodeLost, Request: req.ID, Err: why})
			}))
		}
	}
	req.Reply = o.reply
	req.Arrival = time.Now().UnixNano()
	data, err := wire.Encode(&wire.Message{Kind: wire.KindSubmit, ID: req.ID, From: -1, Request: req})
	if err == nil {
		err = o.nc.Publish(protocol.From(req.Route[0].Subject, protocol.SenderHub), data)
	}
	if err != nil {
		o.forget(c)
		return nil, &Error{Code: protocol.CodeInternal, Request: req.ID, Err: err}
	}
	return c, nil
}

func (o *orchestrator) admit(c *call, stages []int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	req := c.req
	switch {
	case o.closed:
		return &Error{Code: protocol.CodeClosed, Request: req.ID, Err: errors.New("the pipeline is shutting down")}
	case len(o.inflight) >= o.pipeline.MaxInflight:
		return &Error{
			Code:    protocol.CodeOverloaded,
			Request: req.ID,
			Err:     fmt.Errorf("%d requests are in the pipeline already (max_inflight)", len(o.inflight)),
		}
	case o.inflight[req.ID] != nil:
		return &Error{Code: protocol.CodeBadRequest, Request: req.ID, Param: "id", Err: errors.New("this id is in use")}
	}
	for _, id := range stages {
		ready := o.replicas(id)
		if len(ready) == 0 {
			st := o.pipeline.Stage(id)
			return &Error{
				Code:    protocol.CodeLost,
				Request: req.ID,
				Err:     fmt.Errorf("stage %d (%s) has no replica that is ready", id, st.Name),
			}
		}
		best := slices.MinFunc(ready, func(a, b int) int { return o.load[hopKey{id, a}] - o.load[hopKey{id, b}] })
		req.Route = append(
			req.Route,
			wire.Hop{Stage: id, Replica: best, Subject: protocol.DataSubject(o.pipeline.Name, id, best)},
		)
	}
	o.inflight[req.ID] = c
	for _, h := range req.Route {
		o.load[hopKey{h.Stage, h.Replica}]++
	}
	return nil
}

// forget ends the orchestrator's part in a call.
func (o *orchestrator) forget(c *call) {
	for _, stop := range c.unwatch {
		stop()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.inflight[c.req.ID] != c {
		return
	}
	delete(o.inflight, c.req.ID)
	for _, h := range c.req.Route {
		o.load[hopKey{h.Stage, h.Replica}]--
	}
}

// cancel tells every stage of the route to free what the request holds.
func (o *orchestrator) cancel(c *call) {
	// The request goes with it: a stage that has not got it yet must know which request not to begin.
	data, err := wire.Encode(&wire.Message{Kind: wire.KindCancel, ID: c.req.ID, From: -1, Request: c.req})
	if err != nil {
		return
	}
	for _, h := range c.req.Route {
		if err := o.nc.Publish(protocol.From(h.Subject, protocol.SenderHub), data); err != nil {
			o.log.Warn("cancel", "request", c.req.ID, "stage", h.Stage, "err", err)
		}
	}
}

// lost fails every request that passes a replica, because one of its ranks is gone.
func (o *orchestrator) lost(stage, replica int, why error) {
	o.mu.Lock()
	var gone []*call
	for _, c := range o.inflight {
		for _, h := range c.req.Route {
			if h.Stage == stage && h.Replica == replica {
				gone = append(gone, c)
			}
		}
	}
	o.mu.Unlock()
	for _, c := range gone {
		c.fail(&Error{Code: protocol.CodeLost, Request: c.req.ID, Err: why})
	}
}

// depth returns how many requests are at each stage.
func (o *orchestrator) depth() map[int]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := map[int]int{}
	for k, n := range o.load {
		d[k.stage] += n
	}
	return d
}

func (o *orchestrator) close() {
	o.mu.Lock()
	o.closed = true
	calls := make([]*call, 0, len(o.inflight))
	for _, c := range o.inflight {
		calls = append(calls, c)
	}
	o.mu.Unlock()
	for _, c := range calls {
		c.fail(&Error{Code: protocol.CodeClosed, Request: c.req.ID, Err: errors.New("the pipeline is shutting down")})
	}
	if err := o.sub.Unsubscribe(); err != nil {
		o.log.Debug("unsubscribe", "err", err)
	}
}

// next returns the request's next message, or why there is none.
func (c *call) next(ctx context.Context) (*wire.Message, error) {
	select { // what has arrived comes before the end
	case m := <-c.msgs:
		return m, nil
	default:
	}
	select {
	case m := <-c.msgs:
		return m, nil
	case <-c.end:
		return nil, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
