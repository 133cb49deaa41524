package chrome

import (
	"bufio"
	"fmt"
	"io"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Many writes the traces of several ranks into one file. Processes are kept apart by names in
// place of their ids, "[stage0 thinker rank 1] 4711", as SGLang's merged traces have them;
// arrows by ids of their own, but for hand-offs, which cross ranks. It holds one buffer and
// belongs to one goroutine.
type Many struct {
	w       *bufio.Writer
	base    int64
	ranks   uint64
	started bool
	events  int
	err     error
}

// NewMany begins a file whose first time is about firstNs, in ns since the Unix epoch.
func NewMany(w io.Writer, firstNs int64) *Many {
	return &Many{w: bufio.NewWriterSize(w, bufferSize), base: BaseTime(firstNs)}
}

// Add writes the events of t, a rank with this name. clock maps its times to the file's, ns,
// not decreasing; nil: the same. Trace spans and process groups stay out, for they would be
// one rank's.
func (m *Many) Add(t *trace.Trace, name string, clock func(int64) int64) error {
	if m.err != nil {
		return m.err
	}
	m.ranks++
	e := &encoder{w: m.w, t: t, base: m.base, clock: clock, rank: name, flowMark: m.ranks << flowMarkShift}
	e.stats.Events = m.events
	if !m.started {
		m.started = true
		e.write([]byte("{\n  \"schemaVersion\": 1,\n  \"displayTimeUnit\": \"ms\",\n"))
		e.write(fmt.Appendf(nil, "  \"baseTimeNanoseconds\": %d,\n  \"traceEvents\": [", m.base))
	}
	e.lanes = lanes(e.tracks())
	e.metadataRows()
	e.sliceRows()
	e.flowRows()
	e.instantRows()
	e.counterRows()
	m.events = e.stats.Events
	if e.err != nil {
		m.err = fmt.Errorf("write chrome trace of %s: %w", name, e.err)
	}
	return m.err
}

// Close ends the file; name becomes its traceName.
func (m *Many) Close(name string) error {
	if m.err != nil {
		return m.err
	}
	e := &encoder{w: m.w}
	e.write([]byte("\n  ]"))
	e.footer(name)
	if err := m.w.Flush(); e.err == nil {
		e.err = err
	}
	if e.err != nil {
		return fmt.Errorf("write chrome trace: %w", e.err)
	}
	return nil
}

// flowMarkShift is where the rank's number is put into the ids of its arrows; ids of real
// traces are far below.
const flowMarkShift = 44

// flowID returns the id of flow end i in the file.
func (e *encoder) flowID(i int) uint64 {
	id := e.t.Flows.ID[i]
	if e.flowMark == 0 || trace.Handoff(e.t.String(e.t.Flows.Cat[i])) {
		return id
	}
	return id ^ e.flowMark
}

// tracks returns the trace's tracks, with processes named by the rank in a file of many.
func (e *encoder) tracks() []trace.Track {
	if e.rank == "" {
		return e.t.Tracks
	}
	out := make([]trace.Track, len(e.t.Tracks))
	for i, k := range e.t.Tracks {
		k.PIDText = "[" + e.rank + "] " + string(appendPID(nil, &k))
		out[i] = k
	}
	return out
}

func appendPID(b []byte, k *trace.Track) []byte {
	if k.PIDText != "" {
		return append(b, k.PIDText...)
	}
	return appendInt(b, k.PID)
}
