package omni

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/kinetoscope/kinetoscope/driver/server"
	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/protocol"
)

const (
	// AttachedPipeline is the pipeline of processes that attach and name no other.
	AttachedPipeline = "attached"
	// AttachedListen is where such processes look for a hub of their host.
	AttachedListen = "127.0.0.1:4222"
	// attachedPoll is how often WaitAttached looks: processes take seconds to start.
	attachedPoll = 50 * time.Millisecond
)

// attached is a pipeline of processes that join by themselves. It serves no requests.
type attached struct {
	control  *control
	override *deploy.ProfilerOverride // of the ranks' own configurations; nil: none
	log      *slog.Logger
	fleet    *server.Fleet // servers that take part as they are; nil: none
}

var _ members = (*attached)(nil)

// stages are those of the processes that are there.
func (a *attached) stages() []StageInfo {
	byID := map[int]*StageInfo{}
	replicas := map[int]map[int]bool{}
	for _, r := range a.control.Ranks() {
		s := byID[r.Stage]
		if s == nil {
			s = &StageInfo{ID: r.Stage, Name: r.StageName, Type: r.StageType, Engine: r.Engine}
			byID[r.Stage], replicas[r.Stage] = s, map[int]bool{}
		}
		replicas[r.Stage][r.Replica] = true
		s.Replicas, s.Ranks = len(replicas[r.Stage]), max(s.Ranks, r.WorldSize)
		s.Profiler = s.Profiler || r.Profiler != nil && r.Profiler.Profiler != ""
	}
	var out []StageInfo
	for _, s := range byID {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b StageInfo) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (a *attached) generate(_ context.Context, r Request) iter.Seq2[Output, error] {
	return func(yield func(Output, error) bool) {
		yield(Output{RequestID: r.ID}, &Error{Code: protocol.CodeBadRequest, Request: r.ID,
			Err: errors.New("no model is served here, only processes that have attached are profiled")})
	}
}

// health is always good, because no process is required.
func (a *attached) health() error { return nil }

func (a *attached) queueDepth() map[string]int { return map[string]int{} }

// session refuses one without anybody to record, and puts the override in force where
// the request has no configuration.
func (a *attached) session(r *protocol.StartRequest) error {
	if len(a.control.Ranks()) == 0 {
		return &nobodyError{link.Redact(a.control.hub.ClientURL())} // redacted, because it is sent to HTTP clients
	}
	if a.override != nil && r.Config == nil {
		cfg := a.override.Apply(a.common())
		cfg.TorchProfilerDir = "" // where runs go, which Open has seen to
		r.Config = &cfg
	}
	return nil
}

// common returns the configuration that all ranks announce, or the default if they differ.
// Processes that were not prepared announce one without stacks.
func (a *attached) common() protocol.ProfilerConfig {
	def := protocol.DefaultProfilerConfig()
	def.Profiler = protocol.ProfilerTorch
	var one *protocol.ProfilerConfig
	for _, r := range a.control.Ranks() {
		if r.Profiler == nil || r.Profiler.Profiler == "" || one != nil && !reflect.DeepEqual(*one, *r.Profiler) {
			return def
		}
		one = r.Profiler
	}
	if one == nil {
		return def
	}
	return *one
}

func (a *attached) refuse() {}

func (a *attached) close() {
	if a.fleet == nil {
		return
	}
	if err := a.fleet.Close(); err != nil {
		a.log.Warn("targets leave", "err", err)
	}
}

// drive has the targets take part that no agent has.
func (a *attached) drive(ctx context.Context, c *Config) (err error) {
	a.log = c.Logger
	seats := slices.DeleteFunc(server.Seats(c.Targets, a.control.pipeline, server.TargetStage),
		func(s server.Seat) bool { return s.Agent != "" })
	if len(seats) == 0 {
		return nil
	}
	a.fleet, err = server.Join(ctx, a.control.hub.Conn(), seats,
		server.FleetConfig{Logger: c.Logger, Later: true, Found: c.Found})
	return err
}

// WaitAttached returns when n ranks are present and ready; for n = 0, when at least one is and
// every replica with a rank has all of them. The error names what is missing.
func (c *control) WaitAttached(ctx context.Context, n int) error {
	missing := ""
	err := wait.Until(ctx, attachedPoll, func() bool {
		ready := slices.DeleteFunc(c.Ranks(), func(r protocol.RankInfo) bool { return !r.Ready })
		missing = attachedMissing(ready, n)
		return missing == ""
	})
	if err != nil {
		return fmt.Errorf("%s: %w", missing, err)
	}
	return nil
}

func attachedMissing(ranks []protocol.RankInfo, n int) string {
	if len(ranks) == 0 {
		return "no process has attached"
	}
	if n > 0 {
		if len(ranks) < n {
			return fmt.Sprintf("%d of %d ranks have attached", len(ranks), n)
		}
		return ""
	}
	here := map[[2]int]int{}
	for _, r := range ranks {
		here[[2]int{r.Stage, r.Replica}]++
	}
	for _, r := range ranks {
		if got := here[[2]int{r.Stage, r.Replica}]; got < r.WorldSize {
			return fmt.Sprintf("stage %d (%s) replica %d: %d of %d ranks have attached",
				r.Stage, r.StageName, r.Replica, got, r.WorldSize)
		}
	}
	return ""
}

// nobodyError refuses a session without any rank.
type nobodyError struct{ url string }

// Error says that nobody is there.
func (e *nobodyError) Error() string { return "no process has attached" }

// HTTPStatus is 404, as of a server without a profiler.
func (e *nobodyError) HTTPStatus() int { return http.StatusNotFound }

// Hint says how a process attaches.
func (e *nobodyError) Hint() string {
	return "run it as: python -m kinetoscope run script.py, or call kinetoscope.attach in it, as the user of the hub at " +
		e.url + " or with its URL in KINETOSCOPE_NATS"
}
