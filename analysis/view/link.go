package view

import (
	"slices"
	"sort"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/order"
)

// callTable finds launch calls by correlation. Correlations of a window usually lie in one or a few
// ascending ranges, so they index pages of a table. Ids that are hashes are kept in a map.
type callTable struct {
	lo, hi int64
	pages  []*callPage     // by correlation-lo; nil if sparse
	room   int             // pages that may still be made
	sparse map[int64]int32 // nil if pages
	// repeated holds, in file order, the calls of correlations that several calls have: traces of
	// several processes that were merged into one file repeat ids.
	repeated map[int64][]int32
	again    int // calls whose correlation an earlier call has too
}

// callPage holds calls +1 by the low bits of the correlation; 0 for none.
type callPage [1 << callPageBits]int32

const callPageBits = 10

// newCallTable returns a table for have calls with correlations lo … hi. Its memory is proportional
// to have.
func newCallTable(lo, hi int64, have int) *callTable {
	t := &callTable{lo: lo, hi: hi}
	if n := uint64(hi-lo)>>callPageBits + 1; n <= uint64(4*have)+16 {
		t.pages = make([]*callPage, n)
		t.room = have>>(callPageBits-4) + 16
	} else {
		t.sparse = make(map[int64]int32, have)
	}
	return t
}

// get returns the last call of correlation c.
func (t *callTable) get(c int64) (int32, bool) {
	if c < t.lo || c > t.hi {
		return None, false
	}
	if t.pages != nil {
		at := uint64(c - t.lo)
		p := t.pages[at>>callPageBits]
		if p == nil {
			return None, false
		}
		i := p[at&(1<<callPageBits-1)] - 1
		return i, i >= 0
	}
	i, ok := t.sparse[c]
	return i, ok
}

// set makes i the call of correlation c.
func (t *callTable) set(c int64, i int32) {
	if t.pages == nil {
		t.sparse[c] = i
		return
	}
	at := uint64(c - t.lo)
	p := &t.pages[at>>callPageBits]
	if *p == nil {
		if t.room == 0 {
			t.scatter()
			t.sparse[c] = i
			return
		}
		t.room--
		*p = new(callPage)
	}
	(*p)[at&(1<<callPageBits-1)] = i + 1
}

// scatter replaces the pages by the map, because too few calls share a page.
func (t *callTable) scatter() {
	t.sparse = map[int64]int32{}
	for k, p := range t.pages {
		if p == nil {
			continue
		}
		for j, i := range p {
			if i > 0 {
				t.sparse[t.lo+int64(k)<<callPageBits+int64(j)] = i - 1
			}
		}
	}
	t.pages = nil
}

func (t *callTable) put(c int64, i int32) {
	if before, ok := t.get(c); ok {
		if t.repeated == nil {
			t.repeated = map[int64][]int32{}
		}
		if t.repeated[c] == nil {
			t.repeated[c] = []int32{before}
		}
		t.repeated[c] = append(t.repeated[c], i)
		t.again++
	}
	t.set(c, i)
}

// Link joins launch calls and device work by correlation.
type Link struct {
	Trace *trace.Trace
	Start []int64          // per slice
	Call  func(int32) bool // which slices can be launch calls
	Work  func(int32) bool // which slices can be work that a call launched
	Last  bool             // work belongs to the last call of its correlation, even if that began later
}

// Partners returns for device work its launch, for a launch its last device work, and None for all
// other slices. ambiguous counts calls whose correlation an earlier call has too. If several calls
// share a correlation, work belongs to the last one that began before it, or else to the first in
// the file.
func (l Link) Partners() (partner []int32, ambiguous int) {
	corr := l.Trace.Slices.Corr
	n := int32(len(corr))
	partner = make([]int32, n)
	lo, hi, have := int64(0), int64(0), 0
	isCall := func(i int32) bool { return corr[i] != trace.NoCorrelation && l.Call(i) }
	for i := range n {
		partner[i] = None
		if !isCall(i) {
			continue
		}
		if have == 0 {
			lo, hi = corr[i], corr[i]
		}
		lo, hi = min(lo, corr[i]), max(hi, corr[i])
		have++
	}
	if have == 0 {
		return partner, 0
	}
	t := newCallTable(lo, hi, have)
	for i := range n {
		if isCall(i) {
			t.put(corr[i], i)
		}
	}
	sorted := map[int64]*callList{}
	for i := range n {
		if corr[i] == trace.NoCorrelation || !l.Work(i) {
			continue
		}
		h, ok := t.get(corr[i])
		if calls := t.repeated[corr[i]]; calls != nil && !l.Last {
			by := sorted[corr[i]]
			if by == nil {
				by = newCallList(calls, l.Start)
				sorted[corr[i]] = by
			}
			h = by.before(l.Start[i])
		}
		if ok && h != i {
			partner[i], partner[h] = h, i
		}
	}
	return partner, t.again
}

// callList is the calls of one correlation by start, then file order.
type callList struct {
	calls  []int32
	starts []int64
	first  int32 // in file order
}

func newCallList(calls []int32, start []int64) *callList {
	c := &callList{calls: slices.Clone(calls), first: calls[0]}
	order.ByKey(c.calls, func(i int32) int64 { return start[i] })
	c.starts = make([]int64, len(c.calls))
	for k, i := range c.calls {
		c.starts[k] = start[i]
	}
	return c
}

// before returns the last call that began at t or earlier, or else the first of the file.
func (c *callList) before(t int64) int32 {
	k := sort.Search(len(c.starts), func(k int) bool { return c.starts[k] > t })
	if k == 0 {
		return c.first
	}
	return c.calls[k-1]
}
