package procs

import (
	"cmp"
	"fmt"
	"slices"
)

// exactness orders what a process can say of its place.
type exactness int

const (
	saysNothing exactness = iota
	saysRank              // RANK and WORLD_SIZE
	saysReplica           // a title with DP alone
	saysPlace             // a title with TP or PP
)

// said is what a process says of its place. It is comparable.
type said struct {
	how         exactness
	rank, world int // RANK and WORLD_SIZE, whatever how is; world is 0 without
	dp, pp, tp  int // of the title
}

func say(p Process) said {
	var s said
	world, ok := number(p.Env[EnvWorldSize], MaxWorld)
	if rank, valid := number(p.Env[EnvRank], MaxWorld); ok && valid && rank < world {
		s = said{how: saysRank, rank: rank, world: world}
	}
	if t, ok := parseTitle(p.Args); ok {
		switch {
		case t.hasRank:
			s.how = saysPlace
		case t.hasDP:
			s.how = saysReplica
		}
		s.dp, s.pp, s.tp = t.dp, t.pp, t.tp
		s.dp, _ = t.replica(p.above)
	}
	return s
}

// lookUp completes above of each process, which it keeps when the one above has ended.
func (r *Roster) lookUp(ps []Process) {
	args := make(map[int][]string, len(ps))
	for _, p := range ps {
		args[p.PID] = p.Args
	}
	kept := make(map[identity]*title, len(ps))
	for i := range ps {
		p := &ps[i]
		id := identity{p.PID, p.StartTicks}
		if p.above == nil {
			p.above = saysReplicaAbove(p.Ancestors, func(pid int) []string { return args[pid] })
		}
		p.above = cmp.Or(p.above, r.above[id])
		kept[id] = p.above
	}
	r.above = kept
}

func (s said) sameRank(o said) bool {
	return s.world > 0 && s.rank == o.rank && s.world == o.world
}

// starts reports whether a process that says s and has a descendant that says below is a
// launcher.
func (s said) starts(below said) bool {
	return below.how > s.how || s.how == saysRank && below.how == saysRank && !s.sameRank(below)
}

// helps reports whether a process that says s works for an ancestor that says above.
func (s said) helps(above said) bool {
	switch {
	case s.how > above.how || above.how == saysNothing:
		return false
	case s.how == saysNothing:
		return above.how >= saysReplica
	case s.how == saysRank:
		return s.sameRank(above)
	}
	return s.how == above.how && s.dp == above.dp && s.pp == above.pp && s.tp == above.tp
}

// inOrder sorts processes by start and drops all but the youngest of a process id.
func inOrder(ps []Process) []Process {
	ps = slices.Clone(ps)
	slices.SortStableFunc(ps, func(a, b Process) int {
		return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(b.StartTicks, a.StartTicks))
	})
	ps = slices.CompactFunc(ps, func(a, b Process) bool { return a.PID == b.PID })
	slices.SortStableFunc(ps, byStart)
	return ps
}

func byStart(a, b Process) int {
	return cmp.Or(cmp.Compare(a.StartTicks, b.StartTicks), cmp.Compare(a.PID, b.PID))
}

// choice applies the rules to processes in order of start. They are named by index.
type choice struct {
	ps     []Process
	said   []said
	above  [][]int  // ancestors among ps, nearest first
	reason []string // why not; "" if it is still in
}

// launcher is the reason of one until it is known which rank it starts.
const launcher = "launcher"

// choose splits processes in order of start into ranks and others, in the same order.
func choose(ps []Process) (ranks []Process, skipped []Skipped) {
	c := newChoice(ps)
	c.dropHelpersAndLaunchers()
	switch {
	case c.any(c.hasDevice):
		c.keep(c.hasDevice, func(i int) string {
			if c.ps[i].Restricted {
				return "others have an accelerator open; which files this one has open is hidden from this user"
			}
			return "has no accelerator open, others have"
		})
	case c.any(func(i int) bool { return c.said[i].how == saysRank }):
		c.keep(func(i int) bool { return c.said[i].how != saysNothing },
			func(int) string { return "has no RANK, others have" })
	default:
		starts := map[int]bool{}
		c.lines(func(_, above int) { starts[above] = true })
		c.keep(func(i int) bool { return !starts[i] || c.said[i].how >= saysReplica },
			func(int) string { return launcher })
	}
	c.dropWorkers()
	c.nameStarted()
	for i, p := range c.ps {
		if c.reason[i] == "" {
			ranks = append(ranks, p)
		} else {
			skipped = append(skipped, Skipped{PID: p.PID, Reason: c.reason[i]})
		}
	}
	return ranks, skipped
}

func newChoice(ps []Process) *choice {
	c := &choice{ps: ps, said: make([]said, len(ps)), above: make([][]int, len(ps)), reason: make([]string, len(ps))}
	index := make(map[int]int, len(ps))
	for i, p := range ps {
		index[p.PID] = i
		c.said[i] = say(p)
	}
	for i, p := range ps {
		for _, pid := range p.Ancestors {
			// One that started later has the id of an ancestor that is gone.
			if a, ok := index[pid]; ok && a != i && ps[a].StartTicks <= p.StartTicks {
				c.above[i] = append(c.above[i], a)
			}
		}
	}
	return c
}

func (c *choice) hasDevice(i int) bool { return c.ps[i].Devices > 0 }

func (c *choice) any(is func(int) bool) bool {
	for i := range c.ps {
		if c.reason[i] == "" && is(i) {
			return true
		}
	}
	return false
}

func (c *choice) keep(is func(int) bool, why func(int) string) {
	for i := range c.ps {
		if c.reason[i] == "" && !is(i) {
			c.reason[i] = why(i)
		}
	}
}

// lines calls f for every pair still in of which one is above the other.
func (c *choice) lines(f func(below, above int)) {
	for i := range c.ps {
		for _, a := range c.above[i] {
			if c.reason[i] == "" && c.reason[a] == "" {
				f(i, a)
			}
		}
	}
}

func (c *choice) dropHelpersAndLaunchers() {
	c.keep(func(i int) bool { return !isCompileWorker(c.ps[i].Args) },
		func(int) string { return "compiles kernels for another process" })
	c.keep(func(i int) bool { t, _ := parseTitle(c.ps[i].Args); return !t.serves },
		func(int) string { return "runs no model, as its title says" })
	starts := map[int]bool{}
	c.lines(func(below, above int) {
		if c.said[above].starts(c.said[below]) {
			starts[above] = true
		}
	})
	c.keep(func(i int) bool { return !starts[i] }, func(int) string { return launcher })
}

// dropWorkers names the rank that a worker works for, which may be several workers up.
func (c *choice) dropWorkers() {
	nearest := map[int]int{}
	c.lines(func(below, above int) {
		if _, ok := nearest[below]; !ok && c.said[below].helps(c.said[above]) {
			nearest[below] = above
		}
	})
	c.keep(func(i int) bool { _, ok := nearest[i]; return !ok }, func(i int) string {
		for range c.ps { // no more steps than processes, even if ancestors run in a circle
			next, ok := nearest[i]
			if !ok {
				break
			}
			i = next
		}
		return fmt.Sprintf("worker of process %d", c.ps[i].PID)
	})
}

// nameStarted tells each launcher the first rank below it.
func (c *choice) nameStarted() {
	first := map[int]int{}
	for i := range c.ps {
		for _, a := range c.above[i] {
			if _, ok := first[a]; !ok && c.reason[i] == "" {
				first[a] = c.ps[i].PID
			}
		}
	}
	for i, why := range c.reason {
		if why != launcher {
			continue
		}
		c.reason[i] = "starts processes that are no ranks either"
		if pid, ok := first[i]; ok {
			c.reason[i] = fmt.Sprintf("starts rank process %d", pid)
		}
	}
}
