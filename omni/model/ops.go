package model

import (
	"github.com/kinetoscope/kinetoscope/omni/model/kernel"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Names of operators, torch's where torch has the operator.
var (
	opEmbedding    = profiler.Intern("aten::embedding")
	opLinear       = profiler.Intern("aten::linear")
	opMM           = profiler.Intern("aten::mm")
	opAddMM        = profiler.Intern("aten::addmm")
	opAdd          = profiler.Intern("aten::add")
	opMul          = profiler.Intern("aten::mul")
	opRMSNorm      = profiler.Intern("aten::rms_norm")
	opLayerNorm    = profiler.Intern("aten::layer_norm")
	opGroupNorm    = profiler.Intern("aten::group_norm")
	opSiLU         = profiler.Intern("aten::silu")
	opGELU         = profiler.Intern("aten::gelu")
	opTanh         = profiler.Intern("aten::tanh")
	opLeakyReLU    = profiler.Intern("aten::leaky_relu")
	opConv1D       = profiler.Intern("aten::conv1d")
	opConv2D       = profiler.Intern("aten::conv2d")
	opConvT1D      = profiler.Intern("aten::conv_transpose1d")
	opUpsample     = profiler.Intern("aten::upsample_nearest2d")
	opSDPA         = profiler.Intern("aten::scaled_dot_product_attention")
	opMultinomial  = profiler.Intern("aten::multinomial")
	opArgmax       = profiler.Intern("aten::argmax")
	opRandn        = profiler.Intern("aten::randn")
	opClamp        = profiler.Intern("aten::clamp")
	opRope         = profiler.Intern("kinetoscope::rope")
	opKVWrite      = profiler.Intern("kinetoscope::kv_write")
	opPatchify     = profiler.Intern("kinetoscope::patchify")
	opModulate     = profiler.Intern("kinetoscope::modulate")
	opTimestep     = profiler.Intern("kinetoscope::timestep_embedding")
	opSchedule     = profiler.Intern("kinetoscope::scheduler_step")
	spanSample     = profiler.Intern(trace.NameSample)
	argBatch       = profiler.Intern(trace.ArgBatch)
	floatBytes     = int64(4)
	elementwiseOps = int64(4) // FLOPs counted for one activation, exp included
)

// rowsOp opens the span of an element-wise operator on rows of dim.
func rowsOp(t *profiler.Track, n profiler.Name, rows, dim int) profiler.Span {
	sp := t.Begin(n, profiler.CategoryOp)
	if !t.Enabled() {
		return sp
	}
	return sp.Shape(profiler.Float32, rows, dim).Bytes(2 * floatBytes * int64(rows) * int64(dim))
}

func rmsNorm(t *profiler.Track, dst, x, w []float32, eps float32) {
	d := len(w)
	sp := rowsOp(t, opRMSNorm, len(x)/d, d)
	for i := 0; i < len(x); i += d {
		kernel.RMSNorm(dst[i:i+d], x[i:i+d], w, eps)
	}
	sp.End()
}

// layerNorm normalizes rows of d; w and b may be nil.
func layerNorm(t *profiler.Track, dst, x []float32, d int, w, b []float32, eps float32) {
	sp := rowsOp(t, opLayerNorm, len(x)/d, d)
	for i := 0; i < len(x); i += d {
		kernel.LayerNorm(dst[i:i+d], x[i:i+d], w, b, eps)
	}
	sp.End()
}

func add(t *profiler.Track, dst, src []float32, dim int) {
	sp := rowsOp(t, opAdd, len(dst)/dim, dim)
	kernel.Add(dst, src)
	sp.End()
}

// activate applies f to x in place.
func activate(t *profiler.Track, n profiler.Name, f func(dst, x []float32), x []float32, dim int) {
	sp := rowsOp(t, n, len(x)/dim, dim).FLOPs(elementwiseOps * int64(len(x)))
	f(x, x)
	sp.End()
}

// noToken stands for a position without a token: its embedding is zero.
const noToken = -1

// embedRows writes the rows ids of table, which are dim wide, to dst.
func embedRows(t *profiler.Track, dst, table []float32, dim int, ids []int32) {
	sp := t.Begin(opEmbedding, profiler.CategoryOp)
	if t.Enabled() {
		sp.Shape(profiler.Float32, len(table)/dim, dim).Shape(profiler.Int32,
			len(ids)).Bytes(2 * floatBytes * int64(len(ids)*dim))
	}
	for i, id := range ids {
		if id == noToken {
			clear(dst[i*dim : (i+1)*dim])
			continue
		}
		copy(dst[i*dim:(i+1)*dim], table[int(id)*dim:])
	}
	sp.End()
}
