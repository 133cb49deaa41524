// Package nsys reads what `nsys export --type sqlite` makes of a report of Nsight Systems.
//
// Read are kernels, copies and fills with their streams, runtime and driver calls, waits,
// runs of whole graphs, NVTX ranges and marks, and the names of processes, threads and
// cards. Columns differ between versions of nsys, so each table is asked what it has; a
// table that is not there has nothing to say. Tables that no trace model has a place for
// (samples, operating system calls, metrics of cards and network) are counted in Repairs.
//
// All times of the file are ns from the session's start; TARGET_INFO_SESSION_START_TIME puts
// them on the wall clock. The schema is NVIDIA's, as the documentation of nsys's exporter
// describes versions 2 and 3.
package nsys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/sqlite"
)

// FormatError reports that a file is not an export of Nsight Systems.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string { return "no SQLite export of Nsight Systems: " + e.Reason }

// Kinds of repair that only this format knows.
const (
	// RepairOtherTable begins the kinds that count rows of tables that are left out.
	RepairOtherTable = "row of a table that is not read:"
)

// Read reads the database at path.
func Read(ctx context.Context, path string) (_ *trace.Trace, err error) {
	f, err := plainfile.ByPath(path)
	if err != nil {
		return nil, fmt.Errorf("read Nsight Systems export: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read Nsight Systems export: %w", err)
	}
	db, err := sqlite.Open(ctx, f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, &FormatError{Reason: err.Error()})
	}
	t, err := FromDB(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if log, err := os.Stat(path + sqlite.WALSuffix); err == nil && log.Size() > 0 {
		t.Repairs.Add(sqlite.RepairLog, 1)
	}
	return t, nil
}

// FromDB reads an open database. The error is a FormatError if nsys did not write it.
func FromDB(ctx context.Context, db *sqlite.DB) (*trace.Trace, error) {
	r := &reader{ctx: ctx, db: db, t: trace.New(), texts: map[int64]string{}, tracks: map[trackKey]trace.TrackID{},
		threads: map[int64]string{}, processes: map[int64]string{}}
	return r.t, r.read()
}

type reader struct {
	ctx       context.Context
	db        *sqlite.DB
	t         *trace.Trace
	texts     map[int64]string // of StringIds
	threads   map[int64]string // names by globalTid
	processes map[int64]string // names by pid
	tracks    map[trackKey]trace.TrackID
	offset    int64 // Unix ns of time 0
	ids       correlations
}

// trackKey is a thread of the host, or a stream of a device in a process.
type trackKey struct {
	gpu                 bool
	thread, pid         int64
	device, ctx, stream int64
}

// tables that are read; others are counted.
const (
	tableTexts   = "StringIds"
	tableStart   = "TARGET_INFO_SESSION_START_TIME"
	tableCards   = "TARGET_INFO_GPU"
	tableProcess = "PROCESSES"
	tableThreads = "ThreadNames"
	tableKernel  = "CUPTI_ACTIVITY_KIND_KERNEL"
	tableCopy    = "CUPTI_ACTIVITY_KIND_MEMCPY"
	tableFill    = "CUPTI_ACTIVITY_KIND_MEMSET"
	tableCalls   = "CUPTI_ACTIVITY_KIND_RUNTIME"
	tableSync    = "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION"
	tableGraphs  = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
	tableNVTX    = "NVTX_EVENTS"
)

func (r *reader) read() error {
	if r.db.Columns(tableTexts) == nil {
		return &FormatError{Reason: "it has no table " + tableTexts}
	}
	r.t.Meta.Format, r.t.Meta.Rank, r.t.Meta.StageID = "nsys", -1, -1
	for _, step := range []func() error{
		r.names, r.session, r.cards, r.calls, r.kernels, r.copies, r.fills, r.syncs, r.graphs, r.nvtx, r.others} {
		err := step()
		if errors.Is(err, sqlite.ErrCorrupt) && r.t.Slices.Len() > 0 {
			r.t.Repairs.Add(trace.RepairTruncatedFile, 1) // what lies before the damage counts
			err = nil
		}
		if err != nil {
			return err
		}
	}
	r.t.Meta.WindowStart, r.t.Meta.WindowEnd, _ = r.t.Extent()
	r.t.Trim()
	return r.ctx.Err()
}

// each calls row with columns of every row of a table, null where the table does not have
// one.
func (r *reader) each(table string, columns []string, row func(v values)) error {
	return r.db.Scan(r.ctx, table, columns, func(v []sqlite.Value) error {
		row(v)
		return nil
	})
}

// values are the columns of one row.
type values []sqlite.Value

func (v values) int(i int) (int64, bool) { return v[i].Int, v[i].Kind == sqlite.Int }

// or returns column i, or other where it is not a number.
func (v values) or(i int, other int64) int64 {
	if n, ok := v.int(i); ok {
		return n
	}
	return other
}

func (v values) text(i int) string { return v[i].Text() }

func (r *reader) names() error {
	return errors.Join(
		r.each(tableTexts, []string{"id", "value"}, func(v values) { r.texts[v.or(0, -1)] = v.text(1) }),
		r.each(tableProcess, []string{"pid", "name"}, func(v values) { r.processes[v.or(0, -1)] = v.text(1) }),
		r.each(tableThreads, []string{"globalTid", "nameId"},
			func(v values) { r.threads[v.or(0, -1)] = r.texts[v.or(1, -1)] }),
	)
}

func (r *reader) session() error {
	return r.each(tableStart, []string{"utcEpochNs"}, func(v values) {
		if ns := v.or(0, 0); ns > 0 {
			r.offset, r.t.Meta.WallClock = ns, true
		}
	})
}

func (r *reader) cards() error {
	return r.each(tableCards, []string{"id", "name", "smCount", "totalMemory", "cuDevice"}, func(v values) {
		d := trace.Device{ID: int(v.or(4, v.or(0, 0))), Name: v.text(1)}
		d.SMs, d.TotalMemory = int(v.or(2, 0)), v.or(3, 0)
		r.t.Meta.Devices = append(r.t.Meta.Devices, d)
	})
}

// Parts of a globalTid: pid in the upper bits, tid in the lower 24.
func pidOf(global int64) int64 { return global >> 24 & 0xFFFFFF }
func tidOf(global int64) int64 { return global & 0xFFFFFF }

func (r *reader) host(globalTid int64) trace.TrackID {
	key := trackKey{thread: globalTid}
	id, ok := r.tracks[key]
	if !ok {
		pid := pidOf(globalTid)
		id = r.t.AddTrack(trace.Track{
			Kind: trace.TrackCPU, PID: pid, TID: tidOf(globalTid), Device: -1, Stream: -1, Process: r.processes[pid],
			Name:      cmp.Or(r.threads[globalTid], "thread "+strconv.FormatInt(tidOf(globalTid), 10)),
			SortIndex: int64(len(r.t.Tracks)),
		})
		r.tracks[key] = id
	}
	return id
}

func (r *reader) stream(globalPid, device, context, stream int64) trace.TrackID {
	pid := pidOf(globalPid)
	key := trackKey{gpu: true, pid: pid, device: device, ctx: context, stream: stream}
	id, ok := r.tracks[key]
	if !ok {
		id = r.t.AddTrack(trace.Track{
			Kind: trace.TrackGPU, PID: device, TID: stream, Device: device, Stream: stream, Process: r.processes[pid],
			Name: "stream " + strconv.FormatInt(stream, 10), Labels: "GPU " + strconv.FormatInt(device, 10),
			SortIndex: int64(len(r.t.Tracks)),
		})
		r.tracks[key] = id
	}
	return id
}

// add adds a slice whose start and end are columns 0 and 1. A slice without an end, or one that
// ends before it begins, is repaired and counted.
func (r *reader) add(s trace.Slice, v values) {
	from, ok := v.int(0)
	if !ok {
		r.t.Repairs.Add(trace.RepairNoTime, 1)
		return
	}
	to, ok := v.int(1)
	if !ok {
		r.t.Repairs.Add(trace.RepairNoDur, 1)
		to = from
	}
	if s.Start, s.Dur = trace.AddNs(from, r.offset), trace.AddNs(to, -from); s.Dur < 0 {
		r.t.Repairs.Add(trace.RepairNegativeDur, 1)
		s.Dur = 0
	}
	r.t.AddSlice(s)
}

// correlations gives every (process, correlation) a number of its own, for nsys's are
// unique in their process alone.
type correlations map[[2]int64]int64

func (r *reader) corr(global int64, v sqlite.Value) int64 {
	n := v.Int
	if v.Kind != sqlite.Int || n == 0 {
		return trace.NoCorrelation
	}
	if r.ids == nil {
		r.ids = correlations{}
	}
	key := [2]int64{pidOf(global), n}
	id, ok := r.ids[key]
	if !ok {
		id = int64(len(r.ids) + 1)
		r.ids[key] = id
	}
	return id
}

// version is the suffix of runtime calls' names, "cudaLaunchKernel_v7000".
var version = regexp.MustCompile(`_v\d+(_ptsz|_ptds)?$`)

func (r *reader) calls() error {
	return r.each(tableCalls, []string{"start", "end", "globalTid", "correlationId", "nameId"}, func(v values) {
		tid := v.or(2, 0)
		name := version.ReplaceAllString(r.texts[v.or(4, -1)], "")
		cat := trace.CatCUDARuntime
		if strings.HasPrefix(name, "cu") && !strings.HasPrefix(name, "cuda") {
			cat = trace.CatCUDADriver
		}
		r.add(trace.Slice{Name: name, Cat: cat, Track: r.host(tid), Corr: r.corr(tid, v[3])}, v)
	})
}

// object builds a JSON object of the arguments that there are.
type object []byte

func (o *object) key(name string) {
	if *o == nil {
		*o = append(*o, '{')
	} else {
		*o = append(*o, ", "...)
	}
	*o = append(strconv.AppendQuote(*o, name), ": "...)
}

func (o *object) int(name string, n int64) {
	o.key(name)
	*o = strconv.AppendInt(*o, n, 10)
}

// column adds a column that is a number.
func (o *object) column(name string, v sqlite.Value) {
	if v.Kind == sqlite.Int {
		o.int(name, v.Int)
	}
}

func (o *object) triple(name string, x, y, z sqlite.Value) {
	if x.Kind == sqlite.Int && y.Kind == sqlite.Int && z.Kind == sqlite.Int {
		o.key(name)
		*o = fmt.Appendf(*o, "[%d, %d, %d]", x.Int, y.Int, z.Int)
	}
}

func (o object) done() []byte {
	if o == nil {
		return nil
	}
	return append(o, '}')
}

func (r *reader) kernels() error {
	columns := []string{
		"start", "end", "deviceId", "contextId", "streamId", "correlationId", "globalPid", "demangledName", "shortName",
		"gridX", "gridY", "gridZ", "blockX", "blockY", "blockZ", "registersPerThread", "staticSharedMemory",
		"dynamicSharedMemory", "graphNodeId",
	}
	return r.each(tableKernel, columns, func(v values) {
		var o object
		device, stream := v.or(2, 0), v.or(4, 0)
		o.int("device", device)
		o.column("context", v[3])
		o.int("stream", stream)
		corr := r.corr(v.or(6, 0), v[5])
		if corr != trace.NoCorrelation {
			o.int("correlation", corr)
		}
		o.triple("grid", v[9], v[10], v[11])
		o.triple("block", v[12], v[13], v[14])
		o.column("registers per thread", v[15])
		if s, ok := v.int(16); ok {
			o.int("shared memory", s+v.or(17, 0))
		}
		o.column("graph node id", v[18])
		name := cmp.Or(r.texts[v.or(7, -1)], r.texts[v.or(8, -1)])
		r.add(trace.Slice{Name: name, Cat: trace.CatKernel, Track: r.stream(v.or(6, 0), device, v.or(3, 0), stream),
			Corr: corr, Args: o.done()}, v)
	})
}

// Names of copies' directions and of kinds of memory, CUPTI's enumerations.
var (
	copyKinds = map[int64]string{1: "HtoD", 2: "DtoH", 3: "HtoA", 4: "AtoH", 5: "AtoA", 6: "AtoD", 7: "DtoA",
		8: "DtoD", 9: "HtoH", 10: "PtoP"}
	memoryKinds = map[int64]string{0: "Pageable", 1: "Pinned", 2: "Device", 3: "Array", 4: "Managed",
		5: "Device Static", 6: "Managed Static"}
)

func (r *reader) copies() error {
	columns := []string{"start", "end", "deviceId", "contextId", "streamId", "correlationId", "globalPid", "bytes",
		"copyKind", "srcKind", "dstKind"}
	return r.each(tableCopy, columns, func(v values) {
		kind := cmp.Or(copyKinds[v.or(8, 0)], "unknown")
		name := "Memcpy " + kind
		if from, to := memoryKinds[v.or(9, -1)], memoryKinds[v.or(10, -1)]; from != "" && to != "" {
			name += " (" + from + " -> " + to + ")"
		}
		r.device(trace.CatGPUMemcpy, name, v)
	})
}

func (r *reader) fills() error {
	columns := []string{"start", "end", "deviceId", "contextId", "streamId", "correlationId", "globalPid", "bytes",
		"memKind"}
	return r.each(tableFill, columns, func(v values) {
		r.device(trace.CatGPUMemset, "Memset ("+cmp.Or(memoryKinds[v.or(8, 2)], "Device")+")", v)
	})
}

// device adds a copy or a fill; the first eight columns are those of both.
func (r *reader) device(cat trace.Category, name string, v values) {
	var o object
	device, stream := v.or(2, 0), v.or(4, 0)
	o.int("device", device)
	o.int("stream", stream)
	corr := r.corr(v.or(6, 0), v[5])
	if corr != trace.NoCorrelation {
		o.int("correlation", corr)
	}
	o.column("bytes", v[7])
	if ns := v.or(1, 0) - v.or(0, 0); ns > 0 && v.or(7, 0) > 0 {
		o.key("memory bandwidth (GB/s)")
		o = strconv.AppendFloat(o, float64(v.or(7, 0))/float64(ns), 'g', -1, 64)
	}
	r.add(trace.Slice{Name: name, Cat: cat, Track: r.stream(v.or(6, 0), device, v.or(3, 0), stream), Corr: corr,
		Args: o.done()}, v)
}

// syncNames are CUPTI's kinds of synchronization.
var syncNames = map[int64]string{1: "Event Sync", 2: "Stream Wait Event", 3: "Stream Sync", 4: "Context Sync"}

func (r *reader) syncs() error {
	columns := []string{"start", "end", "deviceId", "contextId", "streamId", "correlationId", "globalPid", "syncType"}
	return r.each(tableSync, columns, func(v values) {
		corr := r.corr(v.or(6, 0), v[5])
		r.add(trace.Slice{
			Name: cmp.Or(syncNames[v.or(7, 0)], "Sync"), Cat: trace.CatCUDASync, Corr: corr,
			Track: r.stream(v.or(6, 0), v.or(2, 0), v.or(3, 0), v.or(4, -1)),
		}, v)
	})
}

// graphs reads runs of whole graphs, which stand for the kernels that nsys did not trace
// one by one.
func (r *reader) graphs() error {
	columns := []string{"start", "end", "deviceId", "contextId", "streamId", "correlationId", "globalPid", "graphId"}
	return r.each(tableGraphs, columns, func(v values) {
		var o object
		device, stream := v.or(2, 0), v.or(4, 0)
		o.int("device", device)
		o.int("stream", stream)
		o.column("graph id", v[7])
		r.add(trace.Slice{
			Name: "CUDA graph " + strconv.FormatInt(v.or(7, 0), 10), Cat: trace.CatKernel,
			Corr:  r.corr(v.or(6, 0), v[5]),
			Track: r.stream(v.or(6, 0), device, v.or(3, 0), stream), Args: o.done(),
		}, v)
	})
}

// Kinds of NVTX events.
const (
	nvtxMark      = 34
	nvtxPushPop   = 59
	nvtxStartEnd  = 60
	nvtxPushPopT  = 70
	nvtxStartEndT = 71
)

func (r *reader) nvtx() error {
	return r.each(tableNVTX, []string{"start", "end", "eventType", "globalTid", "text", "textId"}, func(v values) {
		name := v.text(4)
		if name == "" {
			name = r.texts[v.or(5, -1)]
		}
		track := r.host(v.or(3, 0))
		switch v.or(2, 0) {
		case nvtxMark:
			if at, ok := v.int(0); ok {
				r.t.AddInstant(trace.AddNs(at, r.offset), name, trace.CatUserAnnotation, track, nil)
			}
		case nvtxPushPop, nvtxStartEnd, nvtxPushPopT, nvtxStartEndT:
			r.add(trace.Slice{Name: name, Cat: trace.CatUserAnnotation, Track: track, Corr: trace.NoCorrelation}, v)
		}
	})
}

// otherTables are those of nsys that a trace model has no place for.
var otherTables = []string{
	"OSRT_API", "SAMPLING_CALLCHAINS", "COMPOSITE_EVENTS", "GPU_METRICS", "SCHED_EVENTS",
	"CUDA_GPU_MEMORY_USAGE_EVENTS", "DIAGNOSTIC_EVENT",
}

// others counts what is left out.
func (r *reader) others() error {
	for _, table := range otherTables {
		n := 0
		if err := r.each(table, nil, func(values) { n++ }); err != nil {
			return err
		}
		if n > 0 {
			r.t.Repairs.Add(RepairOtherTable+" "+table, n)
		}
	}
	return nil
}
