package coll

// Traffic is how much data the ranks had to get from each other: the bytes that each rank has in
// the end and that came from each other rank, if they were sent directly. What an algorithm sends
// on the way, for instance around a ring, is not in the traces.
type Traffic struct {
	// Bytes[i][j] is how many bytes rank j got from rank i; both are indices of the ranks given to
	// Match.
	Bytes [][]int64 `json:"bytes"`
	// Unplaced is the bytes of matched collectives with a root that the traces do not name, so that
	// the two ranks are not known.
	Unplaced int64 `json:"unplaced_bytes"`
}

// Traffic sums matched collectives and messages by pairs of ranks. S is Collective.Bytes, n the
// size of the group. A send counts as S from its sender to its receiver; an all-gather, a
// reduce-scatter and an all-to-all as S/n between any two ranks, in each direction; an all-reduce
// as a reduce-scatter and an all-gather.
func (m *Matching) Traffic(ranks []Rank) Traffic {
	out := Traffic{Bytes: make([][]int64, len(ranks))}
	for i := range out.Bytes {
		out.Bytes[i] = make([]int64, len(ranks))
	}
	for k := range m.Sets {
		s := &m.Sets[k]
		c := s.at(ranks, 0)
		n := int64(max(c.GroupSize, len(s.Members)))
		each := int64(0)
		switch c.Op {
		case "send", "recv":
			from, to := s.Members[0].Rank, s.Members[1].Rank
			if c.Op == "recv" {
				from, to = to, from
			}
			out.Bytes[from][to] += c.Bytes()
			continue
		case "allreduce":
			each = 2 * c.Bytes() / n
		case "allgather", "reducescatter", "alltoall":
			each = c.Bytes() / n
		default:
			out.Unplaced += c.Bytes()
		}
		for _, a := range s.Members {
			for _, b := range s.Members {
				if a.Rank != b.Rank {
					out.Bytes[a.Rank][b.Rank] += each
				}
			}
		}
	}
	return out
}
