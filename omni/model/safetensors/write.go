package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
)

// Tensor is one tensor to write.
type Tensor struct {
	Name  string
	DType string // "F32", "BF16" or "F16"; BF16 and F16 round to nearest even
	Shape []int
	Data  []float32
}

// Write writes a file. Tensors are laid out in the order given; the header is padded
// with spaces so that the data begins at a multiple of 8.
func Write(w io.Writer, meta map[string]string, tensors []Tensor) error {
	header := map[string]any{}
	if len(meta) > 0 {
		header["__metadata__"] = meta
	}
	var at int64
	for _, t := range tensors {
		info := Info{Shape: t.Shape}
		size, ok := encoders[t.DType]
		if !ok || info.Elements() != len(t.Data) || slices.ContainsFunc(t.Shape, func(d int) bool { return d < 0 }) {
			return fmt.Errorf("write tensor %q: %d elements of dtype %q for shape %v", t.Name, len(t.Data), t.DType,
				t.Shape)
		}
		if _, dup := header[t.Name]; dup || t.Name == "__metadata__" {
			return fmt.Errorf("write tensor %q: name is taken", t.Name)
		}
		end := at + int64(len(t.Data)*size.bytes)
		shape := t.Shape
		if shape == nil {
			shape = []int{}
		}
		header[t.Name] = map[string]any{"dtype": t.DType, "shape": shape, "data_offsets": [2]int64{at, end}}
		at = end
	}
	raw, err := json.Marshal(header)
	if err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	raw = append(raw, bytes.Repeat([]byte{' '}, (8-len(raw)%8)%8)...)
	if _, err := w.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(raw))), raw...)); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	for _, t := range tensors {
		e := encoders[t.DType]
		b := make([]byte, 0, len(t.Data)*e.bytes)
		for _, v := range t.Data {
			b = e.put(b, v)
		}
		if _, err := w.Write(b); err != nil {
			return fmt.Errorf("write tensor %q: %w", t.Name, err)
		}
	}
	return nil
}

type encoder struct {
	bytes int
	put   func(b []byte, v float32) []byte
}

var encoders = map[string]encoder{
	"F32": {4, func(b []byte, v float32) []byte { return binary.LittleEndian.AppendUint32(b, math.Float32bits(v)) }},
	"BF16": {2, func(b []byte, v float32) []byte {
		u := math.Float32bits(v)
		if v != v {
			return binary.LittleEndian.AppendUint16(b, uint16(u>>16)|0x40)
		}
		return binary.LittleEndian.AppendUint16(b, uint16((u+0x7fff+u>>16&1)>>16))
	}},
	"F16": {2, func(b []byte, v float32) []byte { return binary.LittleEndian.AppendUint16(b, toHalf(v)) }},
}

// toHalf rounds to the nearest binary16, ties to even.
func toHalf(v float32) uint16 {
	u := math.Float32bits(v)
	sign, mag := uint16(u>>16&0x8000), u&0x7fffffff
	switch {
	case mag > 0x7f800000:
		return sign | 0x7e00
	case mag >= 0x47800000: // 65536 and above
		return sign | 0x7c00
	case mag < 0x38800000: // subnormal: a multiple of 2^-24
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(mag))*(1<<24)))
	}
	return sign | uint16((mag-0x38000000+0xfff+mag>>13&1)>>13)
}
