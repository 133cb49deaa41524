package write

import (
	"context"
	"errors"
	"io"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/folded"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/opstats"
	"github.com/kinetoscope/kinetoscope/trace/sheet"
)

func init() {
	format.AddWriter(format.Format{
		Name: "xlsx", Packs: true, Keeps: format.Parts{Names: true},
		Create: func(w io.Writer, o format.WriteOptions) format.Writer { return &sheetWriter{w: w, o: o} },
		Lacks: "times and order: it has operators with their sums by name, and by shapes and stack where these were recorded; " +
			"kernels by name, no other slices",
	})
	format.Register(format.Format{
		Name: "folded", Title: "folded stacks, host time in µs", Extensions: []string{".folded"},
		Keeps: format.Parts{Names: true, Nesting: true},
		Create: func(w io.Writer, o format.WriteOptions) format.Writer {
			return &foldedWriter{w: w, o: o, s: folded.New(), add: (*folded.Stacks).Add, none: errNoHost}
		},
		Lacks: "times and order: it has stacks with the sum of their time, spaces in names, stacks of less than half a µs",
	})
	format.Register(format.Format{
		Name: "folded-device", Title: "folded stacks that launched device work, its time in µs",
		Extensions: []string{".device.folded"}, Keeps: format.Parts{Names: true, Nesting: true},
		Create: func(w io.Writer, o format.WriteOptions) format.Writer {
			return &foldedWriter{w: w, o: o, s: folded.New(), none: errNoDevice,
				add: func(s *folded.Stacks, root string, t *trace.Trace) { s.AddDevice(root, t, opstats.Collect(t)) }}
		},
		Lacks: "times and order, names of kernels: it has the stacks that launched work with the sum of its time, spaces in names",
	})
}

// sheetWriter writes the workbook of operators. It keeps no trace.
type sheetWriter struct {
	w    io.Writer
	o    format.WriteOptions
	book *sheet.Book // nil: no rank yet
}

func (s *sheetWriter) Add(ctx context.Context, r format.Rank) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.book == nil {
		if s.book, err = sheet.New(); err != nil {
			return err
		}
	}
	name := r.Name
	if s.o.Ranks < 2 {
		name = ""
	}
	return s.book.Add(name, opstats.Collect(r.Trace), sheetsOf(r.Trace))
}

// sheetsOf are the sheets for which the trace recorded enough.
func sheetsOf(t *trace.Trace) (o sheet.Options) {
	for i, c := range t.Slices.Cat {
		o.Stacks = o.Stacks || c == trace.CatPythonFunction || len(t.Arg(i, "Call stack")) > 0
		o.Shapes = o.Shapes || len(t.Arg(i, "Input Dims")) > 0
		if o.Stacks && o.Shapes {
			break
		}
	}
	return o
}

func (s *sheetWriter) Close(context.Context) error {
	if s.book == nil {
		return errNothing
	}
	return errors.Join(s.book.Write(s.w), s.book.Close())
}

// foldedWriter writes folded stacks. It keeps no trace.
type foldedWriter struct {
	w    io.Writer
	o    format.WriteOptions
	s    *folded.Stacks
	add  func(s *folded.Stacks, root string, t *trace.Trace)
	none error // what to say of traces without a stack
}

// What folded stacks cannot be made of.
var (
	errNoHost   = errors.New("there is no time of a host in these traces")
	errNoDevice = errors.New("there is no work of a device in these traces")
)

func (f *foldedWriter) Add(ctx context.Context, r format.Rank) error {
	root := ""
	if f.o.Ranks > 1 {
		root = r.Name
	}
	f.add(f.s, root, r.Trace)
	return ctx.Err()
}

func (f *foldedWriter) Close(context.Context) error {
	if f.s.Len() == 0 {
		return f.none
	}
	return f.s.Write(f.w)
}
