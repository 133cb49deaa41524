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
	"github.com/kinetoscope/kinetoscope/internal/tempspool"
	"github.com/kinetoscope/kinetoscope/internal/wait"
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
	// address, or address:port, on which peers reach this rank; "" is the one from which it reached the hub
	Host string
	// Wait has the rank wait until its place is free; else it refuses to run where another process
	// serves the place. It is for a supervisor, which starts a rank for as long as the pipeline
	// lives.
	Wait   bool
	Logger *slog.Logger
}

// connectWait bounds how long a rank waits for its deployment: ranks may be started
// before the hub has published it.
const connectWait = 10 * time.Second

// ErrNoSuchRank is a stage, replica or rank that the deployment does not have.
var ErrNoSuchRank = errors.New("no such rank")

// ErrHubGone is the cause with which a rank's context is cancelled when the hub's process, which
// started the rank, has died. Such a rank ends without telling the hub.
var ErrHubGone = errors.New("the process that started this rank is gone")

// Run runs one rank until ctx ends, and then returns nil.
func Run(ctx context.Context, o Options) (err error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.SpoolDir == "" {
		spool, err := tempspool.Make(tempspool.Native)
		if err != nil {
			return err
		}
		o.SpoolDir = spool.Path
		defer leaveSpool(spool, o.Logger)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	id := protocol.RankID{Pipeline: o.Pipeline, Stage: o.Stage, Replica: o.Replica, Rank: o.Rank}
	nc, err := link.Config{URL: o.NATS, Token: o.Token, CA: o.CA, Cert: o.Cert, Key: o.Key, Creds: o.Creds,
		As: id.Identity()}.Connect(
		nats.ClosedHandler(func(nc *nats.Conn) {
			cancel(fmt.Errorf("the connection to the hub is closed: %w", orClosed(nc.LastError())))
		}))
	if err != nil {
		return err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), ErrHubGone) {
			nc.Close() // with the connection open, telling the hub would wait for its timeout
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
		return fmt.Errorf("%w: pipeline %s has no stage %d; it has %d stages", ErrNoSuchRank, o.Pipeline, o.Stage,
			len(pipeline.Stages))
	}
	if o.Rank < 0 || o.Rank >= st.Ranks {
		return fmt.Errorf("%w: stage %d (%s) has ranks 0 to %d, not %d", ErrNoSuchRank, st.ID, st.Name, st.Ranks-1,
			o.Rank)
	}
	if o.Replica < 0 || o.Replica >= st.Replicas {
		return fmt.Errorf("%w: stage %d (%s) has replicas 0 to %d, not %d", ErrNoSuchRank, st.ID, st.Name,
			st.Replicas-1, o.Replica)
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
	s := &stage{cfg: st, pipeline: pipeline, id: id, group: group, nc: nc, log: o.Logger}
	return s.serve(ctx, cancel, o, incarnation)
}

// placePoll is how often a rank looks whether the place that it waits for is free.
const placePoll = time.Second

// awaitPlace returns when no process that answers serves the place of id. If patient is false it
// returns at once, with an error that names the process which serves the place.
func awaitPlace(ctx context.Context, nc *nats.Conn, id protocol.RankID, patient bool, log *slog.Logger) error {
	for said := false; ; {
		err := rank.Free(ctx, nc, id)
		if _, taken := errors.AsType[*rank.TakenError](err); !taken || !patient {
			return err
		}
		if !said {
			said = true
			log.Warn("waiting for the place to become free", "err", err)
		}
		if err := wait.For(ctx, placePoll); err != nil {
			return err
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
func leaveSpool(spool *tempspool.Spool, log *slog.Logger) {
	left, err := spool.Leave()
	if err != nil || len(left) > 0 {
		log.Warn("recordings that were not collected stay here", "files", left, "err", err)
	}
}

// serve loads the model, announces the rank and works until ctx ends. s comes with its place in the
// pipeline, its connection and its group; the caller closes these. serve calls cancel, which ends
// ctx, where another process has taken the place.
func (s *stage) serve(ctx context.Context, cancel context.CancelCauseFunc, o Options, incarnation string) (err error) {
	st := s.cfg
	if s.host, err = os.Hostname(); err != nil {
		s.host = "unknown"
	}
	info := s.info(incarnation, o.SpoolDir)
	s.rec = profiler.New(profiler.Config{
		Process: fmt.Sprintf("stage%d %s replica %d rank %d", st.ID, st.Name, s.id.Replica, s.id.Rank),
	})
	s.track = s.rec.Track("engine")
	defer s.track.Close()
	s.inbox, s.wake, s.phases = make(chan *wire.Message, st.MaxQueue), make(chan struct{}, 1), newPhases()
	if s.runner, err = openRunner(ctx, s); err != nil {
		return fmt.Errorf("load stage %d (%s): %w", st.ID, st.Name, err)
	}
	defer func() {
		if cerr := s.runner.close(s.track); cerr != nil {
			s.log.Warn("close model", "err", cerr)
		}
	}()
	recorder := native.New(s.rec, info, o.SpoolDir)
	handler := driver.NewRank(recorder, info,
		driver.WithLogger(o.Logger), driver.WithCalls(s.call), driver.WithOpened(s.wakeUp))
	defer handler.Close()
	for _, path := range recorder.Leftovers() {
		o.Logger.Warn("a recording of an earlier process is here; it goes home with its session if that still runs",
			"file", path)
	}
	s.iterate = handler
	if st.FlightRecorderMB > 0 {
		if err := s.fly(recorder); err != nil {
			return err
		}
		defer s.rec.FlightStop()
	}
	if o.DumpDir != "" && s.rec.Flying() {
		d := &profiler.Dumper{Recorder: s.rec, Dir: o.DumpDir, Prefix: "flight_" + info.FileBase(), Logger: o.Logger}
		defer d.OnPanic() // deferred here: called any deeper, it would recover nothing
		defer dumpOnQuit(ctx, d)()
	}
	if s.id.Rank == 0 {
		stop, err := s.listen()
		if err != nil {
			return err
		}
		defer stop()
	}
	leave, err := s.join(ctx, cancel, info, handler, o.Wait)
	if err != nil {
		return err
	}
	defer leave()
	o.Logger.Info("rank ready", "stage", st.Name, "rank", s.id.Rank, "pid", os.Getpid())
	return s.work(ctx)
}

// info is what the rank says of itself before it is ready.
func (s *stage) info(incarnation, spoolDir string) protocol.RankInfo {
	info := protocol.RankInfo{
		RankID: s.id, Protocol: protocol.Version, Incarnation: incarnation, StageName: s.cfg.Name,
		StageType: s.cfg.Type,
		WorldSize: s.cfg.Ranks, Engine: protocol.EngineNative, PID: os.Getpid(), Host: s.host, StartedAt: time.Now(),
		SpoolDir: spoolDir,
	}
	if s.cfg.Profiled() {
		info.Profiler = &s.cfg.Profiler
	}
	return info
}

// fly starts the flight recorder as the stage is deployed with it.
func (s *stage) fly(recorder *native.Driver) error {
	c := s.cfg.Profiler
	s.flight = &flight{driver: recorder, rec: s.rec, opts: profiler.FlightOptions{Bytes: s.cfg.FlightRecorderMB << 20,
		RecordShapes: c.RecordShapes, WithFLOPs: c.WithFLOPs, WithMemory: c.WithMemory}}
	if _, err := s.flight.set(true); err != nil {
		return fmt.Errorf("start the flight recorder: %w", err)
	}
	return nil
}

// dumpOnQuit has d dump at each SIGQUIT. stop ends that and waits until a dump under way is
// complete.
func dumpOnQuit(ctx context.Context, d *profiler.Dumper) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { d.OnSignal(ctx, syscall.SIGQUIT) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// leaveWait bounds how long a rank that ends waits for the hub to acknowledge that it leaves.
const leaveWait = 2 * time.Second

// join announces that the rank is ready and answers hubs by handler until leave is called. Who had
// its place may have been frozen and answer again by now: a patient rank waits for its end.
func (s *stage) join(ctx context.Context, cancel context.CancelCauseFunc, info protocol.RankInfo,
	handler *driver.Rank, patient bool) (leave func(), err error) {
	info.Ready = true
	replaced := func(by protocol.RankInfo) {
		cancel(fmt.Errorf("process %d on host %s has taken this rank's place while it did not answer", by.PID, by.Host))
	}
	var member *rank.Member
	for {
		member, err = rank.Join(ctx, s.nc, info, handler, rank.WithLogger(s.log), rank.WithReplaced(replaced))
		if _, taken := errors.AsType[*rank.TakenError](err); !taken || !patient {
			break
		}
		if err = awaitPlace(ctx, s.nc, s.id, patient, s.log); err != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("announce the rank: %w", err)
	}
	return func() {
		ctx, done := context.WithTimeout(context.WithoutCancel(ctx), leaveWait)
		defer done()
		if err := member.Leave(ctx); err != nil {
			s.log.Debug("leave", "err", err)
		}
	}, nil
}

// work runs the loop of rank 0 or of a follower. It returns nil when the caller ended ctx, and the
// cause when the rank itself ended it.
func (s *stage) work(ctx context.Context) (err error) {
	if s.id.Rank == 0 {
		err = s.lead(ctx)
	} else {
		err = s.follow(ctx)
	}
	if ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// deployedPoll is how often a rank that was started before the hub looks for the deployment.
const deployedPoll = 100 * time.Millisecond

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
		if wait.For(ctx, deployedPoll) != nil {
			return nil, fmt.Errorf("pipeline %s is not deployed on this hub: %w", name, err)
		}
	}
}
