package drivertest

import (
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/protocol"
)

func (u *suite) iterations(t *testing.T) {
	two := func(q *protocol.ArmRequest) { q.Config.MaxIterations = 2 }
	if u.Can.NoDelay == "" {
		two = func(q *protocol.ArmRequest) { q.Config.DelayIterations, q.Config.MaxIterations = 1, 2 }
	}
	switch u.Can.Iterations {
	case driver.IterationsNone:
		_, err := u.Arm(t.Context(), u.request(two))
		u.refused(t, "iterations", u.Can.NoIterations, err)
	case driver.IterationsTold:
		q := u.arm(t, two)
		u.work(4) // before the start: not counted
		u.start(t, q)
		u.work(6)
		if s := u.ended(t, q.Session, protocol.StoppedByIterations); s.Iterations != 2 {
			t.Errorf("%d iterations, want 2", s.Iterations)
		}
		u.collect(t, q.Session)
	case driver.IterationsCounted:
		q := u.arm(t, two)
		u.start(t, q)
		u.ended(t, q.Session, protocol.StoppedByIterations)
		u.collect(t, q.Session)
	}
}

func (u *suite) neverOpens(t *testing.T) {
	if u.Can.Iterations != driver.IterationsTold {
		t.Skip("the profiler counts for itself, or not at all")
	}
	q := u.arm(t, func(q *protocol.ArmRequest) { q.Config.DelayIterations = 1000 })
	u.start(t, q)
	u.work(2)
	if s := u.stop(t, q.Session); s.StartedAtNs != 0 || !strings.Contains(s.Reason, "schedule") {
		t.Errorf("%+v", s)
	}
	u.nothing(t, q.Session)
}

// cannot checks that what the profiler cannot do is refused before anything starts.
func (u *suite) cannot(t *testing.T) {
	for _, c := range []struct {
		why    string
		change func(*protocol.ArmRequest)
	}{
		{u.Can.NoDelay, func(q *protocol.ArmRequest) { q.Config.DelayIterations = 3 }},
		{u.Can.NoWarmup, func(q *protocol.ArmRequest) { q.Config.WarmupIterations = 3 }},
		{u.Can.NoPast, func(q *protocol.ArmRequest) { q.LastNs = int64(time.Second) }},
		{u.Can.NoSampling, func(q *protocol.ArmRequest) { q.Config.SampleRequests = 4 }},
		{u.Can.NoBytes, func(q *protocol.ArmRequest) { q.MaxBytes = 1 << 20 }},
	} {
		if c.why != "" {
			_, err := u.Arm(t.Context(), u.request(c.change))
			u.refused(t, "what it cannot do", c.why, err)
		}
	}
}

// past checks a look back: at the instant the rank takes what it remembers, and ends by itself.
func (u *suite) past(t *testing.T) {
	if u.Can.NoPast != "" {
		t.Skip("there is no past: " + u.Can.NoPast)
	}
	u.work(3)
	const last = time.Minute
	q := u.arm(t, func(q *protocol.ArmRequest) { q.LastNs = int64(last) })
	at := time.Now()
	s, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session, AtNs: at.UnixNano()})
	if err != nil || s.State != protocol.StateStopped && s.State != protocol.StateRecording {
		t.Fatalf("start: %+v, %v", s, err)
	}
	s = u.ended(t, q.Session, protocol.StoppedByFlight)
	if s.StartedAtNs == 0 || s.StartedAtNs > at.UnixNano() || s.StoppedAtNs < at.UnixNano() {
		t.Errorf("it looked back from %d to %d, asked for at %d", s.StartedAtNs, s.StoppedAtNs, at.UnixNano())
	}
	_, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: q.Session})
	if err != nil || len(over.Files) == 0 {
		t.Fatalf("collect: %+v, %v", over, err)
	}
	u.CheckPast(t, over.Files)
	u.drop(t, q.Session)
}

// many checks that a rank remembers few sessions, and loses the files of none that a
// successor would find.
func (u *suite) many(t *testing.T) {
	const more = 10
	var ids []string
	for range more {
		q := u.arm(t)
		if u.Succeed != nil {
			u.start(t, q)
			u.work(1)
		}
		u.stop(t, q.Session)
		ids = append(ids, q.Session)
	}
	if n := len(u.Status(t.Context()).Held); n >= more {
		t.Errorf("%d sessions are remembered", n)
	}
	for _, id := range ids {
		if u.Succeed != nil {
			u.collect(t, id)
		} else {
			u.drop(t, id)
		}
	}
}

func (u *suite) leftovers(t *testing.T) {
	if u.Succeed == nil {
		t.Skip("files do not outlive the process")
	}
	q := u.record(t)
	u.stop(t, q.Session)
	if _, _, err := u.Collect(t.Context(), protocol.CollectRequest{Session: q.Session}); err != nil {
		t.Fatal(err)
	}
	u.Succeed(t)
	s, over, err := u.Collect(t.Context(), protocol.CollectRequest{Session: q.Session})
	if err != nil || s.State != protocol.StateStopped || s.Reason == "" {
		t.Fatalf("the successor hands over %+v, %v", s, err)
	}
	u.Check(t, over.Files)
	if _, err := u.Abort(t.Context(), protocol.AbortRequest{Session: q.Session, Keep: true}); err != nil {
		t.Error(err)
	}
	if len(u.Left()) == 0 {
		t.Error("an abort that keeps has removed what was left")
	}
	u.drop(t, q.Session)
}
