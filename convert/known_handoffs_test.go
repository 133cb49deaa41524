package convert

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/native"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// handOffPair records two stages in this process that hand n requests to and fro, and returns what alignment needs.
func handOffPair(t *testing.T, n int) []align.Rank {
	t.Helper()
	send, recv := profiler.Intern(trace.NameHandoffSend), profiler.Intern(trace.NameHandoffRecv)
	var outs [2]bytes.Buffer
	recs := []*profiler.Recorder{profiler.New(profiler.Config{Process: "stage 0"}),
		profiler.New(profiler.Config{Process: "stage 1"})}
	tracks := []*profiler.Track{recs[0].Track("scheduler"), recs[1].Track("scheduler")}
	for i := range recs {
		if err := recs[i].Start(profiler.StartOptions{Out: &outs[i], Meta: map[string]string{
			protocol.MetaStageID: fmt.Sprint(i), protocol.MetaRank: "0"}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		for _, from := range []int{0, 1} {
			id := uint64(2*i + from + 1)
			s := tracks[from].Begin(send, profiler.CategoryAnnotation)
			s.FlowOut(id)
			s.End()
			r := tracks[1-from].Begin(recv, profiler.CategoryAnnotation)
			r.FlowIn(id)
			r.End()
		}
	}
	var ranks []align.Rank
	for i := range recs {
		if _, err := recs[i].Stop(); err != nil {
			t.Fatal(err)
		}
		tr, _, err := native.Read(t.Context(), &outs[i])
		if err != nil {
			t.Fatal(err)
		}
		r := AlignRank(tr, Scope(&tr.Meta), protocol.ClockError{})
		if len(r.HandOffs) != 2*n {
			t.Fatalf("%d ends of hand-offs, want %d", len(r.HandOffs), 2*n)
		}
		ranks = append(ranks, r)
	}
	return ranks
}

// movedHandOffs is rank r of another host whose clock is wrong.
func movedHandOffs(r align.Rank, host string, w wrong, from int64) align.Rank {
	r.Host = host
	r.HandOffs = slices.Clone(r.HandOffs)
	for i := range r.HandOffs {
		r.HandOffs[i].Ns = w.at(r.HandOffs[i].Ns, from)
	}
	return r
}

// neverSilentlyWrong checks ranks that share one clock in truth, after each clock was made wrong: nothing
// arrives before it was sent, and no two ranks are further apart than their clocks say, or it is said that
// they contradict each other.
func neverSilentlyWrong(t *rapid.T, ranks []align.Rank) {
	from := ranks[0].HandOffs[0].Ns
	var bad []wrong
	var in []align.Rank
	for i, r := range ranks {
		w := wrong{by: rapid.Int64Range(-900_000_000, 900_000_000).Draw(t, "by")}
		if rapid.Bool().Draw(t, "runs") {
			w.rate = rapid.Float64Range(-40e-6, 40e-6).Draw(t, "rate")
		}
		bad, in = append(bad, w), append(in, movedHandOffs(r, fmt.Sprint("host", i), w, from))
	}
	got := align.Align(in)
	for i := range got {
		if got[i].Contradicts || got[i].Apart() {
			continue // it is said
		}
		if got[i].Early > 0 {
			t.Errorf("rank %d: %d hand-offs arrive before they were sent: %+v", i, got[i].Early, got[i])
		}
		for k := range i {
			if got[k].Contradicts || got[k].Apart() {
				continue
			}
			stated := got[i].ErrorNs + got[k].ErrorNs // each is a bound against the hub's clock
			if got[i].HandOffNs > 0 && got[k].HandOffNs > 0 {
				stated = min(got[i].HandOffNs, got[k].HandOffNs)
			}
			for _, h := range ranks[i].HandOffs {
				d := got[i].Map(bad[i].at(h.Ns, from)) - got[k].Map(bad[k].at(h.Ns, from))
				if d > stated+2 || d < -stated-2 {
					t.Fatalf("ranks %d and %d are %d ns apart, their clocks say ±%d", i, k, d, stated)
				}
			}
		}
	}
}

// Recordings whose clocks are made wrong by known shifts and rates.
func TestKnownHandOffsOfRecordings(t *testing.T) {
	ranks := handOffPair(t, 40)
	rapid.Check(t, func(t *rapid.T) { neverSilentlyWrong(t, ranks) })
}

// The same of traces of an engine's stages, whose hand-offs go one way: nothing else is known of their clocks than what
// a wall clock may be wrong by.
func TestKnownHandOffsOfStages(t *testing.T) {
	files, err := filepath.Glob("../trace/sglangomni/testdata/events_*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	found, err := open.Find(files)
	if err != nil {
		t.Fatal(err)
	}
	var ranks []align.Rank
	var mu sync.Mutex
	err = open.EachSource(t.Context(), found, open.Options{}, func(_ int, tr *trace.Trace) error {
		mu.Lock()
		defer mu.Unlock()
		if r := AlignRank(tr, Scope(&tr.Meta), protocol.ClockError{}); len(r.HandOffs) > 0 {
			ranks = append(ranks, r)
		}
		return nil
	})
	if err != nil || len(ranks) < 2 {
		t.Fatal(len(ranks), err)
	}
	rapid.Check(t, func(t *rapid.T) { neverSilentlyWrong(t, ranks) })
}
