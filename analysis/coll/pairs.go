package coll

import (
	"cmp"
	"slices"
)

// Arguments that name the other side of a send or a receive: torch's, and those of other recorders.
var argPeers = []string{"Dst Rank", "Src Rank", "dst_rank", "src_rank", "Peer", "peer"}

// NoPeer is why a send or a receive was not paired.
const NoPeer Reason = "the trace does not say who sent to whom"

// channel is all messages from one rank to another in a group.
type channel struct {
	group    string
	from, to int // indices of ranks
}

// pairs makes sets of the sends and receives of a world. Those of a channel match in their order,
// after the two sides were aligned by time or size like a group's collectives. Numbers are not
// used, since each side counts its own.
func (m *matcher) pairs(list []int) {
	byRank := map[int]int{} // index by number; -1 if several have it
	for _, i := range list {
		r := m.ranks[i].Rank
		if _, twice := byRank[r]; twice {
			i = -1
		}
		byRank[r] = i
	}
	at := map[channel]*bundle{}
	var order []channel
	lost := Unmatched{Reason: NoPeer}
	size := m.worldSize(list)
	for _, i := range list {
		for j := range m.ranks[i].List {
			c := &m.ranks[i].List[j]
			if !paired(c.Op) || c.Cut {
				continue
			}
			peer, ok := m.peer(i, c, byRank, size)
			if !ok {
				lost.add(i, 1)
				continue
			}
			if peer < 0 {
				continue // the trace of the other rank is missing
			}
			ch := channel{c.Group, i, peer}
			if c.Op == "recv" {
				ch.from, ch.to = peer, i
			}
			b := at[ch]
			if b == nil {
				b = &bundle{name: c.Group, size: 2}
				at[ch] = b
				order = append(order, ch)
			}
			b.add(i, j)
		}
	}
	for _, ch := range order {
		if b := at[ch]; len(b.strands) == 2 {
			slices.SortFunc(b.strands, func(a, b strand) int { return cmp.Compare(a.rank, b.rank) })
			m.build(b, m.aligned(b, false))
		}
	}
	if lost.Count > 0 && len(lost.Ranks) > 1 {
		m.out.Unmatched = append(m.out.Unmatched, lost)
	}
}

// peer returns the index of the rank at the other side of c, -1 if its trace is missing; ok is
// false if it is not known. torch numbers it within the group, others within the world; if one
// reading is impossible, since it would be a message to the rank itself, the other one is right.
func (m *matcher) peer(i int, c *Collective, byRank map[int]int, size int) (index int, ok bool) {
	own := m.ranks[i].Rank
	find := func(rank int) (int, bool) {
		k, there := byRank[rank]
		switch {
		case rank == own || there && k < 0:
			return 0, false
		case !there:
			return -1, true
		}
		return k, true
	}
	switch {
	case own < 0 || c.Op == "sendrecv":
		return 0, false
	case len(c.Members) == 2 && slices.Contains(c.Members, own):
		if c.Members[0] == own {
			return find(c.Members[1])
		}
		return find(c.Members[0])
	case !c.HasPeer:
		if size == 2 || size == 0 && len(byRank) == 2 && c.GroupSize == 2 {
			for r := range byRank {
				if r != own {
					return find(r)
				}
			}
		}
		return 0, false
	}
	if c.Peer < len(c.Members) {
		if k, ok := find(c.Members[c.Peer]); ok {
			return k, true
		}
	}
	return find(c.Peer)
}

// kind is the property that all members of a set share: the operation; a send and its receive share
// that they are one message.
func (c *Collective) kind() string {
	if c.Op == "send" || c.Op == "recv" {
		return "message"
	}
	return c.Op
}

// received reports whether the set is a message whose receiver took longer than its sender. A
// receiver leaves when the data has arrived, so then the sender came late, whatever the clocks say.
func (s *Set) received(ranks []Rank) bool {
	if len(s.Members) != 2 || s.at(ranks, 0).kind() != "message" {
		return false
	}
	a, b := s.at(ranks, 0), s.at(ranks, 1)
	if a.Op == "recv" {
		a, b = b, a
	}
	return b.Ns > a.Ns
}

// Pair sums the messages from one rank to another that both recorded.
type Pair struct {
	From  int   `json:"from"` // indices of the ranks given to Match
	To    int   `json:"to"`
	Count int   `json:"count"`
	Bytes int64 `json:"bytes"` // of all of them; 0 if unknown
	// SenderLate counts the messages for which the receiver waited for the sender; the time is the
	// sum of these waits.
	SenderLate   int   `json:"sender_late"`
	ReceiverWait int64 `json:"receiver_wait_ns"`
	ReceiverLate int   `json:"receiver_late"`
	SenderWait   int64 `json:"sender_wait_ns"`
	// WorstRank and Worst identify the slice that waited longest; -1 if none waited.
	WorstRank int `json:"worst_rank"`
	Worst     int `json:"worst"`
	worst     int64
}

// Pairs sums messages up by sender and receiver, in order of the first message.
func (m *Matching) Pairs(ranks []Rank) []Pair {
	out := []Pair{}
	at := map[[2]int]int{}
	for k := range m.Sets {
		s := &m.Sets[k]
		if len(s.Members) != 2 || s.at(ranks, 0).kind() != "message" {
			continue
		}
		from, to := 0, 1
		if s.at(ranks, 0).Op == "recv" {
			from, to = 1, 0
		}
		id := [2]int{s.Members[from].Rank, s.Members[to].Rank}
		n, ok := at[id]
		if !ok {
			n = len(out)
			at[id] = n
			out = append(out, Pair{From: id[0], To: id[1], WorstRank: -1, Worst: -1})
		}
		out[n].add(s, ranks, from, to)
	}
	return out
}

func (p *Pair) add(s *Set, ranks []Rank, from, to int) {
	p.Count++
	p.Bytes += s.at(ranks, from).Bytes()
	w := s.Waits(ranks)
	if w == nil {
		return
	}
	if w[to] > 0 {
		p.SenderLate, p.ReceiverWait = p.SenderLate+1, p.ReceiverWait+w[to]
	}
	if w[from] > 0 {
		p.ReceiverLate, p.SenderWait = p.ReceiverLate+1, p.SenderWait+w[from]
	}
	for k, ns := range w {
		if ns > p.worst {
			p.worst, p.WorstRank, p.Worst = ns, s.Members[k].Rank, s.at(ranks, k).Slice
		}
	}
}
