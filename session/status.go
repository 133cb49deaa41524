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
	StartedAt time.Time           `json:"started_at"`
	Stages    []StageStatus       `json:"stages"`
	Artifacts []protocol.Artifact `json:"artifacts,omitempty"` // of the run as a whole: timeline, report
	Error     string              `json:"error,omitempty"`
}

// StageStatus is a stage's part in a session: every rank's status.
type StageStatus struct {
	Stage int                   `json:"stage"`
	Name  string                `json:"name"`
	Ranks []protocol.RankStatus `json:"ranks"`
}

// State is where a session is.
type State string

// The states of a session, in order. Complete and Failed end it.
const (
	StateArming     State = "arming"
	StateArmed      State = "armed"
	StateRecording  State = "recording"
	StateStopping   State = "stopping"
	StateCollecting State = "collecting"
	StateConverting State = "converting"
	StateComplete   State = "complete"
	StateFailed     State = "failed"
)
