// Package rocprof reads what rocprofv3 leaves of programs on AMD's cards: its JSON
// (--output-format json) and its database rocpd (the default since ROCm 7), a SQLite file.
//
// Read are kernels, copies, HIP, HSA and RCCL calls, and roctx ranges, with the names of
// processes and cards. Counters and program counter samples are left out; records of kinds
// that are not read are counted in Repairs. HIP calls are runtime calls and HSA calls driver
// calls, as Kineto has them on such cards.
//
// Times are ns of the host's monotonic clock: the files do not tell the time of day. No file
// of rocprofv3 itself is at hand; the layouts are those of ROCm/rocprofiler-sdk, its
// documentation and the schema that it ships.
package rocprof

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/kinetoscope/kinetoscope/trace"
)

// FormatError reports that a file is not a result of rocprofv3.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "no result of rocprofv3: " + e.Reason }

// RepairOther begins the kinds that count records which are left out.
const RepairOther = "record of a kind that is not read:"

// builder adds records to a trace.
type builder struct {
	t      *trace.Trace
	tracks map[trackKey]trace.TrackID
	ids    map[[2]int64]int64
}

// trackKey is a thread of a process, or a stream of a device as a process uses it.
type trackKey struct {
	gpu                         bool
	pid, thread, device, stream int64
}

func newBuilder(format string) *builder {
	t := trace.New()
	t.Meta.Format = format
	return &builder{t: t, tracks: map[trackKey]trace.TrackID{}, ids: map[[2]int64]int64{}}
}

func (b *builder) host(pid, tid int64, process, thread string) trace.TrackID {
	key := trackKey{pid: pid, thread: tid}
	id, ok := b.tracks[key]
	if !ok {
		id = b.t.AddTrack(trace.Track{
			Kind: trace.TrackCPU, PID: pid, TID: tid, Device: -1, Stream: -1, Process: process,
			Name: cmp.Or(thread, "thread "+strconv.FormatInt(tid, 10)), SortIndex: int64(len(b.t.Tracks)),
		})
		b.tracks[key] = id
	}
	return id
}

func (b *builder) stream(pid, device, stream int64, process string) trace.TrackID {
	key := trackKey{gpu: true, pid: pid, device: device, stream: stream}
	id, ok := b.tracks[key]
	if !ok {
		id = b.t.AddTrack(trace.Track{
			Kind: trace.TrackGPU, PID: device, TID: stream, Device: device, Stream: stream, Process: process,
			Name: "stream " + strconv.FormatInt(stream, 10), Labels: "GPU " + strconv.FormatInt(device, 10),
			SortIndex: int64(len(b.t.Tracks)),
		})
		b.tracks[key] = id
	}
	return id
}

// corr gives every (process, correlation) a number of its own.
func (b *builder) corr(pid, n int64) int64 {
	if n <= 0 {
		return trace.NoCorrelation
	}
	key := [2]int64{pid, n}
	id, ok := b.ids[key]
	if !ok {
		id = int64(len(b.ids) + 1)
		b.ids[key] = id
	}
	return id
}

// add adds a slice from start to end; what cannot be is repaired and counted.
func (b *builder) add(s trace.Slice, start, end int64) {
	if start <= 0 {
		b.t.Repairs.Add(trace.RepairNoTime, 1)
		return
	}
	if end < start {
		b.t.Repairs.Add(trace.RepairNegativeDur, 1)
		end = start
	}
	s.Start, s.Dur = start, end-start
	b.t.AddSlice(s)
}

// dispatch is a kernel's arguments beside its device and stream.
type dispatch struct {
	grid, block     [3]int64
	shared, private int64
}

func (b *builder) kernel(name string, track trace.TrackID, corr, start, end int64, d dispatch) {
	k := b.t.Tracks[track]
	var o trace.ArgsObject
	o.Int("device", k.Device)
	o.Int("stream", k.Stream)
	if corr != trace.NoCorrelation {
		o.Int("correlation", corr)
	}
	o.Raw("grid", triple(blocks(d.grid, d.block)))
	o.Raw("block", triple(d.block))
	o.Int("shared memory", d.shared)
	if d.private > 0 {
		o.Int("private memory", d.private)
	}
	b.add(trace.Slice{Name: name, Cat: trace.CatKernel, Track: track, Corr: corr, Args: o.Done()}, start, end)
}

// blocks is the grid in blocks, as CUDA counts it: AMD's records count work items.
func blocks(grid, block [3]int64) (out [3]int64) {
	for i := range out {
		out[i] = grid[i]
		if block[i] > 0 && grid[i] > 0 {
			out[i] = (grid[i]-1)/block[i] + 1
		}
	}
	return out
}

func triple(v [3]int64) []byte {
	out := []byte{'['}
	for i, n := range v {
		if i > 0 {
			out = append(out, ", "...)
		}
		out = strconv.AppendInt(out, n, 10)
	}
	return append(out, ']')
}

func (b *builder) copied(name string, track trace.TrackID, corr, start, end, bytes int64) {
	k := b.t.Tracks[track]
	var o trace.ArgsObject
	o.Int("device", k.Device)
	o.Int("stream", k.Stream)
	if corr != trace.NoCorrelation {
		o.Int("correlation", corr)
	}
	if bytes > 0 {
		o.Int("bytes", bytes)
		if end > start {
			o.Float("memory bandwidth (GB/s)", float64(bytes)/float64(end-start))
		}
	}
	b.add(trace.Slice{Name: name, Cat: trace.CatGPUMemcpy, Track: track, Corr: corr, Args: o.Done()}, start, end)
}

func (b *builder) finish() *trace.Trace {
	slices.SortFunc(b.t.Meta.Devices, func(x, y trace.Device) int { return cmp.Compare(x.ID, y.ID) })
	b.t.Meta.WindowStart, b.t.Meta.WindowEnd, _ = b.t.Extent()
	b.t.Trim()
	return b.t
}
