package kineto

import (
	"encoding/binary"
	"strconv"

	"github.com/kinetoscope/kinetoscope/trace"
)

// maxWholeMicros is the largest whole part of a ts in microseconds that is taken.
const maxWholeMicros = trace.MaxTime / 1000

// eightDigits reads the eight ASCII digits in w, little endian; ok is false if one of
// the bytes is not a digit.
func eightDigits(w uint64) (v uint64, ok bool) {
	if (w&0xF0F0F0F0F0F0F0F0)|(((w+0x0606060606060606)&0xF0F0F0F0F0F0F0F0)>>4) != 0x3333333333333333 {
		return 0, false
	}
	w &= 0x0F0F0F0F0F0F0F0F
	w = w*10 + w>>8
	const m1 = 0x000F424000000064 // 100 + (1000000 << 32)
	const m2 = 0x0000271000000001 // 1 + (10000 << 32)
	return ((w&0x000000FF000000FF)*m1 + (w>>16&0x000000FF000000FF)*m2) >> 32, true
}

// whole reads decimal digits at b[i]. b must have eight bytes to spare after any
// digit. n is the number of digits; v is right for up to 19 of them.
func whole(b []byte, i int) (v uint64, next, n int) {
	j := i
	for j-i < 16 {
		w, ok := eightDigits(binary.LittleEndian.Uint64(b[j:]))
		if !ok {
			break
		}
		v = v*100000000 + w
		j += 8
	}
	for b[j]-'0' <= 9 {
		v = v*10 + uint64(b[j]-'0')
		j++
	}
	return v, j, j - i
}

// micros reads a time in decimal microseconds at b[i] as nanoseconds, without a
// float. ok is false if it is not a plain number that fits; next is then i. b must
// have eight bytes to spare.
func micros(b []byte, i int) (ns int64, next int, ok bool) {
	j := i
	neg := b[j] == '-'
	if neg {
		j++
	}
	v, j, n := whole(b, j)
	if n == 0 || n > 18 || v > maxWholeMicros {
		return 0, i, false
	}
	ns = int64(v) * 1000
	if b[j] == '.' {
		j++
		from := j
		scale := int64(100)
		for b[j]-'0' <= 9 {
			d := int64(b[j] - '0')
			if scale > 0 {
				ns += d * scale
				scale /= 10
			} else if j-from == 3 && d >= 5 {
				ns++
			}
			j++
		}
		if j == from {
			return 0, i, false
		}
	}
	if c := b[j]; c == 'e' || c == 'E' {
		return 0, i, false
	}
	if neg {
		ns = -ns
	}
	return ns, j, true
}

// microsText reads a time in microseconds from any JSON number, also with an exponent.
func microsText(text []byte) (ns int64, ok bool) {
	mant, exp := text, 0
	for k, c := range text {
		if c == 'e' || c == 'E' {
			e, err := strconv.Atoi(string(text[k+1:]))
			if err != nil || e > 30 || e < -60 {
				return 0, false
			}
			mant, exp = text[:k], e
			break
		}
	}
	if exp != 0 {
		mant = shift(mant, exp)
	}
	var pad [64]byte
	if len(mant) == 0 || len(mant) > len(pad)-8 {
		return 0, false
	}
	n := copy(pad[:], mant)
	ns, next, ok := micros(pad[:], 0)
	return ns, ok && next == n
}

// shift moves the decimal point of a plain number exp places to the right.
func shift(num []byte, exp int) []byte {
	var sign, digits []byte
	if len(num) > 0 && (num[0] == '-' || num[0] == '+') {
		if num[0] == '-' {
			sign = num[:1]
		}
		num = num[1:]
	}
	point := len(num)
	for k, c := range num {
		if c == '.' {
			point = k
		} else {
			digits = append(digits, c)
		}
	}
	point += exp
	for point < 1 {
		digits = append([]byte{'0'}, digits...)
		point++
	}
	for point > len(digits) {
		digits = append(digits, '0')
	}
	out := append(append([]byte{}, sign...), digits[:point]...)
	if point < len(digits) {
		out = append(append(out, '.'), digits[point:min(len(digits), point+6)]...)
	}
	return out
}
