package sql

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// oneTable opens an engine over a directory with a table of one row.
func oneTable(t *testing.T) *Engine {
	t.Helper()
	dir := t.TempDir()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "COPY (SELECT 1 AS install) TO "+quote(filepath.Join(dir, "slices.parquet")))
	if err != nil {
		t.Fatal(err)
	}
	e, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// TestExtensionsAreOff: a question that has DuckDB fetch, update or load an extension is refused as a wrong one
// before anything is asked of the network; the words alone are harmless.
func TestExtensionsAreOff(t *testing.T) {
	e := oneTable(t)
	for _, q := range []string{"install httpfs", "FORCE INSTALL httpfs FROM 'http://127.0.0.1:1'", "load httpfs",
		"/* a */ install /* b */ httpfs", "-- c\nload './x.duckdb_extension'", "update extensions",
		"UPDATE EXTENSIONS (httpfs)"} {
		err := e.Do(t.Context(), q)
		if err == nil || !Wrong(err) || !strings.Contains(err.Error(), "extensions are off") {
			t.Errorf("%s: %v", q, err)
		}
	}
	for _, q := range []string{"select install from slices", "select 'load' as extensions",
		"create table load as select install from slices"} {
		if err := e.Do(t.Context(), q); err != nil {
			t.Errorf("%s: %v", q, err)
		}
	}
}

// TestExportComment: a comment at the end of a question does not swallow what is put behind it.
func TestExportComment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.parquet")
	if err := oneTable(t).Export(t.Context(), "select 1 -- the answer", path); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() == 0 {
		t.Error(err)
	}
}
