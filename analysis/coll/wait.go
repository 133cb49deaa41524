package coll

// Blame is one rank's part in the waiting inside collectives.
type Blame struct {
	// Matched counts the rank's sets whose ranks leave together.
	Matched int
	// Last counts those of them into which the rank came last.
	Last int
	// BlameNs sums, over the sets in which the rank came last, the mean time that the
	// others waited in them.
	BlameNs int64
	WaitNs  int64 // time the rank waited for others, over all sets
	// Worst is the slice of the collective, on this rank, with the largest single blame;
	// -1 if it never came last.
	Worst int
	worst int64
}

// leaveShare is how far apart ranks may leave a collective that need not end on all together, as a
// part of its longest duration, and still count as leaving together.
const leaveShare = 0.1

// Blames says which ranks the others waited for. Ranks leave a collective together, so the rank on
// which it took the shortest time came last, and each other rank waited for as long as it took
// longer there. That needs no common clock. Operations that ranks may leave at different times
// count only if a common clock shows that they left together.
func (m *Matching) Blames(ranks []Rank) []Blame {
	out := make([]Blame, len(ranks))
	for i := range out {
		out[i].Worst = -1
	}
	for i := range m.Sets {
		if m.Sets[i].together(ranks) {
			m.Sets[i].blame(ranks, out)
		}
	}
	return out
}

// Waits returns how long each member of the set waited for the last one, in their order;
// nil if the ranks did not leave together.
func (s *Set) Waits(ranks []Rank) []int64 {
	if !s.together(ranks) {
		return nil
	}
	out := make([]int64, len(s.Members))
	shortest := s.at(ranks, s.last(ranks)).Ns
	for k := range out {
		out[k] = s.at(ranks, k).Ns - shortest
	}
	return out
}

func (s *Set) at(ranks []Rank, k int) *Collective {
	return &ranks[s.Members[k].Rank].List[s.Members[k].Index]
}

// last is the member that came last.
func (s *Set) last(ranks []Rank) int {
	last := 0
	for k := range s.Members {
		if s.at(ranks, k).Ns < s.at(ranks, last).Ns {
			last = k
		}
	}
	return last
}

// together reports whether the ranks left the collective together.
func (s *Set) together(ranks []Rank) bool {
	if Symmetric(s.at(ranks, 0).Op) || s.received(ranks) {
		return true
	}
	var lo, hi, longest int64
	for k, x := range s.Members {
		r := &ranks[x.Rank]
		if !r.Clock {
			return false
		}
		c := s.at(ranks, k)
		end := c.End() + r.OffsetNs
		if k == 0 {
			lo, hi = end, end
		}
		lo, hi, longest = min(lo, end), max(hi, end), max(longest, c.Ns)
	}
	return float64(hi-lo) <= leaveShare*float64(longest)
}

// blame charges the waiting in one set to the rank that came last. In a tie no rank is charged.
func (s *Set) blame(ranks []Rank, out []Blame) {
	last := s.last(ranks)
	shortest := s.at(ranks, last).Ns
	var wait int64
	for k, x := range s.Members {
		w := s.at(ranks, k).Ns - shortest
		out[x.Rank].Matched++
		out[x.Rank].WaitNs += w
		wait += w
	}
	if wait == 0 {
		return
	}
	b := &out[s.Members[last].Rank]
	b.Last++
	mean := wait / int64(len(s.Members)-1)
	b.BlameNs += mean
	if mean > b.worst || b.Worst < 0 {
		b.worst, b.Worst = mean, s.at(ranks, last).Slice
	}
}
