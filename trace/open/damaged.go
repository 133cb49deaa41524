package open

import (
	"errors"

	"github.com/kinetoscope/kinetoscope/trace/gotrace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
	"github.com/kinetoscope/kinetoscope/trace/nsys"
	"github.com/kinetoscope/kinetoscope/trace/perfetto"
	"github.com/kinetoscope/kinetoscope/trace/pprof"
	"github.com/kinetoscope/kinetoscope/trace/proton"
	"github.com/kinetoscope/kinetoscope/trace/rocprof"
	"github.com/kinetoscope/kinetoscope/trace/sglangomni"
	"github.com/kinetoscope/kinetoscope/trace/xplane"
)

// Damaged reports whether err says that a file holds no trace that can be read: the file is to be
// brought again, and nothing is wrong with who reads it.
func Damaged(err error) bool {
	return is[*EmptyError](err) || is[*kineto.FormatError](err) || is[*gotrace.FormatError](err) ||
		is[*nsys.FormatError](err) || is[*perfetto.FormatError](err) || is[*pprof.FormatError](err) ||
		is[*proton.FormatError](err) || is[*rocprof.FormatError](err) || is[*sglangomni.FormatError](err) ||
		is[*xplane.FormatError](err)
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
