// Package session is the state machine of one capture, from start to its end
// state. It does no I/O and has no clock of its own: package hub feeds it.
package session

import (
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// Status is a session as its clients see it.
type Status struct {
	ID        string              `json:"id"`
	State     State               `json:"state"`
	Prefix    string              `json:"prefix,omitempty"`
	RunDir    string              `json:"run_dir,omitempty"`
	StartedAt time.Time           `json:"started_at,omitzero"` // left out where no session is
	Stages    []StageStatus       `json:"stages"`
	Artifacts []protocol.Artifact `json:"artifacts,omitempty"` // of the run as a whole: timeline, report
	Error     string              `json:"error,omitempty"`
	// WaitsFor is what a session needs that has ended and whose run is not finished: room
	// in the run store. The run has no manifest until then, and State may become better.
	WaitsFor string `json:"waits_for,omitempty"`

	Pipeline string `json:"pipeline,omitempty"`
	// "request", "max_duration", "ranks" (all stopped by themselves), ...
	StoppedBy  string    `json:"stopped_by,omitempty"`
	StartAtNs  int64     `json:"start_at_ns,omitempty"` // the agreed instant, hub's clock, Unix ns
	FinishedAt time.Time `json:"finished_at,omitzero"`
	Progress   *Progress `json:"progress,omitempty"` // of the conversion job while it runs
}

// Bounds is where a session that is under way ends by itself. A zero field is no bound.
type Bounds struct {
	Until    time.Time `json:"until,omitzero"` // on every rank, the hub's clock
	MaxBytes int64     `json:"max_bytes,omitempty"`
	// MaxIterations of each stage that has such a bound, by its id.
	MaxIterations map[int]int `json:"max_iterations,omitempty"`
}

// Progress is how far a job has come. A conversion goes through the ranks that left files
// in the order of the status, then makes the timeline and the report of all.
type Progress struct {
	Done  int    `json:"done"`
	Total int    `json:"total"`
	What  string `json:"what,omitempty"`
}

// Rank returns the status of one rank, nil if the session has no such rank.
func (s *Status) Rank(id protocol.RankID) *protocol.RankStatus {
	for i := range s.Stages {
		for j := range s.Stages[i].Ranks {
			if r := &s.Stages[i].Ranks[j]; r.RankID == id {
				return r
			}
		}
	}
	return nil
}

// StageStatus is a stage's part in a session: every rank's status.
type StageStatus struct {
	Stage int                   `json:"stage"`
	Name  string                `json:"name"`
	Ranks []protocol.RankStatus `json:"ranks"`
}

// State is where a session is.
type State string

// The states of a session, in order. The last three end it.
const (
	StateIdle       State = "idle" // no session: what a stop answers when nothing was recording
	StateArming     State = "arming"
	StateArmed      State = "armed"
	StateRecording  State = "recording"
	StateStopping   State = "stopping"
	StateCollecting State = "collecting"
	StateConverting State = "converting"
	StateComplete   State = "complete"
	// StatePartial is a run that is incomplete: a rank did not complete, or its recording could not
	// be read or converted wholly. Error says what is missing, the ranks say why.
	StatePartial State = "partial"
	StateFailed  State = "failed" // nothing came home
)

// Terminal reports whether s ends a session.
func (s State) Terminal() bool {
	return s == StateComplete || s == StatePartial || s == StateFailed
}

// HoldsRecorders reports whether a session in state s may be using the ranks'
// recorders: while one does, no other session starts.
func (s State) HoldsRecorders() bool {
	switch s {
	case StateArming, StateArmed, StateRecording, StateStopping:
		return true
	}
	return false
}
