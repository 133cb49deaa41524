package multihost

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

const (
	// lostBound is how long the hub may take to call silent ranks lost: the presence's
	// life, a beat of the sweep, and as much again on a busy machine.
	lostBound = protocol.PresenceTTL + 2*protocol.HubBeatInterval + 3*time.Second
	// backBound is how long a rank may take to be back after its cable is: TCP tries
	// again at growing intervals, and a connection given up meanwhile is made anew.
	backBound = 30 * time.Second
	// stopBound is how long a stop may take that waits for artifacts and their
	// conversion. A rank that is lost adds nothing to it.
	stopBound = 30 * time.Second
	// lateBy is the delay of what a slow host sends.
	lateBy = 20 * time.Millisecond
)

// The ranks of the built-in pipeline: stage and rank, and where each runs.
var placed = map[string][2]int{
	"b thinker 0": {0, 0}, "c thinker 1": {0, 1}, "b talker 0": {1, 0}, "c code2wav 0": {2, 0},
}

// One hub, ranks on two other hosts, a tensor-parallel replica across them: sessions
// are complete, and a cable that is pulled in the middle of one costs only what was
// behind it.
func TestRanksOnOtherHosts(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	join := l.serve("--nats-listen", "0.0.0.0:4222")
	u, err := url.Parse(join)
	if err != nil || u.Host != "10.77.0.1:4222" || u.User.Username() == "" {
		t.Fatalf("ranks join at %q (%v): want this host's address and a token", join, err)
	}
	l.strangers(u.Host)
	ranks := map[string]*worker{}
	for name, at := range placed {
		ranks[name] = l.worker(name[:1], join, at[0], at[1])
	}
	l.until(60*time.Second, "all ranks", l.healthy)
	for range 3 {
		if err := l.chat(l.ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("complete", func(t *testing.T) { l.complete(t, "whole") })
	t.Run("cut", func(t *testing.T) { l.cut(t) })
	t.Run("cut and mended", func(t *testing.T) { l.cutAndMended(t) })
	t.Run("killed", func(t *testing.T) { l.killed(t, ranks["c code2wav 0"]) })
	t.Run("slow", func(t *testing.T) { l.slow(t, ranks["c code2wav 0"], u) })
}

// strangers try to join without the token.
func (l *lab) strangers(host string) {
	l.t.Helper()
	for _, user := range []string{"", "wrong@"} {
		cmd := l.command(l.ctx, "b", "stranger", l.bin, "worker", "--nats", "nats://"+user+host, "--stage", "0")
		err := cmd.Run()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(l.logged("stranger"), "refuses the token") {
			l.t.Fatalf("a stranger (%q): %v: %s", user, err, l.logged("stranger"))
		}
	}
	if log := l.logged("stranger"); strings.Contains(log, "wrong") {
		l.t.Errorf("the token is in the log: %s", log)
	}
}

// load sends chats until it is ended, and counts how they went.
type load struct {
	ok, failed atomic.Int64
	end        func()
}

func (l *lab) load() *load {
	ctx, cancel := context.WithCancel(l.ctx)
	var wg sync.WaitGroup
	d := &load{end: func() {
		cancel()
		wg.Wait()
	}}
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := l.chat(ctx); err == nil {
					d.ok.Add(1)
				} else if ctx.Err() == nil {
					d.failed.Add(1)
					fmt.Fprintf(l.log("load"), "%v\n", err)
					select { // a client's pause after an error
					case <-time.After(50 * time.Millisecond):
					case <-ctx.Done():
					}
				}
			}
		})
	}
	return d
}

// complete takes a session of all ranks under load.
func (l *lab) complete(t *testing.T, prefix string) *session.Status {
	t.Helper()
	l.t = t
	d := l.load()
	l.start(t, prefix)
	want := d.ok.Load() + 2
	l.until(30*time.Second, "two requests inside the recording", func() bool { return d.ok.Load() >= want })
	st := l.stopWithin(t, stopBound)
	d.end()
	if n := d.failed.Load(); n > 0 {
		t.Errorf("%d requests failed: %s", n, l.logged("load"))
	}
	if st.State != session.StateComplete || ranksOf(st) != len(placed) {
		t.Fatalf("session is %s (%s) with %d ranks", st.State, st.Error, ranksOf(st))
	}
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			if r.State != protocol.StateComplete {
				t.Errorf("%s is %s: %s", r.Text(), r.State, r.Reason)
			}
			l.home(t, st, r)
			if r.Clock.ErrorNs <= 0 || abs(r.Clock.OffsetNs) > r.Clock.ErrorNs {
				t.Errorf("%s: clock %+v: all hosts have one clock here, so 0 must lie within the error", r.Text(),
					r.Clock)
			}
			t.Logf("%s: %d events, %d bytes, clock %+d ±%d ns", r.Text(), r.Events, r.Bytes, r.Clock.OffsetNs,
				r.Clock.ErrorNs)
		}
	}
	return st
}

// home checks that a rank's files are on the hub's host, whole.
func (l *lab) home(t *testing.T, st *session.Status, r protocol.RankStatus) {
	t.Helper()
	kinds := map[protocol.ArtifactKind]bool{}
	for _, a := range r.Artifacts {
		kinds[a.Kind] = true
		if info, err := os.Stat(filepath.Join(st.RunDir, a.Name)); err != nil || info.Size() != a.Size {
			t.Errorf("%s: %s has %d bytes in the manifest: %v", r.Text(), a.Name, a.Size, err)
		}
	}
	if !kinds["recording"] || !kinds["trace"] {
		t.Errorf("%s brought home only %v", r.Text(), kinds)
	}
}

func ranksOf(st *session.Status) (n int) {
	for _, s := range st.Stages {
		n += len(s.Ranks)
	}
	return n
}

func abs(n int64) int64 { return max(n, -n) }

// onC tells the ranks of host c.
func onC(r protocol.RankID) bool { return r.Stage == 2 || r.Stage == 0 && r.Rank == 1 }

// lostOnC waits until the session has lost the ranks of host c, and no others.
func (l *lab) lostOnC(t *testing.T, id string) {
	t.Helper()
	took := l.until(lostBound, "the ranks of c are lost", func() bool {
		for _, s := range l.session(id).Stages {
			for _, r := range s.Ranks {
				if (r.State == protocol.StateLost) != onC(r.RankID) {
					return false
				}
			}
		}
		return true
	})
	t.Logf("lost after %v", took.Round(10*time.Millisecond))
}

// cut pulls c's cable in the middle of a recording and stops while it is out.
func (l *lab) cut(t *testing.T) {
	l.t = t
	d := l.load()
	defer d.end()
	l.start(t, "cut")
	want := d.ok.Load() + 2
	l.until(30*time.Second, "two requests inside the recording", func() bool { return d.ok.Load() >= want })
	id := l.running()
	l.net("cut", "c")
	begin := time.Now()
	l.lostOnC(t, id)
	l.until(lostBound-min(time.Since(begin), lostBound-time.Second), "requests behind the cut fail",
		func() bool { return d.failed.Load() > 0 })
	if !strings.Contains(l.logged("load"), "no sign of life") {
		t.Errorf("requests do not say why they failed: %s", l.logged("load"))
	}
	stop := time.Now()
	st := l.stopWithin(t, stopBound)
	t.Logf("stop took %v", time.Since(stop).Round(10*time.Millisecond))
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			switch want := map[bool]protocol.RankState{true: protocol.StateLost,
				false: protocol.StateComplete}[onC(r.RankID)]; {
			case r.State != want:
				t.Errorf("%s is %s (%s), want %s", r.Text(), r.State, r.Reason, want)
			case want == protocol.StateComplete:
				l.home(t, st, r)
			case r.Reason == "":
				t.Errorf("%s is lost for no reason", r.Text())
			}
		}
	}
	d.end()
	l.net("mend", "c")
	t.Logf("all ranks are back after %v", l.until(backBound, "all ranks are back",
		l.healthy).Round(10*time.Millisecond))
	l.complete(t, "after-cut")
}

// running is the session that records.
func (l *lab) running() string {
	l.t.Helper()
	var list struct{ Data []session.Status }
	if err := l.call(l.ctx, "GET", "/v1/sessions?limit=1", nil, &list); err != nil || len(list.Data) != 1 {
		l.t.Fatalf("%v: %d sessions", err, len(list.Data))
	}
	return list.Data[0].ID
}

// cutAndMended pulls the cable and plugs it in again before the stop: what the lost
// ranks recorded comes home after all.
func (l *lab) cutAndMended(t *testing.T) {
	l.t = t
	d := l.load()
	defer d.end()
	id := l.start(t, "mended").ID
	want := d.ok.Load() + 1
	l.until(30*time.Second, "a request inside the recording", func() bool { return d.ok.Load() >= want })
	l.net("cut", "c")
	l.lostOnC(t, id)
	l.net("mend", "c")
	l.until(backBound, "all ranks are back", l.healthy)
	st := l.stopWithin(t, stopBound)
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			if onC(r.RankID) && r.State != protocol.StateLost {
				t.Errorf("%s is %s", r.Text(), r.State)
			}
			l.home(t, st, r)
		}
	}
}

// killed kills a rank on another host. Its successor finds the recording and hands it
// over, for the session still runs.
func (l *lab) killed(t *testing.T, w *worker) {
	l.t = t
	d := l.load()
	defer d.end()
	l.start(t, "killed")
	want := d.ok.Load() + 1
	l.until(30*time.Second, "a request inside the recording", func() bool { return d.ok.Load() >= want })
	before := w.started()
	spooled := filepath.Join(l.dir, "spool-c", l.running(), "stage2_replica0_rank0.ksrec")
	l.until(20*time.Second, "steps in the spool", func() bool {
		info, err := os.Stat(spooled)
		return err == nil && info.Size() > 4<<10
	})
	w.kill(t)
	l.until(backBound, "the successor says what it found", func() bool {
		return w.started() > before && strings.Contains(l.logged(w.name), "file="+spooled)
	})
	l.until(backBound, "the rank is back", l.healthy)
	st := l.stopWithin(t, stopBound)
	r := st.Stages[2].Ranks[0]
	if r.State != protocol.StateLost {
		t.Errorf("%s is %s", r.Text(), r.State)
	}
	l.home(t, st, r)
	if left, err := filepath.Glob(filepath.Join(l.dir, "spool-c", st.ID, "*")); err != nil || len(left) > 0 {
		t.Errorf("still in the spool: %v, %v", left, err)
	}
}

// slow puts a rank behind a line that is slow in one direction, the worst case for
// clocks: the error grows with it, covers it, and is stated.
func (l *lab) slow(t *testing.T, w *worker, hub *url.URL) {
	l.t = t
	w.end() // its place is taken on a host that no other rank measures the clock of
	far := *hub
	if err := l.tryNet("delay", "d", lateBy.String()); err != nil {
		t.Logf("delayed by a relay: %v", err)
		far.Host = l.relay("d", hub.Host, lateBy)
	}
	l.worker("d", far.String(), 2, 0)
	l.until(backBound, "the rank is back", l.healthy)
	st := l.complete(t, "slow")
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			if slow := r.Stage == 2; slow != (r.Clock.RTTNs >= int64(lateBy)) {
				t.Errorf("%s: clock %+v, slow is %v", r.Text(), r.Clock, slow)
			}
		}
	}
	data, err := os.ReadFile(filepath.Join(st.RunDir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Uncertainty int64 `json:"clock_uncertainty_ns"`
	}
	if err := json.Unmarshal(data, &report); err != nil || report.Uncertainty < int64(lateBy/2) {
		t.Errorf("report: uncertainty %d ns, want %v or more (%v)", report.Uncertainty, lateBy/2, err)
	}
	text := l.command(l.ctx, "a", "report", l.bin, "report", st.RunDir)
	if err := text.Run(); err != nil || !strings.Contains(l.logged("report"), "clocks ±") {
		t.Errorf("the report does not state the clocks' error: %v: %s", err, l.logged("report"))
	}
	for line := range strings.Lines(l.logged("report")) {
		if strings.Contains(line, "clocks ±") {
			t.Log(strings.TrimSpace(line))
		}
	}
}
