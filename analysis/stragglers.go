package analysis

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
)

// StragglerReport says which ranks the others wait for. A collective ends on all ranks
// together, so the rank on which it was shortest came last. That needs no common clock.
type StragglerReport struct {
	Matched int         `json:"matched"` // collectives found on at least two ranks
	Ranks   []Straggler `json:"ranks"`   // most blamed first
}

// Straggler is one rank's part in the waiting.
type Straggler struct {
	Rank  int `json:"rank"`  // as the trace says; -1 if unknown
	Index int `json:"index"` // in the traces given
	// LastCount is in how many collectives the rank came last.
	LastCount int `json:"last_count"`
	// BlameNs sums, over the collectives in which the rank came last, the mean time
	// that the others waited in them.
	BlameNs int64 `json:"blame_ns"`
	WaitNs  int64 `json:"wait_ns"` // time the rank waited for others, over all collectives
	// ComputeNs is the rank's merged compute time; a straggler by compute has more of
	// it than the others, one held up by its host has not.
	ComputeNs int64 `json:"compute_ns"`
	// WorstSlice is the collective, on this rank, with the largest single blame.
	WorstSlice int `json:"worst_slice"` // NoSlice if never last
	worst      int64
}

// Stragglers answers which ranks hold the others up. Traces are matched by process
// group, operation and number in the group, so all ranks must have recorded the same
// window; what has no partner is left out.
func Stragglers(trs []*trace.Trace, opt Options) StragglerReport {
	return stragglers(newFrames(trs, opt))
}

type collectiveKey struct {
	group, op string
	seq       int64
}

type onRank struct {
	index int
	c     Collective
}

func stragglers(fs []*frame) StragglerReport {
	out := StragglerReport{Ranks: make([]Straggler, len(fs))}
	all := make([][]Collective, len(fs))
	parallel(len(fs), func(i int) {
		all[i], _ = fs[i].collectives()
		out.Ranks[i] = Straggler{Rank: fs[i].rank, Index: i, WorstSlice: NoSlice, ComputeNs: total(fs[i].merged(1 << KindCompute))}
	})
	sets := map[collectiveKey][]onRank{}
	var order []collectiveKey
	for i, cs := range all {
		count := map[collectiveKey]int64{} // numbers collectives that have none
		for _, c := range cs {
			if c.Op == "send" || c.Op == "recv" {
				continue // two ranks of a pair do different things
			}
			k := collectiveKey{group: c.Group, op: c.Op, seq: c.Seq}
			if c.Seq < 0 {
				k.seq = -1 - count[k]
				count[collectiveKey{c.Group, c.Op, -1}]++
			}
			if sets[k] == nil {
				order = append(order, k)
			}
			sets[k] = append(sets[k], onRank{i, c})
		}
	}
	for _, k := range order {
		if set := sets[k]; len(set) >= 2 {
			out.Matched++
			blame(out.Ranks, set)
		}
	}
	slices.SortStableFunc(out.Ranks, func(a, b Straggler) int { return cmp.Compare(b.BlameNs, a.BlameNs) })
	return out
}

// blame charges one collective's waiting to the rank that came last.
func blame(ranks []Straggler, set []onRank) {
	last := 0
	for j := range set {
		if set[j].c.Ns < set[last].c.Ns {
			last = j
		}
	}
	shortest := set[last].c.Ns
	var wait int64
	for _, r := range set {
		ranks[r.index].WaitNs += r.c.Ns - shortest
		wait += r.c.Ns - shortest
	}
	b := wait / int64(len(set)-1)
	r := &ranks[set[last].index]
	if wait == 0 {
		return // a tie blames nobody
	}
	r.LastCount++
	r.BlameNs += b
	if b > r.worst {
		r.worst, r.WorstSlice = b, set[last].c.Slice
	}
}
