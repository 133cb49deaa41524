package sql

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/sql/internal/neutral"
)

// MaxTextRows bounds the rows that Text prints; it counts the others. --csv and --json print all
// rows.
const MaxTextRows = 1000

// maxCell bounds a cell's width on a terminal, in characters.
const maxCell = 80

// Text writes an answer as a table whose columns line up, numbers to the right.
func Text(w io.Writer, rows *sql.Rows) error {
	a, err := read(rows, MaxTextRows)
	if err != nil {
		return err
	}
	width := make([]int, len(a.names))
	for k, n := range a.names {
		width[k] = utf8.RuneCountInString(n)
		for _, r := range a.rows {
			width[k] = max(width[k], utf8.RuneCountInString(r[k].text))
		}
	}
	b := bufio.NewWriter(w)
	line := func(cell func(k int) (string, bool)) {
		var out strings.Builder
		for k := range a.names {
			if k > 0 {
				out.WriteString("  ")
			}
			text, right := cell(k)
			pad := strings.Repeat(" ", width[k]-utf8.RuneCountInString(text))
			if right {
				out.WriteString(pad + text)
			} else {
				out.WriteString(text + pad)
			}
		}
		b.WriteString(strings.TrimRight(out.String(), " ") + "\n")
	}
	line(func(k int) (string, bool) { return a.names[k], a.numeric[k] })
	for _, r := range a.rows {
		line(func(k int) (string, bool) { return r[k].text, a.numeric[k] })
	}
	if a.more > 0 {
		fmt.Fprintf(b, "%d more rows: give LIMIT, or --csv, --json or --parquet for all\n", a.more)
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return nil
}

type cell struct{ text string }

type answer struct {
	names   []string
	numeric []bool
	rows    [][]cell
	more    int
}

// read reads an answer, up to limit rows of it, and counts the rest.
func read(rows *sql.Rows, limit int) (*answer, error) {
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	a := &answer{}
	for _, t := range types {
		a.names = append(a.names, t.Name())
		a.numeric = append(a.numeric, numeric(t.DatabaseTypeName()))
	}
	values, targets := scanTargets(len(types))
	for rows.Next() {
		if len(a.rows) == limit {
			a.more++
			continue
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, fmt.Errorf("read answer: %w", err)
		}
		r := make([]cell, len(values))
		for k, v := range values {
			r[k].text = shown(v)
		}
		a.rows = append(a.rows, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return a, nil
}

func scanTargets(n int) (values, targets []any) {
	values, targets = make([]any, n), make([]any, n)
	for k := range values {
		targets[k] = &values[k]
	}
	return values, targets
}

func numeric(databaseType string) bool {
	switch databaseType {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
		"UHUGEINT", "FLOAT", "DOUBLE":
		return true
	}
	return strings.HasPrefix(databaseType, "DECIMAL")
}

// shown returns a value for a terminal: one line, bounded, without control characters,
// for names in a trace may be hostile.
func shown(v any) string {
	s := plain(v)
	if v == nil {
		s = "NULL"
	}
	s = neutral.Plain(s)
	if utf8.RuneCountInString(s) > maxCell {
		s = string([]rune(s)[:maxCell-1]) + "…"
	}
	return s
}

// plain returns a value as text; NULL is "".
func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte:
		return string(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	}
	return fmt.Sprint(v)
}

// CSV writes an answer as CSV with a head line; NULL is an empty field. Texts are written as
// package neutral has them, so that no spreadsheet takes one for a formula.
func CSV(w io.Writer, rows *sql.Rows) error {
	names, err := rows.Columns()
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	out := csv.NewWriter(w)
	if err := out.Write(names); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	values, targets := scanTargets(len(names))
	record := make([]string, len(names))
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		for k, v := range values {
			record[k] = plain(v)
			switch v.(type) {
			case string, []byte:
				record[k] = neutral.CSV(record[k])
			}
		}
		if err := out.Write(record); err != nil {
			return fmt.Errorf("write answer: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return rowsErr(rows)
}

// JSON writes an answer as an array of objects, their keys in the columns' order.
func JSON(w io.Writer, rows *sql.Rows) error {
	names, err := rows.Columns()
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	keys := make([][]byte, len(names))
	for k, n := range names {
		if keys[k], err = marshal(n); err != nil {
			return fmt.Errorf("column %q: %w", n, err)
		}
		keys[k] = neutral.JSON(keys[k])
	}
	b := bufio.NewWriter(w)
	b.WriteString("[")
	values, targets := scanTargets(len(names))
	for n := 0; rows.Next(); n++ {
		if err := rows.Scan(targets...); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		if n > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n{")
		for k, v := range values {
			if k > 0 {
				b.WriteString(",")
			}
			text, err := marshal(v)
			if err != nil { // NaN, or a type that JSON has no place for
				text, _ = marshal(plain(v))
			}
			b.Write(keys[k])
			b.WriteString(":")
			b.Write(neutral.JSON(text))
		}
		b.WriteString("}")
	}
	b.WriteString("\n]\n")
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return rowsErr(rows)
}

// marshal is json.Marshal with names such as vector<float> as they are: no page is made of them.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

func rowsErr(rows *sql.Rows) error {
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}
