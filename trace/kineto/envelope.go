package kineto

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/unpack"
)

// maxExtra bounds one value of the file that is kept in Meta.Extra.
const maxExtra = 1 << 20

// envelope is what the file says besides its events.
type envelope struct {
	values  map[string]json.RawMessage
	order   []string
	bad     int  // values that could not be read
	cut     bool // the file ends before its end
	repairs counts
}

func (e *envelope) set(key string, raw []byte) {
	if e.values == nil {
		e.values = make(map[string]json.RawMessage)
	}
	if _, ok := e.values[key]; !ok {
		e.order = append(e.order, key)
	}
	e.values[key] = bytes.Clone(raw)
}

var eventsKey = []byte(`"traceEvents"`)

// head looks for the array of events in b[:end], the beginning of the file: at once, else behind
// text that is none of a trace and is counted as not read. from is the offset after the array's
// bracket. found is false if b does not reach it.
func (m *merger) head(b []byte, end int, eof bool) (from int, found bool, err error) {
	first := 0
	if end >= 3 && string(b[:3]) == "\xef\xbb\xbf" {
		first = 3
	}
	if packed := unpack.Foreign(b[:end]); packed != "" { // it may begin with what would be a blank
		return 0, false, m.fail(0, "a JSON object or array", packed)
	}
	first = space(b, first)
	from, found, err = m.header(b, first, end, eof)
	bad, ok := errors.AsType[*FormatError](err)
	if !ok || first >= end || b[first] == '<' || m.p.in.Damaged() != nil {
		return from, found, err
	}
	at, st := traceStart(b, int(bad.Offset), end)
	switch {
	case st == stMore && !eof:
		return 0, false, nil
	case st != stOK:
		return 0, false, err
	}
	from, found, after := m.header(b, at, end, eof)
	switch {
	case after != nil:
		return 0, false, err // what the file begins with says more
	case found:
		m.skipped += int64(at - first)
		m.t.Repairs.Add(trace.RepairBeforeStart, 1)
	}
	return from, found, nil
}

// header looks for the array of events in b[i:end], the text of a trace from its beginning.
func (m *merger) header(b []byte, i, end int, eof bool) (from int, found bool, err error) {
	m.meta, m.array = envelope{}, false
	if i = space(b, i); i >= end {
		if eof {
			return 0, false, m.fail(int64(i), "a JSON object or array", "the end of the file")
		}
		return 0, false, nil
	}
	start := i
	switch b[i] {
	case '[':
		return m.arrayHead(b, i+1, end, eof)
	case '{':
	default:
		return 0, false, m.fail(int64(i), "a JSON object or array", looksLike(b[i:end]))
	}
	i++
	for {
		for b[i] <= ' ' && b[i] != 0 || b[i] == ',' {
			i++
		}
		if bytes.HasPrefix(b[i:end], eventsKey) {
			j := space(b, i+len(eventsKey))
			if b[j] == ':' {
				j = space(b, j+1)
			}
			if j < end && b[j] == '[' {
				return j + 1, true, nil
			}
			if j < end {
				return 0, false, m.fail(int64(j), "an array of events", looksLike(b[j:end]))
			}
		}
		next, st := m.member(b, i, end, eof)
		if st == stOK {
			i = next
			continue
		}
		if st == stEnd {
			switch m.bareEvents(b, next, end, eof) {
			case stOK:
				m.meta, m.array = envelope{}, true
				return start, true, nil
			case stMore:
				return 0, false, nil
			}
			return 0, false, m.fail(int64(i), `the key "traceEvents"`, "an object without it"+m.otherKind())
		}
		if i < end && (st == stBad || eof) {
			if k := bytes.Index(b[i+1:end], eventsKey); k >= 0 {
				m.meta.bad++
				i += 1 + k
				continue
			}
		}
		if eof {
			return 0, false, m.fail(int64(i), `the key "traceEvents"`, "the end of the file"+m.otherKind())
		}
		return 0, false, nil
	}
}

// arrayHead decides whether a bare array, whose content begins at b[i], is an array of events.
func (m *merger) arrayHead(b []byte, i, end int, eof bool) (from int, found bool, err error) {
	j := space(b, i)
	switch {
	case j >= end && !eof:
		return 0, false, nil
	case j >= end || b[j] == '{' || b[j] == ']':
		m.array, m.first = true, bytes.Clone(b[min(j, end):min(j+firstBytes, end)])
		return i, true, nil
	case b[j] == '[' && m.phase == inHead && arrayStart(b, j, end): // a list of traces that are arrays
		m.array, m.list = true, true
		return j + 1, true, nil
	case b[j] == '[' && !eof && space(b, j+1) >= end:
		return 0, false, nil
	case b[j] == '[':
		return 0, false, m.fail(int64(j), "events (objects)",
			"an array of arrays: perhaps a memory timeline (.raw.json)")
	}
	return 0, false, m.fail(int64(j), "events (objects)", looksLike(b[j:end]))
}

// firstBytes is how much of an array's text is kept, for the keys of its first object.
const firstBytes = 4 << 10

// noEvents returns an error if the file is an array of objects none of which is an event: each lacks
// a phase. Of an array of wrapped traces nothing can be read, and to say that it holds 0 slices would
// not help.
func (m *merger) noEvents() error {
	if !m.array || len(m.docs) > 0 || m.meta.cut || m.n == 0 || m.t.Repairs.Count[trace.RepairPhase] != int(m.n) ||
		!m.bracketOnly() {
		return nil
	}
	keys := keysOf(m.first)
	if len(keys) == 0 || slices.Contains(keys, "ph") {
		return nil
	}
	return m.fail(0, `events with a phase ("ph")`, "objects without one; the keys of the first are "+listed(keys))
}

// keysOf returns the keys of the object with which text begins, as far as text goes.
func keysOf(text []byte) []string {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	var keys []string
	for d.More() {
		key, err := d.Token()
		if err != nil {
			break
		}
		text, ok := key.(string)
		if !ok {
			break
		}
		keys = append(keys, text)
		if err := d.Decode(new(json.RawMessage)); err != nil {
			break
		}
	}
	return keys
}

// listed writes keys one after the other, the first of many.
func listed(keys []string) string {
	const shown = 8
	if len(keys) > shown {
		keys = append(keys[:shown:shown], "…")
	}
	return strings.Join(keys, ", ")
}

func space(b []byte, i int) int {
	for b[i] <= ' ' && b[i] != 0 {
		i++
	}
	return i
}

// member reads one member of the outer object at b[i] into the envelope. stEnd is the
// brace that closes the object.
func (m *merger) member(b []byte, i, end int, eof bool) (next int, st status) {
	if i < end && b[i] == '}' {
		return i + 1, stEnd
	}
	raw, i, st := memberKey(b, i, end)
	if st != stOK {
		return i, st
	}
	key := trace.Unescape(raw)
	next, st = skipValue(b, i, end)
	if st == stOK && json.Valid(b[i:next]) && utf8.Valid(b[i:next]) {
		m.meta.set(key, b[i:next])
		return next, stOK
	}
	if st == stMore {
		return next, stMore
	}
	clean, used, st := m.own.mend.any(b[i:end], eof)
	if st == stOK {
		m.own.mend.count(&m.meta.repairs)
		m.meta.set(key, clean)
		return i + used, stOK
	}
	return i, st
}

// memberKey returns the inside of the key of the member at b[i], and where its value begins or else the reading
// stopped.
func memberKey(b []byte, i, end int) (key []byte, at int, st status) {
	if i >= end || b[i] != '"' {
		return nil, i, stopped(i, end)
	}
	q := quoteEnd(b, i+1, end)
	if q < 0 {
		return nil, end, stMore
	}
	key = b[i+1 : q]
	if i = space(b, q+1); b[i] != ':' {
		return nil, i, stopped(i, end)
	}
	if i = space(b, i+1); i >= end {
		return nil, i, stMore
	}
	return key, i, stOK
}

// any rewrites the value at the beginning of b; see object.
func (m *mender) any(b []byte, eof bool) (clean []byte, used int, st status) {
	if len(b) > maxMend {
		b, eof = b[:maxMend], true
	}
	*m = mender{b: b, eof: eof, out: m.out[:0]}
	st = m.value(0, false)
	return m.out, m.i, st
}

func (m *merger) fail(offset int64, want, got string) error {
	if err := m.p.in.Damaged(); err != nil {
		got += " (" + err.Error() + ")"
	}
	return &FormatError{File: m.path, Offset: offset, Want: want, Got: got}
}

// otherKind names the kind of file that an object without events is known to be.
func (m *merger) otherKind() string {
	v := m.meta.values
	switch {
	case v["nodes"] != nil && v["schema"] != nil:
		return ": an execution trace (Chakra), not a profiler trace"
	case v["rocprofiler-sdk-tool"] != nil:
		return ": a rocprofv3 result"
	case v["segments"] != nil:
		return ": a memory snapshot"
	case v["ph"] != nil && v["name"] != nil:
		return ": it is one event; several of them, with commas between, belong into [ ]"
	case len(m.meta.order) == 0:
		return ""
	}
	return "; its keys are " + listed(m.meta.order)
}

// looksLike names what b begins with.
func looksLike(b []byte) string {
	switch {
	case unpack.ArchiveOf(b) == unpack.Zip:
		return "a zip archive: read it as a file, or unpack it first"
	case unpack.ArchiveOf(b) == unpack.Tar:
		return "a tar archive: read it as a file, or unpack it first"
	case b[0] == 0x80:
		if bytes.Contains(b, []byte("device_traces")) || bytes.Contains(b, []byte("segments")) {
			return "a Python pickle: a memory snapshot, which is no trace"
		}
		return "a Python pickle, which is no trace"
	case bytes.HasPrefix(b, []byte("SQLite format 3")):
		return "an SQLite database: perhaps an export of Nsight Systems or rocpd"
	case unpack.Foreign(b) != "":
		return unpack.Foreign(b)
	case b[0] == '<':
		return "HTML or XML"
	case b[0] == 0xff || b[0] == 0xfe || len(b) > 1 && b[1] == 0:
		return "binary data or UTF-16 text"
	}
	return fmt.Sprintf("%q", b[:min(len(b), 24)])
}
