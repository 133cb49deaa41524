package omni

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/omni/deploy"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// One rank of a pair is killed and the other fails for it, and is seen first.
func TestTheKilledRankIsBlamed(t *testing.T) {
	killed := explain(exec.Command("sh", "-c", "kill -KILL $$").Run(), "")
	peer := explain(exec.Command("sh", "-c", "exit 1").Run(), "error: collective: connection reset by peer")
	said := map[int]string{}
	s := &supervisor{stage: &deploy.Stage{ID: 0, Name: "thinker", Ranks: 2},
		lost: func(id protocol.RankID, _ int, why error) { said[id.Rank] = why.Error() }}
	var cause error
	s.blame([]rankEnd{{protocol.RankID{Rank: 1}, 11, peer}, {protocol.RankID{Rank: 0}, 10, killed}},
		func(err error) { cause = err })
	if !strings.Contains(said[0], "rank 0: its process was killed, by somebody or by the system for want of memory") ||
		cause == nil || !strings.Contains(cause.Error(), "rank 0") {
		t.Errorf("rank 0: %q; the replica: %v", said[0], cause)
	}
	if !strings.Contains(said[1], "it ended with rank 0 of its replica") ||
		!strings.Contains(said[1], "connection reset") {
		t.Errorf("rank 1: %q", said[1])
	}
	if explain(errors.New("exited"), "") == nil {
		t.Error("an end without a reason")
	}
}
