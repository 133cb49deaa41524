package rocprof

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/sqlite"
)

// FormatDB is Meta.Format of traces read by FromDB.
const FormatDB = "rocpd"

// tablePrefix begins the names of rocpd's tables, which end with the id of the process's run.
const tablePrefix = "rocpd_"

// IsDB reports whether a database is rocpd.
func IsDB(db *sqlite.DB) bool { return len(runsOf(db)) > 0 }

// runsOf returns the endings of the names of tables, one for every run in the database:
// several processes' databases can be merged into one.
func runsOf(db *sqlite.DB) []string {
	var out []string
	for _, name := range db.Tables() {
		if suffix, ok := strings.CutPrefix(name, tablePrefix+"info_process"); ok &&
			db.Columns(tablePrefix+"kernel_dispatch"+suffix) != nil {
			out = append(out, suffix)
		}
	}
	return out
}

// ReadDB reads the database at path; ok is false if it is another one, or none.
func ReadDB(ctx context.Context, path string) (_ *trace.Trace, ok bool, err error) {
	f, err := plainfile.ByPath(path)
	if err != nil {
		return nil, false, fmt.Errorf("read rocpd: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("read rocpd: %w", err)
	}
	db, err := sqlite.Open(ctx, f, st.Size())
	if err != nil || !IsDB(db) {
		return nil, false, nil // the reader of other databases reports what is wrong
	}
	t, err := FromDB(ctx, db)
	if err != nil {
		return nil, true, fmt.Errorf("read %s: %w", path, err)
	}
	if log, err := os.Stat(path + sqlite.WALSuffix); err == nil && log.Size() > 0 {
		t.Repairs.Add(sqlite.RepairLog, 1)
	}
	return t, true, nil
}

// FromDB reads an open database.
func FromDB(ctx context.Context, db *sqlite.DB) (*trace.Trace, error) {
	runs := runsOf(db)
	if len(runs) == 0 {
		return nil, &FormatError{Reason: "it has no tables " + tablePrefix + "…"}
	}
	b := newBuilder(FormatDB)
	for _, suffix := range runs {
		r := &dbReader{builder: b, ctx: ctx, db: db, suffix: suffix}
		if err := r.read(); err != nil {
			return nil, err
		}
	}
	return b.finish(), nil
}

// dbReader reads the tables of one run.
type dbReader struct {
	*builder
	ctx    context.Context
	db     *sqlite.DB
	suffix string

	strings, kernels, processes, threads map[int64]string
	pids, tids, agents, stacks, times    map[int64]int64
	categories                           map[int64]string // of events
}

type values []sqlite.Value

// or returns column i, or other where it is not a number.
func (v values) or(i int, other int64) int64 {
	if v[i].Kind == sqlite.Int {
		return v[i].Int
	}
	return other
}

func (r *dbReader) each(table string, columns []string, row func(v values)) error {
	return r.db.Scan(r.ctx, tablePrefix+table+r.suffix, columns, func(v []sqlite.Value) error {
		row(v)
		return nil
	})
}

// texts and numbers read a column by id.
func (r *dbReader) texts(table, column string) (map[int64]string, error) {
	out := map[int64]string{}
	err := r.each(table, []string{"id", column}, func(v values) { out[v.or(0, -1)] = v[1].Text() })
	return out, err
}

func (r *dbReader) numbers(table, column string) (map[int64]int64, error) {
	out := map[int64]int64{}
	err := r.each(table, []string{"id", column}, func(v values) { out[v.or(0, -1)] = v.or(1, 0) })
	return out, err
}

func (r *dbReader) read() error {
	for _, step := range []func() error{r.names, r.cards, r.events, r.regions, r.dispatches, r.copies} {
		err := step()
		if errors.Is(err, sqlite.ErrCorrupt) && r.t.Slices.Len() > 0 {
			r.t.Repairs.Add(trace.RepairTruncatedFile, 1) // what lies before the damage counts
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return r.ctx.Err()
}

func (r *dbReader) names() (err error) {
	for _, m := range []struct {
		to            *map[int64]string
		table, column string
	}{{&r.strings, "string", "string"}, {&r.kernels, "info_kernel_symbol", "display_name"},
		{&r.processes, "info_process", "command"}, {&r.threads, "info_thread", "name"}} {
		if *m.to, err = r.texts(m.table, m.column); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		to            *map[int64]int64
		table, column string
	}{{&r.pids, "info_process", "pid"}, {&r.tids, "info_thread", "tid"}, {&r.times, "timestamp", "value"}} {
		if *m.to, err = r.numbers(m.table, m.column); err != nil {
			return err
		}
	}
	if r.t.Meta.Host == "" {
		err = r.each("info_node", []string{"hostname"},
			func(v values) { r.t.Meta.Host = cmp.Or(r.t.Meta.Host, v[0].Text()) })
	}
	return errors.Join(err, r.each("info_kernel_symbol", []string{"id", "kernel_name"}, func(v values) {
		r.kernels[v.or(0, -1)] = cmp.Or(r.kernels[v.or(0, -1)], v[1].Text())
	}))
}

func (r *dbReader) cards() error {
	r.agents = map[int64]int64{}
	n := int64(0)
	return r.each("info_agent", []string{"id", "type", "type_index", "product_name", "name"}, func(v values) {
		if v[1].Text() != "GPU" {
			return
		}
		id := v.or(2, n)
		n++
		r.agents[v.or(0, -1)] = id
		for _, d := range r.t.Meta.Devices {
			if d.ID == int(id) {
				return
			}
		}
		r.t.Meta.Devices = append(r.t.Meta.Devices, trace.Device{ID: int(id), Name: cmp.Or(v[3].Text(), v[4].Text())})
	})
}

// events reads the stack_id of each event, which a call and the work that it starts have in common.
func (r *dbReader) events() error {
	r.stacks, r.categories = map[int64]int64{}, map[int64]string{}
	return r.each("event", []string{"id", "stack_id", "category_id"}, func(v values) {
		r.stacks[v.or(0, -1)] = v.or(1, 0)
		r.categories[v.or(0, -1)] = r.strings[v.or(2, -1)]
	})
}

// pid returns the process of a row's column pid, which is an id of table info_process.
func (r *dbReader) pid(id int64) int64 {
	if p := r.pids[id]; p != 0 {
		return p
	}
	return id
}

// when returns a row's start and end, which later schemas keep in a table of their own.
func (r *dbReader) when(v values, start, end, startID, endID int) (from, to int64) {
	return cmp.Or(v.or(start, 0), r.times[v.or(startID, -1)]), cmp.Or(v.or(end, 0), r.times[v.or(endID, -1)])
}

func (r *dbReader) regions() error {
	columns := []string{"start", "end", "start_id", "end_id", "pid", "tid", "name_id", "event_id"}
	return r.each("region", columns, func(v values) {
		from, to := r.when(v, 0, 1, 2, 3)
		pid, tid := r.pid(v.or(4, 0)), v.or(5, 0)
		name, event := r.strings[v.or(6, -1)], v.or(7, -1)
		track := r.host(pid, cmp.Or(r.tids[tid], tid), r.processes[v.or(4, 0)], r.threads[tid])
		r.add(trace.Slice{Name: name, Cat: categoryOf(r.categories[event]), Track: track,
			Corr: r.corr(pid, r.stacks[event])}, from, to)
	})
}

// categoryOf tells a region's category by rocpd's: "HIP_RUNTIME_API", "MARKER_CORE_API" …
func categoryOf(text string) trace.Category {
	text = strings.ToLower(text)
	for _, k := range kinds {
		if strings.HasPrefix(text, k.prefix) {
			return k.cat
		}
	}
	return trace.CatUserAnnotation
}

func (r *dbReader) dispatches() error {
	columns := []string{
		"start", "end", "start_id", "end_id", "pid", "agent_id", "stream_id", "queue_id", "kernel_id", "event_id",
		"grid_size_x", "grid_size_y", "grid_size_z", "workgroup_size_x", "workgroup_size_y", "workgroup_size_z",
		"group_segment_size", "private_segment_size",
	}
	return r.each("kernel_dispatch", columns, func(v values) {
		from, to := r.when(v, 0, 1, 2, 3)
		pid := r.pid(v.or(4, 0))
		track := r.stream(pid, r.agents[v.or(5, -1)], cmp.Or(v.or(6, 0), v.or(7, 0)), r.processes[v.or(4, 0)])
		name := cmp.Or(r.kernels[v.or(8, -1)], fmt.Sprintf("kernel %d", v.or(8, 0)))
		d := dispatch{
			grid:   [3]int64{v.or(10, 0), v.or(11, 0), v.or(12, 0)},
			block:  [3]int64{v.or(13, 0), v.or(14, 0), v.or(15, 0)},
			shared: v.or(16, 0), private: v.or(17, 0),
		}
		r.kernel(name, track, r.corr(pid, r.stacks[v.or(9, -1)]), from, to, d)
	})
}

func (r *dbReader) copies() error {
	columns := []string{"start", "end", "start_id", "end_id", "pid", "dst_agent_id", "src_agent_id", "stream_id",
		"queue_id", "name_id", "event_id", "size"}
	return r.each("memory_copy", columns, func(v values) {
		from, to := r.when(v, 0, 1, 2, 3)
		pid := r.pid(v.or(4, 0))
		device, ok := r.agents[v.or(5, -1)]
		if !ok {
			device = r.agents[v.or(6, -1)]
		}
		track := r.stream(pid, device, cmp.Or(v.or(7, 0), v.or(8, 0)), r.processes[v.or(4, 0)])
		name := copyName(cmp.Or(r.strings[v.or(9, -1)], "Memcpy"))
		r.copied(name, track, r.corr(pid, r.stacks[v.or(10, -1)]), from, to, v.or(11, 0))
	})
}
