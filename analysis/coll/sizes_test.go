package coll

import "testing"

// TestComplete: the size that a record lacks follows from the other one and the group.
func TestComplete(t *testing.T) {
	for _, c := range []struct {
		op                       string
		size                     int
		in, out, wantIn, wantOut int64
	}{
		{"allreduce", 4, 100, 0, 100, 100},
		{"broadcast", 0, 0, 100, 100, 100},
		{"allgather", 4, 100, 0, 100, 400},
		{"allgather", 4, 0, 400, 100, 400},
		{"reducescatter", 4, 400, 0, 400, 100},
		{"reducescatter", 4, 0, 100, 400, 100},
		{"allgather", 4, 90, 300, 90, 300}, // what is recorded stays
		{"allgather", 0, 100, 0, 100, 0},
		{"allgather", 1, 100, 0, 100, 0},
		{"reducescatter", 1, 100, 0, 100, 0},
		{"allgather", 2, 100, 0, 100, 200},
		{"alltoall", 4, 100, 0, 100, 0},
	} {
		x := Collective{Op: c.op, GroupSize: c.size, InBytes: c.in, OutBytes: c.out}
		if x.complete(); x.InBytes != c.wantIn || x.OutBytes != c.wantOut {
			t.Errorf("%s of %d ranks with %d and %d B: %d and %d, want %d and %d", c.op, c.size, c.in, c.out,
				x.InBytes, x.OutBytes, c.wantIn, c.wantOut)
		}
	}
}

// TestMedianAlgGBs: the median call counts, not the best and not the mean.
func TestMedianAlgGBs(t *testing.T) {
	call := func(bytes, ns int64) *Collective { return &Collective{InBytes: bytes, Ns: ns} }
	for _, c := range []struct {
		want float64
		list []*Collective
	}{
		{0, nil},
		{0, []*Collective{call(0, 10), call(10, 0)}},
		{2, []*Collective{call(20, 10)}},
		{2, []*Collective{call(1000, 10), call(20, 10), call(10, 10), call(10, 0), call(0, 10)}},
		{1, []*Collective{call(20, 10), call(10, 10)}}, // of two the slower
	} {
		if got := MedianAlgGBs(c.list); got != c.want {
			t.Errorf("%d calls: %g GB/s, want %g", len(c.list), got, c.want)
		}
	}
}

// TestGroups: each group once, by name and members, with or without a list of them.
func TestGroups(t *testing.T) {
	tp, pp := []int{0, 1}, []int{0, 2}
	got := Groups([][]Collective{
		{{Group: "tp", GroupSize: 2, Members: tp}, {Group: "pp", GroupSize: 2, Members: pp}, {},
			{Group: "tp", GroupSize: 2, Members: tp}},
		{{Group: "tp", GroupSize: 2, Members: []int{0, 1}}, {Group: "tp", GroupSize: 2, Members: []int{2, 3}},
			{Group: "dp", GroupSize: 8}, {Group: "dp", GroupSize: 4}, {Group: "dp", GroupSize: 8}},
	})
	want := []Group{{"dp", 4, nil}, {"dp", 8, nil}, {"pp", 2, pp}, {"tp", 2, tp}, {"tp", 2, []int{2, 3}}}
	if len(got) != len(want) {
		t.Fatalf("%d groups: %+v", len(got), got)
	}
	for i, g := range got {
		if w := want[i]; g.Name != w.Name || g.Size != w.Size || len(g.Members) != len(w.Members) ||
			len(g.Members) > 0 && g.Members[0] != w.Members[0] {
			t.Errorf("group %d is %+v, want %+v", i, g, w)
		}
	}
	if got := Groups(nil); got == nil || len(got) != 0 {
		t.Errorf("of nothing: %+v", got)
	}
}

// TestTogether: whether ranks left a one-sided operation at one time is judged by the longest call.
func TestTogether(t *testing.T) {
	at := func(end, ns int64) Rank {
		return Rank{Clock: true, List: []Collective{{Op: "broadcast", StartNs: end - ns, Ns: ns}}}
	}
	s := &Set{Members: []Member{{Rank: 0}, {Rank: 1}}}
	apart := int64(leaveShare * 1000)
	for want, ranks := range map[bool][]Rank{
		true:  {at(5000, 10), at(5000+apart, 1000)},
		false: {at(5000, 10), at(5000+apart+1, 1000)},
	} {
		if got := s.together(ranks); got != want {
			t.Errorf("ends %d and %d: %t", ranks[0].List[0].End(), ranks[1].List[0].End(), got)
		}
	}
}
