package session

import (
	"fmt"
	"slices"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// Timeouts bound how long a session waits for one answer. Zero fields take the defaults.
type Timeouts struct {
	Arm     time.Duration `json:"arm"`     // clock probes and arming
	Start   time.Duration `json:"start"`   // from the agreed instant
	Stop    time.Duration `json:"stop"`    // flushing buffers
	Collect time.Duration `json:"collect"` // upload of one rank's files; also salvage
	Convert time.Duration `json:"convert"` // the conversion of all
}

// Defaults of Timeouts. Control messages are answered in milliseconds by a
// healthy rank, so seconds mean sick; data takes as long as gigabytes take.
const (
	DefaultArmTimeout     = 10 * time.Second
	DefaultStartTimeout   = 10 * time.Second
	DefaultStopTimeout    = 30 * time.Second
	DefaultCollectTimeout = 5 * time.Minute
	DefaultConvertTimeout = 30 * time.Minute
)

// The lead between the decision to start and the agreed instant: long enough
// for the message to reach the farthest rank, never longer than MaxLead.
const (
	MinLead = 25 * time.Millisecond
	MaxLead = 2 * time.Second
	// leadRTTs: one half is the way there; the rest is for the best round trip
	// of several probes being shorter than the usual one.
	leadRTTs = 4
)

// Target is a rank that a session captures.
type Target struct {
	protocol.RankID
	StageName   string                  `json:"stage_name"`
	Incarnation string                  `json:"incarnation"` // the process that was armed
	Config      protocol.ProfilerConfig `json:"config"`      // in force for this rank
	Host        string                  `json:"host,omitempty"`
	SpoolDir    string                  `json:"spool_dir,omitempty"` // on Host; what a salvage reads
}

// Config is what a session was asked to do.
type Config struct {
	Pipeline     string        `json:"pipeline"`
	Prefix       string        `json:"prefix,omitempty"`
	MaxDuration  time.Duration `json:"max_duration_ns"` // 0: protocol.DefaultMaxDuration
	MaxBytes     int64         `json:"max_bytes"`       // per rank; 0: no bound
	AllowPartial bool          `json:"allow_partial"`
	Last         time.Duration `json:"last_ns,omitempty"` // of the flight recorder, instead of a recording
	Timeouts     Timeouts      `json:"timeouts"`
	// Ahead is how long before the agreed instant the ranks have to be told of it, beyond
	// what a message takes: the instant lies so much later.
	Ahead time.Duration `json:"ahead_ns,omitempty"`
}

// Machine is one session. It is a pure value: Step is its only way forward, and
// it has neither clock nor I/O. It is not safe for concurrent use.
type Machine struct{ s Snapshot }

// Snapshot is all that a Machine knows, for keeping it over a restart.
type Snapshot struct {
	ID         string              `json:"id"`
	Config     Config              `json:"config"`
	State      State               `json:"state"`
	Ranks      []RankRecord        `json:"ranks"`
	StartedAt  time.Time           `json:"started_at"`
	FinishedAt time.Time           `json:"finished_at,omitzero"`
	StartAtNs  int64               `json:"start_at_ns,omitempty"`
	StoppedBy  string              `json:"stopped_by,omitempty"`
	Deadline   time.Time           `json:"deadline,omitzero"` // of the recording or the conversion
	Artifacts  []protocol.Artifact `json:"artifacts,omitempty"`
	Error      string              `json:"error,omitempty"`
}

// RankRecord is one rank's part in a Snapshot.
type RankRecord struct {
	Target   Target              `json:"target"`
	Status   protocol.RankStatus `json:"status"`
	Pending  ActionKind          `json:"pending,omitempty"` // asked and not yet answered
	Deadline time.Time           `json:"deadline,omitzero"`
	Salvage  bool                `json:"salvage,omitempty"` // ended badly after it may have recorded
}

// New returns a session over targets that waits for Begin.
func New(id string, c Config, targets []Target) *Machine {
	if c.MaxDuration <= 0 {
		c.MaxDuration = protocol.DefaultMaxDuration
	}
	c.Timeouts = c.Timeouts.WithDefaults()
	m := &Machine{Snapshot{ID: id, Config: c, State: StateIdle}}
	for _, t := range targets {
		m.s.Ranks = append(m.s.Ranks, RankRecord{Target: t, Status: protocol.RankStatus{
			RankID: t.RankID, StageName: t.StageName, State: protocol.StateIdle, Session: id,
		}})
	}
	slices.SortFunc(m.s.Ranks, func(a, b RankRecord) int { return a.Target.Compare(b.Target.RankID) })
	return m
}

// WithDefaults returns t with the defaults in place of what is 0 or less.
func (t Timeouts) WithDefaults() Timeouts {
	for _, f := range []struct {
		d   *time.Duration
		def time.Duration
	}{
		{&t.Arm, DefaultArmTimeout}, {&t.Start, DefaultStartTimeout}, {&t.Stop, DefaultStopTimeout},
		{&t.Collect, DefaultCollectTimeout}, {&t.Convert, DefaultConvertTimeout},
	} {
		if *f.d <= 0 {
			*f.d = f.def
		}
	}
	return t
}

// Restore returns the Machine that s was taken of. Feed it Resume.
func Restore(s Snapshot) *Machine {
	s.Config.Timeouts = s.Config.Timeouts.WithDefaults()
	s.Ranks = slices.Clone(s.Ranks)
	return &Machine{s}
}

// Snapshot returns all that m knows.
func (m *Machine) Snapshot() Snapshot {
	s := m.s
	s.Ranks = slices.Clone(s.Ranks)
	return s
}

// ID returns the session's id.
func (m *Machine) ID() string { return m.s.ID }

// State returns where the session is.
func (m *Machine) State() State { return m.s.State }

// Config returns what the session was asked to do, defaults filled in.
func (m *Machine) Config() Config { return m.s.Config }

// Status returns the session as clients see it: stages in order, every rank in its stage.
func (m *Machine) Status() *Status {
	st := &Status{
		ID: m.s.ID, State: m.s.State, Pipeline: m.s.Config.Pipeline, Prefix: m.s.Config.Prefix,
		StartedAt: m.s.StartedAt, FinishedAt: m.s.FinishedAt, StartAtNs: m.s.StartAtNs,
		StoppedBy: m.s.StoppedBy, Artifacts: slices.Clone(m.s.Artifacts), Error: m.s.Error,
	}
	for _, r := range m.s.Ranks {
		n := len(st.Stages)
		if n == 0 || st.Stages[n-1].Stage != r.Target.Stage {
			st.Stages = append(st.Stages, StageStatus{Stage: r.Target.Stage, Name: r.Target.StageName})
			n++
		}
		rs := r.Status
		rs.Artifacts = slices.Clone(rs.Artifacts)
		st.Stages[n-1].Ranks = append(st.Stages[n-1].Ranks, rs)
	}
	return st
}

// NextTick returns when the next Tick is due; the zero Time if none is.
func (m *Machine) NextTick() time.Time {
	next := m.s.Deadline
	for i := range m.s.Ranks {
		if r := &m.s.Ranks[i]; r.Pending != "" && (next.IsZero() || r.Deadline.Before(next)) {
			next = r.Deadline
		}
	}
	return next
}

// Step processes one event, which happened at now, and returns the actions to perform.
func (m *Machine) Step(now time.Time, ev Event) []Action {
	if m.s.State.Terminal() {
		if _, ok := ev.(Resume); ok {
			return []Action{{Kind: DoFinish}}
		}
		return m.lateAnswer(ev)
	}
	var out []Action
	switch e := ev.(type) {
	case Begin:
		out = m.begin(now)
	case Resume:
		out = m.resume(now)
	case Stop:
		out = m.stop(now, e.By)
	case Cancel:
		if m.s.State == StateArming || m.s.State == StateArmed || m.s.State == StateIdle {
			out = m.abortAll(e.Reason)
		}
	case Tick:
		out = m.tick(now)
	case Converted:
		m.converted(e)
	default:
		out = m.rankEvent(now, ev)
	}
	return append(out, m.advance(now)...)
}

func (m *Machine) rank(id protocol.RankID) *RankRecord {
	for i := range m.s.Ranks {
		if m.s.Ranks[i].Target.RankID == id {
			return &m.s.Ranks[i]
		}
	}
	return nil
}

// count returns how many ranks satisfy ok.
func (m *Machine) count(ok func(*RankRecord) bool) int {
	n := 0
	for i := range m.s.Ranks {
		if ok(&m.s.Ranks[i]) {
			n++
		}
	}
	return n
}

func inState(s protocol.RankState) func(*RankRecord) bool {
	return func(r *RankRecord) bool { return r.Status.State == s }
}

func awaits(k ActionKind) func(*RankRecord) bool {
	return func(r *RankRecord) bool { return r.Pending == k }
}

// ask marks r as waiting for the answer to k and returns the action.
func (r *RankRecord) ask(k ActionKind, deadline time.Time) Action {
	r.Pending, r.Deadline = k, deadline
	return Action{Kind: k, Rank: r.Target.RankID, Deadline: deadline}
}

// end puts r in its end state.
func (r *RankRecord) end(s protocol.RankState, reason string) {
	r.Salvage = r.Status.State == protocol.StateRecording || r.Status.State == protocol.StateStopped ||
		r.Pending == DoStart
	if s == protocol.StateComplete {
		r.Salvage = false
	}
	r.Status.State, r.Pending, r.Deadline = s, "", time.Time{}
	if reason != "" {
		r.Status.Reason = reason
	}
	if s != protocol.StateComplete && r.Status.Reason == "" { // a rank of another make may say no more
		r.Status.Reason = "no reason given; see the rank's log"
	}
}

func (m *Machine) begin(now time.Time) []Action {
	if m.s.State != StateIdle {
		return nil
	}
	m.s.State, m.s.StartedAt = StateArming, now
	var out []Action
	for i := range m.s.Ranks {
		out = append(out, m.s.Ranks[i].ask(DoArm, now.Add(m.s.Config.Timeouts.Arm)))
	}
	return out
}

func (m *Machine) stop(now time.Time, by string) []Action {
	switch m.s.State {
	case StateIdle, StateArming, StateArmed:
		return m.abortAll("stopped before it recorded")
	case StateRecording:
		m.s.State, m.s.StoppedBy, m.s.Deadline = StateStopping, by, time.Time{}
		return m.askAll(DoStop, inState(protocol.StateRecording), now.Add(m.s.Config.Timeouts.Stop))
	}
	return nil
}

func (m *Machine) askAll(k ActionKind, which func(*RankRecord) bool, deadline time.Time) []Action {
	var out []Action
	for i := range m.s.Ranks {
		if r := &m.s.Ranks[i]; which(r) {
			out = append(out, r.ask(k, deadline))
		}
	}
	return out
}

// abortAll fails a session that does not record as a whole; ranks that may be
// armed are told, and nothing is kept.
func (m *Machine) abortAll(reason string) []Action {
	var out []Action
	for i := range m.s.Ranks {
		r := &m.s.Ranks[i]
		if r.Status.State.Terminal() {
			continue
		}
		if r.Status.State != protocol.StateIdle || r.Pending != "" {
			out = append(out, Action{Kind: DoAbort, Rank: r.Target.RankID, Reason: reason})
		}
		r.end(protocol.StateFailed, "aborted: "+reason)
	}
	for i := range m.s.Ranks {
		m.s.Ranks[i].Salvage, m.s.Ranks[i].Pending = false, ""
	}
	m.s.State, m.s.Error = StateFailed, reason
	return out
}

func (m *Machine) tick(now time.Time) []Action {
	var out []Action
	for i := range m.s.Ranks {
		r := &m.s.Ranks[i]
		if r.Pending != "" && !now.Before(r.Deadline) {
			out = append(out, m.badEnd(r, protocol.StateTimedOut, fmt.Sprintf("no answer to %s in time", r.Pending))...)
		}
	}
	if !m.s.Deadline.IsZero() && !now.Before(m.s.Deadline) {
		m.s.Deadline = time.Time{}
		switch m.s.State {
		case StateRecording:
			out = append(out, m.stop(now, string(protocol.StoppedByMaxDuration))...)
		case StateConverting:
			m.converted(Converted{Err: "no end of the conversion in " + m.s.Config.Timeouts.Convert.String()})
		}
	}
	return out
}

// badEnd ends r as failed, lost or timed out. A rank that lives is told to drop
// the session, so that no profiler stays on; it keeps spooled files that are to
// be salvaged.
func (m *Machine) badEnd(r *RankRecord, s protocol.RankState, reason string) []Action {
	if r.Pending == DoSalvage { // already ended; the salvage came to nothing
		r.Pending, r.Salvage, r.Deadline = "", false, time.Time{}
		r.explain(nothingTaken + ": " + reason)
		return nil
	}
	if r.Status.State.Terminal() {
		return nil
	}
	r.end(s, reason)
	if !r.Salvage && (s == protocol.StateLost || s == protocol.StateTimedOut) {
		r.explain(nothingYet)
	}
	if s == protocol.StateLost {
		return nil
	}
	return []Action{{Kind: DoAbort, Rank: r.Target.RankID, Reason: reason, Keep: r.Salvage}}
}

// nothingYet is said of a rank of whose end its reason does not tell that it came before the
// recording.
const nothingYet = "it had recorded nothing yet"

// nothingTaken is said of a rank that ended badly after it may have recorded, and of which no file
// was found.
const nothingTaken = "nothing of what it recorded was there to take"

// explain adds to why r stands as it does.
func (r *RankRecord) explain(more string) {
	switch {
	case more == "":
	case r.Status.Reason == "":
		r.Status.Reason = more
	default:
		r.Status.Reason += "; " + more
	}
}

// converted ends the session with what the conversion made. It is complete if every rank
// is and nothing is lacking, failed if nothing could be made of any recording, else partial.
func (m *Machine) converted(e Converted) {
	if m.s.State != StateConverting {
		return
	}
	lacking, made := "", len(e.Run)
	for i := range m.s.Ranks {
		r := &m.s.Ranks[i]
		r.Status.Artifacts = append(slices.Clip(r.Status.Artifacts), e.PerRank[r.Target.RankID]...)
		made += len(e.PerRank[r.Target.RankID])
		if what := e.Lacks[r.Target.RankID]; what != "" {
			r.explain(what)
			if lacking == "" {
				lacking = m.describe(r)
			}
		}
	}
	m.s.Artifacts = append(slices.Clip(m.s.Artifacts), e.Run...)
	m.s.Deadline = time.Time{}
	bad := m.firstBad()
	switch {
	case e.Err != "" && made == 0:
		m.s.State, m.s.Error = StateFailed, "convert: "+e.Err
	case made == 0 && m.count(inState(protocol.StateComplete)) == 0:
		m.s.State, m.s.Error = StateFailed, bad
	case e.Err != "":
		m.s.State, m.s.Error = StatePartial, "convert: "+e.Err
	case bad != "":
		m.s.State, m.s.Error = StatePartial, bad
	case lacking != "":
		m.s.State, m.s.Error = StatePartial, lacking
	default:
		m.s.State = StateComplete
	}
}
