package session

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// world is a machine with its ranks and the messages that are under way. Everything that
// can happen next is one of its moves, so that all interleavings can be walked through.
type world struct {
	m       *Machine
	now     time.Time
	way     []message // answers under way, in no order
	on      []bool    // by rank: its profiler may be on, for all that it was told
	dead    []bool    // by rank
	stopped bool      // the user has asked
	budget  budget
	ended   []protocol.RankState // by rank, once it has one
	done    bool                 // DoFinish came
}

// budget bounds what goes wrong on one way through.
type budget struct{ crashes, copies, refusals, restarts, ticks int }

type message struct {
	rank int // -1: of the session
	kind ActionKind
	ev   Event
}

func (w *world) clone() *world {
	c := *w
	c.m = Restore(w.m.Snapshot())
	c.way, c.on, c.dead, c.ended = slices.Clone(w.way), slices.Clone(w.on), slices.Clone(w.dead), slices.Clone(w.ended)
	return &c
}

// key is the world without what makes no difference: absolute times, texts.
func (w *world) key() string {
	var b strings.Builder
	s := w.m.Snapshot()
	left := func(t time.Time) int64 {
		if t.IsZero() {
			return -1
		}
		return int64(max(0, t.Sub(w.now)) / time.Millisecond)
	}
	fmt.Fprint(&b, s.State, left(s.Deadline), w.stopped, w.budget, w.done)
	for i, r := range s.Ranks {
		fmt.Fprint(&b, "|", r.Status.State, r.Pending, left(r.Deadline), r.Salvage, len(r.Status.Artifacts) > 0,
			w.on[i], w.dead[i])
	}
	var way []string
	for _, m := range w.way {
		way = append(way, fmt.Sprint(m.rank, m.kind, fmt.Sprintf("%T", m.ev)))
	}
	slices.Sort(way)
	fmt.Fprint(&b, "|", way)
	return b.String()
}

func exploreID(rank int) protocol.RankID { return id(0, rank) }

// step gives the machine an event, does what it asks, and returns the promise that broke.
func (w *world) step(ev Event) string {
	was := w.m.State()
	for _, a := range w.m.Step(w.now, ev) {
		if was.Terminal() && a.Kind != DoAbort && a.Kind != DoFinish {
			return fmt.Sprintf("%s after the end", a.Kind)
		}
		if a.Kind == DoFinish {
			if _, again := ev.(Resume); w.done && !again {
				return "finished twice"
			}
			w.done = true
		}
		w.ask(a)
	}
	for i, r := range w.m.s.Ranks {
		st := r.Status
		switch {
		case w.ended[i] != "" && w.ended[i] != st.State:
			return fmt.Sprintf("rank %d went from %s to %s", i, w.ended[i], st.State)
		case st.State.Terminal() && st.State != protocol.StateComplete && st.Reason == "":
			return fmt.Sprintf("rank %d is %s without a reason", i, st.State)
		case w.m.State().Terminal() && !st.State.Terminal():
			return fmt.Sprintf("the session is %s and rank %d %s", w.m.State(), i, st.State)
		case w.m.State() == StateComplete && st.State != protocol.StateComplete:
			return fmt.Sprintf("the session is complete and rank %d %s", i, st.State)
		}
		if st.State.Terminal() {
			w.ended[i] = st.State
		}
	}
	if s := w.m.State(); (s == StatePartial || s == StateFailed) && w.m.s.Error == "" {
		return fmt.Sprintf("the session is %s without a reason", s)
	}
	return ""
}

// ask has the ranks, or the shell, do what the machine asks; the answer is on its way.
func (w *world) ask(a Action) {
	k := a.Rank.Rank
	art := []protocol.Artifact{{Name: "a"}}
	send := func(rank int, ev Event) { w.way = append(w.way, message{rank, a.Kind, ev}) }
	switch a.Kind {
	case DoConvert:
		send(-1, Converted{PerRank: map[protocol.RankID][]protocol.Artifact{exploreID(0): art}})
	case DoSalvage: // needs no live rank
		send(k, Salvaged{Rank: a.Rank, Artifacts: art})
	case DoAbort:
		w.on[k] = false
	case DoArm, DoStart, DoStop, DoCollect:
		if w.dead[k] {
			return
		}
		switch a.Kind {
		case DoArm:
			w.on[k] = true
			send(k, Armed{Rank: a.Rank})
		case DoStart:
			w.on[k] = true
			send(k, Started{Rank: a.Rank})
		case DoStop:
			w.on[k] = false
			send(k, Stopped{Rank: a.Rank})
		case DoCollect:
			send(k, Collected{Rank: a.Rank, Artifacts: art})
		}
	}
}

// move is one thing that can happen.
type move struct {
	name string
	do   func(*world) string
}

func (w *world) moves() (out []move) {
	for i, m := range w.way {
		if slices.ContainsFunc(w.way[:i], func(o message) bool { return o.rank == m.rank && o.kind == m.kind }) {
			continue
		}
		deliver := func(keep bool, ev Event) func(*world) string {
			return func(w *world) string {
				if !keep {
					w.way = slices.Delete(w.way, i, i+1)
				}
				return w.step(ev)
			}
		}
		name := fmt.Sprintf("%T of %d", m.ev, m.rank)
		out = append(out, move{name, deliver(false, m.ev)})
		if w.budget.copies > 0 {
			out = append(out, move{name + ", and a copy is under way", func(w *world) string {
				w.budget.copies--
				return deliver(true, m.ev)(w)
			}})
		}
		if m.rank >= 0 && w.budget.refusals > 0 {
			out = append(out, move{fmt.Sprintf("%s of %d fails", m.kind, m.rank), func(w *world) string {
				w.budget.refusals--
				if m.kind == DoArm || m.kind == DoStart {
					w.on[m.rank] = false // it says no and does nothing
				}
				return deliver(false, Failed{Rank: exploreID(m.rank), Of: m.kind, Reason: "no"})(w)
			}})
		}
	}
	for k := range w.dead {
		if !w.dead[k] && w.budget.crashes > 0 {
			out = append(out, move{fmt.Sprintf("rank %d dies", k), func(w *world) string {
				w.budget.crashes--
				w.dead[k], w.on[k] = true, false
				w.way = slices.DeleteFunc(w.way, func(m message) bool { return m.rank == k && m.kind != DoSalvage })
				w.way = append(w.way, message{k, "", Lost{Rank: exploreID(k), Reason: "killed"}})
				return ""
			}})
		}
	}
	if !w.stopped {
		out = append(out, move{"the user stops",
			func(w *world) string { w.stopped = true; return w.step(Stop{By: "request"}) }})
	}
	if w.budget.restarts > 0 {
		out = append(out, move{"the hub restarts", func(w *world) string {
			w.budget.restarts--
			w.way = slices.DeleteFunc(w.way, func(m message) bool { _, lost := m.ev.(Lost); return !lost })
			return w.step(Resume{})
		}})
	}
	if next := w.m.NextTick(); !next.IsZero() && w.budget.ticks > 0 {
		out = append(out, move{"time runs out", func(w *world) string {
			w.budget.ticks--
			w.now = maxTime(w.now, w.m.NextTick())
			return w.step(Tick{})
		}})
	}
	return out
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// quiet lets only time pass and returns the promise that breaks at the end of it.
func (w *world) quiet() string {
	for range 20 {
		if w.m.State().Terminal() {
			break
		}
		next := w.m.NextTick()
		if next.IsZero() {
			return fmt.Sprintf("stuck in %s", w.m.State())
		}
		w.now = maxTime(w.now, next)
		if why := w.step(Tick{}); why != "" {
			return why
		}
	}
	if !w.m.State().Terminal() || !w.done {
		return fmt.Sprintf("no end: %s", w.m.State())
	}
	for len(w.way) > 0 { // what comes too late
		m := w.way[0]
		w.way = w.way[1:]
		if why := w.step(m.ev); why != "" {
			return why
		}
	}
	for k, on := range w.on {
		if on && !w.dead[k] {
			return fmt.Sprintf("the session is %s and the profiler of rank %d is on", w.m.State(), k)
		}
	}
	return ""
}

// explore walks through every world that can come of start, nearest first, so that the way
// to a broken promise is a shortest one. It returns how many worlds there are.
func explore(t *testing.T, start *world) int {
	t.Helper()
	type place struct {
		from uint64
		name string
	}
	seed := maphash.MakeSeed()
	seen := map[uint64]place{}
	way := func(h uint64) string {
		var steps []string
		for p := seen[h]; p.name != ""; p = seen[p.from] {
			steps = append(steps, p.name)
		}
		slices.Reverse(steps)
		return strings.Join(steps, "\n  ")
	}
	type item struct {
		w *world
		h uint64
	}
	first := maphash.String(seed, start.key())
	seen[first] = place{}
	queue := []item{{start, first}}
	for len(queue) > 0 {
		it := queue[0]
		queue = queue[1:]
		if why := it.w.clone().quiet(); why != "" {
			t.Fatalf("%s, after\n  %s\n  and then silence", why, way(it.h))
		}
		for _, m := range it.w.moves() {
			next := it.w.clone()
			why := m.do(next)
			if why != "" {
				t.Fatalf("%s, after\n  %s\n  %s", why, way(it.h), m.name)
			}
			h := maphash.String(seed, next.key())
			if _, known := seen[h]; !known {
				seen[h] = place{it.h, m.name}
				queue = append(queue, item{next, h})
			}
		}
	}
	return len(seen)
}

func newWorld(t *testing.T, ranks int, partial bool, b budget) *world {
	t.Helper()
	w := &world{m: New("S", Config{AllowPartial: partial}, targets(ranks)), now: t0, budget: b,
		on: make([]bool, ranks), dead: make([]bool, ranks), ended: make([]protocol.RankState, ranks)}
	if why := w.step(Begin{}); why != "" {
		t.Fatal(why)
	}
	return w
}

// Every order in which the answers of up to three ranks can come, with deaths, refusals,
// copies, restarts of the hub and time that runs out in between: every rank ends once, in a
// named state and with a reason; the session ends once; no profiler is left on.
func TestEveryInterleaving(t *testing.T) {
	for _, tt := range []struct {
		ranks int
		b     budget
	}{
		{1, budget{crashes: 1, copies: 2, refusals: 2, restarts: 2, ticks: 3}},
		{2, budget{crashes: 1, copies: 1, refusals: 1, restarts: 1, ticks: 1}},
		{2, budget{crashes: 2, ticks: 2}},
		{3, budget{crashes: 1, ticks: 1}},
		{3, budget{copies: 1}},
		{3, budget{refusals: 1}},
		{3, budget{restarts: 1}},
	} {
		for _, partial := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d ranks, %+v, partial %v", tt.ranks, tt.b, partial), func(t *testing.T) {
				t.Parallel()
				n := explore(t, newWorld(t, tt.ranks, partial, tt.b))
				t.Logf("%d worlds", n)
			})
		}
	}
}

// The walk finds what is broken: a machine that is not told of a death hangs in no world,
// but one whose aborts get lost leaves a profiler on.
func TestExplorationFindsWhatIsLeftOn(t *testing.T) {
	w := newWorld(t, 1, false, budget{})
	w.on[0] = true
	w.m.s.State = StateFailed // as if it had ended without a word to its rank
	w.m.s.Ranks[0].Status.State, w.m.s.Ranks[0].Status.Reason, w.done, w.way = protocol.StateFailed, "x", true, nil
	if why := w.quiet(); !strings.Contains(why, "profiler of rank 0 is on") {
		t.Errorf("%q", why)
	}
}
