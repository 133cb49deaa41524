package unpack

import (
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// utf16Order tells the order of bytes of UTF-16 text; ok is false if head is none.
func utf16Order(head []byte) (big, ok bool) {
	if len(head) < 4 {
		return false, false
	}
	switch {
	case head[0] == 0xff && head[1] == 0xfe:
		return false, true
	case head[0] == 0xfe && head[1] == 0xff:
		return true, true
	case opens(head[0]) && head[1] == 0 && head[2] != 0 && head[3] == 0:
		return false, true
	case head[0] == 0 && opens(head[1]) && head[2] == 0 && head[3] != 0:
		return true, true
	}
	return false, false
}

// opens reports whether a JSON text may begin with c.
func opens(c byte) bool {
	return c == '{' || c == '[' || c == ' ' || c == '\n' || c == '\r' || c == '\t'
}

// utf16Reader writes UTF-16 as UTF-8, lone surrogates as U+FFFD.
type utf16Reader struct {
	r    io.Reader
	big  bool
	raw  []byte
	have int // bytes of raw that are not used up
	out  []byte
	err  error
}

func newUTF16(r io.Reader, big bool) *utf16Reader {
	return &utf16Reader{r: r, big: big, raw: make([]byte, 64<<10)}
}

// Read implements io.Reader.
func (u *utf16Reader) Read(p []byte) (int, error) {
	for len(u.out) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		n, err := u.r.Read(u.raw[u.have:])
		u.have += n
		u.err = err
		u.decode(err != nil)
	}
	n := copy(p, u.out)
	u.out = u.out[n:]
	return n, nil
}

// decode turns the bytes at hand into UTF-8. Half a character at their end waits for more, unless
// last is set.
func (u *utf16Reader) decode(last bool) {
	out := u.out[:0]
	i := 0
	for i+1 < u.have {
		r, n := rune(u.unit(i)), 2
		if utf16.IsSurrogate(r) {
			if i+3 >= u.have && !last {
				break
			}
			full := rune(utf8.RuneError)
			if i+3 < u.have {
				full = utf16.DecodeRune(r, rune(u.unit(i+2)))
			}
			if full != utf8.RuneError {
				n = 4
			}
			r = full
		}
		if r != '\uFEFF' {
			out = utf8.AppendRune(out, r)
		}
		i += n
	}
	u.have = copy(u.raw, u.raw[i:u.have])
	u.out = out
}

func (u *utf16Reader) unit(i int) uint16 {
	if u.big {
		return uint16(u.raw[i])<<8 | uint16(u.raw[i+1])
	}
	return uint16(u.raw[i+1])<<8 | uint16(u.raw[i])
}
