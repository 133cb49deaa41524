package omni

import (
	"context"
	"errors"

	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// Check reads and validates what Open would start, and starts nothing.
func (c *Config) Check() (*deploy.Pipeline, error) {
	p, _, err := c.deployment()
	if err == nil {
		_, err = c.inspect(p)
	}
	return p, err
}

// Session returns the session that is under way or the last one, nil if there is none.
func (e *Engine) Session() *session.Status {
	for _, s := range e.hub.Sessions() {
		return s
	}
	return nil
}

// Ranks returns the ranks that are present.
func (e *Engine) Ranks() []protocol.RankInfo { return e.hub.Ranks(e.pipeline.Name) }

// Recorded reports whether every rank has ended its recording by itself, having
// recorded all the iterations that it was asked for.
func (e *Engine) Recorded(ctx context.Context) (bool, error) {
	st := e.Session()
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
