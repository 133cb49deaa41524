package main

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/convert"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/answer"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/tables"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/arrowipc"
	"github.com/kinetoscope/kinetoscope/trace/cut"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/trace/open"
	_ "github.com/kinetoscope/kinetoscope/trace/write" // registers the writers
	_ "github.com/kinetoscope/kinetoscope/web/offline" // registers HTML
)

type convertCmd struct {
	Paths   []string `arg:"" help:"Traces, directories of ranks or runs."`
	Output  string   `short:"o" help:"File to write; its ending says in which format (docs/formats.md). A directory, with a / at its end, gets tables as Parquet; - gives --table as an Arrow stream on standard output." placeholder:"OUT"`
	Table   string   `help:"With -o -: which table (docs/sql.md)." default:"slices"`
	RunName string   `name:"run" help:"With -o DIR/: add the tables to this bucket of runs, under this name of a run, partitioned by run, stage and rank (docs/sql.md)." placeholder:"NAME"`
	Force   bool     `help:"Replace the file if it is there, and put traces on one clock that do not belong together."`
	OTLP    string   `name:"otlp" help:"Push the requests as spans to this OpenTelemetry collector, http://HOST:4318 or grpc://HOST:4317 (docs/formats.md); headers, as for a key, come from $OTEL_EXPORTER_OTLP_HEADERS." placeholder:"URL"`
	cutFlags
	reading.Options
	reading.Choice

	piped bool // the first path was standard input
}

// stdout as --output means standard output.
const stdout = "-"

// convertPart is one trace, as the first reading describes it.
type convertPart struct {
	label  string
	name   string // in the file, of its own
	info   reading.Info
	rank   align.Rank
	first  int64 // the trace's first time on its own clock
	last   int64 // and its last
	window span  // of the recording, which may have begun long before the first slice
	empty  bool
	clock  align.Clock
	placed bool // its times are wall-clock times
	// devices are those whose clocks differ from the host's.
	devices []plausible.DeviceClock
}

func (c *convertCmd) Run(e *cli.Env) (err error) {
	filter, err := c.filter()
	if err != nil {
		return err
	}
	if c.Output == "" && c.OTLP == "" {
		return cli.Usage("--output OUT says what to write, or --otlp URL where to send spans")
	}
	collector, err := c.collector()
	if err != nil {
		return err
	}
	dir := strings.HasSuffix(c.Output, "/") || isDir(c.Output)
	stream := c.Output == stdout
	if c.RunName != "" && !dir {
		return cli.Usage("--run %s: only with -o DIR/, a bucket of runs", c.RunName)
	}
	if stream && !slices.Contains(tables.Names(), c.Table) {
		return cli.Usage("--table %s: there are %s", c.Table, strings.Join(tables.Names(), ", "))
	}
	var f format.Format
	pack := format.Plain
	if !dir && !stream && c.Output != "" {
		if f, pack, err = format.ForPath(c.Output); err != nil {
			return cli.UsageError{Err: err}
		}
		if _, err := os.Lstat(c.Output); err == nil && !c.Force {
			return cli.Usage("%s is there already: --force replaces it", c.Output)
		}
	}
	if slices.Contains(c.Paths, open.Stdin) {
		path, done, err := format.Spool(e.In)
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
		defer done()
		c.piped = c.Paths[0] == open.Stdin
		for i, p := range c.Paths {
			if p == open.Stdin {
				c.Paths[i] = path
			}
		}
	}
	c.Except = c.Output
	c.Kept = reading.NewKept(c.spillDir(stream))
	defer func() { err = errors.Join(err, c.Kept.Close()) }()
	parts, err := c.survey(e)
	if err != nil {
		return err
	}
	w := &rewriting{c: c, e: e, parts: parts, filter: filter}
	w.start = w.begin()
	if err := w.refuse(f.OneClock || c.OTLP != ""); err != nil {
		return err
	}
	switch {
	case dir:
		w.apart = true
		err = w.tables()
	case stream:
		w.apart = true
		err = w.stream()
	case c.Output != "":
		err = w.file(f, pack)
	}
	if err != nil || c.OTLP == "" {
		return err
	}
	return w.push(collector)
}

// spillDir is where traces may lie between two looks at them: beside the output, where the user expects that much to
// be written, or where temporary files do.
func (c *convertCmd) spillDir(stream bool) string {
	if stream || c.Output == "" {
		return os.TempDir()
	}
	return filepath.Dir(strings.TrimRight(c.Output, "/"))
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// survey reads every trace once and keeps what alignment needs; of the traces themselves those that fit into memory
// together, so that they need not be read again.
func (c *convertCmd) survey(e *cli.Env) ([]convertPart, error) {
	type seen struct {
		rank   align.Rank
		first  int64
		last   int64
		window span
		empty  bool
		placed bool
		clocks []plausible.DeviceClock
	}
	ask := func(_ int, s *analysis.Subject, info reading.Info) (seen, error) {
		t, believed := s.Trace, s.Seen()
		first, last, ok := t.Extent()
		window := span{first, last}
		if m := &t.Meta; m.WindowEnd > m.WindowStart {
			window = span{min(first, m.WindowStart), max(last, m.WindowEnd)}
		}
		return seen{convert.AlignOwn(believed, info.Alone), first, last, window, !ok, t.Meta.WallClock,
			believed.Clocks}, nil
	}
	list, infos, err := reading.RankedBy(e, &c.Options, &c.Choice, c.Paths, reading.Asker[seen]{Ask: ask})
	if err != nil {
		return nil, err
	}
	parts := make([]convertPart, len(list))
	ranks := make([]align.Rank, len(list))
	for i, l := range list {
		parts[i] = convertPart{label: l.Label, info: infos[i], rank: l.Value.rank, first: l.Value.first,
			last: l.Value.last, window: l.Value.window, empty: l.Value.empty, placed: l.Value.placed,
			devices: l.Value.clocks}
		ranks[i] = l.Value.rank
	}
	for i, clock := range align.Align(ranks) {
		parts[i].clock = clock
	}
	slices.SortStableFunc(parts, func(a, b convertPart) int {
		return cmp.Or(cmp.Compare(a.info.StageID, b.info.StageID), cmp.Compare(a.info.Replica, b.info.Replica),
			cmp.Compare(a.info.Rank, b.info.Rank))
	})
	metas, files := make([]*trace.Meta, len(parts)), make([]string, len(parts))
	for i := range parts {
		metas[i], files[i] = parts[i].info.Meta, parts[i].info.File
	}
	for i, name := range identity.Names(metas, files) {
		parts[i].name = cmp.Or(name, parts[i].label)
	}
	return parts, nil
}

// rewriting writes the parts one after the other. It reads those a second time that are not in memory.
type rewriting struct {
	c      *convertCmd
	e      *cli.Env
	parts  []convertPart
	filter cut.Filter
	chosen chosen
	start  int64 // of the common clock
	apart  bool  // each part stays on its own clock
}

// begin returns the first time of all parts on the common clock.
func (w *rewriting) begin() int64 {
	start, ok := int64(0), false
	for i := range w.parts {
		p := &w.parts[i]
		if p.empty || !p.placed {
			continue
		}
		if at := p.clock.Map(p.first); !ok || at < start {
			start, ok = at, true
		}
	}
	return start
}

// at returns the clock of a part. A part without a wall clock begins where the others begin.
func (w *rewriting) at(p *convertPart) func(int64) int64 {
	switch {
	case len(w.parts) == 1:
		return nil
	case p.placed:
		return p.clock.Map
	}
	return func(ns int64) int64 { return ns - p.first + w.start }
}

// each calls add for the parts, file by file in the order of the parts.
func (w *rewriting) each(add func(p *convertPart, t *trace.Trace) error) error {
	done := map[string]bool{}
	b := cli.NewBar(w.e.Err)
	defer b.End()
	for i := range w.parts {
		source := w.parts[i].info.Source
		if done[source.Path] {
			continue
		}
		done[source.Path] = true
		if known, ok := w.kept(source.Path); ok {
			for p, t := range known {
				if err := add(p, w.cut(t, p)); err != nil {
					return err
				}
			}
			continue
		}
		opts, _, err := w.c.Opening(w.e)
		if err != nil {
			return err
		}
		opts.Progress, opts.Left = b.Update, func(open.Left) {}
		seq := 0
		err = open.EachSource(w.e.Ctx, []open.Source{source}, opts, func(_ int, t *trace.Trace) error {
			p := w.part(source.Path, seq)
			seq++
			if p == nil {
				return nil
			}
			if p.info.Run != nil {
				p.info.Run.Complete(w.e.Ctx, t)
			}
			return add(p, w.cut(t, p))
		})
		if err != nil {
			return w.c.Error(w.e, err)
		}
	}
	return nil
}

// kept returns the parts of a file with their traces in its order, if the first reading left all of them in memory.
func (w *rewriting) kept(source string) (iter.Seq2[*convertPart, *trace.Trace], bool) {
	var list []*convertPart
	for i := range w.parts {
		if w.parts[i].info.Source.Path == source {
			list = append(list, &w.parts[i])
		}
	}
	slices.SortFunc(list, func(a, b *convertPart) int { return cmp.Compare(a.info.Seq, b.info.Seq) })
	traces := make([]*trace.Trace, len(list))
	for i, p := range list {
		if traces[i] = w.c.Kept.Take(source, p.info.Seq); traces[i] == nil {
			return nil, false
		}
	}
	return func(yield func(*convertPart, *trace.Trace) bool) {
		for i, p := range list {
			t := traces[i]
			traces[i] = nil // it is the writer's, and may go when that is done
			if !yield(p, t) {
				return
			}
		}
	}, true
}

func (w *rewriting) part(source string, seq int) *convertPart {
	for i := range w.parts {
		if p := &w.parts[i]; p.info.Source.Path == source && p.info.Seq == seq {
			return p
		}
	}
	return nil // a copy, or a rank that was not asked for
}

func (w *rewriting) workers() int { return cmp.Or(w.c.Workers, runtime.GOMAXPROCS(0)) }

// tables writes the directory of tables.
func (w *rewriting) tables() error {
	d, err := w.directory()
	if err != nil {
		return cli.UsageError{Err: err}
	}
	a, err := w.answers(d.Wanted, func(i int, r tables.Rank) error { return d.Add(w.e.Ctx, i, r, w.workers()) })
	if err == nil {
		err = w.nothing()
	}
	if err == nil {
		err = d.Finish(w.e.Ctx, a)
	}
	if err != nil {
		return errors.Join(err, d.Discard())
	}
	if err := d.Close(); err != nil {
		return err
	}
	fmt.Fprintln(report.Terminal(w.e.Out), w.c.Output)
	return nil
}

// directory makes the directory of tables, or what becomes a run's part of a bucket.
func (w *rewriting) directory() (*tables.Dir, error) {
	if w.c.RunName == "" {
		return tables.Create(w.c.Output)
	}
	d, err := tables.AddTo(w.c.Output, w.c.RunName, w.c.Force)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%w: --force replaces it", err)
	}
	return d, err
}

// answers calls add for every part, and returns what the tables of all parts together need.
func (w *rewriting) answers(want tables.Wanted, add func(i int, r tables.Rank) error) (*tables.Answers, error) {
	pages := pageOf{answer.Verb{Paths: w.c.Paths, Options: w.c.Options, Choice: w.c.Choice}}
	var list []report.Ranked[tablesPart]
	var infos []reading.Info
	err := w.each(func(p *convertPart, t *trace.Trace) error {
		introduce(t, p)
		r := tables.RankOf(analysis.NewSubject(t), path.Join(w.c.RunName, p.label)) // one name in all runs of a bucket
		r.Alone = len(w.parts) == 1
		part := tablesPart{at: len(list), part: want.PartOf(r), trace: pages.keep(want, t)}
		list, infos = append(list, report.Ranked[tablesPart]{Label: p.label, Value: part}), append(infos, p.info)
		return add(part.at, r)
	})
	if err != nil {
		return nil, err
	}
	if w.c.some() {
		pages.Paths = nil // the reports of runs cover all parts
	}
	return pages.answers(w.e, want, list, infos)
}

// stream writes one table to standard output.
func (w *rewriting) stream() error {
	want := tables.Wanted{w.c.Table}
	b := bufio.NewWriterSize(w.e.Out, 256<<10)
	out := arrowipc.NewStream(b)
	a, err := w.answers(want, func(_ int, r tables.Rank) error {
		for _, m := range tables.Makers() {
			if m.Name == w.c.Table {
				t := m.Make(r)
				return out.Add(w.e.Ctx, &t)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t, ok, err := a.Make(w.c.Table)
	if err != nil {
		return err
	}
	if ok {
		if err := out.Add(w.e.Ctx, &t); err != nil {
			return err
		}
	}
	return errors.Join(out.Close(), b.Flush())
}

// introduce sets stage and rank of the trace where the first reading learnt more of them.
func introduce(t *trace.Trace, p *convertPart) {
	t.Meta.StageID, t.Meta.Stage, t.Meta.Replica, t.Meta.Rank = p.info.StageID, p.info.Stage, p.info.Replica,
		p.info.Rank
}

// file writes one file, complete or not at all.
func (w *rewriting) file(f format.Format, pack format.Compression) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(w.c.Output), ".kinetoscope-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", w.c.Output, err)
	}
	defer func() {
		if e := os.Remove(tmp.Name()); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	err = w.write(tmp, f, pack)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", w.c.Output, err)
	}
	if w.c.Force {
		err = os.Rename(tmp.Name(), w.c.Output)
	} else {
		err = os.Link(tmp.Name(), w.c.Output) // unlike a rename it replaces nothing
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", w.c.Output, err)
	}
	st, err := os.Stat(w.c.Output)
	if err != nil {
		return err
	}
	fmt.Fprintf(report.Terminal(w.e.Out), "%s  %s, %s\n", w.c.Output, f.Title, report.Bytes(st.Size()).Text)
	w.say(f)
	return nil
}

// say tells on stderr what the file has no place for, and how well the clocks are known.
func (w *rewriting) say(f format.Format) {
	if f.Lacks != "" {
		fmt.Fprintf(w.e.Err, "note: not in it: %s\n", f.Lacks)
	}
	if len(w.parts) < 2 {
		for _, d := range w.parts[0].devices {
			fmt.Fprintf(w.e.Err, "note: the times of device %d are in it as the trace has them; merge moves them\n",
				d.Device)
		}
		return
	}
	for i := range w.parts {
		if p := &w.parts[i]; !p.placed {
			fmt.Fprintf(w.e.Err, "note: %s has no wall clock: it is put at the start\n", w.name(p))
		}
	}
	sections := []report.Section{{Tables: []*report.Table{w.clockTable()}}}
	if err := report.Page(w.e.Err, "", "", sections, w.e.Text()); err != nil {
		return // stderr is closed
	}
	for _, d := range w.doubtsOfClocks() {
		fmt.Fprintf(w.e.Err, "WARNING: %s\n", d.text)
	}
}

func (w *rewriting) write(out io.Writer, f format.Format, pack format.Compression) (err error) {
	b := bufio.NewWriterSize(format.Until(w.e.Ctx, out), 256<<10)
	dst, closePack, err := packed(b, pack)
	if err != nil {
		return err
	}
	source, err := w.source()
	if err != nil {
		return err
	}
	fw := f.Create(dst, format.WriteOptions{Name: filepath.Base(cmp.Or(w.c.Output, source)), Source: source,
		Workers: w.workers(), StartNs: w.start, Ranks: len(w.parts), Packed: pack != format.Plain})
	err = w.each(func(p *convertPart, t *trace.Trace) error {
		introduce(t, p)
		return fw.Add(w.e.Ctx, format.Rank{Trace: t, Name: w.name(p), Labels: w.labels(p), Clock: w.at(p)})
	})
	if err == nil {
		err = w.nothing()
	}
	for _, end := range []func() error{func() error { return fw.Close(w.e.Ctx) }, closePack, b.Flush} {
		if e := end(); err == nil {
			err = e
		}
	}
	return err
}

// name returns the part's name in the file: stage and rank as in a timeline, if they are known.
func (w *rewriting) name(p *convertPart) string { return p.name }

func (w *rewriting) labels(p *convertPart) (out []string) {
	if p.info.Host != "" {
		out = append(out, "host "+p.info.Host)
	}
	if !p.placed {
		return append(out, "no wall clock")
	}
	return out
}

// packed returns a writer that compresses into w, and a function that completes it.
func packed(w io.Writer, c format.Compression) (io.Writer, func() error, error) {
	switch c {
	case format.Gzip:
		z := gzip.NewWriter(w)
		return z, z.Close, nil
	case format.Zstd:
		z, err := zstd.NewWriter(w)
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return w, func() error { return nil }, nil
}
