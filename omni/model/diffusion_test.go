package model

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/omni/collective"
)

var (
	tinyText = map[string]any{"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2,
		"intermediate_size": 48, "vocab_size": 400, "max_position_embeddings": 20}
	tinyDiT = map[string]any{"sample_size": 16, "patch_size": 2, "num_layers": 2, "num_attention_heads": 4,
		"attention_head_dim": 12, "caption_channels": 32}
	tinyVAE = map[string]any{"block_out_channels": []int{8, 16}, "norm_num_groups": 4, "scaling_factor": 0.7,
		"shift_factor": 0.1}
)

func opts(model string, g collective.Group, overrides map[string]any) Options {
	return Options{Model: "builtin/" + model, LoadFormat: LoadDummy, Seed: 11, Group: g, Overrides: overrides}
}

func bitsOf(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, v := range x {
		b[i] = math.Float32bits(v)
	}
	return b
}

// draw makes images of the specs, all that are not done in one batch; the i-th joins at
// step delay*i.
func draw(d *DiT, specs []ImageSpec, delay int) ([]Latent, error) {
	states := make([]*ImageState, 0, len(specs))
	out := make([]Latent, len(specs))
	done := 0
	for round := 0; done < len(specs); round++ {
		for len(states) < len(specs) && round >= delay*len(states) {
			s, err := d.Init(nil, specs[len(states)])
			if err != nil {
				return nil, err
			}
			states = append(states, s)
		}
		var batch []*ImageState
		for _, s := range states {
			if !s.Done() {
				batch = append(batch, s)
			}
		}
		if err := d.Step(context.Background(), nil, batch); err != nil {
			return nil, err
		}
		for _, s := range batch {
			if s.Done() {
				done++
			}
		}
	}
	for i, s := range states {
		out[i] = s.Latent()
		d.Free(nil, s)
		d.Free(nil, s)
	}
	if d.Images() != 0 {
		return nil, fmt.Errorf("%d images after Free", d.Images())
	}
	return out, nil
}

func testSpecs(conds []Cond) []ImageSpec {
	return []ImageSpec{
		{Width: 64, Height: 64, Steps: 3, Guidance: 4, Seed: 1, Prompt: conds[0], Negative: conds[1]},
		{Width: 32, Height: 48, Steps: 5, Seed: 2, Prompt: conds[2]},
		{Width: 64, Height: 64, Steps: 3, Guidance: 4, Seed: 3, Prompt: conds[0], Negative: conds[1]},
	}
}

// The whole pipeline on 1, 2 and 4 ranks, batched and alone.
func TestDiffusionSameBits(t *testing.T) {
	ctx := context.Background()
	prompts := []string{"a quiet lake in the morning", "", strings.Repeat("long ", 50)}
	type result struct {
		Cond   [][]uint32
		Latent [][]uint32
		Pix    [][]byte
	}
	run := func(g collective.Group, batched bool, delay int) (r result, err error) {
		e, err := OpenTextEncoder(ctx, nil, opts("text_encoder", g, tinyText))
		if err != nil {
			return r, err
		}
		var conds []Cond
		if batched {
			conds, err = e.Encode(ctx, nil, prompts)
		} else {
			for _, p := range prompts {
				c, cerr := e.Encode(ctx, nil, []string{p})
				conds, err = append(conds, c...), errors.Join(err, cerr)
			}
		}
		if err != nil {
			return r, err
		}
		for _, c := range conds {
			r.Cond = append(r.Cond, bitsOf(c.Hidden))
		}
		d, err := OpenDiT(ctx, nil, opts("dit", g, tinyDiT))
		if err != nil {
			return r, err
		}
		var latents []Latent
		if batched {
			latents, err = draw(d, testSpecs(conds), delay)
		} else {
			for _, s := range testSpecs(conds) {
				l, derr := draw(d, []ImageSpec{s}, 0)
				latents, err = append(latents, l...), errors.Join(err, derr)
			}
		}
		if err != nil {
			return r, err
		}
		for _, l := range latents {
			r.Latent = append(r.Latent, bitsOf(l.Data))
		}
		v, err := OpenVAE(ctx, nil, opts("vae", g, tinyVAE))
		if err != nil {
			return r, err
		}
		imgs, err := v.Decode(ctx, nil, latents)
		if err != nil {
			return r, err
		}
		for _, i := range imgs {
			r.Pix = append(r.Pix, i.Pix)
		}
		err = errors.Join(e.Close(nil), d.Close(nil), v.Close(nil), d.Close(nil))
		if n := e.MemoryBytes() + d.MemoryBytes() + v.MemoryBytes(); n != 0 {
			err = errors.Join(err, fmt.Errorf("closed models hold %d bytes", n))
		}
		return r, err
	}
	want, err := run(collective.Solo(), false, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 2, 4} {
		for _, delay := range []int{0, 1} {
			for rank, got := range onRanks(t, size, func(g collective.Group) (result,
				error) {
				return run(g, true, delay)
			}) {
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("size %d, delay %d, rank %d: %.400s", size, delay, rank, d)
				}
			}
		}
	}
	if cmp.Equal(want.Latent[0], want.Latent[2]) {
		t.Error("seeds make no difference")
	}
}

func near(t *testing.T, what string, got []float32, want []float64, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	for i := range want {
		if !(math.Abs(float64(got[i])-want[i]) <= tol*(1+math.Abs(want[i]))) {
			t.Fatalf("%s: element %d: %v, want %v", what, i, got[i], want[i])
		}
	}
}

func flat(x mat) (y []float64) {
	for _, r := range x {
		y = append(y, r...)
	}
	return y
}

func TestTextEncoderNumerics(t *testing.T) {
	e, err := OpenTextEncoder(context.Background(), nil, opts("text_encoder", nil, tinyText))
	if err != nil {
		t.Fatal(err)
	}
	const prompt = "the sea and 北"
	out, err := e.Encode(context.Background(), nil, []string{prompt})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "hidden", out[0].Hidden, flat(naive{t, dummy{11}}.textEncoder(e.Config(), e.tokenize(prompt))), 1e-5)
}

func TestDiTNumerics(t *testing.T) {
	d, err := OpenDiT(context.Background(), nil, opts("dit", nil, tinyDiT))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	cond := func(n int) Cond {
		return Cond{n, 32, flat32(randomRows(r, n, 32))}
	}
	spec := ImageSpec{Width: 32, Height: 48, Steps: 4, Guidance: 3, Seed: 5, Prompt: cond(7), Negative: cond(18)}
	s, err := d.Init(nil, spec)
	if err != nil {
		t.Fatal(err)
	}
	ref := naive{t, dummy{11}}
	for step := range 2 {
		l := s.Latent()
		l.Data = append([]float32(nil), l.Data...)
		m := s.moves[step]
		c, u := ref.dit(d.Config(), l, spec.Prompt, m.time), ref.dit(d.Config(), l, spec.Negative, m.time)
		want := make([]float64, len(c))
		for i := range want {
			want[i] = m.keep*float64(l.Data[i]) + m.take*(u[i]+3*(c[i]-u[i]))
		}
		if err := d.Step(context.Background(), nil, []*ImageState{s}); err != nil {
			t.Fatal(err)
		}
		near(t, fmt.Sprint("latent after step ", step), s.Latent().Data, want, 3e-5)
	}
}

func flat32(x [][]float32) (y []float32) {
	for _, r := range x {
		y = append(y, r...)
	}
	return y
}

func TestVAENumerics(t *testing.T) {
	v, err := OpenVAE(context.Background(), nil, opts("vae", nil, tinyVAE))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(2, 2))
	l := Latent{4, 3, 5, flat32(randomRows(r, 1, 60))}
	imgs, err := v.Decode(context.Background(), nil, []Latent{l})
	if err != nil {
		t.Fatal(err)
	}
	want := naive{t, dummy{11}}.vae(v.Config(), l)
	if b := imgs[0].Bounds(); b != image.Rect(0, 0, 10, 6) || v.ScaleFactor() != 2 {
		t.Fatalf("bounds %v", b)
	}
	inside := 0
	for y := range 6 {
		for x := range 10 {
			for c := range 3 {
				got, w := float64(imgs[0].Pix[imgs[0].PixOffset(x, y)+c]), want[c][y][x]*127.5+127.5
				if w > 0 && w < 255 {
					inside++
				}
				if w = max(0, min(255, w)); math.Abs(got-w) > 0.51 {
					t.Fatalf("pixel %d,%d channel %d: %v, want %v", x, y, c, got, w)
				}
			}
		}
	}
	if inside < 90 {
		t.Errorf("only %d of 180 values are not clipped; the test sees little", inside)
	}
	raw, err := EncodePNG(imgs[0])
	if err != nil {
		t.Fatal(err)
	}
	back, err := png.Decode(bytes.NewReader(raw))
	if err != nil || back.Bounds() != imgs[0].Bounds() || color.NRGBAModel.Convert(back.At(3, 3)) != imgs[0].At(3, 3) {
		t.Errorf("png: %v", err)
	}
}

func TestDiffusionRefuses(t *testing.T) {
	ctx := context.Background()
	d, err := OpenDiT(ctx, nil, opts("dit", nil, tinyDiT))
	if err != nil {
		t.Fatal(err)
	}
	cond := Cond{1, 32, make([]float32, 32)}
	ok := ImageSpec{Width: 64, Height: 64, Steps: 1, Prompt: cond, Negative: cond}
	for _, c := range []struct {
		change func(s *ImageSpec)
		want   string
	}{
		{func(s *ImageSpec) { s.Width = 60 }, "width 60: want a multiple of 8 up to 64"},
		{func(s *ImageSpec) { s.Height = 72 }, "height 72"},
		{func(s *ImageSpec) { s.Height = -8 }, "height -8"},
		{func(s *ImageSpec) { s.Steps = 0 }, "0 denoise steps"},
		{func(s *ImageSpec) { s.Steps = 1001 }, "1001 denoise steps"},
		{func(s *ImageSpec) { s.Guidance = float32(math.NaN()) }, "guidance"},
		{func(s *ImageSpec) { s.Prompt = Cond{} }, "prompt of 0 tokens"},
		{func(s *ImageSpec) { s.Guidance, s.Negative.Dim = 2, 5 }, "negative prompt"},
	} {
		s := ok
		c.change(&s)
		if _, err := d.Init(nil, s); !errors.Is(err, ErrImageSpec) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if d.Images() != 0 {
		t.Errorf("%d images after errors", d.Images())
	}
	s, err := d.Init(nil, ok)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		batch []*ImageState
		want  string
	}{{nil, "0 images"}, {[]*ImageState{s, s}, "twice"}, {[]*ImageState{{}}, "not held"},
		{[]*ImageState{nil}, "not held"}} {
		if err := d.Step(ctx, nil, c.batch); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if err := d.Step(ctx, nil, []*ImageState{s}); err != nil {
		t.Fatal(err)
	}
	if err := d.Step(ctx, nil, []*ImageState{s}); err == nil || !strings.Contains(err.Error(), "all of its 1 steps") {
		t.Errorf("step too many: %v", err)
	}
	v, err := OpenVAE(ctx, nil, opts("vae", nil, tinyVAE))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []Latent{{}, {4, 2, 2, make([]float32, 15)}, {3, 2, 2, make([]float32, 12)},
		{4, 1 << 40, 1 << 40, nil}} {
		if _, err := v.Decode(ctx, nil, []Latent{l}); err == nil {
			t.Errorf("latent %d×%d×%d decoded", l.Channels, l.Height, l.Width)
		}
	}
}

func TestSchedules(t *testing.T) {
	fm := SchedulerConfig{Shift: 3}
	fm.defaults()
	moves, err := fm.schedule(4)
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for i, m := range moves {
		if m.keep != 1 || m.take >= 0 || i > 0 && m.time >= moves[i-1].time {
			t.Errorf("move %d: %+v", i, m)
		}
		sum += m.take
	}
	if math.Abs(sum+1) > 1e-12 || moves[0].time != 1000 {
		t.Errorf("from σ=1 to 0: sum %v, first time %v", sum, moves[0].time)
	}
	// A model that knows the noise leads DDIM to the image, whatever the number of steps.
	dd := SchedulerConfig{ClassName: ddim, BetaSchedule: "scaled_linear", BetaStart: 0.00085, BetaEnd: 0.012}
	dd.defaults()
	for _, n := range []int{1, 7, 50} {
		moves, err := dd.schedule(n)
		if err != nil {
			t.Fatal(err)
		}
		const x0, eps = 0.3, -1.7
		a := dd.alphas()[999]
		x := math.Sqrt(a)*x0 + math.Sqrt(1-a)*eps
		for _, m := range moves {
			x = m.keep*x + m.take*eps
		}
		if moves[0].time != 999 || math.Abs(x-x0) > 1e-9 {
			t.Errorf("ddim in %d steps from %v: %v, want %v", n, moves[0].time, x, x0)
		}
	}
}

func TestGaussian(t *testing.T) {
	x := make([]float32, 100_001)
	gaussian(x, 42)
	var s, q, k float64
	for _, v := range x {
		s += float64(v)
		q += float64(v) * float64(v)
		k += math.Pow(float64(v), 4)
	}
	n := float64(len(x))
	// Five standard errors: 1/√n, √2/√n, √96/√n.
	if math.Abs(s/n) > 5/math.Sqrt(n) || math.Abs(q/n-1) > 5*math.Sqrt(2/n) || math.Abs(k/n-3) > 5*math.Sqrt(96/n) {
		t.Errorf("mean %v, variance %v, fourth moment %v", s/n, q/n, k/n)
	}
}

func BenchmarkDiffusion(b *testing.B) {
	ctx := context.Background()
	e, err := OpenTextEncoder(ctx, nil, Options{Model: "builtin/text_encoder", LoadFormat: LoadDummy})
	if err != nil {
		b.Fatal(err)
	}
	conds, err := e.Encode(ctx, nil, []string{"a quiet lake in the morning", ""})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode2", func(b *testing.B) {
		report := cpuTime(b)
		for b.Loop() {
			_, _ = e.Encode(ctx, nil, []string{"a quiet lake in the morning", ""})
		}
		report()
	})
	d, err := OpenDiT(ctx, nil, Options{Model: "builtin/dit", LoadFormat: LoadDummy})
	if err != nil {
		b.Fatal(err)
	}
	spec := ImageSpec{Width: 256, Height: 256, Steps: 1000, Guidance: 4, Prompt: conds[0], Negative: conds[1]}
	for _, n := range []int{1, 2} {
		b.Run(fmt.Sprintf("denoise%d", n), func(b *testing.B) {
			var batch []*ImageState
			for range n {
				s, err := d.Init(nil, spec)
				if err != nil {
					b.Fatal(err)
				}
				batch = append(batch, s)
			}
			report := cpuTime(b)
			for b.Loop() {
				if err := d.Step(ctx, nil, batch); err != nil {
					b.Fatal(err)
				}
			}
			report()
		})
	}
	v, err := OpenVAE(ctx, nil, Options{Model: "builtin/vae", LoadFormat: LoadDummy})
	if err != nil {
		b.Fatal(err)
	}
	l := Latent{4, 64, 64, make([]float32, 4*64*64)}
	b.Run("vae", func(b *testing.B) {
		report := cpuTime(b)
		for b.Loop() {
			if _, err := v.Decode(ctx, nil, []Latent{l}); err != nil {
				b.Fatal(err)
			}
		}
		report()
	})
	b.Logf("bytes: text encoder %d, dit %d, vae %d", e.MemoryBytes(), d.MemoryBytes(), v.MemoryBytes())
}
