package hub

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/protocol"
)

var epoch = time.Unix(1_700_000_000, 0)

func presence(rank int, incarnation string, born int) protocol.RankInfo {
	return protocol.RankInfo{RankID: protocol.RankID{Pipeline: "omni", Rank: rank}, Incarnation: incarnation,
		StartedAt: epoch.Add(time.Duration(born) * time.Second), Ready: true}
}

// A rank that says that it may be quiet is waited for, but not for ever, and its next
// renewal ends the exception.
func TestQuietRanksAreWaitedFor(t *testing.T) {
	r := newRegistry()
	see := func(quiet time.Duration, at time.Time) {
		info := presence(0, "a", 0)
		info.QuietNs = int64(quiet)
		r.seen(info, at)
	}
	see(20*time.Second, epoch)
	if lost := r.sweep(epoch.Add(19*time.Second), 5*time.Second); lost != nil {
		t.Errorf("lost while it may be quiet: %v", lost)
	}
	see(0, epoch.Add(20*time.Second))
	if lost := r.sweep(epoch.Add(26*time.Second), 5*time.Second); len(lost) != 1 {
		t.Errorf("not lost after it has spoken again: %v", lost)
	}
	see(time.Hour, epoch)
	if lost := r.sweep(epoch.Add(protocol.MaxQuiet+time.Second), 5*time.Second); len(lost) != 1 {
		t.Errorf("an hour is too long: %v", lost)
	}
}

func TestSweepDropsTheSilentAndTakesThemBack(t *testing.T) {
	r := newRegistry()
	r.seen(presence(0, "a", 0), epoch)
	r.seen(presence(1, "b", 0), epoch.Add(4*time.Second))
	e, err := r.alive(presence(0, "a", 0).RankID, "a")
	if err != nil {
		t.Fatal(err)
	}
	if lost := r.sweep(epoch.Add(6*time.Second), 5*time.Second); len(lost) != 1 || lost[0].Incarnation != "a" {
		t.Fatalf("sweep lost %+v", lost)
	}
	if loss, ok := errors.AsType[*lossError](context.Cause(e.ctx)); !ok ||
		!strings.Contains(loss.reason, "no sign of life for 6s") {
		t.Fatalf("cause %v", context.Cause(e.ctx))
	}
	r.seen(presence(0, "a", 0), epoch.Add(7*time.Second))
	if len(r.list("omni")) != 2 {
		t.Error("a rank that was only slow is not taken back")
	}
}

func TestExcusedTimeIsNotHeldAgainstRanks(t *testing.T) {
	r := newRegistry()
	r.seen(presence(0, "a", 0), epoch)
	r.excuse(time.Minute)
	if lost := r.sweep(epoch.Add(time.Minute), 5*time.Second); lost != nil {
		t.Fatalf("lost %+v", lost)
	}
}

func TestTheDeadStayDead(t *testing.T) {
	r := newRegistry()
	id := presence(0, "a", 0).RankID
	r.seen(presence(0, "a", 0), epoch)
	if !r.lose(id, "", "killed") || r.lose(id, "", "again") {
		t.Fatal("lose reports the wrong thing")
	}
	// Who asks for it only now learns why it is gone, and so does who asks when another has its place.
	if _, err := r.alive(id, "a"); err == nil || err.Error() != "killed" {
		t.Fatalf("alive: %v", err)
	}
	r.seen(presence(0, "a", 0), epoch) // a renewal that was under way
	if len(r.list("")) != 0 {
		t.Fatal("a late renewal woke the dead")
	}
	r.seen(presence(0, "b", 9), epoch)
	if _, err := r.await(t.Context(), id, "a"); err == nil || err.Error() != "killed" {
		t.Fatalf("await: %v", err)
	}
	r.seen(presence(0, "a2", 3), epoch) // an older process speaks last
	if l := r.list(""); len(l) != 1 || l[0].Incarnation != "b" {
		t.Fatalf("live: %+v", l)
	}
	if r.lose(id, "a", "supervisor is late") {
		t.Fatal("the new incarnation was lost for the old one")
	}
}

// Against a model: after any history, the live incarnation of a rank is the last
// one announced that is neither gone nor older, and only live contexts are open.
func TestRegistryAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRegistry()
		gone := map[string]bool{}
		var live *protocol.RankInfo
		open := map[string]context.Context{}
		names := []string{"a", "b", "c", "d"}
		for range rapid.IntRange(0, 30).Draw(t, "ops") {
			born := rapid.IntRange(0, 3).Draw(t, "incarnation")
			p := presence(0, names[born], born)
			if rapid.Bool().Draw(t, "seen") {
				r.seen(p, epoch)
				if !gone[p.Incarnation] && (live == nil || born >= int(live.StartedAt.Sub(epoch)/time.Second)) {
					if live != nil && live.Incarnation != p.Incarnation {
						gone[live.Incarnation] = true
					}
					live = &p
				}
			} else {
				r.lose(p.RankID, p.Incarnation, "x")
				if live != nil && live.Incarnation == p.Incarnation {
					gone[p.Incarnation], live = true, nil
				}
			}
			got := r.list("")
			if (live == nil) != (len(got) == 0) || live != nil && got[0].Incarnation != live.Incarnation {
				t.Fatalf("live %+v, want %+v", got, live)
			}
			if live != nil {
				e, err := r.alive(live.RankID, live.Incarnation)
				if err != nil {
					t.Fatal(err)
				}
				open[live.Incarnation] = e.ctx
			}
			for inc, ctx := range open {
				if alive := live != nil && live.Incarnation == inc; alive != (ctx.Err() == nil) {
					t.Fatalf("incarnation %s: alive %v, context %v", inc, alive, ctx.Err())
				}
			}
		}
	})
}

func TestTombstonesAreBounded(t *testing.T) {
	r := newRegistry()
	for i := range maxTombstones + 10 {
		r.seen(presence(0, time.Duration(i).String(), i), epoch)
	}
	if len(r.gone) > maxTombstones || len(r.goneIDs) > maxTombstones {
		t.Fatalf("%d and %d tombstones", len(r.gone), len(r.goneIDs))
	}
}

func TestAwaitAndWaitReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		id := presence(0, "a", 0).RankID
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.await(ctx, id, "a"); err == nil {
			t.Error("await found nobody")
		}
		if _, err := r.waitReady(ctx, "omni", 1); !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), "0 of 1") {
			t.Errorf("waitReady: %v", err)
		}
		time.AfterFunc(time.Second, func() {
			p := presence(0, "a", 0)
			p.Ready = false
			r.seen(p, time.Now())
		})
		time.AfterFunc(2*time.Second, func() { r.seen(presence(0, "a", 0), time.Now()) })
		begun := time.Now()
		if _, err := r.await(t.Context(), id, "a"); err != nil || time.Since(begun) != time.Second {
			t.Errorf("await: %v after %v", err, time.Since(begun))
		}
		if l, err := r.waitReady(t.Context(), "omni", 1); err != nil || len(l) != 1 ||
			time.Since(begun) != 2*time.Second {
			t.Errorf("waitReady: %v, %v after %v", l, err, time.Since(begun))
		}
		if _, err := r.await(t.Context(), id, "other"); err == nil {
			t.Error("await took another incarnation")
		}
	})
}

// Whatever the offset and the two ways' durations, the truth is within the error.
func TestClockErrorHoldsTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const year = int64(365 * 24 * time.Hour)
		truth := rapid.Int64Range(-50*year, 50*year).Draw(t, "hub - rank")
		there := rapid.Int64Range(0, int64(time.Minute)).Draw(t, "there")
		stay := rapid.Int64Range(0, int64(time.Minute)).Draw(t, "stay")
		back := rapid.Int64Range(0, int64(time.Minute)).Draw(t, "back")
		t1 := epoch.UnixNano()
		t2 := t1 + there - truth
		t3 := t2 + stay
		t4 := t1 + there + stay + back
		c := clockError(t1, t2, t3, t4)
		if d := c.OffsetNs - truth; max(d, -d) > c.ErrorNs {
			t.Fatalf("offset %d ± %d, truth %d", c.OffsetNs, c.ErrorNs, truth)
		}
		if c.RTTNs != there+back || c.ErrorNs > c.RTTNs/2+1 {
			t.Fatalf("%+v, want a round trip of %d", c, there+back)
		}
	})
}
