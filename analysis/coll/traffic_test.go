package coll

import (
	"reflect"
	"testing"
)

func TestTraffic(t *testing.T) {
	const mib = 1 << 20
	set := func(op string, n int) ([]Rank, Matching) {
		var ranks []Rank
		var s Set
		for i := range n {
			ranks = append(ranks, Rank{List: []Collective{{Op: op, GroupSize: n, InBytes: mib}}})
			s.Members = append(s.Members, Member{Rank: i})
		}
		return ranks, Matching{Sets: []Set{s, s}}
	}
	for _, c := range []struct {
		op       string
		n        int
		each     int64
		unplaced int64
	}{
		{"allreduce", 4, 2 * 2 * mib / 4, 0}, {"allgather", 2, 2 * mib / 2, 0}, {"reducescatter", 2, 2 * mib / 2, 0},
		{"alltoall", 4, 2 * mib / 4, 0}, {"broadcast", 2, 0, 2 * mib}, {"barrier", 2, 0, 2 * mib},
	} {
		ranks, m := set(c.op, c.n)
		got := m.Traffic(ranks)
		for i, row := range got.Bytes {
			for j, b := range row {
				if want := c.each; i == j && b != 0 || i != j && b != want {
					t.Errorf("%s: %d bytes from %d to %d, want %d", c.op, b, i, j, want)
				}
			}
		}
		if got.Unplaced != c.unplaced {
			t.Errorf("%s: %d unplaced, want %d", c.op, got.Unplaced, c.unplaced)
		}
	}
	r := pipelineRun(3, 0, 0)
	m := Match(r.ranks)
	want := [][]int64{{0, 10 * mib, 0}, {0, 0, 10 * mib}, {0, 0, 0}}
	if got := m.Traffic(r.ranks); !reflect.DeepEqual(got.Bytes, want) || got.Unplaced != 0 {
		t.Errorf("messages down a pipeline: %v", got)
	}
}
