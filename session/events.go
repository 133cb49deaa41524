package session

import (
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// Event is something that happened to a session. Events may come in any order,
// twice, or never; what no longer matters changes nothing.
type Event interface{ isEvent() }

// Events of the session as a whole.
type (
	// Begin starts a new session.
	Begin struct{}
	// Resume continues a restored session: unanswered requests are repeated, and recordings are
	// stopped, because no hub watched them meanwhile.
	Resume struct{}
	// Stop ends the recording on all ranks. By says who asked.
	Stop struct{ By string }
	// Cancel gives a session up that does not record yet: its client is gone.
	Cancel struct{ Reason string }
	// Tick says that time has passed; send it at Machine.NextTick.
	Tick struct{}
	// Converted is the end of the conversion. An empty Err is success.
	Converted struct {
		PerRank map[protocol.RankID][]protocol.Artifact
		Run     []protocol.Artifact
		// Lacks says of a rank what could not be made of its files; it becomes part of the
		// rank's reason.
		Lacks map[protocol.RankID]string
		Err   string
	}
)

// Events of one rank.
type (
	// Armed: the rank is ready to record and its clock is known.
	Armed struct {
		Rank  protocol.RankID
		Clock protocol.ClockError
	}
	// Started: the rank records, or waits for the first iteration of its schedule.
	Started struct {
		Rank   protocol.RankID
		Status protocol.RankStatus
		// Clock, if set, replaces the clock measured before the arming.
		Clock *protocol.ClockError
	}
	// Stopped: recording has ended, asked for or not; the rank holds the data.
	Stopped struct {
		Rank   protocol.RankID
		Status protocol.RankStatus
	}
	// Collected: the rank's files are durable in the run.
	Collected struct {
		Rank      protocol.RankID
		Artifacts []protocol.Artifact
		Others    []protocol.RankStatus // ranks that it recorded as well
		// Events and Drops are what the rank counted by then; torch knows only after its
		// export. Zeros leave what the stop said.
		Events, Drops uint64
		// Note is what the rank says its artifacts lack; it becomes the reason of a
		// complete rank.
		Note string
		// Bad says what is wrong with the arrived files, "" if nothing is. If it is set, the rank
		// has failed and its files are kept.
		Bad string
	}
	// Salvaged: what could be had of a rank that ended badly is in the run.
	Salvaged struct {
		Rank      protocol.RankID
		Artifacts []protocol.Artifact
		Note      string // how far the files reach; it is added to the rank's reason
	}
	// Failed: the rank, or an action for it, failed. Of names the action; the event is stale if the
	// rank is past it. Without Of it always counts.
	Failed struct {
		Rank   protocol.RankID
		Of     ActionKind
		Reason string
	}
	// Lost: the rank is gone and will not answer any more. An absent one was not there when
	// the session began, which its Reason says.
	Lost struct {
		Rank   protocol.RankID
		Reason string
		Absent bool
	}
	// TimedOut: the rank lives but did not answer within its bound. Of is as in Failed.
	TimedOut struct {
		Rank   protocol.RankID
		Of     ActionKind
		Reason string
	}
)

func (Begin) isEvent()     {}
func (Resume) isEvent()    {}
func (Stop) isEvent()      {}
func (Cancel) isEvent()    {}
func (Tick) isEvent()      {}
func (Converted) isEvent() {}
func (Armed) isEvent()     {}
func (Started) isEvent()   {}
func (Stopped) isEvent()   {}
func (Collected) isEvent() {}
func (Salvaged) isEvent()  {}
func (Failed) isEvent()    {}
func (Lost) isEvent()      {}
func (TimedOut) isEvent()  {}

// ActionKind says what an Action asks for.
type ActionKind string

// What a session asks its shell to do. The answer comes back as the event named.
const (
	DoArm     ActionKind = "arm"     // probe the clock, arm: Armed
	DoStart   ActionKind = "start"   // start at AtNs: Started
	DoStop    ActionKind = "stop"    // Stopped
	DoCollect ActionKind = "collect" // bring the files home: Collected
	DoSalvage ActionKind = "salvage" // take the spooled files of a rank that cannot answer: Salvaged
	DoAbort   ActionKind = "abort"   // tell the rank to drop the session; no answer is awaited
	DoConvert ActionKind = "convert" // Converted
	DoFinish  ActionKind = "finish"  // the session has ended; write it down
)

// Action is one thing to do. Rank-wise kinds name their rank; any of them may
// also be answered by Failed, Lost or TimedOut.
type Action struct {
	Kind     ActionKind
	Rank     protocol.RankID
	AtNs     int64     // DoStart: rank's clock, Unix ns
	Deadline time.Time // when waiting for the answer is given up
	Reason   string    // DoAbort
	Keep     bool      // DoAbort: the rank keeps its spooled files, they are to be salvaged
}
