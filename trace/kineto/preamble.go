package kineto

import (
	"bytes"
	"unicode/utf8"
)

// maxPreamble bounds the text that may stand before a trace: what a program wrote to its output
// before it wrote the trace there, log lines mostly. A file in which no trace begins so early
// is taken for something else.
const maxPreamble = 64 << 10

// Begins reports whether a trace begins in text, the first bytes of a file: at once, behind
// lines of text, or as events without a bracket around them, one a line.
func Begins(text []byte) bool {
	b := padded(bytes.Clone(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))))
	i, end := space(b, 0), len(b)-pad
	if i >= end || b[i] == '<' {
		return false
	}
	_, st := traceStart(b, i, end)
	return st == stOK
}

// traceStart returns where in b[i:end] a trace begins: at an object with a key that traces
// have, at an array of events, or at an event that begins a line. stMore says that what
// follows must be known for that, stBad that none does. What is no text has no trace behind it.
func traceStart(b []byte, i, end int) (at int, st status) {
	for k := i; k < min(end, i+maxPreamble); k++ {
		switch b[k] {
		case 0:
			return k, stBad
		case '{':
			switch st := eventStart(b, k, end); {
			case st == stMore:
				return k, stMore
			case st == stDoc:
				return k, stOK
			case st == stOK && beginsLine(b, k):
				if st := isEvent(b, k, end); st != stBad {
					return k, st
				}
			}
		case '[':
			switch j := space(b, k+1); {
			case j >= end:
				return k, stMore
			case b[j] == '{':
				if st := isEvent(b, j, end); st != stBad {
					return k, st
				}
			}
		}
	}
	if !utf8.Valid(b[i:min(end, i+maxPreamble)]) || end-i >= maxPreamble {
		return end, stBad
	}
	return end, stMore
}

// beginsLine reports whether nothing but blanks stands before b[k] in its line.
func beginsLine(b []byte, k int) bool {
	for k--; k >= 0 && (b[k] == ' ' || b[k] == '\t' || b[k] == '\r'); k-- {
	}
	return k < 0 || b[k] == '\n'
}

// isEvent reports whether the brace at b[k] opens an event: an object with a phase among its keys.
func isEvent(b []byte, k, end int) status {
	if st := eventStart(b, k, end); st != stOK {
		return st
	}
	to, st := skipNested(b, k, end)
	if st == stOK && !bytes.Contains(b[k:to], []byte(`"ph"`)) {
		return stBad
	}
	return st
}

// bareEvents reports whether what was read into the envelope was an event, and another one
// follows at b[i]: then the file is events without a bracket around them.
func (m *merger) bareEvents(b []byte, i, end int, eof bool) status {
	if m.meta.values["ph"] == nil || m.meta.values["name"] == nil && m.meta.values["ts"] == nil {
		return stBad
	}
	for b[i] == ',' || b[i] <= ' ' && b[i] != 0 {
		i++
	}
	switch {
	case i >= end && !eof:
		return stMore
	case i < end && b[i] == '{':
		if st := eventStart(b, i, end); st != stMore || !eof {
			return st
		}
	}
	return stBad
}
