package omni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/omni/worker"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// native is a pipeline that this process runs: it launches the ranks, starts them anew
// when they die, and routes requests through the stages.
type native struct {
	control  *control
	pipeline *deploy.Pipeline
	known    facts
	log      *slog.Logger
	orch     *orchestrator
	// ended looks at every request that has ended.
	ended func(took time.Duration, err error)

	opened atomic.Bool        // every rank was ready once
	stop   context.CancelFunc // ends the supervisors; nil before launch
	ranks  sync.WaitGroup     // supervisors

	mu   sync.Mutex
	dead error // a replica that stays dead; guarded by mu
}

var _ members = (*native)(nil)

// newNative publishes the deployment and gets ready to route. It launches nothing.
func newNative(ctx context.Context, p *Plan, c *control) (*native, error) {
	n := &native{control: c, pipeline: p.Pipeline, known: p.known, log: p.Config.Logger}
	if err := n.publish(ctx, max(p.Config.Replicas, 1)); err != nil {
		return nil, err
	}
	var err error
	if n.orch, err = newOrchestrator(n.pipeline, c.hub.Conn(), n.log, n.readyReplicas); err != nil {
		return nil, err
	}
	n.orch.watch = n.watchReplica
	c.hub.Expect(n.pipeline.Name, n.deployed())
	return n, nil
}

// deployed are the ranks that the deployment file asks for.
func (n *native) deployed() (out []protocol.RankInfo) {
	for i := range n.pipeline.Stages {
		st := &n.pipeline.Stages[i]
		info := protocol.RankInfo{StageName: st.Name, StageType: st.Type, WorldSize: st.Ranks,
			Engine: protocol.EngineNative}
		if st.Torch() {
			info.Engine = protocol.EngineTorch
		}
		if st.Profiled() {
			info.Profiler = &st.Profiler
		}
		for replica := range st.Replicas {
			for rank := range st.Ranks {
				info.RankID = protocol.RankID{Pipeline: n.pipeline.Name, Stage: st.ID, Replica: replica, Rank: rank}
				out = append(out, info)
			}
		}
	}
	return out
}

// publish publishes the deployment to the ranks, also to those started by hand on other hosts, and
// before it what they need to find each other.
func (n *native) publish(ctx context.Context, replicas int) error {
	js := n.control.hub.JetStream()
	_, err := js.CreateOrUpdateKeyValue(ctx,
		jetstream.KeyValueConfig{Bucket: protocol.BucketRendezvous, TTL: wire.RendezvousTTL, Replicas: replicas})
	if err == nil {
		err = n.control.hub.NoRollup(ctx, protocol.BucketRendezvous)
	}
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", protocol.BucketRendezvous, err)
	}
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: protocol.BucketDeploy,
		Replicas: replicas})
	if err != nil {
		return fmt.Errorf("open bucket %s: %w", protocol.BucketDeploy, err)
	}
	data, err := json.Marshal(n.pipeline)
	if err != nil {
		return err
	}
	if _, err := kv.Put(ctx, n.pipeline.Name, data); err != nil {
		return fmt.Errorf("publish the deployment: %w", err)
	}
	return nil
}

// launch starts the ranks that are not started by hand. They run until close.
func (n *native) launch(ctx context.Context, command []string, o worker.Options) {
	ctx, n.stop = context.WithCancel(context.WithoutCancel(ctx))
	for i := range n.pipeline.Stages {
		st := &n.pipeline.Stages[i]
		if st.External {
			continue
		}
		for replica := range st.Replicas {
			s := &supervisor{stage: st, replica: replica, command: command, log: n.log,
				options: o, url: n.control.hub.RankURL, lost: n.rankLost, doomed: n.control.hub.RankDoomed,
				giveUp: n.giveUp, opened: n.opened.Load}
			n.ranks.Add(1)
			go func() {
				defer n.ranks.Done()
				s.run(ctx)
			}()
		}
	}
}

// rankLost tells the waiting requests and the hub at once, long before the rank's
// presence would run out. The requests come first: why says more than the hub's word.
func (n *native) rankLost(id protocol.RankID, pid int, why error) {
	n.orch.lost(id.Stage, id.Replica, why)
	for _, info := range n.control.Ranks() {
		if info.RankID == id && info.PID == pid {
			if named, ok := errors.AsType[*lostError](why); ok { // the hub names the rank itself
				why = named.why
			}
			n.control.hub.RankGone(id, info.Incarnation, why.Error())
		}
	}
}

// watchReplica calls lost when a rank of a replica is lost, which is how the loss of
// ranks without a supervisor here becomes known. stop ends the watch.
func (n *native) watchReplica(stage, replica int, lost func(error)) (stop func()) {
	var stops []func() bool
	for _, info := range n.control.Ranks() {
		if info.Stage != stage || info.Replica != replica {
			continue
		}
		ctx, err := n.control.hub.RankContext(info.RankID, info.Incarnation)
		if err != nil {
			lost(err)
			continue
		}
		stops = append(stops, context.AfterFunc(ctx, func() {
			lost(fmt.Errorf("stage %d (%s) replica %d rank %d is lost: %w",
				stage, info.StageName, replica, info.Rank, context.Cause(ctx)))
		}))
	}
	return func() {
		for _, s := range stops {
			s()
		}
	}
}

func (n *native) giveUp(err error) {
	if n.opened.Load() {
		n.log.Error("replica stays down", "err", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead = err
}

func (n *native) died() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dead
}

// readyReplicas returns the replicas of a stage whose ranks are all there and ready.
func (n *native) readyReplicas(stage int) []int {
	ready := map[int]int{}
	for _, r := range n.control.Ranks() {
		if r.Stage == stage && r.Ready {
			ready[r.Replica]++
		}
	}
	var out []int
	for replica, ranks := range ready {
		if ranks == n.pipeline.Stage(stage).Ranks {
			out = append(out, replica)
		}
	}
	return out
}

// readyPoll is how often waitReady looks; the ranks' loading takes far longer.
const readyPoll = 10 * time.Millisecond

func (n *native) waitReady(ctx context.Context, timeout time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		missing := n.missing()
		if missing == "" {
			n.opened.Store(true)
			return nil
		}
		if err := n.died(); err != nil {
			return err
		}
		if wait.For(bounded, readyPoll) == nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %w", missing, err)
		}
		return fmt.Errorf("%s after %v: ranks that need longer to load want a longer --ready-timeout, and "+
			"ranks started by hand are to join first", missing, timeout)
	}
}

// missing names the first stage with fewer ready replicas than deployed.
func (n *native) missing() string {
	for i := range n.pipeline.Stages {
		st := &n.pipeline.Stages[i]
		if ready := len(n.readyReplicas(st.ID)); ready < st.Replicas {
			return fmt.Sprintf("stage %d (%s): %d of %d replicas ready", st.ID, st.Name, ready, st.Replicas)
		}
	}
	return ""
}

func (n *native) stages() []StageInfo {
	var out []StageInfo
	for _, s := range n.pipeline.Stages {
		info := StageInfo{
			ID:       s.ID,
			Name:     s.Name,
			Type:     s.Type,
			Engine:   s.Engine,
			Replicas: s.Replicas,
			Ranks:    s.Ranks,
			Profiler: s.Profiled(),
		}
		if s.FinalOutput {
			info.Output = s.FinalOutputType
		}
		out = append(out, info)
	}
	return out
}

func (n *native) health() error {
	if err := n.died(); err != nil {
		return err
	}
	if m := n.missing(); m != "" {
		return errors.New(m)
	}
	return nil
}

func (n *native) queueDepth() map[string]int {
	out := map[string]int{}
	depth := n.orch.depth()
	for _, s := range n.pipeline.Stages {
		out[s.Name] = depth[s.ID]
	}
	return out
}

// session has nothing to add: every rank has the deployment's configuration.
func (n *native) session(*protocol.StartRequest) error { return nil }

// generate sends r through the stages.
func (n *native) generate(ctx context.Context, r Request) iter.Seq2[Output, error] {
	return func(yield func(Output, error) bool) {
		if r.ID == "" {
			r.ID = ulid.Make().String()
		}
		req, err := r.build(n.pipeline, n.known, r.ID)
		if err != nil {
			yield(Output{RequestID: r.ID}, err)
			return
		}
		start := time.Now()
		c, err := n.orch.submit(req)
		if err != nil {
			yield(Output{RequestID: r.ID}, err)
			return
		}
		defer n.orch.forget(c)
		g := newGeneration(n.pipeline, req, start)
		for {
			m, err := c.next(ctx)
			if err != nil {
				n.orch.cancel(c)
				n.ended(time.Since(start), err)
				yield(Output{RequestID: r.ID}, err)
				return
			}
			for _, out := range g.take(m) {
				if !yield(out, nil) {
					if !g.ended() {
						n.orch.cancel(c)
					}
					return
				}
			}
			if g.ended() {
				n.ended(g.metrics.Total, nil)
				return
			}
		}
	}
}

// refuse ends requests under way with an error and accepts no more.
func (n *native) refuse() { n.orch.close() }

// close ends the ranks and waits for them.
func (n *native) close() {
	if n.stop != nil {
		n.stop()
	}
	n.ranks.Wait()
}
