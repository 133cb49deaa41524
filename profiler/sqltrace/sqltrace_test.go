package sqltrace

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// oneTable is a driver whose every query gives the row 42 and whose every other
// statement affects three rows.
type oneTable struct{}

var errSyntax = errors.New("syntax error")

func (oneTable) Connect(context.Context) (driver.Conn, error) { return oneTable{}, nil }
func (oneTable) Driver() driver.Driver                        { return nil }
func (oneTable) Prepare(string) (driver.Stmt, error)          { return nil, errSyntax }
func (oneTable) Close() error                                 { return nil }
func (oneTable) Begin() (driver.Tx, error)                    { return oneTable{}, nil }
func (oneTable) Commit() error                                { return nil }
func (oneTable) Rollback() error                              { return nil }

func (oneTable) QueryContext(_ context.Context, q string, _ []driver.NamedValue) (driver.Rows, error) {
	if q == "bad" {
		return nil, errSyntax
	}
	return &rows{left: 1}, nil
}

func (oneTable) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(3), nil
}

type rows struct{ left int }

func (*rows) Columns() []string { return []string{"n"} }
func (*rows) Close() error      { return nil }
func (r *rows) Next(dest []driver.Value) error {
	if r.left == 0 {
		return io.EOF
	}
	r.left--
	dest[0] = int64(42)
	return nil
}

func TestStatements(t *testing.T) {
	rec := profiler.New(profiler.Config{})
	db := DB{sql.OpenDB(oneTable{})}
	defer db.Close()
	ctx := profiler.NewContext(context.Background(), rec)
	var b bytes.Buffer
	if err := rec.Start(profiler.StartOptions{Out: &b}); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := db.QueryRowContext(ctx, "select n").Scan(&n); err != nil || n != 42 {
		t.Errorf("%d, %v", n, err)
	}
	r, err := db.QueryContext(ctx, "select all")
	if err != nil || !r.Next() {
		t.Fatal(err)
	}
	r.Close()
	if _, err := db.QueryContext(ctx, "bad"); !errors.Is(err, errSyntax) {
		t.Errorf("error %v", err)
	}
	if _, err := db.ExecContext(ctx, "update"); err != nil {
		t.Error(err)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
	if _, err := rec.Stop(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`sql.query true statement="select n"`, `sql.query false`,
		`sql.query true statement="select all"`, `sql.query false`,
		`sql.query true statement="bad"`, `sql.query false error="syntax error"`,
		`sql.exec true statement="update"`, `sql.exec false rows_affected=3`,
		`sql.begin true`, `sql.begin false`,
	}
	if d := cmp.Diff(want, read(t, &b)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func read(t *testing.T, b *bytes.Buffer) (lines []string) {
	rd, err := format.NewReader(b)
	if err != nil {
		t.Fatal(err)
	}
	for {
		g, err := rd.Next()
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range g.Asyncs.Time {
			l := fmt.Sprintf("%s %t", rd.String(g.Asyncs.Name[i]), g.Asyncs.Begin[i])
			for _, a := range g.AsyncAttrs(i) {
				if a.Kind == format.AttrText {
					l += fmt.Sprintf(" %s=%q", rd.String(a.Key), g.Text(a))
				} else {
					l += fmt.Sprintf(" %s=%d", rd.String(a.Key), a.Int)
				}
			}
			lines = append(lines, l)
		}
	}
}
