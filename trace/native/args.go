package native

import (
	"math"
	"strconv"

	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/trace"
)

// dtypeNames are Kineto's texts of element types, as in "Input type".
var dtypeNames = map[uint8]string{
	uint8(profiler.Float32):   "float",
	uint8(profiler.Int32):     "int",
	uint8(profiler.Uint8):     "unsigned char",
	uint8(profiler.Int64):     "long int",
	uint8(profiler.BFloat16):  "c10::BFloat16",
	uint8(profiler.Float16):   "c10::Half",
	uint8(profiler.Float64):   "double",
	uint8(profiler.Bool):      "bool",
	uint8(profiler.Int8):      "signed char",
	uint8(profiler.Complex64): "c10::complex<float>",
}

// Keys that only this package writes.
const (
	argDims        = "Input Dims"
	argTypes       = "Input type"
	argStack       = "Call stack"
	argFinished    = "finished"        // Kineto's: false for what was open at the window's end
	argBeganBefore = "began_before_ns" // how long before the window a slice began
	argUnwound     = "unwound"         // true: never ended by itself, closed by the span around it
)

// object builds one JSON object.
type object struct{ b []byte }

func (o *object) reset() { o.b = append(o.b[:0], '{') }

// done returns the object; it is valid until the next reset.
func (o *object) done() []byte { return append(o.b, '}') }

func (o *object) key(k string) {
	if len(o.b) > 1 {
		o.b = append(o.b, ", "...)
	}
	o.b = trace.AppendText(o.b, k)
	o.b = append(o.b, ": "...)
}

func (o *object) int(k string, v int64) {
	o.key(k)
	o.b = strconv.AppendInt(o.b, v, 10)
}

func (o *object) uint(k string, v uint64) {
	o.key(k)
	o.b = strconv.AppendUint(o.b, v, 10)
}

func (o *object) text(k, v string) {
	o.key(k)
	o.b = trace.AppendText(o.b, v)
}

func (o *object) bool(k string, v bool) {
	o.key(k)
	o.b = strconv.AppendBool(o.b, v)
}

// float writes NaN and infinities, which JSON cannot hold, as text.
func (o *object) float(k string, v float64) {
	o.key(k)
	if math.IsNaN(v) || math.IsInf(v, 0) {
		o.b = trace.AppendText(o.b, strconv.FormatFloat(v, 'g', -1, 64))
		return
	}
	o.b = strconv.AppendFloat(o.b, v, 'g', -1, 64)
}

// attrs adds the arguments of an event in their order; shapes and types, one a tensor
// in the recording, become Kineto's two lists.
func (o *object) attrs(rd *format.Reader, g *format.Generation, list []format.Attr) {
	o.shapes(g, list)
	for _, a := range list {
		switch a.Kind {
		case format.AttrInt:
			o.int(rd.String(a.Key), a.Int)
		case format.AttrStr:
			o.text(rd.String(a.Key), rd.String(a.Str()))
		case format.AttrText:
			o.text(rd.String(a.Key), string(g.Text(a)))
		case format.AttrFloat:
			o.float(rd.String(a.Key), a.Float())
		case format.AttrFLOPs:
			o.int(trace.ArgFLOPs, a.Int)
		case format.AttrBytes:
			o.int(trace.ArgBytes, a.Int)
		case format.AttrStack:
			o.stack(rd, rd.Stack(a.Int))
		}
	}
}

func (o *object) shapes(g *format.Generation, list []format.Attr) {
	n := 0
	for _, a := range list {
		if a.Kind != format.AttrShape {
			continue
		}
		if n == 0 {
			o.key(argDims)
			o.b = append(o.b, '[')
		} else {
			o.b = append(o.b, ',')
		}
		n++
		o.b = append(o.b, '[')
		for i, d := range g.Dims(a) {
			if i > 0 {
				o.b = append(o.b, ',')
			}
			o.b = strconv.AppendInt(o.b, d, 10)
		}
		o.b = append(o.b, ']')
	}
	if n == 0 {
		return
	}
	o.b = append(o.b, ']')
	o.key(argTypes)
	o.b = append(o.b, '[')
	n = 0
	for _, a := range list {
		if a.Kind != format.AttrShape {
			continue
		}
		if n++; n > 1 {
			o.b = append(o.b, ',')
		}
		o.b = trace.AppendText(o.b, dtypeNames[a.DType])
	}
	o.b = append(o.b, ']')
}

// stack writes the frames as one text, innermost first, as Kineto does.
func (o *object) stack(rd *format.Reader, frames []format.Frame) {
	if len(frames) == 0 {
		return
	}
	var b []byte
	for i, f := range frames {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, rd.String(f.File)...)
		b = append(b, '(')
		b = strconv.AppendInt(b, int64(f.Line), 10)
		b = append(b, "): "...)
		b = append(b, rd.String(f.Func)...)
	}
	o.text(argStack, string(b))
}
