package kineto

import (
	"encoding/json"
	"hash/fnv"
	"strconv"
	"unicode/utf8"
)

// skipValue returns the offset after the JSON value at b[i]. Of numbers and words it
// checks only where they end.
func skipValue(b []byte, i, end int) (next int, st status) {
	switch b[i] {
	case '"':
		q := quoteEnd(b, i+1, end)
		if q < 0 {
			return end, stMore
		}
		for _, c := range b[i+1 : q] {
			if c < ' ' {
				return q, stBad
			}
		}
		return q + 1, stOK
	case '{', '[':
		return skipNested(b, i, end)
	}
	j := i
	for {
		c := b[j]
		if c <= ' ' || c == ',' || c == '}' || c == ']' {
			break
		}
		if c == '"' || c == '{' || c == '[' || c == ':' {
			return j, stBad
		}
		j++
	}
	if j >= end {
		return end, stMore
	}
	if j == i {
		return i, stBad
	}
	return j, stOK
}

// skipNested returns the offset after the object or array at b[i].
func skipNested(b []byte, i, end int) (next int, st status) {
	depth := 0
	for i < end {
		switch c := b[i]; c {
		case '"':
			q := quoteEnd(b, i+1, end)
			if q < 0 {
				return end, stMore
			}
			i = q
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, stOK
			}
		}
		i++
	}
	return end, stMore
}

// checkedValue is skipValue for an object that must be valid JSON.
func (s *scanner) checkedValue(b []byte, i, end int) (next int, st status) {
	next, st = skipNested(b, i, end)
	if st == stOK && (!json.Valid(b[i:next]) || !utf8.Valid(b[i:next])) {
		return next, stBad
	}
	return next, st
}

// members calls f with the inside of every key and the text of every value of the
// object b, which must be valid but for holes.
func members(b []byte, f func(key, val []byte)) {
	i := 1
	for i < len(b) {
		for i < len(b) && b[i] != '"' {
			i++
		}
		if i >= len(b) {
			return
		}
		q := quoteEnd(b, i+1, len(b))
		if q < 0 {
			return
		}
		key := b[i+1 : q]
		i = q + 1
		for i < len(b) && (b[i] <= ' ' || b[i] == ':') {
			i++
		}
		from := i
		switch {
		case i >= len(b):
			return
		case b[i] == '"':
			if i = quoteEnd(b, i+1, len(b)) + 1; i == 0 {
				return
			}
		case b[i] == '{' || b[i] == '[':
			i, _ = skipNested(b, i, len(b))
		default:
			for i < len(b) && b[i] > ' ' && b[i] != ',' && b[i] != '}' {
				i++
			}
		}
		f(key, b[from:i])
	}
}

func parseInt(b []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}

// idNumber returns the number that an id's text stands for, decimal or hexadecimal;
// ok is false if it is none, and n then the text's hash with the highest bit set.
func idNumber(v []byte) (n uint64, ok bool) {
	if n, err := strconv.ParseUint(string(v), 0, 64); err == nil {
		return n, true
	}
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return uint64(n), true
	}
	h := fnv.New64a()
	h.Write(v)
	return h.Sum64() | 1<<63, false
}
