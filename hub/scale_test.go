package hub

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// simulatedRank is the least that a rank is: it arms, starts, stops and hands over a small
// file, all at once. What it costs is the control plane's.
type simulatedRank struct {
	dir string

	mu     sync.Mutex
	status protocol.RankStatus
	file   string
}

func (s *simulatedRank) set(session string, state protocol.RankState) (protocol.RankStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Session, s.status.State = session, state
	return s.status, nil
}

func (s *simulatedRank) Arm(_ context.Context, r protocol.ArmRequest) (protocol.RankStatus, error) {
	return s.set(r.Session, protocol.StateArmed)
}

func (s *simulatedRank) Start(_ context.Context, r protocol.BeginRequest) (protocol.RankStatus, error) {
	st, _ := s.set(r.Session, protocol.StateRecording)
	st.StartedAtNs = r.AtNs
	return st, nil
}

func (s *simulatedRank) Stop(_ context.Context, r protocol.StopRequest) (protocol.RankStatus, error) {
	s.mu.Lock()
	s.file = filepath.Join(s.dir, "trace.json")
	err := os.WriteFile(s.file, []byte(`{"traceEvents": []}`), 0o600)
	s.mu.Unlock()
	if err != nil {
		return protocol.RankStatus{}, err
	}
	return s.set(r.Session, protocol.StateStopped)
}

func (s *simulatedRank) Collect(_ context.Context, r protocol.CollectRequest) (protocol.RankStatus, rank.Handover,
	error) {
	st, err := s.set(r.Session, protocol.StateStopped)
	return st, rank.Handover{Files: []rank.File{{Name: "trace.json", Kind: protocol.KindTrace, Path: s.file}}}, err
}

func (s *simulatedRank) Abort(_ context.Context, r protocol.AbortRequest) (protocol.RankStatus, error) {
	return s.set(r.Session, protocol.StateIdle)
}

func (s *simulatedRank) Status(context.Context) protocol.RankStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *simulatedRank) Call(context.Context, protocol.CallRequest) (any, error) { return nil, nil }

// scaleRanks is how many ranks the control plane is tried with in every test run;
// KINETOSCOPE_SCALE asks for more, on a machine that does nothing else.
const scaleRanks = 96

func simulated(t *testing.T) int {
	t.Helper()
	text := os.Getenv("KINETOSCOPE_SCALE")
	if text == "" {
		return scaleRanks
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("KINETOSCOPE_SCALE: %v", err)
	}
	return n
}

// Hundreds of ranks join, are armed, begin at one instant, stop, and every one's file
// comes home. docs/scale.md has the figures that this prints.
func TestManyRanks(t *testing.T) {
	if testing.Short() {
		t.Skip("hundreds of connections; unit tests make them")
	}
	n := simulated(t)
	r := newRig(t, nil)
	dir := t.TempDir()
	before := heap()
	began := time.Now()
	var mu sync.Mutex
	var members []*rank.Member
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(8)
	for k := range n {
		g.Go(func() error {
			info := r.config(k%3, k/3).Info
			info.WorldSize = (n + 2) / 3
			nc, err := link.Config{URL: r.ClientURL(), As: info.Identity()}.Connect()
			if err != nil {
				return err
			}
			home := filepath.Join(dir, fmt.Sprint(k))
			if err := os.Mkdir(home, 0o700); err != nil {
				return err
			}
			m, err := rank.Join(ctx, nc, info, &simulatedRank{dir: home,
				status: protocol.RankStatus{State: protocol.StateIdle}})
			if err != nil {
				return err
			}
			mu.Lock()
			members = append(members, m)
			mu.Unlock()
			t.Cleanup(func() {
				_ = m.Leave(context.Background())
				nc.Close()
			})
			return m.SetReady(ctx, true)
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	r.ready(n)
	joined := time.Now()
	st := r.start(protocol.StartRequest{})
	started := time.Now()
	end := r.stop()
	stopped := time.Now()
	complete, files := 0, 0
	for _, s := range end.Stages {
		for _, k := range s.Ranks {
			if k.State == protocol.StateComplete {
				complete++
			}
			files += len(k.Artifacts)
		}
	}
	if complete != n || files != n {
		t.Errorf("%s: %d of %d ranks complete, %d files: %s", end.State, complete, n, files, end.Error)
	}
	if st.ID != end.ID {
		t.Errorf("session %s ended as %s", st.ID, end.ID)
	}
	t.Logf("%d ranks: joined in %v, started in %v, stopped and collected in %v, %d kB of heap a rank for hub, server and ranks together",
		n, joined.Sub(began).Round(time.Millisecond), started.Sub(joined).Round(time.Millisecond),
		stopped.Sub(started).Round(time.Millisecond), int64(heap()-before)/int64(n)/1024)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
