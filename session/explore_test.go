package session

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// maxExplored is how many ranks a world can have.
const maxExplored = 3

// world is a machine with its ranks and a network that keeps every message for ever: what was
// asked once may be answered at any time, in any order, any number of times or never. So delay,
// loss, duplicates and reordering have no bound, and the number of worlds has one all the same.
type world struct {
	m     *Machine
	now   time.Time
	ranks [maxExplored]peer
	// mutant, if set, is a mistake in the machine that the walk is to find.
	mutant func(*Snapshot, []Action) []Action
}

// peer is what is true of a rank, whatever the machine thinks of it.
type peer struct {
	asked kinds // what it, or the shell for it, was asked
	on    bool  // its profiler may be on, for all that it was told
	dead  bool
}

// kinds is a set of what can be asked of a rank.
type kinds uint8

var rankKinds = []ActionKind{DoArm, DoStart, DoStop, DoCollect, DoSalvage}

func kindBit(k ActionKind) kinds { return 1 << max(slices.Index(rankKinds, k), 0) }

func (s kinds) has(k ActionKind) bool { return s&kindBit(k) != 0 }

func newWorld(t *testing.T, ranks int, partial bool) *world {
	t.Helper()
	w := &world{m: New("S", Config{AllowPartial: partial}, targets(ranks)), now: t0}
	if why := w.step(Begin{}, true); why != "" {
		t.Fatal(why)
	}
	return w
}

func (w *world) clone() *world {
	c, m := *w, *w.m
	m.s.Ranks = slices.Clone(m.s.Ranks)
	c.m = &m
	return &c
}

// appendKey appends the world without what makes no difference: absolute times, texts, and
// which rank is which, for the machine treats all alike.
func (w *world) appendKey(b []byte) []byte {
	left := func(b []byte, at time.Time) []byte {
		if at.IsZero() {
			return append(b, 0)
		}
		return binary.AppendVarint(b, int64(max(0, at.Sub(w.now))/time.Millisecond)+1)
	}
	b = append(b, byte(slices.Index(sessionStates, w.m.s.State)))
	b = left(b, w.m.s.Deadline)
	var parts [maxExplored][24]byte
	n := len(w.m.s.Ranks)
	for i := range w.m.s.Ranks {
		r, p := &w.m.s.Ranks[i], w.ranks[i]
		part := append(parts[i][:0], byte(slices.Index(rankStates, r.Status.State)),
			byte(slices.Index(rankKinds, r.Pending)+1), byte(p.asked),
			bits(r.Salvage, len(r.Status.Artifacts) > 0, p.on, p.dead))
		if r.Pending != "" {
			left(part, r.Deadline)
		}
	}
	slices.SortFunc(parts[:n], func(a, b [24]byte) int { return slices.Compare(a[:], b[:]) })
	for i := range n {
		b = append(b, parts[i][:]...)
	}
	return b
}

var (
	sessionStates = []State{StateIdle, StateArming, StateArmed, StateRecording, StateStopping, StateCollecting,
		StateConverting, StateComplete, StatePartial, StateFailed}
	rankStates = []protocol.RankState{protocol.StateIdle, protocol.StateArmed, protocol.StateRecording,
		protocol.StateStopped, protocol.StateComplete, protocol.StateFailed, protocol.StateLost, protocol.StateTimedOut}
)

func bits(flags ...bool) (b byte) {
	for i, f := range flags {
		if f {
			b |= 1 << i
		}
	}
	return b
}

func exploreID(rank int) protocol.RankID { return id(0, rank) }

// step gives the machine an event and returns the promise that broke. Done says that the hub
// lives to do what the machine asks for.
func (w *world) step(ev Event, done bool) string {
	before := outcome{state: w.m.s.State}
	for i := range w.m.s.Ranks {
		st := &w.m.s.Ranks[i].Status
		before.ranks[i], before.files[i] = st.State, len(st.Artifacts)
	}
	actions := w.m.Step(w.now, ev)
	if w.mutant != nil {
		actions = w.mutant(&w.m.s, actions)
	}
	if why := promises(&before, &w.m.s, ev, actions); why != "" {
		return why
	}
	if done {
		for _, a := range actions {
			w.ask(a)
		}
	}
	return ""
}

// outcome is what a step must not take back.
type outcome struct {
	state State
	ranks [maxExplored]protocol.RankState
	files [maxExplored]int
}

// promises returns which promise a step breaks, "" if none.
func promises(before *outcome, after *Snapshot, ev Event, actions []Action) string {
	_, resumed := ev.(Resume)
	ends := before.state.Terminal() != after.State.Terminal() || after.State.Terminal() && resumed
	finishes, starts := 0, 0
	for _, a := range actions {
		switch {
		case a.Kind == DoFinish:
			finishes++
		case a.Kind == DoStart:
			starts++
		case before.state.Terminal() && a.Kind != DoAbort:
			return fmt.Sprintf("%s after the end", a.Kind)
		}
	}
	switch {
	case ends != (finishes == 1) || finishes > 1:
		return fmt.Sprintf("from %s to %s, and written down %d times", before.state, after.State, finishes)
	case starts > 0 && starts < len(after.Ranks) && !after.Config.AllowPartial:
		return fmt.Sprintf("begins on %d ranks of %d", starts, len(after.Ranks))
	case (after.State == StatePartial || after.State == StateFailed) && after.Error == "":
		return fmt.Sprintf("the session is %s without a reason", after.State)
	}
	for i := range after.Ranks {
		if why := rankPromises(before.ranks[i], before.files[i], &after.Ranks[i], after.State); why != "" {
			return fmt.Sprintf("rank %d %s", i, why)
		}
	}
	return ""
}

func rankPromises(was protocol.RankState, files int, r *RankRecord, s State) string {
	st := &r.Status
	switch {
	case was.Terminal() && was != st.State:
		return fmt.Sprintf("went from %s to %s", was, st.State)
	case st.State.Terminal() && st.State != protocol.StateComplete && st.Reason == "":
		return fmt.Sprintf("is %s without a reason", st.State)
	case s.Terminal() && !st.State.Terminal():
		return fmt.Sprintf("is %s and the session %s", st.State, s)
	case s == StateComplete && st.State != protocol.StateComplete:
		return fmt.Sprintf("is %s and the session complete", st.State)
	case len(st.Artifacts) < files:
		return "has lost its files"
	case s.Terminal() && r.Salvage:
		return "may have left files, and nobody looked"
	case st.State == protocol.StateComplete && len(st.Artifacts) == 0:
		return "is complete and brought nothing home"
	}
	return ""
}

// ask has the ranks, or the shell, do what the machine asks.
func (w *world) ask(a Action) {
	p := &w.ranks[a.Rank.Rank]
	switch a.Kind {
	case DoSalvage: // needs no live rank
	case DoArm, DoStart, DoStop, DoCollect, DoAbort:
		if p.dead {
			return
		}
		p.on = a.Kind == DoArm || a.Kind == DoStart || a.Kind == DoCollect && p.on
		if a.Kind == DoAbort {
			return
		}
	default:
		return
	}
	p.asked |= kindBit(a.Kind)
}

// move is one thing that can happen. Killed says that the hub writes down what follows from it
// and is killed before it does any of that; it starts again.
type move struct {
	what   happening
	rank   int8
	kind   int8 // of rankKinds
	killed bool
}

type happening int8

const (
	answers happening = iota // to what it was asked
	answersBadly
	refuses
	breaks // without being asked
	stopsItself
	falls // silent for so long that the hub takes it for lost; it may come back
	dies
	userStops
	clientLeaves
	converts
	convertsInPart
	convertsNothing
	timeRunsOut
	restarts
)

func (v move) String() string {
	k, rank := rankKinds[v.kind], fmt.Sprintf("rank %d", v.rank)
	text := [...]string{answers: rank + " answers " + string(k), answersBadly: rank + " answers " + string(k) + ", badly",
		refuses: rank + " refuses " + string(k), breaks: rank + " breaks", stopsItself: rank + " stops by itself",
		falls: rank + " is silent", dies: rank + " dies", userStops: "the user stops", clientLeaves: "the client leaves",
		converts: "all is converted", convertsInPart: "a part is converted", convertsNothing: "nothing is converted",
		timeRunsOut: "time runs out", restarts: "the hub restarts"}[v.what]
	if v.killed {
		text += ", and the hub is killed before it does anything"
	}
	return text
}

// moves appends all that can happen next.
func (w *world) moves(out []move) []move {
	add := func(v move) {
		out = append(out, v)
		v.killed = true
		out = append(out, v)
	}
	for i := range w.m.s.Ranks {
		p := &w.ranks[i]
		for k, kind := range rankKinds {
			if p.asked.has(kind) {
				for _, what := range []happening{answers, answersBadly, refuses} {
					add(move{what: what, rank: int8(i), kind: int8(k)})
				}
			}
		}
		if p.asked.has(DoStart) {
			add(move{what: stopsItself, rank: int8(i)})
		}
		add(move{what: falls, rank: int8(i)})
		if !p.dead {
			add(move{what: breaks, rank: int8(i)})
			out = append(out, move{what: dies, rank: int8(i)})
		}
	}
	add(move{what: userStops})
	add(move{what: clientLeaves})
	if w.m.s.State == StateConverting {
		add(move{what: converts})
		add(move{what: convertsInPart})
		add(move{what: convertsNothing})
	}
	if !w.m.NextTick().IsZero() {
		add(move{what: timeRunsOut})
	}
	return append(out, move{what: restarts})
}

// do lets v happen and returns the promise that it breaks.
func (w *world) do(v move) string {
	p := &w.ranks[v.rank]
	if v.what == dies {
		p.dead, p.on = true, false
		return ""
	}
	if v.what == timeRunsOut {
		w.now = maxTime(w.now, w.m.NextTick())
	}
	if v.what == restarts {
		return w.restart()
	}
	if why := w.step(w.event(v), !v.killed); why != "" || !v.killed {
		return why
	}
	return w.restart()
}

// restart is a hub that starts again: it goes on, and turns off what no session owns, as it
// does with every rank that it finds recording.
func (w *world) restart() string {
	why := w.step(Resume{}, true)
	for i := range w.m.s.Ranks {
		if w.m.s.Ranks[i].Status.State.Terminal() {
			w.ranks[i].on = false
		}
	}
	return why
}

var someFile = []protocol.Artifact{{Name: "a"}}

// event is what the machine hears of v.
func (w *world) event(v move) Event {
	rank := exploreID(int(v.rank))
	switch v.what {
	case answers, answersBadly:
		return w.answer(v)
	case refuses:
		return Failed{Rank: rank, Of: rankKinds[v.kind], Reason: "no"}
	case breaks:
		return Failed{Rank: rank, Reason: "broken"}
	case stopsItself:
		w.ranks[v.rank].on = false
		return Stopped{Rank: rank}
	case falls:
		return Lost{Rank: rank, Reason: "silent"}
	case userStops:
		return Stop{By: "request"}
	case clientLeaves:
		return Cancel{Reason: "gone"}
	case timeRunsOut:
		return Tick{}
	}
	c := Converted{PerRank: map[protocol.RankID][]protocol.Artifact{exploreID(0): someFile}, Run: someFile}
	if v.what == convertsInPart {
		c.Lacks = map[protocol.RankID]string{exploreID(0): "no trace"}
	}
	if v.what == convertsNothing {
		c = Converted{Err: "broken"}
	}
	return c
}

// answer is what a rank, or the shell for it, says when it did what it was asked. Badly says
// that it is over by then, that it went wrong, or that nothing is there.
func (w *world) answer(v move) Event {
	rank, bad := exploreID(int(v.rank)), v.what == answersBadly
	failed := protocol.RankStatus{State: protocol.StateFailed, Reason: "went wrong"}
	switch rankKinds[v.kind] {
	case DoArm:
		if bad {
			return TimedOut{Rank: rank, Of: DoArm, Reason: "slow"}
		}
		return Armed{Rank: rank}
	case DoStart:
		if bad {
			w.ranks[v.rank].on = false
			return Started{Rank: rank, Status: protocol.RankStatus{State: protocol.StateStopped}}
		}
		return Started{Rank: rank}
	case DoStop:
		w.ranks[v.rank].on = false
		if bad {
			return Stopped{Rank: rank, Status: failed}
		}
		return Stopped{Rank: rank}
	case DoCollect:
		if bad {
			return Collected{Rank: rank, Artifacts: someFile, Bad: "damaged"}
		}
		return Collected{Rank: rank, Artifacts: someFile}
	}
	if bad {
		return Salvaged{Rank: rank}
	}
	return Salvaged{Rank: rank, Artifacts: someFile}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// settled returns the promise that is broken when all that is under way has come at last: no
// profiler is on of a rank that lives and that the machine does not know to be lost, for
// what was lost and comes back is turned off by who sees it come.
func (w *world) settled() string {
	w = w.clone()
	var ways [64]move
	for _, v := range w.moves(ways[:0]) {
		if v.what == answers && !v.killed {
			if why := w.do(v); why != "" {
				return why
			}
		}
	}
	for i, r := range w.m.s.Ranks {
		if w.ranks[i].on && r.Status.State != protocol.StateLost {
			return fmt.Sprintf("the session is %s and the profiler of rank %d (%s) is on", w.m.s.State, i, r.Status.State)
		}
	}
	return ""
}

// walk is the way through all worlds that can come of one, nearest first, so that the way to a
// broken promise is a shortest one.
type walk struct {
	start *world
	limit int // of worlds; 0: all
	seed  maphash.Seed
	seen  map[uint64]came
	calm  map[uint64]bool // worlds that end if only time passes
	key   []byte
}

// came is how a world came to be: by what, from which.
type came struct {
	from uint64
	by   move
}

func (k *walk) hash(w *world) uint64 {
	k.key = w.appendKey(k.key[:0])
	return maphash.Bytes(k.seed, k.key)
}

// explore returns how many worlds there are, whether it saw all of them, and the promise that
// one breaks with the shortest way to it.
func explore(start *world, limit int) (worlds int, all bool, broken string) {
	type item struct {
		w *world
		h uint64
	}
	k := &walk{start: start, limit: limit, seed: maphash.MakeSeed(), seen: map[uint64]came{}, calm: map[uint64]bool{}}
	first := k.hash(start)
	k.seen[first] = came{}
	queue := []item{{start, first}}
	var moves []move
	for len(queue) > 0 {
		it := queue[0]
		queue[0] = item{}
		queue = queue[1:]
		if why := k.quiet(it.w, it.h); why != "" {
			return len(k.seen), false, why + ", after" + k.way(first, it.h) + "\n  and then silence"
		}
		moves = it.w.moves(moves[:0])
		for _, v := range moves {
			next := it.w.clone()
			if why := next.do(v); why != "" {
				return len(k.seen), false, why + ", after" + k.way(first, it.h) + "\n  " + v.String()
			}
			h := k.hash(next)
			if _, known := k.seen[h]; known {
				continue
			}
			if limit > 0 && len(k.seen) >= limit {
				return len(k.seen), false, ""
			}
			k.seen[h] = came{it.h, v}
			queue = append(queue, item{next, h})
		}
	}
	return len(k.seen), true, ""
}

// way is how the world h comes from the first, a line for each move.
func (k *walk) way(first, h uint64) string {
	var steps []string
	for ; h != first; h = k.seen[h].from {
		steps = append(steps, "\n  "+k.seen[h].by.String())
	}
	slices.Reverse(steps)
	return strings.Join(steps, "")
}

// mostTicks is in how many deadlines a session ends that hears nothing more: one for each of
// its states, and two to bring home what a rank left.
const mostTicks = 8

// quiet lets only time pass and returns the promise that breaks at the end of it.
func (k *walk) quiet(w *world, h uint64) string {
	var passed []uint64
	for range mostTicks {
		if k.calm[h] {
			break
		}
		passed = append(passed, h)
		if w.m.State().Terminal() {
			if why := w.settled(); why != "" {
				return why
			}
			break
		}
		if w.m.NextTick().IsZero() {
			return fmt.Sprintf("stuck in %s", w.m.State())
		}
		w = w.clone()
		if why := w.do(move{what: timeRunsOut}); why != "" {
			return why
		}
		h = k.hash(w)
	}
	if !k.calm[h] && !w.m.State().Terminal() {
		return fmt.Sprintf("no end: %s", w.m.State())
	}
	for _, h := range passed {
		k.calm[h] = true
	}
	return ""
}

// exploreAll, set to anything, has TestEveryInterleaving walk through all worlds of three ranks
// too. Without it it sees the nearest of them, and all of fewer ranks.
const exploreAll = "KINETOSCOPE_EXPLORE_ALL"

// nearWorlds are the worlds of three ranks that are seen in any case: seconds.
const nearWorlds = 20_000

// Every order in which the answers of up to three ranks can come, late, twice or never, good and
// bad, with deaths, silence, failures, stops, clients that leave, deadlines and hubs that are killed at
// any point between, as often as one likes: every rank ends once, in a named state and with a
// reason; the session ends once, and without a word more; all begin or none; no file is
// forgotten; no profiler is left on.
func TestEveryInterleaving(t *testing.T) {
	for ranks := 1; ranks <= maxExplored; ranks++ {
		for _, partial := range []bool{false, true} {
			limit := 0
			if ranks == maxExplored && os.Getenv(exploreAll) == "" {
				limit = nearWorlds
			}
			if ranks > 1 && testing.Short() {
				limit = nearWorlds / 10 // ten times slower under the race detector, and has no goroutines
			}
			t.Run(fmt.Sprintf("%d ranks, partial %v", ranks, partial), func(t *testing.T) {
				t.Parallel()
				n, all, broken := explore(newWorld(t, ranks, partial), limit)
				if broken != "" {
					t.Fatal(broken)
				}
				if !all && limit == 0 {
					t.Error("not all worlds were seen")
				}
				t.Logf("%d worlds, all of them: %v", n, all)
			})
		}
	}
}

// The walk finds what is broken, and the shortest way to it: mistakes that the machine could make.
func TestExplorationFindsMistakes(t *testing.T) {
	drop := func(kind ActionKind, when func(*Snapshot) bool) func(*Snapshot, []Action) []Action {
		return func(s *Snapshot, as []Action) []Action {
			return slices.DeleteFunc(as, func(a Action) bool { return a.Kind == kind && when(s) })
		}
	}
	for _, tt := range []struct {
		name   string
		mutant func(*Snapshot, []Action) []Action
		want   []string // what is said, then the way
	}{
		{"a rank that answers after the end is not told", drop(DoAbort, func(s *Snapshot) bool { return s.State.Terminal() }),
			[]string{"the profiler of rank 0 (timed_out) is on", "and then silence"}},
		{"the end is not written down", drop(DoFinish, func(s *Snapshot) bool { return s.State == StateComplete }),
			[]string{"written down 0 times", "rank 0 answers arm", "rank 0 answers start, badly", "rank 0 answers collect",
				"all is converted"}},
		{"a rank that fails loses what it has brought", func(s *Snapshot, as []Action) []Action {
			for i := range s.Ranks {
				if s.Ranks[i].Status.State == protocol.StateFailed && s.State.Terminal() {
					s.Ranks[i].Status.Artifacts = nil
				}
			}
			return as
		}, []string{"has lost its files", "rank 0 answers arm", "rank 0 answers start, badly",
			"rank 0 answers collect, badly", "and then silence"}},
		{"a deadline is forgotten", func(s *Snapshot, as []Action) []Action {
			if s.State == StateRecording {
				s.Deadline = time.Time{}
			}
			return as
		}, []string{"stuck in recording", "rank 0 answers arm", "rank 0 answers start", "and then silence"}},
		{"a reason is forgotten", func(s *Snapshot, as []Action) []Action {
			for i := range s.Ranks {
				if s.Ranks[i].Status.State == protocol.StateLost {
					s.Ranks[i].Status.Reason = ""
				}
			}
			return as
		}, []string{"is lost without a reason", "rank 0 is silent"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1, false)
			w.mutant = tt.mutant
			_, _, broken := explore(w, 0)
			at := 0
			for _, want := range tt.want {
				i := strings.Index(broken[at:], want)
				if i < 0 {
					t.Fatalf("%q is not said after %q in\n%s", want, broken[:at], broken)
				}
				at += i + len(want)
			}
		})
	}
}
