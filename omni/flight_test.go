package omni

import (
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// Off and on again, on every rank; what happened before is then forgotten.
func TestFlightRecorderCanBeSwitched(t *testing.T) {
	e := open(t, Config{RunsDir: t.TempDir()})
	flight := func(args map[string]any) (replies []protocol.CallReply) {
		t.Helper()
		stages, err := e.CollectiveRPC(t.Context(), protocol.CallFlight, args, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stages {
			replies = append(replies, s.Ranks...)
		}
		return replies
	}
	for _, on := range []bool{true, false, false, true} {
		for _, r := range flight(map[string]any{"on": on}) {
			if !r.OK || r.Result != on {
				t.Errorf("switched to %v: %+v", on, r)
			}
		}
		if on {
			continue
		}
		_, err := e.Flight(t.Context(), protocol.StartRequest{Last: time.Second})
		if err == nil || !strings.Contains(err.Error(), "the flight recorder is off on this rank") {
			t.Errorf("look back without flight recorders: %v", err)
		}
	}
	if _, err := generate(t.Context(), e, say("Remember this.", 3)); err != nil {
		t.Fatal(err)
	}
	st, err := e.Flight(t.Context(), protocol.StartRequest{Last: time.Minute})
	if err != nil || st.State != session.StateComplete {
		t.Errorf("look back: %+v, %v", st, err)
	}
	for _, r := range flight(nil) {
		if r.OK || !strings.Contains(r.Error, "want true or false") {
			t.Errorf("without on: %+v", r)
		}
	}
}

func TestSumDurations(t *testing.T) {
	phases := func(name string, n, sum float64) map[string]any {
		return map[string]any{name: map[string]any{"buckets": []any{}, "count": n, "sum_seconds": sum}}
	}
	reply := func(replica, rank int, result any, why string) protocol.CallReply {
		return protocol.CallReply{RankID: protocol.RankID{Replica: replica, Rank: rank}, OK: why == "", Error: why,
			Result: result}
	}
	sums, silent := SumDurations([]protocol.StageReply{
		{Stage: 0, StageName: "thinker", Ranks: []protocol.CallReply{reply(0, 0, phases("prefill", 2, 0.5), ""),
			reply(0, 1, phases("prefill", 9, 9), ""), reply(1, 0, phases("prefill", 1, 0.25), "")}},
		{Stage: 1, StageName: "talker", Ranks: []protocol.CallReply{reply(0, 0, phases("prefill", 1, 1), ""),
			reply(1, 0, nil, "unknown method")}},
		{Stage: 2, StageName: "vae", Ranks: []protocol.CallReply{reply(0, 0, "pong", "")}},
		{Stage: 3, StageName: "idle", Ranks: []protocol.CallReply{reply(0, 0, map[string]any{}, "")}},
	})
	if len(sums) != 1 || sums[0].Stage != "thinker" || sums[0].Phase != "prefill" || sums[0].Count != 3 ||
		sums[0].SumSeconds != 0.75 {
		t.Errorf("sums %+v: rank 0 of both replicas counts, the other ranks do not", sums)
	}
	if len(silent) != 2 || !strings.Contains(silent["talker"].Error(), "replica 1: unknown method") ||
		silent["vae"] == nil {
		t.Errorf("silent %v", silent)
	}
}
