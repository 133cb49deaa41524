package analysis

import "github.com/kinetoscope/kinetoscope/trace"

// callTable finds launch calls by correlation. Correlations count up through a window,
// or in a few ranges of it, so they index pages of a table; ids that are hashes go
// through a map.
type callTable struct {
	lo, hi int64
	pages  []*callPage     // by correlation-lo; nil if sparse
	room   int             // pages that may still be made
	sparse map[int64]int32 // nil if pages
	// repeated holds, in file order, the calls of correlations that several have: the
	// traces of several processes merged into one file repeat ids.
	repeated map[int64][]int32
	again    int // calls whose correlation an earlier one has as well
}

// callPage holds calls +1 by the low bits of the correlation; 0 for none.
type callPage [1 << callPageBits]int32

const callPageBits = 10

// newCallTable returns a table for have calls with correlations lo … hi. What it takes
// is in proportion to have.
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
		return noSlice, false
	}
	if t.pages != nil {
		at := uint64(c - t.lo)
		p := t.pages[at>>callPageBits]
		if p == nil {
			return noSlice, false
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

// scatter gives the pages up: too few calls share one.
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

// link joins launches and device work by correlation.
func (f *frame) link(host, device func(int32) bool) {
	corr := f.tr.Slices.Corr
	n := int32(len(corr))
	f.partner = filled(int(n))
	isCall := func(i int32) bool { return corr[i] != trace.NoCorrelation && f.counts(i) && host(i) }
	lo, hi, have := int64(0), int64(0), 0
	for i := range n {
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
		return
	}
	t := newCallTable(lo, hi, have)
	for i := range n {
		if isCall(i) {
			t.put(corr[i], i)
		}
	}
	f.ambiguous = t.again
	for i := range n {
		if corr[i] == trace.NoCorrelation || !f.counts(i) || !device(i) {
			continue
		}
		h, ok := t.get(corr[i])
		if t.repeated != nil && !f.opt.HTA {
			if calls := t.repeated[corr[i]]; calls != nil {
				h = f.nearest(calls, i)
			}
		}
		if ok && h != i {
			f.partner[i], f.partner[h] = h, i
		}
	}
}

// nearest returns the last of calls that began before device slice d, or the first.
func (f *frame) nearest(calls []int32, d int32) int32 {
	best := calls[0]
	for _, h := range calls[1:] {
		late, bestLate := f.start[h] > f.start[d], f.start[best] > f.start[d]
		if bestLate && !late || bestLate == late && !late && f.start[h] >= f.start[best] {
			best = h
		}
	}
	return best
}
