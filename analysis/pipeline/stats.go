package pipeline

import (
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
)

// QuantilesOf returns the quantiles of durations in ns; it sorts v.
func QuantilesOf(v []int64) Quantiles {
	if len(v) == 0 {
		return Quantiles{}
	}
	slices.Sort(v)
	return Quantiles{
		Count: len(v), MeanNs: stat.Mean(v), P50Ns: stat.Quantile(v, 0.5), P99Ns: stat.Quantile(v, 0.99),
		MaxNs: v[len(v)-1],
	}
}

// stepStats sums the steps of ranks by kind.
func stepStats(ranks []*rankData) []StepStats {
	var (
		durs    [NumCategories][]int64
		stats   [NumCategories]StepStats
		batches [NumCategories]struct{ sum, n int64 }
	)
	for _, d := range ranks {
		for i := range d.spans {
			s := &d.spans[i]
			if !s.cls.isStep() {
				continue
			}
			c := classCategory[s.cls]
			dur := d.took(s)
			if st := &stats[c]; len(durs[c]) == 0 || dur > st.MaxNs {
				st.MaxNs, st.MaxSlice = dur, s.slice
			}
			durs[c] = append(durs[c], dur)
			stats[c].TotalNs += dur
			stats[c].Tokens += max(0, s.tokens)
			if s.batch > 0 {
				batches[c].sum += s.batch
				batches[c].n++
			}
		}
	}
	out := []StepStats{}
	for c := range stats {
		v := durs[c]
		if len(v) == 0 {
			continue
		}
		slices.Sort(v)
		st := stats[c]
		st.Category, st.Count, st.MinNs = Category(c), len(v), v[0]
		st.MeanNs, st.P50Ns, st.P90Ns, st.P99Ns = stat.Mean(v), stat.Quantile(v, 0.5), stat.Quantile(v, 0.9),
			stat.Quantile(v, 0.99)
		if batches[c].n > 0 {
			st.Batch = float64(batches[c].sum) / float64(batches[c].n)
		}
		out = append(out, st)
	}
	return out
}

// sample adds durations of the ranks' steps to stats.
func sample(stats []StepStats, ranks []*rankData) {
	for k := range stats {
		st := &stats[k]
		seen := 0
		for _, d := range ranks {
			for i := range d.spans {
				s := &d.spans[i]
				if !s.cls.isStep() || classCategory[s.cls] != st.Category {
					continue
				}
				// The n-th of count is kept when the number to keep so far reaches the next
				// integer.
				if n := min(st.Count, MaxSample); (seen+1)*n/st.Count > seen*n/st.Count {
					st.Sample = append(st.Sample, d.took(s))
				}
				seen++
			}
		}
	}
}

// strip draws segs over [start, end) as cells letters. The shares
// of the categories are diffused over the cells: a cell's letter is a category that
// occurs in it, and over a stretch of cells the letters are in the proportion of the times.
func strip(segs []segment, start, end int64, cells int) string {
	const outside = int(NumCategories)
	out := make([]byte, cells)
	var carry, in [NumCategories + 1]float64
	k := 0
	width := float64(end-start) / float64(cells)
	for i := range out {
		from := start + int64(float64(i)*width)
		to := start + int64(float64(i+1)*width)
		if i == cells-1 {
			to = end
		}
		in = [NumCategories + 1]float64{}
		var inside int64
		for k > 0 && segs[k-1].end > from {
			k--
		}
		for ; k < len(segs) && segs[k].start < to; k++ {
			if d := min(segs[k].end, to) - max(segs[k].start, from); d > 0 {
				in[classCategory[segs[k].cls]] += float64(d)
				inside += d
			}
		}
		in[outside] = float64(to - from - inside)
		if to <= from {
			in[outside] = 1
		}
		best := -1
		for c := range in {
			if in[c] <= 0 {
				continue
			}
			if to > from {
				carry[c] += in[c] / float64(to-from)
			}
			if best < 0 || carry[c] > carry[best] {
				best = c
			}
		}
		carry[best]--
		if best == outside {
			out[i] = OutsideWindow
		} else {
			out[i] = Category(best).Letter()
		}
	}
	return string(out)
}

// WindowShare is the part of the whole window in which a stage was busy, as bars show it. In
// contrast, Bottleneck.BusyShare is the part of the time in which steps run.
func (r *Report) WindowShare(stage int) float64 {
	for i := range r.Stages {
		if r.Stages[i].StageID == stage {
			return r.Stages[i].BusyShare
		}
	}
	return 0
}
