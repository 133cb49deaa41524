package model

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/kinetoscope/kinetoscope/omni/model/kernel"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// Limits of diffusion requests.
const (
	MaxDenoiseSteps = 1000 // the schedules' training steps
	MaxImages       = 64   // in one denoise step, guidance's second half not counted
	MaxStates       = 1024 // images between Init and Free
)

// ErrImageSpec is wrapped by errors about an ImageSpec.
var ErrImageSpec = errors.New("invalid image request")

// ImageSpec says what one image is to be.
type ImageSpec struct {
	Width, Height int     // pixels; multiples of DiT.SizeMultiple
	Steps         int     // denoise steps
	Guidance      float32 // > 1: classifier-free guidance with Negative
	Seed          uint64  // of the first noise
	Prompt        Cond
	Negative      Cond // what guidance leads away from; used if Guidance > 1
}

// Latent is a latent image, channels first.
type Latent struct {
	Channels int       `json:"channels"`
	Height   int       `json:"height"`
	Width    int       `json:"width"`
	Data     []float32 `json:"data"`
}

// ImageState is an image between denoise steps. Ranks hold equal copies.
type ImageState struct {
	owner    *DiT
	spec     ImageSpec
	latent   Latent
	step     int
	moves    []move
	captions [][]float32 // projected prompts: with guidance the negative one first
	pos      []float32   // position embeddings, a row a patch
	mem      []span
}

// Step is the number of denoise steps made.
func (s *ImageState) Step() int { return s.step }

// Steps is the number of denoise steps that the image takes.
func (s *ImageState) Steps() int { return s.spec.Steps }

// Done says that every step was made.
func (s *ImageState) Done() bool { return s.step >= s.spec.Steps }

// Latent is the image as it is now. It shares memory with the state.
func (s *ImageState) Latent() Latent { return s.latent }

// DiT is a diffusion transformer with its schedule: PixArt-α's (Chen et al. 2023), with
// one time embedding for all blocks (adaLN-single) and cross attention to the prompt.
// Weights are named as in diffusers' PixArtTransformer2DModel.
type DiT struct {
	*model
	cfg    DiTConfig
	sched  SchedulerConfig
	dim    int // hidden size
	images map[*ImageState]bool

	patch, time1, time2, adaln, cap1, cap2, out linear
	table                                       []float32 // 2 rows
	blocks                                      []ditBlock

	px, x, h, qkv, ctx, kv, up, mod, emb, six, caps, y scratch
	att                                                attention
}

type ditBlock struct {
	table         []float32 // 6 rows: shift, scale, gate of attention, of the MLP
	qkv, q, kv    linear
	out, crossOut rowLinear
	fc1           linear
	fc2           rowLinear
}

// timeDim is the width of the sinusoidal time embedding, as in diffusers.
const timeDim = 256

// OpenDiT builds the transformer that o names, this rank's part of it. The schedule is
// scheduler_config.json beside config.json, flow matching without one.
func OpenDiT(ctx context.Context, t *profiler.Track, o Options) (_ *DiT, err error) {
	d := &DiT{images: map[*ImageState]bool{}}
	if d.model, err = open(ctx, t, o, &d.cfg); err != nil {
		return nil, err
	}
	defer d.opened(&err, d.Close)
	fsys, err := modelFS(o.Model)
	if err != nil {
		return nil, err
	}
	if d.sched, err = readScheduler(fsys, o.Model); err != nil {
		return nil, err
	}
	d.dim = d.cfg.NumAttentionHeads * d.cfg.AttentionHeadDim
	return d, d.loadWeights(ctx)
}

func (d *DiT) loadWeights(ctx context.Context) (err error) {
	c, n := &d.cfg, d.dim
	w, err := d.src.tensor("pos_embed.proj.weight", n, c.InChannels, c.PatchSize, c.PatchSize)
	if err != nil {
		return err
	}
	b, err := d.load("pos_embed.proj.bias", n)
	if err != nil {
		return err
	}
	k := c.InChannels * c.PatchSize * c.PatchSize
	d.patch = linear{w: kernel.PackTransposed(w, k, n, k), bias: b}
	d.own(d.t, poolWeights, d.patch.w.Data)
	for _, l := range []struct {
		to      *linear
		name    string
		in, out int
	}{
		{&d.time1, "adaln_single.emb.timestep_embedder.linear_1", timeDim, n},
		{&d.time2, "adaln_single.emb.timestep_embedder.linear_2", n, n},
		{&d.adaln, "adaln_single.linear", n, 6 * n},
		{&d.cap1, "caption_projection.linear_1", c.CaptionChannels, n},
		{&d.cap2, "caption_projection.linear_2", n, n},
		{&d.out, "proj_out", n, c.PatchSize * c.PatchSize * c.OutChannels},
	} {
		if *l.to, err = d.loadLinear(l.in, true, whole(l.name, l.out)); err != nil {
			return err
		}
	}
	if d.table, err = d.load("scale_shift_table", 2, n); err != nil {
		return err
	}
	d.blocks = make([]ditBlock, c.NumLayers)
	for i := range d.blocks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.loadBlock(&d.blocks[i], fmt.Sprintf("transformer_blocks.%d.", i)); err != nil {
			return err
		}
	}
	return nil
}

func (d *DiT) loadBlock(b *ditBlock, p string) (err error) {
	n := d.dim
	if b.table, err = d.load(p+"scale_shift_table", 6, n); err != nil {
		return err
	}
	if b.qkv, err = d.loadLinear(n, true, d.share(p+"attn1.to_q", n), d.share(p+"attn1.to_k", n),
		d.share(p+"attn1.to_v", n)); err != nil {
		return err
	}
	if b.out, err = d.loadRow(p+"attn1.to_out.0", n, n, true); err != nil {
		return err
	}
	if b.q, err = d.loadLinear(n, true, d.share(p+"attn2.to_q", n)); err != nil {
		return err
	}
	if b.kv, err = d.loadLinear(n, true, d.share(p+"attn2.to_k", n), d.share(p+"attn2.to_v", n)); err != nil {
		return err
	}
	if b.crossOut, err = d.loadRow(p+"attn2.to_out.0", n, n, true); err != nil {
		return err
	}
	if b.fc1, err = d.loadLinear(n, true, d.share(p+"ff.net.0.proj", 4*n)); err != nil {
		return err
	}
	b.fc2, err = d.loadRow(p+"ff.net.2", 4*n, n, true)
	return err
}

// Config is the architecture. Not to be modified.
func (d *DiT) Config() *DiTConfig { return &d.cfg }

// SizeMultiple is what width and height of an image must be multiples of, in pixels.
func (d *DiT) SizeMultiple() int { return d.cfg.sizeMultiple() }

// MaxSize is the largest width or height in pixels.
func (d *DiT) MaxSize() int { return d.cfg.maxSize() }

// Check says what is wrong with a spec, but for its Cond. It wraps ErrImageSpec.
func (d *DiT) Check(s ImageSpec) error {
	m, limit := d.SizeMultiple(), d.MaxSize()
	for _, side := range []struct {
		name string
		v    int
	}{{"width", s.Width}, {"height", s.Height}} {
		if side.v <= 0 || side.v > limit || side.v%m != 0 {
			return fmt.Errorf("%s: %w: %s %d: want a multiple of %d up to %d", d.name, ErrImageSpec, side.name, side.v,
				m, limit)
		}
	}
	if s.Steps < 1 || s.Steps > d.sched.NumTrainTimesteps {
		return fmt.Errorf("%s: %w: %d denoise steps: want 1 to %d", d.name, ErrImageSpec, s.Steps,
			d.sched.NumTrainTimesteps)
	}
	if g := float64(s.Guidance); math.IsNaN(g) || math.IsInf(g, 0) || g < 0 {
		return fmt.Errorf("%s: %w: guidance %v: want a number, 0 or more", d.name, ErrImageSpec, s.Guidance)
	}
	return nil
}

func (d *DiT) checkCond(name string, c Cond) error {
	if c.Tokens < 1 || c.Tokens > maxPositions || c.Dim != d.cfg.CaptionChannels || len(c.Hidden) != c.Tokens*c.Dim {
		return fmt.Errorf("%s: %w: %s of %d tokens of %d in %d elements: want at least 1 of caption_channels %d",
			d.name, ErrImageSpec, name, c.Tokens, c.Dim, len(c.Hidden), d.cfg.CaptionChannels)
	}
	return nil
}

// Init draws the first noise of an image from its seed, projects its prompts and
// allocates its state, which Free gives back.
func (d *DiT) Init(t *profiler.Track, s ImageSpec) (*ImageState, error) {
	if err := d.ready(context.Background()); err != nil {
		return nil, err
	}
	if err := d.Check(s); err != nil {
		return nil, err
	}
	if err := d.checkCond("prompt", s.Prompt); err != nil {
		return nil, err
	}
	conds := []Cond{s.Prompt}
	if s.Guidance > 1 {
		if err := d.checkCond("negative prompt", s.Negative); err != nil {
			return nil, err
		}
		conds = []Cond{s.Negative, s.Prompt}
	}
	if len(d.images) >= MaxStates {
		return nil, fmt.Errorf("%s: %d images are held, limit %d: free some", d.name, len(d.images), MaxStates)
	}
	moves, err := d.sched.schedule(s.Steps)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", d.name, ErrImageSpec, err)
	}
	f := d.cfg.VAEScaleFactor
	st := &ImageState{owner: d, spec: s, moves: moves}
	st.spec.Prompt, st.spec.Negative = Cond{}, Cond{}
	st.latent = Latent{d.cfg.InChannels, s.Height / f, s.Width / f,
		make([]float32, d.cfg.InChannels*s.Height/f*(s.Width/f))}
	sp := rowsOp(t, opRandn, d.cfg.InChannels, len(st.latent.Data)/d.cfg.InChannels)
	gaussian(st.latent.Data, s.Seed)
	sp.End()
	d.hold(t, st, st.latent.Data)
	for _, c := range conds {
		st.captions = append(st.captions, d.project(t, st, c))
	}
	st.pos = d.hold(t, st, positions2D(st.latent.Height/d.cfg.PatchSize, st.latent.Width/d.cfg.PatchSize, d.dim))
	d.images[st] = true
	return st, nil
}

// hold reports memory of a state.
func (d *DiT) hold(t *profiler.Track, s *ImageState, x []float32) []float32 {
	m := spanOf(poolLatents, x)
	s.mem = append(s.mem, m)
	d.bytes += m.bytes
	t.Alloc(m.pool, m.addr, m.bytes)
	return x
}

// project makes the keys' and values' input from an encoded prompt.
func (d *DiT) project(t *profiler.Track, s *ImageState, c Cond) []float32 {
	mid := d.floats(t, &d.caps, c.Tokens*d.dim)
	d.cap1.apply(t, mid, c.Hidden, c.Tokens)
	activate(t, opGELU, kernel.GELU, mid, d.dim)
	out := d.hold(t, s, make([]float32, c.Tokens*d.dim))
	d.cap2.apply(t, out, mid, c.Tokens)
	return out
}

// Free frees the memory of an image's state. Freeing it twice does nothing.
func (d *DiT) Free(t *profiler.Track, s *ImageState) {
	if !d.images[s] {
		return
	}
	delete(d.images, s)
	for _, m := range s.mem {
		t.Free(m.pool, m.addr, m.bytes)
		d.bytes -= m.bytes
	}
	s.captions, s.pos, s.mem = nil, nil, nil
}

// Images is the number of states that are allocated.
func (d *DiT) Images() int { return len(d.images) }

// MemoryBytes is what weights, states and workspace take on this rank.
func (d *DiT) MemoryBytes() int64 { return d.bytes }

// Close frees the transformer and every state. It may be called twice.
func (d *DiT) Close(t *profiler.Track) error {
	if d.closed {
		return nil
	}
	for s := range d.images {
		d.Free(t, s)
	}
	d.close(t)
	*d = DiT{model: d.model, cfg: d.cfg, sched: d.sched}
	return nil
}

// gaussian fills x with standard normal numbers, a function of seed and index, by Box
// and Muller's transform.
func gaussian(x []float32, seed uint64) {
	for i := 0; i < len(x); i += 2 {
		u, v := uniform(seed, uint64(i)), uniform(seed, uint64(i+1))
		r := math.Sqrt(-2 * math.Log(1-u))
		x[i] = float32(r * math.Cos(2*math.Pi*v))
		if i+1 < len(x) {
			x[i+1] = float32(r * math.Sin(2*math.Pi*v))
		}
	}
}

// sinusoid writes sines and cosines of p at len(dst)/2 frequencies, from 1 to 1/10000.
func sinusoid(dst []float32, p float64) {
	n := len(dst) / 2
	for i := range n {
		a := p * math.Pow(10000, -float64(i)/float64(n))
		dst[i], dst[n+i] = float32(math.Sin(a)), float32(math.Cos(a))
	}
}

// positions2D are sinusoidal embeddings of a grid: the first half of a row for the
// column, the second for the row, as diffusers lays them out.
func positions2D(h, w, dim int) []float32 {
	x := make([]float32, h*w*dim)
	for y := range h {
		for c := range w {
			p := x[(y*w+c)*dim : (y*w+c+1)*dim]
			sinusoid(p[:dim/2], float64(c))
			sinusoid(p[dim/2:], float64(y))
		}
	}
	return x
}
