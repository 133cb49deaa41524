package hub

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// elsewhere is a rank whose spool the hub cannot see.
func (r *rig) elsewhere(k int) rankConfig {
	c := r.config(0, k)
	c.Info.Host = "another-host"
	return c
}

// spooled waits until a rank's recording has reached its file, and returns the path.
func (r *rig) spooled(id string, k protocol.RankID) string {
	path := filepath.Join(r.spool, id, k.FileBase()+protocol.RecordingExt)
	waitFor(r.t, func() bool {
		st, err := os.Stat(path)
		return err == nil && st.Size() > 1<<10
	})
	return path
}

// broughtHome checks that the lost rank 0 has a recording in the run and that none
// is left in its spool.
func (r *rig) broughtHome(st *session.Status, spooled string) {
	r.t.Helper()
	k := st.Stages[0].Ranks[0]
	if k.State != protocol.StateLost || r.verify(st)[k.RankID] == 0 {
		r.t.Errorf("%s is %s (%s) with %d steps recorded", k.Text(), k.State, k.Reason, r.verify(st)[k.RankID])
	}
	if _, err := os.Stat(spooled); !os.IsNotExist(err) {
		r.t.Errorf("still in the spool: %v", err)
	}
}

// A rank dies on another host; its successor there hands its recording over.
func TestSuccessorHandsOverWhatTheDeadRankRecorded(t *testing.T) {
	r := newRig(t, nil)
	first, other := r.add(r.elsewhere(0)), r.config(0, 1)
	r.add(other)
	r.ready(2)
	st := r.start(protocol.StartRequest{})
	path := r.spooled(st.ID, first.member.Info().RankID)
	first.nc.Close() // as a killed process: no goodbye, its file as far as it was written
	r.add(r.elsewhere(0))
	r.until(st.ID, func(s *session.Status) bool { return s.Stages[0].Ranks[0].State == protocol.StateLost })
	got := r.stop()
	r.broughtHome(got, path)
	if got.Stages[0].Ranks[1].State != protocol.StateComplete {
		t.Errorf("%+v", got.Stages[0].Ranks[1])
	}
}

// A host is cut off and comes back: the hub had lost its rank, which still records.
func TestRankThatIsBackHandsOverItsRecording(t *testing.T) {
	r := newRig(t, func(c *Config) { c.PresenceTTL = 1500 * time.Millisecond })
	k := r.add(r.elsewhere(0))
	r.add(r.config(0, 1))
	r.ready(2)
	st := r.start(protocol.StartRequest{})
	path := r.spooled(st.ID, k.member.Info().RankID)
	k.cable.cut()
	r.until(st.ID, func(s *session.Status) bool { return s.Stages[0].Ranks[0].State == protocol.StateLost })
	k.cable.mend()
	r.ready(2)
	r.broughtHome(r.stop(), path)
}

// cable is a rank's way to the hub. What is cut waits and arrives later, as TCP does.
type cable struct {
	mu  sync.Mutex
	out chan struct{} // closed by mend; nil while the cable is whole
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = make(chan struct{})
}

func (c *cable) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.out)
	c.out = nil
}

func (c *cable) pass() {
	c.mu.Lock()
	out := c.out
	c.mu.Unlock()
	if out != nil {
		<-out
	}
}

// Dial makes a connection over the cable.
func (c *cable) Dial(network, address string) (net.Conn, error) {
	c.pass()
	conn, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return &cableConn{conn, c}, nil
}

type cableConn struct {
	net.Conn
	over *cable
}

func (c *cableConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.over.pass()
	return n, err
}

func (c *cableConn) Write(p []byte) (int, error) {
	c.over.pass()
	return c.Conn.Write(p)
}

// A rank is silent until its session is over, and comes back: it still records. No profiler
// is on that no session owns, and what it has recorded is there and listed, also if a part
// of it was taken from its spool before.
func TestRankThatIsBackAfterItsSessionIsTurnedOff(t *testing.T) {
	for name, config := range map[string]func(*rig) rankConfig{
		"on another host": func(r *rig) rankConfig { return r.elsewhere(0) },
		"on this host":    func(r *rig) rankConfig { return r.config(0, 0) },
	} {
		t.Run(name, func(t *testing.T) { testRankThatIsBack(t, config) })
	}
}

func testRankThatIsBack(t *testing.T, config func(*rig) rankConfig) {
	r := newRig(t, func(c *Config) { c.PresenceTTL = 1500 * time.Millisecond })
	k := r.add(config(r))
	r.add(r.config(0, 1))
	r.ready(2)
	st := r.start(protocol.StartRequest{})
	path := r.spooled(st.ID, k.member.Info().RankID)
	k.cable.cut()
	r.until(st.ID, func(s *session.Status) bool { return s.Stages[0].Ranks[0].State == protocol.StateLost })
	st = r.stop()
	if s := k.Status(t.Context()); s.State != protocol.StateRecording {
		t.Fatalf("cut off, the rank is %+v", s)
	}
	k.cable.mend()
	r.ready(2)
	waitFor(t, func() bool { return k.Status(t.Context()).State == protocol.StateIdle })
	late := filepath.Join(st.RunDir, "late", "stage0_thinker", "recording_rank0.ksrec")
	waitFor(t, func() bool { _, err := os.Stat(late); return err == nil })
	waitFor(t, func() bool { _, err := os.Stat(path); return os.IsNotExist(err) && r.Strays() == 0 })
	listed := r.until(st.ID, func(s *session.Status) bool {
		return slices.ContainsFunc(s.Stages[0].Ranks[0].Artifacts, func(a protocol.Artifact) bool {
			return a.Name == "late/stage0_thinker/recording_rank0.ksrec" && a.URL != ""
		})
	})
	if reason := listed.Stages[0].Ranks[0].Reason; !strings.Contains(reason, "late/") {
		t.Errorf("reason: %s", reason)
	}
	r.verify(listed)
	f, err := os.Open(late)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, cut := countSteps(t, f); n == 0 || cut != nil {
		t.Errorf("the late recording has %d steps, cut: %v", n, cut)
	}
	// The rank is free for the next session.
	r.start(protocol.StartRequest{})
	r.work(2)
	if st := r.stop(); st.State != session.StateComplete {
		t.Errorf("%+v", st)
	}
}

// A rank that did not hear that it was to drop a session is told again.
func TestRankThatMissedItsAbortIsTurnedOff(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	k := r.ranks[0]
	r.start(protocol.StartRequest{})
	r.work(1)
	st := r.stop()
	// As if the hub's messages had not reached it: armed by this hub for a session that has ended.
	q := protocol.ArmRequest{Session: st.ID, Hub: r.Name(), Config: *k.member.Info().Profiler}
	if _, err := k.Rank.Arm(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Rank.Start(t.Context(), protocol.BeginRequest{Session: st.ID}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return k.Status(t.Context()).State == protocol.StateIdle && r.Strays() == 0 })
	if left := k.Status(t.Context()).Held; len(left) > 0 {
		t.Errorf("held: %v", left)
	}
}
