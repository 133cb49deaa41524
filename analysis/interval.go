package analysis

import "github.com/kinetoscope/kinetoscope/internal/lists"

// interval is a half-open span of time in ns.
type interval struct{ start, end int64 }

// joined appends iv to s, which are merged, unless it begins before the last of them ends, which it then prolongs. It
// must not begin before any of them.
func joined(s []interval, iv interval) []interval {
	if n := len(s); n > 0 && iv.start <= s[n-1].end {
		s[n-1].end = max(s[n-1].end, iv.end)
		return s
	}
	return append(lists.Doubled(s), iv)
}

// total is the summed length of s in ns.
func total(s []interval) int64 {
	var t int64
	for _, iv := range s {
		t += iv.end - iv.start
	}
	return t
}

// sweepMasks walks several merged sets at once and returns the time in ns for which
// each combination of them was active; bit i of the index stands for sets[i].
func sweepMasks(sets ...[]interval) []int64 {
	out := make([]int64, 1<<len(sets))
	pos := make([]int, len(sets)) // 2*index of the interval, +1 once inside it
	edge := func(s int) (int64, bool) {
		i := pos[s] >> 1
		if i >= len(sets[s]) {
			return 0, false
		}
		if pos[s]&1 == 0 {
			return sets[s][i].start, true
		}
		return sets[s][i].end, true
	}
	mask, last, begun := 0, int64(0), false
	for {
		at, which := int64(0), -1
		for s := range sets {
			if t, ok := edge(s); ok && (which < 0 || t < at) {
				at, which = t, s
			}
		}
		if which < 0 {
			return out
		}
		if begun {
			out[mask] += at - last
		}
		last, begun = at, true
		mask ^= 1 << which
		pos[which]++
	}
}
