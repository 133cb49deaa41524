package omni

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/kinetoscope/kinetoscope/driver/server"
	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store"
)

// Config says what Open starts.
type Config struct {
	// Pipeline is "omni", "diffusion" or the path of a deployment file; "" is "omni".
	Pipeline string
	// Deployment is used instead of Pipeline if it is set.
	Deployment *deploy.Pipeline
	// TensorParallelSize, if not 0, is the number of ranks of every stage: 1, 2 or 4.
	TensorParallelSize int
	// Profiler overrides fields of every stage's profiler_config.
	Profiler *deploy.ProfilerOverride

	DataDir string // NATS storage and recordings on their way; "" is a directory that Close removes
	RunsDir string // finished runs; "" is the first torch_profiler_dir of the stages, else "runs"
	// Connection is how ranks and hub reach NATS; zero is a server in this process that
	// only this host reaches.
	hub.Connection
	// Name, if set, is the pipeline's name in place of the deployment's: pipelines on
	// one NATS cluster need names of their own.
	Name string

	// Command starts a rank; nil is this program itself, whose main must call WorkerMain.
	Command []string
	// NoLaunch starts no ranks: all are started by hand and Open waits for them.
	NoLaunch bool
	// Attached opens no model: the pipeline consists of processes that join by themselves, mostly
	// with Python's kinetoscope.attach, under Name or AttachedPipeline. Open waits for none of
	// them, Stages are those of the processes present, and Generate refuses. Pipeline and
	// Deployment are not read.
	Attached bool
	// Targets are servers that Open lets take part, whether or not they answer yet, in a pipeline
	// of attached processes; those with an Agent belong to that agent. Found, if set, is called
	// when one has said what it is.
	Targets []server.Target
	Found   func(server.Seat, server.Facts, string)
	// SlowRequest, if not 0, captures the last ten seconds of all ranks when a request
	// took so long; FailedRequest when one failed inside the pipeline. At most one such
	// capture is made in half a minute.
	SlowRequest   time.Duration
	FailedRequest bool
	// Attach, if set, writes more files into a session's run while its artifacts are
	// made; they stand in the manifest with the rest.
	Attach func(*store.Run) ([]protocol.Artifact, error)
	// NoConvert leaves in a run what the ranks recorded and nothing made of it: no
	// artifacts, no timeline, no report. Attach is not called.
	NoConvert bool
	// OnHub, if set, is called with the URL at which ranks join, before any has.
	OnHub func(url string) error
	// ReadyTimeout bounds the wait for all ranks; 0 is DefaultReadyTimeout.
	ReadyTimeout time.Duration
	Logger       *slog.Logger
}

// DefaultReadyTimeout is enough to load weights of many gigabytes, or to import torch in several
// processes at once on a busy host. Launched ranks whose processes end are not waited for.
const DefaultReadyTimeout = 10 * time.Minute

// setDefaults fills in what depends on no deployment.
func (c *Config) setDefaults() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if !c.Attached {
		return
	}
	c.NoLaunch = true
	if c.NATSURL == "" {
		c.Listen = cmp.Or(c.Listen, AttachedListen)
	}
}

// deployment reads and validates the pipeline; the strings are warnings.
func (c *Config) deployment() (*deploy.Pipeline, []string, error) {
	if c.Attached {
		name := cmp.Or(c.Name, AttachedPipeline)
		// Its stages are those of the processes present.
		p := &deploy.Pipeline{Name: name, Model: name, Targets: c.Targets}
		if c.Profiler == nil {
			return p, nil, nil
		}
		if err := c.Profiler.Validate(); err != nil {
			return nil, nil, fmt.Errorf("--profiler-config: %w", err)
		}
		return p, c.Profiler.Warnings(), nil
	}
	p, warnings := c.Deployment, []string(nil)
	var err error
	if p == nil {
		if p, warnings, err = deploy.Load(cmp.Or(c.Pipeline, "omni")); err != nil {
			return nil, nil, err
		}
	}
	if c.Name != "" {
		p.Name = c.Name
	}
	if c.TensorParallelSize != 0 {
		if n := c.TensorParallelSize; n != 1 && n != 2 && n != deploy.MaxRanks {
			return nil, nil, fmt.Errorf("tensor_parallel_size %d: 1, 2 or %d", n, deploy.MaxRanks)
		}
		for i := range p.Stages {
			p.Stages[i].Ranks = c.TensorParallelSize
		}
	}
	if c.Profiler != nil {
		return p, append(warnings, c.Profiler.Warnings()...), p.Override(c.Profiler)
	}
	return p, warnings, p.Validate()
}

// hubName tells hubs on one cluster apart; there, each serves a pipeline of its own.
func (c *Config) hubName(p *deploy.Pipeline) string {
	if c.NATSURL == "" {
		return hub.DefaultName
	}
	return p.Name
}

// defaultRunsDir is where runs are kept if neither flag nor deployment says.
const defaultRunsDir = "runs"

func (c *Config) runsDir(p *deploy.Pipeline) string {
	if c.RunsDir != "" {
		return c.RunsDir
	}
	if c.Attached && c.Profiler != nil { // no stage is known yet
		return cmp.Or(c.Profiler.Apply(protocol.ProfilerConfig{}).TorchProfilerDir, defaultRunsDir)
	}
	for _, s := range p.Stages {
		if s.Profiled() && s.Profiler.TorchProfilerDir != "" {
			return s.Profiler.TorchProfilerDir
		}
	}
	return defaultRunsDir
}

// command is what starts a rank.
func (c *Config) command() ([]string, error) {
	if c.Command != nil || c.NoLaunch {
		return c.Command, nil
	}
	if !workerMainCalled.Load() {
		return nil, errors.New("omni.WorkerMain was not called: make it the first line of main, " +
			"for the ranks are processes of this program; or set Config.Command")
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return []string{exe}, nil
}
