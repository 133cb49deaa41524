package session

import (
	"fmt"
	"hash/maphash"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// walk is the way through all worlds that can come of one, nearest first, so that the way to a
// broken promise is a shortest one.
type walk struct {
	start *world
	limit int // of worlds; 0: all
	seed  maphash.Seed
	seen  map[uint64]came
	calm  map[uint64]bool // worlds that end if only time passes
	key   []byte
}

// came is how a world came to be: by what, from which.
type came struct {
	from uint64
	by   move
}

func (k *walk) hash(w *world) uint64 {
	k.key = w.appendKey(k.key[:0])
	return maphash.Bytes(k.seed, k.key)
}

// explore returns how many worlds there are, whether it saw all of them, and the promise that
// one breaks with the shortest way to it.
func explore(start *world, limit int) (worlds int, all bool, broken string) {
	type item struct {
		w *world
		h uint64
	}
	k := &walk{start: start, limit: limit, seed: maphash.MakeSeed(), seen: map[uint64]came{}, calm: map[uint64]bool{}}
	first := k.hash(start)
	k.seen[first] = came{}
	queue := []item{{start, first}}
	var moves []move
	for len(queue) > 0 {
		it := queue[0]
		queue[0] = item{}
		queue = queue[1:]
		if why := k.quiet(it.w, it.h); why != "" {
			return len(k.seen), false, why + ", after" + k.way(first, it.h) + "\n  and then silence"
		}
		moves = it.w.moves(moves[:0])
		for _, v := range moves {
			next := it.w.clone()
			if why := next.do(v); why != "" {
				return len(k.seen), false, why + ", after" + k.way(first, it.h) + "\n  " + v.String()
			}
			h := k.hash(next)
			if _, known := k.seen[h]; known {
				continue
			}
			if limit > 0 && len(k.seen) >= limit {
				return len(k.seen), false, ""
			}
			k.seen[h] = came{it.h, v}
			queue = append(queue, item{next, h})
		}
	}
	return len(k.seen), true, ""
}

// way is how the world h comes from the first, a line for each move.
func (k *walk) way(first, h uint64) string {
	var steps []string
	for ; h != first; h = k.seen[h].from {
		steps = append(steps, "\n  "+k.seen[h].by.String())
	}
	slices.Reverse(steps)
	return strings.Join(steps, "")
}

// mostTicks is in how many deadlines a session ends that hears nothing more: one for each of
// its states, and two to bring home what a rank left.
const mostTicks = 8

// quiet lets only time pass and returns the promise that breaks at the end of it.
func (k *walk) quiet(w *world, h uint64) string {
	var passed []uint64
	for range mostTicks {
		if k.calm[h] {
			break
		}
		passed = append(passed, h)
		if w.m.State().Terminal() {
			if why := w.settled(); why != "" {
				return why
			}
			break
		}
		if w.m.NextTick().IsZero() {
			return fmt.Sprintf("stuck in %s", w.m.State())
		}
		w = w.clone()
		if why := w.do(move{what: timeRunsOut}); why != "" {
			return why
		}
		h = k.hash(w)
	}
	if !k.calm[h] && !w.m.State().Terminal() {
		return fmt.Sprintf("no end: %s", w.m.State())
	}
	for _, h := range passed {
		k.calm[h] = true
	}
	return ""
}

// exploreAll, set to anything, has TestEveryInterleaving walk through all worlds of three ranks
// too. Without it it sees the nearest of them, and all of fewer ranks.
const exploreAll = "KINETOSCOPE_EXPLORE_ALL"

// nearWorlds are the worlds of three ranks that are seen in any case: seconds.
const nearWorlds = 20_000

// Every order in which the answers of up to three ranks can come, late, twice or never, good and
// bad, with deaths, silence, failures, stops, clients that leave, deadlines and hubs that are killed at
// any point between, as often as one likes: every rank ends once, in a named state and with a
// reason; the session ends once, and without a word more; all begin or none; no file is
// forgotten; no profiler is left on.
func TestEveryInterleaving(t *testing.T) {
	for ranks := 1; ranks <= maxExplored; ranks++ {
		for _, partial := range []bool{false, true} {
			limit := 0
			if ranks == maxExplored && os.Getenv(exploreAll) == "" {
				limit = nearWorlds
			}
			if ranks > 1 && testing.Short() {
				limit = nearWorlds / 10 // ten times slower under the race detector, and has no goroutines
			}
			t.Run(fmt.Sprintf("%d ranks, partial %v", ranks, partial), func(t *testing.T) {
				t.Parallel()
				n, all, broken := explore(newWorld(t, ranks, partial), limit)
				if broken != "" {
					t.Fatal(broken)
				}
				if !all && limit == 0 {
					t.Error("not all worlds were seen")
				}
				t.Logf("%d worlds, all of them: %v", n, all)
			})
		}
	}
}

// The walk finds what is broken, and the shortest way to it: mistakes that the machine could make.
func TestExplorationFindsMistakes(t *testing.T) {
	drop := func(kind ActionKind, when func(*Snapshot) bool) func(*Snapshot, []Action) []Action {
		return func(s *Snapshot, as []Action) []Action {
			return slices.DeleteFunc(as, func(a Action) bool { return a.Kind == kind && when(s) })
		}
	}
	for _, tt := range []struct {
		name   string
		mutant func(*Snapshot, []Action) []Action
		want   []string // what is said, then the way
	}{
		{"a rank that answers after the end is not told",
			drop(DoAbort, func(s *Snapshot) bool { return s.State.Terminal() }),
			[]string{"the profiler of rank 0 (timed_out) is on", "and then silence"}},
		{"the end is not written down", drop(DoFinish, func(s *Snapshot) bool { return s.State == StateComplete }),
			[]string{"written down 0 times", "rank 0 answers arm", "rank 0 answers start, badly",
				"rank 0 answers collect", "all is converted"}},
		{"a rank that fails loses what it has brought", func(s *Snapshot, as []Action) []Action {
			for i := range s.Ranks {
				if s.Ranks[i].Status.State == protocol.StateFailed && s.State.Terminal() {
					s.Ranks[i].Status.Artifacts = nil
				}
			}
			return as
		}, []string{"has lost its files", "rank 0 answers arm", "rank 0 answers start, badly",
			"rank 0 answers collect, badly", "and then silence"}},
		{"a deadline is forgotten", func(s *Snapshot, as []Action) []Action {
			if s.State == StateRecording {
				s.Deadline = time.Time{}
			}
			return as
		}, []string{"stuck in recording", "rank 0 answers arm", "rank 0 answers start", "and then silence"}},
		{"a reason is forgotten", func(s *Snapshot, as []Action) []Action {
			for i := range s.Ranks {
				if s.Ranks[i].Status.State == protocol.StateLost {
					s.Ranks[i].Status.Reason = ""
				}
			}
			return as
		}, []string{"is lost without a reason", "rank 0 is silent"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 1, false)
			w.mutant = tt.mutant
			_, _, broken := explore(w, 0)
			at := 0
			for _, want := range tt.want {
				i := strings.Index(broken[at:], want)
				if i < 0 {
					t.Fatalf("%q is not said after %q in\n%s", want, broken[:at], broken)
				}
				at += i + len(want)
			}
		})
	}
}
