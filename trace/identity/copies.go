package identity

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Limits of what tells copies of one trace.
const (
	// printSlices is how many slices a print is made of, and minPrint the least. A copy that was cut
	// before minPrint slices is not recognised. No other trace has so many equal times in nanoseconds.
	printSlices = 32
	minPrint    = 4
	// sketchSlices is how many slices a sketch is made of, and minSketch how many of the lowest of a whole trace's
	// a copy of a part of it must have: a copy of less than a quarter may not be recognised.
	sketchSlices = 32
	minSketch    = 8
	// Scripts that write a trace anew round times of 10^15 µs to a quarter of one: both ends of the window move
	// by sameTime ns at most, and counted in whole microseconds one start in sixteen falls into the next, and one
	// duration.
	sameTime   = 500
	mostShared = 0.6 // of those in the copy's sketch that must be in the whole's where times were rounded
	// and where they were not: ranks that run in step have equal times of the host, and a job that was recorded
	// before and after a change has most of its slices as they were
	allShared  = 0.9
	sketchEdge = 8 // lowest bits of a sketch's element, which are of the times' nanoseconds
)

// Print is a number that copies of one trace have in common, however they are packed, cut
// or merged with others: made of the first slices in the order of the file. It is 0 if
// there are too few.
func Print(t *trace.Trace) uint64 {
	h := xxhash.New()
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

// Sketch is what copies of one trace have in common that were written anew, in another order: the
// lowest hashes of name, start and duration of its slices, ascending, or nil if there are too few. Their lowest
// sketchEdge bits are of nanoseconds, the others of whole microseconds. content is a hash of all slices, in any
// order.
func Sketch(t *trace.Trace) (sketch []uint64, content uint64) {
	names := make([]uint64, t.Strings.Len())
	var out []uint64 // at most sketchSlices
	for i, id := range t.Slices.Name {
		if t.Slices.Cat[i] == trace.CatTraceSpan || t.Timeless(i) {
			continue
		}
		if names[id] == 0 {
			names[id] = max(1, xxhash.Sum64String(t.String(id)))
		}
		start, dur := uint64(t.Slices.Start[i]), uint64(t.Slices.Dur[i])
		x := mixed(mixed(names[id]^start/1000) ^ dur/1000)
		edge := (start%1000<<10 | dur%1000) * 0x9e3779b97f4a7c15 >> (64 - sketchEdge)
		x = x>>sketchEdge<<sketchEdge | edge
		content += x * (2*edge + 1)
		if len(out) == sketchSlices && x >= out[sketchSlices-1] {
			continue
		}
		at, twice := slices.BinarySearch(out, x)
		if twice {
			continue
		}
		if len(out) == sketchSlices {
			out = out[:sketchSlices-1]
		}
		out = slices.Insert(out, at, x)
	}
	if len(out) < minPrint {
		return nil, content
	}
	return out, content
}

// mixed spreads the bits of x: the finalizer of SplitMix64.
func mixed(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// writtenAnew reports whether copy is whole, or a part of it, written anew in any order: its window lies in the
// whole's, and of its slices those with hashes as low as the whole's sketch has are in that sketch.
func writtenAnew(whole, copy *trace.Meta) bool {
	if copy.WindowStart < whole.WindowStart-sameTime || copy.WindowEnd > whole.WindowEnd+sameTime {
		return false
	}
	low, shared, exact := inSketch(whole, copy)
	if low < min(minSketch, len(whole.Sketch)) {
		return false
	}
	rounded := float64(exact) < allShared*float64(shared)
	return float64(exact) >= allShared*float64(low) || rounded && float64(shared) >= mostShared*float64(low)
}

// inSketch counts the elements of the copy's sketch that are as low as the whole's are, those of them that the
// whole's has, and those that it has to the nanosecond.
func inSketch(whole, copy *trace.Meta) (low, shared, exact int) {
	full := len(whole.Sketch) == sketchSlices // else it has all slices of the trace
	for _, x := range copy.Sketch {
		if full && x > whole.Sketch[sketchSlices-1] {
			break
		}
		low++
		at, found := slices.BinarySearchFunc(whole.Sketch, x, func(a, b uint64) int {
			return cmp.Compare(a>>sketchEdge, b>>sketchEdge)
		})
		if found {
			shared++
			if whole.Sketch[at] == x {
				exact++
			}
		}
	}
	return low, shared, exact
}

// changed reports whether traces that begin alike are not copies for all that: one lacks what the other has where
// it should have it, or as many slices are not the same slices.
func changed(whole, copy *trace.Meta, equalSize bool) bool {
	low, shared, exact := inSketch(whole, copy)
	if float64(exact) < allShared*float64(shared) { // rounded
		return false
	}
	return low >= minSketch && float64(exact) < allShared*float64(low) ||
		equalSize && whole.Content != copy.Content
}

// Settle completes the ranks of traces that were read together (RankByPlace) and returns which of
// them are copies of others (Copies). Every reader of several traces calls it, so that all count
// the same ones.
func Settle(list []*trace.Meta, slices []int) []int {
	RankByPlace(list)
	return Copies(list, slices)
}

// Copies returns for each trace the place of the one that it is a copy of, -1 for those
// that count. Of several the one with the most slices counts, of equal ones the first with a file of its own,
// for a merge keeps less of what is known of a rank.
// Traces that say of themselves that they are of different ranks are not copies, and none
// that was learnt from a run of ours is one.
func Copies(list []*trace.Meta, sizes []int) []int {
	out, order := make([]int, len(list)), make([]int, len(list))
	for i := range list {
		out[i], order[i] = -1, i
	}
	part := func(i int) int { return min(1, list[i].Part) }
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(sizes[b], sizes[a]), cmp.Compare(part(a), part(b)))
	})
	prints, sketches := map[uint64][]int{}, map[uint64][]int{} // those that count, by what they may share with others
	for _, i := range order {
		m := list[i]
		if m.Print == 0 && m.Sketch == nil || m.Learnt[trace.FieldRank] == trace.FromRun {
			continue
		}
		find := func(among []int, same func(of int) bool) {
			at := slices.IndexFunc(among, func(of int) bool {
				return !differ(list[of], m) && same(of) && !changed(list[of], m, sizes[of] == sizes[i])
			})
			if out[i] < 0 && at >= 0 {
				out[i] = among[at]
			}
		}
		if m.Print != 0 {
			find(prints[m.Print], func(int) bool { return true })
		}
		for _, x := range m.Sketch {
			find(sketches[x>>sketchEdge], func(of int) bool {
				// A writer may keep every slice and not the window, which can be longer than these.
				all := sizes[of] == sizes[i] && list[of].Content == m.Content
				return all || writtenAnew(list[of], m)
			})
		}
		if out[i] >= 0 {
			continue
		}
		prints[m.Print] = append(prints[m.Print], i)
		for _, x := range m.Sketch {
			sketches[x>>sketchEdge] = append(sketches[x>>sketchEdge], i)
		}
	}
	return out
}

// differ reports whether two traces say of themselves that they are of different ranks. What one of
// them leaves open is no difference.
func differ(a, b *trace.Meta) bool {
	texts := func(x, y string) bool { return x != "" && y != "" && x != y }
	numbers := func(x, y int) bool { return x >= 0 && y >= 0 && x != y }
	replicas := a.Learnt[trace.FieldReplica] != "" && b.Learnt[trace.FieldReplica] != "" && a.Replica != b.Replica
	return replicas || numbers(a.Rank, b.Rank) || numbers(a.StageID, b.StageID) || texts(a.Stage, b.Stage) ||
		texts(a.Role, b.Role) || texts(a.Phase, b.Phase)
}
