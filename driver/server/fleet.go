package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/server/discover"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/units"
)

const (
	// leaveTimeout bounds how long the rank of one server may take to leave.
	leaveTimeout = 5 * time.Second
	// againEvery is how often the fleet looks for a server that does not answer yet: loading a
	// model takes minutes.
	againEvery = 5 * time.Second
	// joinTimeout bounds how long one rank may take to join.
	joinTimeout = 30 * time.Second
)

// Seat is a target, or one stage of a target with several, and the rank as which it takes part.
type Seat struct {
	Target
	ID     protocol.RankID
	shared *shared
	// apart is how far apart the numbers of a server's own data-parallel replicas are, so that no other
	// target of the stage has them.
	apart int
}

// TargetStage is the first stage of targets where processes may attach as well, whose stages count from
// 0.
const TargetStage = 100

// Seats gives every target its place. Stages are numbered from first on, in the order in which
// their names first occur; targets with the same stage name are replicas of that stage.
func Seats(list []Target, pipeline string, first int) []Seat {
	var out []Seat
	stages, replicas := map[string]int{}, map[string]int{}
	apart := map[string]int{}
	for _, t := range list {
		for _, name := range t.stageNames() {
			if apart[name]++; t.Discover.Kind != "" {
				apart[name] += maxReplicas
			}
		}
	}
	for _, t := range list {
		names := t.stageNames()
		var common *shared
		for part, name := range names {
			if _, ok := stages[name]; !ok {
				stages[name] = first + len(stages)
			}
			s := Seat{Target: t, ID: protocol.RankID{Pipeline: pipeline, Stage: stages[name], Replica: replicas[name]}}
			s.Stage, s.Part, s.apart = name, part, apart[name]
			if t.Discover.Kind != "" {
				out = append(out, s) // the fleet gives each server that is found a replica's number
				continue
			}
			if e := engines[t.Engine]; e != nil && e.layout().together {
				if common == nil {
					common = newShared(s.ID)
				}
				s.shared = common
			}
			replicas[name]++
			out = append(out, s)
		}
	}
	return out
}

// stageNames returns the names of a target's stages.
func (t Target) stageNames() []string {
	if t.Stages != nil {
		return t.Stages
	}
	return []string{cmp.Or(t.Stage, string(t.Engine))}
}

// withApart says how far apart the numbers of the server's own replicas are.
func withApart(n int) Option { return func(d *Driver) { d.apart = n } }

// stageType guesses how a stage generates, by its name or its engine.
func (s *Seat) stageType() protocol.StageType {
	if t, ok := protocol.StageTypeOf(s.Stage); ok {
		return t
	}
	if e := engines[s.Engine]; e != nil {
		return cmp.Or(e.manners().stage, protocol.StageLLM)
	}
	return protocol.StageLLM
}

// FleetConfig configures how servers take part.
type FleetConfig struct {
	Logger *slog.Logger
	// Found, if set, is called when a server has said what it is, and again whenever it comes back
	// as something else. It is called from several goroutines.
	Found func(Seat, Facts, string)
	// Later lets ranks join before their servers answer: the fleet looks for the servers, and a
	// session refuses to begin until they are found. Without Later, a server that cannot be
	// profiled is an error.
	Later bool
	// Finder finds the servers of targets that are discovered; nil: a discover.Finder. It is asked again
	// and again, so that such targets need Later; without it use Find before.
	Finder *discover.Finder
	// Node is this process's node: of targets whose Agent is OwnNode the servers there take part. "": what
	// NodeEnv says, or the host's name.
	Node  string
	every time.Duration // between two questions; 0: discoverEvery
	again time.Duration // between two looks for a server that does not answer yet; 0: againEvery
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Fleet is a group of servers that take part in a pipeline, each as a rank, until Close.
type Fleet struct {
	cfg    FleetConfig
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	joined   map[*joined]bool
	dirs     map[string]shelf     // to which servers of the fleet write
	replicas map[int]map[int]bool // that are taken, by stage
}

// joined is one server's rank.
type joined struct {
	rank   *driver.Rank
	member *rank.Member
	end    context.CancelFunc // of looking for it
	looked chan struct{}      // closed when nobody looks for it
}

// Join lets the servers of all seats take part over the hub's connection, which the caller closes.
func Join(ctx context.Context, nc *nats.Conn, seats []Seat, cfg FleetConfig) (*Fleet, error) {
	if cfg.Logger == nil {
		cfg.Logger = discard()
	}
	if cfg.Finder == nil {
		cfg.Finder = &discover.Finder{}
	}
	if cfg.Node == "" {
		host, err := os.Hostname()
		if cfg.Node = cmp.Or(os.Getenv(NodeEnv), host); cfg.Node == "" {
			return nil, fmt.Errorf("the name of this host, which %s can say: %w", NodeEnv, err)
		}
	}
	cfg.every, cfg.again = cmp.Or(cfg.every, discoverEvery), cmp.Or(cfg.again, againEvery)
	life, cancel := context.WithCancel(context.Background())
	f := &Fleet{cfg: cfg, cancel: cancel, joined: map[*joined]bool{}, dirs: map[string]shelf{},
		replicas: map[int]map[int]bool{}}
	for _, s := range seats {
		if s.Discover.Kind == "" {
			f.take(s.ID)
		}
	}
	for i, s := range seats {
		var err error
		switch {
		case s.Discover.Kind == "":
			_, err = f.add(ctx, life, nc, s, cfg.Later)
		case !cfg.Later:
			err = fmt.Errorf("%s: its servers have not been found", s)
		case s.Part == 0: // the seats of its other stages follow it
			f.wg.Go(func() { f.follow(life, nc, seats[i:i+max(len(s.Stages), 1)]) })
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// take marks the replica of a server that is not discovered.
func (f *Fleet) take(id protocol.RankID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.replicas[id.Stage] == nil {
		f.replicas[id.Stage] = map[int]bool{}
	}
	f.replicas[id.Stage][id.Replica] = true
}

// add has a server take part; later, if it does not answer yet. Ctx bounds how long its rank may take to
// join, life how long it is looked for.
func (f *Fleet) add(ctx, life context.Context, nc *nats.Conn, s Seat, later bool) (*joined, error) {
	d, err := New(s.Target, s.ID, f.cfg.Logger, withShared(s.shared), withApart(s.apart))
	if err != nil {
		return nil, err
	}
	there := d.Probe(ctx)
	if there != nil && !later {
		return nil, errors.Join(there, d.Close())
	}
	if there == nil {
		if err := f.apart(s.Target, d); err != nil {
			return nil, errors.Join(err, d.Close())
		}
		f.found(s, d)
	} else {
		f.cfg.Logger.Warn("a target cannot be profiled yet; it is looked for", "target", s.String(), "err", there)
	}
	cfg := protocol.DefaultProfilerConfig()
	cfg.Profiler, cfg.WithStack = protocol.ProfilerTorch, false // as for processes that were not prepared for profiling
	info := protocol.RankInfo{RankID: s.ID, StageName: s.Stage, StageType: s.stageType(), WorldSize: 1,
		Engine: s.Engine, Profiler: &cfg, Ready: there == nil, Server: s.String()}
	r := driver.NewRank(d, info, driver.WithLogger(f.cfg.Logger), driver.WithCalls(d.Call))
	joinCtx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	m, err := rank.Join(joinCtx, nc, r.Announced(), r, rank.WithLogger(f.cfg.Logger))
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	life, end := context.WithCancel(life)
	j := &joined{rank: r, member: m, end: end, looked: make(chan struct{})}
	f.mu.Lock()
	f.joined[j] = true
	f.mu.Unlock()
	if there == nil {
		close(j.looked)
		return j, nil
	}
	f.wg.Go(func() {
		defer close(j.looked)
		f.look(life, s, d, m)
	})
	return j, nil
}

// leave has a server's rank leave, once.
func (f *Fleet) leave(j *joined) error {
	f.mu.Lock()
	here := f.joined[j]
	delete(f.joined, j)
	f.mu.Unlock()
	if !here {
		return nil
	}
	j.end()
	<-j.looked
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	return errors.Join(j.member.Leave(ctx), j.rank.Close())
}

// look asks for a server until it answers.
func (f *Fleet) look(ctx context.Context, s Seat, d *Driver, m *rank.Member) {
	said := false
	for {
		if wait.For(ctx, f.cfg.again) != nil {
			return
		}
		if d.Probe(ctx) != nil {
			continue
		}
		if err := f.apart(s.Target, d); err != nil {
			if !said {
				f.cfg.Logger.Warn("a target cannot take part", "target", s.String(), "err", err)
			}
			said = true
			continue
		}
		f.found(s, d)
		if err := m.SetReady(ctx, true); err != nil && ctx.Err() == nil {
			f.cfg.Logger.Warn("a target is there", "target", s.String(), "err", err)
		}
		return
	}
}

func (f *Fleet) found(s Seat, d *Driver) {
	if f.cfg.Found != nil {
		f.cfg.Found(s, d.Facts(), d.Dir())
	}
}

// shelf is a directory's servers by URL, and of each whether the session's name is on its files.
type shelf map[string]bool

// apart refuses a server that writes to the directory of another one under names that cannot be told apart.
func (f *Fleet) apart(to Target, d *Driver) error {
	facts := d.Facts()
	if engines[to.Engine].start(round{facts: facts, to: to}).own != "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for server, prefix := range f.dirs[d.Dir()] {
		if server != to.URL && !(facts.Prefix && prefix) {
			return fmt.Errorf(
				"%s writes to the directory of another target, %s, and takes no prefix that would tell their files apart: "+
					"give it a torch_profiler_dir of its own", to, d.Dir())
		}
	}
	if f.dirs[d.Dir()] == nil {
		f.dirs[d.Dir()] = shelf{}
	}
	f.dirs[d.Dir()][to.URL] = facts.Prefix
	return nil
}

// gone forgets to which directories a server wrote: the next one there may be its successor.
func (f *Fleet) gone(to Target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.dirs {
		delete(s, to.URL)
	}
}

// Close lets the servers' ranks leave. A server that is still writing goes on.
func (f *Fleet) Close() error {
	f.cancel()
	f.wg.Wait()
	f.mu.Lock()
	all := slices.Collect(maps.Keys(f.joined))
	f.mu.Unlock()
	var errs []error
	for _, j := range all {
		errs = append(errs, f.leave(j))
	}
	return errors.Join(errs...)
}

// Describe says what a server is and can, for people.
func Describe(s Seat, f Facts, dir string) string {
	can := "its ranks are known by their files"
	if f.Ranks > 0 {
		can = fmt.Sprintf("%d ranks", f.Ranks)
	}
	if n := len(f.Replicas); n > 1 {
		can = fmt.Sprintf("%d replicas, ", n) + can
	}
	if e := engines[s.Engine]; !f.Prefix && e != nil && e.manners().prefix {
		can += "; it takes no prefix, so that its files stay with it"
	}
	if !f.Steps {
		can += "; it counts no steps"
	}
	if free, known := store.Free(dir); known {
		can += fmt.Sprintf("; %s free there", units.Bytes(free))
	}
	if len(f.Models) > 0 {
		can += fmt.Sprintf("; it serves %q", f.Models)
	}
	of := ""
	if s.Stages != nil {
		of = ", stage " + s.Stage
	}
	return fmt.Sprintf("%s is %s %s%s, writes to %s: %s", s, s.Engine, cmp.Or(f.Version, "of an unknown version"), of,
		dir, can)
}
