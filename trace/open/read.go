package open

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
	"github.com/kinetoscope/kinetoscope/trace/split"
	"github.com/kinetoscope/kinetoscope/trace/unpack"
)

// reading is one source being read.
type reading struct {
	s     *Source
	o     *Options
	fo    format.Options
	hints identity.Hints
	left  []Left
}

// read reads the traces of the source, at least one.
func (r *reading) read(ctx context.Context) ([]*trace.Trace, error) {
	list, err := r.file(ctx, r.s.Path, r.s.Format)
	if len(r.s.Twins) == 0 {
		return list, err
	}
	return r.twins(ctx, list, err)
}

// file reads what is at path.
func (r *reading) file(ctx context.Context, path, name string) ([]*trace.Trace, error) {
	if path == Stdin {
		return r.pipe(ctx)
	}
	if r.s.Archive {
		return r.archive(ctx, path)
	}
	f, ok := format.Lookup(name)
	if !ok {
		return nil, fmt.Errorf("open trace %s: no format %q", path, name)
	}
	if f.SniffDir != nil && f.Sniff == nil {
		return r.done(f.Read(ctx, format.Input{Name: path, Path: path}, r.fo))
	}
	if !r.fo.DropArgs {
		if t, err := r.o.Index.Load(path, r.room()); err == nil {
			identity.Learn(&t.Meta, r.hints)
			return []*trace.Trace{t}, nil
		}
	}
	file, err := plainfile.ByPath(path)
	if err != nil {
		return nil, fmt.Errorf("open trace: %w", err)
	}
	defer file.Close()
	list, err := f.Read(ctx, format.Input{Name: path, Path: path, R: file, Size: r.s.Size}, r.fo)
	if list, err = r.done(list, err); err != nil {
		return nil, known(file, path, err)
	}
	if len(list) == 1 && !r.fo.DropArgs && name == "kineto" {
		if err := r.o.Index.Save(path, list[0]); err != nil { // the trace is read all the same
			slog.WarnContext(ctx, "index not saved", "file", path, "err", err)
		}
	}
	return list, nil
}

// known is err of a reader of traces, or, where the file is of a format that is known to hold none, an error that
// says so.
func known(file io.ReadSeeker, path string, err error) error {
	if _, serr := file.Seek(0, io.SeekStart); serr != nil {
		return err
	}
	k, serr := sniff(file)
	if serr != nil || !k.known || k.format.Read != nil || k.format.Name == "json" { // of JSON its reader says more
		return err
	}
	return &kineto.FormatError{File: path, Want: "a trace", Got: k.format.Title}
}

// room asks for the memory that an index takes. It is nil without a limit.
func (r *reading) room() func(int64) bool {
	if r.fo.Room == nil {
		return nil
	}
	return func(n int64) bool { return r.fo.Room(n, r.s.Size, r.s.Size) }
}

// done parts what was read into the traces of ranks and says whose they are.
func (r *reading) done(list []*trace.Trace, err error) ([]*trace.Trace, error) {
	if err != nil {
		return nil, err
	}
	list = split.Documents(list)
	for i, t := range list {
		t.Sound()
		if len(list) > 1 {
			t.Meta.Part = i + 1
		}
		h := r.hints
		if t.Meta.File != r.s.Path {
			h = identity.FromPath(t.Meta.File)
		}
		identity.Learn(&t.Meta, h)
		if twice := t.Twice(); len(twice) > 0 {
			t.Slices.Drop(twice)
			t.Repairs.Add(trace.RepairTwice, len(twice))
		}
		t.Meta.Print = identity.Print(t)
		t.Meta.Sketch, t.Meta.Content = identity.Sketch(t)
	}
	return list, nil
}

// pipe reads a stream. An archive is written to disk first, for its members are looked up
// in it.
func (r *reading) pipe(ctx context.Context) ([]*trace.Trace, error) {
	in := r.o.Stdin
	if in == nil {
		in = os.Stdin
	}
	head, err := readHead(in, format.SniffFirst)
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	k, err := sniff(bytes.NewReader(head))
	whole := io.MultiReader(bytes.NewReader(head), in)
	if err == nil && k.archive {
		path, done, err := format.Spool(whole)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		defer done()
		return r.archive(ctx, path)
	}
	f, _ := format.Lookup("kineto")
	if err == nil && k.known && k.format.Read != nil {
		f = k.format
	}
	return r.done(f.Read(ctx, format.Input{Name: "", R: whole}, r.fo))
}

// maxNested bounds how deep archives may lie in archives: a collector packs each host's files, and
// somebody packs those. More is made to exhaust readers.
const maxNested = 3

// archived is an archive being read.
type archived struct {
	path, name string // of the file on disk, and as messages and traces have it
	depth      int    // archives that it lies in
	held       int64  // bytes of the traces that were read before
}

// archive reads the traces in the file at path; its other members are left out.
func (r *reading) archive(ctx context.Context, path string) ([]*trace.Trace, error) {
	out, damaged, err := r.members(ctx, archived{path: path, name: r.s.Path})
	if err != nil {
		return nil, err
	}
	switch {
	case damaged != nil && len(out) == 0:
		return nil, &kineto.FormatError{File: r.s.Path, Want: "an archive with traces", Got: "a damaged one: " +
			damaged.Error()}
	case len(out) == 0:
		inside := r.left // said by the error, and so not once more for each of them
		r.left = nil
		return nil, &EmptyError{Dir: r.s.Path, Archive: true, Left: inside}
	}
	return out, nil
}

// members reads the traces in an archive. damaged says why it ended before its end; the last trace
// of it notes that.
func (r *reading) members(ctx context.Context, a archived) (out []*trace.Trace, damaged, err error) {
	file, err := plainfile.ByPath(a.path)
	if err != nil {
		return nil, nil, fmt.Errorf("open trace: %w", err)
	}
	defer file.Close()
	damaged, err = unpack.Members(ctx, file, func(m unpack.Member) error {
		list, reason, err := r.member(ctx, a, m)
		if reason != "" {
			r.left = append(r.left, Left{a.name + "/" + m.Name, reason})
		}
		for _, t := range list {
			a.held += t.Bytes()
		}
		out = append(out, list...)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if damaged != nil && len(out) > 0 {
		out[len(out)-1].Repairs.Add(trace.RepairTruncatedStream, 1)
	}
	return out, damaged, nil
}

// nested reads an archive that is a member of another one.
func (r *reading) nested(ctx context.Context, a archived, in io.Reader) (list []*trace.Trace, reason string,
	err error) {
	if a.depth > maxNested {
		return nil, fmt.Sprintf("an archive in %d others: unpack it first", a.depth), nil
	}
	path, done, err := format.Spool(in)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", a.name, err)
	}
	defer done()
	a.path = path
	before := len(r.left)
	list, damaged, err := r.members(ctx, a)
	switch {
	case err != nil || len(list) > 0:
		return list, "", err
	case damaged != nil:
		return nil, "a damaged archive: " + damaged.Error(), nil
	case len(r.left) == before:
		return nil, "an archive without a file", nil
	}
	return nil, "", nil // each of its members is named
}

// member reads one file of an archive; reason says why it is left out.
func (r *reading) member(ctx context.Context, a archived, m unpack.Member) (list []*trace.Trace, reason string,
	err error) {
	if m.Unread != "" {
		return nil, m.Unread, nil
	}
	name := a.name + "/" + m.Name
	head, err := readHead(m.R, format.SniffFirst)
	if err != nil {
		return nil, "", err
	}
	k, err := sniff(bytes.NewReader(head))
	in := format.Input{Name: name, R: io.MultiReader(bytes.NewReader(head), m.R), Size: m.Size}
	switch {
	case len(head) == 0:
		return nil, "empty", nil
	case err != nil:
		return nil, "damaged: " + err.Error(), nil
	case k.archive && zipped[strings.ToLower(filepath.Ext(name))] != "":
		return nil, zipped[strings.ToLower(filepath.Ext(name))], nil
	case k.archive:
		return r.nested(ctx, archived{name: name, depth: a.depth + 1, held: a.held}, in.R)
	}
	if !k.known || k.format.Read == nil { // its first bytes may be too few to tell
		rest, err := readHead(m.R, format.HeadBytes)
		if err != nil {
			return nil, "", err
		}
		head = append(head, rest...)
		if k, err = sniff(bytes.NewReader(head)); err != nil || !k.known || k.format.Read == nil {
			return nil, k.reason(), nil
		}
		in.R = io.MultiReader(bytes.NewReader(head), m.R)
	}
	o := r.fo
	o.Progress = nil // it counts bytes of the archive
	if room := r.fo.Room; room != nil {
		o.Room = func(taken, _, _ int64) bool { return room(a.held+taken, 0, 0) }
	}
	list, err = k.format.Read(ctx, in, o)
	if list, err = r.done(list, err); unreadable(err) {
		return nil, err.Error(), nil
	}
	return list, "", err
}

// unreadable reports whether err is about a file's content, rather than about a context, memory or
// the file system.
func unreadable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, kineto.ErrMemory) {
		return false
	}
	var p *os.PathError
	return !errors.As(err, &p)
}
