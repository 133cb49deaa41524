package analyses

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/coll"
)

// JSON about many ranks stays in proportion to them: each rank's longest collectives, in order of
// start, and every group's members once.
func TestLongestCollectives(t *testing.T) {
	var members []int
	for i := range 256 {
		members = append(members, i)
	}
	var list []analysis.Collective
	for i := range 3 * longestCollectives {
		c := analysis.Collective{Op: "allreduce", Group: "0 (tp)", GroupSize: 256, Members: members,
			StartNs: int64(i) * 1000, Ns: int64(i % 7)}
		if i%2 == 1 {
			c.Group, c.GroupSize, c.Members = "1 (dp)", 2, members[:2]
		}
		list = append(list, c)
	}
	each := [][]analysis.Collective{list, list[:2], nil}
	got := longest(each)
	if len(got[0]) != longestCollectives || len(got[1]) != 2 || len(got[2]) != 0 {
		t.Fatalf("%d, %d and %d collectives", len(got[0]), len(got[1]), len(got[2]))
	}
	for i, c := range got[0] {
		if c.Ns < 4 {
			t.Errorf("one of %d ns is kept, longer ones are left out", c.Ns)
		}
		if i > 0 && c.StartNs < got[0][i-1].StartNs {
			t.Error("they are not in order of start")
		}
		if n := len(c.Members); n != 0 && c.GroupSize == 256 || n != 2 && c.GroupSize == 2 {
			t.Errorf("%d members of %d", n, c.GroupSize)
		}
	}
	if list[0].Members == nil {
		t.Error("what was given was changed")
	}
	groups := coll.Groups(each)
	if len(groups) != 2 || len(groups[0].Members) != 256 || len(groups[1].Members) != 2 {
		t.Errorf("groups %+v", groups)
	}
	if n := counts(each); n[0] != 3*longestCollectives || n[1] != 2 || n[2] != 0 {
		t.Errorf("counts %v", n)
	}
}
