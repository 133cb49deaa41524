package coll

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
)

const (
	// maxSamples bounds the pairs by which an alignment of two sequences is judged: enough for a
	// median.
	maxSamples = 512
	// maxCandidates bounds the alignments that are judged: a sequence of equal collectives fits
	// everywhere.
	maxCandidates = 24
	// clearly is by which factor an alignment must be better than another to be preferred against
	// other reasons.
	clearly = 4
	// minSpread is the fewest pairs whose spread is meaningful.
	minSpread = 8
)

// aligned places collectives by their order. The longest strand defines the places, and each other
// strand is aligned with it. Strands that fit nowhere get no places and are counted. If numbers is
// set, the collectives' numbers are part of the pattern.
func (m *matcher) aligned(b *bundle, numbers bool) [][]place {
	places := make([][]place, len(b.strands))
	ref := 0
	for k := range b.strands {
		if len(b.strands[k].items) > len(b.strands[ref].items) {
			ref = k
		}
	}
	pattern := m.tells(b)
	pattern.numbers = numbers
	base := m.sequence(b.strands[ref], pattern)
	var lost []strand
	for k, s := range b.strands {
		shift, ok := 0, true
		if k != ref {
			shift, ok = layOn(base, m.sequence(s, pattern))
		}
		if !ok {
			lost = append(lost, s)
			continue
		}
		places[k] = make([]place, len(s.items))
		for j := range s.items {
			places[k][j].n = int64(j + shift)
		}
	}
	if len(lost) > 0 {
		m.leaveOut(b, lost, NotAligned)
	}
	return places
}

// sequence is a strand in the form that is aligned.
type sequence struct {
	tokens []uint64 // operation and size
	end    []int64  // when the rank left
	clock  bool
	host   string
}

// pattern says which properties of a collective, beside its operation, must agree. A property that
// one rank does not know is left out.
type pattern struct{ sizes, numbers bool }

// tells is what all ranks of a group know of its collectives.
func (m *matcher) tells(b *bundle) pattern {
	return pattern{sizes: !slices.ContainsFunc(b.strands, func(s strand) bool {
		return slices.ContainsFunc(s.items, func(j int) bool { return m.ranks[s.rank].List[j].Bytes() == 0 })
	})}
}

var tokenSeed = maphash.MakeSeed()

func (m *matcher) sequence(s strand, by pattern) sequence {
	r := &m.ranks[s.rank]
	q := sequence{clock: r.Clock, host: r.Host, tokens: make([]uint64, len(s.items)), end: make([]int64, len(s.items))}
	for k, j := range s.items {
		c := &r.List[j]
		h := maphash.String(tokenSeed, c.kind())
		if n, ok := c.uniform(); ok && by.sizes {
			h = h*31 + uint64(n)
		}
		if by.numbers {
			h = h*31 + uint64(c.Seq)
		}
		q.tokens[k], q.end[k] = h, c.End()+r.OffsetNs
	}
	return q
}

// layOn returns the place in a of the first element of b. Alignments in which all operations and
// sizes agree are preferred. Among these, times on a common clock decide, else how steadily the
// ranks leave together, else that both have the same number.
func layOn(a, b sequence) (shift int, ok bool) {
	ways := strictWays(a.tokens, b.tokens)
	if a.clock && b.clock {
		if shift, ok := byTime(a, b, len(ways) > 0); ok {
			return shift, true
		}
		if a.host == b.host && apart(a, b) {
			return 0, false
		}
	}
	same := len(a.tokens) == len(b.tokens)
	switch {
	case len(ways) == 0:
		return 0, same && share(a, b, 0) >= minAgree
	case len(ways) == 1:
		return ways[0], true
	}
	best, second := bySpread(a, b, ways)
	if best.ok && (!second.ok || best.spread*clearly < second.spread) {
		return best.shift, true
	}
	if !same && contained(a, b, ways[0]) && !contained(a, b, ways[1]) {
		return ways[0], true // the only alignment in which all of b has partners
	}
	return 0, same && slices.Contains(ways, 0)
}

// contained reports whether every element of b has a partner in a.
func contained(a, b sequence, shift int) bool {
	return shift >= 0 && shift+len(b.end) <= len(a.end)
}

// strictWays returns the shifts at which all tokens agree and at least half of the
// shorter sequence takes part, those with the most in common first.
func strictWays(a, b []uint64) []int {
	need := max(1, (min(len(a), len(b))+1)/2)
	var out []int
	common := func(d int) int { return min(len(a), len(b)+d) - max(0, d) }
	for d, z := range prefixes(b, a) { // b begins at a[d]
		if n := common(d); n >= need && z >= n {
			out = append(out, d)
		}
	}
	for d, z := range prefixes(a, b) { // a begins at b[d]
		if n := common(-d); d > 0 && n >= need && z >= n {
			out = append(out, -d)
		}
	}
	slices.SortFunc(out, func(x, y int) int {
		return cmp.Or(cmp.Compare(common(y), common(x)), cmp.Compare(max(x, -x), max(y, -y)), cmp.Compare(y, x))
	})
	return out
}

// prefixes returns for each place of text how much of pattern begins there (the Z
// function), in linear time.
func prefixes(pattern, text []uint64) []int {
	s := slices.Concat(pattern, text)
	n, m := len(s), len(pattern)
	z := make([]int, n)
	for i, l, r := 1, 0, 0; i < n; i++ {
		if i < r {
			z[i] = min(r-i, z[i-l])
		}
		for i+z[i] < n && s[z[i]] == s[i+z[i]] {
			z[i]++
		}
		if i+z[i] > r {
			l, r = i, i+z[i]
		}
	}
	out := make([]int, len(text))
	for i := range out {
		out[i] = min(z[m+i], m)
	}
	return out
}

// overlap calls f for pairs of a and b that are aligned with shift, evenly spread and at most
// maxSamples.
func overlap(a, b sequence, shift int, f func(i, j int)) {
	lo, hi := max(0, -shift), min(len(b.end), len(a.end)-shift)
	step := max(1, (hi-lo)/maxSamples)
	for j := lo; j < hi; j += step {
		f(j+shift, j)
	}
}

// share returns the part of the pairs with equal tokens.
func share(a, b sequence, shift int) float64 {
	good, all := 0, 0
	overlap(a, b, shift, func(i, j int) {
		all++
		if a.tokens[i] == b.tokens[j] {
			good++
		}
	})
	return float64(good) / float64(max(1, all))
}

// byTime finds the shift at which ranks on one clock leave together: each element of b votes for
// the element of a with the nearest end. If strict is set, all operations and sizes must agree. ok
// is false if the clocks do not decide.
func byTime(a, b sequence, strict bool) (shift int, ok bool) {
	votes := map[int]int{}
	all := 0
	step := max(1, len(b.end)/maxSamples)
	order := byEnd(a)
	for j := 0; j < len(b.end); j += step {
		votes[nearest(a, order, b.end[j])-j]++
		all++
	}
	best, most := 0, 0
	for d, n := range votes {
		if n > most || n == most && abs(d) < abs(best) {
			best, most = d, n
		}
	}
	voters := 0 // those of b with a part in the overlap
	for j := 0; j < len(b.end); j += step {
		if j+best >= 0 && j+best < len(a.end) {
			voters++
		}
	}
	need := minAgree
	if strict {
		need = 1
	}
	if all == 0 || 2*most < voters || share(a, b, best) < need {
		return 0, false
	}
	if a.host == b.host {
		return best, true
	}
	// The clocks of two hosts may differ by more than the time between two collectives. Collectives
	// that end together do so with a steady difference, so a neighbouring shift with a clearly
	// steadier difference is right; if a neighbour is equally steady, the times do not decide.
	v, sure := spread(a, b, best), true
	for _, d := range []int{best - 2, best - 1, best + 1, best + 2} {
		if share(a, b, d) < need {
			continue
		}
		w := spread(a, b, d)
		if w.ok && v.ok && w.spread*clearly < v.spread {
			return d, true
		}
		sure = sure && (!w.ok || !v.ok || v.spread*clearly < w.spread)
	}
	return best, sure || len(a.end) == len(b.end) && best == 0
}

// apart reports whether one sequence ends before the other one begins.
func apart(a, b sequence) bool {
	if len(a.end) == 0 || len(b.end) == 0 {
		return false
	}
	return slices.Max(a.end) < slices.Min(b.end) || slices.Max(b.end) < slices.Min(a.end)
}

func byEnd(a sequence) []int {
	order := make([]int, len(a.end))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int { return cmp.Compare(a.end[x], a.end[y]) })
	return order
}

// nearest is the index in a of the end nearest to t.
func nearest(a sequence, order []int, t int64) int {
	k, _ := slices.BinarySearchFunc(order, t, func(i int, t int64) int { return cmp.Compare(a.end[i], t) })
	switch {
	case k == 0:
		return order[0]
	case k == len(order) || t-a.end[order[k-1]] <= a.end[order[k]]-t:
		return order[k-1]
	}
	return order[k]
}

func abs[T int | int64](v T) T { return max(v, -v) }

// steadiness is how much the ends of pairs vary about their median difference.
type steadiness struct {
	shift  int
	spread int64 // median deviation in ns, at least 1
	ok     bool  // from enough pairs
}

func spread(a, b sequence, shift int) steadiness {
	var d []int64
	overlap(a, b, shift, func(i, j int) { d = append(d, a.end[i]-b.end[j]) })
	if len(d) < minSpread {
		return steadiness{shift: shift}
	}
	slices.Sort(d)
	mid := d[len(d)/2]
	for k := range d {
		d[k] = abs(d[k] - mid)
	}
	slices.Sort(d)
	return steadiness{shift, max(1, d[len(d)/2]), true}
}

// bySpread returns the steadiest of the alignments and the next one.
func bySpread(a, b sequence, ways []int) (best, second steadiness) {
	for _, d := range ways[:min(len(ways), maxCandidates)] {
		s := spread(a, b, d)
		switch {
		case !s.ok:
		case !best.ok || s.spread < best.spread:
			best, second = s, best
		case !second.ok || s.spread < second.spread:
			second = s
		}
	}
	return best, second
}

// divide tells the groups apart that share a name and a size, by who leaves with whom: the
// ends of ranks of one group differ by as much every time; and by what they send: ranks whose
// operations and sizes contradict each other are of different groups. ok is false if neither
// tells clearly.
func (m *matcher) divide(b *bundle) (parts []*bundle, ok bool) {
	n := len(b.strands)
	if n < 2 || n > maxDivided {
		return nil, false
	}
	by := m.tells(b)
	seqs := make([]sequence, n)
	for k, s := range b.strands {
		seqs[k] = m.sequence(s, by)
	}
	far := make([][]int64, n) // how unsteadily two ranks leave
	for i := range far {
		far[i] = make([]int64, n)
	}
	few := false // too few collectives for times to tell: what they send must do
	for i := range n {
		for j := range i {
			s := m.together(b, seqs, i, j)
			switch {
			case s.ok:
			case contradict(seqs[i], seqs[j]):
				s.spread = math.MaxInt64
			case min(len(seqs[i].end), len(seqs[j].end)) < minSpread:
				s.spread, few = 1, true
			default:
				return nil, false
			}
			far[i][j], far[j][i] = s.spread, s.spread
		}
	}
	limit, ok := clearLimit(far)
	if !ok {
		return nil, false
	}
	taken := make([]bool, n)
	for i := range n {
		if taken[i] {
			continue
		}
		p := &bundle{name: b.name, size: b.size, members: fmt.Sprint(b.members, "#", len(parts))}
		for j := i; j < n; j++ {
			if i == j || far[i][j] <= limit {
				if taken[j] {
					return nil, false // near to ranks of two groups, so the division is not clear
				}
				taken[j] = true
				p.strands = append(p.strands, b.strands[j])
			}
		}
		if len(p.strands) > b.size || few && len(p.strands) < b.size {
			return nil, false
		}
		parts = append(parts, p)
	}
	return parts, true
}

// contradict reports whether two ranks did not send the same: no way of laying one sequence on the
// other has equal operations and sizes.
func contradict(a, b sequence) bool {
	return len(strictWays(a.tokens, b.tokens)) == 0 && share(a, b, 0) < minAgree
}

// clearLimit returns a distance between near and far pairs of ranks, if there are both.
func clearLimit(far [][]int64) (limit int64, ok bool) {
	var all []int64
	for i := range far {
		all = append(all, far[i][:i]...)
	}
	slices.Sort(all)
	best := int64(0)
	for k := 1; k < len(all); k++ {
		if r := all[k] / all[k-1]; r >= clearly && r > best {
			limit, best, ok = all[k-1], r, true
		}
	}
	return limit, ok
}

// maxDivided bounds the ranks whose groups are separated by time, since every pair is compared.
const maxDivided = 128

// together aligns the strands of two ranks as if they were of one group, by their numbers if they
// have any.
func (m *matcher) together(b *bundle, seqs []sequence, i, j int) steadiness {
	two := &bundle{name: b.name, size: b.size, strands: []strand{b.strands[i], b.strands[j]}}
	if places, use := m.numbered(two); use == usePlaces {
		at := map[place]int{}
		for k, p := range places[0] {
			at[p] = k
		}
		x, y := sequence{}, sequence{}
		for k, p := range places[1] {
			if o, ok := at[p]; ok {
				x.end, y.end = append(x.end, seqs[i].end[o]), append(y.end, seqs[j].end[k])
			}
		}
		return spread(x, y, 0)
	}
	shift, ok := layOn(seqs[i], seqs[j])
	if !ok {
		return steadiness{}
	}
	return spread(seqs[i], seqs[j], shift)
}
