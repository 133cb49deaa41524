package tables

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/table"
)

// runKey is the partition of a run's part of each table.
const runKey = "run="

// rankPartitions are the columns by which the tables of single ranks are partitioned; the others are by the first
// alone.
var rankPartitions = []string{"run", "stage", "rank"}

// stagingPrefix begins the names of directories in which runs are made.
const stagingPrefix = ".new-"

// hiveNull is the partition of rows without a value, as Hive calls it.
const hiveNull = "__HIVE_DEFAULT_PARTITION__"

// bucket is the part of a run in a bucket of runs. It is made in a directory of its own, so that whoever reads the
// bucket meanwhile sees runs that are whole.
type bucket struct {
	path, run, staging string
}

// AddTo makes the tables of a run for the bucket of runs at path, which need not exist. Close puts them there; they
// replace those that a run of this name has, if replace is set.
func AddTo(path, run string, replace bool) (*Dir, error) {
	if run == "" {
		return nil, errors.New("bucket of runs: a run has a name")
	}
	if flat, _ := fs.Glob(os.DirFS(path), "*/*.parquet"); len(flat) > 0 {
		return nil, fmt.Errorf("bucket of runs %s: it has tables that are of no run, as %s", path, flat[0])
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make bucket of runs: %w", err)
	}
	b := &bucket{path: path, run: run}
	if len(b.parts()) > 0 && !replace {
		return nil, fmt.Errorf("bucket of runs %s: run %q: %w", path, run, fs.ErrExist)
	}
	err := b.sweep()
	if err != nil {
		return nil, err
	}
	if b.staging, err = os.MkdirTemp(path, stagingPrefix); err != nil {
		return nil, fmt.Errorf("make bucket of runs: %w", err)
	}
	root, err := os.OpenRoot(b.staging)
	if err != nil {
		return nil, fmt.Errorf("make bucket of runs: %w", err)
	}
	return &Dir{root: root, bucket: b}, nil
}

// parts returns the directories in which the run has a part of a table already. Versions of the program escaped names
// in different ways.
func (b *bucket) parts() (out []string) {
	for _, name := range Names() {
		entries, _ := os.ReadDir(filepath.Join(b.path, name)) // a table that no run has
		for _, d := range entries {
			value, ok := strings.CutPrefix(d.Name(), runKey)
			if run, err := url.PathUnescape(value); ok && err == nil && run == b.run {
				out = append(out, filepath.Join(b.path, name, d.Name()))
			}
		}
	}
	return out
}

// sweep removes what processes left that were killed while they made a run.
func (b *bucket) sweep() error {
	left, err := fs.Glob(os.DirFS(b.path), stagingPrefix+"*")
	if err != nil {
		return fmt.Errorf("sweep bucket of runs: %w", err)
	}
	var errs []error
	for _, name := range left {
		path := filepath.Join(b.path, name)
		if st, err := os.Lstat(path); err == nil && time.Since(st.ModTime()) > staleAfter {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

func (b *bucket) runPart() string { return runKey + partValue(b.run) }

// escaped are the characters besides those of control that Hive has no place for in the name of a partition.
const escaped = "\"#%'*/:=?\\{[]^"

// partValue is a text as the name of a partition has it. It escapes what Hive escapes and no more: Trino takes other
// spellings of a name for another partition, and Spark reads each escaped byte as a character.
func partValue(s string) string {
	if s == "" {
		return hiveNull
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == 0x7f || strings.IndexByte(escaped, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// partition returns t without the columns that its place in the bucket tells, and that place.
func (b *bucket) partition(t table.Table, m *trace.Meta) (table.Table, string) {
	t.Columns = slices.DeleteFunc(slices.Clone(t.Columns),
		func(c table.Column) bool { return slices.Contains(rankPartitions, c.Name) })
	rank := ""
	if m.Rank >= 0 {
		rank = strconv.Itoa(m.Rank)
	}
	return t, filepath.Join(b.runPart(), "stage="+partValue(m.Stage), "rank="+partValue(rank))
}

// publish puts the finished tables into the bucket.
func (b *bucket) publish() error {
	for _, part := range b.parts() {
		if err := os.RemoveAll(part); err != nil {
			return fmt.Errorf("replace run %q: %w", b.run, err)
		}
	}
	for _, name := range Names() {
		from, to := filepath.Join(b.staging, name, b.runPart()), filepath.Join(b.path, name, b.runPart())
		if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("add run %q: %w", b.run, err)
		}
		if err := os.Rename(from, to); err != nil {
			return fmt.Errorf("add run %q: %w", b.run, err)
		}
	}
	if err := os.Rename(filepath.Join(b.staging, ViewsName), filepath.Join(b.path, ViewsName)); err != nil {
		return fmt.Errorf("add run %q: %w", b.run, err)
	}
	return nil
}

// IsDir reports whether path is a directory of tables or a bucket of runs.
func IsDir(path string) bool {
	st, err := os.Lstat(filepath.Join(path, ViewsName))
	return err == nil && st.Mode().IsRegular() && slices.ContainsFunc(Names(), func(name string) bool {
		st, err := os.Stat(filepath.Join(path, name))
		return err == nil && st.IsDir()
	})
}
