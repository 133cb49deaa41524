package coll

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/identity"
)

// Rank is one rank's input to Match.
type Rank struct {
	World     int    // ranks of different worlds have nothing in common
	Rank      int    // number in the world, -1 if unknown
	WorldSize int    // ranks of the world, 0 if unknown
	Host      string // "" if unknown
	Clock     bool   // its times compare with those of other ranks with Clock
	OffsetNs  int64  // added to its times
	List      []Collective
}

// Ranks returns the ranks of traces, each in its world, without their collectives.
func Ranks(list []*trace.Meta) []Rank {
	out := make([]Rank, len(list))
	for w, world := range identity.Worlds(list) {
		for _, i := range world.Traces {
			m := list[i]
			out[i] = Rank{World: w, Rank: m.Rank, WorldSize: m.WorldSize, Host: m.Host, Clock: m.WallClock}
		}
	}
	return out
}

// Member is a collective of one rank.
type Member struct{ Rank, Index int } // indices into the ranks given to Match, and its List

// Set is one collective as several ranks recorded it.
type Set struct {
	Members []Member // by rank; at least two, and no more than the group has
	// Whole says that all members of the group are in the set. It is also false if the size of the
	// group is not known and more than two ranks could belong to it.
	Whole bool
}

// Reason says why collectives were not matched.
type Reason string

// The reasons.
const (
	NoGroup    Reason = "the trace does not say which ranks took part"
	TooMany    Reason = "more ranks have a group of this name than it has members, and nothing tells which belong together"
	NotAligned Reason = "their numbers are not in the trace, and neither sizes nor times say which are the same"
	Differ     Reason = "operation or size differ between the ranks"
	Twice      Reason = "a rank is there twice"
)

// Unmatched counts collectives that are in no set, although others of their kind are or could have
// been.
type Unmatched struct {
	Group  string `json:"group"`
	Ranks  []int  `json:"ranks"` // indices of the ranks
	Count  int    `json:"count"` // of collectives, over all of them
	Reason Reason `json:"reason"`
}

// Matching is the result of Match: which collectives of several ranks are the same.
type Matching struct {
	Sets      []Set
	Unmatched []Unmatched
}

// Match finds the collectives that several ranks took part in together. Ranks match only within a
// world, and within a group with the same members: names do not identify groups. In a group,
// collectives match by their numbers. Without numbers they match by their order, after the ranks'
// sequences have been aligned by time or by the pattern of operations and sizes, since one rank's
// recording may begin later or end sooner. Collectives that do not fit are left out and counted. A
// send and its receive are a set of two.
func Match(ranks []Rank) Matching {
	m := matcher{ranks: ranks, texts: map[*int]string{}}
	worlds := map[int][]int{}
	var order []int
	for i := range ranks {
		w := ranks[i].World
		if worlds[w] == nil {
			order = append(order, w)
		}
		worlds[w] = append(worlds[w], i)
	}
	for _, w := range order {
		if list := worlds[w]; len(list) > 1 {
			for _, g := range m.groups(list) {
				m.group(g)
			}
			m.pairs(list)
		}
	}
	return m.out
}

type matcher struct {
	ranks []Rank
	out   Matching
	texts map[*int]string // members' texts by their first, which the collectives of a group share
}

// strand is the collectives of one rank in one group, in order of start.
type strand struct {
	rank  int // index
	items []int
}

// bundle is the strands of one group.
type bundle struct {
	name    string
	size    int    // members of the group, 0 if unknown
	members string // see membersOf
	strands []strand
	// loose says that the members are not known and that other groups may have the same name.
	loose bool
}

// add appends collective k of rank i.
func (b *bundle) add(i, k int) {
	if n := len(b.strands); n == 0 || b.strands[n-1].rank != i {
		b.strands = append(b.strands, strand{rank: i})
	}
	s := &b.strands[len(b.strands)-1]
	s.items = append(s.items, k)
}

// groups divides the collectives of a world by group.
func (m *matcher) groups(list []int) []*bundle {
	type key struct {
		name, members string
		size          int
	}
	size := m.worldSize(list)
	at := map[key]*bundle{}
	var out []*bundle
	nowhere := Unmatched{Reason: NoGroup}
	for _, i := range list {
		for j := range m.ranks[i].List {
			c := &m.ranks[i].List[j]
			if paired(c.Op) || c.GroupSize == 1 || c.Cut {
				continue
			}
			members, ok := m.membersOf(c, list, size)
			if !ok && c.Group == "" {
				nowhere.add(i, 1)
				continue
			}
			k := key{c.Group, members, c.GroupSize}
			switch {
			case members == everyone:
				k.size = size
			case ok:
				k.size = len(c.Members)
			}
			b := at[k]
			if b == nil {
				b = &bundle{name: c.Group, size: k.size, members: members, loose: !ok}
				at[k] = b
				out = append(out, b)
			}
			b.add(i, j)
		}
	}
	if nowhere.Count > 0 {
		m.out.Unmatched = append(m.out.Unmatched, nowhere)
	}
	return m.adopt(joinRenamed(out))
}

// add counts n collectives of rank i.
func (u *Unmatched) add(i, n int) {
	u.Count += n
	if !slices.Contains(u.Ranks, i) {
		u.Ranks = append(u.Ranks, i)
	}
}

// everyone is the key of a group that has all ranks of its world.
const everyone = "all"

// worldSize is the number of ranks of a world, 0 if the traces do not tell it.
func (m *matcher) worldSize(list []int) int {
	n := 0
	for _, i := range list {
		n = max(n, m.ranks[i].WorldSize)
	}
	return n
}

// membersOf is the key of a group's members; ok is false if they are not known.
func (m *matcher) membersOf(c *Collective, list []int, size int) (key string, ok bool) {
	switch {
	case c.Everyone(size) && (len(c.Members) > 0 || c.GroupSize > 0 || len(list) == 2):
		return everyone, true
	case len(c.Members) > 0:
		text, ok := m.texts[&c.Members[0]]
		if !ok {
			text = memberText(c.Members)
			m.texts[&c.Members[0]] = text
		}
		return text, true
	}
	return "", false
}

// joinRenamed joins groups with the same members if no two ranks use the same name for them and
// each rank has only one: then the names are local to each rank.
func joinRenamed(list []*bundle) []*bundle {
	same := map[string][]*bundle{}
	for _, b := range list {
		if !b.loose {
			same[b.members] = append(same[b.members], b)
		}
	}
	gone := map[*bundle]bool{}
	for _, group := range same {
		seen := map[int]bool{}
		alone := len(group) > 1
		for _, b := range group {
			alone = alone && len(b.strands) == 1 && !seen[b.strands[0].rank]
			seen[b.strands[0].rank] = true
		}
		if !alone {
			continue
		}
		for _, b := range group[1:] {
			group[0].strands = append(group[0].strands, b.strands...)
			gone[b] = true
		}
		slices.SortFunc(group[0].strands, func(a, b strand) int { return cmp.Compare(a.rank, b.rank) })
	}
	return slices.DeleteFunc(list, func(b *bundle) bool { return gone[b] })
}

// adopt moves the strands of groups without known members to the only group of the same name and
// size whose members are known from another rank, if their rank is one of the members.
func (m *matcher) adopt(list []*bundle) []*bundle {
	for _, b := range list {
		if !b.loose {
			continue
		}
		b.strands = slices.DeleteFunc(b.strands, func(s strand) bool {
			var home *bundle
			for _, o := range list {
				if !o.loose && o.name == b.name && o.size == b.size && m.hasMember(o, m.ranks[s.rank].Rank) {
					if home != nil {
						return false
					}
					home = o
				}
			}
			if home == nil {
				return false
			}
			home.strands = append(home.strands, s)
			slices.SortFunc(home.strands, func(a, b strand) int { return cmp.Compare(a.rank, b.rank) })
			return true
		})
	}
	return slices.DeleteFunc(list, func(b *bundle) bool { return len(b.strands) == 0 })
}

func (m *matcher) hasMember(b *bundle, rank int) bool {
	s := b.strands[0]
	return slices.Contains(m.ranks[s.rank].List[s.items[0]].Members, rank)
}

// group matches the collectives of one group.
func (m *matcher) group(b *bundle) {
	m.dropTwins(b)
	if len(b.strands) < 2 {
		return
	}
	size := m.worldSize(m.rankList(b))
	if b.loose && b.size > 0 && (len(b.strands) > b.size || size > b.size) {
		parts, ok := m.divide(b)
		if !ok {
			m.leaveOut(b, b.strands, TooMany)
			return
		}
		for _, p := range parts {
			m.sets(p)
		}
		return
	}
	if b.size > 0 && len(b.strands) > b.size {
		m.leaveOut(b, b.strands, TooMany)
		return
	}
	m.sets(b)
}

func (m *matcher) rankList(b *bundle) []int {
	out := make([]int, len(b.strands))
	for k := range b.strands {
		out[k] = b.strands[k].rank
	}
	return out
}

// dropTwins keeps one strand of each rank.
func (m *matcher) dropTwins(b *bundle) {
	seen := map[int]bool{}
	var twins []strand
	b.strands = slices.DeleteFunc(b.strands, func(s strand) bool {
		r := m.ranks[s.rank].Rank
		if r < 0 || !seen[r] {
			seen[r] = true
			return false
		}
		twins = append(twins, s)
		return true
	})
	if len(twins) > 0 {
		m.leaveOut(b, twins, Twice)
	}
}

func (m *matcher) leaveOut(b *bundle, list []strand, why Reason) {
	u := Unmatched{Group: b.name, Reason: why}
	for _, s := range list {
		u.add(s.rank, len(s.items))
	}
	m.out.Unmatched = append(m.out.Unmatched, u)
}

// sets aligns the strands of a group and makes the sets.
func (m *matcher) sets(b *bundle) {
	places, use := m.numbered(b)
	if use != usePlaces {
		places = m.aligned(b, use == useInPattern)
	}
	m.build(b, places)
}

// build makes sets of the collectives that have one place.
func (m *matcher) build(b *bundle, places [][]place) {
	at := map[place][]Member{}
	var order []place
	for k, s := range b.strands {
		for j, p := range places[k] {
			if at[p] == nil {
				order = append(order, p)
			}
			at[p] = append(at[p], Member{s.rank, s.items[j]})
		}
	}
	differ := Unmatched{Group: b.name, Reason: Differ}
	for _, p := range order {
		set := at[p]
		if len(set) < 2 {
			continue
		}
		if !m.alike(set) {
			for _, x := range set {
				differ.add(x.Rank, 1)
			}
			continue
		}
		whole := len(set) == b.size || b.size == 0 && len(set) == len(b.strands)
		m.out.Sets = append(m.out.Sets, Set{Members: set, Whole: whole})
	}
	if differ.Count > 0 {
		m.out.Unmatched = append(m.out.Unmatched, differ)
	}
}

func (m *matcher) at(x Member) *Collective { return &m.ranks[x.Rank].List[x.Index] }

// alike reports whether all members have the same operation and, if that has the same size on all
// ranks and the sizes are known, the same size.
func (m *matcher) alike(set []Member) bool {
	size := int64(0)
	for _, x := range set {
		c := m.at(x)
		if c.kind() != m.at(set[0]).kind() {
			return false
		}
		n, ok := c.uniform()
		if !ok {
			continue
		}
		if size == 0 {
			size = n
		}
		if n != size {
			return false
		}
	}
	return true
}

// place identifies a set within its group.
type place struct {
	n     int64  // number, or place in the sequence
	op    string // where operations are numbered one by one
	again int    // which of several of one number
}

// minAgree is the share of sets that must fit for numbers to be believed.
const minAgree = 0.5

// numbering says how far the numbers of a group's collectives can be used.
type numbering int

const (
	useNothing   numbering = iota // some have none, or they contradict the operations
	useInPattern                  // they begin anew, as where a group was made again
	usePlaces                     // they say which are the same
)

// numbered places collectives by their numbers, as far as these can be used.
func (m *matcher) numbered(b *bundle) ([][]place, numbering) {
	shared := false // by several: each operation has its own numbers, or they are coalesced
	for _, s := range b.strands {
		seen := map[int64]bool{}
		for _, j := range s.items {
			seq := m.ranks[s.rank].List[j].Seq
			if seq < 0 {
				return nil, useNothing
			}
			shared = shared || seen[seq]
			seen[seq] = true
		}
	}
	places := make([][]place, len(b.strands))
	for k, s := range b.strands {
		count := map[place]int{}
		last := map[string]int64{}
		for _, j := range s.items {
			c := &m.ranks[s.rank].List[j]
			p := place{n: c.Seq}
			if shared {
				p.op = c.Op
			}
			key := p
			if count[key] > 0 && last[p.op] != c.Seq {
				return nil, useInPattern
			}
			last[p.op] = c.Seq
			p.again = count[key]
			count[key]++
			places[k] = append(places[k], p)
		}
	}
	if !m.agree(b, places) {
		return nil, useNothing
	}
	return places, usePlaces
}

// agree reports whether most collectives of one place are alike.
func (m *matcher) agree(b *bundle, places [][]place) bool {
	first := map[place]Member{}
	good, all := 0, 0
	for k, s := range b.strands {
		for j, p := range places[k] {
			x := Member{s.rank, s.items[j]}
			f, ok := first[p]
			if !ok {
				first[p] = x
				continue
			}
			all++
			if m.alike([]Member{f, x}) {
				good++
			}
		}
	}
	return all == 0 || float64(good) >= minAgree*float64(all)
}
