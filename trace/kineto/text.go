package kineto

import (
	"bytes"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/internal/lists"
	"github.com/kinetoscope/kinetoscope/trace/ids"
)

// Flags of a text, found once when it is new.
const (
	textEscaped uint8 = 1 << iota // has escapes: must be unescaped
	textBad                       // must be mended: bad escape, control character or invalid UTF-8
)

// rawText is a text as it stands between its quotes in the file.
type rawText struct {
	raw   string
	flags uint8
}

// texts interns raw texts for one scanner.
type texts struct {
	list   []rawText
	hashes []uint64 // of their bytes, as ids.OfBytes returns them
	slots  []uint32 // id+1 by hash, open addressing, a power of two
	cat    []uint16 // by id: 1 + number among the scanner's categories, 0 unknown
	arena  []byte
}

// arenaBlock is the size in which the bytes of texts are allocated: few allocations,
// and little waste in a small file.
const arenaBlock = 16 << 10

func (t *texts) id(raw []byte) uint32 {
	if len(t.slots) == 0 {
		t.slots = make([]uint32, 1024)
	}
	h := ids.OfBytes(raw)
	mask := uint64(len(t.slots) - 1)
	for at := h & mask; ; at = (at + 1) & mask {
		s := t.slots[at]
		if s == 0 {
			return t.add(raw, h, at)
		}
		if t.hashes[s-1] == h && t.list[s-1].raw == string(raw) {
			return s - 1
		}
	}
}

func (t *texts) add(raw []byte, h, at uint64) uint32 {
	id := uint32(len(t.list))
	t.list = append(lists.Doubled(t.list), rawText{raw: t.keep(raw), flags: textFlags(raw)})
	t.hashes = append(lists.Doubled(t.hashes), h)
	t.cat = append(lists.Doubled(t.cat), 0)
	t.slots[at] = id + 1
	if len(t.list)*2 > len(t.slots) {
		t.grow()
	}
	return id
}

func (t *texts) keep(raw []byte) string {
	if len(raw) > arenaBlock/8 {
		return string(raw)
	}
	if cap(t.arena)-len(t.arena) < len(raw) {
		t.arena = make([]byte, 0, arenaBlock)
	}
	n := len(t.arena)
	t.arena = append(t.arena, raw...)
	return unsafeString(t.arena[n:])
}

func (t *texts) grow() {
	t.slots = make([]uint32, 2*len(t.slots))
	mask := uint64(len(t.slots) - 1)
	for id, h := range t.hashes {
		at := h & mask
		for t.slots[at] != 0 {
			at = (at + 1) & mask
		}
		t.slots[at] = uint32(id) + 1
	}
}

// textFlags looks for what has to be mended in the inside of a JSON string.
func textFlags(raw []byte) uint8 {
	var f uint8
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c < ' ':
			f |= textBad
		case c == '\\':
			f |= textEscaped
			n := escapeLen(raw[i:])
			if n == 0 {
				f |= textBad
				continue
			}
			i += n - 1
		}
	}
	if !utf8.Valid(raw) {
		f |= textBad
	}
	return f
}

// escapeLen returns the length of the escape at b[0], 0 if it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	if bytes.IndexByte([]byte(`"\/bfnrt`), b[1]) >= 0 {
		return 2
	}
	if b[1] != 'u' || len(b) < 6 {
		return 0
	}
	for _, c := range b[2:6] {
		if !isHex(c) {
			return 0
		}
	}
	return 6
}

func isHex(c byte) bool {
	return c-'0' <= 9 || c|0x20 >= 'a' && c|0x20 <= 'f'
}

// quoteEnd returns the offset of the quote that ends the string whose inside begins
// at b[i], or -1 if there is none before end.
func quoteEnd(b []byte, i, end int) int {
	for i < end {
		q := bytes.IndexByte(b[i:end], '"')
		if q < 0 {
			return -1
		}
		q += i
		if b[q-1] != '\\' {
			return q
		}
		back := q - 1
		for back > i && b[back-1] == '\\' {
			back--
		}
		if (q-back)%2 == 0 {
			return q
		}
		i = q + 1
	}
	return -1
}
