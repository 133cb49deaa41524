package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/units"
)

const (
	// clockProbes is how many round trips a clock offset is chosen from; the
	// shortest has the least queueing in it.
	clockProbes = 8
	// noResponderWait is the pause before a rank that is present but not
	// subscribed (it is reconnecting) is asked again.
	noResponderWait = 50 * time.Millisecond
	// maxCallReply bounds one rank's answer to a Call, in bytes: the largest of ours is a line a phase
	// of each request's work, some ten kilobytes.
	maxCallReply = 256 << 10
	// DefaultCallTimeout bounds a Call whose context has no deadline.
	DefaultCallTimeout = time.Minute
)

// request asks one incarnation of a rank and decodes the answer into out. It
// ends with the answer, with ctx, or at once when the rank is lost; the error is
// a *RankError.
func (h *Hub) request(ctx context.Context, id protocol.RankID, incarnation string, method protocol.Method, in,
	out any) error {
	fail := func(s protocol.RankState, reason string) error {
		return &RankError{Rank: id, Method: method, State: s, Reason: reason}
	}
	e, err := h.reg.alive(id, incarnation)
	if err != nil {
		return fail(protocol.StateLost, err.Error())
	}
	body, err := json.Marshal(in)
	if err != nil {
		return fail(protocol.StateFailed, fmt.Sprintf("encode request: %v", err))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(e.ctx, func() { cancel(context.Cause(e.ctx)) })()

	msg := nats.NewMsg(id.Subject(method))
	msg.Data = body
	msg.Header.Set(protocol.HeaderIncarnation, e.inc)
	for {
		reply, err := h.nc.RequestMsgWithContext(ctx, msg)
		switch {
		case err == nil:
			h.reg.touch(e, time.Now()) // whatever became of its presence
			if why := reply.Header.Get(micro.ErrorHeader); why != "" {
				return fail(protocol.StateFailed, protocol.Heard(why))
			}
			if err := readReply(id, method, reply.Data, out); err != nil {
				return fail(protocol.StateFailed, protocol.Heard(err.Error()))
			}
			return nil
		case errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrDisconnected):
			if wait.For(ctx, noResponderWait) == nil { // its presence decides whether it is gone
				continue
			}
		case ctx.Err() == nil:
			return fail(protocol.StateFailed, err.Error())
		}
		if loss, ok := errors.AsType[*lossError](context.Cause(ctx)); ok {
			return fail(protocol.StateLost, loss.reason)
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fail(protocol.StateTimedOut, fmt.Sprintf("no answer to %s in time", method))
		}
		return fail(protocol.StateFailed, context.Cause(ctx).Error())
	}
}

// readReply decodes what id answered to method into out, and makes it fit to be shown and kept. The
// error is for the session, and may hold what the rank said.
func readReply(id protocol.RankID, method protocol.Method, data []byte, out any) error {
	if most := maxReply(method); len(data) > most {
		return fmt.Errorf("its answer has %s; at most %s are taken", units.Bytes(int64(len(data))),
			units.Bytes(int64(most)))
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("decode reply: %w", err)
	}
	switch s := out.(type) {
	case *protocol.RankStatus:
		if s.RankID != id {
			return fmt.Errorf("it answers as %s", s.RankID.Text())
		}
		if err := s.Hear(); err != nil {
			return fmt.Errorf("its answer is not taken: %w", err)
		}
	case *protocol.CallReply:
		s.RankID, s.Error, s.Result = id, protocol.Heard(s.Error), heardValue(s.Result)
	}
	return nil
}

// maxReply bounds a rank's answer, in bytes. Those of a call of every rank are held together and
// handed to whoever asked.
func maxReply(method protocol.Method) int {
	if method == protocol.MethodCall {
		return maxCallReply
	}
	return protocol.MaxPayload
}

// heardValue makes the texts in a value that a rank answered a call with fit to be shown.
func heardValue(v any) any {
	switch v := v.(type) {
	case string:
		return neutral.Plain(v)
	case []any:
		for i := range v {
			v[i] = heardValue(v[i])
		}
	case map[string]any:
		for name, value := range v {
			value = heardValue(value)
			if plain := neutral.Plain(name); plain != name {
				delete(v, name)
				name = plain
			}
			v[name] = value
		}
	}
	return v
}

// probeClock measures a rank's clock against the hub's by NTP's four time stamps.
func (h *Hub) probeClock(ctx context.Context, id protocol.RankID, incarnation string) (protocol.ClockError, error) {
	best := protocol.ClockError{RTTNs: math.MaxInt64}
	for range clockProbes {
		c, err := h.probe(ctx, id, incarnation)
		if err != nil {
			return protocol.ClockError{}, err
		}
		if c.RTTNs < best.RTTNs {
			best = c
		}
	}
	return best, nil
}

// probe measures a rank's clock by one round trip.
func (h *Hub) probe(ctx context.Context, id protocol.RankID, incarnation string) (protocol.ClockError, error) {
	t1 := h.now()
	var r protocol.ClockReply
	if err := h.request(ctx, id, incarnation, protocol.MethodClock, protocol.ClockProbe{T1: t1.UnixNano()},
		&r); err != nil {
		return protocol.ClockError{}, err
	}
	return clockError(t1.UnixNano(), r.T2, r.T3, t1.UnixNano()+int64(h.now().Sub(t1))), nil
}

// clockError computes hub = rank + offset from the hub's t1 and t4 and the rank's
// t2 and t3 (RFC 5905, section 8, with the sign turned). The true offset lies
// within half the round trip, whatever the two ways' shares are.
func clockError(t1, t2, t3, t4 int64) protocol.ClockError {
	rtt := max((t4-t1)-(t3-t2), 0)
	// Halves before sums: the differences may be decades, their sum would not fit.
	offset := -((t2-t1)/2 + (t3-t4)/2)
	return protocol.ClockError{OffsetNs: offset, ErrorNs: rtt/2 + 1, RTTNs: rtt}
}

// Call runs a collective_rpc method on every live rank of the stages, all stages
// if none are named. Each stage answers once with every rank's reply; a rank
// that is lost or does not answer is in it with its error. Without a deadline in
// ctx, DefaultCallTimeout bounds the call.
func (h *Hub) Call(ctx context.Context, pipeline, method string, args map[string]any,
	stages []int) ([]protocol.StageReply, error) {
	q := protocol.StartRequest{Stages: stages}
	if err := q.Validate(); err != nil {
		return nil, err
	}
	ranks, err := h.chosen(pipeline, &q)
	if err != nil {
		return nil, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultCallTimeout)
		defer cancel()
	}
	replies := make([]protocol.CallReply, len(ranks))
	var wg sync.WaitGroup
	for i, info := range ranks {
		wg.Go(func() {
			err := h.request(ctx, info.RankID, info.Incarnation, protocol.MethodCall,
				protocol.CallRequest{Method: method, Args: args}, &replies[i])
			replies[i].RankID = info.RankID
			if err != nil {
				replies[i].OK = false
				replies[i].Error = err.Error()
				if re, ok := errors.AsType[*RankError](err); ok {
					replies[i].Error = fmt.Sprintf("%s: %s", re.State, re.Reason)
				}
			}
		})
	}
	wg.Wait()
	var out []protocol.StageReply
	for i, info := range ranks { // ranks are in order
		if n := len(out); n == 0 || out[n-1].Stage != info.Stage {
			out = append(out, protocol.StageReply{Stage: info.Stage, StageName: info.StageName})
		}
		last := &out[len(out)-1]
		last.Ranks = append(last.Ranks, replies[i])
	}
	return out, nil
}
