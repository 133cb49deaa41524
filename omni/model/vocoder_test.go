package model

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/omni/collective"
)

var tinyVocoder = map[string]any{
	"codebook_size": 50, "num_codebooks": 2, "codebook_dim": 12, "upsample_initial_channel": 32,
	"upsample_rates": []int{3, 2}, "upsample_kernel_sizes": []int{6, 4},
	"resblock_kernel_sizes": []int{3, 5}, "resblock_dilation_sizes": [][]int{{1, 3}, {2}},
}

func openTinyVocoder(g collective.Group) (*Vocoder, error) {
	return OpenVocoder(context.Background(), nil, Options{Model: "builtin/code2wav", LoadFormat: LoadDummy, Seed: 3,
		Group: g, Overrides: tinyVocoder})
}

// vocode makes a stream of codes in chunks of the given frames, another stream beside it.
func vocode(v *Vocoder, codes []int32, chunks ...int) ([]uint32, error) {
	var bits []uint32
	n := v.Codebooks()
	for i, c := range chunks {
		batch := []VocodeChunk{{Stream: 1, Codes: codes[:c*n]}}
		if i%2 == 0 {
			batch = append([]VocodeChunk{{Stream: 2, Codes: codes[:n]}}, batch...)
		}
		codes = codes[c*n:]
		out, err := v.Decode(context.Background(), nil, batch)
		if err != nil {
			return nil, err
		}
		for _, x := range out[len(out)-1] {
			bits = append(bits, math.Float32bits(x))
		}
	}
	v.Free(nil, 1)
	v.Free(nil, 2)
	if v.Streams() != 0 {
		return nil, fmt.Errorf("%d streams after Free", v.Streams())
	}
	return bits, nil
}

func TestVocoderSameBits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	codes := tokens(r, 2*70, 50)
	var want []uint32
	for _, size := range []int{1, 2, 4} {
		for _, chunks := range [][]int{{70}, {1, 2, 3, 64}, {8, 8, 8, 46}} {
			out := onRanks(t, size, func(g collective.Group) ([]uint32, error) {
				v, err := openTinyVocoder(g)
				if err != nil {
					return nil, err
				}
				x, err := vocode(v, codes, chunks...)
				if err == nil {
					err = v.Close(nil)
				}
				if err == nil && v.MemoryBytes() != 0 {
					err = fmt.Errorf("closed vocoder holds %d bytes", v.MemoryBytes())
				}
				return x, err
			})
			if want == nil {
				want = out[0]
			}
			for rank := range out {
				if d := cmp.Diff(want, out[rank]); d != "" {
					t.Errorf("size %d, chunks %v, rank %d: %s", size, chunks, rank, d[:min(len(d), 300)])
				}
			}
		}
	}
	var energy float64
	for _, b := range want {
		x := float64(math.Float32frombits(b))
		if !(math.Abs(x) <= 1) {
			t.Fatalf("sample %v", x)
		}
		energy += x * x
	}
	if rms := math.Sqrt(energy / float64(len(want))); rms < 1e-3 || rms > 0.9 {
		t.Errorf("rms of dummy sound is %v", rms)
	}
}

// naiveVocoder is the definition in float64, with explicit zero padding.
func naiveVocoder(t *testing.T, c *VocoderConfig, src tensors, codes []int32) []float64 {
	get := func(name string, shape ...int) []float32 {
		x, err := src.tensor(name, shape...)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	conv := func(x [][]float64, name string, out, taps, dilation int) [][]float64 { // x[time][channel]
		in := len(x[0])
		w, b := get(name+".weight", out, in, taps), get(name+".bias", out)
		y := make([][]float64, len(x))
		for i := range y {
			y[i] = make([]float64, out)
			for o := range out {
				s := float64(b[o])
				for tap := range taps {
					if at := i - (taps-1-tap)*dilation; at >= 0 {
						for ch := range in {
							s += x[at][ch] * float64(w[(o*in+ch)*taps+tap])
						}
					}
				}
				y[i][o] = s
			}
		}
		return y
	}
	lrelu := func(x [][]float64) [][]float64 {
		y := make([][]float64, len(x))
		for i := range x {
			for _, v := range x[i] {
				y[i] = append(y[i], max(v, c.LeakyReLUSlope*v))
			}
		}
		return y
	}
	frames := len(codes) / c.NumCodebooks
	x := make([][]float64, frames)
	for i := range x {
		x[i] = make([]float64, c.CodebookDim)
		for b := range c.NumCodebooks {
			e := get(fmt.Sprintf("quantizer.embed.%d.weight", b), c.CodebookSize, c.CodebookDim)
			for d := range x[i] {
				x[i][d] += float64(e[int(codes[i*c.NumCodebooks+b])*c.CodebookDim+d])
			}
		}
	}
	ch := c.UpsampleInitialChannel
	x = conv(x, "conv_pre", ch, 7, 1)
	for i, r := range c.UpsampleRates {
		x = lrelu(x)
		w, b := get(fmt.Sprintf("upsampler.%d.weight", i), ch, ch/2, 2*r), get(fmt.Sprintf("upsampler.%d.bias", i),
			ch/2)
		y := make([][]float64, len(x)*r)
		for j := range y {
			y[j] = make([]float64, ch/2)
			for o := range y[j] {
				y[j][o] = float64(b[o])
			}
		}
		for in := range x { // scatter, as a transposed convolution is defined
			for tap := range 2 * r {
				if at := in*r + tap; at < len(y) {
					for a := range ch {
						for o := range ch / 2 {
							y[at][o] += x[in][a] * float64(w[(a*(ch/2)+o)*2*r+tap])
						}
					}
				}
			}
		}
		ch /= 2
		sum := make([][]float64, len(y))
		for j := range sum {
			sum[j] = make([]float64, ch)
		}
		for k, taps := range c.ResblockKernelSizes {
			cur := y
			for d, dil := range c.ResblockDilationSizes[k] {
				p := fmt.Sprintf("resblocks.%d.", i*len(c.ResblockKernelSizes)+k)
				z := conv(lrelu(cur), fmt.Sprintf("%sconvs1.%d", p, d), ch, taps, dil)
				z = conv(lrelu(z), fmt.Sprintf("%sconvs2.%d", p, d), ch, taps, 1)
				for a := range z {
					for o := range z[a] {
						z[a][o] += cur[a][o]
					}
				}
				cur = z
			}
			for a := range sum {
				for o := range sum[a] {
					sum[a][o] += cur[a][o] / float64(len(c.ResblockKernelSizes))
				}
			}
		}
		x = sum
	}
	y := conv(lrelu(x), "conv_post", 1, 7, 1)
	out := make([]float64, len(y))
	for i := range y {
		out[i] = math.Tanh(y[i][0])
	}
	return out
}

func TestVocoderNumerics(t *testing.T) {
	v, err := openTinyVocoder(nil)
	if err != nil {
		t.Fatal(err)
	}
	codes := tokens(rand.New(rand.NewPCG(2, 2)), 2*9, 50)
	want := naiveVocoder(t, v.Config(), dummy{3}, codes)
	out, err := v.Decode(context.Background(), nil, []VocodeChunk{{Stream: 5, Codes: codes}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out[0]) != len(want) || len(want) != 9*v.FrameSamples() {
		t.Fatalf("%d samples, want %d", len(out[0]), len(want))
	}
	for i := range want {
		if math.Abs(float64(out[0][i])-want[i]) > 1e-5 {
			t.Fatalf("sample %d: %v, want %v", i, out[0][i], want[i])
		}
	}
}

func TestVocoderRefuses(t *testing.T) {
	v, err := openTinyVocoder(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		chunks []VocodeChunk
		want   string
	}{
		{[]VocodeChunk{{Stream: 1}}, "0 codes"},
		{[]VocodeChunk{{Stream: 1, Codes: []int32{1}}}, "1 codes"},
		{[]VocodeChunk{{Stream: 1, Codes: []int32{1, 50}}}, "code 50"},
		{[]VocodeChunk{{Stream: 1, Codes: []int32{-1, 5}}}, "code -1"},
		{[]VocodeChunk{{Stream: 1, Codes: []int32{1, 1}}, {Stream: 1, Codes: []int32{1, 1}}}, "twice"},
		{[]VocodeChunk{{Stream: 1, Codes: make([]int32, 2*MaxChunkFrames+2)}}, "want 1 to 512"},
	} {
		if _, err := v.Decode(context.Background(), nil, c.chunks); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want %q", c.want, err, c.want)
		}
	}
	if v.Streams() != 0 {
		t.Errorf("%d streams after errors", v.Streams())
	}
}

func TestWAV(t *testing.T) {
	pcm := PCM16([]float32{0, 1, -1, 2, -2, float32(math.NaN()), 0.5})
	if d := cmp.Diff([]int16{0, 32767, -32767, 32767, -32767, 0, 16384}, pcm); d != "" {
		t.Error(d)
	}
	b := EncodeWAV(pcm, 24000)
	u32 := func(o int) uint32 { return binary.LittleEndian.Uint32(b[o:]) }
	if string(b[:4]) != "RIFF" || string(b[8:16]) != "WAVEfmt " || int(u32(4)) != len(b)-8 || u32(24) != 24000 ||
		u32(28) != 48000 || int(u32(40)) != 2*len(pcm) || len(b) != 44+2*len(pcm) {
		t.Errorf("header % x", b[:44])
	}
}

func BenchmarkVocoder(b *testing.B) {
	v, err := OpenVocoder(context.Background(), nil, Options{Model: "builtin/code2wav", LoadFormat: LoadDummy})
	if err != nil {
		b.Fatal(err)
	}
	codes := make([]int32, 8)
	b.Run("8frames", func(b *testing.B) {
		report := cpuTime(b)
		for b.Loop() {
			if _, err := v.Decode(context.Background(), nil, []VocodeChunk{{Stream: 1, Codes: codes}}); err != nil {
				b.Fatal(err)
			}
		}
		report()
	})
	b.Logf("%d bytes", v.MemoryBytes())
}
