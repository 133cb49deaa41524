package trace

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// indexKeys returns the members of the JSON object lit, in which holes may stand for
// digits. Of equal keys the last counts, as in most JSON readers.
func indexKeys(lit []byte) []argKey {
	var ks []argKey
	i, holes := 0, 0
	skip := func() {
		for i < len(lit) && (lit[i] <= ' ' || lit[i] == ',' || lit[i] == ':') {
			i++
		}
	}
	for i < len(lit) && lit[i] != '{' {
		i++
	}
	i++
	for {
		skip()
		if i >= len(lit) || lit[i] != '"' {
			return ks
		}
		end := stringEnd(lit, i)
		key, _ := jsonText(lit[i:end])
		keyHoles := CountHoles(lit[i:end])
		holes += keyHoles
		i = end
		skip()
		from := i
		i = valueEnd(lit, i)
		k := argKey{key: key, from: from, to: i, hole: holes, many: CountHoles(lit[from:i])}
		holes += k.many
		if keyHoles > 0 {
			continue // the key's text differs from slice to slice; Args still shows it
		}
		dup := false
		for j := range ks {
			if ks[j].key == key {
				ks[j], dup = k, true
			}
		}
		if !dup {
			ks = append(ks, k)
		}
	}
}

// memberOf returns the value of key in the JSON object raw, nil if there is none. Of
// equal keys the last counts.
func memberOf(raw []byte, key string) (v []byte) {
	i := 0
	skip := func() {
		for i < len(raw) && (raw[i] <= ' ' || raw[i] == ',' || raw[i] == ':' || raw[i] == '{') {
			i++
		}
	}
	for {
		skip()
		if i >= len(raw) || raw[i] != '"' {
			return v
		}
		end := stringEnd(raw, i)
		k := raw[i+1 : max(i+1, end-1)]
		same := string(k) == key || bytes.IndexByte(k, '\\') >= 0 && Unescape(k) == key
		i = end
		for i < len(raw) && (raw[i] <= ' ' || raw[i] == ':') {
			i++
		}
		end = valueEnd(raw, i)
		if same && end > i { // what is a text and no object has nothing behind it
			v = raw[i:end:end]
		}
		i = end
	}
}

// stringEnd returns the offset after the string that begins at b[i].
func stringEnd(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// valueEnd returns the offset after the JSON value that begins at b[i].
func valueEnd(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = stringEnd(b, i)
			if depth == 0 {
				return min(i, len(b))
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return len(b)
}

// jsonInt reads an integer, plain or as text; a fraction of zeros is allowed.
func jsonInt(v []byte) (int64, bool) {
	if len(v) > 1 && v[0] == '"' && v[len(v)-1] == '"' {
		v = v[1 : len(v)-1]
	}
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f != float64(int64(f)) || f >= 1<<53 || f <= -1<<53 {
		return 0, false
	}
	return int64(f), true
}

// jsonText unescapes a JSON string; ok is false if v is none.
func jsonText(v []byte) (string, bool) {
	if len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' {
		return "", false
	}
	return Unescape(v[1 : len(v)-1]), true
}

// Unescape returns the text of a JSON string's inside. What is not an escape stays as it
// stands, and a lone surrogate or invalid UTF-8 becomes U+FFFD.
func Unescape(b []byte) string {
	plain := true
	for _, c := range b {
		if c == '\\' || c >= 0x80 {
			plain = false
			break
		}
	}
	if plain {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); {
		if c := b[i]; c != '\\' {
			r, n := utf8.DecodeRune(b[i:])
			out = utf8.AppendRune(out, r)
			i += n
			continue
		}
		if i+1 == len(b) {
			out = append(out, '\\')
			break
		}
		if r, n := unescapeRune(b[i:]); n > 0 {
			out = utf8.AppendRune(out, r)
			i += n
			continue
		}
		out = append(out, '\\')
		i++
	}
	return string(out)
}

// unescapeRune decodes the escape at b[0], of n bytes; n is 0 if it is none.
func unescapeRune(b []byte) (r rune, n int) {
	const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	for i := range len(from) {
		if b[1] == from[i] {
			return rune(to[i]), 2
		}
	}
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if utf16.IsSurrogate(r) {
		if r2, ok := hex4(b[6:]); ok {
			if full := utf16.DecodeRune(r, r2); full != utf8.RuneError {
				return full, 12
			}
		}
		return utf8.RuneError, 6
	}
	return r, 6
}

// hex4 reads \uXXXX at b[0].
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(v), err == nil
}
