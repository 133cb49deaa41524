package model

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"math"

	"github.com/kinetoscope/kinetoscope/omni/model/kernel"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// MaxLatentPixels bounds one latent image of a Decode, and with it the workspace.
const MaxLatentPixels = 1 << 18

// VAE is the decoder from latents to pixels: diffusers' AutoencoderKL without attention
// in the middle. Ranks split the inner channels of its residual blocks; other
// convolutions are made by every rank.
type VAE struct {
	*model
	cfg        VAEConfig
	post       *colConv // 1×1 before the decoder; nil: none
	in         colConv
	mid        [2]resnet
	ups        []upBlock
	normW      []float32
	normB      []float32
	out        colConv
	x, h, skip scratch
	pad, inner scratch
}

type upBlock struct {
	resnets []resnet
	up      *colConv // after doubling height and width; nil: none
}

type resnet struct {
	in, out                        int
	norm1W, norm1B, norm2W, norm2B []float32 // the second of this rank's channels
	conv1                          colConv
	conv2                          rowConv
	shortcut                       *colConv // 1×1; nil: none
}

// feature is an image of channels values a pixel, channels last.
type feature struct {
	data     []float32
	h, w, ch int
}

// OpenVAE builds the decoder that o names, this rank's part of it.
func OpenVAE(ctx context.Context, t *profiler.Track, o Options) (_ *VAE, err error) {
	v := &VAE{}
	if v.model, err = open(ctx, t, o, &v.cfg); err != nil {
		return nil, err
	}
	defer v.opened(&err, v.Close)
	return v, v.loadWeights(ctx)
}

func (v *VAE) loadWeights(ctx context.Context) (err error) {
	c := &v.cfg
	n := len(c.BlockOutChannels)
	ch := c.BlockOutChannels[n-1]
	if c.UsePostQuantConv == nil || *c.UsePostQuantConv {
		p, err := v.loadConv(whole("post_quant_conv", c.LatentChannels), c.LatentChannels, 1, 1)
		if err != nil {
			return err
		}
		v.post = &p
	}
	if v.in, err = v.loadConv(whole("decoder.conv_in", ch), c.LatentChannels, 3, 3); err != nil {
		return err
	}
	for i := range v.mid {
		if v.mid[i], err = v.loadResnet(fmt.Sprintf("decoder.mid_block.resnets.%d.", i), ch, ch); err != nil {
			return err
		}
	}
	for i := range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		out := c.BlockOutChannels[n-1-i]
		p := fmt.Sprintf("decoder.up_blocks.%d.", i)
		var b upBlock
		for j := range c.LayersPerBlock + 1 {
			r, err := v.loadResnet(fmt.Sprintf("%sresnets.%d.", p, j), ch, out)
			if err != nil {
				return err
			}
			b.resnets = append(b.resnets, r)
			ch = out
		}
		if i < n-1 {
			up, err := v.loadConv(whole(p+"upsamplers.0.conv", ch), ch, 3, 3)
			if err != nil {
				return err
			}
			b.up = &up
		}
		v.ups = append(v.ups, b)
	}
	if v.normW, v.normB, err = v.loadNorm("decoder.conv_norm_out", ch); err != nil {
		return err
	}
	v.out, err = v.loadConv(whole("decoder.conv_out", c.OutChannels), ch, 3, 3)
	return err
}

func (v *VAE) loadResnet(p string, in, out int) (r resnet, err error) {
	r.in, r.out = in, out
	if r.norm1W, r.norm1B, err = v.loadNorm(p+"norm1", in); err != nil {
		return r, err
	}
	if r.norm2W, r.norm2B, err = v.loadNorm(p+"norm2", out); err != nil {
		return r, err
	}
	mine := v.share(p+"conv1", out)
	r.norm2W, r.norm2B = r.norm2W[mine.from:mine.to], r.norm2B[mine.from:mine.to]
	if r.conv1, err = v.loadConv(mine, in, 3, 3); err != nil {
		return r, err
	}
	if r.conv2, err = v.loadRowConv(p+"conv2", out, out, 3, 3); err != nil {
		return r, err
	}
	if in != out {
		s, err := v.loadConv(whole(p+"conv_shortcut", out), in, 1, 1)
		if err != nil {
			return r, err
		}
		r.shortcut = &s
	}
	return r, nil
}

// Config is the architecture. Not to be modified.
func (v *VAE) Config() *VAEConfig { return &v.cfg }

// ScaleFactor is the number of pixels in height and width of a latent pixel.
func (v *VAE) ScaleFactor() int { return 1 << (len(v.cfg.BlockOutChannels) - 1) }

// Decode turns latents to images, one after the other. Images are the caller's to keep.
func (v *VAE) Decode(ctx context.Context, t *profiler.Track, latents []Latent) ([]*image.NRGBA, error) {
	if err := v.ready(ctx); err != nil {
		return nil, err
	}
	for i, l := range latents {
		if l.Channels != v.cfg.LatentChannels || l.Height < 1 || l.Width < 1 || l.Height > MaxLatentPixels ||
			l.Width > MaxLatentPixels/l.Height || len(l.Data) != l.Channels*l.Height*l.Width {
			return nil,
				fmt.Errorf("%s: latent %d: %d channels of %d×%d in %d elements: want %d channels, at most %d pixels",
					v.name, i, l.Channels, l.Height, l.Width, len(l.Data), v.cfg.LatentChannels, MaxLatentPixels)
		}
	}
	out := make([]*image.NRGBA, len(latents))
	for i, l := range latents {
		img, err := v.decode(ctx, t, l)
		if err != nil {
			return nil, err
		}
		out[i] = img
	}
	return out, nil
}

func (v *VAE) decode(ctx context.Context, t *profiler.Track, l Latent) (*image.NRGBA, error) {
	c := &v.cfg
	x := feature{v.floats(t, &v.x, len(l.Data)), l.Height, l.Width, l.Channels}
	scale, shift := float32(1/c.ScalingFactor), float32(c.ShiftFactor)
	for ch := range l.Channels {
		for i := range l.Height * l.Width {
			x.data[i*l.Channels+ch] = float32(l.Data[ch*l.Height*l.Width+i]*scale) + shift
		}
	}
	if v.post != nil {
		v.conv(t, &x, v.post, 1)
	}
	v.conv(t, &x, &v.in, 3)
	for i := range v.mid {
		if err := v.resnet(ctx, t, &x, &v.mid[i]); err != nil {
			return nil, err
		}
	}
	for i := range v.ups {
		b := &v.ups[i]
		for j := range b.resnets {
			if err := v.resnet(ctx, t, &x, &b.resnets[j]); err != nil {
				return nil, err
			}
		}
		if b.up != nil {
			v.double(t, &x)
			v.conv(t, &x, b.up, 3)
		}
	}
	v.groupNorm(t, x.data, x.data, x.ch, c.NormNumGroups, v.normW, v.normB)
	activate(t, opSiLU, kernel.SiLU, x.data, x.ch)
	v.conv(t, &x, &v.out, 3)
	return toImage(t, x), nil
}

// conv replaces x by its convolution.
func (v *VAE) conv(t *profiler.Track, x *feature, c *colConv, size int) {
	p := v.padImage(t, x.data, x.h, x.w, x.ch, size)
	x.data = v.floats(t, &v.x, x.h*x.w*c.w.N)
	c.conv2d(t, x.data, p, x.h, x.w, size)
	x.ch = c.w.N
}

// padImage returns x within a frame of size/2 zero pixels.
func (v *VAE) padImage(t *profiler.Track, x []float32, h, w, ch, size int) []float32 {
	b := size / 2
	line := (w + 2*b) * ch
	p := v.floats(t, &v.pad, (h+2*b)*line)
	clear(p[:b*line])
	clear(p[(h+b)*line:])
	for y := range h {
		row := p[(y+b)*line : (y+b+1)*line]
		clear(row[:b*ch])
		copy(row[b*ch:], x[y*w*ch:(y+1)*w*ch])
		clear(row[(w+b)*ch:])
	}
	return p
}

// tapSegs2D are the segments of a size×size convolution on a padded image of lines of w
// pixels and ch channels, beginning at channel from.
func tapSegs2D(size, w, ch, from int) []int {
	var segs []int
	for dy := range size {
		for dx := range size {
			segs = append(segs, (dy*(w+size-1)+dx)*ch+from)
		}
	}
	return segs
}

// conv2d convolves a padded image.
func (c *colConv) conv2d(t *profiler.Track, y, x []float32, h, w, size int) {
	sp := convSpan(t, opConv2D, h*w, c.in, c.w.N, size*size)
	segs := tapSegs2D(size, w, c.in, 0)
	for r := range h {
		kernel.GemmSegs(y[r*w*c.w.N:], c.w.N, w, x[r*(w+size-1)*c.in:], c.in, segs, c.in, c.w, false)
	}
	kernel.AddRows(y[:h*w*c.w.N], c.bias)
	sp.End()
}

// conv2d is colConv's, summed over shards and ranks.
func (c *rowConv) conv2d(ctx context.Context, t *profiler.Track, m *model, y, x []float32, h, w, size int) error {
	sp := convSpan(t, opConv2D, h*w, c.in, c.out, size*size)
	k := c.in / len(c.parts)
	y = y[:h*w*c.out]
	sumParts(m, t, y, len(c.parts), func(dst []float32, i int) {
		segs := tapSegs2D(size, w, c.in, i*k)
		for r := range h {
			kernel.GemmSegs(dst[r*w*c.out:], c.out, w, x[r*(w+size-1)*c.in:], c.in, segs, k, c.parts[i], false)
		}
	})
	sp.End()
	if err := m.reduce(ctx, t, y); err != nil {
		return err
	}
	kernel.AddRows(y, c.bias)
	return nil
}

// resnet replaces x by x + conv2(silu(norm2(conv1(silu(norm1(x)))))).
func (v *VAE) resnet(ctx context.Context, t *profiler.Track, x *feature, r *resnet) error {
	n := x.h * x.w
	h := v.floats(t, &v.h, n*max(r.in, r.out))
	skip := v.floats(t, &v.skip, n*r.in)
	copy(skip, x.data)
	v.groupNorm(t, h[:n*r.in], x.data, r.in, v.cfg.NormNumGroups, r.norm1W, r.norm1B)
	activate(t, opSiLU, kernel.SiLU, h[:n*r.in], r.in)
	p := v.padImage(t, h[:n*r.in], x.h, x.w, r.in, 3)
	local := r.conv1.w.N
	inner := v.floats(t, &v.inner, n*local)
	r.conv1.conv2d(t, inner, p, x.h, x.w, 3)
	v.groupNorm(t, inner, inner, local, v.cfg.NormNumGroups/v.size, r.norm2W, r.norm2B)
	activate(t, opSiLU, kernel.SiLU, inner, local)
	p = v.padImage(t, inner, x.h, x.w, local, 3)
	y := h[:n*r.out]
	if err := r.conv2.conv2d(ctx, t, v.model, y, p, x.h, x.w, 3); err != nil {
		return err
	}
	x.data, x.ch = v.floats(t, &v.x, n*r.out), r.out
	if r.shortcut != nil {
		r.shortcut.conv2d(t, x.data, skip, x.h, x.w, 1)
	} else {
		copy(x.data, skip)
	}
	add(t, x.data, y, r.out)
	return nil
}

// groupNorm normalizes each of groups runs of channels over all pixels (Wu and He 2018).
func (v *VAE) groupNorm(t *profiler.Track, dst, x []float32, ch, groups int, w, b []float32) {
	n := len(x) / ch
	sp := rowsOp(t, opGroupNorm, n, ch)
	defer sp.End()
	sums := make([]float64, 2*ch)
	sum, sq := sums[:ch], sums[ch:]
	for i := 0; i < len(x); i += ch {
		row := x[i : i+ch]
		for c, e := range row {
			f := float64(e)
			sum[c] += f
			sq[c] += f * f // exact: the product of two float32 fits
		}
	}
	coef := make([]float32, 2*ch)
	scale, shift := coef[:ch], coef[ch:]
	per := ch / groups
	for g := range groups {
		var s, q float64
		for c := g * per; c < (g+1)*per; c++ {
			s += sum[c]
			q += sq[c]
		}
		mean := s / float64(n*per)
		inv := 1 / math.Sqrt(max(0, q/float64(n*per)-float64(mean*mean))+v.cfg.NormEps)
		for c := g * per; c < (g+1)*per; c++ {
			scale[c] = float32(inv * float64(w[c]))
			shift[c] = float32(float64(b[c]) - float64(mean*float64(inv*float64(w[c]))))
		}
	}
	for i := 0; i < len(x); i += ch {
		row, out := x[i:i+ch], dst[i:i+ch]
		for c, e := range row {
			out[c] = float32(e*scale[c]) + shift[c]
		}
	}
}

// double replaces x by its pixels repeated in both directions.
func (v *VAE) double(t *profiler.Track, x *feature) {
	sp := rowsOp(t, opUpsample, 4*x.h*x.w, x.ch)
	line := x.w * x.ch
	src := v.floats(t, &v.skip, x.h*line)
	copy(src, x.data)
	x.data = v.floats(t, &v.x, 4*x.h*line)
	for y := range x.h {
		row := x.data[2*y*2*line : (2*y+1)*2*line]
		for i := range x.w {
			px := src[y*line+i*x.ch : y*line+(i+1)*x.ch]
			copy(row[2*i*x.ch:], px)
			copy(row[(2*i+1)*x.ch:], px)
		}
		copy(x.data[(2*y+1)*2*line:], row)
	}
	x.h, x.w = 2*x.h, 2*x.w
	sp.End()
}

// toImage maps [-1, 1] to 0 … 255; NaN is 0.
func toImage(t *profiler.Track, x feature) *image.NRGBA {
	sp := rowsOp(t, opClamp, x.h*x.w, x.ch)
	img := image.NewNRGBA(image.Rect(0, 0, x.w, x.h))
	for i := range x.h * x.w {
		for c := range 3 {
			f := float32(x.data[i*3+c]*127.5) + 128 // rounds to nearest when cut
			if !(f > 0) {
				f = 0
			}
			img.Pix[4*i+c] = uint8(min(f, 255))
		}
		img.Pix[4*i+3] = 0xff
	}
	sp.End()
	return img
}

// MemoryBytes is what weights and workspace take on this rank.
func (v *VAE) MemoryBytes() int64 { return v.bytes }

// Close frees the decoder. It may be called twice.
func (v *VAE) Close(t *profiler.Track) error {
	if v.close(t) {
		*v = VAE{model: v.model, cfg: v.cfg}
	}
	return nil
}

// EncodePNG returns a PNG file.
func EncodePNG(img image.Image) ([]byte, error) {
	var b bytes.Buffer
	e := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := e.Encode(&b, img); err != nil {
		return nil, fmt.Errorf("encode png: %w", err)
	}
	return b.Bytes(), nil
}
