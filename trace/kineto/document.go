package kineto

import (
	"bytes"
	"fmt"

	"github.com/kinetoscope/kinetoscope/trace"
)

// phase is where in the file the merger is.
type phase uint8

const (
	inHead   phase = iota // before the events of the first trace
	inEvents              // in an array of events
	inTail                // after it, in the outer object
	inTrail               // after a trace's end
	inNext                // at what may be the beginning of another trace
	inRest                // in text that is not looked at any more
)

// maxDocuments bounds the traces of one file. Ranks that write into one file are as many
// as a host has devices; what comes after is counted as ignored.
const maxDocuments = 1024

// block adds one block.
func (m *merger) block(blk *block) error {
	m.seen += int64(blk.end)
	if m.phase == inEvents && len(m.rest) == 0 && blk.res != nil {
		if !blk.last || blk.res.status == stEnd || blk.res.status == stOK {
			m.add(blk.res)
			next, more, err := m.took(blk.res, blk.end, blk.last)
			if err != nil || more {
				m.keep(blk.buf[next:blk.end], blk.last)
				return err
			}
			return m.advance(blk.buf[next:], blk.end-next, blk.last)
		}
	}
	if m.phase == inEvents && len(m.rest) == 0 || m.phase == inRest {
		return m.advance(blk.buf, blk.end, blk.last)
	}
	if len(m.rest)+blk.end > maxHead && m.phase != inEvents {
		if err := m.tooLong(); err != nil {
			return err
		}
	}
	m.rest = append(m.rest, blk.buf[:blk.end]...)
	text := padded(m.rest)
	m.rest = nil
	return m.advance(text, len(text)-pad, blk.last)
}

// padded returns b with pad zeros behind it.
func padded(b []byte) []byte {
	return append(b, make([]byte, pad)...)
}

// tooLong gives up what stands around the events and is larger than maxHead.
func (m *merger) tooLong() error {
	switch m.phase {
	case inHead:
		return m.fail(0, "an array of events", fmt.Sprintf("%d MiB without one", maxHead>>20))
	case inTail:
		m.t.Repairs.Add(trace.RepairMetadata, 1)
		m.findTailKeys(padded(m.rest), 0, len(m.rest))
	}
	m.phase = inRest
	return nil
}

// keep keeps text for the next block.
func (m *merger) keep(text []byte, last bool) {
	m.rest = nil
	if !last {
		m.rest = append(m.rest, text...)
	}
}

// advance reads text[:end], behind which stand pad zeros, as far as it goes. What is not
// used up waits for the next block. last says that no text follows.
func (m *merger) advance(text []byte, end int, last bool) error {
	for {
		next, more := end, true
		var err error
		switch m.phase {
		case inHead:
			var found bool
			if next, found, err = m.head(text, end, last); found {
				m.phase, more = inEvents, false
			} else {
				next = 0
			}
		case inEvents:
			m.own.scan(text, 0, end, last)
			m.add(m.own.res)
			next, more, err = m.took(m.own.res, end, last)
		case inTail:
			next, more, err = m.tail(text, end, last)
		case inTrail:
			next, more = m.trail(text, end, last)
		case inNext:
			next, more, err = m.next(text, end, last)
		case inRest:
			m.skipped += int64(end)
		}
		if err != nil || more {
			m.keep(text[next:end], last)
			return err
		}
		text, end = text[next:], end-next
	}
}

// offset is where in the file the last n bytes of the text so far begin.
func (m *merger) offset(n int) int64 { return m.seen - int64(n) }

// took decides how reading goes on after the scan of a text of end bytes: next is the offset to
// continue from, and more says that the next block is needed.
func (m *merger) took(r *result, end int, last bool) (next int, more bool, err error) {
	switch r.status {
	case stEnd:
		m.phase = inTail
		if m.array || m.left {
			m.phase, m.dirty = inTrail, m.left
		}
		return r.next + 1, false, nil
	case stDoc:
		switch {
		case m.bracketOnly():
			m.list = true
		case !m.left:
			m.meta.cut = true
			m.t.Repairs.Add(trace.RepairCutByNext, 1)
		}
		m.phase = inNext
		return r.next, false, nil
	case stCut:
		m.skipped += int64(end - r.next)
	}
	if whole := m.array && r.status == stOK; last && !m.left && !whole {
		m.meta.cut = true
		if r.status == stCut {
			m.phase = inTail
		}
	}
	return r.next, true, nil
}

// bracketOnly reports whether nothing of the file has been read but the bracket that opens its array, and
// empty events: where a trace follows, it is a list of traces.
func (m *merger) bracketOnly() bool {
	t := m.t
	rows := t.Slices.Len() + len(t.Instants.Time) + len(t.Counters.Time) + len(t.Flows.Time) + m.begin.waiting
	return m.array && !m.left && len(m.docs) == 0 && rows+len(m.names.seen) == 0
}

// tailKeys are the keys that matter after the events. They are looked for one by one
// when the text between them is unreadable.
var tailKeys = []string{
	"baseTimeNanoseconds", "distributedInfo", "deviceProperties", "traceName", "displayTimeUnit", "trace_id",
	"host_name",
}

// tail reads what stands after the events in the outer object.
func (m *merger) tail(b []byte, end int, last bool) (next int, more bool, err error) {
	for i := 0; ; {
		for b[i] <= ' ' && b[i] != 0 || b[i] == ',' {
			i++
		}
		if at, ok := eventsAt(b, i, end); ok { // the key is there twice
			m.phase = inEvents
			m.t.Repairs.Add(trace.RepairFurther, 1)
			return at, false, nil
		}
		stop := traceInMember(b, i, end)
		n, st := i, stMore
		if stop < 0 {
			n, st = m.member(b, i, end, last)
		}
		switch {
		case st == stOK:
			i = n
			continue
		case st == stEnd:
			m.phase, m.dirty = inTrail, false
			return n, false, nil
		}
		if stop < 0 {
			stop = nextTrace(b, i, end)
		}
		if stop == end && !last {
			return i, true, nil
		}
		if st == stMore {
			m.meta.cut = true
		} else {
			m.meta.bad++
		}
		m.findTailKeys(b, i, stop)
		if stop < end {
			m.phase = inNext
		}
		return stop, stop == end, nil
	}
}

// traceInMember returns where the value of the member at b[i] begins if it is a whole trace, which two writers of one
// file leave in the middle of a member; -1 if it is none.
func traceInMember(b []byte, i, end int) int {
	_, i, st := memberKey(b, i, end)
	if st != stOK || b[i] != '{' || eventStart(b, i, end) != stDoc {
		return -1
	}
	if n, st := skipNested(b, i, end); st != stOK || !bytes.Contains(b[i:n], eventsKey) {
		return -1
	}
	return i
}

// findTailKeys looks for the keys that matter in b[i:end].
func (m *merger) findTailKeys(b []byte, i, end int) {
	for _, key := range tailKeys {
		if m.meta.values[key] != nil {
			continue
		}
		if k := bytes.Index(b[i:end], []byte(`"`+key+`"`)); k >= 0 {
			m.member(b, i+k, end, true)
		}
	}
}

// eventsAt returns the offset after the bracket of the array of events if its key stands
// at b[i].
func eventsAt(b []byte, i, end int) (at int, ok bool) {
	if !bytes.HasPrefix(b[i:end], eventsKey) {
		return 0, false
	}
	j := space(b, i+len(eventsKey))
	if b[j] == ':' {
		j = space(b, j+1)
	}
	return j + 1, j < end && b[j] == '['
}

// nextTrace returns where in b[i:end] another trace seems to begin, end if nowhere.
func nextTrace(b []byte, i, end int) int {
	for k := i; k < end; k++ {
		if b[k] == '{' && eventStart(b, k, end) == stDoc {
			return k
		}
	}
	return end
}

// trail reads what stands after a trace's end: nothing, another trace, events without
// their array, or text that is none of these and is counted.
func (m *merger) trail(b []byte, end int, last bool) (next int, more bool) {
	ignored := 0
	defer func() {
		m.skipped += int64(ignored)
		if ignored > 0 && m.t.Repairs.Count[trace.RepairAfterEnd] == 0 {
			m.t.Repairs.Add(trace.RepairAfterEnd, 1)
		}
	}()
	for i := 0; i < end; i++ {
		c := b[i]
		if c <= ' ' || c == ',' {
			continue
		}
		if c == ']' && m.list && !m.dirty {
			m.list = false
			continue
		}
		if c == '{' || c == '[' {
			if end-i < 2*maxStart && !last {
				return i, true // too little to decide on
			}
			if (c == '{' || !m.dirty || arrayStart(b, i, end)) && m.begins(b, i, end) {
				return i, false
			}
		}
		m.dirty = true
		ignored++
	}
	return end, true
}

// begins reports whether the bracket at b[i], which stands after a trace's end, begins further
// events or another trace, and enters the phase that reads it.
func (m *merger) begins(b []byte, i, end int) bool {
	st := stBad
	if b[i] == '{' {
		st = eventStart(b, i, end)
	}
	switch {
	case st == stOK:
		m.left, m.phase = true, inEvents
		m.t.Repairs.Add(trace.RepairLeftover, 1)
	case st == stDoc || !m.dirty || b[i] == '[':
		m.phase = inNext
	default:
		return false
	}
	return true
}

// arrayStart reports whether the bracket at b[i] opens an array of objects.
func arrayStart(b []byte, i, end int) bool {
	j := space(b, i+1)
	return j < end && b[j] == '{'
}

// namesBytes is how much of an array's beginning tells whether it names its processes.
const namesBytes = 512

// namesProcesses reports whether the array at b[0] begins with a metadata row, as one does
// that is a trace by itself.
func namesProcesses(b []byte, end int) bool {
	row := b[:min(end, namesBytes)]
	if from := bytes.IndexByte(row, '{'); from >= 0 {
		if to, st := skipNested(b, from, len(row)); st == stOK {
			row = row[from:to]
		}
	}
	return bytes.Contains(row, []byte(`"M"`))
}

// next reads the head of another trace. What turns out to be none is ignored. An array
// after an array goes on with the same trace unless it names its processes anew: writers
// that close and open the array again leave several.
func (m *merger) next(b []byte, end int, last bool) (next int, more bool, err error) {
	if end < namesBytes && !last {
		return 0, true, nil
	}
	if m.array && b[0] == '[' && arrayStart(b, 0, end) && !namesProcesses(b, end) {
		m.phase = inEvents
		m.t.Repairs.Add(trace.RepairFurther, 1)
		return 1, false, nil
	}
	old, array := m.meta, m.array
	at, found, bad := 0, false, error(nil)
	if len(m.docs) < maxDocuments-1 {
		at, found, bad = m.header(b, 0, end, last)
	}
	head, headArray := m.meta, m.array
	m.meta, m.array = old, array
	switch {
	case found:
		from := m.offset(end)
		if m.list && m.bracketOnly() {
			from = 0
		} else if err := m.finish(from); err != nil {
			return 0, true, err
		}
		m.document = newDocument(from)
		m.meta, m.array, m.phase = head, headArray, inEvents
		clear(m.maps)
		return at, false, nil
	case bad == nil && !last && len(m.docs) < maxDocuments-1:
		return 0, true, nil
	}
	m.phase = inTrail
	m.dirty = true
	m.skipped++ // the bracket
	if m.t.Repairs.Count[trace.RepairAfterEnd] == 0 {
		m.t.Repairs.Add(trace.RepairAfterEnd, 1)
	}
	return 1, false, nil
}
