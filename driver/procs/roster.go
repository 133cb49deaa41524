package procs

import (
	"cmp"
	"maps"
	"slices"
)

// Roster gives processes their places and remembers them. The zero value is empty. It is not safe
// for concurrent use.
type Roster struct {
	seats map[identity]seat
	env   map[identity]map[string]string // seen so far, also of those that are no ranks
	above map[identity]*title            // Process.above, once it was seen
}

// identity names a process for as long as the host is up.
type identity struct {
	pid   int
	ticks uint64
}

// claim is what a process asks for; a seat lasts as long as the claim is the same.
type claim struct {
	said
	stage int // unknown: the name's
	name  string
}

const unknown = -1

// group is the ranks of one replica that one process has started, as far as they say.
// Only they can tell each other's TP size, since another job may have another one.
type group struct {
	parent, stage, dp int
	name              string
	how               exactness
}

// seat is a process's place and what it was computed from.
type seat struct {
	Rank
	claim  claim
	group  group // by the first parent: when it ends, another process adopts its children
	tpSize int
	seated bool // Replica is valid
}

// Place splits the processes, all that are registered now, into ranks with their places
// and others. Ranks are in order of stage, replica and rank, the others in order of start.
// Of several processes with one PID only the one that started last counts. A Rank's
// Process has the variables that earlier calls saw as well. The argument is not kept.
func (r *Roster) Place(ps []Process) (ranks []Rank, skipped []Skipped) {
	ps = inOrder(ps)
	r.recall(ps)
	r.lookUp(ps)
	chosen, skipped := choose(ps)
	seats := make([]*seat, len(chosen))
	for i, p := range chosen {
		s, c := r.seats[identity{p.PID, p.StartTicks}], claimOf(p)
		if !s.seated || s.claim != c {
			s = seat{claim: c, group: groupOf(c, p), Rank: Rank{Stage: unknown, StageName: c.name}}
		}
		s.Process = p
		seats[i] = &s
	}
	setRanks(seats)
	setStages(seats)
	setReplicas(seats)
	setWorlds(seats)
	r.seats = make(map[identity]seat, len(seats))
	for _, s := range seats {
		ranks = append(ranks, s.Rank)
		kept := *s
		kept.Process = Process{}
		r.seats[identity{s.Process.PID, s.Process.StartTicks}] = kept
	}
	slices.SortFunc(ranks, func(a, b Rank) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Replica, b.Replica), cmp.Compare(a.Rank, b.Rank))
	})
	return ranks, skipped
}

// recall completes each environment with variables that were seen before, and remembers it.
func (r *Roster) recall(ps []Process) {
	env := make(map[identity]map[string]string, len(ps))
	for i := range ps {
		id := identity{ps[i].PID, ps[i].StartTicks}
		all := map[string]string{}
		maps.Copy(all, r.env[id])
		maps.Copy(all, ps[i].Env)
		env[id] = all
		ps[i].Env = maps.Clone(all)
	}
	r.env = env
}

func claimOf(p Process) claim {
	c := claim{said: say(p), stage: unknown}
	if v, ok := number(p.Env[EnvStage], MaxStage); ok {
		c.stage = v
	}
	if v := p.Env[EnvStageName]; v != "" {
		c.name = cleanName(v)
	} else {
		c.name = nameOf(p.Args)
	}
	return c
}

func groupOf(c claim, p Process) group {
	g := group{stage: c.stage, dp: c.dp, name: c.name, how: c.how}
	if len(p.Ancestors) > 0 && p.Ancestors[0] > 1 { // process 1 is everybody's ancestor and makes no group
		g.parent = p.Ancestors[0]
	}
	return g
}

// setRanks computes each rank and frees the places of processes whose rank has changed. A group's
// TP size never shrinks while a member is left, so that the members that stay keep their ranks.
func setRanks(seats []*seat) {
	size := map[group]int{}
	for _, s := range seats {
		size[s.group] = max(size[s.group], s.tpSize, s.claim.tp+1)
	}
	for _, s := range seats {
		s.tpSize = size[s.group]
		rank := 0
		switch s.claim.how {
		case saysPlace:
			rank = s.claim.pp*s.tpSize + s.claim.tp
		case saysRank:
			rank = s.claim.rank
		}
		s.seated = s.seated && rank == s.Rank.Rank
		s.Rank.Rank = rank
	}
}

// setStages gives a stage to those that have none yet.
func setStages(seats []*seat) {
	byName, used := map[string]int{}, map[int]bool{}
	note := func(s *seat) {
		used[s.Stage] = true
		if _, ok := byName[s.StageName]; !ok {
			byName[s.StageName] = s.Stage
		}
	}
	for _, s := range seats {
		if s.Stage != unknown {
			note(s)
		}
	}
	for _, s := range seats {
		if s.Stage == unknown && s.claim.stage != unknown {
			s.Stage = s.claim.stage
			note(s)
		}
	}
	for _, s := range seats {
		if s.Stage != unknown {
			continue
		}
		stage, ok := byName[s.StageName]
		for !ok && used[stage] {
			stage++
		}
		s.Stage = stage
		note(s)
	}
}

// replica is one of a stage, spot a place in it.
type replica struct{ stage, replica int }

type spot struct {
	replica
	rank int
}

// hall records which process has which place.
type hall struct {
	taken map[spot]bool
	used  map[replica]bool
	home  map[group]int // the replica that a group's first member got
}

func (h *hall) take(s *seat) {
	at := replica{s.Stage, s.Replica}
	h.taken[spot{at, s.Rank.Rank}] = true
	h.used[at] = true
	if _, ok := h.home[s.group]; !ok && s.group.parent != 0 {
		h.home[s.group] = s.Replica
	}
}

// find returns the replica for one that has none.
func (h *hall) find(s *seat) int {
	free := func(n int) bool { return !h.taken[spot{replica{s.Stage, n}, s.Rank.Rank}] }
	n := 0
	if s.claim.how == saysNothing {
		for h.used[replica{s.Stage, n}] {
			n++
		}
		return n
	}
	if home, ok := h.home[s.group]; ok && free(home) {
		return home
	}
	for n = s.claim.dp; !free(n); n++ {
	}
	return n
}

// setReplicas seats the rest, group by group so that jobs that start at the same time do
// not share a replica.
func setReplicas(seats []*seat) {
	h := &hall{taken: map[spot]bool{}, used: map[replica]bool{}, home: map[group]int{}}
	first := map[group]int{}
	var waiting []*seat
	for i, s := range seats {
		if _, ok := first[s.group]; !ok {
			first[s.group] = i
		}
		if s.seated {
			h.take(s)
		} else {
			waiting = append(waiting, s)
		}
	}
	slices.SortStableFunc(waiting, func(a, b *seat) int { return cmp.Compare(first[a.group], first[b.group]) })
	for _, s := range waiting {
		s.Replica = h.find(s)
		s.seated = true
		h.take(s)
	}
}

// setWorlds counts the ranks of titled groups. As with TP sizes, the most counts.
func setWorlds(seats []*seat) {
	seen, world := map[group]int{}, map[group]int{}
	for _, s := range seats {
		seen[s.group]++
		world[s.group] = max(world[s.group], s.WorldSize, seen[s.group], s.Rank.Rank+1)
	}
	for _, s := range seats {
		switch s.claim.how {
		case saysNothing:
			s.WorldSize = 1
		case saysRank:
			s.WorldSize = s.claim.world
		default:
			s.WorldSize = world[s.group]
		}
	}
}
