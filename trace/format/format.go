// Package format is the registry of the kinds of file that hold traces: their names,
// the extensions that they go by, how their content is told, and who reads and writes
// them. Opening a path, a directory or an archive, listing what was not read, and the
// documentation all go by it, so that a new format is one file that registers it.
//
// What a file is packed in (package unpack) is not a format, and neither is a directory
// or an archive of many.
package format

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/unpack"
)

// HeadBytes is the most of a file's unpacked beginning that Sniff is given. The first call has
// SniffFirst bytes; a short file has fewer.
const (
	HeadBytes  = 256 << 10
	SniffFirst = 4 << 10
)

// Format is one kind of file.
type Format struct {
	Name  string // as commands and Meta.Format have it: "kineto", "native"
	Title string // for a reader, in the singular: "recording of package profiler"

	// Extensions are the endings of names, with the dot and without what packs them;
	// the first is what files are written with. They tell which files of a directory are
	// looked into first; content decides.
	Extensions []string

	// Sniff tells by a file's first bytes, unpacked, whether it is of this format. Where several
	// formats accept a file, the one of the highest Rank counts: the more a Sniff asks of the
	// bytes, the higher its Rank should be.
	Sniff func(head []byte) bool
	Rank  int

	// SniffDir tells whether a directory as a whole is one trace; nil if none ever is.
	SniffDir func(path string) bool

	// Read reads the traces of a file, in their order, at least one without an error. It
	// is nil for what is known and holds no trace: Title then says why a file is left out.
	Read func(ctx context.Context, in Input, o Options) ([]*trace.Trace, error)

	// Aside says that such files lie beside traces and repeat a part of what these hold. They are
	// left out when a directory is read, and read when they are given by name.
	Aside bool

	// Create begins a file of this format; nil if nothing writes it. The caller adds ranks and
	// closes the Writer; w stays open.
	Create func(w io.Writer, o WriteOptions) Writer
	// Keeps says what of every slice a written file gives back, as docs/formats.md lists it. Where it
	// keeps times and Read reads it, a test of package write compares what comes back.
	Keeps Parts
	// Lacks says what of a trace a written file has no place for; "" if it holds everything.
	Lacks string
	// OneClock says that a file of several ranks shows them beside each other on one clock, so
	// that traces which have nothing to do with each other make no sense in it.
	OneClock bool
	// Packs reports that written files are compressed already, so that ".gz" or ".zst" behind
	// the extension would gain nothing and is refused.
	Packs bool
}

// Parts are parts of a slice.
type Parts struct{ Times, Names, Nesting, Args, Categories bool }

// Everything is all of them.
var Everything = Parts{Times: true, Names: true, Nesting: true, Args: true, Categories: true}

// Input is what is read.
type Input struct {
	Name string    // the path, or an archive's path and its member's name, for messages and for whose trace it is
	Path string    // where the content lies as it is on disk; "" if it comes from a stream or an archive
	R    io.Reader // the content, packed or not; nil for a directory
	Size int64     // bytes of R, 0 if unknown
}

// Options says how to read; they are those of kineto.Options.
type Options struct {
	Workers  int
	DropArgs bool
	Room     func(taken, read, size int64) bool
	Progress func(read, events, size int64)
}

var (
	mu    sync.RWMutex
	known []Format
)

// Register adds a format; it is for the initialisation of a file that defines one. It
// panics if the name is taken or nothing tells the format's files.
func Register(f Format) {
	mu.Lock()
	defer mu.Unlock()
	if f.Name == "" || f.Title == "" || f.Sniff == nil && f.SniffDir == nil && f.Create == nil {
		panic(fmt.Sprintf("format %q: a name, a title and a way to tell or write its files are needed", f.Name))
	}
	if slices.ContainsFunc(known, func(k Format) bool { return k.Name == f.Name }) {
		panic(fmt.Sprintf("format %q is registered twice", f.Name))
	}
	known = append(known, f)
	slices.SortStableFunc(known, func(a, b Format) int {
		return cmp.Or(cmp.Compare(b.Rank, a.Rank), strings.Compare(a.Name, b.Name))
	})
}

// All returns the formats, those of the highest rank first.
func All() []Format {
	mu.RLock()
	defer mu.RUnlock()
	return slices.Clone(known)
}

// Lookup returns the format of a name.
func Lookup(name string) (Format, bool) {
	for _, f := range All() {
		if f.Name == name {
			return f, true
		}
	}
	return Format{}, false
}

// Title says for a reader what wrote traces whose Meta.Format is name; the name itself if
// it is not registered.
func Title(name string) string {
	if f, ok := Lookup(name); ok {
		return f.Title
	}
	return name
}

// Of tells the format of a file by its first bytes, unpacked.
func Of(head []byte) (Format, bool) {
	for _, f := range All() {
		if f.Sniff != nil && f.Sniff(head) {
			return f, true
		}
	}
	return Format{}, false
}

// OfDir tells the format of a directory that is one trace as a whole.
func OfDir(path string) (Format, bool) {
	for _, f := range All() {
		if f.SniffDir != nil && f.SniffDir(path) {
			return f, true
		}
	}
	return Format{}, false
}

// Extensions returns the endings of the names of files that can be read, sorted.
func Extensions() []string {
	var out []string
	for _, f := range All() {
		if f.Read != nil {
			out = append(out, f.Extensions...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Of returns err, of a reader that knows a stream alone, with the input's name before it.
func (in Input) Of(err error) error {
	if err == nil || in.Name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", in.Name, err)
}

// Local returns the path of a file with the input's content, unpacked: the input itself or
// a copy that done removes. It is for formats whose readers jump about in a file.
func (in Input) Local() (path string, done func(), err error) {
	u, err := unpack.New(in.R)
	if err != nil {
		return "", nil, err
	}
	defer u.Close()
	if in.Path != "" && u.Kind() == unpack.Plain {
		return in.Path, func() {}, nil
	}
	return Spool(u)
}

// Spool writes r to a file that done removes.
func Spool(r io.Reader) (path string, done func(), err error) {
	f, err := os.CreateTemp("", "kinetoscope-*")
	if err != nil {
		return "", nil, err
	}
	done = func() { os.Remove(f.Name()) }
	n, err := io.Copy(f, io.LimitReader(r, unpack.MaxSpool+1))
	if err == nil && n > unpack.MaxSpool {
		err = fmt.Errorf("over %d GiB", unpack.MaxSpool>>30)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		done()
		return "", nil, err
	}
	return f.Name(), done, nil
}
