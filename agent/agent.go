// Package agent is the hub's hand on one node: it finds the PyTorch processes that run
// there, chooses those that are ranks, and lets each take part in sessions. The processes
// need no change: package driver/kinetod talks to them.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/kinetod"
	"github.com/kinetoscope/kinetoscope/driver/procs"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
)

const (
	// scanInterval is how often the processes are looked at: one that has ended is
	// missed for so long.
	scanInterval = time.Second
	// settle is how long a process is known before it becomes a rank. A launcher shows
	// before the processes that it starts, and only they tell that it is one.
	settle = 6 * time.Second
	// comingPatience bounds how long a process waits for those below it that have not asked yet: a
	// library that found no daemon looks again after ten seconds, on a busy host somewhat later.
	comingPatience = 30 * time.Second
	// keepEnded bounds how long the trace of a process that has ended waits to be
	// collected, as the hub's own bound does.
	keepEnded = 5 * time.Minute
	// joinTimeout bounds one process's way into the hub.
	joinTimeout = 10 * time.Second
	// procRoot is where the host tells of its processes.
	procRoot = "/proc"
)

// Config says what an agent does.
type Config struct {
	// Pipeline is what the processes are ranks of.
	Pipeline string
	// SocketDir is the KINETO_IPC_SOCKET_DIR of the processes, "" for none.
	SocketDir string
	// FirstReplica is added to every replica's number, so that processes of two hosts that
	// say no rank of theirs are not the same ones.
	FirstReplica int
	// FirstStage is added to every stage's number, where a pipeline has stages of its own.
	FirstStage int
	// DynoPort, if not 0, is the port of the loopback at which the calls of dynolog's command
	// line are answered.
	DynoPort int
	// Settle is how long a process is known before it becomes a rank; 6 s if 0.
	Settle time.Duration
	// Logger logs which processes join, leave, or are left out and why; nil: no log.
	Logger *slog.Logger
}

// Agent takes part for the processes of this host until Close.
type Agent struct {
	c      Config
	nc     *nats.Conn
	daemon *kinetod.Daemon
	dyno   *kinetod.Dyno // nil: not answered
	host   string
	log    *slog.Logger
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// Owned by the scanning goroutine, and by Close after it.
	roster  procs.Roster
	members map[int]*member
	seen    map[int]sight  // who asks for configs
	told    map[int]string // why a pid was left out, as logged
}

// sight is the state of a process when it was first seen. A process that sets its title later
// overwrites its environment with it.
type sight struct {
	at    time.Time
	ticks uint64 // its StartTicks, which tell it from an earlier one of its pid
	env   map[string]string
}

// member is one process that takes part.
type member struct {
	place   procs.Rank
	process *kinetod.Driver
	rank    *driver.Rank
	m       *rank.Member
	ended   time.Time // when the process was found to have ended
}

// Start answers Kineto's processes on this host and lets them join over nc, which stays
// the caller's. The error says if another daemon does so already.
func Start(nc *nats.Conn, c Config) (*Agent, error) {
	if err := protocol.ValidatePipelineName(c.Pipeline); err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.FirstReplica < 0 {
		return nil, fmt.Errorf("first replica %d: 0 or more", c.FirstReplica)
	}
	if c.Settle == 0 {
		c.Settle = settle
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	d, err := kinetod.Listen(c.SocketDir, c.Logger)
	if err != nil {
		return nil, err
	}
	var y *kinetod.Dyno
	if c.DynoPort != 0 {
		if y, err = kinetod.ListenDyno(context.Background(), d, c.DynoPort); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &Agent{c: c, nc: nc, daemon: d, dyno: y, host: host, log: c.Logger, cancel: cancel,
		members: map[int]*member{}, seen: map[int]sight{}, told: map[int]string{}}
	a.wg.Go(func() { a.run(ctx) })
	return a, nil
}

// Close has all processes leave. What they record goes on in them to its end.
func (a *Agent) Close() error {
	a.cancel()
	a.wg.Wait()
	var errs []error
	if a.dyno != nil {
		errs = append(errs, a.dyno.Close())
	}
	for pid := range a.members {
		errs = append(errs, a.leave(pid))
	}
	return errors.Join(append(errs, a.daemon.Close())...)
}

func (a *Agent) run(ctx context.Context) {
	tick := time.NewTicker(min(scanInterval, a.c.Settle))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.scan(ctx, time.Now())
		}
	}
}

// scan brings the members in line with the processes that are there.
func (a *Agent) scan(ctx context.Context, now time.Time) {
	ranks, skipped := a.roster.Place(a.processes(now))
	here := map[int]procs.Rank{}
	for _, r := range ranks {
		here[r.Process.PID] = r
	}
	for _, s := range skipped {
		if a.told[s.PID] != s.Reason {
			a.told[s.PID] = s.Reason
			a.log.Info("a process is left out", "pid", s.PID, "why", s.Reason)
		}
	}
	for pid, m := range a.members {
		_, known := a.seen[pid]
		if r, ok := here[pid]; ok && samePlace(r, m.place) {
			a.grow(ctx, m, r.WorldSize)
			continue
		}
		if !known { // it has ended
			if m.ended.IsZero() {
				m.ended = now
				m.process.Ended()
			}
			if m.rank.Holds() && now.Sub(m.ended) < keepEnded {
				continue
			}
		}
		if err := a.leave(pid); err != nil {
			a.log.Warn("a process leaves", "pid", pid, "err", err)
		}
	}
	for _, r := range ranks {
		pid := r.Process.PID
		if a.members[pid] != nil || a.stillHeld(r) {
			continue
		}
		if err := a.join(ctx, r); err != nil && ctx.Err() == nil {
			a.tell(pid, err.Error(), "a process cannot join")
		}
	}
}

// tell warns once about an attempt that is repeated every second.
func (a *Agent) tell(pid int, why, what string) {
	if a.told[pid] != why {
		a.told[pid] = why
		a.log.Warn(what, "pid", pid, "err", why)
	}
}

// stillHeld reports whether a process that has ended still holds r's place for its trace.
func (a *Agent) stillHeld(r procs.Rank) bool {
	for _, m := range a.members {
		if p := m.place; p.Stage == r.Stage && p.Replica == r.Replica && p.Rank == r.Rank {
			return true
		}
	}
	return false
}

// free returns an error if a process of another host has the place of info: the hub would
// take the two for one that was started anew.
func (a *Agent) free(ctx context.Context, info *protocol.RankInfo) error {
	js, err := jetstream.New(a.nc)
	if err != nil {
		return err
	}
	kv, err := js.KeyValue(ctx, protocol.BucketRanks)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil // Join waits for a hub
	}
	if err != nil {
		return err
	}
	e, err := kv.Get(ctx, info.Key())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var other protocol.RankInfo
	if json.Unmarshal(e.Value(), &other) == nil && other.Host != info.Host {
		return fmt.Errorf("%s is process %d on host %s: give this host's agent another --first-replica", info.Text(),
			other.PID, other.Host)
	}
	return nil
}

// grow says of a rank that its replica has another size: more ranks have come.
func (a *Agent) grow(ctx context.Context, m *member, world int) {
	if m.place.WorldSize == world {
		return
	}
	if err := m.m.Update(ctx, func(i *protocol.RankInfo) { i.WorldSize = world }); err == nil {
		m.place.WorldSize = world
	}
}

// samePlace reports whether a process with place b may keep it if its place should be a. A larger
// number of ranks alone does not make another place.
func samePlace(a, b procs.Rank) bool {
	return a.Stage == b.Stage && a.StageName == b.StageName && a.Replica == b.Replica && a.Rank == b.Rank &&
		a.Process.StartTicks == b.Process.StartTicks
}

// processes returns the facts about those processes that ask for configs and have settled.
func (a *Agent) processes(now time.Time) []procs.Process {
	var known, out []procs.Process
	asks, here, settled := map[int]bool{}, map[int]bool{}, map[int]bool{}
	for _, r := range a.daemon.Processes() {
		asks[r.PID] = true
		p, err := procs.Read(procRoot, r.PID)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			a.tell(r.PID, err.Error(), "a process cannot be read")
			continue
		}
		if p.UID != r.UID {
			a.tell(r.PID, fmt.Sprintf("it asks as user %d and runs as user %d", r.UID, p.UID), "a process is left out")
			continue
		}
		here[r.PID] = true
		first, ok := a.seen[r.PID]
		if !ok || first.ticks != p.StartTicks {
			first = sight{now, p.StartTicks, maps.Clone(p.Env)}
			a.seen[r.PID] = first
		}
		if p.Env == nil {
			p.Env = map[string]string{}
		}
		for name, value := range first.env {
			if _, ok := p.Env[name]; !ok {
				p.Env[name] = value
			}
		}
		if now.Sub(first.at) >= a.c.Settle {
			known, settled[r.PID] = append(known, p), true
		}
	}
	for _, p := range known {
		if !a.waits(p, now.Sub(a.seen[p.PID].at), settled) {
			out = append(out, p)
		}
	}
	for pid := range a.seen {
		if !here[pid] {
			delete(a.seen, pid)
		}
	}
	maps.DeleteFunc(a.told, func(pid int, _ string) bool { return !asks[pid] })
	return out
}

// waits reports whether it is too early to say what a process is that has been known for so long: one
// below it is not among the settled ones yet, and may be the rank that it starts.
func (a *Agent) waits(p procs.Process, known time.Duration, settled map[int]bool) bool {
	if a.members[p.PID] != nil || known > comingPatience {
		return false
	}
	below := procs.Coming(procRoot, p, settled)
	if len(below) == 0 {
		return false
	}
	if why := fmt.Sprintf("waits for %v below it", below); a.told[p.PID] != why {
		a.told[p.PID] = why
		a.log.Info("a process is no rank yet", "pid", p.PID, "why", why)
	}
	return true
}

func (a *Agent) join(ctx context.Context, r procs.Rank) error {
	cfg := protocol.DefaultProfilerConfig()
	cfg.Profiler = protocol.ProfilerTorch
	// Stacks can make a hundred times the events, so processes that were not prepared record none
	// unless a session asks for them.
	cfg.WithStack = false
	info := protocol.RankInfo{
		RankID: protocol.RankID{Pipeline: a.c.Pipeline, Stage: a.c.FirstStage + r.Stage,
			Replica: a.c.FirstReplica + r.Replica, Rank: r.Rank},
		StageName: r.StageName, StageType: protocol.StageGeneration, WorldSize: r.WorldSize,
		Engine: protocol.EngineKineto,
		PID:    r.Process.PID, StartedAt: r.Process.StartedAt, Profiler: &cfg, Ready: true, Host: a.host,
	}
	target := kinetod.Target{PID: r.Process.PID, TraceDir: r.Process.Env[procs.EnvTraceDir],
		User: kinetod.User{UID: r.Process.UID, GID: r.Process.GID, Groups: r.Process.Groups}}
	process := kinetod.New(a.daemon, target, a.log)
	kr := driver.NewRank(process, info, driver.WithLogger(a.log), driver.WithCalls(process.Call))
	info = kr.Announced()
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	if err := a.free(ctx, &info); err != nil {
		return errors.Join(err, kr.Close())
	}
	m, err := rank.Join(ctx, a.nc, info, kr, rank.WithLogger(a.log))
	if err != nil {
		return errors.Join(err, kr.Close())
	}
	a.members[r.Process.PID] = &member{place: r, process: process, rank: kr, m: m}
	a.log.Info("a process joins", "pid", r.Process.PID, "as", fmt.Sprintf("%s (%s)", info.Text(), r.StageName))
	return nil
}

func (a *Agent) leave(pid int) error {
	m := a.members[pid]
	delete(a.members, pid)
	ctx, cancel := context.WithTimeout(context.Background(), joinTimeout)
	defer cancel()
	err := errors.Join(m.m.Leave(ctx), m.rank.Close())
	a.log.Info("a process leaves", "pid", pid)
	return err
}
