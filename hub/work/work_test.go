package work

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/internal/leaks"
	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
	"github.com/kinetoscope/kinetoscope/protocol"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, leaks.NATS()...)
}

// files is a Solver of names; it answers with the name and what was asked.
type files struct {
	names []string
	// before, if not nil, is called before a task is solved.
	before func(ctx context.Context, t protocol.Task) error
}

func (f *files) Find(_ context.Context, paths []string) (protocol.FindAnswer, error) {
	if paths[0] == "/forbidden" {
		return protocol.FindAnswer{}, errors.New("/forbidden is not shown")
	}
	return protocol.FindAnswer{Files: f.names, Left: []protocol.LeftFile{{Path: "notes.txt", Reason: "no trace"}}}, nil
}

func (f *files) Solve(ctx context.Context, t protocol.Task) ([]byte, error) {
	if f.before != nil {
		if err := f.before(ctx, t); err != nil {
			return nil, err
		}
	}
	return []byte(t.File + " " + string(t.Body)), nil
}

// rig is a hub with a desk.
type rig struct {
	*Desk
	t *testing.T
	h *hub.Hub
}

func newRig(t *testing.T) *rig {
	t.Helper()
	h, err := hub.Start(t.Context(), hub.Config{DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	d, err := NewDesk(h.Conn(), "omni", 1)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{d, t, h}
}

// connect is a connection of an agent, which may do what agents may.
func (r *rig) connect() *nats.Conn {
	r.t.Helper()
	identity := protocol.AgentIdentity("omni")
	token, err := r.h.Credential(identity)
	if err != nil {
		r.t.Fatal(err)
	}
	nc, err := link.Config{URL: r.h.LocalURL(), Token: token, As: identity}.Connect()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	return nc
}

func (r *rig) serve(nc *nats.Conn, name string, s Solver) *Node {
	r.t.Helper()
	n, err := Serve(nc, NodeConfig{Pipeline: "omni", Name: name, Solver: s})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := n.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return n
}

// asked is everything that comes of a question, sorted.
func (r *rig) asked(q Question) ([]string, error) {
	var out []string
	err := r.Ask(r.t.Context(), q, func(p Part) error {
		if p.Files != nil {
			out = append(out, fmt.Sprintf("%s: %v, left %v", q.At[p.Place].Node, p.Files, p.Left))
			return nil
		}
		out = append(out, fmt.Sprintf("%s: %d %s", q.At[p.Place].Node, p.Index, p.Data))
		return nil
	})
	slices.Sort(out)
	return out, err
}

// empty waits until no task is in the queue: nodes acknowledge theirs after the hub has the result.
func (r *rig) empty() {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), protocol.WorkStream("omni"))
	if err != nil {
		r.t.Fatal(err)
	}
	waittest.Until(r.t, 30*time.Second, "an empty queue", func() bool {
		info, err := s.Info(r.t.Context())
		return err == nil && info.State.Msgs == 0
	})
}

var body = json.RawMessage(`{"verb":"ops"}`)

func TestAQuestionIsAnsweredWhereTheTracesLie(t *testing.T) {
	r := newRig(t)
	r.serve(r.connect(), "n1", &files{names: []string{"a", "b"}})
	r.serve(r.connect(), "n2", &files{names: []string{"c"}})
	for range 2 { // the second question finds workers that wait
		got, err := r.asked(Question{Body: body, At: []Place{{"n1", []string{"/"}}, {"n2", []string{"/x"}}}})
		want := []string{`n1: 0 a {"verb":"ops"}`, `n1: 1 b {"verb":"ops"}`, "n1: [a b], left [{notes.txt no trace}]",
			`n2: 0 c {"verb":"ops"}`, "n2: [c], left [{notes.txt no trace}]"}
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%q, %v", got, err)
		}
	}
	r.empty()
}

// TestAQueueThatIsLost is made anew: it lies in memory, so a restart of NATS takes it away.
func TestAQueueThatIsLost(t *testing.T) {
	r := newRig(t)
	r.serve(r.connect(), "n1", &files{names: []string{"a"}})
	for range 2 {
		got, err := r.asked(Question{Body: body, At: []Place{{"n1", []string{"/"}}}})
		if err != nil || !slices.Contains(got, `n1: 0 a {"verb":"ops"}`) {
			t.Fatalf("%q, %v", got, err)
		}
		if err := r.js.DeleteStream(t.Context(), protocol.WorkStream("omni")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTasksThatAreLost ends the question, rather than have it wait for results that cannot come.
func TestTasksThatAreLost(t *testing.T) {
	r := newRig(t)
	r.patience = 50 * time.Millisecond
	r.serve(r.connect(), "n1", &files{names: []string{"a"}, before: func(ctx context.Context, _ protocol.Task) error {
		err := r.js.DeleteStream(ctx, protocol.WorkStream("omni"))
		<-ctx.Done()
		return err
	}})
	_, err := r.asked(Question{Body: body, At: []Place{{"n1", []string{"/"}}}})
	if !errors.Is(err, errLost) {
		t.Error(err)
	}
}

func TestNodesThatCannotAnswer(t *testing.T) {
	r := newRig(t)
	refuse := func(_ context.Context, t protocol.Task) error {
		if t.File == "bad" {
			return errors.New("bad is no trace")
		}
		return nil
	}
	r.serve(r.connect(), "n1", &files{names: []string{"a", "bad"}, before: refuse})
	for _, c := range []struct {
		at   Place
		want string
	}{
		{Place{"n9", []string{"/"}}, "node n9: no agent answers for it"},
		{Place{"n1", []string{"/forbidden"}}, "node n1: /forbidden is not shown"},
		{Place{"n1", []string{"/"}}, "node n1: bad is no trace"},
		{Place{"n1.*", []string{"/"}}, "node n1.*: letters, digits, - and _ make a name"},
		{Place{"", []string{"/"}}, "node : letters, digits, - and _ make a name"},
	} {
		_, err := r.asked(Question{Body: body, At: []Place{c.at}})
		e, ok := errors.AsType[*NodeError](err)
		if !ok || e.Error() != c.want ||
			strings.Contains(e.Hint(), "agent --pipeline omni --traces") != (c.at.Node == "n9") {
			t.Errorf("%v: %v", c.at, err)
		}
		r.empty()
	}
}

// TestADeadAgentsTask kills an agent in the middle of a task, as far as NATS can tell: its connection
// ends without a word. The other agent of the node gets the task.
func TestADeadAgentsTask(t *testing.T) {
	r := newRig(t)
	r.ackWait = 300 * time.Millisecond
	victim, began, release := r.connect(), make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.serve(victim, "n1", &files{names: []string{"a"}, before: func(ctx context.Context, _ protocol.Task) error {
		once.Do(func() { close(began) })
		select {
		case <-release:
		case <-ctx.Done():
		}
		return errors.New("dead agents say nothing")
	}})
	type result struct {
		got []string
		err error
	}
	done := make(chan result)
	go func() {
		got, err := r.asked(Question{Body: body, At: []Place{{"n1", []string{"/"}}}})
		done <- result{got, err}
	}()
	<-began
	victim.Close()
	r.serve(r.connect(), "n1", &files{names: []string{"a"}})
	res := <-done
	close(release)
	if res.err != nil || !slices.Contains(res.got, `n1: 0 a {"verb":"ops"}`) {
		t.Errorf("%q, %v", res.got, res.err)
	}
}

// TestAFileThatEndsItsAgents gives it up, and says so.
func TestAFileThatEndsItsAgents(t *testing.T) {
	r := newRig(t)
	r.ackWait = 100 * time.Millisecond
	deaths := make(chan struct{}, 1+maxTries)
	done := make(chan error, 1)
	die := func(nc *nats.Conn) *files {
		return &files{names: []string{"a"}, before: func(ctx context.Context, _ protocol.Task) error {
			nc.Close()
			deaths <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}}
	}
	nc := r.connect()
	r.serve(nc, "n1", die(nc))
	go func() {
		_, err := r.asked(Question{Body: body, At: []Place{{"n1", []string{"/"}}}})
		done <- err
	}()
	for range maxTries {
		<-deaths
		nc := r.connect()
		r.serve(nc, "n1", die(nc))
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "given up after 3 tries") {
		t.Error(err)
	}
}

// TestAnAgentThatIsGone ends the question with the names of the files that have no answer.
func TestAnAgentThatIsGone(t *testing.T) {
	r := newRig(t)
	r.patience = 50 * time.Millisecond
	nc := r.connect()
	r.serve(nc, "n1", &files{names: []string{"a", "b"}, before: func(ctx context.Context, t protocol.Task) error {
		if t.File == "b" {
			nc.Close()
			<-ctx.Done()
		}
		return nil
	}})
	_, err := r.asked(Question{Body: body, At: []Place{{"n1", []string{"/"}}}})
	if err == nil || err.Error() != "node n1: its agent is gone, and these files have no answer: b" {
		t.Error(err)
	}
	r.empty()
}

// TestAskersThatLeave leaves no task behind.
func TestAskersThatLeave(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.serve(r.connect(), "n1", &files{names: []string{"a", "b"}, before: func(context.Context, protocol.Task) error {
		cancel()
		return nil
	}})
	err := r.Ask(ctx, Question{Body: body, At: []Place{{"n1", []string{"/"}}}}, func(Part) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestResultsOfOthers are no results: of another node, of no file, damaged ones.
func TestResultsOfOthers(t *testing.T) {
	for text, wrong := range map[string]bool{
		`{"node":"n2","place":0,"index":0,"data":"AA=="}`:  false, // not waited for
		`{"node":"n1","place":7,"index":0,"data":"AA=="}`:  false,
		`{"node":"n1","place":0,"index":-1,"data":"AA=="}`: false,
		`{"node":"n1","place":0,"index":0,"data":"AA=="}`:  true,
		`{"node":"n1"`: true,
	} {
		a := &asking{q: Question{At: []Place{{Node: "n1"}}}, waiting: map[place]bool{{0, 0}: true},
			each: func(Part) error { t.Errorf("%s counts", text); return nil }}
		m := nats.NewMsg("x")
		m.Data = []byte(text)
		if err := a.accept(m.Data); (err != nil) != wrong {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestAgentsTakeTasksAlone lets an agent neither make tasks nor change the queue.
func TestAgentsTakeTasksAlone(t *testing.T) {
	r := newRig(t)
	tasks, err := r.queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.seat(t.Context(), tasks, "n1"); err != nil {
		t.Fatal(err)
	}
	nc := r.connect()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, try func(ctx context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // nothing answers what is not allowed
		defer cancel()
		if try(ctx) == nil {
			t.Error("an agent " + what)
		}
	}
	refused("makes tasks", func(ctx context.Context) error {
		_, err := js.Publish(ctx, protocol.WorkTaskSubject("omni", "n1", "q"), []byte("{}"))
		return err
	})
	refused("deletes the queue", func(ctx context.Context) error {
		return js.DeleteStream(ctx, protocol.WorkStream("omni"))
	})
	refused("makes a consumer", func(ctx context.Context) error {
		_, err := js.CreateOrUpdateConsumer(ctx, protocol.WorkStream("omni"), jetstream.ConsumerConfig{Durable: "mine",
			FilterSubject: protocol.WorkTaskSubject("omni", "n2", "*"), AckPolicy: jetstream.AckExplicitPolicy})
		return err
	})
	if _, err := r.js.Consumer(t.Context(), protocol.WorkStream("omni"), "mine"); err == nil {
		t.Error("the consumer of an agent is there")
	}
	r.empty()
}
