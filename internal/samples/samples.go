// Package samples keeps what versions of this program wrote, so that every later one is
// held to reading it: recordings, manifests, messages, indexes. There is a directory of
// testdata for each version of a format and each time that fields came; command gen made
// them with the code of that day.
package samples

import (
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store"
)

// Messages are what hub and ranks tell each other, and what a run keeps: by the name that a
// sample has in messages.json, the zero value of its type.
func Messages() map[string]any {
	return map[string]any{
		"presence": protocol.RankInfo{}, "status": protocol.RankStatus{}, "beat": protocol.HubBeat{},
		"probe": protocol.ClockProbe{}, "clock": protocol.ClockReply{},
		"arm": protocol.ArmRequest{}, "start": protocol.BeginRequest{}, "stop": protocol.StopRequest{},
		"collect": protocol.CollectRequest{}, "abort": protocol.AbortRequest{},
		"call": protocol.CallRequest{}, "reply": protocol.CallReply{}, "stage": protocol.StageReply{},
		"config": protocol.ProfilerConfig{}, "manifest": store.Manifest{},
	}
}
