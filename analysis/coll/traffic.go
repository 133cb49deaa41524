package coll

// Traffic is what ranks had to get from each other: how much data each rank has in the end that
// began at each other one, if it went straight there. What an algorithm sends on the way, round
// a ring say, is not in the traces.
type Traffic struct {
	// Bytes[i][j] are what rank j, an index of those given to Match, got of rank i.
	Bytes [][]int64 `json:"bytes"`
	// Unplaced are the bytes of matched collectives of which it is not known between which ranks
	// they went: those with a root that the traces do not name.
	Unplaced int64 `json:"unplaced_bytes"`
}

// Traffic sums matched collectives and messages up by pairs of ranks. Of S bytes of a message as
// Collective.Bytes has it, in a group of n: a send is S from its sender to its receiver; an
// all-gather, a reduce-scatter and an all-to-all are S/n between each two, each way; an
// all-reduce is a reduce-scatter and an all-gather.
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
