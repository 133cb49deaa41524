package table

import (
	"math"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/opstats"
)

// Rank is a trace and who it is of.
type Rank struct {
	Trace *trace.Trace
	Name  string // of the trace, for people: the file's name, say
}

// Makers returns what makes the tables of a trace: slices, tracks, flows, counters,
// instants, ops.
func Makers() []Maker {
	return []Maker{
		{"slices", Slices}, {"tracks", tracksOf}, {"flows", flowsOf}, {"counters", countersOf},
		{"instants", instantsOf},
		{"ops", func(r Rank) Table { return opsOf(r, opstats.Collect(r.Trace)) }},
	}
}

// Of returns all tables of one trace.
func Of(r Rank) (out []Table) {
	for _, m := range Makers() {
		out = append(out, m.Make(r))
	}
	return out
}

// Identity returns the columns that every table begins with, and then more:
//
//	trace     the name of the trace
//	stage_id  number of the stage in its pipeline; null if unknown
//	stage     name of the stage
//	replica   number of the replica in its stage
//	rank      number of the rank in its replica; null if unknown
func Identity(r Rank, more ...Column) []Column {
	w := Who{Name: r.Name, Meta: &r.Trace.Meta}
	return Identities(func(int) Who { return w }, more...)
}

// Who is whose a row is.
type Who struct {
	Name string      // of the trace; "" if it is of none alone
	Meta *trace.Meta // nil: of no rank alone
}

// Identities is Identity for tables with rows of several ranks.
func Identities(who func(i int) Who, more ...Column) []Column {
	number := func(f func(m *trace.Meta) int) func(int) int64 {
		return func(i int) int64 {
			if m := who(i).Meta; m != nil {
				return int64(f(m))
			}
			return -1
		}
	}
	return append([]Column{
		Texts("trace", "name of the trace", func(i int) string { return who(i).Name }),
		Known("stage_id", "number of the stage in its pipeline, from 0",
			number(func(m *trace.Meta) int { return m.StageID })),
		Texts("stage", "name of the stage", func(i int) string {
			if m := who(i).Meta; m != nil {
				return m.Stage
			}
			return ""
		}),
		Known("replica", "number of the replica in its stage, from 0",
			number(func(m *trace.Meta) int { return m.Replica })),
		Known("rank", "number of the rank in its replica, from 0", number(func(m *trace.Meta) int { return m.Rank })),
	}, more...)
}

// Slices returns the table of slices.
func Slices(r Rank) Table {
	t, s, x := r.Trace, &r.Trace.Slices, r.Trace.Index()
	track := func(i int) *trace.Track { return &t.Tracks[s.Track[i]] }
	return Table{
		Name: "slices", Rows: s.Len(),
		Doc: "what lasted: operators, runtime calls, kernels, copies, annotations, Python frames",
		Columns: Identity(r,
			Ints("id", "number of the slice in its trace; parent_id and other tables refer to it",
				func(i int) int64 { return int64(i) }),
			Known("parent_id", "the innermost slice of the track around this one",
				func(i int) int64 { return int64(x.Parent[i]) }),
			Ints("track_id", "its track, of table tracks", func(i int) int64 { return int64(s.Track[i]) }),
			Ints("ts", "begin, ns", func(i int) int64 { return s.Start[i] }),
			Ints("dur", "duration, ns", func(i int) int64 { return s.Dur[i] }),
			Ints("self_dur", "time not covered by the slices inside, ns", func(i int) int64 { return x.Self[i] }),
			names(t, "name", s.Name),
			categories("category", "Kineto's category: cpu_op, kernel, gpu_memcpy, cuda_runtime, user_annotation …",
				s.Cat, t.CategoryText),
			categories("kind", "device: work on a device; runtime: a call of its runtime or driver; host: anything else",
				s.Cat, kindOf),
			Ints("depth", "slices of the lane around this one", func(i int) int64 { return int64(x.Depth[i]) }),
			Ints("lane", "0 unless it overlaps another slice of its track in part",
				func(i int) int64 { return int64(x.Lane[i]) }),
			Known("device", "number of the device, of work on one", func(i int) int64 { return DeviceOf(track(i)) }),
			Known("stream", "stream of the device, of work on one", func(i int) int64 { return StreamOf(track(i)) }),
			Known("correlation", "links a runtime call with the device work it launched",
				func(i int) int64 { return s.Corr[i] }),
			Args("the slice's other arguments, JSON", t, func(i int) trace.ArgsRef { return s.Args[i] }),
		),
	}
}

// names makes a column of t's strings.
func names(t *trace.Trace, doc string, ids []trace.StringID) Column {
	return Interned("name", doc, t.Strings.Len(), func(i int) uint32 { return uint32(ids[i]) },
		func(k uint32) string { return t.String(trace.StringID(k)) })
}

// categories makes a column of what text says of a category.
func categories(name, doc string, cats []trace.Category, text func(trace.Category) string) Column {
	return Interned(name, doc, math.MaxUint8+1, func(i int) uint32 { return uint32(cats[i]) },
		func(k uint32) string { return text(trace.Category(k)) })
}

// kindOf says what a slice of category c is.
func kindOf(c trace.Category) string {
	switch {
	case c.Busy():
		return "device"
	case c.Runtime():
		return "runtime"
	}
	return "host"
}

// DeviceOf returns the device of a track, -1 if it is none's.
func DeviceOf(k *trace.Track) int64 {
	if k.Kind != trace.TrackGPU {
		return -1
	}
	return k.Device
}

// StreamOf returns the stream of a device's track, -1 if it is none.
func StreamOf(k *trace.Track) int64 {
	if k.Kind != trace.TrackGPU {
		return -1
	}
	return k.Stream
}

func tracksOf(r Rank) Table {
	t, x := r.Trace, r.Trace.Index()
	at := func(i int) *trace.Track { return &t.Tracks[i] }
	return Table{
		Name: "tracks", Rows: len(t.Tracks),
		Doc: "the lanes that slices lie on: threads, streams of devices, others",
		Columns: Identity(r,
			Ints("id", "number of the track in its trace", func(i int) int64 { return int64(i) }),
			Texts("kind", "cpu, gpu or other", func(i int) string { return at(i).Kind.String() }),
			Ints("pid", "process as in the file; of a text id a negative number",
				func(i int) int64 { return at(i).PID }),
			Ints("tid", "thread as in the file; of a text id a negative number",
				func(i int) int64 { return at(i).TID }),
			Texts("process", "name of the process", func(i int) string { return at(i).Process }),
			Texts("thread", "name of the thread or stream", func(i int) string { return at(i).Name }),
			Known("device", "number of the device, of a device's stream", func(i int) int64 { return DeviceOf(at(i)) }),
			Known("stream", "number of the stream, of a device's stream", func(i int) int64 { return StreamOf(at(i)) }),
			Ints("slices", "slices on it", func(i int) int64 { return int64(len(x.Track(trace.TrackID(i)))) }),
		),
	}
}

func flowsOf(r Rank) Table {
	t, f := r.Trace, &r.Trace.Flows
	return Table{
		Name: "flows", Rows: len(f.Time),
		Doc: "the ends of arrows; ends of one rank with equal category and flow_id belong together",
		Columns: Identity(r,
			Column{
				Name: "flow_id", Doc: "id of the arrow, as 16 hexadecimal digits", Type: Text,
				Text: func(i int) (string, bool) { return hex16(f.ID[i]), true },
			},
			Ints("ts", "time, ns", func(i int) int64 { return f.Time[i] }),
			Texts("side", "start or end", func(i int) string {
				if f.Start[i] {
					return "start"
				}
				return "end"
			}),
			Texts("category", "category", func(i int) string { return t.String(f.Cat[i]) }),
			names(t, "name", f.Name),
			Ints("track_id", "its track, of table tracks", func(i int) int64 { return int64(f.Track[i]) }),
		),
	}
}

func hex16(v uint64) string {
	const digits = "0123456789abcdef"
	var b [16]byte
	for k := len(b) - 1; k >= 0; k-- {
		b[k] = digits[v&15]
		v >>= 4
	}
	return string(b[:])
}

func countersOf(r Rank) Table {
	t, c := r.Trace, &r.Trace.Counters
	return Table{
		Name: "counters", Rows: len(c.Time),
		Doc: "samples of values over time",
		Columns: Identity(r,
			Ints("ts", "time, ns", func(i int) int64 { return c.Time[i] }),
			names(t, "name of the counter", c.Name),
			Texts("series", "series of the counter", func(i int) string { return t.String(c.Series[i]) }),
			Floats("value", "value, in the counter's unit", func(i int) float64 { return c.Value[i] }),
			Ints("track_id", "its track, of table tracks", func(i int) int64 { return int64(c.Track[i]) }),
		),
	}
}

func instantsOf(r Rank) Table {
	t, n := r.Trace, &r.Trace.Instants
	return Table{
		Name: "instants", Rows: len(n.Time),
		Doc: "what happened at one time: allocations, marks",
		Columns: Identity(r,
			Ints("ts", "time, ns", func(i int) int64 { return n.Time[i] }),
			names(t, "name", n.Name),
			categories("category", "category", n.Cat, t.CategoryText),
			Ints("track_id", "its track, of table tracks", func(i int) int64 { return int64(n.Track[i]) }),
			Args("arguments, JSON", t, func(i int) trace.ArgsRef { return n.Args[i] }),
		),
	}
}

func opsOf(r Rank, ops *opstats.Ops) Table {
	rows := ops.Rows(opstats.GroupName)
	at := func(i int) *opstats.Row { return &rows[i] }
	return Table{
		Name: "ops", Rows: len(rows),
		Doc: "operators summed by name, as torch's key_averages does",
		Columns: Identity(r,
			Texts("name", "name", func(i int) string { return at(i).Name }),
			Texts("device", "CPU, or the kind of device of work on one", func(i int) string { return at(i).Device }),
			Ints("calls", "number of calls", func(i int) int64 { return int64(at(i).Count) }),
			Ints("self_cpu", "host time not covered by operators inside, ns",
				func(i int) int64 { return at(i).SelfCPU }),
			Ints("cpu", "host time, ns", func(i int) int64 { return at(i).CPU }),
			Ints("self_device", "device time of what it launched itself, ns; work on devices has rows of its own with it too: sum rows of one kind",
				func(i int) int64 { return at(i).SelfDevice }),
			Ints("device_time", "device time with that of what it called, ns",
				func(i int) int64 { return at(i).DeviceTime }),
			Ints("self_memory", "host memory allocated less freed, bytes",
				func(i int) int64 { return at(i).SelfMemory }),
			Ints("self_device_memory", "device memory allocated less freed, bytes",
				func(i int) int64 { return at(i).SelfDevMemory }),
			Ints("flops", "floating point operations, where shapes tell", func(i int) int64 { return at(i).FLOPs }),
		),
	}
}
