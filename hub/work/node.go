package work

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// Solver knows the questions, and which traces of its host may be asked.
type Solver interface {
	// Find returns the traces at paths. Its error is for the user.
	Find(ctx context.Context, paths []string) (protocol.FindAnswer, error)
	// Solve answers a task. Several goroutines call it. Its error is for the user.
	Solve(ctx context.Context, t protocol.Task) ([]byte, error)
}

// NodeConfig says what a node does. Pipeline, Name and Solver are required.
type NodeConfig struct {
	Pipeline string
	Name     string // of the node, as protocol.NodeName makes it
	Solver   Solver
	Workers  int          // tasks at a time; 0: 1, for the reading of a trace uses all cores
	Logger   *slog.Logger // nil: no log
}

// Node solves tasks until Close.
type Node struct {
	c      NodeConfig
	nc     *nats.Conn
	js     jetstream.JetStream
	sub    *nats.Subscription
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	poke   chan struct{} // there is a queue now: workers that have none look again

	mu sync.Mutex // held while ctx ends, so that nothing begins after it
}

// Serve lets this process solve tasks for a node over nc, which stays the caller's. Several
// processes may serve one node; each task goes to one of them.
func Serve(nc *nats.Conn, c NodeConfig) (*Node, error) {
	if err := protocol.ValidatePipelineName(c.Pipeline); err != nil {
		return nil, err
	}
	if c.Name == "" || c.Name != protocol.NodeName(c.Name) {
		return nil, fmt.Errorf("node %q: letters, digits, - and _ only", c.Name)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Workers = max(1, c.Workers)
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	n := &Node{c: c, nc: nc, js: js, poke: make(chan struct{}, c.Workers)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.sub, err = nc.QueueSubscribe(protocol.WorkFindSubject(c.Pipeline, c.Name), "agents", n.find)
	if err == nil {
		err = nc.FlushTimeout(callTimeout) // who asks from now on is answered
	}
	if err != nil {
		n.cancel()
		return nil, fmt.Errorf("questions about traces: %w", err)
	}
	for range c.Workers {
		n.wg.Go(n.work)
	}
	return n, nil
}

// Close ends the work. Tasks under way are given up, and delivered again to another agent.
func (n *Node) Close() error {
	err := n.sub.Unsubscribe()
	n.mu.Lock()
	n.cancel()
	n.mu.Unlock()
	n.wg.Wait()
	if errors.Is(err, nats.ErrConnectionClosed) {
		return nil
	}
	return err
}

// find answers a FindRequest. By then the desk has made the queue, so workers that have none look.
func (n *Node) find(m *nats.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		return
	}
	n.wg.Go(func() {
		var req protocol.FindRequest
		var out protocol.FindAnswer
		err := json.Unmarshal(m.Data, &req)
		if err == nil && len(req.Paths) > 0 {
			n.wake()
			ctx, cancel := context.WithTimeout(n.ctx, findTimeout)
			defer cancel()
			out, err = n.c.Solver.Find(ctx, req.Paths)
		}
		if err != nil {
			out = protocol.FindAnswer{Error: err.Error()}
		}
		data, err := json.Marshal(out)
		if err == nil && len(data) > protocol.MaxPayload {
			data, err = json.Marshal(protocol.FindAnswer{Error: fmt.Sprintf("%d files: ask for fewer at a time",
				len(out.Files)+len(out.Left))})
		}
		if err == nil {
			err = m.Respond(data)
		}
		if err != nil {
			n.c.Logger.Warn("a question was not answered", "err", err)
		}
	})
}

// wake tells all workers that there is a queue.
func (n *Node) wake() {
	for {
		select {
		case n.poke <- struct{}{}:
		default:
			return
		}
	}
}

// work takes tasks from the queue for as long as the node serves. Before the first question there is
// none, and a restart of NATS takes it away, for it lies in memory.
func (n *Node) work() {
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.poke:
		case <-look.C:
		}
		if err := n.take(); err != nil {
			n.c.Logger.Debug("tasks", "err", err)
		}
		look.Reset(lookAgain)
	}
}

// take solves one task after the other until the queue is lost or the node ends.
func (n *Node) take() error {
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	cons, err := n.js.Consumer(ctx, protocol.WorkStream(n.c.Pipeline), n.c.Name)
	if err != nil {
		return err
	}
	msgs, err := cons.Messages(jetstream.PullMaxMessages(1), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	defer msgs.Stop()
	defer context.AfterFunc(n.ctx, msgs.Stop)()
	for {
		m, err := msgs.Next()
		if err != nil || n.ctx.Err() != nil {
			return err
		}
		if err := n.solve(m, cons.CachedInfo().Config.AckWait/signs); err != nil && n.ctx.Err() == nil {
			n.c.Logger.Warn("a task is given back", "err", err)
			if err := m.Nak(); err != nil {
				n.c.Logger.Debug("give a task back", "err", err)
			}
		}
	}
}

// solve solves one task, gives a sign of life at that interval meanwhile, and acknowledges the task when
// the desk has its result.
func (n *Node) solve(m jetstream.Msg, sign time.Duration) error {
	var t protocol.Task
	if err := json.Unmarshal(m.Data(), &t); err != nil {
		return errors.Join(err, m.Term())
	}
	md, err := m.Metadata()
	if err != nil {
		return err
	}
	r := protocol.TaskResult{Node: n.c.Name, Place: t.Place, Index: t.Index}
	if md.NumDelivered > maxTries {
		r.Error = fmt.Sprintf("%s: given up after %d tries, in which its agent ended or was cut off", t.File, maxTries)
	} else if r.Data, err = n.pack(m, t, sign); err != nil {
		r.Data, r.Error = nil, err.Error()
	}
	if n.ctx.Err() != nil {
		return n.ctx.Err()
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	_, err = n.nc.RequestWithContext(ctx, protocol.WorkDoneSubject(n.c.Pipeline, t.Question), data)
	if errors.Is(err, nats.ErrNoResponders) { // nobody waits for it any more
		return m.Term()
	}
	if err != nil {
		return err
	}
	return m.Ack()
}

// pack solves t, and says meanwhile that it does.
func (n *Node) pack(m jetstream.Msg, t protocol.Task, sign time.Duration) ([]byte, error) {
	ctx, cancel := context.WithCancel(n.ctx)
	var alive sync.WaitGroup
	alive.Go(func() {
		tick := time.NewTicker(sign)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := m.InProgress(); err != nil {
					n.c.Logger.Debug("sign of a task", "err", err)
				}
			}
		}
	})
	defer alive.Wait()
	defer cancel()
	data, err := n.c.Solver.Solve(ctx, t)
	if err != nil {
		return nil, err
	}
	if len(data) > maxUnpacked {
		return nil, tooMuch(t.File, len(data))
	}
	packed := encoder.EncodeAll(data, nil)
	if len(packed) > maxResult {
		return nil, tooMuch(t.File, len(packed))
	}
	return packed, nil
}

func tooMuch(file string, n int) error {
	return fmt.Errorf("%s: what was found are %d MB, and %d are sent: ask where the trace lies", file, n>>20,
		maxResult>>20)
}

// Results are packed with zstd. Encoder and decoder may be used by several goroutines.
var (
	encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	decoder, _ = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxUnpacked), zstd.WithDecoderConcurrency(1))
)
