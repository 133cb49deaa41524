package server

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/driver/server/servertest"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Data-parallel replicas are replicas of the session, told by names, or by the titles of the processes that
// wrote; groups that share the work of attention, or of experts, lie inside them.
func TestDataParallel(t *testing.T) {
	type quirks = servertest.Quirks
	for name, c := range map[string]struct {
		engine protocol.Engine
		q      quirks
		apart  int
		blind  bool   // processes have no titles
		want   string // the other ranks: replica.rank of process
		note   string
	}{
		"SGLang":                 {protocol.EngineSGLang, quirks{Ranks: 2, DP: 2}, 0, false, "0.1=1 1.0=2 1.1=3", ""},
		"SGLang, replicas alone": {protocol.EngineSGLang, quirks{Ranks: 1, DP: 3}, 0, false, "1.0=1 2.0=2", ""},
		"groups of attention": {protocol.EngineSGLang, quirks{Ranks: 4, Groups: 2}, 0, false,
			"0.1=1 0.2=2 0.3=3", ""},
		"groups that are counted as replicas": {protocol.EngineSGLang, quirks{Ranks: 4, Groups: 2, Old: true}, 0, false,
			"0.1=1 0.2=2 0.3=3", ""},
		"vLLM":                  {protocol.EngineVLLM, quirks{Ranks: 2, DP: 2}, 0, false, "0.1=1 1.0=2 1.1=3", ""},
		"vLLM of other targets": {protocol.EngineVLLM, quirks{Ranks: 1, DP: 3}, 5, false, "5.0=1 10.0=2", ""},
		"vLLM on another host":  {protocol.EngineVLLM, quirks{Ranks: 1, DP: 3}, 0, true, "1.0=1 2.0=2", ""},
		"a vLLM of experts": {protocol.EngineVLLM, quirks{Ranks: 2, DP: 2, Experts: true}, 0, false,
			"0.1=1 0.2=2 0.3=3", ""},
		"ranks that are not seen": {protocol.EngineVLLM, quirks{Ranks: 2, DP: 2}, 0, true,
			"0.1=3 1.0=2 1.1=1", "order of their process ids"},
	} {
		t.Run(name, func(t *testing.T) {
			u := openUnit(t, c.engine, c.q, func(to *Target) { to.NoMetrics = false })
			u.d.apart = c.apart
			u.d.replica = func(pid int) (int, bool) {
				for k := range c.q.Ranks * max(c.q.DP, 1) {
					if c.q.PID(k) == pid {
						return k / c.q.Ranks, !c.blind
					}
				}
				return 0, false
			}
			says := Describe(Seat{Target: u.d.to}, u.d.Facts(), u.dir)
			if want := fmt.Sprintf("%d replicas, ", c.q.DP); strings.Contains(says, want) != (c.q.DP > 1) {
				t.Errorf("%q", says)
			}
			_, s, over, err := u.record(nil)
			if err != nil || s.State != protocol.StateStopped || !strings.Contains(s.Reason, c.note) ||
				c.note == "" && s.Reason != "" {
				t.Fatalf("%+v, %v", s, err)
			}
			var got []string
			for _, o := range over.Others {
				if o.State != protocol.StateStopped || strings.Contains(names(o.Files), "profiler_out") != c.q.Experts {
					t.Errorf("%s is %s: %s, %s", o.ID.Text(), o.State, o.Reason, names(o.Files))
				}
				worker := workerOf(t, c.q, o.Files[len(o.Files)-1].Path)
				got = append(got, fmt.Sprintf("%d.%d=%d", o.ID.Replica, o.ID.Rank, worker))
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("%s, want %s", text, c.want)
			}
		})
	}
}

// workerOf returns which worker of a server has written a trace.
func workerOf(t *testing.T, q servertest.Quirks, path string) int {
	t.Helper()
	packed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid := firstNumber(isPID, servertest.Unpacked(packed), 1<<31-1, 0)
	for k := range q.Ranks * max(q.DP, 1) {
		if q.PID(k) == pid {
			return k
		}
	}
	t.Fatalf("%s is of process %d", path, pid)
	return 0
}

// A replica that leaves nothing is missed, by the engines that the server's metrics name or by how many ranks
// the target is said to have.
func TestMissingReplica(t *testing.T) {
	for name, change := range map[string]func(*Target){
		"metrics": func(to *Target) { to.NoMetrics = false },
		"ranks":   func(to *Target) { to.Ranks = 4 },
	} {
		u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{Ranks: 2, DP: 2, Silent: []int{2, 3}}, change)
		_, s, over, err := u.record(nil)
		if err != nil || len(over.Others) != 3 {
			t.Fatalf("%s: %+v, %d others, %v", name, s, len(over.Others), err)
		}
		for _, o := range over.Others[1:] {
			if o.ID.Replica != 1 || o.State != protocol.StateFailed || o.Reason == "" {
				t.Errorf("%s: %s is %s: %s", name, o.ID.Text(), o.State, o.Reason)
			}
		}
	}
}

// The replicas of one target have no number of another target of the stage, nor of a server that may be found.
func TestReplicasOfTargetsAreApart(t *testing.T) {
	vllm := Target{Engine: protocol.EngineVLLM, Stage: "decode"}
	other, found := vllm, vllm
	other.Stage, found.Discover.Kind = "prefill", "dns"
	for name, c := range map[string]struct {
		list []Target
		want []int
	}{
		"named": {[]Target{vllm, other, vllm}, []int{2, 1, 2}},
		"found": {[]Target{vllm, other, found}, []int{maxReplicas + 2, 1, maxReplicas + 2}},
	} {
		for i, s := range Seats(c.list, "p", 0) {
			if s.apart != c.want[i] {
				t.Errorf("%s: target %d is %d apart, want %d", name, i, s.apart, c.want[i])
			}
		}
	}
}
