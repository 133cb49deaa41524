package model

import (
	"fmt"
	"math"
	"testing"
)

// An independent implementation of the models in float64, as their papers and libraries
// define them, without batches, caches, shards or kernels. Matrices are rows of rows.
type naive struct {
	t   *testing.T
	src tensors
}

type mat = [][]float64

func (n naive) get(name string, shape ...int) []float32 {
	x, err := n.src.tensor(name, shape...)
	if err != nil {
		n.t.Fatal(err)
	}
	return x
}

func (n naive) linear(x mat, name string, out int, bias bool) mat {
	in := len(x[0])
	w := n.get(name+".weight", out, in)
	b := make([]float32, out)
	if bias {
		b = n.get(name+".bias", out)
	}
	y := make(mat, len(x))
	for i := range x {
		y[i] = make([]float64, out)
		for o := range out {
			s := float64(b[o])
			for k := range in {
				s += x[i][k] * float64(w[o*in+k])
			}
			y[i][o] = s
		}
	}
	return y
}

func (n naive) embed(name string, rows, dim int, ids []int32) mat {
	w := n.get(name, rows, dim)
	x := make(mat, len(ids))
	for i, id := range ids {
		for _, v := range w[int(id)*dim : (int(id)+1)*dim] {
			x[i] = append(x[i], float64(v))
		}
	}
	return x
}

func zip(a, b mat, f func(a, b float64) float64) mat {
	y := make(mat, len(a))
	for i := range a {
		for j := range a[i] {
			y[i] = append(y[i], f(a[i][j], b[i%len(b)][j]))
		}
	}
	return y
}

func apply(a mat, f func(float64) float64) mat {
	return zip(a, a, func(v, _ float64) float64 { return f(v) })
}

func plus(a, b float64) float64  { return a + b }
func times(a, b float64) float64 { return a * b }

func siluRef(v float64) float64 { return v / (1 + math.Exp(-v)) }
func geluRef(v float64) float64 {
	return 0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
}

func (n naive) rms(x mat, name string, eps float64) mat {
	w := n.get(name, len(x[0]))
	y := make(mat, len(x))
	for i := range x {
		var s float64
		for _, v := range x[i] {
			s += v * v
		}
		r := math.Sqrt(s/float64(len(x[i])) + eps)
		for j, v := range x[i] {
			y[i] = append(y[i], v/r*float64(w[j]))
		}
	}
	return y
}

func normalize(x mat, eps float64) mat {
	y := make(mat, len(x))
	for i := range x {
		var s, q float64
		for _, v := range x[i] {
			s += v
		}
		s /= float64(len(x[i]))
		for _, v := range x[i] {
			q += (v - s) * (v - s)
		}
		for _, v := range x[i] {
			y[i] = append(y[i], (v-s)/math.Sqrt(q/float64(len(x[i]))+eps))
		}
	}
	return y
}

func (n naive) layerNorm(x mat, name string, eps float64) mat {
	w, b := n.get(name+".weight", len(x[0])), n.get(name+".bias", len(x[0]))
	y := normalize(x, eps)
	for i := range y {
		for j := range y[i] {
			y[i][j] = y[i][j]*float64(w[j]) + float64(b[j])
		}
	}
	return y
}

// attention of heads q heads over kvHeads; causal masks what comes later.
func naiveAttention(q, k, v mat, heads, kvHeads int, causal bool) mat {
	d := len(q[0]) / heads
	out := make(mat, len(q))
	for i := range q {
		out[i] = make([]float64, len(q[0]))
		for h := range heads {
			g := h / (heads / kvHeads)
			var w []float64
			var sum float64
			for j := range k {
				if causal && j > i {
					break
				}
				var s float64
				for e := range d {
					s += q[i][h*d+e] * k[j][g*d+e]
				}
				w = append(w, math.Exp(s/math.Sqrt(float64(d))))
				sum += w[j]
			}
			for j := range w {
				for e := range d {
					out[i][h*d+e] += w[j] / sum * v[j][g*d+e]
				}
			}
		}
	}
	return out
}

func rotate(x mat, heads int, theta float64) mat {
	d := len(x[0]) / heads
	y := make(mat, len(x))
	for p := range x {
		y[p] = make([]float64, len(x[p]))
		for h := range heads {
			for i := range d / 2 {
				a := float64(p) * math.Pow(theta, -2*float64(i)/float64(d))
				u, v := x[p][h*d+i], x[p][h*d+d/2+i]
				y[p][h*d+i] = u*math.Cos(a) - v*math.Sin(a)
				y[p][h*d+d/2+i] = v*math.Cos(a) + u*math.Sin(a)
			}
		}
	}
	return y
}

// llm returns the normalized hidden states and logits of every position.
func (n naive) llm(c *LLMConfig, ids []int32, extra mat) (hidden, logits mat) {
	x := n.embed("model.embed_tokens.weight", c.VocabSize, c.HiddenSize, ids)
	if extra != nil {
		x = zip(x, n.linear(extra, "thinker_to_talker_proj", c.HiddenSize, true), plus)
	}
	for i := range c.NumHiddenLayers {
		p := fmt.Sprintf("model.layers.%d.", i)
		h := n.rms(x, p+"input_layernorm.weight", c.RMSNormEps)
		q := rotate(n.linear(h, p+"self_attn.q_proj", c.NumAttentionHeads*c.HeadDim, c.AttentionBias),
			c.NumAttentionHeads, c.RopeTheta)
		k := rotate(n.linear(h, p+"self_attn.k_proj", c.NumKeyValueHeads*c.HeadDim, c.AttentionBias),
			c.NumKeyValueHeads, c.RopeTheta)
		v := n.linear(h, p+"self_attn.v_proj", c.NumKeyValueHeads*c.HeadDim, c.AttentionBias)
		o := naiveAttention(q, k, v, c.NumAttentionHeads, c.NumKeyValueHeads, true)
		x = zip(x, n.linear(o, p+"self_attn.o_proj", c.HiddenSize, false), plus)
		h = n.rms(x, p+"post_attention_layernorm.weight", c.RMSNormEps)
		g := apply(n.linear(h, p+"mlp.gate_proj", c.IntermediateSize, false), siluRef)
		u := n.linear(h, p+"mlp.up_proj", c.IntermediateSize, false)
		x = zip(x, n.linear(zip(g, u, times), p+"mlp.down_proj", c.HiddenSize, false), plus)
	}
	hidden = n.rms(x, "model.norm.weight", c.RMSNormEps)
	name := "lm_head"
	if c.TieWordEmbeddings {
		name = "model.embed_tokens"
	}
	return hidden, n.linear(hidden, name, c.VocabSize, false)
}

func (n naive) textEncoder(c *TextEncoderConfig, ids []int32) mat {
	const p = "text_model."
	x := n.embed(p+"embeddings.token_embedding.weight", c.VocabSize, c.HiddenSize, ids)
	at := make([]int32, len(ids))
	for i := range at {
		at[i] = int32(i)
	}
	x = zip(x, n.embed(p+"embeddings.position_embedding.weight", c.MaxPositionEmbeddings, c.HiddenSize, at), plus)
	for i := range c.NumHiddenLayers {
		p := fmt.Sprintf("%sencoder.layers.%d.", p, i)
		h := n.layerNorm(x, p+"layer_norm1", c.LayerNormEps)
		var qkv [3]mat
		for j, s := range []string{"q", "k", "v"} {
			qkv[j] = n.linear(h, p+"self_attn."+s+"_proj", c.HiddenSize, true)
		}
		o := naiveAttention(qkv[0], qkv[1], qkv[2], c.NumAttentionHeads, c.NumAttentionHeads, false)
		x = zip(x, n.linear(o, p+"self_attn.out_proj", c.HiddenSize, true), plus)
		h = apply(n.linear(n.layerNorm(x, p+"layer_norm2", c.LayerNormEps), p+"mlp.fc1", c.IntermediateSize, true),
			geluRef)
		x = zip(x, n.linear(h, p+"mlp.fc2", c.HiddenSize, true), plus)
	}
	return n.layerNorm(x, p+"final_layer_norm", c.LayerNormEps)
}

// dit predicts for one latent, channels first, at one time.
func (n naive) dit(c *DiTConfig, l Latent, cond Cond, time float64) []float64 {
	d := c.NumAttentionHeads * c.AttentionHeadDim
	p, wide, high := c.PatchSize, l.Width/c.PatchSize, l.Height/c.PatchSize
	w, b := n.get("pos_embed.proj.weight", d, c.InChannels, p, p), n.get("pos_embed.proj.bias", d)
	sin := func(pos float64, n int) (x []float64) {
		for _, f := range []func(float64) float64{math.Sin, math.Cos} {
			for i := range n / 2 {
				x = append(x, f(pos/math.Pow(10000, float64(i)/float64(n/2))))
			}
		}
		return x
	}
	var x mat
	for y := range high {
		for z := range wide {
			row := append(sin(float64(z), d/2), sin(float64(y), d/2)...)
			for o := range row {
				row[o] += float64(b[o])
				for ch := range c.InChannels {
					for dy := range p {
						for dx := range p {
							row[o] += float64(l.Data[(ch*l.Height+y*p+dy)*l.Width+z*p+dx]) * float64(
								w[((o*c.InChannels+ch)*p+dy)*p+dx])
						}
					}
				}
			}
			x = append(x, row)
		}
	}
	ts := sin(time, 256)
	emb := n.linear(mat{append(append([]float64(nil), ts[128:]...), ts[:128]...)},
		"adaln_single.emb.timestep_embedder.linear_1", d, true)
	emb = n.linear(apply(emb, siluRef), "adaln_single.emb.timestep_embedder.linear_2", d, true)
	six := n.linear(apply(emb, siluRef), "adaln_single.linear", 6*d, true)[0]
	var cap mat
	for i := range cond.Tokens {
		var row []float64
		for _, v := range cond.Hidden[i*cond.Dim : (i+1)*cond.Dim] {
			row = append(row, float64(v))
		}
		cap = append(cap, row)
	}
	cap = n.linear(apply(n.linear(cap, "caption_projection.linear_1", d, true), geluRef), "caption_projection.linear_2",
		d, true)
	mod := func(x mat, shift, scale []float64) mat {
		return zip(zip(normalize(x, c.NormEps), mat{scale}, func(a, s float64) float64 { return a * (1 + s) }),
			mat{shift}, plus)
	}
	for i := range c.NumLayers {
		p := fmt.Sprintf("transformer_blocks.%d.", i)
		table := n.get(p+"scale_shift_table", 6, d)
		part := func(j int) []float64 {
			var r []float64
			for e := range d {
				r = append(r, float64(table[j*d+e])+six[j*d+e])
			}
			return r
		}
		attn := func(name string, q, kv mat) mat {
			o := naiveAttention(n.linear(q, p+name+".to_q", d, true), n.linear(kv, p+name+".to_k", d, true),
				n.linear(kv, p+name+".to_v", d, true), c.NumAttentionHeads, c.NumAttentionHeads, false)
			return n.linear(o, p+name+".to_out.0", d, true)
		}
		h := mod(x, part(0), part(1))
		x = zip(x, zip(attn("attn1", h, h), mat{part(2)}, times), plus)
		x = zip(x, attn("attn2", x, cap), plus)
		h = apply(n.linear(mod(x, part(3), part(4)), p+"ff.net.0.proj", 4*d, true), geluRef)
		x = zip(x, zip(n.linear(h, p+"ff.net.2", d, true), mat{part(5)}, times), plus)
	}
	table := n.get("scale_shift_table", 2, d)
	var last [2][]float64
	for j := range last {
		for e := range d {
			last[j] = append(last[j], float64(table[j*d+e])+emb[0][e])
		}
	}
	y := n.linear(mod(x, last[0], last[1]), "proj_out", p*p*c.OutChannels, true)
	out := make([]float64, len(l.Data))
	for i := range y {
		for dy := range p {
			for dx := range p {
				for ch := range c.OutChannels {
					out[(ch*l.Height+i/wide*p+dy)*l.Width+i%wide*p+dx] = y[i][(dy*p+dx)*c.OutChannels+ch]
				}
			}
		}
	}
	return out
}

// img is an image of channels × height × width.
type img [][][]float64

func (n naive) conv2d(x img, name string, out, size int) img {
	in, h, w := len(x), len(x[0]), len(x[0][0])
	k, b := n.get(name+".weight", out, in, size, size), n.get(name+".bias", out)
	y := make(img, out)
	for o := range out {
		for r := range h {
			row := make([]float64, w)
			for c := range w {
				s := float64(b[o])
				for ch := range in {
					for dy := range size {
						for dx := range size {
							if a, b := r+dy-size/2, c+dx-size/2; a >= 0 && b >= 0 && a < h && b < w {
								s += x[ch][a][b] * float64(k[((o*in+ch)*size+dy)*size+dx])
							}
						}
					}
				}
				row[c] = s
			}
			y[o] = append(y[o], row)
		}
	}
	return y
}

func (n naive) groupNormSiLU(x img, name string, groups int, eps float64) img {
	w, b := n.get(name+".weight", len(x)), n.get(name+".bias", len(x))
	per := len(x) / groups
	y := make(img, len(x))
	for g := range groups {
		var s, q, count float64
		each := func(f func(v float64)) {
			for _, ch := range x[g*per : (g+1)*per] {
				for _, row := range ch {
					for _, v := range row {
						f(v)
					}
				}
			}
		}
		each(func(v float64) { s += v; count++ })
		s /= count
		each(func(v float64) { q += (v - s) * (v - s) })
		for c := g * per; c < (g+1)*per; c++ {
			for _, row := range x[c] {
				var r []float64
				for _, v := range row {
					r = append(r, siluRef((v-s)/math.Sqrt(q/count+eps)*float64(w[c])+float64(b[c])))
				}
				y[c] = append(y[c], r)
			}
		}
	}
	return y
}

func (n naive) resnet(x img, p string, out int, c *VAEConfig) img {
	h := n.conv2d(n.groupNormSiLU(x, p+"norm1", c.NormNumGroups, c.NormEps), p+"conv1", out, 3)
	h = n.conv2d(n.groupNormSiLU(h, p+"norm2", c.NormNumGroups, c.NormEps), p+"conv2", out, 3)
	if len(x) != out {
		x = n.conv2d(x, p+"conv_shortcut", out, 1)
	}
	for ch := range h {
		h[ch] = zip(h[ch], x[ch], plus)
	}
	return h
}

func (n naive) vae(c *VAEConfig, l Latent) img {
	x := make(img, l.Channels)
	for ch := range x {
		for y := range l.Height {
			var row []float64
			for _, v := range l.Data[(ch*l.Height+y)*l.Width:][:l.Width] {
				row = append(row, float64(v)/c.ScalingFactor+c.ShiftFactor)
			}
			x[ch] = append(x[ch], row)
		}
	}
	x = n.conv2d(x, "post_quant_conv", c.LatentChannels, 1)
	blocks := c.BlockOutChannels
	ch := blocks[len(blocks)-1]
	x = n.conv2d(x, "decoder.conv_in", ch, 3)
	for i := range 2 {
		x = n.resnet(x, fmt.Sprintf("decoder.mid_block.resnets.%d.", i), ch, c)
	}
	for i := range blocks {
		out := blocks[len(blocks)-1-i]
		for j := range c.LayersPerBlock + 1 {
			x = n.resnet(x, fmt.Sprintf("decoder.up_blocks.%d.resnets.%d.", i, j), out, c)
		}
		if i < len(blocks)-1 {
			for ch := range x {
				var big mat
				for _, row := range x[ch] {
					var wide []float64
					for _, v := range row {
						wide = append(wide, v, v)
					}
					big = append(big, wide, wide)
				}
				x[ch] = big
			}
			x = n.conv2d(x, fmt.Sprintf("decoder.up_blocks.%d.upsamplers.0.conv", i), out, 3)
		}
	}
	return n.conv2d(n.groupNormSiLU(x, "decoder.conv_norm_out", c.NormNumGroups, c.NormEps), "decoder.conv_out",
		c.OutChannels, 3)
}
