package omni

import (
	"context"
	"errors"
	"sync"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// control profiles a pipeline's ranks of any kind: it knows the hub, and which session a stop has
// to answer with.
type control struct {
	hub      *hub.Hub
	pipeline string // its name

	mu        sync.Mutex
	unclaimed string // the session that no stop has answered with yet; guarded by mu
}

// start begins a session that a later stop answers with.
func (c *control) start(ctx context.Context, r protocol.StartRequest) (*session.Status, error) {
	st, err := c.hub.StartProfile(ctx, c.pipeline, r)
	if err == nil {
		c.mu.Lock()
		c.unclaimed = st.ID
		c.mu.Unlock()
	}
	return st, err
}

// claim takes the session id, if it is the one that no stop has answered with yet.
func (c *control) claim(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unclaimed == id {
		c.unclaimed = ""
	}
}

// Hub is the control plane of the pipeline.
func (c *control) Hub() *hub.Hub { return c.hub }

// Ranks returns the ranks that are present.
func (c *control) Ranks() []protocol.RankInfo { return c.hub.Ranks(c.pipeline) }

// StopProfile ends the running session and returns when its artifacts are durable. A
// session that ended by itself, by max_iterations say, is returned by the first stop
// after it. Without either the state is idle, which is not an error.
func (c *control) StopProfile(ctx context.Context) (*session.Status, error) {
	st, err := c.hub.StopProfile(ctx)
	if st == nil || st.State != session.StateIdle {
		if st != nil {
			c.claim(st.ID) // and no other, which may have begun while this one's artifacts were made
		}
		return st, err
	}
	c.mu.Lock()
	id := c.unclaimed
	c.unclaimed = ""
	c.mu.Unlock()
	if err != nil || id == "" {
		return st, err
	}
	return c.hub.Session(id)
}

// Session returns the session that is under way or the last one, nil if there is none.
func (c *control) Session() *session.Status {
	for _, s := range c.hub.Sessions() {
		return s
	}
	return nil
}

// Recorded reports whether every rank has ended its recording by itself, having
// recorded all the iterations that it was asked for.
func (c *control) Recorded(ctx context.Context) (bool, error) {
	st := c.Session()
	if st == nil {
		return false, errors.New("no session")
	}
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			if r.State == protocol.StateRecording || r.State == protocol.StateArmed {
				return false, nil
			}
		}
	}
	return true, ctx.Err()
}

// CollectiveRPC calls method on every rank of the stages, nil being all. Each stage
// answers once, with every rank's reply in it.
func (c *control) CollectiveRPC(
	ctx context.Context,
	method string,
	args map[string]any,
	stages []int,
) ([]protocol.StageReply, error) {
	return c.hub.Call(ctx, c.pipeline, method, args, stages)
}

// close stops a session that records; its recordings are kept.
func (c *control) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	_, err := c.hub.StopProfile(ctx)
	return err
}
