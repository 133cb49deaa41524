package tables

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/table"
)

// addRun adds a run of two ranks to the bucket at path.
func addRun(t *testing.T, path, run string, replace bool) error {
	t.Helper()
	d, err := AddTo(path, run, replace)
	if err != nil {
		return err
	}
	var parts []Part
	for i := range 2 {
		tr := sample()
		tr.Meta.Stage, tr.Meta.Rank = "thin/ker", i
		if i == 1 {
			tr.Meta.Stage, tr.Meta.Rank = "", -1
		}
		r := RankOf(analysis.NewSubject(tr), run+"/"+tr.Meta.Stage)
		parts = append(parts, d.PartOf(r))
		if err := d.Add(t.Context(), i, r, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Finish(t.Context(), &Answers{Parts: parts}); err != nil {
		t.Fatal(err)
	}
	if runs, _ := filepath.Glob(filepath.Join(path, "*", runKey+partValue(run))); !replace && len(runs) > 0 {
		t.Errorf("seen before they are whole: %v", runs)
	}
	return d.Close()
}

// files are the files under path, sorted.
func files(t *testing.T, path string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			p, err = filepath.Rel(path, p)
			out = append(out, filepath.ToSlash(p))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func TestBucket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a[b]", "bucket")
	for _, run := range []string{"one", "two=2 ü%"} {
		if err := addRun(t, path, run, false); err != nil {
			t.Fatal(err)
		}
	}
	if !IsDir(path) {
		t.Error("not known as a directory of tables")
	}
	all := files(t, path)
	for _, want := range []string{
		"slices/run=one/stage=thin%2Fker/rank=0/00000.parquet",
		"slices/run=one/stage=__HIVE_DEFAULT_PARTITION__/rank=__HIVE_DEFAULT_PARTITION__/00001.parquet",
		"slices/run=two%3D2 ü%25/stage=thin%2Fker/rank=0/00000.parquet", "ranks/run=two%3D2 ü%25/00000.parquet", ViewsName,
	} {
		if !slices.Contains(all, want) {
			t.Errorf("%s is not among %v", want, all)
		}
	}
	if err := addRun(t, path, "one", false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a run that is there: %v", err)
	}
	if err := addRun(t, path, "one", true); err != nil {
		t.Error(err)
	}
	d, err := AddTo(path, "three", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Add(t.Context(), 0, RankOf(analysis.NewSubject(sample()), "x"), 1); err != nil {
		t.Fatal(err)
	}
	if err := d.Discard(); err != nil {
		t.Error(err)
	}
	if got := files(t, path); !slices.Equal(got, all) {
		t.Errorf("after a run was replaced and one discarded %v, before %v", got, all)
	}
	if entries, err := os.ReadDir(path); err != nil || strings.HasPrefix(entries[0].Name(), ".") {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// A run that a version added which escaped more is replaced, and not there twice.
func TestBucketReplacesOtherSpelling(t *testing.T) {
	path := t.TempDir()
	if err := addRun(t, path, "a b", false); err != nil {
		t.Fatal(err)
	}
	before := files(t, path)
	for _, name := range Names() {
		part := filepath.Join(path, name, "run=a b")
		if err := os.Rename(part, filepath.Join(path, name, "run=a%20b")); err != nil {
			t.Fatal(err)
		}
	}
	if err := addRun(t, path, "a b", false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a run that is there: %v", err)
	}
	if err := addRun(t, path, "a b", true); err != nil {
		t.Error(err)
	}
	if got := files(t, path); !slices.Equal(got, before) {
		t.Errorf("after it was replaced %v, want %v", got, before)
	}
}

// A run that a killed process left half made goes with the next one; one that is being made stays.
func TestBucketSweeps(t *testing.T) {
	path := t.TempDir()
	old, young := filepath.Join(path, stagingPrefix+"1"), filepath.Join(path, stagingPrefix+"2")
	for _, dir := range []string{old, young} {
		if err := os.MkdirAll(filepath.Join(dir, "slices"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * staleAfter)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	if err := addRun(t, path, "one", false); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(path, stagingPrefix+"*"))
	if err != nil || !slices.Equal(left, []string{young}) {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What the place of a file tells is not in it: engines that find a column in both refuse the table.
func TestBucketColumns(t *testing.T) {
	b := bucket{run: "r"}
	var meta trace.Meta
	for _, m := range Makers() {
		got, _ := b.partition(m.Make(RankOf(analysis.NewSubject(sample()), "x")), &meta)
		if slices.ContainsFunc(got.Columns, func(c table.Column) bool {
			return c.Name == "stage" || c.Name == "rank"
		}) {
			t.Errorf("%s has a column of a partition", got.Name)
		}
	}
}

func TestBucketRefuses(t *testing.T) {
	flat := t.TempDir()
	d, err := Create(filepath.Join(flat, "x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Add(t.Context(), 0, RankOf(analysis.NewSubject(sample()), "x"), 1), d.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := AddTo(filepath.Join(flat, "x"), "r", true); err == nil || !strings.Contains(err.Error(), "of no run") {
		t.Errorf("a directory of tables: %v", err)
	}
	if _, err := AddTo(t.TempDir(), "", true); err == nil {
		t.Error("a run without a name")
	}
	if IsDir(flat) {
		t.Error("any directory is one of tables")
	}
}
