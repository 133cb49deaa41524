package kineto

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// maxNesting bounds the depth of an object that checkObject takes.
const maxNesting = 64

// Kinds of byte inside a JSON string.
const (
	inText    uint8 = iota
	inQuote         // the end
	inEscape        // a backslash
	inControl       // not allowed
	inWide          // part of a rune of several bytes
)

var textByte = func() (t [256]uint8) {
	for c := range ' ' {
		t[c] = inControl
	}
	for c := utf8.RuneSelf; c < 256; c++ {
		t[c] = inWide
	}
	t['"'], t['\\'] = inQuote, inEscape
	return t
}()

// checkObject reads the object at b[i], which must end before end, in one pass, and puts the hot
// values among its members into h. ok means that it is valid JSON and UTF-8. Some valid objects,
// such as deeply nested ones, are not recognised.
func checkObject(b []byte, i, end int, h *hotValues) (next int, ok bool) {
	var open [maxNesting]byte // the closing brackets that are due
	depth := 0
	from := i
	wide := false
	for i < end { // at a value
		var text bool
		hot := hotCount
		if depth > 0 && open[depth-1] == '}' {
			key := i + 1
			if i, ok = textEnd(b, i, end, &wide); !ok {
				return i, false
			}
			if depth == 1 {
				if k, is := hotNames[string(b[key:i-1])]; is {
					hot = k
				}
			}
			if i = pastSpace(b, i); b[i] != ':' {
				return i, false
			}
			i = pastSpace(b, i+1)
		}
		at := i
		switch c := b[i]; {
		case c == '"':
			text = true
			if i, ok = textEnd(b, i, end, &wide); !ok {
				return i, false
			}
		case c == '{' || c == '[':
			if depth == maxNesting {
				return i, false
			}
			open[depth] = c + 2 // ASCII has } and ] there
			depth++
			if i = pastSpace(b, i+1); b[i] != c+2 {
				continue
			}
		default:
			if i, ok = wordEnd(b, i); !ok {
				return i, false
			}
		}
		if hot != hotCount {
			setHot(h, hot, b[at:i], text)
		}
		for { // after a value
			i = pastSpace(b, i)
			if i >= end || depth == 0 {
				return i, false
			}
			if b[i] == ',' {
				i = pastSpace(b, i+1)
				break
			}
			if b[i] != open[depth-1] {
				return i, false
			}
			i++
			if depth--; depth == 0 {
				return i, i <= end && (!wide || utf8.Valid(b[from:i]))
			}
		}
	}
	return i, false
}

func setHot(h *hotValues, k hotKey, v []byte, text bool) {
	if text {
		v = bytes.Trim(v, `"`)
	}
	if n, err := strconv.ParseInt(string(v), 0, 64); err == nil {
		h.val[k], h.set[k] = n, true
	}
}

// pastSpace returns the offset of the first byte from b[i] on that is not white space.
func pastSpace(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r' {
		i++
	}
	return i
}

// textEnd returns the offset after the string at b[i].
func textEnd(b []byte, i, end int, wide *bool) (next int, ok bool) {
	if b[i] != '"' {
		return i, false
	}
	for i++; i < end; {
		switch textByte[b[i]] {
		case inText:
			i++
		case inQuote:
			return i + 1, true
		case inEscape:
			n := escapeLen(b[i:])
			if n == 0 {
				return i, false
			}
			i += n
		case inWide:
			*wide = true
			i++
		default:
			return i, false
		}
	}
	return i, false
}

// wordEnd returns the offset after the number or word at b[i].
func wordEnd(b []byte, i int) (next int, ok bool) {
	for _, w := range [...]string{"true", "false", "null"} {
		if b[i] == w[0] {
			n := i + len(w)
			return n, n <= len(b) && string(b[i:n]) == w
		}
	}
	if b[i] == '-' {
		i++
	}
	from := i
	if i = digits(b, i); i == from || b[from] == '0' && i > from+1 {
		return i, false
	}
	if b[i] == '.' {
		from = i + 1
		if i = digits(b, from); i == from {
			return i, false
		}
	}
	if b[i]|0x20 == 'e' {
		i++
		if b[i] == '+' || b[i] == '-' {
			i++
		}
		from = i
		if i = digits(b, i); i == from {
			return i, false
		}
	}
	return i, true
}

func digits(b []byte, i int) int {
	for b[i]-'0' <= 9 {
		i++
	}
	return i
}
