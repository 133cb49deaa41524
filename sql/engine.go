// Package sql answers questions in SQL about the tables that Kinetoscope makes of traces. DuckDB
// answers them from a directory of Parquet files, so nothing is loaded before a question needs it.
// The package is a module of its own because DuckDB needs cgo, which the main program does without.
package sql

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/duckdb/duckdb-go/v2"
)

// ViewsFile is the name of a file of SQL beside the tables: views and macros over them,
// which Open runs. It may be absent.
const ViewsFile = "views.sql"

// maxViewsFile bounds the views' text; the real one is a few kB.
const maxViewsFile = 1 << 20

// Engine answers questions about one directory of tables. It is safe for concurrent use.
type Engine struct {
	db       *sql.DB
	tables   []string
	readOnly bool
}

// Options say how an Engine is opened. The zero value keeps everything in memory.
type Options struct {
	// Database is a DuckDB file that keeps what the user creates; "" keeps it in memory.
	Database string
	Threads  int // 0: all cores
	// MemoryMB bounds DuckDB's memory, in MB; what does not fit goes to a temporary
	// directory. 0: DuckDB's own bound, 80 % of the machine's.
	MemoryMB int
	Views    string // file of SQL that is run in place of ViewsFile
	// ReadOnly is for questions of people or programs that are not trusted: only statements
	// that read are run, and no file but the tables can be read.
	ReadOnly bool
}

// Open makes every NAME.parquet in dir, every directory NAME of *.parquet, and every directory NAME that is
// partitioned by run=, as Hive does it, the view NAME, and then the views of ViewsFile. The error is
// fs.ErrNotExist if dir holds no table.
func Open(ctx context.Context, dir string, o Options) (*Engine, error) {
	tables, err := find(dir)
	if err != nil {
		return nil, err
	}
	connector, err := duckdb.NewConnector(o.Database, nil)
	if err != nil {
		return nil, fmt.Errorf("open database %q: %w", o.Database, err)
	}
	e := &Engine{db: sql.OpenDB(connector), readOnly: o.ReadOnly}
	err = e.prepare(ctx, tables, dir, o)
	if err == nil && o.ReadOnly {
		err = e.confine(ctx, dir)
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// find returns the tables of dir by name, each with the arguments of read_parquet.
func find(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look for tables: %w", err)
	}
	tables := map[string]string{}
	for _, d := range entries {
		path := filepath.Join(dir, d.Name())
		if name, ok := strings.CutSuffix(d.Name(), suffix); ok && d.Type().IsRegular() {
			tables[name] = quote(escapeGlob(path))
			continue
		}
		if !d.IsDir() {
			continue
		}
		has := func(pattern string) bool {
			parts, err := filepath.Glob(filepath.Join(escapeGlob(path), pattern))
			return err == nil && len(parts) > 0
		}
		switch {
		case has("*" + suffix):
			tables[d.Name()] = quote(filepath.Join(escapeGlob(path), "*"+suffix))
		case has(filepath.Join("run=*", "stage=*", "rank=*", "*"+suffix)):
			tables[d.Name()] = partitioned(path, "run=*/stage=*/rank=*", "run: VARCHAR, stage: VARCHAR, rank: BIGINT")
		case has(filepath.Join("run=*", "*"+suffix)):
			tables[d.Name()] = partitioned(path, "run=*", "run: VARCHAR")
		}
	}
	if len(tables) == 0 {
		return nil, fmt.Errorf("no *%s in %s: %w", suffix, dir, fs.ErrNotExist)
	}
	return tables, nil
}

// partitioned is the arguments of read_parquet for a table with partitions, whose columns have these types. The
// versions that wrote its files may have had other columns.
func partitioned(path, parts, types string) string {
	return fmt.Sprintf("%s, hive_partitioning = true, hive_types = {%s}, union_by_name = true",
		quote(filepath.Join(escapeGlob(path), filepath.FromSlash(parts), "*"+suffix)), types)
}

// suffix ends the names of tables' files.
const suffix = ".parquet"

// escapeGlob makes the pattern that means path itself, for Go and for DuckDB.
func escapeGlob(path string) string {
	return strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]").Replace(path)
}

func (e *Engine) prepare(ctx context.Context, tables map[string]string, dir string, o Options) error {
	// Extensions are never fetched: the program works offline and runs no foreign code.
	settings := []string{
		"SET autoinstall_known_extensions = false", "SET autoload_known_extensions = false",
		"SET allow_community_extensions = false", "SET preserve_insertion_order = true",
	}
	if o.Threads > 0 {
		settings = append(settings, fmt.Sprintf("SET threads = %d", o.Threads))
	}
	if o.MemoryMB > 0 {
		settings = append(settings, fmt.Sprintf("SET memory_limit = '%dMB'", o.MemoryMB))
	}
	for _, s := range settings {
		if _, err := e.db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("set up DuckDB (%s): %w", s, err)
		}
	}
	for name, file := range tables {
		view := fmt.Sprintf("CREATE OR REPLACE VIEW %s AS SELECT * FROM read_parquet(%s)", ident(name), file)
		if _, err := e.db.ExecContext(ctx, view); err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
		e.tables = append(e.tables, name)
	}
	slices.Sort(e.tables)
	views, err := readViews(cmp.Or(o.Views, filepath.Join(dir, ViewsFile)))
	if err != nil || views == "" {
		return err
	}
	// A directory may lack tables, and with them the views over them.
	for statement := range strings.SplitSeq(views, ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if _, err := e.db.ExecContext(ctx, statement); err != nil && !missingTable(err) {
			return fmt.Errorf("views of %s: %w", ViewsFile, err)
		}
	}
	return nil
}

// confine takes from questions whatever could reach a file other than the tables.
func (e *Engine) confine(ctx context.Context, dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("confine questions: %w", err)
	}
	for _, s := range []string{
		fmt.Sprintf("SET allowed_directories = [%s]", quote(abs+string(filepath.Separator))),
		"SET enable_external_access = false", "SET lock_configuration = true",
	} {
		if _, err := e.db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("confine questions (%s): %w", s, err)
		}
	}
	return nil
}

// WrongError is an error of the question, not of answering it.
type WrongError struct{ Err error }

// Error is that of Err.
func (e WrongError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e WrongError) Unwrap() error { return e.Err }

// Wrong reports whether err says that the question is wrong: asked again, it fails again.
func Wrong(err error) bool {
	var w WrongError
	if errors.As(err, &w) {
		return true
	}
	var e *duckdb.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Type {
	case duckdb.ErrorTypeParser, duckdb.ErrorTypeSyntax, duckdb.ErrorTypeBinder, duckdb.ErrorTypeCatalog,
		duckdb.ErrorTypeConversion, duckdb.ErrorTypePermission, duckdb.ErrorTypeInvalidInput,
		duckdb.ErrorTypeMismatchType, duckdb.ErrorTypeOutOfRange:
		return true
	}
	return false
}

// extensions is in every statement that fetches or loads one, and in few others.
var extensions = regexp.MustCompile(`(?i)\b(install|load|extensions)\b`)

// updateExtensions is DuckDB's UPDATE_EXTENSIONS_STATEMENT, for which its package for Go has no name.
const updateExtensions duckdb.StmtType = 29

// fetchesNothing refuses a question that installs, updates or loads an extension: settings alone do not keep DuckDB
// from it where it is asked to. What DuckDB cannot take apart is left for it to refuse.
func (e *Engine) fetchesNothing(ctx context.Context, question string) error {
	kind, err := e.kindOf(ctx, question)
	if err == nil && (kind == duckdb.STATEMENT_TYPE_LOAD || kind == updateExtensions) {
		return WrongError{errors.New("DuckDB's extensions are off here: nothing is fetched and no foreign code run")}
	}
	return nil
}

// kindOf is what DuckDB's own parser takes a single statement for.
func (e *Engine) kindOf(ctx context.Context, question string) (kind duckdb.StmtType, err error) {
	conn, err := e.db.Conn(ctx)
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	err = conn.Raw(func(c any) (err error) {
		kind, err = kindOn(ctx, c.(*duckdb.Conn), question)
		return err
	})
	return kind, err
}

func kindOn(ctx context.Context, c *duckdb.Conn, question string) (kind duckdb.StmtType, err error) {
	stmt, err := c.PrepareContext(ctx, question)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stmt.Close()) }()
	if kind, err = stmt.(*duckdb.Stmt).StatementType(); err != nil {
		return 0, fmt.Errorf("ask what the question is: %w", err)
	}
	return kind, nil
}

// reads checks that a question is one statement that only reads. It uses DuckDB's own parser, so
// that no spelling evades the check.
func (e *Engine) reads(ctx context.Context, question string) (err error) {
	// Preparing several statements runs all but the last. A ";" in a text counts too, which
	// chr(59) avoids; that is simpler than to know all ways of quoting.
	if strings.Contains(strings.TrimRight(question, "; \t\r\n"), ";") {
		return WrongError{errors.New("one question at a time: \";\" may only end it")}
	}
	conn, err := e.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return conn.Raw(func(c any) (err error) {
		kind, err := kindOn(ctx, c.(*duckdb.Conn), question)
		if err != nil {
			return err
		}
		switch kind {
		case duckdb.STATEMENT_TYPE_SELECT:
			return nil
		case duckdb.STATEMENT_TYPE_EXPLAIN: // with ANALYZE it runs what it explains
			return readsExplained(ctx, c.(*duckdb.Conn), question)
		}
		return errOnlyReads
	})
}

var errOnlyReads = WrongError{
	errors.New("only questions that read are allowed here: SELECT, DESCRIBE, SHOW, EXPLAIN of these"),
}

// explain is how a question begins that is to be explained, in the spellings that are taken.
var explain = regexp.MustCompile(`(?is)^\s*explain(\s+analyze\b|\s*\([a-z_, \t\n]*\))?`)

// readsExplained checks that what a question has explained reads. Another spelling than those of explain
// leaves something that DuckDB's parser does not take for a statement that reads.
func readsExplained(ctx context.Context, c *duckdb.Conn, question string) (err error) {
	at := explain.FindStringIndex(question)
	if at == nil {
		return errOnlyReads
	}
	kind, err := kindOn(ctx, c, question[at[1]:])
	if err != nil {
		return err
	}
	if kind != duckdb.STATEMENT_TYPE_SELECT {
		return errOnlyReads
	}
	return nil
}

func missingTable(err error) bool {
	var e *duckdb.Error
	return errors.As(err, &e) && e.Type == duckdb.ErrorTypeCatalog
}

func readViews(path string) (string, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read views: %w", err)
	}
	if st.Size() > maxViewsFile {
		return "", fmt.Errorf("read views: %s has %d bytes, more than %d", path, st.Size(), maxViewsFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read views: %w", err)
	}
	return string(text), nil
}

func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Tables returns the names of the tables, sorted.
func (e *Engine) Tables() []string { return e.tables }

// Query runs one question. The caller closes the answer.
func (e *Engine) Query(ctx context.Context, question string) (*sql.Rows, error) {
	if e.readOnly {
		if err := e.reads(ctx, question); err != nil {
			return nil, err
		}
	} else if extensions.MatchString(question) {
		if err := e.fetchesNothing(ctx, question); err != nil {
			return nil, err
		}
	}
	rows, err := e.db.QueryContext(ctx, question)
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	return rows, nil
}

// Do runs one question whose answer nobody wants to see.
func (e *Engine) Do(ctx context.Context, question string) error {
	rows, err := e.Query(ctx, question)
	if err != nil {
		return err
	}
	return errors.Join(rows.Close(), rowsErr(rows))
}

// Reads reports whether a question only reads; what DuckDB cannot take apart is said to.
func (e *Engine) Reads(ctx context.Context, question string) bool {
	return !errors.Is(e.reads(ctx, question), errOnlyReads)
}

// Export writes the answer of a question to a Parquet file; it replaces none.
func (e *Engine) Export(ctx context.Context, question, path string) error {
	if e.readOnly {
		return errors.New("nothing is written here")
	}
	if _, err := os.Lstat(path); err == nil {
		return WrongError{fmt.Errorf("%s exists; it is not overwritten", path)}
	}
	question = strings.TrimRight(strings.TrimSpace(question), ";")
	_, err := e.db.ExecContext(ctx, fmt.Sprintf("COPY (%s\n) TO %s (FORMAT parquet, COMPRESSION zstd)", question,
		quote(path)))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Words returns the names of all views and tables and of their columns, for completion.
func (e *Engine) Words(ctx context.Context) (words []string, err error) {
	rows, err := e.db.QueryContext(ctx, `SELECT DISTINCT name FROM (
		SELECT table_name AS name FROM information_schema.tables
		UNION ALL SELECT column_name FROM information_schema.columns WHERE table_schema = 'main') ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var w string
		if err := rows.Scan(&w); err != nil {
			return nil, fmt.Errorf("list tables: %w", err)
		}
		words = append(words, w)
	}
	return words, rows.Err()
}

// Close ends the engine.
func (e *Engine) Close() error {
	if err := e.db.Close(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}
