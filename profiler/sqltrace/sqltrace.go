// Package sqltrace records the statements of a database/sql pool as regions of the
// profiler.Recorder in their context.
package sqltrace

import (
	"context"
	"database/sql"

	"github.com/kinetoscope/kinetoscope/profiler"
)

var (
	nameQuery = profiler.Intern("sql.query")
	nameExec  = profiler.Intern("sql.exec")
	nameBegin = profiler.Intern("sql.begin")
	keySQL    = profiler.Intern("statement")
	keyError  = profiler.Intern("error")
	keyRows   = profiler.Intern("rows_affected")
)

// DB is a pool whose methods with a context are recorded; the others are those of
// sql.DB. Statements are recorded as written, arguments never. A query's region ends
// when its first row can be read.
type DB struct{ *sql.DB }

func begin(ctx context.Context, name profiler.Name, query string) (context.Context, *profiler.ActiveRegion) {
	return profiler.RegionWith(ctx, name, profiler.CategoryIO, func(s profiler.Span) {
		if query != "" {
			s.Text(keySQL, query)
		}
	})
}

func end(r *profiler.ActiveRegion, err error, res sql.Result) {
	r.EndWith(func(s profiler.Span) {
		if err != nil {
			s.Text(keyError, err.Error())
			return
		}
		if res != nil {
			if n, err := res.RowsAffected(); err == nil {
				s.Int(keyRows, n)
			}
		}
	})
}

// QueryContext is that of sql.DB, recorded.
func (d DB) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx, r := begin(ctx, nameQuery, query)
	rows, err := d.DB.QueryContext(ctx, query, args...)
	end(r, err, nil)
	return rows, err
}

// QueryRowContext is that of sql.DB, recorded.
func (d DB) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	ctx, r := begin(ctx, nameQuery, query)
	row := d.DB.QueryRowContext(ctx, query, args...)
	end(r, row.Err(), nil)
	return row
}

// ExecContext is that of sql.DB, recorded.
func (d DB) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ctx, r := begin(ctx, nameExec, query)
	res, err := d.DB.ExecContext(ctx, query, args...)
	end(r, err, res)
	return res, err
}

// BeginTx is that of sql.DB, recorded: how long it took to get a connection.
func (d DB) BeginTx(ctx context.Context, o *sql.TxOptions) (*sql.Tx, error) {
	// The region's context must not be the transaction's, which outlives the region.
	_, r := begin(ctx, nameBegin, "")
	tx, err := d.DB.BeginTx(ctx, o)
	end(r, err, nil)
	return tx, err
}
