package omni

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/omni/worker"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
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
	NATS    string // URL of an existing cluster; "" starts an embedded server
	Listen  string // address of the embedded server; "" is 127.0.0.1 and a free port
	// Advertise, Token, TLSCert, TLSKey, TLSCA and Replicas are those of hub.Config.
	Advertise, Token       string
	TLSCert, TLSKey, TLSCA string
	Replicas               int
	// Name, if set, is the pipeline's name in place of the deployment's: pipelines on
	// one NATS cluster need names of their own.
	Name string

	// Command starts a rank; nil is this program itself, whose main must call WorkerMain.
	Command []string
	// NoLaunch starts no ranks: all are started by hand and Open waits for them.
	NoLaunch bool
	// Attached opens no model: the pipeline is whoever joins by itself, Python's
	// kinetoscope.attach above all, under Name or AttachedPipeline. Open waits for
	// nobody, Stages are those of the processes that are there, and Generate refuses.
	// Pipeline and Deployment are not read.
	Attached bool
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

// DefaultReadyTimeout is enough to load the built-in models on a busy laptop.
const DefaultReadyTimeout = 2 * time.Minute

// Engine is an open pipeline. It implements API and is safe for concurrent use.
type Engine struct {
	pipeline *deploy.Pipeline
	hub      *hub.Hub
	orch     *orchestrator
	log      *slog.Logger
	warnings []string
	known    facts
	tempDir  string
	runs     string
	attached bool                     // see Config.Attached
	override *deploy.ProfilerOverride // of attached ranks' configurations; nil: their own

	trigger  *trigger
	opened   atomic.Bool // every rank was ready once
	stop     context.CancelFunc
	ranks    sync.WaitGroup // supervisors
	closing  sync.Once
	closeErr error

	mu   sync.Mutex
	dead error // a replica that stays dead
	// unclaimed is the session that no stop has answered with yet.
	unclaimed string
}

var _ API = (*Engine)(nil)

// Open starts a pipeline: the control plane, every rank as a process of its own, and
// the routes between them. It returns when every rank has loaded its model, or with an
// error that names the first one that did not.
func Open(ctx context.Context, c Config) (e *Engine, err error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Attached {
		c.NoLaunch = true
		if c.NATS == "" {
			c.Listen = cmp.Or(c.Listen, AttachedListen)
		}
	}
	e = &Engine{log: c.Logger, attached: c.Attached}
	if e.pipeline, e.warnings, err = c.deployment(); err != nil {
		return nil, err
	}
	command, err := c.command()
	if err != nil {
		return nil, err
	}
	if e.known, err = c.inspect(e.pipeline); err != nil {
		return nil, err
	}
	for _, w := range e.warnings {
		c.Logger.Warn(w)
	}
	dataDir := c.DataDir
	if dataDir == "" {
		if e.tempDir, err = os.MkdirTemp("", "kinetoscope-"); err != nil {
			return nil, err
		}
		dataDir = e.tempDir
	}
	if e.runs, err = filepath.Abs(c.runsDir(e.pipeline)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
			e = nil
		}
	}()
	convert := attaching(c.Attach)
	if c.NoConvert {
		convert = nil
	}
	e.hub, err = hub.Start(ctx, hub.Config{Name: c.hubName(e.pipeline), DataDir: dataDir, RunsDir: e.runs, NATSURL: c.NATS,
		Listen: c.Listen, Advertise: c.Advertise, Token: c.Token, TLSCert: c.TLSCert, TLSKey: c.TLSKey, TLSCA: c.TLSCA,
		Replicas: c.Replicas, Logger: c.Logger, Convert: convert})
	if err != nil {
		return e, fmt.Errorf("start the hub: %w", err)
	}
	if err := e.publish(ctx, max(c.Replicas, 1)); err != nil {
		return e, err
	}
	if c.OnHub != nil {
		if err := c.OnHub(e.hub.ClientURL()); err != nil {
			return e, err
		}
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	e.trigger = newTrigger(e, c.SlowRequest, c.FailedRequest)
	if e.orch, err = newOrchestrator(e.pipeline, e.hub.Conn(), c.Logger, e.readyReplicas); err != nil {
		return e, err
	}
	e.orch.watch = e.watchReplica
	if !c.NoLaunch {
		e.launch(run, command, worker.Options{NATS: e.hub.LocalURL(), CA: cmp.Or(c.TLSCA, c.TLSCert), Pipeline: e.pipeline.Name,
			SpoolDir: filepath.Join(dataDir, spoolDir), DumpDir: e.runs})
	}
	if c.Attached {
		e.override = c.Profiler
		e.opened.Store(true)
		return e, nil
	}
	return e, e.waitReady(ctx, cmp.Or(c.ReadyTimeout, DefaultReadyTimeout))
}

func (c *Config) deployment() (*deploy.Pipeline, []string, error) {
	p, warnings := c.Deployment, []string(nil)
	var err error
	if c.Attached {
		if c.Profiler != nil {
			if err := c.Profiler.Validate(); err != nil {
				return nil, nil, fmt.Errorf("--profiler-config: %w", err)
			}
		}
		return c.attachedPipeline(), c.Profiler.Warnings(), nil
	}
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
	if c.NATS == "" {
		return hub.DefaultName
	}
	return p.Name
}

func (c *Config) runsDir(p *deploy.Pipeline) string {
	if c.RunsDir != "" {
		return c.RunsDir
	}
	if c.Attached && c.Profiler != nil { // no stage is known yet
		return cmp.Or(c.Profiler.Apply(protocol.ProfilerConfig{}).TorchProfilerDir, "runs")
	}
	for _, s := range p.Stages {
		if s.Profiled() && s.Profiler.TorchProfilerDir != "" {
			return s.Profiler.TorchProfilerDir
		}
	}
	return "runs"
}

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

// publish makes the deployment known to the ranks, those started by hand elsewhere too,
// and before it what they need to find each other.
func (e *Engine) publish(ctx context.Context, replicas int) error {
	_, err := e.hub.JetStream().CreateOrUpdateKeyValue(ctx,
		jetstream.KeyValueConfig{Bucket: wire.BucketRendezvous, TTL: wire.RendezvousTTL, Replicas: replicas})
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", wire.BucketRendezvous, err)
	}
	kv, err := e.hub.JetStream().CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: wire.BucketDeploy, Replicas: replicas})
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", wire.BucketDeploy, err)
	}
	data, err := json.Marshal(e.pipeline)
	if err != nil {
		return err
	}
	if _, err := kv.Put(ctx, e.pipeline.Name, data); err != nil {
		return fmt.Errorf("publish the deployment: %w", err)
	}
	return nil
}

func (e *Engine) launch(ctx context.Context, command []string, o worker.Options) {
	for i := range e.pipeline.Stages {
		st := &e.pipeline.Stages[i]
		if st.External {
			continue
		}
		for replica := range st.Replicas {
			s := &supervisor{stage: st, replica: replica, command: command, log: e.log,
				options: o, lost: e.rankLost, giveUp: e.giveUp, opened: e.opened.Load}
			e.ranks.Add(1)
			go func() {
				defer e.ranks.Done()
				s.run(ctx)
			}()
		}
	}
}

// rankLost tells the waiting requests and the hub at once, long before the rank's
// presence would run out. The requests come first: why says more than the hub's word.
func (e *Engine) rankLost(id protocol.RankID, pid int, why error) {
	e.orch.lost(id.Stage, id.Replica, why)
	for _, info := range e.hub.Ranks(id.Pipeline) {
		if info.RankID == id && info.PID == pid {
			e.hub.RankGone(id, info.Incarnation, why.Error())
		}
	}
}

// watchReplica calls lost when a rank of a replica is lost, which is how the loss of
// ranks without a supervisor here becomes known. stop ends the watch.
func (e *Engine) watchReplica(stage, replica int, lost func(error)) (stop func()) {
	var stops []func() bool
	for _, info := range e.hub.Ranks(e.pipeline.Name) {
		if info.Stage != stage || info.Replica != replica {
			continue
		}
		ctx, err := e.hub.RankContext(info.RankID, info.Incarnation)
		if err != nil {
			lost(err)
			continue
		}
		stops = append(stops, context.AfterFunc(ctx, func() {
			lost(fmt.Errorf("stage %d (%s) replica %d rank %d is lost: %w", stage, info.StageName, replica, info.Rank, context.Cause(ctx)))
		}))
	}
	return func() {
		for _, s := range stops {
			s()
		}
	}
}

func (e *Engine) giveUp(err error) {
	if e.opened.Load() {
		e.log.Error("replica stays down", "err", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dead = err
}

func (e *Engine) died() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dead
}

// readyReplicas returns the replicas of a stage whose ranks are all there and ready.
func (e *Engine) readyReplicas(stage int) []int {
	ready := map[int]int{}
	for _, r := range e.hub.Ranks(e.pipeline.Name) {
		if r.Stage == stage && r.Ready {
			ready[r.Replica]++
		}
	}
	var out []int
	for replica, n := range ready {
		if n == e.pipeline.Stage(stage).Ranks {
			out = append(out, replica)
		}
	}
	return out
}

// readyPoll is how often waitReady looks; the ranks' loading takes far longer.
const readyPoll = 10 * time.Millisecond

func (e *Engine) waitReady(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		missing := e.missing()
		if missing == "" {
			e.opened.Store(true)
			return nil
		}
		if err := e.died(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", missing, ctx.Err())
		case <-tick.C:
		}
	}
}

// missing names the first stage with fewer ready replicas than deployed.
func (e *Engine) missing() string {
	for i := range e.pipeline.Stages {
		st := &e.pipeline.Stages[i]
		if n := len(e.readyReplicas(st.ID)); n < st.Replicas {
			return fmt.Sprintf("stage %d (%s): %d of %d replicas", st.ID, st.Name, n, st.Replicas)
		}
	}
	return ""
}

// Close ends every rank, then the control plane. A session that is recording is
// stopped and kept. It may be called twice.
func (e *Engine) Close() error {
	e.closing.Do(func() {
		if e.orch != nil {
			e.orch.close()
		}
		if e.trigger != nil {
			e.trigger.close()
		}
		if e.hub != nil && e.orch != nil {
			ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
			if _, err := e.hub.StopProfile(ctx); err != nil {
				e.log.Warn("stop the running session", "err", err)
			}
			cancel()
		}
		if e.stop != nil {
			e.stop()
		}
		e.ranks.Wait()
		if e.hub != nil {
			e.closeErr = e.hub.Close()
		}
		if e.tempDir != "" {
			e.closeErr = errors.Join(e.closeErr, e.removeTemp())
		}
	})
	return e.closeErr
}

// removeTemp removes the temporary directory but for recordings that never came home,
// because the disk of the runs was full say: nobody has another copy.
func (e *Engine) removeTemp() error {
	left, err := filepath.Glob(filepath.Join(e.tempDir, spoolDir, "*", "*"+protocol.RecordingExt))
	if err != nil || len(left) == 0 {
		return errors.Join(err, os.RemoveAll(e.tempDir))
	}
	dir := filepath.Join(e.tempDir, spoolDir)
	e.log.Error("recordings that could not be collected are kept; kinetoscope report reads them", "files", len(left), "dir", dir)
	entries, err := os.ReadDir(e.tempDir)
	for _, entry := range entries {
		if entry.Name() != spoolDir {
			err = errors.Join(err, os.RemoveAll(filepath.Join(e.tempDir, entry.Name())))
		}
	}
	return err
}

// spoolDir is where the launched ranks' recordings wait, in the data directory.
const spoolDir = "spool"

// Model is the name under which the pipeline is served.
func (e *Engine) Model() string { return e.pipeline.Model }

// Hub is the control plane of the pipeline.
func (e *Engine) Hub() *hub.Hub { return e.hub }

// Pipeline is the deployment. It must not be changed.
func (e *Engine) Pipeline() *deploy.Pipeline { return e.pipeline }

// Stages describes the pipeline's stages.
func (e *Engine) Stages() []StageInfo {
	if e.attached {
		return e.attachedStages()
	}
	var out []StageInfo
	for _, s := range e.pipeline.Stages {
		info := StageInfo{ID: s.ID, Name: s.Name, Type: s.Type, Engine: s.Engine, Replicas: s.Replicas, Ranks: s.Ranks, Profiler: s.Profiled()}
		if s.FinalOutput {
			info.Output = s.FinalOutputType
		}
		out = append(out, info)
	}
	return out
}

// Health returns nil if every stage can serve, else what is missing.
func (e *Engine) Health() error {
	if err := e.died(); err != nil {
		return err
	}
	if m := e.missing(); m != "" {
		return fmt.Errorf("%s ready", m)
	}
	return nil
}

// QueueDepth returns how many requests are at each stage, by its name.
func (e *Engine) QueueDepth() map[string]int {
	out := map[string]int{}
	depth := e.orch.depth()
	for _, s := range e.pipeline.Stages {
		out[s.Name] = depth[s.ID]
	}
	return out
}

// StartProfile starts a session on the chosen stages. When it returns every rank
// records, all from one instant. A wrong request is a *protocol.FieldError.
func (e *Engine) StartProfile(ctx context.Context, r protocol.StartRequest) (*session.Status, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if e.attached {
		if len(e.Ranks()) == 0 {
			return nil, &nobodyError{link.Redact(e.hub.ClientURL())} // it goes to whoever asks over HTTP
		}
		if e.override != nil && r.Config == nil {
			cfg := protocol.DefaultProfilerConfig()
			cfg.Profiler = protocol.ProfilerTorch
			cfg = e.override.Apply(cfg)
			cfg.TorchProfilerDir = "" // where runs go, which Open has seen to
			r.Config = &cfg
		}
	}
	st, err := e.hub.StartProfile(ctx, e.pipeline.Name, r)
	if err == nil {
		e.mu.Lock()
		e.unclaimed = st.ID
		e.mu.Unlock()
	}
	return st, err
}

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

// claim takes the session id, if it is the one that no stop has answered with yet.
func (e *Engine) claim(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.unclaimed == id {
		e.unclaimed = ""
	}
}

// LookBack captures the past in the background, named why; at most once in half a
// minute.
func (e *Engine) LookBack(why string) { e.trigger.fire(why) }

// DefaultFlight is how much of the past Flight takes unless told.
const DefaultFlight = 10 * time.Second

// StopProfile ends the running session and returns when its artifacts are durable. A
// session that ended by itself, by max_iterations say, is returned by the first stop
// after it. Without either the state is idle, which is no error.
func (e *Engine) StopProfile(ctx context.Context) (*session.Status, error) {
	st, err := e.hub.StopProfile(ctx)
	e.mu.Lock()
	id := e.unclaimed
	e.unclaimed = ""
	e.mu.Unlock()
	if err != nil || st.State != session.StateIdle || id == "" {
		return st, err
	}
	return e.hub.Session(id)
}

// CollectiveRPC calls method on every rank of the stages, nil being all. Each stage
// answers once, with every rank's reply in it.
func (e *Engine) CollectiveRPC(ctx context.Context, method string, args map[string]any, stages []int) ([]protocol.StageReply, error) {
	return e.hub.Call(ctx, e.pipeline.Name, method, args, stages)
}
