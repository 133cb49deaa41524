package hub

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// A hub is killed while it collects, and its ranks with it. What they had recorded was whole:
// the next hub takes it from the spool, or finds it in the run, and nothing is lost.
func TestHubKilledWhileItCollects(t *testing.T) {
	for name, inRun := range map[string]bool{"in the spool": false, "in the run": true} {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			r := newRig(t, func(c *Config) { c.Listen = addr })
			c := r.config(0, 0)
			c.Block = protocol.MethodCollect
			first := spawnRank(t, c)
			r.add(r.config(0, 1))
			r.ready(2)
			st := r.start(protocol.StartRequest{})
			path := r.spooled(st.ID, c.Info.RankID)
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				_, _ = r.StopProfile(t.Context()) // the hub ends before
			}()
			st = r.until(st.ID, func(s *session.Status) bool {
				return s.State == session.StateCollecting && s.RunDir != "" &&
					s.Stages[0].Ranks[1].State == protocol.StateComplete
			})
			if err := r.Hub.Close(); err != nil {
				t.Fatal(err)
			}
			<-stopped
			first.kill(t)
			if inRun {
				moveToRun(t, r, st, path, c.Info.RankID)
			}
			var err error
			if r.Hub, err = Start(t.Context(), r.cfg); err != nil {
				t.Fatal(err)
			}
			again := r.config(0, 0)
			r.add(again) // it has the place before the next hub has asked for the old one
			got := r.until(st.ID, func(s *session.Status) bool { return s.State.Terminal() })
			k := got.Rank(c.Info.RankID)
			if got.State != session.StateComplete || k.State != protocol.StateComplete ||
				!strings.Contains(k.Reason, "hub was killed") {
				t.Errorf("%s (%s), rank %s: %s", got.State, got.Error, k.State, k.Reason)
			}
			if r.verify(got)[c.Info.RankID] == 0 {
				t.Error("nothing was recorded")
			}
		})
	}
}

// moveToRun does what a hub did that died before it wrote it down.
func moveToRun(t *testing.T, r *rig, st *session.Status, path string, id protocol.RankID) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	run, err := r.Store().Reopen(st.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	name := store.ArtifactName(id, "thinker", string(protocol.KindRecording), protocol.RecordingExt)
	if _, err := run.Write(name, protocol.KindRecording, io.Reader(f)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
}
