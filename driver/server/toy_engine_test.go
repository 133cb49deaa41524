package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// A toy engine: its server has the two routes and names its files by the prefix that a start sends.
var _ = register("toy-serve", toyEngine{})

// toyEngine is, in what it does not say itself, as most servers are.
type toyEngine struct{ plainEngine }

var errToyOff = errors.New("it has no /start_profile: start it with --profile")

// probe asks before anything is started.
func (toyEngine) probe(ctx context.Context, c *client, _ Target) (Facts, error) {
	_, _, err := profiling(ctx, c, "/start_profile", errToyOff)
	return Facts{Version: "1", Prefix: true}.paths(), err
}

func (toyEngine) start(r round) start { return start{body: map[string]any{"profile_prefix": r.tag}} }

func (toyEngine) refused(a answer) error { return fmt.Errorf("POST /start_profile: %v", a) }

func (toyEngine) lacks(cfg protocol.ProfilerConfig) string {
	if cfg.WithStack {
		return "toy-serve records no stacks"
	}
	return ""
}

func (toyEngine) nothing(driver.Job) string { return "the server's log says why" }
