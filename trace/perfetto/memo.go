package perfetto

import (
	"bytes"

	"github.com/kinetoscope/kinetoscope/trace/ids"
)

// memo remembers how values were encoded that are no single number: shapes of tensors, grids, shares. Few differ, and
// reading their text costs several times what finding them does. An entry that another one needs is
// replaced.
type memo []memoEntry

// Limits of a memo: with entries of this length it takes 4 MB.
const (
	memoEntries = 1 << 13 // a power of two
	memoBytes   = 256     // of an entry's values and what they are encoded as
)

type memoEntry struct {
	part            uint64
	values, encoded []byte
}

// entry returns the place for values of a part.
func (m *memo) entry(part uint64, values []byte) *memoEntry {
	if *m == nil {
		*m = make(memo, memoEntries)
	}
	h := ids.Mix(ids.OfBytes(values), int64(part))
	return &(*m)[h&(memoEntries-1)]
}

func (e *memoEntry) is(part uint64, values []byte) bool {
	return e.part == part && bytes.Equal(e.values, values)
}

func (e *memoEntry) set(part uint64, values, encoded []byte) {
	if len(values)+len(encoded) > memoBytes {
		return
	}
	e.part = part
	e.values, e.encoded = append(e.values[:0], values...), append(e.encoded[:0], encoded...)
}
