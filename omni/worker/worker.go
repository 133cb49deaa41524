// Package worker is one rank of a native stage: it loads the rank's part of the
// model, joins the replica's collective group and the control plane, and runs the
// stage's loop until its context ends or a peer is lost.
//
// Rank 0 leads: it takes requests and hand-offs, chooses the next batch, and
// broadcasts it as a plan; every rank runs the same plan. Rank 0 alone talks to other
// stages and to the orchestrator.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/native"
	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/omni/collective"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Options say which rank a process is.
type Options struct {
	NATS     string // URL of the hub's NATS server, which may hold a token
	Token    string // if the URL holds none
	CA       string // PEM file of who signed the server's certificate; "" is the system's
	Cert     string // PEM file of the certificate with which this rank shows who it is, "" for none
	Key      string // PEM file of its key
	Creds    string // file of credentials on a cluster with users of its own, "" for none
	Pipeline string
	Stage    int
	Replica  int
	Rank     int
	SpoolDir string // where recordings are written; "" is a directory of the system's
	DumpDir  string // where a panic or SIGQUIT leaves what the flight recorder holds; "" is nowhere
	Host     string // address, or address:port, on which peers reach this rank; "" is the one from which it reached the hub
	// Wait has the rank wait until its place is free instead of refusing to run: who
	// supervises it starts it for as long as the pipeline lives.
	Wait   bool
	Logger *slog.Logger
}

// connectWait bounds how long a rank waits for its deployment: ranks may be started
// before the hub has published it.
const connectWait = 10 * time.Second

// ErrNoSuchRank is a stage, replica or rank that the deployment does not have.
var ErrNoSuchRank = errors.New("no such rank")

// ErrHubGone is the cause with which a rank's context is cancelled when the process
// that started it, the hub, is dead: there is no one to say goodbye to.
var ErrHubGone = errors.New("the process that started this rank is gone")

// Run is the life of a rank. It returns nil when ctx ended it.
func Run(ctx context.Context, o Options) (err error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.SpoolDir == "" {
		if o.SpoolDir, err = os.MkdirTemp("", "kinetoscope-rank-"); err != nil {
			return err
		}
		defer leaveSpool(o.SpoolDir, o.Logger)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	id := protocol.RankID{Pipeline: o.Pipeline, Stage: o.Stage, Replica: o.Replica, Rank: o.Rank}
	nc, err := link.Config{URL: o.NATS, Token: o.Token, CA: o.CA, Cert: o.Cert, Key: o.Key, Creds: o.Creds, As: id.Identity()}.Connect(
		nats.ClosedHandler(func(nc *nats.Conn) {
			cancel(fmt.Errorf("the connection to the hub is closed: %w", orClosed(nc.LastError())))
		}))
	if err != nil {
		return err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), ErrHubGone) {
			nc.Close() // else every goodbye would wait for its timeout
		}
	})()
	if o.Host == "" {
		if o.Host, _, err = net.SplitHostPort(nc.LocalAddr()); err != nil {
			return fmt.Errorf("own address towards the hub %q: %w", nc.LocalAddr(), err)
		}
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	pipeline, err := fetchPipeline(ctx, js, o.Pipeline)
	if err != nil {
		return err
	}
	st := pipeline.Stage(o.Stage)
	if st == nil {
		return fmt.Errorf("%w: pipeline %s has no stage %d; it has %d stages", ErrNoSuchRank, o.Pipeline, o.Stage, len(pipeline.Stages))
	}
	if o.Rank < 0 || o.Rank >= st.Ranks {
		return fmt.Errorf("%w: stage %d (%s) has ranks 0 to %d, not %d", ErrNoSuchRank, st.ID, st.Name, st.Ranks-1, o.Rank)
	}
	if o.Replica < 0 || o.Replica >= st.Replicas {
		return fmt.Errorf("%w: stage %d (%s) has replicas 0 to %d, not %d", ErrNoSuchRank, st.ID, st.Name, st.Replicas-1, o.Replica)
	}
	if err := awaitPlace(ctx, nc, id, o.Wait, o.Logger); err != nil {
		return err
	}
	incarnation := ulid.Make().String()
	group, err := meet(ctx, js, id, incarnation, st.Ranks, o.Host)
	if err != nil {
		return fmt.Errorf("join the ranks of stage %d (%s) replica %d: %w", st.ID, st.Name, o.Replica, err)
	}
	defer group.Close()
	return serve(ctx, cancel, o, nc, js, pipeline, st, id, incarnation, group)
}

// placePoll is how often a rank looks whether the place that it waits for is free.
const placePoll = time.Second

// awaitPlace returns when no process that answers serves the place of id, or with wait
// false with the error that names the one which does.
func awaitPlace(ctx context.Context, nc *nats.Conn, id protocol.RankID, wait bool, log *slog.Logger) error {
	tick := time.NewTicker(placePoll)
	defer tick.Stop()
	for said := false; ; {
		err := rank.Free(ctx, nc, id)
		if _, taken := errors.AsType[*rank.TakenError](err); !taken || !wait {
			return err
		}
		if !said {
			said = true
			log.Warn("waiting for the place to become free", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// orClosed gives a connection that was closed without an error a reason.
func orClosed(err error) error {
	if err == nil {
		return nats.ErrConnectionClosed
	}
	return err
}

// leaveSpool removes a spool that was made for this process, unless a recording that
// no hub has taken is in it.
func leaveSpool(dir string, log *slog.Logger) {
	left, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err == nil && len(left) == 0 {
		err = os.RemoveAll(dir)
	}
	if err != nil || len(left) > 0 {
		log.Warn("recordings that were not collected stay here", "files", left, "err", err)
	}
}

func serve(ctx context.Context, cancel context.CancelCauseFunc, o Options, nc *nats.Conn, js jetstream.JetStream,
	p *deploy.Pipeline, st *deploy.Stage, id protocol.RankID, incarnation string, group collective.Group) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	info := protocol.RankInfo{
		RankID: id, Protocol: protocol.Version, Incarnation: incarnation, StageName: st.Name, StageType: st.Type,
		WorldSize: st.Ranks, Engine: protocol.EngineNative, PID: os.Getpid(), Host: host, StartedAt: time.Now(), SpoolDir: o.SpoolDir,
	}
	if st.Profiled() {
		info.Profiler = &st.Profiler
	}
	rec := profiler.New(profiler.Config{Process: fmt.Sprintf("stage%d %s replica %d rank %d", st.ID, st.Name, id.Replica, id.Rank)})
	track := rec.Track("engine")
	defer track.Close()
	s := &stage{cfg: st, pipeline: p, id: id, group: group, nc: nc, rec: rec, track: track, log: o.Logger,
		inbox: make(chan *wire.Message, st.MaxQueue), wake: make(chan struct{}, 1), host: host, phases: newPhases()}
	if s.runner, err = openRunner(ctx, s); err != nil {
		return fmt.Errorf("load stage %d (%s): %w", st.ID, st.Name, err)
	}
	defer s.runner.close(track)
	recorder := native.New(rec, info, o.SpoolDir)
	handler := driver.NewRank(recorder, info, driver.WithLogger(o.Logger), driver.WithCalls(s.call), driver.WithOpened(s.wakeUp))
	defer handler.Close()
	for _, path := range recorder.Leftovers() {
		o.Logger.Warn("a recording of an earlier process is here; it goes home with its session if that still runs", "file", path)
	}
	s.iterate = handler
	if mb := st.FlightRecorderMB; mb > 0 {
		c := st.Profiler
		s.flight = &flight{driver: recorder, rec: rec, opts: profiler.FlightOptions{Bytes: mb << 20,
			RecordShapes: c.RecordShapes, WithFLOPs: c.WithFLOPs, WithMemory: c.WithMemory}}
		if _, err := s.flight.set(true); err != nil {
			return fmt.Errorf("start the flight recorder: %w", err)
		}
		defer rec.FlightStop()
	}
	if o.DumpDir != "" && rec.Flying() {
		d := &profiler.Dumper{Recorder: rec, Dir: o.DumpDir, Prefix: "flight_" + info.FileBase(), Logger: o.Logger}
		defer d.OnPanic()
		dumps, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { d.OnSignal(dumps, syscall.SIGQUIT) })
		defer wg.Wait()
		defer stop()
	}
	if id.Rank == 0 {
		stop, err := s.listen()
		if err != nil {
			return err
		}
		defer stop()
	}
	info.Ready = true
	member, err := rank.Join(ctx, nc, info, handler, rank.WithLogger(o.Logger), rank.WithReplaced(func(by protocol.RankInfo) {
		cancel(fmt.Errorf("process %d on host %s has taken this rank's place while it did not answer", by.PID, by.Host))
	}))
	if err != nil {
		return fmt.Errorf("announce the rank: %w", err)
	}
	defer func() {
		leave, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer done()
		if err := member.Leave(leave); err != nil {
			o.Logger.Debug("leave", "err", err)
		}
	}()
	o.Logger.Info("rank ready", "stage", st.Name, "rank", id.Rank, "pid", os.Getpid())
	if id.Rank == 0 {
		err = s.lead(ctx)
	} else {
		err = s.follow(ctx)
	}
	if ctx.Err() != nil {
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			return cause
		}
		return nil
	}
	return err
}

// fetchPipeline waits for the deployment, so that ranks may be started before the hub
// has published it.
func fetchPipeline(ctx context.Context, js jetstream.JetStream, name string) (*deploy.Pipeline, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	for {
		kv, err := js.KeyValue(ctx, protocol.BucketDeploy)
		if err == nil {
			var e jetstream.KeyValueEntry
			if e, err = kv.Get(ctx, name); err == nil {
				p := new(deploy.Pipeline)
				if err := json.Unmarshal(e.Value(), p); err != nil {
					return nil, fmt.Errorf("deployment of pipeline %s: %w", name, err)
				}
				return p, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("pipeline %s is not deployed on this hub: %w", name, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
