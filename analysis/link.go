package analysis

import "github.com/kinetoscope/kinetoscope/trace"

// callTable finds launch calls by correlation. Correlations count up through a window,
// so a table indexed by them is usual; ids that are hashes go through a map.
type callTable struct {
	lo, hi int64
	dense  []int32
	sparse map[int64]int32
	// repeated holds, in file order, the calls of correlations that several have: the
	// traces of several processes merged into one file repeat ids.
	repeated map[int64][]int32
	again    int // calls whose correlation an earlier one has as well
}

// newCallTable returns a table for have calls with correlations lo … hi of a trace of n
// slices.
func newCallTable(lo, hi int64, have, n int) *callTable {
	t := &callTable{lo: lo, hi: hi}
	if span := hi - lo; span >= 0 && span < 16*int64(n)+1024 {
		t.dense = filled(int(span) + 1)
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
	if t.dense != nil {
		i := t.dense[c-t.lo]
		return i, i >= 0
	}
	i, ok := t.sparse[c]
	return i, ok
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
	if t.dense != nil {
		t.dense[c-t.lo] = i
	} else {
		t.sparse[c] = i
	}
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
	t := newCallTable(lo, hi, have, int(n))
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
		if calls := t.repeated[corr[i]]; calls != nil && !f.opt.HTA {
			h = f.nearest(calls, i)
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
