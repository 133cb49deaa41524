package convert

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/native"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// wrong is what is done to a clock: by ns at the begin, and rate ns a ns from there on.
type wrong struct {
	by   int64
	rate float64
}

func (w wrong) at(t, from int64) int64 { return t + w.by + int64(math.Round(w.rate*float64(t-from))) }

// move is rank r of another host whose clock is wrong, and whose ends of collectives are later
// by up to jitter, one in twenty by much more, as those of real ranks are.
func (w wrong) move(r align.Rank, host string, jitter int64, rng *rand.Rand) align.Rank {
	r.Host = host
	from := r.Collectives[0].Start
	r.Collectives = slices.Clone(r.Collectives)
	for i := range r.Collectives {
		c := &r.Collectives[i]
		late := rng.Int64N(jitter + 1)
		if jitter > 0 && rng.IntN(20) == 0 {
			late += rng.Int64N(500_000)
		}
		c.Start, c.End = w.at(c.Start, from), w.at(c.End+late, from)
	}
	r.ProbedNs = w.at(r.ProbedNs, from)
	return r
}

// recovered checks that ranks which are one trace with wrong clocks are put on one clock: within
// 20 µs, and always within what their clocks say.
func recovered(t *testing.T, name string, r align.Rank, clocks []wrong, jitter int64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	var ranks []align.Rank
	for i, w := range clocks {
		ranks = append(ranks, w.move(r, fmt.Sprint("host", i), jitter, rng))
	}
	got := align.Align(ranks)
	from, to := r.Collectives[0].Start, r.Collectives[len(r.Collectives)-1].End
	few := len(r.Collectives) < 16
	for _, at := range []int64{from, from + (to-from)/2, to} {
		for i, w := range clocks {
			if i == 0 {
				continue
			}
			off := got[i].Map(w.at(at, from)) - got[0].Map(clocks[0].at(at, from))
			stated := max(got[i].RelativeNs, got[0].RelativeNs)
			if off < 0 {
				off = -off
			}
			if off > stated+1 {
				t.Errorf("%s: rank %d is wrong by %d ns at %d, its clock says ±%d", name, i, off, at-from, stated)
			}
			if off > 20_000 && !few {
				t.Errorf("%s: rank %d of %+v is wrong by %d ns at %d of %d", name, i, w, off, at-from, to-from)
			}
		}
	}
	for i, c := range got {
		if c.Collectives != len(r.Collectives) || c.Apart() || c.P50Ns > jitter+2000 {
			t.Errorf("%s: residuals of rank %d: %+v", name, i, c.Residuals)
		}
	}
}

// known are the clocks of four ranks: right, a second ahead, behind, and two that run.
var known = []wrong{{}, {by: 1_234_567_890}, {by: -7_654_321, rate: 40e-6}, {by: 33_000, rate: -25e-6}}

// Real traces whose clocks are made wrong by known amounts.
func TestKnownClocksOfRealTraces(t *testing.T) {
	if testing.Short() {
		t.Skip("reads many traces; unit tests do")
	}
	files, err := filepath.Glob("../../shared/traces/*.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, file := range files {
		found, err := open.Find([]string{file})
		if err != nil {
			continue // the case of a file that is none
		}
		err = open.EachSource(t.Context(), found, open.Options{}, func(_ int, tr *trace.Trace) error {
			r := AlignRank(tr, Scope(&tr.Meta), protocol.ClockError{})
			if len(r.Collectives) >= 8 {
				tried++
				recovered(t, filepath.Base(file), r, known[:2], 0)
				recovered(t, filepath.Base(file)+" with jitter", r, known[:3], 10_000)
			}
			return nil
		})
		if err != nil {
			t.Log(err)
		}
	}
	if len(files) > 0 && tried == 0 {
		t.Error("no trace has collectives")
	}
}

// A recording of two ranks that wait for each other: their clock is one, and is found to be; then
// one is made wrong, which changes what is found by just that.
func TestKnownClocksOfRecordings(t *testing.T) {
	ranks := recordPair(t, 60)
	ranks[0].Host, ranks[1].Host = "a", "b"
	right := align.Align(ranks)
	between := func(c []align.Clock, at int64, w wrong) int64 {
		return c[1].Map(w.at(at, ranks[1].Collectives[0].Start)) - c[0].Map(at)
	}
	at := ranks[0].Collectives[30].End
	base := between(right, at, wrong{})
	if off := max(base, -base); off > max(right[0].RelativeNs, right[1].RelativeNs) {
		t.Errorf("one clock is found to be two, %d ns apart, ±%d", off, right[1].RelativeNs)
	}
	for _, w := range []wrong{{by: 5_000_000}, {by: -800_000_000}, {by: 12_345}} {
		moved := w.move(ranks[1], "b", 0, rand.New(rand.NewPCG(1, 1)))
		got := align.Align([]align.Rank{ranks[0], moved})
		if d := between(got, at, w) - base; d > 20_000 || d < -20_000 {
			t.Errorf("%+v changes what is found by %d ns", w, d)
		}
	}
}

// recordPair records two ranks in this process that all-reduce n times.
func recordPair(t *testing.T, n int) []align.Rank {
	t.Helper()
	reduce, group, size := profiler.Intern(trace.NameAllReduce), profiler.Intern("tp"),
		profiler.Intern(trace.ArgGroupSize)
	name := profiler.Intern(trace.ArgGroupName)
	var outs [2]bytes.Buffer
	var wg sync.WaitGroup
	meet := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	for rank := range 2 {
		wg.Go(func() {
			rec := profiler.New(profiler.Config{Process: fmt.Sprint("rank ", rank)})
			track := rec.Track("scheduler")
			err := rec.Start(profiler.StartOptions{Out: &outs[rank], Meta: map[string]string{
				protocol.MetaStageID: "0", protocol.MetaRank: fmt.Sprint(rank), protocol.MetaWorldSize: "2"}})
			if err != nil {
				t.Error(err)
			}
			for range n {
				s := track.Begin(reduce, profiler.CategoryOp).Bytes(64).Str(name, group).Int(size, 2)
				if rank == 0 {
					meet[0] <- struct{}{}
					<-meet[1]
				} else {
					<-meet[0]
					meet[1] <- struct{}{}
				}
				s.End()
			}
			if _, err := rec.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var ranks []align.Rank
	for i := range outs {
		tr, _, err := native.Read(t.Context(), &outs[i])
		if err != nil {
			t.Fatal(err)
		}
		r := AlignRank(tr, "stage0", protocol.ClockError{})
		if len(r.Collectives) != n {
			t.Fatalf("%d collectives", len(r.Collectives))
		}
		ranks = append(ranks, r)
	}
	return ranks
}

// What does not belong together is told: other captures, and hosts that only share a name.
func TestStrangers(t *testing.T) {
	r := align.Rank{Host: "localhost", Scope: "s"}
	for i := range int64(40) {
		start := int64(1_790_000_000_000_000_000) + i*10_000_000
		r.Collectives = append(r.Collectives, align.Collective{Group: "tp", Name: "allreduce", Seq: i, Start: start,
			End: start + 100_000})
	}
	rng := rand.New(rand.NewPCG(3, 4))
	same := wrong{by: 40_000_000}.move(r, "localhost", 5000, rng)
	got := align.Align([]align.Rank{r, same})
	if d := got[1].OffsetNs - got[0].OffsetNs; d > -39_900_000 || d < -40_100_000 || got[1].Apart() {
		t.Errorf("two hosts of one name: %+v", got)
	}
	other := r // of the same numbers, at other times
	other.Host, other.Collectives = "b", slices.Clone(r.Collectives)
	for i := range other.Collectives {
		start := int64(1_790_000_000_000_000_000) + rng.Int64N(400_000_000)
		other.Collectives[i].Start, other.Collectives[i].End = start, start+100_000
	}
	if got := align.Align([]align.Rank{r, other}); !got[0].Apart() || !got[1].Apart() {
		t.Errorf("two captures: %+v", got)
	}
}
