package work

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// Desk asks the nodes of a pipeline. Safe for concurrent use.
type Desk struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	pipeline string
	replicas int
	patience time.Duration
	ackWait  time.Duration
}

// NewDesk makes a desk over the hub's connection, which stays the caller's. replicas is how many
// servers of a cluster hold the tasks; 0 is 1.
func NewDesk(nc *nats.Conn, pipeline string, replicas int) (*Desk, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return &Desk{nc: nc, js: js, pipeline: pipeline, replicas: max(1, replicas), patience: patience,
		ackWait: defaultAckWait}, nil
}

// Question is asked of all traces at some places.
type Question struct {
	Body json.RawMessage // for the nodes' Solver
	At   []Place
}

// Place is paths of a node.
type Place struct {
	Node  string
	Paths []string
}

// Part is what happened to a question. Of each place comes first what was found there; Files is not
// nil then. Then come the results of the files, in any order, each once.
type Part struct {
	Place int // index into Question.At
	Files []string
	Left  []protocol.LeftFile
	Index int    // of the file
	Data  []byte // its result
}

// NodeError says which node could not answer, and why.
type NodeError struct {
	Node, Reason string
	pipeline     string // for which an agent is missing
}

// Error says so.
func (e *NodeError) Error() string { return fmt.Sprintf("node %s: %s", e.Node, e.Reason) }

// Hint says what to do where the node's agent is missing.
func (e *NodeError) Hint() string {
	if e.Reason != noAgent {
		return ""
	}
	return fmt.Sprintf("run `kinetoscope agent --pipeline %s --traces DIR` there; --agent-name says what it is called, "+
		"else the host's name", e.pipeline)
}

// HTTPStatus is the status with which a server refuses the question.
func (e *NodeError) HTTPStatus() int { return 400 }

const (
	noAgent = "no agent answers for it"
	// patience is how long a question waits without any result before it asks whether the nodes are
	// still there, and again before it gives them up: an agent that is started anew has that long.
	patience = 30 * time.Second
)

// asking is one question under way.
type asking struct {
	d       *Desk
	id      string
	q       Question
	each    func(Part) error
	waiting map[place]bool // of Place and Index, what has no result yet
	names   [][]string     // of the files of each place
}

type place struct{ at, index int }

// Ask asks q and calls each, from this goroutine, for what becomes of it, until all files have
// answered, one cannot be read, or ctx ends. Then no task of it is left. A node without an agent
// is a *NodeError.
func (d *Desk) Ask(ctx context.Context, q Question, each func(Part) error) (err error) {
	a := &asking{d: d, id: ulid.Make().String(), q: q, each: each, waiting: map[place]bool{},
		names: make([][]string, len(q.At))}
	tasks, err := d.queue(ctx)
	if err != nil {
		return err
	}
	for _, p := range q.At {
		if p.Node == "" || p.Node != protocol.NodeName(p.Node) {
			return &NodeError{Node: p.Node, Reason: "letters, digits, - and _ make a name"}
		}
		if _, err := d.look(ctx, Place{Node: p.Node}); err != nil { // names that nobody has take no room in the queue
			return err
		}
		if err := d.seat(ctx, tasks, p.Node); err != nil {
			return err
		}
	}
	if err := a.find(ctx); err != nil {
		return err
	}
	results := make(chan *nats.Msg, MaxTasks) // a node sends the next when it has the answer to the last
	sub, err := d.nc.ChanSubscribe(protocol.WorkDoneSubject(d.pipeline, a.id), results)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sub.Unsubscribe()) }()
	defer func() {
		if len(a.waiting) > 0 {
			err = errors.Join(err, d.withdraw(context.WithoutCancel(ctx), a.id))
		}
	}()
	if err := a.send(ctx); err != nil {
		return err
	}
	return a.gather(ctx, results)
}

// queue makes the queue of tasks where it is not there.
func (d *Desk) queue(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := d.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: protocol.WorkStream(d.pipeline), Subjects: []string{protocol.WorkTaskSubject(d.pipeline, "*", "*")},
		Description: "questions about traces on nodes", Retention: jetstream.WorkQueuePolicy,
		Storage: jetstream.MemoryStorage, MaxAge: taskAge, MaxMsgs: 4 * MaxTasks, Discard: jetstream.DiscardNew,
		Replicas: d.replicas,
	})
	if err != nil {
		return nil, fmt.Errorf("queue of tasks: %w", err)
	}
	return s, nil
}

// seat lets a node take its tasks from the queue, which nodes may only read.
func (d *Desk) seat(ctx context.Context, tasks jetstream.Stream, node string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := tasks.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: node, FilterSubject: protocol.WorkTaskSubject(d.pipeline, node, "*"),
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: d.ackWait, InactiveThreshold: taskAge,
	})
	if err != nil {
		return fmt.Errorf("tasks of node %s: %w", node, err)
	}
	return nil
}

// withdraw takes the tasks of a question out of the queue.
func (d *Desk) withdraw(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := d.js.Stream(ctx, protocol.WorkStream(d.pipeline))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSubject(protocol.WorkTaskSubject(d.pipeline, "*", id)))
}

// find learns what lies where.
func (a *asking) find(ctx context.Context) error {
	for i, p := range a.q.At {
		out, err := a.d.look(ctx, p)
		if err != nil {
			return err
		}
		if out.Files == nil {
			out.Files = []string{}
		}
		a.names[i] = out.Files
		for k := range out.Files {
			a.waiting[place{i, k}] = true
		}
		if len(a.waiting) > MaxTasks {
			return &NodeError{Node: p.Node, Reason: fmt.Sprintf("over %d files: ask for fewer at a time", MaxTasks)}
		}
		if err := a.each(Part{Place: i, Files: out.Files, Left: out.Left}); err != nil {
			return err
		}
	}
	return nil
}

// look asks a node what lies at paths.
func (d *Desk) look(ctx context.Context, p Place) (out protocol.FindAnswer, err error) {
	data, err := json.Marshal(protocol.FindRequest{Paths: p.Paths})
	if err != nil {
		return out, err
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	m, err := d.nc.RequestWithContext(ctx, protocol.WorkFindSubject(d.pipeline, p.Node), data)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return out, &NodeError{Node: p.Node, Reason: noAgent, pipeline: d.pipeline}
	case err != nil:
		return out, fmt.Errorf("node %s: %w", p.Node, err)
	}
	if err := json.Unmarshal(m.Data, &out); err != nil {
		return out, &NodeError{Node: p.Node, Reason: "its answer is damaged: " + err.Error()}
	}
	if out.Error != "" {
		return out, &NodeError{Node: p.Node, Reason: out.Error}
	}
	return out, nil
}

// send puts a task for each file into the queue.
func (a *asking) send(ctx context.Context) error {
	for at, p := range a.q.At {
		subject := protocol.WorkTaskSubject(a.d.pipeline, p.Node, a.id)
		for i, file := range a.names[at] {
			data, err := json.Marshal(protocol.Task{Question: a.id, Body: a.q.Body, Paths: p.Paths, Place: at, Index: i,
				File: file})
			if err == nil {
				_, err = a.d.js.Publish(ctx, subject, data)
			}
			if err != nil {
				return fmt.Errorf("node %s: task for %s: %w", p.Node, file, err)
			}
		}
	}
	return nil
}

// gather takes the results until none is missing.
func (a *asking) gather(ctx context.Context, results <-chan *nats.Msg) error {
	quiet := time.NewTimer(a.d.patience)
	defer quiet.Stop()
	missed := false
	for len(a.waiting) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-quiet.C:
			gone := cmp.Or(a.gone(ctx), a.lost(ctx))
			if gone != nil && missed {
				return gone
			}
			missed = gone != nil
		case m := <-results:
			missed = false
			if err := a.take(m); err != nil {
				return err
			}
		}
		quiet.Reset(a.d.patience)
	}
	return nil
}

// gone returns a node from which results are missing and whose agent is gone; nil if there is none.
func (a *asking) gone(ctx context.Context) error {
	asked := map[string]bool{}
	for w := range a.waiting {
		node := a.q.At[w.at].Node
		if asked[node] {
			continue
		}
		asked[node] = true
		if _, err := a.d.look(ctx, Place{Node: node}); err != nil {
			if _, ok := errors.AsType[*NodeError](err); ok {
				return &NodeError{Node: node, Reason: "its agent is gone, and these files have no answer: " + a.missing(w.at)}
			}
			return err
		}
	}
	return nil
}

// errLost says that tasks have neither a result nor a place in the queue any more.
var errLost = errors.New("the tasks were lost, as in a restart of NATS: ask again")

// lost returns errLost if no task of the question is in the queue: nodes acknowledge theirs after their
// results have come.
func (a *asking) lost(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := a.d.js.Stream(ctx, protocol.WorkStream(a.d.pipeline))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return errLost
	}
	if err != nil {
		return err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(protocol.WorkTaskSubject(a.d.pipeline, "*", a.id)))
	if err == nil && len(info.State.Subjects) == 0 {
		return errLost
	}
	return err
}

// namedFiles bounds the files that an error names.
const namedFiles = 5

func (a *asking) missing(at int) string {
	var names []string
	n := 0
	for i, name := range a.names[at] {
		if a.waiting[place{at, i}] {
			if n++; n <= namedFiles {
				names = append(names, name)
			}
		}
	}
	text := strings.Join(names, ", ")
	if n > namedFiles {
		text += fmt.Sprintf(" and %d more", n-namedFiles)
	}
	return text
}

// take passes a result on, and lets its node forget the task. A task that was delivered twice has
// two results; the first counts.
func (a *asking) take(m *nats.Msg) error {
	if err := m.Respond(nil); err != nil {
		return err
	}
	return a.accept(m.Data)
}

// accept passes a result on if it is one that is waited for.
func (a *asking) accept(data []byte) error {
	var r protocol.TaskResult
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("a result is damaged: %w", err)
	}
	w := place{r.Place, r.Index}
	if !a.waiting[w] || a.q.At[w.at].Node != r.Node {
		return nil
	}
	if r.Error != "" {
		return &NodeError{Node: r.Node, Reason: r.Error}
	}
	found, err := decoder.DecodeAll(r.Data, nil)
	if err != nil {
		return &NodeError{Node: r.Node, Reason: "a result is damaged: " + err.Error()}
	}
	delete(a.waiting, w)
	return a.each(Part{Place: w.at, Index: w.index, Data: found})
}
