package hub

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// A place that is served is refused as long as its holder answers, and is free when it does not.
func TestAPlaceIsServedByOne(t *testing.T) {
	r := newRig(t, nil)
	r.join(1)
	k := r.ranks[0]
	id := k.member.Info().RankID
	var taken *rank.TakenError
	if err := rank.Free(t.Context(), r.Conn(), id); !errors.As(err, &taken) ||
		taken.By.Incarnation != k.member.Info().Incarnation {
		t.Errorf("a served place: %v", err)
	}
	if second, err := startRank(t.Context(), r.config(0, 0)); !errors.As(err, &taken) {
		t.Errorf("a second one joins: %v", err)
		second.close(t)
	}
	if other := (protocol.RankID{Pipeline: "omni", Stage: 7}); rank.Free(t.Context(), r.Conn(), other) != nil {
		t.Error("a place that nobody has is taken")
	}
	if got := r.Ranks("omni"); len(got) != 1 || got[0].Incarnation != k.member.Info().Incarnation {
		t.Errorf("%+v", got)
	}
	replaced := k.replaced
	k.cable.cut() // as a process that is frozen
	second := r.add(r.config(0, 0))
	waitFor(t, func() bool {
		got := r.Ranks("omni")
		return len(got) == 1 && got[0].Incarnation == second.member.Info().Incarnation
	})
	k.cable.mend()
	select {
	case by := <-replaced:
		if by.Incarnation != second.member.Info().Incarnation {
			t.Errorf("replaced by %+v", by)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the process that was replaced does not know it")
	}
	if got := r.Ranks("omni"); len(got) != 1 || got[0].Incarnation != second.member.Info().Incarnation {
		t.Errorf("%+v", got)
	}
	if msg := taken.Error(); !strings.Contains(msg, "is served by process") {
		t.Error(msg)
	}
}
