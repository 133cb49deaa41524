// Package tables writes the tables of many traces as a directory of Parquet files, one
// directory a table and one file in it a trace:
//
//	slices/00000.parquet   of the first trace
//	slices/00001.parquet   of the second
//	tracks/00000.parquet
//	…
//	ranks/00000.parquet    of all traces together, as requests and findings
//	views.sql              views over them: names as Perfetto has them, common questions
//
// A bucket of runs has such directories partitioned as Hive does it, so that engines look only at the files
// of the runs, stages and ranks that a question names:
//
//	slices/run=R/stage=thinker/rank=0/00000.parquet
//	ranks/run=R/00000.parquet
//
// DuckDB, Spark and pandas read both as they are, other engines once they are told of them (Declare); `kinetoscope
// sql` asks them. Which
// tables there are and what their columns mean is said by package trace/table for what a
// trace holds, and here for what analyses say of it; the views are here.
package tables

import (
	"bufio"
	"context"
	_ "embed" // views.sql
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace/parquet"
	"github.com/kinetoscope/kinetoscope/trace/table"
)

// Views is SQL that makes the views. It is DuckDB's dialect.
//
//go:embed views.sql
var Views string

// ViewsName is the name of the views' file in a directory of tables.
const ViewsName = "views.sql"

// Dir is a directory of tables that is being written. Add may be called from several
// goroutines.
type Dir struct {
	Wanted
	root   *os.Root
	bucket *bucket // where it goes when it is whole; nil: it is there already
}

// Create makes the directory path, which must not exist or be empty, for the tables named;
// none means all. Whoever cannot fill it calls Discard.
func Create(path string, only ...string) (*Dir, error) {
	for _, name := range only {
		if !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("no table %q: there are %v", name, Names())
		}
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of tables: %w", err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("make directory of tables: %w", err)
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("directory of tables %s: %w and is not empty", path, fs.ErrExist)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("make directory of tables: %w", err)
	}
	return &Dir{root: root, Wanted: only}, nil
}

// Wanted are the names of tables that are wanted; none means all.
type Wanted []string

// Wants reports whether a table is wanted.
func (w Wanted) Wants(name string) bool { return len(w) == 0 || slices.Contains(w, name) }

// Add writes the tables of trace number i.
func (d *Dir) Add(ctx context.Context, i int, r Rank, workers int) error {
	for _, m := range Makers() {
		if !d.Wants(m.Name) {
			continue
		}
		t, where := m.Make(r), ""
		if d.bucket != nil {
			t, where = d.bucket.partition(t, &r.Trace.Meta)
		}
		if err := d.part(ctx, filepath.Join(t.Name, where, partName(i)), t, workers); err != nil {
			return err
		}
	}
	return nil
}

// Finish writes the tables that hold rows of all traces.
func (d *Dir) Finish(ctx context.Context, a *Answers) error {
	for _, m := range answerMakers {
		if !d.Wants(m.name) {
			continue
		}
		t, err := m.make(a)
		if err != nil {
			return err
		}
		where := ""
		if d.bucket != nil {
			where = d.bucket.runPart()
		}
		if err := d.part(ctx, filepath.Join(t.Name, where, partName(0)), t, 1); err != nil {
			return err
		}
	}
	return nil
}

// Drop removes the tables of trace number i again.
func (d *Dir) Drop(i int) error {
	for _, m := range Makers() {
		if err := d.root.Remove(filepath.Join(m.Name, partName(i))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("drop table: %w", err)
		}
	}
	return nil
}

// Discard removes what was written and ends the directory, which is left empty.
func (d *Dir) Discard() error {
	var errs []error
	for _, name := range append(Names(), ViewsName) {
		errs = append(errs, d.root.RemoveAll(name))
	}
	errs = append(errs, d.root.Close())
	if d.bucket != nil {
		errs = append(errs, os.RemoveAll(d.bucket.staging))
	}
	return errors.Join(errs...)
}

func partName(i int) string { return fmt.Sprintf("%05d.parquet", i) }

func (d *Dir) part(ctx context.Context, name string, t table.Table, workers int) error {
	return d.write(name, func(w io.Writer) error { return parquet.Write(ctx, w, workers, &t) })
}

// Close writes the views and ends the directory.
func (d *Dir) Close() error {
	err := d.write(ViewsName, func(w io.Writer) error {
		_, err := io.WriteString(w, Views)
		return err
	})
	err = errors.Join(err, d.root.Close())
	if d.bucket == nil {
		return err
	}
	if err == nil {
		err = d.bucket.publish()
	}
	return errors.Join(err, os.RemoveAll(d.bucket.staging))
}

// write writes a new file; it replaces none.
func (d *Dir) write(name string, write func(io.Writer) error) (err error) {
	if err := d.root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := bufio.NewWriterSize(f, 256<<10)
	if err := write(b); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write table %s: %w", name, err)
	}
	return nil
}
