package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
)

// IndexFile names the table of a model in several files.
const IndexFile = "model.safetensors.index.json"

// maxIndex bounds the index: names of MaxTensors tensors.
const maxIndex = 256 << 20

// Dir is all safetensors files of a directory.
type Dir struct {
	files  []*File
	opened []fs.File
	where  map[string]*File
}

// OpenDir opens the files that IndexFile names or, without it, every *.safetensors of
// the directory. A tensor that two files hold is an error.
func OpenDir(fsys fs.FS) (*Dir, error) {
	d := &Dir{where: map[string]*File{}}
	names, index, err := fileNames(fsys)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if err := d.open(fsys, n); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	for tensor, file := range index {
		f := d.where[tensor]
		if f == nil || f.name != file {
			return nil, errors.Join(fmt.Errorf("%s: tensor %q is not in %s", IndexFile, tensor, file), d.Close())
		}
	}
	return d, nil
}

func fileNames(fsys fs.FS) (names []string, index map[string]string, err error) {
	f, err := fsys.Open(IndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		names, err = fs.Glob(fsys, "*.safetensors")
		if err == nil && len(names) == 0 {
			err = errors.New("no *.safetensors file")
		}
		return names, nil, err
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxIndex))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", IndexFile, err)
	}
	var e struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, nil, fmt.Errorf("%s: %w: %w", IndexFile, ErrFormat, err)
	}
	if len(e.WeightMap) == 0 {
		return nil, nil, fmt.Errorf("%s: %w: no weight_map", IndexFile, ErrFormat)
	}
	seen := map[string]bool{}
	for tensor, file := range e.WeightMap {
		if path.Base(file) != file || !fs.ValidPath(file) {
			return nil, nil, fmt.Errorf("%s: %w: tensor %q: file %q is not beside it", IndexFile, ErrFormat, tensor,
				file)
		}
		if !seen[file] {
			seen[file] = true
			names = append(names, file)
		}
	}
	slices.Sort(names)
	return names, e.WeightMap, nil
}

func (d *Dir) open(fsys fs.FS, name string) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	d.opened = append(d.opened, f)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	r, ok := f.(io.ReaderAt)
	if !ok {
		raw, err := io.ReadAll(f)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r, size = bytes.NewReader(raw), int64(len(raw))
	}
	file, err := Open(r, size, name)
	if err != nil {
		return err
	}
	for t := range file.tensors {
		if other := d.where[t]; other != nil {
			return fmt.Errorf("%s: tensor %q is in %s too", name, t, other.name)
		}
		d.where[t] = file
	}
	d.files = append(d.files, file)
	return nil
}

// Has reports whether a file holds the tensor.
func (d *Dir) Has(name string) bool { return d.where[name] != nil }

// Floats reads a tensor; see File.Floats.
func (d *Dir) Floats(name string, shape ...int) ([]float32, error) {
	f := d.where[name]
	if f == nil {
		return nil, fmt.Errorf("tensor %q is missing from %d safetensors files, want shape %v", name, len(d.files),
			shape)
	}
	return f.Floats(name, shape...)
}

// Close closes the files.
func (d *Dir) Close() error {
	var errs []error
	for _, f := range d.opened {
		errs = append(errs, f.Close())
	}
	d.opened = nil
	return errors.Join(errs...)
}
