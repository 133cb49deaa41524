package trace

import (
	"encoding/binary"
	"math/bits"
	"strconv"
)

// ArgHole is the byte that stands for a run of decimal digits in a template, ArgHexHole
// the one for a run of hexadecimal digits after 0x, as addresses are written, and
// ArgTextHole the one for all that stands between two quotes. The value of a hole is an
// uvarint; that of a text is its length in bytes, and the text follows it. No UTF-8 text
// contains these bytes.
const (
	ArgHole     = 0xFF
	ArgHexHole  = 0xFE
	ArgTextHole = 0xFD

	// leastHole is the least byte that is treated as a hole, 0xFC to 0xFF: four whose
	// upper bits are the same are found at once. 0xFC itself is none, and no UTF-8 either.
	leastHole = 0xFC
)

const (
	// minHoleDigits is the shortest run that becomes a hole, but for the values of ids.
	// Shapes, grids and flags mostly have fewer digits and few values; addresses and
	// sizes have more.
	minHoleDigits = 4
	// maxHoleDigits keeps the value of a hole below 2^63.
	maxHoleDigits = 18
	maxHexDigits  = 16
)

// HoleDigits returns the least number of digits that make a run a hole, from the text
// before the run: 1 for the value of a key that ends like those of ids ("External id",
// "Ev Idx", "correlation", "Sequence number"), else 4.
func HoleDigits(before []byte) int {
	n := len(before)
	if n > 0 && before[n-1] == ' ' {
		n--
	}
	if n < 4 || before[n-1] != ':' || before[n-2] != '"' {
		return minHoleDigits
	}
	switch string(before[n-4 : n-2]) {
	case "id", "dx", "on", "er":
		return 1
	}
	return minHoleDigits
}

// IsHole reports whether a run of n digits that begins with first becomes a hole, given the text
// before it. Runs that a number would not reproduce exactly, such as those with leading zeros, stay
// text.
func IsHole(n int, first byte, before []byte) bool {
	if n >= minHoleDigits {
		return n <= maxHoleDigits && first != '0' && !inEscape(before)
	}
	return (first != '0' || n == 1) && HoleDigits(before) == 1
}

// inEscape reports whether digits that follow before may belong to a JSON escape such as \u3042.
// These are text and have to stay in the template.
func inEscape(before []byte) bool {
	for i := len(before) - 1; i > 0 && i >= len(before)-escapeDigits; i-- {
		if before[i] == 'u' {
			return before[i-1] == '\\'
		}
		if hexDigit(before[i]|0x20) > 15 {
			return false
		}
	}
	return false
}

// escapeDigits is the number of digits of an escape.
const escapeDigits = 4

// HexRun returns where the digits of the number at b[i] begin, how many they are and
// its value, if it is hexadecimal and long enough for a hole: 0x and from four to
// sixteen small digits of which the first is not 0. Else n is 0.
func HexRun(b []byte, i int) (from, n int, v uint64) {
	if b[i] != '0' || i+2+minHoleDigits > len(b) || b[i+1] != 'x' || b[i+2] == '0' {
		return 0, 0, 0
	}
	from = i + 2
	for from+n < len(b) {
		d := hexDigit(b[from+n])
		if d > 15 {
			break
		}
		if n++; n > maxHexDigits {
			return 0, 0, 0
		}
		v = v<<4 | uint64(d)
	}
	if n < minHoleDigits {
		return 0, 0, 0
	}
	return from, n, v
}

// hexDigit returns the value of a small hexadecimal digit, 255 if c is none.
func hexDigit(c byte) byte {
	switch {
	case c-'0' <= 9:
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// isHole reports whether c stands for a number or a text in a template.
func isHole(c byte) bool { return c >= leastHole }

// CountHoles returns the number of holes in b.
func CountHoles(b []byte) int {
	n := 0
	for _, c := range b {
		if isHole(c) {
			n++
		}
	}
	return n
}

// SplitArgs appends raw with its long runs of digits replaced by holes to lit, and
// the runs' values to values. raw must contain no hole.
func SplitArgs(raw, lit, values []byte) (newLit, newValues []byte) {
	from := 0
	for i := 0; i < len(raw); {
		c := raw[i]
		if c-'0' > 9 {
			i++
			continue
		}
		j := i + 1
		v := uint64(c - '0')
		for j < len(raw) && raw[j]-'0' <= 9 {
			if j-i < maxHoleDigits {
				v = v*10 + uint64(raw[j]-'0')
			}
			j++
		}
		if h, n, v := HexRun(raw, i); n > 0 {
			lit = append(append(lit, raw[from:h]...), ArgHexHole)
			values = binary.AppendUvarint(values, v)
			from, i = h+n, h+n
			continue
		}
		if IsHole(j-i, c, raw[:i]) {
			lit = append(append(lit, raw[from:i]...), ArgHole)
			values = binary.AppendUvarint(values, v)
			from = j
		}
		i = j
	}
	return append(lit, raw[from:]...), values
}

// ExpandArgs appends lit, a template's text or a part of it, with values in its holes.
func ExpandArgs(dst, lit, values []byte) []byte { return expand(dst, lit, values) }

// SkipArgsValues returns values without those of the holes of lit, a template's text or a part of it.
func SkipArgsValues(values, lit []byte) []byte {
	for {
		i := nextHole(lit)
		if i == len(lit) {
			return values
		}
		v, n := binary.Uvarint(values)
		values = values[max(0, n):]
		if lit[i] == ArgTextHole {
			values = values[min(v, uint64(len(values))):]
		}
		lit = lit[i+1:]
	}
}

func expand(dst, lit, vals []byte) []byte {
	for {
		i := nextHole(lit)
		if dst = append(dst, lit[:i]...); i == len(lit) {
			return dst
		}
		v, n := binary.Uvarint(vals)
		vals = vals[max(0, n):]
		switch lit[i] {
		case ArgTextHole:
			v = min(v, uint64(len(vals)))
			dst, vals = append(dst, vals[:v]...), vals[v:]
		case ArgHexHole:
			dst = strconv.AppendUint(dst, v, 16)
		default:
			dst = strconv.AppendUint(dst, v, 10)
		}
		lit = lit[i+1:]
	}
}

// nextHole returns where the first hole of b is, len(b) if there is none. It looks at eight bytes at a time.
func nextHole(b []byte) int {
	const ones, threes, tops = 0x0101010101010101, 0x0303030303030303, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		// A byte of v is 0 where one of b is a hole, as these differ in their lowest two bits.
		v := ^(binary.LittleEndian.Uint64(b[i:]) | threes)
		if found := (v - ones) &^ v & tops; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(b); i++ {
		if isHole(b[i]) {
			return i
		}
	}
	return i
}

// skipValues returns vals without those of the first n holes, none of them a text.
func skipValues(vals []byte, n int) []byte {
	for ; n > 0; n-- {
		i := 0
		for i < len(vals) && vals[i] >= 0x80 {
			i++
		}
		vals = vals[min(i+1, len(vals)):]
	}
	return vals
}
