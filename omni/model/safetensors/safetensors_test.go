package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func write(t testing.TB, meta map[string]string, ts ...Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, meta, ts); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func raw(header, data string) []byte {
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...)
}

func TestRoundTrip(t *testing.T) {
	b := write(t, map[string]string{"format": "pt"},
		Tensor{"b", "F32", []int{2, 3}, []float32{1, -2.5, 3, float32(math.Inf(1)), 0, 1e-40}},
		Tensor{"a", "BF16", []int{3}, []float32{1, 1.00390625, -3.140625}},
		Tensor{"s", "F32", nil, []float32{7}},
		Tensor{"e", "F32", []int{0, 4}, nil},
		Tensor{"h", "F16", []int{4}, []float32{1, 65504, 5.9604645e-8, -0.33325195}})
	f, err := Open(bytes.NewReader(b), int64(len(b)), "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		shape []int
		want  []float32
	}{
		{"b", []int{2, 3}, []float32{1, -2.5, 3, float32(math.Inf(1)), 0, 1e-40}},
		{"a", []int{3}, []float32{1, 1, -3.140625}}, // 1.0039 is a tie: to even
		{"s", nil, []float32{7}},
		{"e", []int{0, 4}, []float32{}},
		{"h", []int{4}, []float32{1, 65504, 5.9604645e-8, -0.33325195}},
	} {
		got, err := f.Floats(c.name, c.shape...)
		if err != nil || !cmp.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
		}
	}
	if f.Metadata()["format"] != "pt" || len(f.List()) != 5 || f.List()[0].Name != "a" {
		t.Errorf("metadata %v, list %v", f.Metadata(), f.List())
	}
}

// Every binary16 survives float32 and back; every float32 rounds to the nearest one.
func TestHalf(t *testing.T) {
	for h := range 1 << 16 {
		v := half(uint16(h))
		if v != v {
			if back := half(toHalf(v)); back == back {
				t.Fatalf("%04x: NaN is lost", h)
			}
			continue
		}
		if back := toHalf(v); back != uint16(h) {
			t.Fatalf("%04x is %v, back %04x", h, v, back)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float32Range(-65504, 65504).Draw(t, "v")
		h := toHalf(v)
		err := math.Abs(float64(half(h)) - float64(v))
		for _, near := range []uint16{h - 1, h + 1} {
			if n := half(near); n == n && !math.IsInf(float64(n), 0) && math.Abs(float64(n)-float64(v)) < err {
				t.Fatalf("%v became %v, %v is nearer", v, half(h), n)
			}
		}
	})
}

func TestRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "header length"},
		{"huge header", append(bytes.Repeat([]byte{0xff}, 8), '{'), "header of"},
		{"header past end", raw("{}", "")[:9], "header of 2 bytes"},
		{"json", raw("{", ""), "header"},
		{"dtype", raw(`{"x":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}`, "1234"), `unknown dtype "F31"`},
		{"size", raw(`{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, "1234"), "want 8 bytes"},
		{"overflow", raw(`{"x":{"dtype":"F32","shape":[2147483647,2147483647,2147483647],"data_offsets":[0,4]}}`,
			"1234"), "out of range"},
		{"negative", raw(`{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, "1234"), "out of range"},
		{"offsets", raw(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}`, "1234"), "want 4 bytes"},
		{"no offsets", raw(`{"x":{"dtype":"F32","shape":[1]}}`, "1234"), "data_offsets"},
		{"hole", raw(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, "12345678"), "begins at 4"},
		{"overlap",
			raw(`{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"y":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, "12345678"), "begins at 4"},
		{"truncated", raw(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, "12"), "of 2 bytes"},
		{"more", raw(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, "12345"), "of 5 bytes"},
	} {
		_, err := Open(bytes.NewReader(c.file), int64(len(c.file)), "model.safetensors")
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), c.want) ||
			!strings.Contains(err.Error(), "model.safetensors") {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestFloatsNamesWhatIsWrong(t *testing.T) {
	b := raw(`{"i":{"dtype":"I32","shape":[1],"data_offsets":[0,4]},"f":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]}}`, "123412345678")
	f, err := Open(bytes.NewReader(b), int64(len(b)), "m")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		shape []int
		want  string
	}{{"x", []int{3}, `m: tensor "x" is missing, want shape [3]`},
		{"f", []int{2}, `tensor "f" has shape [1 2], want [2]`}, {"i", []int{1}, `dtype I32`}} {
		if _, err := f.Floats(c.name, c.shape...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

func TestDir(t *testing.T) {
	one := write(t, nil, Tensor{"a", "F32", []int{1}, []float32{1}})
	two := write(t, nil, Tensor{"b", "F32", []int{1}, []float32{2}})
	index := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for _, c := range []struct {
		name string
		fs   fstest.MapFS
		want string
	}{
		{"glob", fstest.MapFS{"x.safetensors": {Data: one}, "y.safetensors": {Data: two}}, ""},
		{"index", fstest.MapFS{"x": {Data: one}, "y": {Data: two},
			IndexFile: index(`{"weight_map":{"a":"x","b":"y"}}`)}, ""},
		{"none", fstest.MapFS{}, "no *.safetensors"},
		{"twice", fstest.MapFS{"x.safetensors": {Data: one}, "y.safetensors": {Data: one}},
			`y.safetensors: tensor "a" is in x.safetensors too`},
		{"wrong file", fstest.MapFS{"x": {Data: one}, "y": {Data: two},
			IndexFile: index(`{"weight_map":{"a":"x","b":"x","c":"y"}}`)}, "is not in"},
		{"no file", fstest.MapFS{IndexFile: index(`{"weight_map":{"a":"x"}}`)}, "open x"},
		{"escape", fstest.MapFS{IndexFile: index(`{"weight_map":{"a":"../x"}}`)}, `"../x" is not beside it`},
		{"empty", fstest.MapFS{IndexFile: index(`{}`)}, "no weight_map"},
		{"json", fstest.MapFS{IndexFile: index(`[`)}, IndexFile},
	} {
		d, err := OpenDir(c.fs)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for i, n := range []string{"a", "b"} {
			if x, err := d.Floats(n, 1); err != nil || x[0] != float32(i+1) || !d.Has(n) {
				t.Errorf("%s: %s = %v, %v", c.name, n, x, err)
			}
		}
		if _, err := d.Floats("z", 1); err == nil || !strings.Contains(err.Error(), `"z" is missing`) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, ts := range [][]Tensor{
		{{"a", "I32", []int{1}, []float32{1}}},
		{{"a", "F32", []int{2}, []float32{1}}},
		{{"a", "F32", []int{-1, -1}, []float32{1}}},
		{{"a", "F32", []int{1}, []float32{1}}, {"a", "F32", []int{1}, []float32{1}}},
		{{"__metadata__", "F32", []int{1}, []float32{1}}},
	} {
		if err := Write(&bytes.Buffer{}, nil, ts); err == nil {
			t.Errorf("%v written", ts)
		}
	}
}

// What can be read can be written and read again.
func FuzzOpen(f *testing.F) {
	f.Add(write(f, map[string]string{"k": "v"}, Tensor{"a", "F32", []int{2}, []float32{1, 2}},
		Tensor{"b", "BF16", []int{1, 1}, []float32{3}}))
	f.Add(raw(`{"x":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"z":{"dtype":"F32","shape":[0],"data_offsets":[2,2]}}`, "12"))
	f.Add(raw(`{"x":{"dtype":"BOOL","shape":[],"data_offsets":[0,1]}}`, "1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Open(bytes.NewReader(b), int64(len(b)), "fuzz")
		if err != nil {
			return
		}
		var ts []Tensor
		for _, i := range file.List() {
			x, err := file.Floats(i.Name, i.Shape...)
			if err != nil {
				if _, known := converters[i.DType]; known {
					t.Fatal(err)
				}
				continue
			}
			ts = append(ts, Tensor{i.Name, "F32", i.Shape, x})
		}
		again := write(t, file.Metadata(), ts...)
		back, err := Open(bytes.NewReader(again), int64(len(again)), "again")
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range ts {
			y, err := back.Floats(x.Name, x.Shape...)
			if err != nil || fmt.Sprint(x.Data) != fmt.Sprint(y) {
				t.Fatalf("%s: %v, %v", x.Name, y, err)
			}
		}
	})
}
