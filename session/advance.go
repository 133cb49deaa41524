package session

import (
	"fmt"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// rankEvent takes what one rank answered, or what became of it.
func (m *Machine) rankEvent(now time.Time, ev Event) []Action {
	switch e := ev.(type) {
	case Armed:
		if r := m.rank(e.Rank); r != nil && r.Pending == DoArm {
			r.Pending, r.Status.State, r.Status.Clock = "", protocol.StateArmed, e.Clock
			return nil
		}
	case Started:
		if r := m.rank(e.Rank); r != nil && r.Pending == DoStart {
			if e.Clock != nil {
				r.Status.Clock = *e.Clock
			}
			if e.Status.State == protocol.StateStopped || e.Status.State == protocol.StateFailed {
				return m.stopped(r, e.Status) // it was over, well or badly, before the answer left
			}
			r.Pending, r.Status.State = "", protocol.StateRecording
			m.take(r, e.Status)
			return nil
		}
	case Stopped:
		if r := m.rank(e.Rank); r != nil && (r.Status.State == protocol.StateRecording || r.Pending == DoStart) {
			return m.stopped(r, e.Status)
		}
	case Collected:
		defer m.found(e.Rank, e.Others) // its records move: after all else
		if r := m.rank(e.Rank); r != nil && r.Pending == DoCollect {
			r.Status.Artifacts = e.Artifacts
			r.Status.Events, r.Status.Drops = max(r.Status.Events, e.Events), max(r.Status.Drops, e.Drops)
			if e.Bad != "" {
				r.end(protocol.StateFailed, e.Bad)
				r.Salvage = false // its files are here
				return nil
			}
			r.end(protocol.StateComplete, e.Note)
			return nil
		}
	case Salvaged:
		if r := m.rank(e.Rank); r != nil && r.Pending == DoSalvage {
			r.Pending, r.Salvage, r.Deadline = "", false, time.Time{}
			r.Status.Artifacts = e.Artifacts
			if e.Note == "" && len(e.Artifacts) == 0 {
				e.Note = nothingTaken
			}
			r.explain(e.Note)
			return nil
		}
	case Failed:
		if r := m.rank(e.Rank); r != nil && (e.Of == "" || e.Of == r.Pending) {
			return m.badEnd(r, protocol.StateFailed, e.Reason)
		}
	case Lost:
		// What can be salvaged needs no live rank, so its loss does not end the salvage.
		r := m.rank(e.Rank)
		switch {
		case r == nil || r.Pending == DoSalvage:
		case e.Absent && !r.Status.State.Terminal():
			r.end(protocol.StateLost, e.Reason)
			return nil
		default:
			return m.badEnd(r, protocol.StateLost, e.Reason)
		}
	case TimedOut:
		if r := m.rank(e.Rank); r != nil && (e.Of == "" || e.Of == r.Pending) {
			return m.badEnd(r, protocol.StateTimedOut, e.Reason)
		}
	}
	return m.lateAnswer(ev)
}

// lateAnswer returns an abort for a rank that turns out to be armed or recording
// after the session gave it up.
func (m *Machine) lateAnswer(ev Event) []Action {
	var id protocol.RankID
	switch e := ev.(type) {
	case Armed:
		id = e.Rank
	case Started:
		id = e.Rank
	default:
		return nil
	}
	if r := m.rank(id); r != nil && r.Status.State.Terminal() {
		return []Action{{Kind: DoAbort, Rank: id, Reason: "answered too late"}}
	}
	return nil
}

func (m *Machine) stopped(r *RankRecord, s protocol.RankStatus) []Action {
	m.take(r, s)
	if s.State == protocol.StateFailed {
		return m.badEnd(r, protocol.StateFailed, s.Reason)
	}
	r.Pending, r.Deadline, r.Status.State = "", time.Time{}, protocol.StateStopped
	return nil
}

// take copies what only the rank knows.
func (m *Machine) take(r *RankRecord, s protocol.RankStatus) {
	r.Status.StartedAtNs, r.Status.StoppedAtNs = s.StartedAtNs, s.StoppedAtNs
	r.Status.Events, r.Status.Bytes, r.Status.Drops = s.Events, s.Bytes, s.Drops
	r.Status.Iterations, r.Status.StoppedBy = s.Iterations, s.StoppedBy
	if s.Reason != "" {
		r.Status.Reason = s.Reason
	}
}

// advance moves the session on as far as its ranks allow.
func (m *Machine) advance(now time.Time) []Action {
	var out []Action
	for {
		before := m.s.State
		out = append(out, m.advanceOnce(now)...)
		if m.s.State.Terminal() {
			m.s.FinishedAt = now
			m.s.Deadline = time.Time{}
			return append(out, Action{Kind: DoFinish})
		}
		if m.s.State == before {
			return out
		}
	}
}

func (m *Machine) advanceOnce(now time.Time) []Action {
	switch m.s.State {
	case StateArming:
		return m.afterArming(now)
	case StateArmed:
		return m.afterStarting(now)
	case StateRecording:
		if m.count(inState(protocol.StateRecording)) == 0 {
			m.s.State, m.s.StoppedBy, m.s.Deadline = StateStopping, "ranks", time.Time{}
		}
	case StateStopping:
		if m.count(inState(protocol.StateRecording)) == 0 {
			m.s.State = StateCollecting
			deadline := now.Add(m.s.Config.Timeouts.Collect)
			out := m.askAll(DoCollect, inState(protocol.StateStopped), deadline)
			return append(out, m.askAll(DoSalvage, func(r *RankRecord) bool { return r.Salvage }, deadline)...)
		}
	case StateCollecting:
		return m.afterCollecting(now)
	}
	return nil
}

func (m *Machine) afterArming(now time.Time) []Action {
	if m.count(awaits(DoArm)) > 0 {
		// The answer is known as soon as one rank says no.
		if bad := m.firstBad(); bad != "" && !m.s.Config.AllowPartial {
			return m.abortAll(bad)
		}
		return nil
	}
	armed := m.count(inState(protocol.StateArmed))
	if armed == 0 || armed < len(m.s.Ranks) && !m.s.Config.AllowPartial {
		reason := m.firstBad()
		if reason == "" {
			reason = "there is no rank to record"
		}
		return m.abortAll(reason)
	}
	m.s.State = StateArmed
	at := now.Add(m.lead() + m.s.Config.Ahead)
	m.s.StartAtNs = at.UnixNano()
	out := m.askAll(DoStart, inState(protocol.StateArmed), at.Add(m.s.Config.Timeouts.Start))
	for i := range out {
		out[i].AtNs = m.s.StartAtNs - m.rank(out[i].Rank).Status.Clock.OffsetNs
	}
	return out
}

// lead is how far ahead the agreed instant lies, from the slowest round trip measured.
func (m *Machine) lead() time.Duration {
	var rtt int64
	for i := range m.s.Ranks {
		if r := &m.s.Ranks[i]; r.Status.State == protocol.StateArmed {
			rtt = max(rtt, r.Status.Clock.RTTNs)
		}
	}
	rtt = min(rtt, int64(MaxLead)) // no overflow below, whatever was measured
	return min(MinLead+leadRTTs*time.Duration(rtt), MaxLead)
}

// firstBad names the first rank that ended badly, "" if none did.
func (m *Machine) firstBad() string {
	for i := range m.s.Ranks {
		r := &m.s.Ranks[i]
		if r.Status.State.Terminal() && r.Status.State != protocol.StateComplete {
			return m.describe(r)
		}
	}
	return ""
}

// describe says in a line how r stands and why.
func (m *Machine) describe(r *RankRecord) string {
	return fmt.Sprintf("stage %d (%s) replica %d rank %d: %s: %s", r.Target.Stage, r.Target.StageName,
		r.Target.Replica, r.Target.Rank, r.Status.State, r.Status.Reason)
}

func (m *Machine) afterStarting(now time.Time) []Action {
	bad := m.firstBad()
	if bad != "" && !m.s.Config.AllowPartial {
		return m.abortAll(bad)
	}
	if m.count(awaits(DoStart)) > 0 {
		return nil
	}
	if m.count(inState(protocol.StateRecording))+m.count(inState(protocol.StateStopped)) == 0 {
		return m.abortAll(bad)
	}
	m.s.State = StateRecording
	m.s.Deadline = now.Add(m.s.Config.MaxDuration)
	return nil
}

func (m *Machine) afterCollecting(now time.Time) []Action {
	if m.count(awaits(DoCollect)) > 0 || m.count(awaits(DoSalvage)) > 0 {
		return nil
	}
	// A rank that ended badly while it was being collected may still have its file here.
	deadline := now.Add(m.s.Config.Timeouts.Collect)
	if out := m.askAll(DoSalvage, func(r *RankRecord) bool { return r.Salvage }, deadline); len(out) > 0 {
		return out
	}
	if m.count(func(r *RankRecord) bool { return len(r.Status.Artifacts) > 0 }) == 0 {
		// Nothing to convert: either every schedule was still waiting, or all is lost.
		m.s.State = StateComplete
		if complete := m.count(inState(protocol.StateComplete)); complete == 0 {
			m.s.State, m.s.Error = StateFailed, "no rank left a recording: "+m.firstBad()
		} else if complete < len(m.s.Ranks) {
			m.s.State, m.s.Error = StatePartial, m.firstBad()
		}
		return nil
	}
	m.s.State = StateConverting
	m.s.Deadline = now.Add(m.s.Config.Timeouts.Convert)
	return []Action{{Kind: DoConvert, Deadline: m.s.Deadline}}
}

// resume repeats the requests that were unanswered before the restart.
func (m *Machine) resume(now time.Time) []Action {
	const reason = "the hub restarted before the session recorded"
	t := m.s.Config.Timeouts
	switch m.s.State {
	case StateIdle, StateArming, StateArmed:
		return m.abortAll(reason)
	case StateRecording:
		return m.stop(now, "hub_restart")
	case StateStopping:
		return m.askAll(DoStop, inState(protocol.StateRecording), now.Add(t.Stop))
	case StateCollecting:
		out := m.askAll(DoCollect, inState(protocol.StateStopped), now.Add(t.Collect))
		return append(out, m.askAll(DoSalvage, func(r *RankRecord) bool { return r.Salvage }, now.Add(t.Collect))...)
	case StateConverting:
		m.s.Deadline = now.Add(t.Convert)
		return []Action{{Kind: DoConvert, Deadline: m.s.Deadline}}
	}
	return nil
}
