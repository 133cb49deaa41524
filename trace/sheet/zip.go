package sheet

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
)

// sortedZip writes the members of an archive by name. excelize writes streamed sheets
// in the random order of a map, which would give the same workbook other bytes each
// time. It holds the members until Close.
type sortedZip struct {
	w       io.Writer
	members map[string]*bytes.Buffer
}

// Create implements excelize.ZipWriter.
func (z *sortedZip) Create(name string) (io.Writer, error) {
	if z.members[name] != nil {
		return nil, fmt.Errorf("workbook has %s twice", name)
	}
	z.members[name] = new(bytes.Buffer)
	return z.members[name], nil
}

// AddFS implements excelize.ZipWriter, which does not use it to save workbooks.
func (z *sortedZip) AddFS(fs.FS) error {
	return fmt.Errorf("add a file system to a workbook: %w", errors.ErrUnsupported)
}

// Close implements excelize.ZipWriter.
func (z *sortedZip) Close() error {
	out := zip.NewWriter(z.w)
	for _, name := range slices.Sorted(maps.Keys(z.members)) {
		w, err := out.Create(name)
		if err != nil {
			return err
		}
		if _, err := z.members[name].WriteTo(w); err != nil {
			return err
		}
	}
	return out.Close()
}
