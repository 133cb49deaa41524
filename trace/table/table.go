// Package table shows a trace as tables of typed columns, the form in which data leaves for
// engines that ask questions in SQL: Parquet, Arrow, DuckDB. The tables, their columns and
// what the columns mean are defined here and nowhere else; docs/sql.md is made from it.
//
// Times are int64 nanoseconds: since the Unix epoch if the trace has a wall clock, else
// since an unknown instant. What a trace does not say is null, never 0 or -1. Rows of every
// table begin with the identity of their rank (see Identity), so that tables of many ranks can
// lie in one.
package table

import (
	"fmt"
	"iter"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Type is the type of a column's values.
type Type uint8

// The types.
const (
	Int64 Type = iota
	Float64
	Text
)

// String returns the name of the type in SQL.
func (t Type) String() string {
	switch t {
	case Int64:
		return "BIGINT"
	case Float64:
		return "DOUBLE"
	case Text:
		return "VARCHAR"
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// Column is one column of a table. One of its getters is set, by Type; it returns the value
// of row i, and false where the value is null. Getters are safe for concurrent use unless
// the table says otherwise.
type Column struct {
	Name string
	Doc  string // what it means, with its unit
	Type Type

	Int   func(i int) (int64, bool)
	Float func(i int) (float64, bool)
	Text  func(i int) (string, bool)

	// Few reports that a text column has few distinct values, worth a dictionary.
	Few bool
	// Key, where it is set, returns a number below Keys that stands for the text of row i: rows of one
	// key have one text, or none. A writer of dictionaries looks at a key's text once.
	Key  func(i int) uint32
	Keys int
	// Append, where it is set, appends the text of row i to dst, nothing where it is null: Text without
	// its allocation.
	Append func(dst []byte, i int) []byte
}

// Table is rows of columns. It borrows from what it was made of, which must not change.
type Table struct {
	Name    string
	Doc     string // what a row is
	Columns []Column
	Rows    int
}

// Maker makes one table of a trace.
type Maker struct {
	Name string
	Make func(Rank) Table
}

// Column returns the column with this name.
func (t *Table) Column(name string) (*Column, bool) {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i], true
		}
	}
	return nil, false
}

// Row returns the values of row i in the order of the columns: int64, float64, string or
// nil. It is for tests and small answers; writers use the columns.
func (t *Table) Row(i int) []any {
	row := make([]any, len(t.Columns))
	for k := range t.Columns {
		if v, ok := t.Columns[k].Value(i); ok {
			row[k] = v
		}
	}
	return row
}

// All yields the rows in order; see Row.
func (t *Table) All() iter.Seq2[int, []any] {
	return func(yield func(int, []any) bool) {
		for i := range t.Rows {
			if !yield(i, t.Row(i)) {
				return
			}
		}
	}
}

// Value returns the value of row i, and false where it is null.
func (c *Column) Value(i int) (any, bool) {
	switch c.Type {
	case Int64:
		return value(c.Int(i))
	case Float64:
		return value(c.Float(i))
	default:
		return value(c.Text(i))
	}
}

func value[T any](v T, ok bool) (any, bool) { return v, ok }

// Ints makes a column of numbers that are always there.
func Ints(name, doc string, at func(int) int64) Column {
	return Column{Name: name, Doc: doc, Type: Int64, Int: func(i int) (int64, bool) { return at(i), true }}
}

// Floats makes a column of numbers with a fraction that are always there.
func Floats(name, doc string, at func(int) float64) Column {
	return Column{Name: name, Doc: doc, Type: Float64, Float: func(i int) (float64, bool) { return at(i), true }}
}

// Texts makes a column of text, few of which differ; "" is null.
func Texts(name, doc string, at func(int) string) Column {
	return Column{Name: name, Doc: doc, Type: Text, Few: true, Text: func(i int) (string, bool) {
		s := at(i)
		return s, s != ""
	}}
}

// Interned makes a column of texts that are known by keys below keys; "" is null.
func Interned(name, doc string, keys int, key func(i int) uint32, text func(key uint32) string) Column {
	c := Texts(name, doc, func(i int) string { return text(key(i)) })
	c.Key, c.Keys = key, keys
	return c
}

// Args makes a column of the arguments of t that at returns, JSON.
func Args(doc string, t *trace.Trace, at func(i int) trace.ArgsRef) Column {
	return Column{
		Name: "args", Doc: doc, Type: Text,
		Text: func(i int) (string, bool) {
			raw := t.Args(at(i))
			return string(raw), len(raw) > 0
		},
		Append: func(dst []byte, i int) []byte { return t.AppendArgs(dst, at(i)) },
	}
}

// Known makes a column of numbers of which the negative ones stand for unknown.
func Known(name, doc string, at func(int) int64) Column {
	return Column{Name: name, Doc: doc, Type: Int64, Int: func(i int) (int64, bool) {
		v := at(i)
		return v, v >= 0
	}}
}
