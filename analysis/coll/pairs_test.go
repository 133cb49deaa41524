package coll

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// pipelineRun is stages in a row that hand a message on ten times: stage k sends late[k] µs
// after its receiver asks for it; negative, the receiver asks later.
func pipelineRun(stages int, late ...int64) *run {
	r := newRun(stages)
	members := make([]int, stages)
	for i := range members {
		members[i] = i
	}
	for n := range int64(10) {
		for k := range stages - 1 {
			end := (1000*n + 150*int64(k) + 500) * us
			add := func(i, peer int, op string, waited int64) {
				r.ranks[i].List = append(r.ranks[i].List, Collective{
					Op: op, Group: "pp", Members: members, GroupSize: stages, InBytes: 1 << 20, Seq: 100*int64(i) + n,
					HasPeer: true, Peer: peer,
					StartNs: end - (20+waited)*us, Ns: (20 + waited) * us, Slice: len(r.ranks[i].List),
				})
			}
			add(k, k+1, "send", max(0, -late[k]))
			add(k+1, k, "recv", max(0, late[k]))
		}
	}
	return r
}

// both is two ranks of which each sends to the other: the first late[0] µs after it is asked, the second
// late[1] µs.
func both(late ...int64) *run {
	there, back := pipelineRun(2, late[0]), pipelineRun(2, late[1])
	for i := range there.ranks {
		for _, c := range back.ranks[1-i].List {
			c.StartNs, c.Seq, c.Peer = c.StartNs+700*us, c.Seq+1000, 1-i
			there.ranks[i].List = append(there.ranks[i].List, c)
		}
		slices.SortFunc(there.ranks[i].List, func(a, b Collective) int { return cmp.Compare(a.StartNs, b.StartNs) })
	}
	return there
}

// unknown takes the ranks' numbers away.
func unknown(r *run) *run {
	for i := range r.ranks {
		r.ranks[i].Rank = -1
	}
	return r
}

// ofTwo is a sender and its receiver, of whose messages only the size of the group is known.
func ofTwo(world, group int) *run {
	r := pipelineRun(2, 300).change(func(_ int, c *Collective) {
		c.Members, c.GroupSize, c.HasPeer, c.Peer = nil, group, false, 0
	})
	for i := range r.ranks {
		r.ranks[i].WorldSize = world
	}
	return r
}

func (r *run) pairs() string {
	m := Match(r.ranks)
	var out []string
	for _, p := range m.Pairs(r.ranks) {
		out = append(out, fmt.Sprintf("%d>%d %d of %d KiB: %d late %d, %d late %d", p.From, p.To, p.Count, p.Bytes>>10,
			p.SenderLate, p.ReceiverWait/us, p.ReceiverLate, p.SenderWait/us))
	}
	for _, u := range m.Unmatched {
		out = append(out, fmt.Sprint(u.Count, " ", u.Reason))
	}
	return strings.Join(out, "; ")
}

func TestPairs(t *testing.T) {
	two := "0>1 10 of 10240 KiB: 10 late 3000, 0 late 0"
	three := two + "; 1>2 10 of 10240 KiB: 0 late 0, 10 late 500"
	noPeer := func(_ int, c *Collective) { c.HasPeer, c.Peer = false, 0 }
	noClocks := func(r *run) *run {
		for i := range r.ranks {
			r.ranks[i].Clock = false
		}
		return r
	}
	// A group of ranks 4, 5, 6 whose messages name the other side in the group or in the world.
	elsewhere := func(in int) *run {
		r := pipelineRun(3, 300, -50).change(func(_ int, c *Collective) {
			c.Members, c.Peer = []int{4, 5, 6}, c.Peer+in
		})
		for i := range r.ranks {
			r.ranks[i].Rank, r.ranks[i].WorldSize = 4+i, 8
		}
		return r
	}
	for _, c := range []struct {
		name string
		run  *run
		want string
	}{
		{"sender late", pipelineRun(2, 300), two},
		{"one each way", pipelineRun(3, 300, -50), three},
		{"of two ranks without a peer", pipelineRun(2, 300).change(noPeer), two},
		{"of three without a peer", pipelineRun(3, 300, -50).change(noPeer), "40 " + string(NoPeer)},
		{"numbers of the group", elsewhere(0), three},
		{"numbers of the world", elsewhere(4), three},
		{"a window that began later", pipelineRun(2, 300).cut(1, 2, 0), "0>1 8 of 8192 KiB: 8 late 2400, 0 late 0"},
		{"no clock: who waits for data waits for its sender", noClocks(pipelineRun(2, 300)), two},
		{"no clock: a sender may just be slow", noClocks(pipelineRun(2, -300)),
			"0>1 10 of 10240 KiB: 0 late 0, 0 late 0"},
		{"still under way as the recording ended", pipelineRun(2, 300).change(func(i int, c *Collective) {
			c.Cut = i == 1 && c.Slice == 9
		}), "0>1 9 of 9216 KiB: 9 late 2700, 0 late 0"},
		{"both ways", both(300, -50),
			"0>1 10 of 10240 KiB: 10 late 3000, 0 late 0; 1>0 10 of 10240 KiB: 0 late 0, 10 late 500"},
		{"only one of them says nothing of a peer", pipelineRun(3, 300, -50).change(func(i int, c *Collective) {
			if i == 2 {
				noPeer(i, c)
			}
		}), two},
		{"what sends and receives at once", pipelineRun(2, 300).change(func(_ int, c *Collective) {
			c.Op = "sendrecv"
		}), "20 " + string(NoPeer)},
		{"of ranks that are not known", unknown(pipelineRun(2, 300)), "20 " + string(NoPeer)},
		{"of a group of two, of which a world of two is all", ofTwo(2, 2), two},
		{"of which nobody says more", ofTwo(0, 2), two},
		{"of a group of three, of which there are two traces", ofTwo(0, 3), "20 " + string(NoPeer)},
		{"trace of a rank missing", &run{ranks: pipelineRun(3, 300, -50).ranks[:2]}, two},
	} {
		if got := c.run.pairs(); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// TestPairsBlame: who sends late is blamed as who comes last to a collective.
func TestPairsBlame(t *testing.T) {
	r := pipelineRun(2, 300)
	if got := r.blames(Match(r.ranks)); got[0] != "10/10 3000 0" || got[1] != "0/10 0 3000" {
		t.Errorf("%q", got)
	}
}

// TestPairsWhole: a message is whole with its two sides, though the group has more ranks.
func TestPairsWhole(t *testing.T) {
	r := pipelineRun(3, 300, -50)
	m := Match(r.ranks)
	if len(m.Sets) != 20 {
		t.Fatalf("%d messages", len(m.Sets))
	}
	for _, s := range m.Sets {
		if len(s.Members) != 2 || !s.Whole {
			t.Fatalf("%+v", s)
		}
	}
}
