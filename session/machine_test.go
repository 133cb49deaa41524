package session

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kinetoscope/kinetoscope/protocol"
	"pgregory.net/rapid"
)

var t0 = time.Unix(1_700_000_000, 0).UTC()

func targets(ranks ...int) []Target {
	var out []Target
	for stage, n := range ranks {
		for k := range n {
			out = append(out, Target{
				RankID:    protocol.RankID{Pipeline: "omni", Stage: stage, Rank: k},
				StageName: fmt.Sprintf("s%d", stage), Incarnation: "i",
			})
		}
	}
	return out
}

func id(stage, rank int) protocol.RankID {
	return protocol.RankID{Pipeline: "omni", Stage: stage, Rank: rank}
}

// show is an action in one line.
func show(as []Action) []string {
	out := []string{}
	for _, a := range as {
		s := string(a.Kind)
		if a.Rank.Pipeline != "" {
			s += fmt.Sprintf(" %d.%d", a.Rank.Stage, a.Rank.Rank)
		}
		if a.Keep {
			s += " keep"
		}
		out = append(out, s)
	}
	return out
}

func want(t *testing.T, got []Action, w ...string) {
	t.Helper()
	if w == nil {
		w = []string{}
	}
	if d := cmp.Diff(w, show(got)); d != "" {
		t.Fatalf("actions (-want +got):\n%s", d)
	}
}

// toRecording brings a fresh machine over one stage of n ranks to StateRecording.
func toRecording(t *testing.T, c Config, n int) *Machine {
	t.Helper()
	m := New("S", c, targets(n))
	m.Step(t0, Begin{})
	for k := range n {
		m.Step(t0, Armed{Rank: id(0, k)})
	}
	for k := range n {
		m.Step(t0, Started{Rank: id(0, k), Status: protocol.RankStatus{StartedAtNs: 7}})
	}
	if m.State() != StateRecording {
		t.Fatalf("state %s, want recording", m.State())
	}
	return m
}

func TestHappyPath(t *testing.T) {
	m := New("S", Config{Prefix: "p"}, targets(2, 1))
	want(t, m.Step(t0, Begin{}), "arm 0.0", "arm 0.1", "arm 1.0")
	want(t, m.Step(t0, Armed{Rank: id(0, 0), Clock: protocol.ClockError{OffsetNs: 500, RTTNs: 1000}}))
	want(t, m.Step(t0, Armed{Rank: id(0, 1)}))
	starts := m.Step(t0, Armed{Rank: id(1, 0), Clock: protocol.ClockError{RTTNs: 10_000_000}})
	want(t, starts, "start 0.0", "start 0.1", "start 1.0")
	at := t0.Add(MinLead + 40*time.Millisecond).UnixNano()
	for i, w := range []int64{at - 500, at, at} {
		if starts[i].AtNs != w {
			t.Errorf("start %d at %d, want %d: one instant, each in its rank's clock", i, starts[i].AtNs, w)
		}
	}
	for _, r := range []protocol.RankID{id(0, 0), id(0, 1), id(1, 0)} {
		want(t, m.Step(t0, Started{Rank: r, Status: protocol.RankStatus{StartedAtNs: 42}}))
	}
	if m.State() != StateRecording {
		t.Fatalf("state %s", m.State())
	}
	want(t, m.Step(t0, Stop{By: "request"}), "stop 0.0", "stop 0.1", "stop 1.0")
	want(t, m.Step(t0, Stop{By: "again"}))
	want(t, m.Step(t0, Stopped{Rank: id(0, 0), Status: protocol.RankStatus{Events: 9}}))
	want(t, m.Step(t0, Stopped{Rank: id(1, 0)}))
	want(t, m.Step(t0, Stopped{Rank: id(0, 1)}), "collect 0.0", "collect 0.1", "collect 1.0")
	art := []protocol.Artifact{{Name: "a"}}
	want(t, m.Step(t0, Collected{Rank: id(0, 0), Artifacts: art}))
	want(t, m.Step(t0, Collected{Rank: id(0, 1), Artifacts: art, Note: "no stacks"}))
	want(t, m.Step(t0, Collected{Rank: id(1, 0), Artifacts: art}), "convert")
	want(t, m.Step(t0, Converted{Run: art, PerRank: map[protocol.RankID][]protocol.Artifact{id(1, 0): art}}), "finish")
	st := m.Status()
	if st.State != StateComplete || st.StoppedBy != "request" || len(st.Stages) != 2 || len(st.Stages[0].Ranks) != 2 {
		t.Fatalf("status %+v", st)
	}
	if r := st.Rank(id(0, 0)); r.State != protocol.StateComplete || r.Events != 9 || len(r.Artifacts) != 1 {
		t.Errorf("rank 0.0: %+v", r)
	}
	if r := st.Rank(id(0, 1)); r.State != protocol.StateComplete || r.Reason != "no stacks" {
		t.Errorf("rank 0.1 is %s (%s), want complete with what it lacks", r.State, r.Reason)
	}
	if r := st.Rank(id(1, 0)); len(r.Artifacts) != 2 {
		t.Errorf("rank 1.0 artifacts: %v, want recording and converted", r.Artifacts)
	}
}

func TestArmFailureAbortsTheArmed(t *testing.T) {
	m := New("S", Config{}, targets(3))
	m.Step(t0, Begin{})
	m.Step(t0, Armed{Rank: id(0, 0)})
	// Rank 0 is armed and rank 2 may be: both are told.
	want(t, m.Step(t0, Failed{Rank: id(0, 1), Reason: "disk full"}), "abort 0.1", "abort 0.0", "abort 0.2", "finish")
	st := m.Status()
	if st.State != StateFailed || !strings.Contains(st.Error, "disk full") {
		t.Fatalf("status %+v", st)
	}
	want(t, m.Step(t0, Armed{Rank: id(0, 2)}), "abort 0.2")
}

func TestAllowPartialGoesOnWithTheRest(t *testing.T) {
	m := New("S", Config{AllowPartial: true}, targets(2))
	m.Step(t0, Begin{})
	m.Step(t0, Lost{Rank: id(0, 1), Reason: "killed"})
	want(t, m.Step(t0, Armed{Rank: id(0, 0)}), "start 0.0")
	m.Step(t0, Started{Rank: id(0, 0)})
	want(t, m.Step(t0, Stop{}), "stop 0.0")
	want(t, m.Step(t0, Stopped{Rank: id(0, 0)}), "collect 0.0")
	want(t, m.Step(t0, Collected{Rank: id(0, 0), Artifacts: []protocol.Artifact{{}}}), "convert")
}

func TestLostWhileRecordingIsSalvaged(t *testing.T) {
	m := toRecording(t, Config{}, 2)
	want(t, m.Step(t0, Lost{Rank: id(0, 1), Reason: "signal: killed"}))
	if m.State() != StateRecording {
		t.Fatalf("state %s: the others go on", m.State())
	}
	want(t, m.Step(t0, Stop{}), "stop 0.0")
	want(t, m.Step(t0, Stopped{Rank: id(0, 0)}), "collect 0.0", "salvage 0.1")
	want(t, m.Step(t0, Lost{Rank: id(0, 1), Reason: "again"}))
	want(t, m.Step(t0, Salvaged{Rank: id(0, 1), Artifacts: []protocol.Artifact{{Name: "part"}}}))
	want(t, m.Step(t0, Collected{Rank: id(0, 0)}), "convert")
	r := m.Status().Rank(id(0, 1))
	if r.State != protocol.StateLost || r.Reason != "signal: killed" || len(r.Artifacts) != 1 {
		t.Fatalf("rank 1: %+v", r)
	}
}

func TestAllLostEndsTheSession(t *testing.T) {
	m := toRecording(t, Config{}, 1)
	want(t, m.Step(t0, Lost{Rank: id(0, 0), Reason: "gone"}), "salvage 0.0")
	want(t, m.Step(t0, Salvaged{Rank: id(0, 0)}), "finish")
	if r := m.Status().Rank(id(0, 0)); r.Reason != "gone; "+nothingTaken {
		t.Errorf("nothing says what became of its recording: %q", r.Reason)
	}
	if st := m.Status(); st.State != StateFailed || !strings.Contains(st.Error, "gone") {
		t.Fatalf("status %+v", st)
	}
}

// A rank of another make may say that it failed and not why; its end still has a reason.
func TestFailureWithoutReason(t *testing.T) {
	m := toRecording(t, Config{}, 2)
	m.Step(t0, Stopped{Rank: id(0, 0), Status: protocol.RankStatus{State: protocol.StateFailed}})
	m.Step(t0, Failed{Rank: id(0, 1)})
	for k := range 2 {
		if r := m.Status().Rank(id(0, k)); r.State != protocol.StateFailed || r.Reason == "" {
			t.Errorf("rank %d: %+v", k, r)
		}
	}
}

func TestStopTimesOut(t *testing.T) {
	m := toRecording(t, Config{Timeouts: Timeouts{Stop: time.Second}}, 2)
	m.Step(t0, Stop{})
	m.Step(t0, Stopped{Rank: id(0, 0)})
	if got, w := m.NextTick(), t0.Add(time.Second); !got.Equal(w) {
		t.Fatalf("NextTick %v, want %v", got, w)
	}
	want(t, m.Step(t0.Add(time.Second), Tick{}), "abort 0.1 keep", "collect 0.0", "salvage 0.1")
}

// The answer of an action that was given up must not end the one after it.
func TestStaleFailureChangesNothing(t *testing.T) {
	m := toRecording(t, Config{Timeouts: Timeouts{Stop: time.Second}}, 1)
	m.Step(t0, Stop{})
	want(t, m.Step(t0.Add(time.Second), Tick{}), "abort 0.0 keep", "salvage 0.0")
	want(t, m.Step(t0.Add(time.Second), TimedOut{Rank: id(0, 0), Of: DoStop}))
	want(t, m.Step(t0.Add(time.Second), Failed{Rank: id(0, 0), Of: DoStop}))
	want(t, m.Step(t0.Add(time.Second), Salvaged{Rank: id(0, 0), Artifacts: []protocol.Artifact{{}}}), "convert")
}

func TestMaxDurationStops(t *testing.T) {
	m := toRecording(t, Config{MaxDuration: time.Minute}, 1)
	want(t, m.Step(t0.Add(59*time.Second), Tick{}))
	want(t, m.Step(t0.Add(time.Minute), Tick{}), "stop 0.0")
	if st := m.Status(); st.StoppedBy != "max_duration" {
		t.Fatalf("stopped by %q", st.StoppedBy)
	}
}

func TestRanksThatStopThemselvesEndTheSession(t *testing.T) {
	m := toRecording(t, Config{}, 2)
	want(t, m.Step(t0, Stopped{Rank: id(0, 0), Status: protocol.RankStatus{StoppedBy: protocol.StoppedByIterations}}))
	want(t, m.Step(t0, Stopped{Rank: id(0, 1)}), "collect 0.0", "collect 0.1")
}

func TestEmptyScheduleCompletesWithoutConversion(t *testing.T) {
	m := toRecording(t, Config{}, 1)
	m.Step(t0, Stop{})
	m.Step(t0, Stopped{Rank: id(0, 0)})
	want(t, m.Step(t0, Collected{Rank: id(0, 0)}), "finish")
	if m.State() != StateComplete {
		t.Fatalf("state %s", m.State())
	}
}

func TestResume(t *testing.T) {
	for state, tt := range map[State]struct {
		before []Event
		want   []string
	}{
		StateArming:    {nil, []string{"abort 0.0", "finish"}},
		StateArmed:     {[]Event{Armed{Rank: id(0, 0)}}, []string{"abort 0.0", "finish"}},
		StateRecording: {[]Event{Armed{Rank: id(0, 0)}, Started{Rank: id(0, 0)}}, []string{"stop 0.0"}},
		StateStopping:  {[]Event{Armed{Rank: id(0, 0)}, Started{Rank: id(0, 0)}, Stop{}}, []string{"stop 0.0"}},
		StateCollecting: {[]Event{Armed{Rank: id(0, 0)}, Started{Rank: id(0, 0)}, Stop{}, Stopped{Rank: id(0, 0)}},
			[]string{"collect 0.0"}},
		StateConverting: {[]Event{Armed{Rank: id(0, 0)}, Started{Rank: id(0, 0)}, Stop{}, Stopped{Rank: id(0, 0)},
			Collected{Rank: id(0, 0), Artifacts: []protocol.Artifact{{}}}}, []string{"convert"}},
	} {
		m := New("S", Config{}, targets(1))
		m.Step(t0, Begin{})
		for _, e := range tt.before {
			m.Step(t0, e)
		}
		if m.State() != state {
			t.Fatalf("reached %s, want %s", m.State(), state)
		}
		b, err := json.Marshal(m.Snapshot())
		if err != nil {
			t.Fatal(err)
		}
		var s Snapshot
		if err := json.Unmarshal(b, &s); err != nil {
			t.Fatal(err)
		}
		r := Restore(s)
		if d := cmp.Diff(m.Status(), r.Status()); d != "" {
			t.Fatalf("%s: restored status differs:\n%s", state, d)
		}
		want(t, r.Step(t0.Add(time.Hour), Resume{}), tt.want...)
	}
}

// drawEvent draws any event about a rank that may or may not exist.
func drawEvent(t *rapid.T) Event {
	r := id(rapid.IntRange(0, 2).Draw(t, "stage"), rapid.IntRange(0, 2).Draw(t, "rank"))
	art := make([]protocol.Artifact, rapid.IntRange(0, 1).Draw(t, "artifacts"))
	st := protocol.RankStatus{State: rapid.SampledFrom([]protocol.RankState{
		protocol.StateRecording, protocol.StateStopped, protocol.StateFailed}).Draw(t, "said")}
	return rapid.SampledFrom([]Event{
		Begin{}, Resume{}, Stop{By: "x"}, Cancel{Reason: "x"}, Tick{}, Converted{}, Converted{Err: "x"},
		Armed{Rank: r, Clock: protocol.ClockError{RTTNs: rapid.Int64().Draw(t, "rtt")}},
		Armed{Rank: r}, Armed{Rank: r}, Started{Rank: r, Status: st}, Started{Rank: r}, Stopped{Rank: r, Status: st},
		Collected{Rank: r, Artifacts: art}, Salvaged{Rank: r, Artifacts: art},
		Failed{Rank: r, Reason: "f"}, Failed{Rank: r, Of: DoStart, Reason: "f"}, Lost{Rank: r, Reason: "l"},
		TimedOut{Rank: r, Reason: "t"},
	}).Draw(t, "event")
}

// Whatever happens in whatever order: no rank's end state changes, every rank gets
// one, an ended session asks nothing but aborts, and waiting long enough ends it.
func TestAnyOrderOfEventsEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New("S", Config{AllowPartial: rapid.Bool().Draw(t, "partial")}, targets(2, 1))
		now := t0
		ended := map[protocol.RankID]protocol.RankState{}
		asked := map[protocol.RankID]ActionKind{}
		finished := 0
		step := func(ev Event) {
			was := m.State()
			for _, a := range m.Step(now, ev) {
				if was.Terminal() && a.Kind != DoAbort && a.Kind != DoFinish {
					t.Fatalf("%s after the end", a.Kind)
				}
				if a.Kind == DoFinish && !was.Terminal() {
					finished++
				}
				if a.Kind == DoStart && asked[a.Rank] != DoArm {
					t.Fatalf("start of a rank that was asked %q", asked[a.Rank])
				}
				asked[a.Rank] = a.Kind
			}
			for _, s := range m.Status().Stages {
				for _, r := range s.Ranks {
					if e, ok := ended[r.RankID]; ok && e != r.State {
						t.Fatalf("rank %s went from %s to %s", r.RankID.Text(), e, r.State)
					}
					if r.State.Terminal() {
						ended[r.RankID] = r.State
						if r.State != protocol.StateComplete && r.Reason == "" {
							t.Fatalf("rank %s is %s without a reason", r.RankID.Text(), r.State)
						}
					}
				}
			}
		}
		step(Begin{})
		for range rapid.IntRange(0, 40).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			step(drawEvent(t))
		}
		for range 100 { // silence: only time passes
			next := m.NextTick()
			if next.IsZero() {
				break
			}
			if next.After(now) {
				now = next
			}
			step(Tick{})
		}
		if !m.State().Terminal() || len(ended) != 3 || finished != 1 {
			t.Fatalf("state %s, %d of 3 ranks ended, finished %d times", m.State(), len(ended), finished)
		}
	})
}

func TestRestartAnywhereEndsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New("S", Config{AllowPartial: true}, targets(2, 1))
		m.Step(t0, Begin{})
		for range rapid.IntRange(0, 30).Draw(t, "events") {
			m.Step(t0, drawEvent(t))
		}
		r := Restore(m.Snapshot())
		now := t0.Add(time.Hour)
		r.Step(now, Resume{})
		for range 100 {
			next := r.NextTick()
			if next.IsZero() {
				break
			}
			if next.After(now) {
				now = next
			}
			r.Step(now, Tick{})
		}
		if !r.State().Terminal() {
			t.Fatalf("restored in %s, stuck in %s", m.State(), r.State())
		}
	})
}

func TestBookHoldsOneRecordingSession(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Book
		machines := map[string]*Machine{}
		n := 0
		for range rapid.IntRange(1, 60).Draw(t, "ops") {
			if rapid.Bool().Draw(t, "start") {
				m := New(fmt.Sprint(n), Config{}, targets(1))
				m.Step(t0, Begin{})
				if err := b.Admit(m.Status()); err == nil {
					machines[m.ID()] = m
					n++
				} else if b.Active() == nil {
					t.Fatalf("refused without an active session: %v", err)
				}
			} else if n > 0 {
				m := machines[fmt.Sprint(rapid.IntRange(0, n-1).Draw(t, "which"))]
				m.Step(t0, drawEvent(t))
				b.Put(m.Status())
			}
			holding := 0
			for _, m := range machines {
				if m.State().HoldsRecorders() {
					holding++
				}
			}
			if holding > 1 {
				t.Fatalf("%d sessions hold the recorders", holding)
			}
		}
	})
}

func TestBookForgetsOnlyEndedSessions(t *testing.T) {
	var b Book
	b.Put(&Status{ID: "job", State: StateConverting})
	for i := range 3 * KeepFinished {
		b.Put(&Status{ID: fmt.Sprint(i), State: StateComplete})
	}
	if _, ok := b.Get("job"); !ok || len(b.All()) != KeepFinished || b.Latest().ID != fmt.Sprint(3*KeepFinished-1) {
		t.Fatalf("%d sessions, job kept %v, latest %s", len(b.All()), ok, b.Latest().ID)
	}
}

// A session that goes on without a rank says of it that it has nothing of it, whatever the
// rank ended of.
func TestLostBeforeRecording(t *testing.T) {
	m := New("S", Config{AllowPartial: true}, targets(2))
	m.Step(t0, Begin{})
	m.Step(t0, Lost{Rank: id(0, 0), Reason: "killed"})
	m.Step(t0, Armed{Rank: id(0, 1)})
	m.Step(t0, Started{Rank: id(0, 1)})
	st := m.Status()
	if r := st.Stages[0].Ranks[0]; r.State != protocol.StateLost || r.Reason != "killed; "+nothingYet {
		t.Errorf("lost while it armed: %s, %q", r.State, r.Reason)
	}
	m.Step(t0, Lost{Rank: id(0, 1), Reason: "killed"})
	if r := m.Status().Stages[0].Ranks[1]; r.Reason != "killed" {
		t.Errorf("lost while it recorded: %q", r.Reason)
	}
}

// TestNoSessionHasNoTimes: what is said where no session is has no instant in the year 1.
func TestNoSessionHasNoTimes(t *testing.T) {
	b, err := json.Marshal(Status{State: StateIdle})
	if err != nil || strings.Contains(string(b), "_at\"") {
		t.Errorf("%s, %v", b, err)
	}
}
