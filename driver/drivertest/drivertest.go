// Package drivertest is the suite that every kind of rank passes: native ranks, processes
// reached over Kineto's daemon protocol, servers driven over HTTP, and programs that speak
// the protocol themselves, over the wire. It tests the life that docs/protocol.md tells
// under "A capture's life in a rank".
package drivertest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// HubLoss is the time after which a Subject takes its hub for lost.
const HubLoss = 1500 * time.Millisecond

// Names of the hubs of the suite: one beats all the time, the other is dead.
const (
	alive  = "alive"
	silent = "silent"
)

const (
	// beat is how often the live hub beats.
	beat = 100 * time.Millisecond
	// patience bounds a wait for what a rank does by itself.
	patience = 60 * time.Second
	// inTime is how far in advance the suite agrees on an instant.
	inTime = 50 * time.Millisecond
)

// Subject is the rank under test. Its process works all the time or, where iterations are
// told, when Iterate is called.
type Subject struct {
	rank.Handler
	// Beat delivers a beat of the hub of that name to the rank.
	Beat func(hub string)
	// Told returns the unasked reports that the rank has made of a session, nil if the
	// suite is not to look for them.
	Told func(session string) []protocol.RankStatus
	// Can is what the profiler can do.
	Can driver.Capabilities
	// Iterate makes n iterations of the rank's work, where Can says that they are told.
	Iterate func(n int)
	// EndsLate says that the profiler's end is fixed when it begins: another session has
	// to wait for it. Length is then how long it records.
	EndsLate bool
	Length   time.Duration
	// Check fails the test unless the files are those of a whole recording.
	Check func(t *testing.T, files []rank.File)
	// CheckPast fails the test unless the files hold iterations of a look back; where Can has a past.
	CheckPast func(t *testing.T, files []rank.File)
	// Left returns the files that the rank has left behind where it writes.
	Left func() []string
	// Succeed puts a new process of the same rank in the place of this one, which ends
	// without leaving; nil where files do not outlive the process.
	Succeed func(t *testing.T)
}

// suite is one run.
type suite struct {
	*Subject
}

// Run runs the suite on what open returns. The same Subject is used for all of it, one
// session after the other.
func Run(t *testing.T, s *Subject) {
	if s.Length == 0 {
		s.Length = time.Hour
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for wait.For(ctx, beat) == nil {
			s.Beat(alive)
		}
	})
	defer wg.Wait()
	defer cancel()
	u := &suite{s}
	for _, c := range []struct {
		name string
		f    func(*testing.T)
	}{
		{"a session", u.session}, {"arm twice", u.armTwice}, {"what cannot be armed", u.refusals},
		{"another hub", u.anotherHub}, {"the same hub arms anew", u.supersede}, {"stop while armed", u.stopArmed},
		{"stop before the instant", u.stopBeforeTheInstant}, {"start twice", u.startTwice},
		{"max duration", u.maxDuration},
		{"hub lost", u.hubLost}, {"unknown sessions", u.unknown}, {"abort", u.abort}, {"keep", u.keep},
		{"arm after stop", u.armAfterStop}, {"iterations", u.iterations}, {"a window that never opens", u.neverOpens},
		{"what it cannot do", u.cannot}, {"many sessions", u.many}, {"a past", u.past}, {"left-overs", u.leftovers},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.f(t)
			u.idle(t)
		})
	}
}

func config() protocol.ProfilerConfig {
	c := protocol.DefaultProfilerConfig()
	c.Profiler, c.WithStack = "torch", false
	return c
}

// request is an arm of the live hub.
func (u *suite) request(change ...func(*protocol.ArmRequest)) protocol.ArmRequest {
	q := protocol.ArmRequest{Session: ulid.Make().String(), Config: config(), MaxDurationNs: int64(u.Length),
		Hub: alive}
	for _, c := range change {
		c(&q)
	}
	return q
}

// arm arms, and waits for a profiler that still ends an earlier session.
func (u *suite) arm(t *testing.T, change ...func(*protocol.ArmRequest)) protocol.ArmRequest {
	t.Helper()
	q := u.request(change...)
	s, err := u.Arm(t.Context(), q)
	for end := time.Now().Add(patience); u.EndsLate && err != nil && time.Now().Before(end); {
		s, err = u.Arm(t.Context(), q)
	}
	if err != nil || s.State != protocol.StateArmed || s.Session != q.Session {
		t.Fatalf("arm: %+v, %v", s, err)
	}
	return q
}

func (u *suite) start(t *testing.T, q protocol.ArmRequest) protocol.RankStatus {
	t.Helper()
	s, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session, AtNs: time.Now().Add(inTime).UnixNano()})
	if err != nil || s.State != protocol.StateRecording {
		t.Fatalf("start: %+v, %v", s, err)
	}
	return s
}

// record is an arm and a start.
func (u *suite) record(t *testing.T, change ...func(*protocol.ArmRequest)) protocol.ArmRequest {
	t.Helper()
	q := u.arm(t, change...)
	u.start(t, q)
	u.work(3)
	return q
}

func (u *suite) work(n int) {
	if u.Iterate != nil {
		u.Iterate(n)
	}
}

func (u *suite) stop(t *testing.T, session string) protocol.RankStatus {
	t.Helper()
	s, err := u.Stop(t.Context(), protocol.StopRequest{Session: session})
	if err != nil || s.State != protocol.StateStopped || s.Session != session {
		t.Fatalf("stop: %+v, %v", s, err)
	}
	return s
}

// collect checks that there is a whole recording, and aborts the session as the hub does.
func (u *suite) collect(t *testing.T, session string) protocol.RankStatus {
	t.Helper()
	s, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: session})
	if err != nil || s.State != protocol.StateStopped || len(over.Files) == 0 {
		t.Fatalf("collect: %+v, %+v, %v", s, over, err)
	}
	u.Check(t, over.Files)
	u.drop(t, session)
	return s
}

// nothing checks that a session has no files, and aborts it.
func (u *suite) nothing(t *testing.T, session string) {
	t.Helper()
	if s, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: session}); err != nil ||
		len(over.Files) > 0 || s.StartedAtNs != 0 {
		t.Errorf("collect of a session that has not recorded: %+v, %+v, %v", s, over, err)
	}
	u.drop(t, session)
}

func (u *suite) drop(t *testing.T, session string) {
	t.Helper()
	if s, err := u.Abort(t.Context(), protocol.AbortRequest{Session: session, Reason: "collected"}); err != nil ||
		s.Session == session {
		t.Errorf("abort: %+v, %v", s, err)
	}
}

// idle checks that a rank is as it was before it was asked for anything.
func (u *suite) idle(t *testing.T) {
	t.Helper()
	s := u.Status(t.Context())
	if s.State != protocol.StateIdle || s.Session != "" || len(s.Held) > 0 {
		t.Errorf("afterwards the rank is %+v", s)
	}
	u.eventually(t, "its files are gone", func() bool { return len(u.Left()) == 0 })
}

func (u *suite) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if wait.Until(ctx, 10*time.Millisecond, ok) != nil {
		t.Fatalf("it did not come that %s; %+v, left: %v", what, u.Status(context.WithoutCancel(t.Context())), u.Left())
	}
}

// ended waits for the end that a rank comes to by itself, and returns it.
func (u *suite) ended(t *testing.T, session string, cause protocol.StopCause) protocol.RankStatus {
	t.Helper()
	u.eventually(t, "it ends by "+string(cause),
		func() bool { return u.Status(t.Context()).State == protocol.StateIdle })
	s := u.stop(t, session)
	if s.StoppedBy != cause {
		t.Errorf("it ended by %q, want %q: %+v", s.StoppedBy, cause, s)
	}
	if u.Told != nil {
		u.eventually(t, "it is told of", func() bool {
			return slices.ContainsFunc(u.Told(session), func(s protocol.RankStatus) bool {
				return s.State == protocol.StateStopped && s.StoppedBy == cause
			})
		})
	}
	return s
}

func (u *suite) refused(t *testing.T, what, why string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("%s: %v; want an error that says %q", what, err, why)
	}
}

func (u *suite) session(t *testing.T) {
	q := u.arm(t)
	if s := u.Status(t.Context()); s.State != protocol.StateArmed || s.Session != q.Session {
		t.Errorf("armed, the rank says %+v", s)
	}
	at := time.Now().Add(inTime)
	s, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session, AtNs: at.UnixNano()})
	if err != nil || s.State != protocol.StateRecording {
		t.Fatalf("start: %+v, %v", s, err)
	}
	late := time.Duration(s.StartedAtNs - at.UnixNano())
	if late < 0 || late > u.Can.Lead+5*time.Second || time.Now().UnixNano() < s.StartedAtNs {
		t.Errorf("it records from %v after the instant on, of at most %v", late, u.Can.Lead)
	}
	_, _, err = u.Collect(t.Context(), protocol.CollectRequest{Session: q.Session})
	u.refused(t, "collect while it records", "recording", err)
	u.work(3)
	first := u.stop(t, q.Session)
	if first.StoppedBy != protocol.StoppedByRequest || first.StoppedAtNs < first.StartedAtNs ||
		first.StartedAtNs != s.StartedAtNs {
		t.Errorf("stopped: %+v", first)
	}
	if again := u.stop(t, q.Session); again.StoppedAtNs != first.StoppedAtNs || again.StoppedBy != first.StoppedBy {
		t.Errorf("a second stop says %+v, the first %+v", again, first)
	}
	if s := u.Status(t.Context()); s.State != protocol.StateIdle || !slices.Equal(s.Held, []string{q.Session}) {
		t.Errorf("stopped and not collected, the rank says %+v", s)
	}
	for range 2 {
		_, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: q.Session})
		if err != nil {
			t.Fatal(err)
		}
		u.Check(t, over.Files)
	}
	u.collect(t, q.Session)
}

func (u *suite) armTwice(t *testing.T) {
	q := u.arm(t)
	if s, err := u.Arm(t.Context(), q); err != nil || s.State != protocol.StateArmed || s.Session != q.Session {
		t.Errorf("armed again: %+v, %v", s, err)
	}
	u.start(t, q)
	u.work(1)
	if s, err := u.Arm(t.Context(), q); err != nil || s.State != protocol.StateRecording {
		t.Errorf("armed while it records: %+v, %v", s, err)
	}
	u.stop(t, q.Session)
	_, err := u.Arm(t.Context(), q)
	u.refused(t, "a session that has ended is armed", "was here already", err)
	u.collect(t, q.Session)
}

func (u *suite) refusals(t *testing.T) {
	for what, change := range map[string]func(*protocol.ArmRequest){
		"no session":        func(q *protocol.ArmRequest) { q.Session = "" },
		"a path":            func(q *protocol.ArmRequest) { q.Session = "../../" + q.Session },
		"no ULID":           func(q *protocol.ArmRequest) { q.Session = "x" },
		"an iteration":      func(q *protocol.ArmRequest) { q.Config.Iteration = "epoch" },
		"a negative number": func(q *protocol.ArmRequest) { q.Config.DelayIterations = -1 },
		"a window of nothing": func(q *protocol.ArmRequest) {
			q.Config.WaitIterations, q.Config.ActiveIterations = 1, 0
		},
	} {
		q := u.request(change)
		if s, err := u.Arm(t.Context(), q); err == nil {
			t.Errorf("%s is armed: %+v", what, s)
		}
	}
}

func (u *suite) anotherHub(t *testing.T) {
	q := u.arm(t)
	other := u.request(func(q *protocol.ArmRequest) { q.Hub = silent })
	_, err := u.Arm(t.Context(), other)
	u.refused(t, "another hub arms", q.Session, err)
	nobody := u.request(func(q *protocol.ArmRequest) { q.Hub = "" })
	_, err = u.Arm(t.Context(), nobody)
	u.refused(t, "nobody's session is armed", q.Session, err)
	u.start(t, q)
	u.work(2)
	_, err = u.Arm(t.Context(), other)
	u.refused(t, "another hub arms while it records", q.Session, err)
	u.stop(t, q.Session)
	u.collect(t, q.Session)
}

func (u *suite) supersede(t *testing.T) {
	armed := u.arm(t)
	next := u.arm(t)
	if s := u.stop(t, armed.Session); s.StoppedBy != protocol.StoppedBySuperseded {
		t.Errorf("the session before: %+v", s)
	}
	if s, err := u.Start(t.Context(), protocol.BeginRequest{Session: armed.Session}); err == nil &&
		s.State != protocol.StateStopped {
		t.Errorf("the session before starts: %+v", s)
	}
	u.nothing(t, armed.Session)
	u.start(t, next)
	u.work(3)
	third := u.arm(t)
	s := u.stop(t, next.Session)
	if s.StoppedBy != protocol.StoppedBySuperseded && (!u.EndsLate || s.StoppedBy != protocol.StoppedByMaxDuration) {
		t.Errorf("the session that recorded: %+v", s)
	}
	u.collect(t, next.Session)
	u.drop(t, third.Session)
}

func (u *suite) stopArmed(t *testing.T) {
	q := u.arm(t)
	s := u.stop(t, q.Session)
	if s.StartedAtNs != 0 || s.Reason == "" || s.StoppedBy != protocol.StoppedByRequest {
		t.Errorf("stopped while armed: %+v", s)
	}
	if s, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session,
		AtNs: time.Now().UnixNano()}); err == nil && s.State != protocol.StateStopped {
		t.Errorf("a start after the stop: %+v", s)
	}
	if s := u.Status(t.Context()); s.State != protocol.StateIdle {
		t.Errorf("the rank is %+v", s)
	}
	u.nothing(t, q.Session)
}

func (u *suite) stopBeforeTheInstant(t *testing.T) {
	q := u.arm(t)
	out := make(chan error, 1)
	go func() {
		s, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session,
			AtNs: time.Now().Add(time.Hour).UnixNano()})
		if err == nil && s.State != protocol.StateStopped {
			err = errors.New("the start says that the rank is " + string(s.State))
		} else {
			err = nil
		}
		out <- err
	}()
	u.stop(t, q.Session)
	select {
	case err := <-out:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the start does not return")
	}
	u.nothing(t, q.Session)
}

func (u *suite) startTwice(t *testing.T) {
	q := u.arm(t)
	first := u.start(t, q)
	u.work(1)
	s, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session,
		AtNs: time.Now().Add(time.Hour).UnixNano()})
	if err != nil || s.State != protocol.StateRecording || s.StartedAtNs != first.StartedAtNs {
		t.Errorf("a second start: %+v, %v; the first %+v", s, err, first)
	}
	u.stop(t, q.Session)
	s, err = u.Start(t.Context(), protocol.BeginRequest{Session: q.Session})
	if err != nil || s.State != protocol.StateStopped {
		t.Errorf("a start after the stop: %+v, %v", s, err)
	}
	u.collect(t, q.Session)
}

func (u *suite) maxDuration(t *testing.T) {
	const d = 300 * time.Millisecond
	q := u.arm(t, func(q *protocol.ArmRequest) { q.MaxDurationNs = int64(d) })
	u.start(t, q)
	u.work(1)
	s := u.ended(t, q.Session, protocol.StoppedByMaxDuration)
	if took := time.Duration(s.StoppedAtNs - s.StartedAtNs); took < d-10*time.Millisecond || took > d+10*time.Second {
		t.Errorf("it recorded for %v, want %v", took, d)
	}
	u.collect(t, q.Session)
}

func (u *suite) hubLost(t *testing.T) {
	fromSilent := func(q *protocol.ArmRequest) { q.Hub = silent }
	armed := u.arm(t, fromSilent)
	if s := u.ended(t, armed.Session, protocol.StoppedByHubLost); s.StartedAtNs != 0 {
		t.Errorf("armed, it recorded: %+v", s)
	}
	u.nothing(t, armed.Session)
	if u.EndsLate && u.Length < 2*HubLoss {
		return // it has ended before
	}
	q := u.record(t, fromSilent)
	u.ended(t, q.Session, protocol.StoppedByHubLost)
	u.collect(t, q.Session)
}

func (u *suite) unknown(t *testing.T) {
	for _, id := range []string{ulid.Make().String(), "x", "../x", ""} {
		_, err := u.Start(t.Context(), protocol.BeginRequest{Session: id})
		u.refused(t, "start", "", err)
		_, err = u.Stop(t.Context(), protocol.StopRequest{Session: id})
		u.refused(t, "stop", "", err)
		_, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: id})
		u.refused(t, "collect", "", err)
		if len(over.Files) > 0 {
			t.Errorf("session %q has files: %v", id, over.Files)
		}
		for _, keep := range []bool{true, false} {
			if s, err := u.Abort(t.Context(), protocol.AbortRequest{Session: id, Keep: keep}); err != nil ||
				s.State != protocol.StateIdle {
				t.Errorf("abort of session %q: %+v, %v", id, s, err)
			}
		}
	}
}

func (u *suite) abort(t *testing.T) {
	armed := u.arm(t)
	u.drop(t, armed.Session)
	u.idle(t)
	q := u.record(t)
	u.drop(t, q.Session)
	if s := u.Status(t.Context()); s.State != protocol.StateIdle {
		t.Errorf("the rank is %+v", s)
	}
	_, err := u.Stop(t.Context(), protocol.StopRequest{Session: q.Session})
	u.refused(t, "stop of what was aborted", "", err)
}

// keep is an abort of the hub that has given a rank up and salvages.
func (u *suite) keep(t *testing.T) {
	q := u.record(t)
	if s, err := u.Abort(t.Context(), protocol.AbortRequest{Session: q.Session, Keep: true}); err != nil ||
		s.State != protocol.StateIdle {
		t.Errorf("abort: %+v, %v", s, err)
	}
	u.stop(t, q.Session)
	u.collect(t, q.Session)
}

func (u *suite) armAfterStop(t *testing.T) {
	a := u.record(t)
	u.stop(t, a.Session)
	b := u.record(t)
	u.stop(t, b.Session)
	if s := u.Status(t.Context()); !slices.Equal(s.Held, []string{a.Session, b.Session}) {
		t.Errorf("held: %v, want both", s.Held)
	}
	u.collect(t, b.Session)
	u.collect(t, a.Session)
}
