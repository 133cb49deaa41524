package model

import (
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"strings"

	"github.com/kinetoscope/kinetoscope/omni/model/safetensors"
)

// tensors is a source of a model's weights. Every rank gets the same tensor for the same name.
type tensors interface {
	// tensor returns a whole tensor, row-major, which must have the given shape.
	tensor(name string, shape ...int) ([]float32, error)
	has(name string) bool
	Close() error
}

// openTensors chooses the source that o.LoadFormat names. fsys is the model's directory,
// name what errors call it.
func openTensors(o Options, fsys fs.FS, name string) (tensors, error) {
	switch o.LoadFormat {
	case LoadDummy:
		return dummy{o.Seed}, nil
	case LoadAuto:
		files, err := fs.Glob(fsys, "*.safetensors")
		if err != nil || len(files) == 0 {
			return dummy{o.Seed}, err
		}
	case LoadSafetensors:
	default:
		return nil, fmt.Errorf("%s: load_format %q: want %q or %q", name, o.LoadFormat, LoadDummy, LoadSafetensors)
	}
	d, err := safetensors.OpenDir(fsys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return stored{d, name}, nil
}

type stored struct {
	*safetensors.Dir
	name string
}

func (s stored) has(name string) bool { return s.Has(name) }

func (s stored) tensor(name string, shape ...int) ([]float32, error) {
	x, err := s.Floats(name, shape...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return x, nil
}

// dummy makes weights up: uniform random numbers of variance 1/fan-in, so that signals neither fade
// nor grow from layer to layer; ones for the scales of norms, zeros for biases. An element is a
// function of seed, tensor name and index.
type dummy struct{ seed uint64 }

func (d dummy) has(string) bool { return true }
func (d dummy) Close() error    { return nil }

func (d dummy) tensor(name string, shape ...int) ([]float32, error) {
	n := 1
	for _, s := range shape {
		n *= s
	}
	x := make([]float32, n)
	switch {
	case len(shape) == 1 && strings.HasSuffix(name, ".bias"):
		return x, nil
	case len(shape) == 1:
		for i := range x {
			x[i] = 1
		}
		return x, nil
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	key := mix64(d.seed) ^ h.Sum64()
	scale := float32(math.Sqrt(3/float64(fanIn(name, shape)))) / (1 << 23)
	for i := range x {
		// 24 bits, centred: every value is exact in float32 before the scale.
		x[i] = float32(int32(mix64(key+uint64(i)*golden)>>40)-1<<23) * scale
	}
	return x, nil
}

// fanIn is the number of inputs that an element of the output sums.
func fanIn(name string, shape []int) int {
	switch {
	case strings.HasPrefix(name, "upsampler."): // transposed: [in][out][2*rate], two inputs a sample
		return 2 * shape[0]
	case strings.HasPrefix(name, "quantizer.embed."):
		return dummyCodebookFan
	}
	fan := 1
	for _, s := range shape[1:] {
		fan *= s
	}
	return fan
}

// dummyCodebookFan makes the dummy vocoder as loud as speech: an rms of about 0.1.
const dummyCodebookFan = 8

const golden = 0x9e3779b97f4a7c15

// mix64 is the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
func mix64(z uint64) uint64 {
	z += golden
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
