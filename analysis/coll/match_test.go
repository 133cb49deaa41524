package coll

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

const us = int64(1000)

// run is a job whose collectives are known: each row says which ranks of a group enter
// how late, in µs; all leave together.
type run struct {
	ranks []Rank
	seq   map[string]int64
}

func newRun(n int) *run {
	r := &run{seq: map[string]int64{}}
	for i := range n {
		r.ranks = append(r.ranks, Rank{Rank: i, WorldSize: n, Clock: true})
	}
	return r
}

// call adds a collective of members that ends at endUs; rank k enters late[k] µs after
// the first, which takes takesUs.
func (r *run) call(group string, members []int, op string, bytes, endUs, takesUs int64, late ...int64) {
	key := group + fmt.Sprint(members)
	for k, i := range members {
		var l int64
		if k < len(late) {
			l = late[k]
		}
		c := Collective{Op: op, Group: group, Members: members, GroupSize: len(members), InBytes: bytes,
			OutBytes: bytes, Seq: r.seq[key],
			StartNs: (endUs - takesUs + l) * us, Ns: (takesUs - l) * us, Slice: len(r.ranks[i].List)}
		r.ranks[i].List = append(r.ranks[i].List, c)
	}
	r.seq[key]++
}

// change applies f to all collectives.
func (r *run) change(f func(i int, c *Collective)) *run {
	for i := range r.ranks {
		for k := range r.ranks[i].List {
			f(i, &r.ranks[i].List[k])
		}
	}
	return r
}

func noSeq(_ int, c *Collective)     { c.Seq = -1 }
func noMembers(_ int, c *Collective) { c.Members = nil }

// cut drops the first and last collectives of rank i.
func (r *run) cut(i, first, last int) *run {
	l := r.ranks[i].List
	r.ranks[i].List = l[first : len(l)-last]
	return r
}

// blames are "last×count blameµs waitµs" of each rank.
func (r *run) blames(m Matching) []string {
	var out []string
	for _, b := range m.Blames(r.ranks) {
		out = append(out, fmt.Sprintf("%d/%d %d %d", b.Last, b.Matched, b.BlameNs/us, b.WaitNs/us))
	}
	return out
}

// pairs is four ranks with a group "tp" of two each: rank 1 is 100 µs late, rank 3 50 µs.
func pairs(op string) *run {
	r := newRun(4)
	for k := range int64(10) {
		r.call("tp", []int{0, 1}, op, 1<<20, 1000*k+900, 800, 0, 100)
		r.call("tp", []int{2, 3}, op, 1<<20, 1000*k+int64([]int{930, 870, 955, 910, 890}[k%5]), 700, 0, 50)
	}
	return r
}

// one is two ranks of which the first is late in odd and the second in even calls; a large
// message follows a small one.
func one() *run {
	r := newRun(2)
	for k := range int64(13) {
		late := []int64{0, 500}
		size := int64(8192)
		if k%2 == 0 {
			late, size = []int64{500, 0}, 2<<20
		}
		r.call("0", []int{0, 1}, "allreduce", size, 1000*k+900, 800, late...)
	}
	return r
}

var (
	pairsWant   = []string{"0/10 0 1000", "10/10 1000 0", "0/10 0 500", "10/10 500 0"}
	shiftedWant = []string{"6/12 3000 3000", "6/12 3000 3000"}
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name   string
		run    *run
		want   []string
		reason Reason
	}{
		{"equal names of two groups", pairs("allreduce"), pairsWant, ""},
		{"reduce-scatter", pairs("reducescatter"), pairsWant, ""},
		{"all-to-all", pairs("alltoall"), pairsWant, ""},
		{"broadcasts that ranks leave together", pairs("broadcast"), pairsWant, ""},
		{"without numbers", pairs("allreduce").change(noSeq), pairsWant, ""},
		{"members told by times alone", pairs("allreduce").change(noMembers), pairsWant, ""},
		{"members told by times alone, without numbers", pairs("allreduce").change(noMembers).change(noSeq), pairsWant,
			""},
		{"members of one rank unknown", pairs("allreduce").change(func(i int, c *Collective) {
			if i == 1 {
				c.Members = nil
			}
		}), pairsWant, ""},
		{"each rank names its group itself",
			pairs("allreduce").change(func(i int, c *Collective) { c.Group = fmt.Sprint("local", i) }), pairsWant, ""},
		{"sends are no collectives", pairs("send"), []string{"0/0 0 0", "0/0 0 0", "0/0 0 0", "0/0 0 0"}, ""},
		{"a rank twice", func() *run {
			r := pairs("allreduce")
			r.ranks = append(r.ranks, r.ranks[1])
			return r
		}(), append(slices.Clone(pairsWant), "0/0 0 0"), Twice},
		{"window began later", one().change(noSeq).cut(1, 1, 0), shiftedWant, ""},
		{"window began later, numbers", one().cut(1, 1, 0), shiftedWant, ""},
		{"window ended sooner", one().change(noSeq).cut(1, 0, 1), []string{"6/12 3000 3000", "6/12 3000 3000"}, ""},
		{"both windows moved, as many each", one().change(noSeq).cut(0, 0, 1).cut(1, 1, 0),
			[]string{"5/11 2500 3000", "6/11 3000 2500"}, ""},
		{"one size, told by time", one().change(noSeq).change(func(_ int, c *Collective) {
			c.InBytes, c.OutBytes = 4, 4
		}).cut(1, 1, 0), shiftedWant, ""},
		{"no clock: pattern of sizes of one period", func() *run {
			r := one().change(noSeq).cut(1, 1, 0)
			r.ranks[0].Clock = false
			return r
		}(), shiftedWant, ""},
		{"no clock, one size: nothing tells", func() *run {
			r := one().change(noSeq).change(func(_ int, c *Collective) { c.InBytes, c.OutBytes = 4, 4 }).cut(1, 1, 0)
			r.ranks[0].Clock = false
			return r
		}(), []string{"0/0 0 0", "0/0 0 0"}, NotAligned},
		{"one message has another size", one().change(func(i int, c *Collective) {
			if i == 1 && c.Seq == 3 {
				c.InBytes, c.OutBytes = 12, 12
			}
		}), []string{"7/12 3500 2500", "5/12 2500 3500"}, Differ},
		{"one operation differs", one().change(func(i int, c *Collective) {
			if i == 1 && c.Seq == 4 {
				c.Op = "allgather"
			}
		}), []string{"6/12 3000 3000", "6/12 3000 3000"}, Differ},
		{"no group at all", pairs("allreduce").change(noMembers).change(func(_ int, c *Collective) {
			c.Group, c.GroupSize = "", 0
		}),
			[]string{"0/0 0 0", "0/0 0 0", "0/0 0 0", "0/0 0 0"}, NoGroup},
		{"ranks that are not known are no twins", unknown(one()), []string{"7/13 3500 3000", "6/13 3000 3500"}, ""},
		{"two ranks need no group", one().change(noMembers).change(func(_ int, c *Collective) {
			c.Group, c.GroupSize = "", 0
		}),
			[]string{"7/13 3500 3000", "6/13 3000 3500"}, ""},
	} {
		m := Match(c.run.ranks)
		if got := c.run.blames(m); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q; unmatched %+v", c.name, got, c.want, m.Unmatched)
		}
		for _, s := range m.Sets {
			if n := c.run.ranks[s.Members[0].Rank].List[s.Members[0].Index].GroupSize; n > 0 && len(s.Members) > n {
				t.Errorf("%s: a set of %d in a group of %d", c.name, len(s.Members), n)
			}
		}
		reasons := []Reason{}
		for _, u := range m.Unmatched {
			reasons = append(reasons, u.Reason)
		}
		if c.reason == "" && len(reasons) > 0 || c.reason != "" && !slices.Equal(reasons, []Reason{c.reason}) {
			t.Errorf("%s: reasons %q, want %q", c.name, reasons, c.reason)
		}
	}
}

// TestMatchWhole: a collective is whole if all of its group have it; where the group's size is not known, if all
// have it that have one of the group at all.
func TestMatchWhole(t *testing.T) {
	job := func() *run {
		r := newRun(3)
		for k := range int64(10) {
			r.call("g", []int{0, 1, 2}, "allreduce", 1<<20, 1000*k+900, 300, 0, 50, 100)
		}
		return r
	}
	sizeless := func(r *run) *run {
		r.change(noMembers).change(func(_ int, c *Collective) { c.GroupSize = 0 })
		for i := range r.ranks {
			r.ranks[i].WorldSize = 0
		}
		return r
	}
	for _, c := range []struct {
		name        string
		run         *run
		whole, part int
	}{
		{"all ranks", job(), 10, 0},
		{"the last two of one rank are not in its window", job().cut(1, 0, 2), 8, 2},
		{"a trace is missing", &run{ranks: job().ranks[:2]}, 0, 10},
		{"of a size that is not known", sizeless(job()), 10, 0},
		{"likewise, and two are not in a window", sizeless(job().cut(1, 0, 2)), 8, 2},
	} {
		whole, part := 0, 0
		for _, s := range Match(c.run.ranks).Sets {
			if s.Whole {
				whole++
			} else {
				part++
			}
		}
		if whole != c.whole || part != c.part {
			t.Errorf("%s: %d whole and %d in part, want %d and %d", c.name, whole, part, c.whole, c.part)
		}
	}
}

// Groups in lockstep whose members nobody tells cannot be told apart.
func TestMatchLockstep(t *testing.T) {
	r := newRun(4)
	for k := range int64(20) {
		r.call("tp", []int{0, 1}, "allreduce", 8, 1000*k, 100, 0, 10)
		r.call("tp", []int{2, 3}, "allreduce", 8, 1000*k, 100, 10, 0)
	}
	m := Match(r.change(noMembers).ranks)
	if len(m.Sets) > 0 || len(m.Unmatched) != 1 || m.Unmatched[0].Reason != TooMany || m.Unmatched[0].Count != 80 {
		t.Errorf("%d sets, unmatched %+v", len(m.Sets), m.Unmatched)
	}
}

func TestMatchWorlds(t *testing.T) {
	r := newRun(2)
	r.ranks = append(r.ranks, r.ranks[0], r.ranks[1])
	r.ranks[2].World, r.ranks[3].World = 1, 1
	for k := range int64(5) {
		r.call("0", []int{0, 1}, "allreduce", 8, 1000*k+500, 300, 0, 100)
	}
	r.ranks[2].List = slices.Clone(r.ranks[0].List)
	r.ranks[3].List = slices.Clone(r.ranks[0].List)
	if got, want := r.blames(Match(r.ranks)), []string{"0/5 0 500", "5/5 500 0", "0/5 0 0",
		"0/5 0 0"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestMatchRandom draws jobs of tensor, data and expert groups with irregular times, cuts
// windows at both ends, and takes away what traces may lack. What is matched must be right.
func TestMatchRandom(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		r := newRun(8)
		groups := [][]int{{0, 1}, {2, 3}, {4, 5}, {6, 7}, {0, 2, 4, 6}, {1, 3, 5, 7}, {0, 1, 2, 3, 4, 5, 6, 7}}
		ops := []string{"allreduce", "allgather", "reducescatter", "alltoall"}
		at := int64(0)
		for id := range int64(400) {
			g := groups[rnd.IntN(len(groups))]
			late := make([]int64, len(g))
			for k := range late {
				late[k] = rnd.Int64N(80)
			}
			at += 120 + rnd.Int64N(300)
			r.call(fmt.Sprint("g", len(g)), g, ops[rnd.IntN(4)], 1024<<rnd.IntN(3), at, 100, late...)
			for _, i := range g {
				l := r.ranks[i].List
				l[len(l)-1].Slice = int(id) // which call it was
			}
		}
		for i := range r.ranks {
			r.cut(i, rnd.IntN(10), rnd.IntN(10))
		}
		if seed%2 == 0 {
			r.change(noSeq)
		}
		if seed%3 == 0 {
			for i := range r.ranks {
				r.ranks[i].Clock = false
			}
		}
		if seed%5 == 0 {
			r.change(noMembers)
		}
		m := Match(r.ranks)
		wrong, sizes := 0, 0
		for _, s := range m.Sets {
			first := r.ranks[s.Members[0].Rank].List[s.Members[0].Index]
			if len(s.Members) > first.GroupSize {
				sizes++
			}
			for _, x := range s.Members[1:] {
				if r.ranks[x.Rank].List[x.Index].Slice != first.Slice {
					wrong++
					break
				}
			}
		}
		if wrong > 0 || sizes > 0 {
			t.Errorf("seed %d: of %d sets %d are wrong, %d too large", seed, len(m.Sets), wrong, sizes)
		}
		if want := 250; seed%5 != 0 && len(m.Sets) < want {
			t.Errorf("seed %d: %d sets, want %d at least; unmatched %+v", seed, len(m.Sets), want, m.Unmatched)
		}
	}
}

// Clocks of two hosts that are apart by more than a collective takes: what tells is how
// steadily ranks leave together.
func TestMatchSkewedHosts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	r := newRun(2)
	at := int64(0)
	for range 100 {
		at += 1000 + rnd.Int64N(400)
		r.call("dp", []int{0, 1}, "allreduce", 64, at, 100, rnd.Int64N(50), rnd.Int64N(50))
	}
	r.change(noSeq)
	r.ranks[0].Host, r.ranks[1].Host, r.ranks[1].OffsetNs = "a", "b", 900*us
	r.cut(1, 3, 0)
	m := Match(r.ranks)
	for _, s := range m.Sets {
		if s.Members[0].Index != s.Members[1].Index+3 {
			t.Fatalf("set %+v", s)
		}
	}
	if len(m.Sets) != 97 {
		t.Errorf("%d sets", len(m.Sets))
	}
}

// A sequence of equal collectives fits everywhere: the work must not grow with the square.
func TestMatchLinear(t *testing.T) {
	work := func(n int) float64 {
		r := newRun(2)
		for k := range int64(n) {
			r.call("0", []int{0, 1}, "allreduce", 8, 1000*k, 100)
		}
		r.change(noSeq)
		r.ranks[0].Clock = false
		return testing.AllocsPerRun(1, func() { Match(r.ranks) })
	}
	if a, b := work(2000), work(20_000); b > 20*a+1000 {
		t.Errorf("%v allocations for 2,000 collectives, %v for 20,000", a, b)
	}
}
