package outcome

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

func TestEnding(t *testing.T) {
	ranks := func(states ...protocol.RankState) []session.StageStatus {
		s := session.StageStatus{Name: "thinker"}
		for i, state := range states {
			s.Ranks = append(s.Ranks, protocol.RankStatus{RankID: protocol.RankID{Rank: i}, State: state})
		}
		return []session.StageStatus{s}
	}
	collecting := ranks(protocol.StateComplete, protocol.StateStopped, protocol.StateStopped)
	collecting[0].Ranks[1].Writing = &protocol.Writing{Files: 3, Done: 1, Bytes: 3 << 20}
	collecting[0].Ranks[2].Writing = &protocol.Writing{Files: 1, Done: 1, Bytes: 1 << 20, Sent: 512 << 10}
	for _, tt := range []struct {
		st   *session.Status
		want string
	}{
		{nil, ""},
		{&session.Status{State: session.StateRecording, Stages: ranks(protocol.StateRecording)}, ""},
		{&session.Status{State: session.StateComplete, Stages: ranks(protocol.StateComplete)}, ""},
		{&session.Status{State: session.StateStopping, Stages: ranks(protocol.StateRecording, protocol.StateStopped)},
			"stopping: 1 of 2 ranks have stopped"},
		{&session.Status{State: session.StateCollecting, Stages: collecting},
			"collecting: 1 of 3 ranks are done; 4.00 MiB in 4 files, 2 whole, 512 KiB handed over"},
		{&session.Status{State: session.StateConverting}, "converting"},
		{&session.Status{State: session.StateConverting, Progress: &session.Progress{Done: 2, Total: 5, What: "x"}},
			"converting 2 of 5: x"},
	} {
		if got := Ending(tt.st); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	if got := Writing(protocol.Writing{}); got != "no file yet" {
		t.Error(got)
	}
}
