package hub

import (
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// A rank hands over files of others that nobody knew of: the session has them then, each
// with its own end.
func TestRanksThatAreFoundByTheirFiles(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	id := r.ranks[0].member.Info().RankID
	found, missing := id, id
	found.Rank, missing.Rank = 1, 2
	r.ranks[0].others = func(files []rank.File) []rank.Other {
		return []rank.Other{{ID: found, State: protocol.StateStopped, Files: files},
			{ID: missing, State: protocol.StateFailed, Reason: "no file of it came"}}
	}
	r.start(protocol.StartRequest{})
	r.work(3)
	st := r.stop()
	if len(st.Stages) != 1 || len(st.Stages[0].Ranks) != 3 {
		t.Fatalf("%+v", st)
	}
	for i, want := range []protocol.RankState{protocol.StateComplete, protocol.StateComplete, protocol.StateFailed} {
		k := st.Stages[0].Ranks[i]
		if k.State != want || k.Rank != i || k.StageName != "thinker" ||
			(len(k.Artifacts) > 0) != (want == protocol.StateComplete) {
			t.Errorf("rank %d: %+v", i, k)
		}
	}
	if reason := st.Stages[0].Ranks[2].Reason; reason != "no file of it came" {
		t.Error(reason)
	}
	if steps := r.verify(st); steps[id] == 0 || steps[found] != steps[id] {
		t.Errorf("%v", steps)
	}
}

// While a rank's files are waited for, whoever asks for its session sees how far they are.
func TestASessionShowsHowFarFilesAre(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	k := r.ranks[0]
	k.says, k.wrote = &protocol.Writing{Files: 3, Done: 9, Bytes: 1 << 20, Sent: -1}, make(chan struct{})
	id := r.start(protocol.StartRequest{}).ID
	r.work(3)
	ended := make(chan *session.Status, 1)
	go func() { ended <- r.stop() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var seen *protocol.Writing
	for end := time.Now().Add(20 * time.Second); seen == nil; <-tick.C {
		st, err := r.Session(id)
		if err != nil || time.Now().After(end) {
			t.Fatalf("%+v, %v", st, err)
		}
		seen = st.Stages[0].Ranks[0].Writing
	}
	if want := (protocol.Writing{Files: 3, Done: 3, Bytes: 1 << 20}); *seen != want {
		t.Errorf("%+v, want %+v", *seen, want)
	}
	if all := r.Sessions(); all[0].Stages[0].Ranks[0].Writing == nil || all[0].State != session.StateCollecting {
		t.Errorf("%+v", all[0])
	}
	close(k.wrote)
	if st := <-ended; st.State != session.StateComplete || st.Stages[0].Ranks[0].Writing != nil {
		t.Errorf("%+v", st)
	}
}

// Nobody hands over files in the name of a rank that takes part, or of another stage. What
// the rank itself recorded is taken from its spool then.
func TestARankStandsForNoOther(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*protocol.RankID)
		reason string
	}{
		"taken":    {func(id *protocol.RankID) { id.Rank = 1 }, "does not stand"},
		"stage":    {func(id *protocol.RankID) { id.Stage = 7 }, "does not stand"},
		"pipeline": {func(id *protocol.RankID) { id.Pipeline = "other" }, "does not stand"},
		// The whole answer is refused, and what the rank recorded is taken from its spool.
		"negative": {func(id *protocol.RankID) { id.Replica = -1 }, "it stands for a rank that is none"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.join(2)
			k := r.ranks[0]
			id := k.member.Info().RankID
			tt.change(&id)
			k.others = func(files []rank.File) []rank.Other {
				return []rank.Other{{ID: id, State: protocol.StateStopped, Files: files}}
			}
			r.start(protocol.StartRequest{})
			r.work(1)
			st := r.stop()
			if got := st.Stages[0].Ranks[0]; !strings.Contains(got.Reason, tt.reason) ||
				len(got.Artifacts) == 0 {
				t.Errorf("%+v", got)
			}
			if len(st.Stages) != 1 || len(st.Stages[0].Ranks) != 2 {
				t.Errorf("%+v", st.Stages)
			}
		})
	}
}

func TestPatienceIsThatOfTheSlowestRank(t *testing.T) {
	r := newRig(t, nil)
	c := r.config(0, 0)
	c.Info.LeadNs, c.Info.FlushNs = int64(8*time.Second), int64(1000*time.Hour)
	r.add(c)
	r.ready(1)
	targets, err := r.targets("omni", &protocol.StartRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got := r.patience(targets)
	if got.Start != session.DefaultStartTimeout+8*time.Second ||
		got.Collect != session.DefaultCollectTimeout+protocol.MaxFlush {
		t.Errorf("%+v", got)
	}
}
