package ascend

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
)

// maxTableRows bounds a table kept in memory; kernel_details.csv of a long capture
// has a few million.
const maxTableRows = 20_000_000

// Table is one of the CSV files of a directory, such as kernel_details.csv. Columns
// are found by the header's names, which differ between versions.
type Table struct {
	Header  []string
	Rows    [][]string
	Dropped int // rows that could not be read
	cols    map[string]int
}

// ReadTable reads a CSV file of ASCEND_PROFILER_OUTPUT.
func ReadTable(path string) (*Table, error) {
	f, err := plainfile.ByPath(path)
	if err != nil {
		return nil, fmt.Errorf("open table: %w", err)
	}
	defer f.Close()
	t, err := parseTable(f)
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", path, err)
	}
	return t, nil
}

// parseTable reads a table. A byte order mark, tabs around cells and text in GBK, of
// which only the ASCII part is kept, are all found in real files.
func parseTable(r io.Reader) (*Table, error) {
	buf := bufio.NewReader(r)
	if head, _ := buf.Peek(3); bytes.Equal(head, []byte("\xef\xbb\xbf")) {
		buf.Discard(3)
	}
	c := csv.NewReader(buf)
	c.LazyQuotes = true
	c.FieldsPerRecord = -1
	t := &Table{cols: make(map[string]int)}
	header, err := c.Read()
	if err == io.EOF {
		return nil, errors.New("expected a header, found an empty file")
	}
	if err != nil {
		return nil, err
	}
	for i, h := range header {
		h = cell(h)
		t.Header = append(t.Header, h)
		t.cols[fold(h)] = i
	}
	for {
		row, err := c.Read()
		if err == io.EOF {
			return t, nil
		}
		if pe := (*csv.ParseError)(nil); errors.As(err, &pe) {
			t.Dropped++
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(row) > len(header) || len(t.Rows) == maxTableRows {
			t.Dropped++
			continue
		}
		for i := range row {
			row[i] = cell(row[i])
		}
		t.Rows = append(t.Rows, row)
	}
}

// cell trims a cell and drops what is not UTF-8.
func cell(s string) string {
	s = strings.TrimSpace(s)
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return s
}

// fold makes names of columns comparable: "Start Time(us)" and "start_time (us)".
func fold(s string) string {
	return strings.NewReplacer(" ", "", "_", "", "\t", "").Replace(strings.ToLower(s))
}

// Text returns the cell of row i under the first of the columns that exists; "" if
// there is none, or for "N/A".
func (t *Table) Text(i int, columns ...string) string {
	for _, c := range columns {
		k, ok := t.cols[fold(c)]
		if ok && k < len(t.Rows[i]) {
			if v := t.Rows[i][k]; v != "N/A" {
				return v
			}
			return ""
		}
	}
	return ""
}

// Float returns the number in the cell that Text returns.
func (t *Table) Float(i int, columns ...string) (float64, bool) {
	v, err := strconv.ParseFloat(t.Text(i, columns...), 64)
	return v, err == nil
}
