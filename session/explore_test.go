package session

import (
	"encoding/binary"
	"fmt"
	"slices"
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
	kind, rank := string(rankKinds[v.kind]), fmt.Sprintf("rank %d", v.rank)
	text := map[happening]string{
		answers:         rank + " answers " + kind,
		answersBadly:    rank + " answers " + kind + ", badly",
		refuses:         rank + " refuses " + kind,
		breaks:          rank + " breaks",
		stopsItself:     rank + " stops by itself",
		falls:           rank + " is silent",
		dies:            rank + " dies",
		userStops:       "the user stops",
		clientLeaves:    "the client leaves",
		converts:        "all is converted",
		convertsInPart:  "a part is converted",
		convertsNothing: "nothing is converted",
		timeRunsOut:     "time runs out",
		restarts:        "the hub restarts",
	}[v.what]
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
			return fmt.Sprintf("the session is %s and the profiler of rank %d (%s) is on", w.m.s.State, i,
				r.Status.State)
		}
	}
	return ""
}
