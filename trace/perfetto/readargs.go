package perfetto

import (
	"math"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kinetoscope/kinetoscope/trace"
)

// arguments returns DebugAnnotations as a JSON object; nil if there are none.
func (d *decoder) arguments(s *sequence, annotations [][]byte) []byte {
	if len(annotations) == 0 {
		return nil
	}
	b := append(d.scratch[:0], '{')
	for _, a := range annotations {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = s.member(b, a, 0)
	}
	d.scratch = append(b, '}')
	return slices.Clone(d.scratch)
}

// member appends an annotation as a member of an object.
func (s *sequence) member(b, annotation []byte, depth int) []byte {
	name := ""
	message(annotation, func(num protowire.Number, v uint64, bytes []byte) {
		switch num {
		case fieldAnnotationName:
			name = string(bytes)
		case fieldAnnotationNameIID:
			name = s.keys[v]
		}
	})
	b = trace.AppendText(b, name)
	b = append(b, ':')
	return s.annotation(b, annotation, depth)
}

// annotation appends an annotation's value.
func (s *sequence) annotation(b, annotation []byte, depth int) []byte {
	from := len(b)
	var members, elements [][]byte
	message(annotation, func(num protowire.Number, v uint64, bytes []byte) {
		if len(b) > from {
			return // the first value counts
		}
		switch num {
		case fieldAnnotationBool:
			b = strconv.AppendBool(b, v != 0)
		case fieldAnnotationUint, fieldAnnotationPointer:
			b = strconv.AppendUint(b, v, 10)
		case fieldAnnotationInt:
			b = strconv.AppendInt(b, int64(v), 10)
		case fieldAnnotationDouble:
			b = appendFloat(b, math.Float64frombits(v))
		case fieldAnnotationString:
			b = trace.AppendText(b, string(bytes))
		case fieldAnnotationStringIID:
			b = trace.AppendText(b, s.values[v])
		case fieldAnnotationJSON:
			if jsontext.Value(bytes).IsValid() {
				b = append(b, bytes...)
			} else {
				b = trace.AppendText(b, string(bytes))
			}
		case fieldAnnotationDict:
			members = append(members, bytes)
		case fieldAnnotationArray:
			elements = append(elements, bytes)
		}
	})
	switch {
	case len(b) > from:
		return b
	case depth >= maxDepth:
		return append(b, "null"...)
	case members != nil:
		b = append(b, '{')
		for i, m := range members {
			if i > 0 {
				b = append(b, ',')
			}
			b = s.member(b, m, depth+1)
		}
		return append(b, '}')
	}
	b = append(b, '[')
	for i, e := range elements {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.annotation(b, e, depth+1)
	}
	return append(b, ']')
}

func appendFloat(b []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return trace.AppendText(b, strconv.FormatFloat(v, 'g', -1, 64))
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}
