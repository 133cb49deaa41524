package model

import (
	"context"
	"fmt"
	"slices"

	"github.com/kinetoscope/kinetoscope/omni/model/kernel"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// Limits of a vocoder's calls.
const (
	// MaxChunkFrames bounds the frames of one VocodeChunk, and with them how long a call
	// takes.
	MaxChunkFrames = 512
	// innerFrames are made at a time; more frames of a chunk would give the same bits and
	// need more workspace.
	innerFrames = 32
	// MaxStreams bounds the streams that hold state at a time.
	MaxStreams = 1024
)

// VocodeChunk is the next piece of one stream.
type VocodeChunk struct {
	Stream SeqID
	// Codes are codec frames, Codebooks() codes each, frame after frame. A code is
	// 0 … CodebookSize()-1.
	Codes []int32
}

// Vocoder turns codec frames to sound (code2wav): HiFi-GAN's generator with causal
// convolutions. A stream carries its left context from chunk to chunk, so that sound
// made in chunks is bit for bit the sound made at once.
//
// Weights are named as in Hugging Face's SpeechT5HifiGan, with quantizer.embed.N.weight
// for the codebooks. Ranks split channels: upsamplings by output channel, with a gather;
// residual blocks by inner channel, with a sum.
type Vocoder struct {
	*model
	cfg     VocoderConfig
	books   [][]float32
	pre     colConv // every rank
	ups     []upsampling
	post    colConv // every rank
	streams map[SeqID]*stream
	context []int // floats of context of each convolution, in order

	x, y, pad, tmp, mid, all scratch
}

// upsampling is one stage: a transposed convolution and the mean of residual stacks.
type upsampling struct {
	rate, in, out int
	local         int            // output channels on this rank
	w             *kernel.Packed // rows: previous input, this input; columns: sample, channel
	bias          []float32      // of a sample
	stacks        [][]resUnit
}

// resUnit is x + conv2(lrelu(conv1(lrelu(x)))).
type resUnit struct {
	taps, dilation int
	conv1          colConv
	conv2          rowConv
}

// stream is the carried state: for each convolution the last rows of its input.
type stream struct {
	data []float32
	span span
}

// preTaps is the width of HiFi-GAN's first and last convolution.
const preTaps = 7

// OpenVocoder builds the vocoder that o names, this rank's part of it.
func OpenVocoder(ctx context.Context, t *profiler.Track, o Options) (_ *Vocoder, err error) {
	v := &Vocoder{streams: map[SeqID]*stream{}}
	if v.model, err = open(ctx, t, o, &v.cfg); err != nil {
		return nil, err
	}
	defer v.opened(&err, v.Close)
	c := &v.cfg
	for i := range c.NumCodebooks {
		b, err := v.load(fmt.Sprintf("quantizer.embed.%d.weight", i), c.CodebookSize, c.CodebookDim)
		if err != nil {
			return nil, err
		}
		v.books = append(v.books, b)
	}
	ch := c.UpsampleInitialChannel
	if v.pre, err = v.loadConv(whole("conv_pre", ch), c.CodebookDim, preTaps); err != nil {
		return nil, err
	}
	v.context = append(v.context, (preTaps-1)*c.CodebookDim)
	for i := range c.UpsampleRates {
		if err := v.loadUpsampling(i, ch); err != nil {
			return nil, err
		}
		ch /= 2
	}
	v.post, err = v.loadConv(whole("conv_post", 1), ch, preTaps)
	v.context = append(v.context, (preTaps-1)*ch)
	return v, err
}

// loadUpsampling reads stage i, whose input has in channels. The transposed convolution
// of rate r and width 2r makes r samples from an input and the one before it: a product
// of the two side by side with a matrix of r times out columns.
func (v *Vocoder) loadUpsampling(i, in int) (err error) {
	c := &v.cfg
	r, out := c.UpsampleRates[i], in/2
	u := upsampling{rate: r, in: in, out: out, local: out / v.size}
	w, err := v.src.tensor(fmt.Sprintf("upsampler.%d.weight", i), in, out, 2*r)
	if err != nil {
		return err
	}
	bias, err := v.src.tensor(fmt.Sprintf("upsampler.%d.bias", i), out)
	if err != nil {
		return err
	}
	from := v.rank * u.local
	u.w = kernel.NewPacked(2*in, r*u.local)
	for s := range r {
		for o := range u.local {
			for ch := range in {
				tap := w[(ch*out+from+o)*2*r:]
				u.w.Set(ch, s*u.local+o, tap[r+s])
				u.w.Set(in+ch, s*u.local+o, tap[s])
			}
			u.bias = append(u.bias, bias[from+o])
		}
	}
	v.own(v.t, poolWeights, u.w.Data)
	v.own(v.t, poolWeights, u.bias)
	v.context = append(v.context, in)
	for j, taps := range c.ResblockKernelSizes {
		var stack []resUnit
		for d, dilation := range c.ResblockDilationSizes[j] {
			p := fmt.Sprintf("resblocks.%d.", i*len(c.ResblockKernelSizes)+j)
			n := resUnit{taps: taps, dilation: dilation}
			if n.conv1, err = v.loadConv(v.share(fmt.Sprintf("%sconvs1.%d", p, d), out), out, taps); err != nil {
				return err
			}
			if n.conv2, err = v.loadRowConv(fmt.Sprintf("%sconvs2.%d", p, d), out, out, taps); err != nil {
				return err
			}
			v.context = append(v.context, (taps-1)*dilation*out, (taps-1)*(out/v.size))
			stack = append(stack, n)
		}
		u.stacks = append(u.stacks, stack)
	}
	v.ups = append(v.ups, u)
	return nil
}

// Config is the architecture. Not to be modified.
func (v *Vocoder) Config() *VocoderConfig { return &v.cfg }

// SampleRate is in Hz.
func (v *Vocoder) SampleRate() int { return v.cfg.SamplingRate }

// FrameSamples is the number of samples that one frame gives.
func (v *Vocoder) FrameSamples() int {
	n := 1
	for _, r := range v.cfg.UpsampleRates {
		n *= r
	}
	return n
}

// Codebooks is the number of codes in a frame.
func (v *Vocoder) Codebooks() int { return v.cfg.NumCodebooks }

// CodebookSize is the number of codes of each codebook.
func (v *Vocoder) CodebookSize() int { return v.cfg.CodebookSize }

// Streams is the number of streams that hold state.
func (v *Vocoder) Streams() int { return len(v.streams) }

// Free forgets a stream.
func (v *Vocoder) Free(t *profiler.Track, id SeqID) {
	if s := v.streams[id]; s != nil {
		t.Free(s.span.pool, s.span.addr, s.span.bytes)
		v.bytes -= s.span.bytes
		delete(v.streams, id)
	}
}

// MemoryBytes is what weights, streams and workspace take on this rank.
func (v *Vocoder) MemoryBytes() int64 { return v.bytes }

// Close frees the vocoder. It may be called twice.
func (v *Vocoder) Close(t *profiler.Track) error {
	if v.closed {
		return nil
	}
	for id := range v.streams {
		v.Free(t, id)
	}
	v.close(t)
	*v = Vocoder{model: v.model, cfg: v.cfg}
	return nil
}

// Decode makes the sound of each chunk: mono samples in [-1, 1], FrameSamples a frame,
// the caller's to keep. Each stream is named at most once.
func (v *Vocoder) Decode(ctx context.Context, t *profiler.Track, chunks []VocodeChunk) ([][]float32, error) {
	if err := v.ready(ctx); err != nil {
		return nil, err
	}
	if err := v.check(chunks); err != nil {
		return nil, err
	}
	out := make([][]float32, len(chunks))
	for i, c := range chunks {
		s := v.streams[c.Stream]
		if s == nil {
			n := 0
			for _, f := range v.context {
				n += f
			}
			s = &stream{data: make([]float32, n)}
			s.span = spanOf(poolStreams, s.data)
			t.Alloc(s.span.pool, s.span.addr, s.span.bytes)
			v.bytes += s.span.bytes
			v.streams[c.Stream] = s
		}
		for codes := range slices.Chunk(c.Codes, innerFrames*v.cfg.NumCodebooks) {
			pcm, err := v.decode(ctx, t, s, codes)
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], pcm...)
		}
	}
	return out, nil
}

func (v *Vocoder) check(chunks []VocodeChunk) error {
	seen, fresh := map[SeqID]bool{}, 0
	for _, c := range chunks {
		n := v.cfg.NumCodebooks
		switch {
		case seen[c.Stream]:
			return fmt.Errorf("%s: stream %d is twice in a call", v.name, c.Stream)
		case len(c.Codes) == 0 || len(c.Codes)%n != 0 || len(c.Codes)/n > MaxChunkFrames:
			return fmt.Errorf("%s: stream %d: %d codes, want 1 to %d frames of %d", v.name, c.Stream, len(c.Codes),
				MaxChunkFrames, n)
		}
		seen[c.Stream] = true
		if v.streams[c.Stream] == nil {
			fresh++
		}
		for i, code := range c.Codes {
			if code < 0 || int(code) >= v.cfg.CodebookSize {
				return fmt.Errorf("%s: stream %d: code %d at %d is outside the codebook of %d", v.name, c.Stream, code,
					i, v.cfg.CodebookSize)
			}
		}
	}
	if len(v.streams)+fresh > MaxStreams {
		return fmt.Errorf("%s: %d streams and %d more, limit %d: free some", v.name, len(v.streams), fresh, MaxStreams)
	}
	return nil
}

// carry hands out a stream's context, convolution by convolution.
type carry struct{ rest []float32 }

func (c *carry) next(n int) []float32 {
	x := c.rest[:n:n]
	c.rest = c.rest[n:]
	return x
}

// decode runs one chunk of one stream.
func (v *Vocoder) decode(ctx context.Context, t *profiler.Track, s *stream, codes []int32) ([]float32, error) {
	c := &v.cfg
	rows, dim := len(codes)/c.NumCodebooks, c.CodebookDim
	state := carry{s.data}
	y := v.floats(t, &v.y, rows*dim)
	v.lookUp(t, y, codes)
	x := v.floats(t, &v.x, rows*c.UpsampleInitialChannel)
	in := v.padded(t, y, dim, state.next((preTaps-1)*dim))
	v.pre.conv1d(t, x, in, rows, preTaps, 1)
	for i := range v.ups {
		var err error
		if x, err = v.upsample(ctx, t, &v.ups[i], x, rows, &state); err != nil {
			return nil, err
		}
		rows *= v.ups[i].rate
	}
	ch := v.post.in
	leaky(t, x, x, ch, c.LeakyReLUSlope)
	in = v.padded(t, x, ch, state.next((preTaps-1)*ch))
	pcm := make([]float32, rows)
	v.post.conv1d(t, pcm, in, rows, preTaps, 1)
	activate(t, opTanh, kernel.Tanh, pcm, 1)
	return pcm, nil
}

// lookUp adds up the embeddings of each frame's codes.
func (v *Vocoder) lookUp(t *profiler.Track, y []float32, codes []int32) {
	dim, n := v.cfg.CodebookDim, v.cfg.NumCodebooks
	sp := t.Begin(opEmbedding, profiler.CategoryOp)
	if t.Enabled() {
		sp.Shape(profiler.Float32, n, v.cfg.CodebookSize, dim).Shape(profiler.Int32, len(codes)/n,
			n).Bytes(2 * floatBytes * int64(len(codes)*dim))
	}
	for i, code := range codes {
		row := v.books[i%n][int(code)*dim : (int(code)+1)*dim]
		dst := y[i/n*dim : (i/n+1)*dim]
		if i%n == 0 {
			copy(dst, row)
		} else {
			kernel.Add(dst, row)
		}
	}
	sp.End()
}

// padded returns the rows of x behind the context of the convolution, which it renews
// from the end of x. The result is valid until the next call.
func (v *Vocoder) padded(t *profiler.Track, x []float32, ch int, context []float32) []float32 {
	p := v.floats(t, &v.pad, len(context)+len(x))
	copy(p, context)
	copy(p[len(context):], x)
	copy(context, p[len(p)-len(context):])
	return p
}

func leaky(t *profiler.Track, dst, x []float32, ch int, slope float64) {
	sp := rowsOp(t, opLeakyReLU, len(x)/ch, ch)
	kernel.LeakyReLU(dst, x, float32(slope))
	sp.End()
}

// conv1d convolves rows of input that follow (taps-1)*dilation rows of context.
func (c *colConv) conv1d(t *profiler.Track, y, x []float32, rows, taps, dilation int) {
	sp := convSpan(t, opConv1D, rows, c.in, c.w.N, taps)
	kernel.GemmSegs(y, c.w.N, rows, x, c.in, tapSegs(taps, dilation*c.in, 0), c.in, c.w, false)
	kernel.AddRows(y[:rows*c.w.N], c.bias)
	sp.End()
}

// conv1d is colConv's, summed over shards and ranks.
func (c *rowConv) conv1d(ctx context.Context, t *profiler.Track, m *model, y, x []float32, rows, taps,
	dilation int) error {
	sp := convSpan(t, opConv1D, rows, c.in, c.out, taps)
	k := c.in / len(c.parts)
	y = y[:rows*c.out]
	sumParts(m, t, y, len(c.parts), func(dst []float32, i int) {
		kernel.GemmSegs(dst, c.out, rows, x, c.in, tapSegs(taps, dilation*c.in, i*k), k, c.parts[i], false)
	})
	sp.End()
	if err := m.reduce(ctx, t, y); err != nil {
		return err
	}
	kernel.AddRows(y, c.bias)
	return nil
}

func tapSegs(taps, stride, from int) []int {
	segs := make([]int, taps)
	for i := range segs {
		segs[i] = from + i*stride
	}
	return segs
}

// convSpan opens the span of a convolution with positions outputs.
func convSpan(t *profiler.Track, n profiler.Name, positions, in, out, taps int) profiler.Span {
	sp := t.Begin(n, profiler.CategoryOp)
	if !t.Enabled() {
		return sp
	}
	return sp.Shape(profiler.Float32, 1, in, positions).Shape(profiler.Float32, out, in, taps).
		FLOPs(2 * int64(positions) * int64(in) * int64(out) * int64(taps)).
		Bytes(floatBytes * (int64(positions)*int64(in+out) + int64(in)*int64(out)*int64(taps)))
}

// upsample runs one stage; the result lies in v.x.
func (v *Vocoder) upsample(ctx context.Context, t *profiler.Track, u *upsampling, x []float32, rows int,
	state *carry) ([]float32, error) {
	slope := v.cfg.LeakyReLUSlope
	leaky(t, x, x, u.in, slope)
	in := v.padded(t, x, u.in, state.next(u.in))
	n := rows * u.rate
	local := v.floats(t, &v.tmp, n*u.local)
	sp := convSpan(t, opConvT1D, rows, u.in, u.local, 2*u.rate)
	kernel.GemmSegs(local, u.w.N, rows, in, u.in, []int{0}, 2*u.in, u.w, false)
	kernel.AddRows(local, u.bias)
	sp.End()
	y := v.floats(t, &v.y, n*u.out)
	if err := v.gather(ctx, t, y, local, n, u.out, &v.all); err != nil {
		return nil, err
	}
	sum := v.floats(t, &v.x, n*u.out)
	cur := v.floats(t, &v.tmp, n*u.out)
	for i, stack := range u.stacks {
		copy(cur, y)
		for j := range stack {
			if err := v.residual(ctx, t, &stack[j], cur, n, u, state); err != nil {
				return nil, err
			}
		}
		if i == 0 {
			copy(sum, cur)
		} else {
			add(t, sum, cur, u.out)
		}
	}
	sp = rowsOp(t, opMul, n, u.out)
	kernel.Scale(sum, 1/float32(len(u.stacks)))
	sp.End()
	return sum, nil
}

// residual adds one unit to x.
func (v *Vocoder) residual(ctx context.Context, t *profiler.Track, r *resUnit, x []float32, rows int, u *upsampling,
	state *carry) error {
	slope := v.cfg.LeakyReLUSlope
	mid := v.floats(t, &v.mid, rows*u.out)
	leaky(t, mid, x, u.out, slope)
	in := v.padded(t, mid, u.out, state.next((r.taps-1)*r.dilation*u.out))
	inner := mid[:rows*u.local]
	r.conv1.conv1d(t, inner, in, rows, r.taps, r.dilation)
	leaky(t, inner, inner, u.local, slope)
	in = v.padded(t, inner, u.local, state.next((r.taps-1)*u.local))
	if err := r.conv2.conv1d(ctx, t, v.model, mid, in, rows, r.taps, 1); err != nil {
		return err
	}
	add(t, x, mid, u.out)
	return nil
}
