package rank

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Error codes of replies, as HTTP has them.
const (
	codeBadRequest = "400"
	codeRefused    = "409"
	codeBusy       = "503"
)

func (m *Member) endpoints() map[protocol.Method]micro.HandlerFunc {
	return map[protocol.Method]micro.HandlerFunc{
		protocol.MethodClock:  m.clock,
		protocol.MethodArm:    answer(m, m.h.Arm),
		protocol.MethodStart:  answer(m, m.h.Start),
		protocol.MethodStop:   answer(m, m.h.Stop),
		protocol.MethodAbort:  answer(m, m.h.Abort),
		protocol.MethodCall:   answerWith(m, m.call),
		protocol.MethodStatus: answerWith(m, m.status),
		protocol.MethodCollect: answerWith(m, func(ctx context.Context, r protocol.CollectRequest) (any, error) {
			return m.collect(ctx, r)
		}),
	}
}

// clock stamps in NATS's own goroutine: a detour would make the error larger.
func (m *Member) clock(req micro.Request) {
	t2 := m.now().UnixNano()
	if !m.meant(req) {
		return
	}
	var p protocol.ClockProbe
	if err := json.Unmarshal(req.Data(), &p); err != nil {
		m.refuse(req, codeBadRequest, err)
		return
	}
	m.respond(req, protocol.ClockReply{T1: p.T1, T2: t2, T3: m.now().UnixNano()})
}

// meant reports whether a request is for this process and not for another
// incarnation of the rank.
func (m *Member) meant(req micro.Request) bool {
	inc := req.Headers().Get(protocol.HeaderIncarnation)
	return inc == "" || inc == m.inc
}

// answer serves a method whose reply is the rank's status.
func answer[Req any](m *Member, f func(context.Context, Req) (protocol.RankStatus, error)) micro.HandlerFunc {
	return answerWith(m, func(ctx context.Context, r Req) (any, error) {
		s, err := f(ctx, r)
		m.name(&s)
		return s, err
	})
}

// answerWith serves a method in a goroutine that Leave waits for.
func answerWith[Req any](m *Member, f func(context.Context, Req) (any, error)) micro.HandlerFunc {
	return func(req micro.Request) {
		if !m.meant(req) {
			return
		}
		var r Req
		if len(req.Data()) > 0 {
			if err := json.Unmarshal(req.Data(), &r); err != nil {
				m.refuse(req, codeBadRequest, err)
				return
			}
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.leaving {
			return
		}
		select {
		case m.inFlight <- struct{}{}:
		default:
			m.refuse(req, codeBusy, fmt.Errorf("%d requests are under way", maxInFlight))
			return
		}
		m.wg.Go(func() {
			defer func() { <-m.inFlight }()
			reply, err := guard(func() (any, error) { return f(m.ctx, r) })
			if err != nil {
				m.refuse(req, codeRefused, err)
				return
			}
			m.respond(req, reply)
		})
	}
}

// guard turns a panic of a handler into an error: the rank serves requests and
// must not die of its profiler.
func guard(f func() (any, error)) (reply any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("handler panicked: %v", p)
		}
	}()
	return f()
}

func (m *Member) respond(req micro.Request, v any) {
	b, err := json.Marshal(v)
	if err == nil {
		err = m.reply(req, nats.Msg{Data: b})
	}
	if err != nil {
		// A reply that cannot be encoded or is too large is a refusal with a reason.
		m.refuse(req, codeRefused, fmt.Errorf("reply: %w", err))
	}
}

func (m *Member) refuse(req micro.Request, code string, why error) {
	err := m.reply(req, nats.Msg{Header: nats.Header{micro.ErrorHeader: {why.Error()}, micro.ErrorCodeHeader: {code}}})
	if err != nil && m.ctx.Err() == nil {
		m.log.Warn("cannot reply", "subject", req.Subject(), "err", err)
	}
}

// reply sends what Respond and Error of the request would. Those note in the request how they went, which the service
// reads when the handler has returned: from a goroutine that outlives the handler that is a race.
func (m *Member) reply(req micro.Request, msg nats.Msg) error {
	if msg.Subject = req.Reply(); msg.Subject == "" {
		return nats.ErrMsgNoReply
	}
	return m.nc.PublishMsg(&msg)
}

func (m *Member) status(ctx context.Context, _ struct{}) (any, error) {
	s := m.h.Status(ctx)
	m.name(&s)
	return s, nil
}

func (m *Member) call(ctx context.Context, r protocol.CallRequest) (any, error) {
	reply := protocol.CallReply{RankID: m.id}
	result, err := m.h.Call(ctx, r)
	if err != nil {
		reply.Error = err.Error()
		return reply, nil
	}
	reply.OK, reply.Result = true, result
	return reply, nil
}

// collect uploads the files of a session. Object names hold session, rank and
// file, so nothing is ever replaced by something else.
func (m *Member) collect(ctx context.Context, r protocol.CollectRequest) (protocol.RankStatus, error) {
	s, over, err := m.h.Collect(ctx, r)
	m.name(&s)
	if err != nil {
		return s, err
	}
	if len(over.Files)+len(over.Others) == 0 {
		return s, nil
	}
	bucket := cmp.Or(r.Bucket, protocol.BucketArtifacts)
	var obs jetstream.ObjectStore
	err = link.Retry(ctx, func() (err error) {
		obs, err = m.js.ObjectStore(ctx, bucket)
		return err
	})
	if err != nil {
		return s, fmt.Errorf("bucket %s: %w", bucket, err)
	}
	part := int64(0)
	if r.Parts {
		part = protocol.UploadPart
	}
	up := newUploading(m, s, over, part)
	defer up.end()
	if s.Artifacts, err = up.all(ctx, obs, r.Session, m.id, over.Files); err != nil {
		return s, err
	}
	for _, o := range over.Others {
		other := protocol.RankStatus{RankID: o.ID, StageName: s.StageName, State: o.State, Reason: o.Reason,
			Session: s.Session, Events: o.Events,
			StartedAtNs: s.StartedAtNs, StoppedAtNs: s.StoppedAtNs, StoppedBy: s.StoppedBy}
		if other.Artifacts, err = up.all(ctx, obs, r.Session, o.ID, o.Files); err != nil {
			return s, err
		}
		s.Others = append(s.Others, other)
	}
	return s, nil
}
