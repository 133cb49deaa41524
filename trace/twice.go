package trace

import (
	"bytes"
	"math/bits"

	"github.com/kinetoscope/kinetoscope/trace/ids"
)

// Limits of what tells that slices are in a trace twice.
const (
	twiceSample = 4096 // slices that are looked at first, of a trace that has twice as many or more
	twiceShare  = 0.4  // of all slices that must be there twice where none of them has a correlation
)

// Twice finds the slices that are in the trace a second time: events that a file or a merge of files repeats. They
// are equal in every column and argument. One thread makes a call, and one stream runs the work of a call, once at
// a time, so one pair that has a length and a correlation proves it. Without, equal slices may be a function that
// calls itself: nearly every slice must be there twice, not more often, and have arguments. They are given by
// index, ascending.
func (t *Trace) Twice() []int {
	s := &t.Slices
	if n := s.Len() / twiceSample; n > 1 && !t.repeats(bits.Len(uint(n))-1) {
		return nil
	}
	alike := t.alike()
	first := map[uint64]int32{}
	var out []int
	var args []byte
	linked, told := false, 0 // slices that have arguments, which tell a function's calls of itself apart
	once := 0                // slices that are like none before
	for i, dur := range s.Dur {
		h := t.columns(i)
		if !alike.has(h) {
			once++
			continue
		}
		if s.Args[i] != NoArgs {
			args = t.AppendArgs(args[:0], s.Args[i])
			h = ids.Mix(h, int64(ids.OfBytes(args)))
		}
		of, known := first[h]
		if !known {
			first[h] = int32(i)
			continue
		}
		if t.equal(int(of), i) {
			out = append(out, i)
			linked = linked || dur > 0 && s.Corr[i] != NoCorrelation
			if s.Args[i] != NoArgs {
				told++
			}
		}
	}
	few := float64(min(told, once+len(first))) < twiceShare*float64(s.Len())
	if len(out) == 0 || !linked && few {
		return nil
	}
	return out
}

// bitmap is a set of hashes that may have others, too: each has one bit, which others may share.
type bitmap []uint64

// bitsEach is the least number of bits for each hash of a bitmap: one in so many has another's bit, and is looked at in
// vain.
const bitsEach = 16

func newBitmap(n int) bitmap { return make(bitmap, 1<<bits.Len(uint(n*bitsEach/64))) }

func (b bitmap) has(h uint64) bool { return b[h>>6&uint64(len(b)-1)]>>(h&63)&1 != 0 }

func (b bitmap) add(h uint64) { b[h>>6&uint64(len(b)-1)] |= 1 << (h & 63) }

// alike returns the hashes of the columns that more than one slice has, perhaps with some of others.
func (t *Trace) alike() bitmap {
	n := t.Slices.Len()
	seen, again := newBitmap(n), newBitmap(n)
	for i := range n {
		h := t.columns(i)
		if seen.has(h) {
			again.add(h)
		}
		seen.add(h)
	}
	return again
}

// repeats reports whether slices may be there twice, by the columns of those of which one in 2^n is taken, by their
// start: of equal ones all are taken or none.
func (t *Trace) repeats(n int) bool {
	seen := make(map[uint64]bool, 2*twiceSample)
	again, taken := 0, 0
	for i, start := range t.Slices.Start {
		if uint64(start)*0x9e3779b97f4a7c15>>(64-n) != 0 {
			continue
		}
		h := t.columns(i)
		if taken++; !seen[h] {
			seen[h] = true
			continue
		}
		if again++; t.Slices.Dur[i] > 0 && t.Slices.Corr[i] != NoCorrelation {
			return true
		}
	}
	return float64(again) >= twiceShare*float64(taken) && again > 0
}

// columns hashes the columns of slice i.
func (t *Trace) columns(i int) uint64 {
	s := &t.Slices
	h := ids.Mix(ids.Mix(0, s.Start[i]), s.Dur[i])
	return ids.Mix(ids.Mix(h, int64(s.Name[i])<<32|int64(s.Track[i])), s.Corr[i])
}

// equal reports whether two slices are equal in every column and argument.
func (t *Trace) equal(a, b int) bool {
	s := &t.Slices
	return s.Start[a] == s.Start[b] && s.Dur[a] == s.Dur[b] && s.Name[a] == s.Name[b] && s.Cat[a] == s.Cat[b] &&
		s.Track[a] == s.Track[b] && s.Corr[a] == s.Corr[b] && bytes.Equal(t.Args(s.Args[a]), t.Args(s.Args[b]))
}

// Drop removes the slices at the indices, which ascend.
func (s *Slices) Drop(at []int) {
	if len(at) == 0 {
		return
	}
	to, next := at[0], 0
	for i := at[0]; i < s.Len(); i++ {
		if next < len(at) && at[next] == i {
			next++
			continue
		}
		s.Start[to], s.Dur[to], s.Name[to], s.Cat[to] = s.Start[i], s.Dur[i], s.Name[i], s.Cat[i]
		s.Track[to], s.Corr[to], s.Args[to], s.Event[to] = s.Track[i], s.Corr[i], s.Args[i], s.Event[i]
		to++
	}
	s.Start, s.Dur, s.Name, s.Cat = s.Start[:to], s.Dur[:to], s.Name[:to], s.Cat[:to]
	s.Track, s.Corr, s.Args, s.Event = s.Track[:to], s.Corr[:to], s.Args[:to], s.Event[:to]
}
