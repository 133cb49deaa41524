// Package safetensors reads and writes the safetensors file format of Hugging Face
// (https://github.com/huggingface/safetensors, "Format"):
//
//	u64 little endian   length of the header
//	header              JSON: name -> {"dtype", "shape", "data_offsets": [begin, end]}
//	data                tensors, little endian, row-major; offsets count from here
//
// The header may hold "__metadata__", an object of strings. Tensors cover the data
// without holes or overlap; a reader checks that.
package safetensors

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// Limits on what a file can make a reader do.
const (
	// MaxHeader is the format's own limit of the header, 100 MB.
	MaxHeader = 100_000_000
	// MaxTensors bounds the table: the largest public models have some hundred thousand.
	MaxTensors = 1 << 20
	// MaxDims is far above any tensor's rank.
	MaxDims = 8
)

// ErrFormat is wrapped by every error about a file's content.
var ErrFormat = errors.New("invalid safetensors file")

// Info describes one tensor.
type Info struct {
	Name       string
	DType      string // "F32", "F16", "BF16" can be read as floats
	Shape      []int
	Begin, End int64 // of its data, from the beginning of the data section
}

// Elements is the number of elements.
func (i Info) Elements() int {
	n := 1
	for _, d := range i.Shape {
		n *= d
	}
	return n
}

// dtypeSizes are the bytes of an element.
var dtypeSizes = map[string]int64{
	"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1,
	"I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8,
}

// File is one open file. Its methods may be called from several goroutines if the
// reader allows it.
type File struct {
	r       io.ReaderAt
	name    string
	data    int64 // offset of the data section
	tensors map[string]Info
	meta    map[string]string
}

// Open reads the header of a file of size bytes. name is for errors.
func Open(r io.ReaderAt, size int64, name string) (*File, error) {
	f := &File{r: r, name: name}
	if err := f.readHeader(size); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, ErrFormat, err)
	}
	return f, nil
}

func (f *File) readHeader(size int64) error {
	var l [8]byte
	if _, err := f.r.ReadAt(l[:], 0); err != nil {
		return fmt.Errorf("header length: %w", noEOF(err))
	}
	n := binary.LittleEndian.Uint64(l[:])
	if n > MaxHeader || int64(n) > size-8 {
		return fmt.Errorf("header of %d bytes, file has %d, limit %d", n, size, MaxHeader)
	}
	raw := make([]byte, n)
	if _, err := f.r.ReadAt(raw, 8); err != nil {
		return fmt.Errorf("header: %w", noEOF(err))
	}
	f.data = 8 + int64(n)
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if len(entries) > MaxTensors {
		return fmt.Errorf("%d tensors, limit %d", len(entries), MaxTensors)
	}
	if m, ok := entries["__metadata__"]; ok {
		if err := json.Unmarshal(m, &f.meta); err != nil {
			return fmt.Errorf("__metadata__: %w", err)
		}
		delete(entries, "__metadata__")
	}
	f.tensors = make(map[string]Info, len(entries))
	for name, raw := range entries {
		info, err := parseInfo(name, raw)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		f.tensors[name] = info
	}
	return f.checkLayout(size - f.data)
}

func parseInfo(name string, raw []byte) (Info, error) {
	var e struct {
		DType   string  `json:"dtype"`
		Shape   []int64 `json:"shape"`
		Offsets []int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return Info{}, err
	}
	elem, ok := dtypeSizes[e.DType]
	if !ok {
		return Info{}, fmt.Errorf("unknown dtype %q", e.DType)
	}
	if len(e.Shape) > MaxDims || len(e.Offsets) != 2 {
		return Info{}, fmt.Errorf("shape of %d dimensions (limit %d), %d data_offsets (want 2)", len(e.Shape), MaxDims,
			len(e.Offsets))
	}
	info := Info{Name: name, DType: e.DType, Begin: e.Offsets[0], End: e.Offsets[1]}
	total := uint64(elem)
	for _, d := range e.Shape {
		hi, lo := bits.Mul64(total, uint64(d))
		if d < 0 || d > math.MaxInt32 || hi != 0 || lo > math.MaxInt64 {
			return Info{}, fmt.Errorf("shape %v is out of range", e.Shape)
		}
		total = lo
		info.Shape = append(info.Shape, int(d))
	}
	if info.Begin < 0 || info.End < info.Begin || uint64(info.End-info.Begin) != total {
		return Info{}, fmt.Errorf("data_offsets %v: want %d bytes for %s %v", e.Offsets, total, e.DType, e.Shape)
	}
	return info, nil
}

// checkLayout checks that the tensors cover the data section.
func (f *File) checkLayout(size int64) error {
	all := f.List()
	slices.SortFunc(all, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End))
	})
	var at int64
	for _, i := range all {
		if i.Begin != at {
			return fmt.Errorf("tensor %q begins at %d, the one before ends at %d", i.Name, i.Begin, at)
		}
		at = i.End
	}
	if at != size {
		return fmt.Errorf("tensors end at %d of %d bytes of data", at, size)
	}
	return nil
}

// List returns the tensors by name.
func (f *File) List() []Info {
	all := make([]Info, 0, len(f.tensors))
	for _, i := range f.tensors {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Info describes a tensor; ok is false if the file does not hold it.
func (f *File) Info(name string) (i Info, ok bool) { i, ok = f.tensors[name]; return }

// Metadata is the file's "__metadata__".
func (f *File) Metadata() map[string]string { return f.meta }

// Floats reads a whole tensor of type F32, F16 or BF16, which must have the given shape.
func (f *File) Floats(name string, shape ...int) ([]float32, error) {
	i, ok := f.tensors[name]
	if !ok {
		return nil, fmt.Errorf("%s: tensor %q is missing, want shape %v", f.name, name, shape)
	}
	if !slices.Equal(i.Shape, shape) {
		return nil, fmt.Errorf("%s: tensor %q has shape %v, want %v", f.name, name, i.Shape, shape)
	}
	conv, ok := converters[i.DType]
	if !ok {
		return nil, fmt.Errorf("%s: tensor %q has dtype %s, want F32, F16 or BF16", f.name, name, i.DType)
	}
	raw := make([]byte, i.End-i.Begin)
	if len(raw) == 0 { // there may be nothing to read from at its offset
		return []float32{}, nil
	}
	if _, err := f.r.ReadAt(raw, f.data+i.Begin); err != nil {
		return nil, fmt.Errorf("%s: tensor %q: %w", f.name, name, noEOF(err))
	}
	out := make([]float32, i.Elements())
	conv(out, raw)
	return out, nil
}

var converters = map[string]func(dst []float32, src []byte){
	"F32": func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	},
	"BF16": func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	},
	"F16": func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = half(binary.LittleEndian.Uint16(src[2*i:]))
		}
	},
}

// half converts an IEEE 754 binary16.
func half(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0:
		v := float32(frac) / (1 << 24)
		return math.Float32frombits(sign | math.Float32bits(v))
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
