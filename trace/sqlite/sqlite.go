// Package sqlite scans the tables of a SQLite database file from beginning to end, which is
// all that a reader of profilers' exports needs. It runs no SQL, reads no index, and never
// writes. A general engine would cost the program six megabytes and a fresh build a third
// of its time.
//
// The file format is https://www.sqlite.org/fileformat2.html. Read are rowid tables of
// databases in UTF-8 whose changes are all in the file: one with a write-ahead log beside
// it lacks what the log holds, which the caller must check (see WALSuffix). Every length and
// page number in the file is checked; damage is an error that names the page, and what was
// read before it has been handed out.
package sqlite

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Magic begins every database.
const Magic = "SQLite format 3\x00"

// WALSuffix ends the name of the write-ahead log of a database. If there is such a file and
// it is not empty, the database is older than what its writer has written.
const WALSuffix = "-wal"

// RepairLog is the kind of repair that tells of changes which are in the log and not in the
// database yet.
const RepairLog = "write-ahead log beside the file is not read"

// Limits.
const (
	headerSize = 100
	// maxDepth bounds a table's tree; with 512-byte pages and 2^32 of them it is 20 at most.
	maxDepth = 32
	// maxPayload bounds a row's bytes. SQLite allows 2 GB; a name or a text of that size is
	// damage or an attack.
	maxPayload = 64 << 20
	// maxColumns is SQLite's own bound.
	maxColumns = 32767
)

// ErrCorrupt reports that a database is damaged.
var ErrCorrupt = errors.New("SQLite database is damaged")

// DB is an open database. It is safe for concurrent use if its reader is.
type DB struct {
	r        io.ReaderAt
	pages    uint32
	pageSize int
	usable   int // bytes of a page without the reserved ones
	tables   map[string]*table
}

// Open reads the header and the schema of the size bytes of r.
func Open(ctx context.Context, r io.ReaderAt, size int64) (*DB, error) {
	var head [headerSize]byte
	if n, err := r.ReadAt(head[:], 0); n < len(head) {
		if err == nil || errors.Is(err, io.EOF) {
			err = ErrCorrupt
		}
		return nil, fmt.Errorf("read header of SQLite database: %w", err)
	}
	if string(head[:len(Magic)]) != Magic {
		return nil, fmt.Errorf("%w: it does not begin as one", ErrCorrupt)
	}
	d := &DB{r: r, pageSize: int(binary.BigEndian.Uint16(head[16:])), tables: map[string]*table{}}
	if d.pageSize == 1 {
		d.pageSize = 65536
	}
	d.usable = d.pageSize - int(head[20])
	if d.pageSize < 512 || d.pageSize&(d.pageSize-1) != 0 || d.usable < 480 {
		return nil, fmt.Errorf("%w: pages of %d bytes", ErrCorrupt, d.pageSize)
	}
	if encoding := binary.BigEndian.Uint32(head[56:]); encoding > 1 {
		return nil, errors.New("SQLite database has texts in UTF-16, which is not read")
	}
	d.pages = uint32(min(size/int64(d.pageSize), math.MaxUint32))
	return d, d.schema(ctx)
}

// schema reads sqlite_schema, the table of tables, whose tree begins on page 1.
func (d *DB) schema(ctx context.Context) error {
	t := &table{name: "sqlite_schema", root: 1, columns: []string{"type", "name", "tbl_name", "rootpage", "sql"},
		rowid: -1}
	return d.scan(ctx, t, []int{0, 1, 3, 4}, func(v []Value) error {
		if v[0].Text() != "table" {
			return nil
		}
		name := v[1].Text()
		columns, rowid, ok := parseTable(v[3].Text())
		if root := v[2].Int; ok && root > 0 && root <= int64(d.pages) {
			d.tables[name] = &table{name: name, root: uint32(root), columns: columns, rowid: rowid}
		}
		return nil
	})
}

// Columns returns the names of a table's columns in their order; nil if there is no such
// table, or none that can be scanned.
func (d *DB) Columns(name string) []string {
	if t := d.tables[name]; t != nil {
		return t.columns
	}
	return nil
}

// Tables returns the names of the tables that can be scanned, in no order.
func (d *DB) Tables() []string {
	var names []string
	for n := range d.tables {
		names = append(names, n)
	}
	return names
}

// Scan calls row for every row of a table, with the values of the named columns; a column
// that the table does not have is null. Values are valid until row returns. A table that is
// not there has no rows. The error is ErrCorrupt, the context's, the reader's or row's.
func (d *DB) Scan(ctx context.Context, name string, columns []string, row func(v []Value) error) error {
	t := d.tables[name]
	if t == nil {
		return nil
	}
	wanted := make([]int, len(columns))
	for i, c := range columns {
		wanted[i] = -1
		for k, have := range t.columns {
			if have == c {
				wanted[i] = k
			}
		}
	}
	if err := d.scan(ctx, t, wanted, row); err != nil {
		return fmt.Errorf("table %s: %w", name, err)
	}
	return nil
}

// Kind is the type of a value.
type Kind uint8

// The kinds.
const (
	Null Kind = iota
	Int
	Float
	Bytes // a text or a blob
)

// Value is a value of a row.
type Value struct {
	Kind  Kind
	Int   int64
	Float float64
	Bytes []byte
}

// Text returns a text or blob, "" for other kinds.
func (v *Value) Text() string { return string(v.Bytes) }

// table is one table of the schema.
type table struct {
	name    string
	root    uint32
	columns []string
	rowid   int // the column that is another name of the rowid, -1 if none
}

// scanner walks a table's tree.
type scanner struct {
	d       *DB
	ctx     context.Context
	t       *table
	wanted  []int
	row     func(v []Value) error
	values  []Value
	types   []uint64
	payload []byte
	pages   [maxDepth][]byte // by depth
	visited uint32
	over    []byte // an overflow page
}

func (d *DB) scan(ctx context.Context, t *table, wanted []int, row func(v []Value) error) error {
	s := &scanner{d: d, ctx: ctx, t: t, wanted: wanted, row: row, values: make([]Value, len(wanted))}
	return s.page(t.root, 0)
}

// Types of pages of a table's tree.
const (
	interiorTable = 5
	leafTable     = 13
)

func (s *scanner) page(number uint32, depth int) error {
	if s.visited++; depth >= maxDepth || s.visited > s.d.pages {
		return fmt.Errorf("%w: page %d is in a circle", ErrCorrupt, number)
	}
	if err := s.ctx.Err(); err != nil {
		return err
	}
	p, err := s.d.read(number, &s.pages[depth])
	if err != nil {
		return err
	}
	head := p
	if number == 1 {
		head = p[headerSize:]
	}
	kind, cells := head[0], int(binary.BigEndian.Uint16(head[3:]))
	size := 8
	if kind == interiorTable {
		size = 12
	}
	if kind != interiorTable && kind != leafTable || size+2*cells > len(head) {
		return fmt.Errorf("%w: page %d is of no table", ErrCorrupt, number)
	}
	for i := range cells {
		at := int(binary.BigEndian.Uint16(head[size+2*i:]))
		if at >= s.d.usable {
			return fmt.Errorf("%w: page %d, cell %d", ErrCorrupt, number, i)
		}
		cell := p[at:s.d.usable]
		if kind == leafTable {
			err = s.cell(cell)
		} else if len(cell) < 4 {
			err = ErrCorrupt
		} else {
			err = s.page(binary.BigEndian.Uint32(cell), depth+1)
		}
		if err != nil {
			return fmt.Errorf("page %d: %w", number, err)
		}
	}
	if kind == interiorTable {
		return s.page(binary.BigEndian.Uint32(head[8:]), depth+1)
	}
	return nil
}

// read reads a page into buf.
func (d *DB) read(number uint32, buf *[]byte) ([]byte, error) {
	if number == 0 || number > d.pages {
		return nil, fmt.Errorf("%w: there is no page %d", ErrCorrupt, number)
	}
	if *buf == nil {
		*buf = make([]byte, d.pageSize)
	}
	if n, err := d.r.ReadAt(*buf, int64(number-1)*int64(d.pageSize)); n < d.pageSize {
		return nil, fmt.Errorf("read page %d: %w", number, err)
	}
	return *buf, nil
}

// varint reads SQLite's number: 7 bits a byte, the ninth byte whole. n is 0 if it is cut.
func varint(b []byte) (v uint64, n int) {
	for n < len(b) && n < 8 {
		v = v<<7 | uint64(b[n]&0x7F)
		if n++; b[n-1] < 0x80 {
			return v, n
		}
	}
	if n == 8 && len(b) > 8 {
		return v<<8 | uint64(b[8]), 9
	}
	return 0, 0
}

// cell reads a leaf's cell, one row.
func (s *scanner) cell(c []byte) error {
	size, n := varint(c)
	if n == 0 || size > maxPayload {
		return fmt.Errorf("%w: a row of %d bytes", ErrCorrupt, size)
	}
	c = c[n:]
	rowid, n := varint(c)
	if n == 0 {
		return ErrCorrupt
	}
	record, err := s.record(c[n:], int(size))
	if err != nil {
		return err
	}
	return s.decode(record, int64(rowid))
}

// record returns a row's bytes, put together from the pages that it lies on.
func (s *scanner) record(c []byte, size int) ([]byte, error) {
	u := s.d.usable
	local := size
	if most := u - 35; size > most {
		least := (u-12)*32/255 - 23
		if local = least + (size-least)%(u-4); local > most {
			local = least
		}
	}
	if local > len(c) {
		return nil, fmt.Errorf("%w: a row reaches out of its page", ErrCorrupt)
	}
	if local == size {
		return c[:size], nil
	}
	if len(c) < local+4 {
		return nil, fmt.Errorf("%w: a row without its continuation", ErrCorrupt)
	}
	s.payload = append(s.payload[:0], c[:local]...)
	for next := binary.BigEndian.Uint32(c[local:]); len(s.payload) < size; {
		p, err := s.d.read(next, &s.over)
		if err != nil {
			return nil, err
		}
		next = binary.BigEndian.Uint32(p)
		s.payload = append(s.payload, p[4:min(u, 4+size-len(s.payload))]...)
	}
	return s.payload, nil
}

// decode hands a record's wanted values to row.
func (s *scanner) decode(record []byte, rowid int64) error {
	size, n := varint(record)
	if n == 0 || size < uint64(n) || size > uint64(len(record)) {
		return fmt.Errorf("%w: a row's header", ErrCorrupt)
	}
	head, body := record[n:size], record[size:]
	s.types = s.types[:0]
	for len(head) > 0 {
		typ, n := varint(head)
		if n == 0 || len(s.types) >= maxColumns {
			return fmt.Errorf("%w: a row's header", ErrCorrupt)
		}
		s.types, head = append(s.types, typ), head[n:]
	}
	clear(s.values)
	for column, typ := range s.types {
		width := widthOf(typ)
		if width < 0 || width > len(body) {
			return fmt.Errorf("%w: a row is cut", ErrCorrupt)
		}
		for i, w := range s.wanted {
			if w == column {
				s.values[i] = valueOf(typ, body[:width])
			}
		}
		body = body[width:]
	}
	if s.t.rowid >= 0 {
		for i, w := range s.wanted {
			if w == s.t.rowid {
				s.values[i] = Value{Kind: Int, Int: rowid}
			}
		}
	}
	return s.row(s.values)
}

// widthOf returns the bytes of a value of a serial type, -1 if there is no such type.
func widthOf(typ uint64) int {
	switch {
	case typ <= 4:
		return int(typ)
	case typ == 5:
		return 6
	case typ == 6 || typ == 7:
		return 8
	case typ == 8 || typ == 9:
		return 0
	case typ >= 12 && typ < 2*maxPayload:
		return int(typ-12) / 2
	}
	return -1
}

func valueOf(typ uint64, b []byte) Value {
	switch {
	case typ == 0:
		return Value{}
	case typ <= 6:
		v := int64(int8(b[0]))
		for _, c := range b[1:] {
			v = v<<8 | int64(c)
		}
		return Value{Kind: Int, Int: v}
	case typ == 7:
		return Value{Kind: Float, Float: math.Float64frombits(binary.BigEndian.Uint64(b))}
	case typ <= 9:
		return Value{Kind: Int, Int: int64(typ - 8)}
	}
	return Value{Kind: Bytes, Bytes: b}
}

// Sniff reports whether head, the first bytes of a file, are those of a database.
func Sniff(head []byte) bool { return bytes.HasPrefix(head, []byte(Magic)) }
