package omni

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/hub/conversion"
	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/worker"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// Engine is an open pipeline. It implements API and is safe for concurrent use. What is
// profiled is behind it: the pipeline that Open launched, or processes that attached.
type Engine struct {
	*control
	pipeline *deploy.Pipeline
	members  members
	trigger  *trigger
	log      *slog.Logger
	dataDir  string
	tempDir  string // dataDir if Close removes it, else ""
	runs     string
	unjoin   func() // takes back what tells processes of this user where to join
	closing  sync.Once
	closeErr error
}

var _ API = (*Engine)(nil)

// members are the ranks of a pipeline, and what differs between pipelines by whose they are.
type members interface {
	stages() []StageInfo
	generate(context.Context, Request) iter.Seq2[Output, error]
	health() error
	queueDepth() map[string]int
	// session completes the request of a session, or refuses it.
	session(*protocol.StartRequest) error
	// refuse ends all requests; close ends the ranks and waits.
	refuse()
	close()
}

// Open starts a pipeline: the control plane, every rank as a process of its own, and
// the routes between them. It returns when every rank has loaded its model, or with an
// error that names the first one that did not.
func Open(ctx context.Context, c Config) (*Engine, error) {
	p, err := c.Plan(ctx)
	if err != nil {
		return nil, err
	}
	return p.Open(ctx)
}

// Open starts what the plan says, see the function of this name.
func (p *Plan) Open(ctx context.Context) (_ *Engine, err error) {
	c := &p.Config
	c.setDefaults()
	for _, w := range p.warnings {
		c.Logger.Warn(w)
	}
	e := &Engine{control: &control{pipeline: p.Pipeline.Name}, pipeline: p.Pipeline, log: c.Logger, dataDir: c.DataDir}
	if e.dataDir == "" {
		if e.tempDir, err = os.MkdirTemp("", TempPattern); err != nil {
			return nil, err
		}
		e.dataDir = e.tempDir
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	if e.runs, err = filepath.Abs(c.runsDir(p.Pipeline)); err != nil {
		return nil, err
	}
	if err := e.startHub(ctx, c); err != nil {
		return nil, err
	}
	if c.Attached {
		a := &attached{control: e.control, override: c.Profiler}
		e.members = a
		if err := a.drive(ctx, c); err != nil {
			return nil, err
		}
		e.trigger = newTrigger(e, c.SlowRequest, c.FailedRequest)
		return e, nil
	}
	n, err := newNative(ctx, p, e.control)
	if err != nil {
		return nil, err
	}
	e.members = n
	e.trigger = newTrigger(e, c.SlowRequest, c.FailedRequest)
	n.ended = e.trigger.ended
	if !c.NoLaunch {
		n.launch(ctx, p.command, e.rankOptions(c))
	}
	if err := n.waitReady(ctx, cmp.Or(c.ReadyTimeout, DefaultReadyTimeout)); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Engine) startHub(ctx context.Context, c *Config) (err error) {
	convert := conversion.With(c.Attach)
	if c.NoConvert {
		convert = nil
	}
	e.hub, err = hub.Start(ctx, hub.Config{Name: c.hubName(e.pipeline), DataDir: e.dataDir, RunsDir: e.runs,
		SpoolDirs: []string{hub.SpoolDir(e.dataDir)}, Connection: c.Connection, Logger: c.Logger, Convert: convert})
	if err != nil {
		return fmt.Errorf("start the hub: %w", err)
	}
	if c.Attached && c.Listen == AttachedListen {
		if e.unjoin, err = link.PublishJoin(e.hub.ClientURL()); err != nil {
			return err
		}
	}
	if c.OnHub != nil {
		return c.OnHub(e.hub.ClientURL())
	}
	return nil
}

// rankOptions are those that all launched ranks have in common.
func (e *Engine) rankOptions(c *Config) worker.Options {
	o := worker.Options{CA: cmp.Or(c.TLSCA, c.TLSCert), Creds: cmp.Or(c.RankCreds, c.Creds), Pipeline: e.pipeline.Name,
		SpoolDir: hub.SpoolDir(e.dataDir), DumpDir: e.runs}
	if c.TLSClientCA != "" {
		o.Cert, o.Key = c.TLSCert, c.TLSKey // the hub's own
	}
	return o
}

// Close ends every rank, then the control plane. A session that is recording is
// stopped and kept. It may be called twice.
func (e *Engine) Close() error {
	e.closing.Do(func() {
		if e.unjoin != nil {
			e.unjoin()
		}
		if e.members != nil {
			e.members.refuse()
		}
		if e.trigger != nil {
			e.trigger.close()
		}
		if e.members != nil {
			if err := e.control.close(); err != nil {
				e.log.Warn("stop the running session", "err", err)
			}
			e.members.close()
		}
		if e.hub != nil {
			e.closeErr = e.hub.Close()
		}
		if e.tempDir != "" {
			e.closeErr = errors.Join(e.closeErr, e.removeTemp())
		}
	})
	return e.closeErr
}

// removeTemp removes the temporary directory, except for recordings that were not collected, for
// instance because the disk of the runs is full: there is no other copy of them.
func (e *Engine) removeTemp() error {
	left, err := filepath.Glob(filepath.Join(hub.SpoolDir(e.tempDir), "*", "*.*"))
	if err != nil || len(left) == 0 {
		return errors.Join(err, os.RemoveAll(e.tempDir))
	}
	e.log.Error("recordings that could not be brought home are kept; kinetoscope recover does so when there is room",
		"files", len(left), "dir", e.tempDir)
	entries, err := os.ReadDir(e.tempDir)
	for _, entry := range entries {
		if name := entry.Name(); !hub.Recoverable(name) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(e.tempDir, name)))
		}
	}
	return err
}

// Model is the name under which the pipeline is served.
func (e *Engine) Model() string { return e.pipeline.Model }

// Pipeline is the deployment. It must not be changed.
func (e *Engine) Pipeline() *deploy.Pipeline { return e.pipeline }

// Stages describes the pipeline's stages, of attached processes those that are there.
func (e *Engine) Stages() []StageInfo { return e.members.stages() }

// Health returns nil if every stage can serve, else what is missing.
func (e *Engine) Health() error { return cmp.Or(e.members.health(), e.hub.Health()) }

// Strays returns how many ranks have a profiler on that no session owns.
func (e *Engine) Strays() int { return e.hub.Strays() }

// QueueDepth returns how many requests are at each stage, by its name.
func (e *Engine) QueueDepth() map[string]int { return e.members.queueDepth() }

// Generate sends r through the pipeline and yields its outputs as they become ready.
// It ends after the last output, or with one error. A caller that stops ranging, or a
// ctx that ends, cancels the request in every stage and frees what it held there.
// Errors of requests are *Error.
func (e *Engine) Generate(ctx context.Context, r Request) iter.Seq2[Output, error] {
	return e.members.generate(ctx, r)
}

// StartProfile starts a session on the chosen stages. When it returns every rank
// records, all from one instant. A wrong request is a *protocol.FieldError.
func (e *Engine) StartProfile(ctx context.Context, r protocol.StartRequest) (*session.Status, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if err := e.members.session(&r); err != nil {
		return nil, err
	}
	return e.control.start(ctx, r)
}

// DefaultFlight is how much of the past Flight takes unless told.
const DefaultFlight = 10 * time.Second

// Flight captures what already happened: the last r.Last of every rank of the chosen
// stages, at one instant, from their flight recorders. It returns when the artifacts
// are durable.
func (e *Engine) Flight(ctx context.Context, r protocol.StartRequest) (*session.Status, error) {
	if r.Last == 0 {
		r.Last = DefaultFlight
	}
	st, err := e.StartProfile(ctx, r)
	if err != nil {
		return nil, err
	}
	e.claim(st.ID)
	return e.hub.Wait(ctx, st.ID)
}

// LookBack captures the past in the background, named why; at most once in half a
// minute.
func (e *Engine) LookBack(why string) { e.trigger.fire(why) }
