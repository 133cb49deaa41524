package identity

import (
	"hash/fnv"
	"strconv"

	"github.com/kinetoscope/kinetoscope/trace"
)

// printSlices is how many slices a print is made of, and minPrint the least. A copy that was cut
// before minPrint slices is not recognised. No other trace has so many equal times in nanoseconds.
const (
	printSlices = 32
	minPrint    = 4
)

// Print is a number that copies of one trace have in common, however they are packed, cut
// or merged with others: made of the first slices in the order of the file. It is 0 if
// there are too few.
func Print(t *trace.Trace) uint64 {
	h := fnv.New64a()
	n := 0
	for i := range t.Slices.Start {
		if t.Slices.Cat[i] == trace.CatTraceSpan || t.Timeless(i) {
			continue
		}
		h.Write(strconv.AppendInt(nil, t.Slices.Start[i], 10))
		h.Write(strconv.AppendInt([]byte{' '}, t.Slices.Dur[i], 10))
		h.Write([]byte(" " + t.String(t.Slices.Name[i]) + "\n"))
		if n++; n == printSlices {
			break
		}
	}
	if n < minPrint {
		return 0
	}
	return h.Sum64()
}

// Settle completes the ranks of traces that were read together (RankByPlace) and returns which of
// them are copies of others (Copies). Every reader of several traces calls it, so that all count
// the same ones.
func Settle(list []*trace.Meta, slices []int) []int {
	RankByPlace(list)
	return Copies(list, slices)
}

// Copies returns for each trace the place of the one that it is a copy of, -1 for those
// that count. Of several the one with the most slices counts, the first of equal ones.
// Traces that say of themselves that they are of different ranks are not copies, and none
// that was learnt from a run of ours is one.
func Copies(list []*trace.Meta, slices []int) []int {
	out := make([]int, len(list))
	best := map[string]int{}
	for i, m := range list {
		out[i] = -1
		if m.Print == 0 || m.Learnt[trace.FieldRank] == trace.FromRun {
			continue
		}
		k := strconv.FormatUint(m.Print, 16) + " " + sameWork(m)
		b, ok := best[k]
		switch {
		case !ok:
			best[k] = i
		case slices[i] > slices[b]:
			out[b], best[k] = i, i
		default:
			out[i] = b
		}
	}
	for i := range out { // follows copies of copies
		for out[i] >= 0 && out[out[i]] >= 0 {
			out[i] = out[out[i]]
		}
	}
	return out
}
