// Package ids numbers keys in the order in which they first come: what a reader does with every
// name and every lane of a file. A file may have as many of them as it has events, so a key
// costs its hash, one look at a table without pointers and its place in a list.
package ids

import (
	"hash/maphash"
	"math/bits"
	"slices"

	"github.com/kinetoscope/kinetoscope/internal/lists"
)

// List is the keys by number. The zero value is an empty list. Adding is not safe for use by
// several goroutines; reading is.
type List[K comparable] struct {
	keys   []K
	hashes []uint64
	slots  []uint32 // number+1 by hash, open addressing, a power of two; at most half are used
	shared bool     // slots are another list's too
}

// firstSlots is the size of the table of a list with its first key.
const firstSlots = 64

var (
	seed  = maphash.MakeSeed()
	mixed = maphash.String(seed, "numbers") | 1
)

// OfText returns the hash of a text, different in every process, so that no file can be made
// of texts that collide.
func OfText(s string) uint64 { return maphash.String(seed, s) }

// OfBytes returns what OfText returns of the same bytes.
func OfBytes(b []byte) uint64 { return maphash.Bytes(seed, b) }

// Mix adds a number to a hash that began with 0.
func Mix(h uint64, n int64) uint64 {
	hi, lo := bits.Mul64(h^uint64(n)^mixed, 0x9E3779B97F4A7C15^mixed)
	return hi ^ lo
}

// Len returns the number of keys.
func (l *List[K]) Len() int { return len(l.keys) }

// Keys returns the keys by number. They must not be changed.
func (l *List[K]) Keys() []K { return l.keys }

// Find returns the number of k, whose hash is h, and whether it has one.
func (l *List[K]) Find(k K, h uint64) (uint32, bool) {
	if len(l.slots) == 0 {
		return 0, false
	}
	mask := uint64(len(l.slots) - 1)
	for at := h & mask; l.slots[at] != 0; at = (at + 1) & mask {
		if n := l.slots[at] - 1; l.hashes[n] == h && l.keys[n] == k {
			return n, true
		}
	}
	return 0, false
}

// Number returns the number of k, whose hash is h; it gives it the next one if it is new.
func (l *List[K]) Number(k K, h uint64) (n uint32, added bool) {
	if n, ok := l.Find(k, h); ok {
		return n, false
	}
	switch {
	case 2*len(l.keys) >= len(l.slots):
		l.resize(max(firstSlots, 2*len(l.slots)))
	case l.shared:
		l.slots, l.shared = slices.Clone(l.slots), false
	}
	l.keys, l.hashes = append(lists.Doubled(l.keys), k), append(lists.Doubled(l.hashes), h)
	l.put(uint32(len(l.keys)-1), h)
	return uint32(len(l.keys) - 1), true
}

// Clear forgets all keys and keeps the room that they took for others.
func (l *List[K]) Clear() {
	if l.shared {
		*l = List[K]{}
		return
	}
	clear(l.keys)
	clear(l.slots)
	l.keys, l.hashes = l.keys[:0], l.hashes[:0]
}

// Share returns a list of the same keys, which takes no memory of its own until one of the two
// is added to.
func (l *List[K]) Share() List[K] {
	l.shared = true
	return List[K]{keys: slices.Clip(l.keys), hashes: slices.Clip(l.hashes), slots: l.slots, shared: true}
}

// Set makes keys the list, which owns them from then on. Of equal keys the first is found.
func (l *List[K]) Set(keys []K, hash func(K) uint64) {
	size := firstSlots
	for size < 2*len(keys) {
		size *= 2
	}
	*l = List[K]{keys: keys, hashes: make([]uint64, len(keys))}
	for i, k := range keys {
		l.hashes[i] = hash(k)
	}
	l.resize(size)
}

func (l *List[K]) resize(size int) {
	l.slots, l.shared = make([]uint32, size), false
	for n, h := range l.hashes {
		l.put(uint32(n), h)
	}
}

// put writes the number into the first free slot for its hash.
func (l *List[K]) put(n uint32, h uint64) {
	mask := uint64(len(l.slots) - 1)
	at := h & mask
	for l.slots[at] != 0 {
		at = (at + 1) & mask
	}
	l.slots[at] = n + 1
}
