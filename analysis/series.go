package analysis

import (
	"cmp"
	"slices"
)

// Point is a value that holds from TimeNs until the next point of its series.
type Point struct {
	TimeNs int64   `json:"t"`
	Value  float64 `json:"v"`
}

// Weighted describes a series by time: each value counts as long as it held.
type Weighted struct {
	SpanNs int64   `json:"span_ns"` // first to last point
	Mean   float64 `json:"mean"`
	P50    float64 `json:"p50"` // the series was at most this for half of the span
	P90    float64 `json:"p90"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
	// ActiveNs is the time with a value above 0 and ActiveMean the mean over it.
	ActiveNs   int64   `json:"active_ns"`
	ActiveMean float64 `json:"active_mean"`
}

// step is a change of a running sum.
type step struct {
	at    int64
	delta float64
	order int8 // among steps of one time, the lower goes first
	owner int32
}

func sortSteps(s []step) {
	if slices.IsSortedFunc(s, compareSteps) {
		return
	}
	rows := make([]int32, 0, len(s)) // those of each order, from the lowest on
	least, most := s[0].order, s[0].order
	for i := range s {
		least, most = min(least, s[i].order), max(most, s[i].order)
	}
	for o := least; o <= most; o++ {
		for i := range s {
			if s[i].order == o {
				rows = append(rows, int32(i))
			}
		}
	}
	sortByKey(rows, func(i int32) int64 { return s[i].at })
	out := make([]step, len(s))
	for k, i := range rows {
		out[k] = s[i]
	}
	copy(s, out)
}

func compareSteps(a, b step) int {
	if a.at != b.at {
		return cmp.Compare(a.at, b.at)
	}
	return cmp.Compare(a.order, b.order)
}

// accumulate turns ordered steps into a series with one point a time. A sum of which
// nothing is left is 0 exactly, whatever rounding would leave: open counts what is on.
func accumulate(s []step) []Point {
	var out []Point
	sum, comp, open := 0.0, 0.0, 0
	for i, st := range s {
		y := st.delta - comp // Kahan: large rates must not leave residue behind
		t := sum + y
		comp = (t - sum) - y
		sum = t
		if st.delta > 0 {
			open++
		} else if st.delta < 0 {
			open--
		}
		if open == 0 {
			sum, comp = 0, 0
		}
		if i+1 < len(s) && s[i+1].at == st.at {
			continue
		}
		out = append(out, Point{st.at, sum})
	}
	return out
}

// weigh describes a series by time.
func weigh(p []Point) Weighted {
	var w Weighted
	if len(p) == 0 {
		return w
	}
	w.SpanNs = p[len(p)-1].TimeNs - p[0].TimeNs
	type held struct {
		v  float64
		ns int64
	}
	hs := make([]held, 0, len(p))
	area := 0.0
	for i := range p {
		w.Max = max(w.Max, p[i].Value)
		if i+1 == len(p) {
			break
		}
		ns := p[i+1].TimeNs - p[i].TimeNs
		hs = append(hs, held{p[i].Value, ns})
		area += p[i].Value * float64(ns)
		if p[i].Value > 0 {
			w.ActiveNs += ns
		}
	}
	if w.SpanNs == 0 {
		return w
	}
	w.Mean = area / float64(w.SpanNs)
	if w.ActiveNs > 0 {
		w.ActiveMean = area / float64(w.ActiveNs)
	}
	const few = 1 << 12
	by := make([]int64, 0, 16) // of series of small whole numbers, such as lengths of queues: the time of each
	for _, h := range hs {
		if !(h.v >= 0 && h.v < few) || h.v != float64(int(h.v)) {
			by = nil
			break
		}
		for len(by) <= int(h.v) {
			by = append(by, 0)
		}
		by[int(h.v)] += h.ns
	}
	if by == nil {
		slices.SortFunc(hs, func(a, b held) int { return cmp.Compare(a.v, b.v) })
	} else {
		hs = hs[:0]
		for v, ns := range by {
			if ns > 0 {
				hs = append(hs, held{float64(v), ns})
			}
		}
	}
	var run int64
	targets := []struct {
		share float64
		to    *float64
	}{{.5, &w.P50}, {.9, &w.P90}, {.99, &w.P99}}
	for _, h := range hs {
		run += h.ns
		for len(targets) > 0 && float64(run) >= targets[0].share*float64(w.SpanNs) {
			*targets[0].to = h.v
			targets = targets[1:]
		}
	}
	return w
}
