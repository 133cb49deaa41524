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

	mu      sync.Mutex
	working bool // the workers have been started
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
	n := &Node{c: c, nc: nc, js: js}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if n.sub, err = nc.QueueSubscribe(protocol.WorkFindSubject(c.Pipeline, c.Name), "agents", n.find); err != nil {
		n.cancel()
		return nil, fmt.Errorf("questions about traces: %w", err)
	}
	// Tasks of a process that ended may wait. Without a question so far there is no queue, and the
	// first one makes it.
	if err := n.work(); err != nil {
		c.Logger.Debug("no tasks yet", "err", err)
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

// find answers a FindRequest. By then the desk has made the queue, so the workers begin.
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
			if err = n.work(); err == nil {
				ctx, cancel := context.WithTimeout(n.ctx, findTimeout)
				defer cancel()
				out, err = n.c.Solver.Find(ctx, req.Paths)
			}
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

// work starts the workers, once.
func (n *Node) work() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.working || n.ctx.Err() != nil {
		return n.ctx.Err()
	}
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	cons, err := n.js.Consumer(ctx, protocol.WorkStream(n.c.Pipeline), n.c.Name)
	if err != nil {
		return err
	}
	for range n.c.Workers {
		msgs, err := cons.Messages(jetstream.PullMaxMessages(1))
		if err != nil {
			return err
		}
		stop := context.AfterFunc(n.ctx, msgs.Stop)
		n.wg.Go(func() {
			defer stop()
			n.take(msgs, cons.CachedInfo().Config.AckWait/signs)
		})
	}
	n.working = true
	return nil
}

// take solves one task after the other, and gives a sign of life of each at this interval.
func (n *Node) take(msgs jetstream.MessagesContext, sign time.Duration) {
	for {
		m, err := msgs.Next()
		if n.ctx.Err() != nil || errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return
		}
		if err != nil { // a heartbeat was missed: the library asks again
			n.c.Logger.Debug("tasks", "err", err)
			continue
		}
		if err := n.solve(m, sign); err != nil && n.ctx.Err() == nil {
			n.c.Logger.Warn("a task is given back", "err", err)
			if err := m.Nak(); err != nil {
				n.c.Logger.Debug("give a task back", "err", err)
			}
		}
	}
}

// solve solves one task and acknowledges it when the desk has its result.
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
