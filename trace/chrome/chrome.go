package chrome

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/pgzip"

	"github.com/kinetoscope/kinetoscope/trace"
)

const (
	// bufferSize is the size of writes to the underlying writer: large enough that
	// system calls do not count, small enough for many ranks at once.
	bufferSize = 256 << 10
	// gzipBlock is the unit that parallel compression hands to a goroutine; the
	// size that pgzip recommends as the least that keeps the ratio.
	gzipBlock = 1 << 20
	// gzipLevel trades a few percent of size for a multiple of the speed of level 6.
	gzipLevel = gzip.BestSpeed + 1
)

// Options says how a trace is written. The zero value is usable.
type Options struct {
	TraceName string // the key traceName; "" leaves it out
}

// Stats counts what was written.
type Stats struct {
	Events  int // members of traceEvents
	Dropped int // counter samples that JSON has no number for
}

// Write writes t as Chrome JSON to w. It holds one buffer; t is not changed.
func Write(w io.Writer, t *trace.Trace, o Options) (Stats, error) {
	e := &encoder{w: bufio.NewWriterSize(w, bufferSize), t: t, base: base(t)}
	e.header()
	e.events()
	e.footer(o.TraceName)
	if err := e.w.Flush(); err != nil && e.err == nil {
		e.err = err
	}
	if e.err != nil {
		return e.stats, fmt.Errorf("write chrome trace: %w", e.err)
	}
	return e.stats, nil
}

// WriteGzip is Write with gzip around it. workers > 1 compresses on as many
// goroutines, which have ended when it returns; the bytes do not depend on their number
// as long as it is > 1.
func WriteGzip(w io.Writer, t *trace.Trace, o Options, workers int) (Stats, error) {
	z, err := compressor(w, workers)
	if err != nil {
		return Stats{}, fmt.Errorf("set up gzip: %w", err)
	}
	stats, err := Write(z, t, o)
	if cerr := z.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close gzip of chrome trace: %w", cerr)
	}
	return stats, err
}

func compressor(w io.Writer, workers int) (io.WriteCloser, error) {
	if workers <= 1 {
		return gzip.NewWriterLevel(w, gzipLevel)
	}
	z, err := pgzip.NewWriterLevel(w, gzipLevel)
	if err != nil {
		return nil, err
	}
	return z, z.SetConcurrency(gzipBlock, min(workers, runtime.GOMAXPROCS(0)))
}

// encoder writes one trace. The first error sticks; later writes are no-ops.
type encoder struct {
	w     *bufio.Writer
	t     *trace.Trace
	base  int64
	buf   []byte // the row being built
	raw   []byte // the arguments of the row being built
	lanes [][]byte
	stats Stats
	err   error

	// Of a file of many ranks: whose the trace is, its clock, and what tells its arrows apart.
	rank     string
	clock    func(int64) int64
	flowMark uint64
}

func (e *encoder) write(b []byte) {
	if e.err == nil {
		_, e.err = e.w.Write(b)
	}
}

// row starts a row of traceEvents with its phase.
func (e *encoder) row(ph string) {
	e.buf = e.buf[:0]
	if e.stats.Events > 0 {
		e.buf = append(e.buf, ',')
	}
	e.stats.Events++
	e.buf = append(e.buf, "\n  {\"ph\": \""...)
	e.buf = append(e.buf, ph...)
	e.buf = append(e.buf, '"')
}

func (e *encoder) key(k string) {
	e.buf = append(e.buf, ", \""...)
	e.buf = append(e.buf, k...)
	e.buf = append(e.buf, "\": "...)
}

func (e *encoder) text(k, v string) {
	e.key(k)
	e.buf = trace.AppendText(e.buf, v)
}

func (e *encoder) int(k string, v int64) {
	e.key(k)
	e.buf = strconv.AppendInt(e.buf, v, 10)
}

func (e *encoder) micros(k string, ns int64) {
	e.key(k)
	e.buf = appendMicros(e.buf, ns)
}

// at returns a time of the trace as the file counts it.
func (e *encoder) at(ns int64) int64 {
	if e.clock != nil {
		ns = e.clock(ns)
	}
	return ns - e.base
}

func (e *encoder) lane(id trace.TrackID) {
	if int(id) < len(e.lanes) {
		e.buf = append(e.buf, e.lanes[id]...)
		return
	}
	e.buf = append(e.buf, `, "pid": "", "tid": ""`...) // a track that does not exist
}

// argsOf returns the raw object of ref, valid until the next call.
func (e *encoder) argsOf(ref trace.ArgsRef) []byte {
	e.raw = e.t.AppendArgs(e.raw[:0], ref)
	return e.raw
}

func (e *encoder) args(raw []byte) {
	if len(raw) == 0 {
		return
	}
	e.key("args")
	e.buf = append(e.buf, raw...)
}

func (e *encoder) end() {
	e.buf = append(e.buf, '}')
	e.write(e.buf)
}

func (e *encoder) events() {
	e.write([]byte("  \"traceEvents\": ["))
	e.lanes = lanes(e.tracks())
	e.metadataRows()
	e.sliceRows()
	e.flowRows()
	e.instantRows()
	e.counterRows()
	e.windowRows()
	e.write([]byte("\n  ]"))
}

// sliceRows writes the X rows. Operators and annotations of a native recording get
// the numbers that Kineto gives them, unless they have them already.
func (e *encoder) sliceRows() {
	s := &e.t.Slices
	number := e.t.Meta.Format == "native"
	beside := beside(e.t.Tracks)
	for i := range s.Len() {
		if k := s.Track[i]; int(k) < len(beside) && beside[k] {
			e.async(i)
			continue
		}
		e.row("X")
		e.text("cat", e.t.CategoryText(s.Cat[i]))
		e.text("name", e.t.String(s.Name[i]))
		e.lane(s.Track[i])
		e.micros("ts", e.at(s.Start[i]))
		e.micros("dur", s.Dur[i])
		raw := e.argsOf(s.Args[i])
		if number && (s.Cat[i] == trace.CatCPUOp || s.Cat[i] == trace.CatUserAnnotation) {
			e.numberedArgs(raw, int64(i))
		} else {
			e.args(raw)
		}
		e.end()
	}
}

// beside reports which tracks hold asynchronous slices of a thread that has slices of its own on another track: as X
// rows the two would nest in each other. It is nil if there is none.
func beside(tracks []trace.Track) (out []bool) {
	type thread struct {
		pid, tid         int64
		pidText, tidText string
	}
	of := func(k *trace.Track) thread { return thread{k.PID, k.TID, k.PIDText, k.TIDText} }
	own := map[thread]bool{}
	for i := range tracks {
		if tracks[i].Kind == trace.TrackCPU {
			own[of(&tracks[i])] = true
		}
	}
	for i := range tracks {
		if tracks[i].Kind == trace.TrackOther && own[of(&tracks[i])] {
			if out == nil {
				out = make([]bool, len(tracks))
			}
			out[i] = true
		}
	}
	return out
}

// async writes slice i as begin and end of an asynchronous one, under an id of its own.
func (e *encoder) async(i int) {
	s := &e.t.Slices
	for _, end := range []struct {
		ph string
		ns int64
	}{{"b", s.Start[i]}, {"e", s.Start[i] + s.Dur[i]}} {
		e.row(end.ph)
		e.text("cat", e.t.CategoryText(s.Cat[i]))
		e.text("name", e.t.String(s.Name[i]))
		e.lane(s.Track[i])
		e.micros("ts", e.at(end.ns))
		e.key("id")
		e.buf = appendInt(e.buf, int64(i)+1)
		if end.ph == "b" {
			e.args(e.argsOf(s.Args[i]))
		}
		e.end()
	}
}

// numberedArgs writes args with External id, Record function id and Ev Idx in front.
func (e *encoder) numberedArgs(raw []byte, index int64) {
	if bytes.Contains(raw, []byte(`"External id"`)) {
		e.args(raw)
		return
	}
	e.key("args")
	e.buf = append(e.buf, `{"External id": `...)
	e.buf = strconv.AppendInt(e.buf, index+1, 10) // 0 means none
	e.buf = append(e.buf, `, "Record function id": 0, "Ev Idx": `...)
	e.buf = strconv.AppendInt(e.buf, index, 10)
	if len(raw) > 2 {
		e.buf = append(e.buf, ", "...)
		e.buf = append(e.buf, raw[1:]...)
		return
	}
	e.buf = append(e.buf, '}')
}

func (e *encoder) flowRows() {
	f := &e.t.Flows
	for i := range f.Time {
		ph := "f"
		if f.Start[i] {
			ph = "s"
		}
		e.row(ph)
		e.key("id")
		e.buf = appendUint(e.buf, e.flowID(i))
		e.lane(f.Track[i])
		e.micros("ts", e.at(f.Time[i]))
		e.text("cat", e.t.String(f.Cat[i]))
		e.text("name", e.t.String(f.Name[i]))
		if !f.Start[i] {
			e.text("bp", "e")
		}
		e.end()
	}
}

func (e *encoder) instantRows() {
	in := &e.t.Instants
	for i := range in.Time {
		e.row("i")
		e.text("cat", e.t.CategoryText(in.Cat[i]))
		e.text("s", "t")
		e.text("name", e.t.String(in.Name[i]))
		e.lane(in.Track[i])
		e.micros("ts", e.at(in.Time[i]))
		e.args(e.argsOf(in.Args[i]))
		e.end()
	}
}

// counterRows writes the samples; neighbours of one counter and time share a row.
func (e *encoder) counterRows() {
	c := &e.t.Counters
	for i := 0; i < len(c.Time); {
		j := i + 1
		for j < len(c.Time) && c.Time[j] == c.Time[i] && c.Name[j] == c.Name[i] && c.Track[j] == c.Track[i] {
			j++
		}
		e.counterRow(i, j)
		i = j
	}
}

func (e *encoder) counterRow(from, to int) {
	c := &e.t.Counters
	open := false
	for i := from; i < to; i++ {
		v := c.Value[i]
		if math.IsNaN(v) || math.IsInf(v, 0) {
			e.stats.Dropped++
			continue
		}
		if !open {
			open = true
			e.row("C")
			e.text("name", e.t.String(c.Name[i]))
			e.lane(c.Track[i])
			e.micros("ts", e.at(c.Time[i]))
			e.key("args")
			e.buf = append(e.buf, '{')
		} else {
			e.buf = append(e.buf, ", "...)
		}
		e.buf = trace.AppendText(e.buf, e.t.String(c.Series[i]))
		e.buf = append(e.buf, ": "...)
		e.buf = strconv.AppendFloat(e.buf, v, 'g', -1, 64)
	}
	if open {
		e.buf = append(e.buf, '}')
		e.end()
	}
}

// windowRows writes the trace span and the end of the window, unless the trace
// brought its own. Of another writer's trace whose slices tell the window nothing is added: it would be one slice more.
func (e *encoder) windowRows() {
	m := &e.t.Meta
	if m.WindowEnd <= m.WindowStart || slices.Contains(e.t.Slices.Cat, trace.CatTraceSpan) {
		return
	}
	if start, end, ok := e.t.Extent(); ok && m.Format != "native" && start == m.WindowStart && end == m.WindowEnd {
		return
	}
	e.row("X")
	e.text("cat", "Trace")
	e.text("name", "PyTorch Profiler (0)")
	e.text("pid", "Spans")
	e.text("tid", "PyTorch Profiler")
	e.micros("ts", e.at(m.WindowStart))
	e.micros("dur", m.WindowEnd-m.WindowStart)
	e.key("args")
	e.buf = fmt.Appendf(e.buf, `{"Op count": %d}`, e.t.Slices.Len())
	e.end()
	e.row("M")
	e.text("name", "process_sort_index")
	e.text("pid", "Spans")
	e.int("tid", 0)
	e.micros("ts", e.at(m.WindowStart))
	e.buf = append(e.buf, `, "args": {"sort_index": 536870912}`...)
	e.end()
	e.globalInstant("Iteration Start: PyTorch Profiler", "Traces", "Trace PyTorch Profiler", m.WindowStart)
	e.globalInstant(trace.NameWindowEnd, "", "", m.WindowEnd)
}

func (e *encoder) globalInstant(name, pid, tid string, ns int64) {
	e.row("i")
	e.text("name", name)
	e.text("s", "g")
	e.text("pid", pid)
	e.text("tid", tid)
	e.micros("ts", e.at(ns))
	e.end()
}

// metadataRows names and orders the processes and threads.
func (e *encoder) metadataRows() {
	named := map[string]bool{}
	tracks := e.tracks()
	order := make([]int, len(tracks))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &tracks[a], &tracks[b]
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.PID, y.PID), cmp.Compare(x.TID, y.TID))
	})
	first := e.at(firstTime(e.t))
	for _, i := range order {
		tr := &tracks[i]
		pid := string(appendLaneID(nil, tr.PIDText, tr.PID))
		if !named[pid] {
			named[pid] = true
			e.processRows(tr, pid, first)
		}
		tid := appendLaneID(nil, tr.TIDText, tr.TID)
		if tr.Name != "" {
			e.meta("thread_name", pid, tid, first, "name", trace.AppendText(nil, tr.Name))
		}
		sort := tr.SortIndex
		if sort == 0 && tr.Kind == trace.TrackCPU {
			sort = tr.TID
		}
		e.meta("thread_sort_index", pid, tid, first, "sort_index", strconv.AppendInt(nil, sort, 10))
	}
}

// gpuSortBase puts devices below the processes, as Kineto does.
const gpuSortBase = 5_000_000

func (e *encoder) processRows(tr *trace.Track, pid string, ts int64) {
	zero := []byte("0")
	if name := strings.TrimSpace(e.rank + " " + tr.Process); name != "" {
		e.meta("process_name", pid, zero, ts, "name", trace.AppendText(nil, name))
	}
	label, sort := cmp.Or(tr.Labels, "CPU"), tr.PID
	switch tr.Kind {
	case trace.TrackGPU:
		label, sort = cmp.Or(tr.Labels, "GPU "+strconv.FormatInt(tr.Device, 10)), gpuSortBase+tr.Device
	case trace.TrackOther:
		return
	}
	e.meta("process_labels", pid, zero, ts, "labels", trace.AppendText(nil, label))
	e.meta("process_sort_index", pid, zero, ts, "sort_index", strconv.AppendInt(nil, sort, 10))
}

func (e *encoder) meta(name, pid string, tid []byte, ts int64, key string, value []byte) {
	e.row("M")
	e.text("name", name)
	e.micros("ts", ts)
	e.key("pid")
	e.buf = append(e.buf, pid...)
	e.key("tid")
	e.buf = append(e.buf, tid...)
	e.buf = append(e.buf, `, "args": {`...)
	e.buf = trace.AppendText(e.buf, key)
	e.buf = append(e.buf, ": "...)
	e.buf = append(e.buf, value...)
	e.buf = append(e.buf, '}')
	e.end()
}

// lanes returns each track's pid and tid members, ready to be copied into a row.
func lanes(tracks []trace.Track) [][]byte {
	out := make([][]byte, len(tracks))
	for i := range tracks {
		tr := &tracks[i]
		b := appendLaneID([]byte(`, "pid": `), tr.PIDText, tr.PID)
		out[i] = appendLaneID(append(b, `, "tid": `...), tr.TIDText, tr.TID)
	}
	return out
}

func appendLaneID(b []byte, text string, n int64) []byte {
	if text != "" {
		return trace.AppendText(b, text)
	}
	return strconv.AppendInt(b, n, 10)
}

func appendInt(b []byte, v int64) []byte { return strconv.AppendInt(b, v, 10) }

func appendUint(b []byte, v uint64) []byte { return strconv.AppendUint(b, v, 10) }
