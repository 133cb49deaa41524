package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"
)

// dumped is a table as SQLite itself reads it.
type dumped struct {
	Columns []string
	Rows    [][]any
}

// make runs testdata/make.py, which has SQLite make a database and read it.
func makeDB(t *testing.T, seed, rows, page int) (database []byte, want map[string]dumped) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3, whose SQLite is asked")
	}
	dir := t.TempDir()
	out, dump := filepath.Join(dir, "x.sqlite"), filepath.Join(dir, "x.json")
	cmd := exec.Command(python, "testdata/make.py", out, dump, strconv.Itoa(seed), strconv.Itoa(rows),
		strconv.Itoa(page))
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make a database: %v\n%s", err, text)
	}
	return load(t, out, dump)
}

func load(t *testing.T, out, dump string) ([]byte, map[string]dumped) {
	t.Helper()
	database, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(dump)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var want map[string]dumped
	if err := d.Decode(&want); err != nil {
		t.Fatal(err)
	}
	return database, want
}

func compare(t *testing.T, database []byte, want map[string]dumped) {
	t.Helper()
	d, err := Open(t.Context(), bytes.NewReader(database), int64(len(database)))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Tables()) != len(want) {
		t.Errorf("tables %v, want %d", d.Tables(), len(want))
	}
	for name, w := range want {
		if got := d.Columns(name); !reflect.DeepEqual(got, w.Columns) {
			t.Errorf("%s has columns %q, want %q", name, got, w.Columns)
			continue
		}
		n := 0
		err := d.Scan(t.Context(), name, w.Columns, func(v []Value) error {
			if n < len(w.Rows) {
				for k := range v {
					if !same(&v[k], w.Rows[n][k]) {
						t.Errorf("%s row %d column %s is %+v, want %v", name, n, w.Columns[k], v[k], w.Rows[n][k])
					}
				}
			}
			n++
			return nil
		})
		if err != nil || n != len(w.Rows) {
			t.Errorf("%s: %d rows, want %d: %v", name, n, len(w.Rows), err)
		}
	}
}

func same(v *Value, want any) bool {
	switch w := want.(type) {
	case nil:
		return v.Kind == Null
	case string:
		return v.Kind == Bytes && v.Text() == w
	case json.Number:
		if n, err := w.Int64(); err == nil && v.Kind == Int {
			return v.Int == n
		}
		f, err := w.Float64()
		return err == nil && (v.Kind == Float && v.Float == f || v.Kind == Int && float64(v.Int) == f)
	case []any:
		if v.Kind != Bytes || len(v.Bytes) != len(w) {
			return false
		}
		for i, b := range w {
			if n, err := b.(json.Number).Int64(); err != nil || byte(n) != v.Bytes[i] {
				return false
			}
		}
		return true
	}
	return false
}

// The committed sample was made by make.py with seed 1, 12 rows, pages of 512 bytes.
func TestSample(t *testing.T) {
	database, want := load(t, "testdata/sample.sqlite", "testdata/sample.json")
	compare(t, database, want)
}

// Databases of any page size are read as SQLite reads them.
func TestAgainstSQLite(t *testing.T) {
	for i, page := range []int{512, 1024, 4096, 65536} {
		database, want := makeDB(t, i+10, 300, page)
		compare(t, database, want)
	}
}

// Whatever is damaged, it is an error or rows, never a panic nor an endless loop.
func FuzzScan(f *testing.F) {
	database, err := os.ReadFile("testdata/sample.sqlite")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(database)
	f.Add(database[:1000])
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Open(t.Context(), bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, name := range d.Tables() {
			columns := d.Columns(name)
			_ = d.Scan(t.Context(), name, columns, func(v []Value) error {
				if len(v) != len(columns) {
					t.Fatal("a row of other columns")
				}
				return nil
			})
		}
	})
}

// Every cut and every damaged page number is told.
func TestDamage(t *testing.T) {
	database, want := load(t, "testdata/sample.sqlite", "testdata/sample.json")
	scan := func(b []byte) error {
		d, err := Open(t.Context(), bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return err
		}
		for name, w := range want {
			if err := d.Scan(t.Context(), name, w.Columns, func([]Value) error { return nil }); err != nil {
				return err
			}
		}
		return nil
	}
	for _, n := range []int{0, 50, 99, 512, 513, 2048, len(database) / 2} {
		if err := scan(database[:n]); n < 512 && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	circle := bytes.Clone(database)
	for at := 512; at < len(circle); at += 512 { // every interior page names itself
		if circle[at] == interiorTable {
			copy(circle[at+8:], []byte{0, 0, byte((at/512 + 1) >> 8), byte(at/512 + 1)})
		}
	}
	if err := scan(circle); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a circle of pages: %v", err)
	}
	utf16 := bytes.Clone(database)
	utf16[59] = 2
	if err := scan(utf16); err == nil {
		t.Error("UTF-16: no error")
	}
}

func TestScanStops(t *testing.T) {
	database, _ := load(t, "testdata/sample.sqlite", "testdata/sample.json")
	d, err := Open(t.Context(), bytes.NewReader(database), int64(len(database)))
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	if err := d.Scan(t.Context(), "grown", nil, func([]Value) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Scan(ctx, "grown", nil, func([]Value) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := d.Scan(t.Context(), "not there", []string{"a"}, func([]Value) error { return stop }); err != nil {
		t.Error(err)
	}
}

func TestParseTable(t *testing.T) {
	for _, c := range []struct {
		sql     string
		columns []string
		rowid   int
	}{
		{`CREATE TABLE a(x INTEGER PRIMARY KEY, y)`, []string{"x", "y"}, 0},
		{`CREATE TABLE a(x int primary key)`, []string{"x"}, -1},
		{`CREATE TABLE main."a"(y, "x" integer, primary key("X"))`, []string{"y", "x"}, 1},
		{`CREATE TABLE a(y, x INTEGER, PRIMARY KEY (x, y))`, []string{"y", "x"}, -1},
		{`CREATE TABLE a(x INTEGER PRIMARY KEY) WITHOUT ROWID`, nil, -1},
		{`CREATE TABLE a AS SELECT 1`, nil, -1},
		{`CREATE TABLE a(`, nil, -1},
		{``, nil, -1},
	} {
		columns, rowid, ok := parseTable(c.sql)
		if ok != (c.columns != nil) || ok && (!reflect.DeepEqual(columns, c.columns) || rowid != c.rowid) {
			t.Errorf("%s: %q, rowid %d, %v", c.sql, columns, rowid, ok)
		}
	}
}

// A header that is shorter than its own length's number is damage.
func TestHeaderOfNoBytes(t *testing.T) {
	for _, record := range [][]byte{{0}, {0, 1, 2}, {0x80, 1, 0}} {
		if err := new(scanner).decode(record, 0); !errors.Is(err, ErrCorrupt) {
			t.Errorf("% x: %v", record, err)
		}
	}
}
