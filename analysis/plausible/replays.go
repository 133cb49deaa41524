package plausible

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// Limits of what tells a replay of which kernels were lost from one of a smaller graph.
const (
	wholeReplays = 2  // of the same kernels, for these to be what a graph has
	wholeKinds   = 16 // of the graphs that are replayed most, which others are compared with
	rareReplays  = 4  // times as many replays of the whole as of the part, where no replay lost all its kernels
)

// replays are the replays of graphs that have the same kernels in the trace, in any order: branches
// of a graph run side by side.
type replays struct {
	calls []int32
	work  []int32 // of the first
	has   map[trace.StringID]int
	runs  []place // for each run of calls without others between, what was replayed before and after it
	at    places  // of every single call
}

// part is replays that have only a part of the kernels that others have.
type part struct {
	calls       []int32 // by start
	least, most int     // kernels that they have
	of          int     // that the others have; the most where these differ
}

// partial finds the replays of which a part of the kernels is missing. lossy says that there are replays
// of which all are: then fewer kernels are taken for a part unless most replays have no more. Otherwise
// they must be rare, for a smaller graph of the same kernels is replayed regularly. Either must stand where
// the whole graph stands: the last piece of a model that is replayed in pieces, or a draft model behind its
// target, is rare and small as well, but always at a place of its own.
func (c *checker) partial(lossy bool) (p part) {
	kinds := c.replays()
	if len(kinds) < 2 {
		return p
	}
	slices.SortStableFunc(kinds, func(a, b *replays) int { return cmp.Compare(len(b.calls), len(a.calls)) })
	var whole []*replays
	for _, k := range kinds {
		if len(k.calls) >= wholeReplays && len(whole) < wholeKinds {
			k.has = map[trace.StringID]int{}
			for _, i := range k.work {
				k.has[c.v.Trace.Slices.Name[i]]++
			}
			whole = append(whole, k)
		}
	}
	c.order(kinds)
	for _, k := range kinds {
		at := slices.IndexFunc(whole, func(w *replays) bool {
			rare := len(k.calls)*rareReplays <= len(w.calls)
			return len(k.work) < len(w.work) && (rare || lossy && len(k.calls) <= len(w.calls)) && c.holds(w, k) &&
				k.stands(w)
		})
		if at < 0 {
			continue
		}
		if n := len(k.work); p.least == 0 {
			p.least, p.most = n, n
		} else {
			p.least, p.most = min(p.least, n), max(p.most, n)
		}
		p.calls, p.of = append(p.calls, k.calls...), max(p.of, len(whole[at].work))
	}
	slices.SortFunc(p.calls, func(a, b int32) int { return cmp.Compare(c.v.Start[a], c.v.Start[b]) })
	return p
}

// holds reports whether the replays of w have all kernels that those of k have.
func (c *checker) holds(w, k *replays) bool {
	n := map[trace.StringID]int{}
	for _, i := range k.work {
		name := c.v.Trace.Slices.Name[i]
		if n[name]++; n[name] > w.has[name] {
			return false
		}
	}
	return true
}

// place is what a thread replayed before and after, as numbers of kinds, or anything.
type place struct{ before, after int32 }

// anything is the number of a replay that says nothing of its neighbours: there is none, all its kernels
// were lost, or no other has its kernels, as with a part.
const anything = -1

// places are the places of all replays of one kind.
type places struct {
	both          map[place]bool
	before, after map[int32]bool
}

func (p *places) add(at place) {
	if p.both == nil {
		*p = places{map[place]bool{}, map[int32]bool{}, map[int32]bool{}}
	}
	p.both[at], p.before[at.before], p.after[at.after] = true, true, true
}

// order sets the places of all replays.
func (c *checker) order(kinds []*replays) {
	of := map[int32]int32{}
	for n, k := range kinds {
		for _, l := range k.calls {
			of[l] = int32(n)
		}
	}
	threads := map[trace.TrackID][]int32{}
	for _, l := range c.v.Launches() { // by start
		if !view.IsGraphLaunch(c.v.Name(l)) {
			continue
		}
		n, ok := of[l]
		if !ok {
			n = anything
		}
		track := c.v.Trace.Slices.Track[l]
		threads[track] = append(threads[track], n)
	}
	for _, list := range threads {
		at := func(i int) int32 {
			if i < 0 || i >= len(list) || list[i] == anything || len(kinds[list[i]].calls) < wholeReplays {
				return anything
			}
			return list[i]
		}
		for i, n := range list {
			if n == anything {
				continue
			}
			k := kinds[n]
			k.at.add(place{at(i - 1), at(i + 1)})
			if i > 0 && list[i-1] == n {
				k.runs[len(k.runs)-1].after = at(i + 1)
			} else {
				k.runs = append(k.runs, place{at(i - 1), at(i + 1)})
			}
		}
	}
}

// stands reports whether most runs of k stand where w stands elsewhere.
func (k *replays) stands(w *replays) bool {
	n := 0
	for _, r := range k.runs {
		var as bool
		switch {
		case r.before == anything && r.after == anything:
			as = true
		case r.before == anything:
			as = w.at.after[r.after]
		case r.after == anything:
			as = w.at.before[r.before]
		default:
			as = w.at.both[r]
		}
		n += stat.One(as)
	}
	return 2*n >= len(k.runs)
}

// replays groups the replays by their kernels.
func (c *checker) replays() []*replays {
	names := c.v.Trace.Slices.Name
	isGraph := map[trace.StringID]bool{}
	work := map[int32][]int32{}
	var calls []int32
	for _, i := range c.v.ByStart {
		l := c.v.Launch(i)
		if l < 0 || !c.kept(i) {
			continue
		}
		is, known := isGraph[names[l]]
		if !known {
			is = view.IsGraphLaunch(c.v.Name(l))
			isGraph[names[l]] = is
		}
		if !is {
			continue
		}
		if work[l] == nil {
			calls = append(calls, l)
		}
		work[l] = append(work[l], i)
	}
	type kernels struct {
		n   int
		sum uint64
	}
	by := map[kernels]*replays{}
	var out []*replays
	for _, l := range calls {
		key := kernels{n: len(work[l])}
		for _, i := range work[l] {
			key.sum += spread(uint64(names[i]))
		}
		k := by[key]
		if k == nil {
			k = &replays{work: work[l]}
			by[key] = k
			out = append(out, k)
		}
		k.calls = append(k.calls, l)
	}
	return out
}

// spread makes sums of numbers differ where the numbers do: the finalizer of MurmurHash3.
func spread(x uint64) uint64 {
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// String says how much the replays have.
func (p part) String() string {
	if p.least == p.most {
		return fmt.Sprintf("%d of %s", p.least, units.Plural(p.of, "kernel"))
	}
	return fmt.Sprintf("%d to %d of %s", p.least, p.most, units.Plural(p.of, "kernel"))
}
