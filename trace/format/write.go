package format

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// WriteOptions say how a file is written. The zero value is usable.
type WriteOptions struct {
	Name    string // of the file, for formats that hold one
	Source  string // what the ranks are of, a run's name say: the same whatever the file is called
	Workers int    // goroutines that compress; 0 and 1 are one
	// StartNs is about the first time of what will be added, ns since the Unix epoch.
	StartNs int64
	// Ranks is how many ranks will be added; a file of one rank keeps its ids as they are.
	Ranks int
	// Packed says that the caller compresses the file as a whole: a format that compresses parts
	// of it otherwise need not.
	Packed bool
}

// Rank is one trace to be written.
type Rank struct {
	Trace *trace.Trace
	Name  string // "stage0 thinker rank 1"
	// Labels are further facts for people: "host a", "clock ±12µs".
	Labels []string
	// Clock maps the trace's time to the file's, ns, not decreasing; nil: the same.
	Clock func(int64) int64
}

// Writer writes ranks into one file, one after the other. It belongs to one goroutine.
type Writer interface {
	// Add writes a rank, or keeps of its trace what Close needs.
	Add(ctx context.Context, r Rank) error
	// Close completes the file, which may be the most of the work. Without it, or after an error of
	// Add, the file is damaged.
	Close(ctx context.Context) error
}

// Until returns a writer to w that fails once ctx has ended: it ends writers that do not look at a
// context themselves.
func Until(ctx context.Context, w io.Writer) io.Writer { return until{ctx, w} }

type until struct {
	ctx context.Context
	w   io.Writer
}

func (u until) Write(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.w.Write(p)
}

// AddWriter registers how files of an already registered format are written. Readers and writers
// are registered apart because they lie in packages of different levels. Of f it takes what is about
// writing: Create, Keeps, Lacks, Packs, OneClock. It panics if no format of f's name is registered, or one
// that has a writer already.
func AddWriter(f Format) {
	mu.Lock()
	defer mu.Unlock()
	for i := range known {
		k := &known[i]
		if k.Name == f.Name && k.Create == nil {
			k.Create, k.Keeps, k.Lacks, k.Packs, k.OneClock = f.Create, f.Keeps, f.Lacks, f.Packs, f.OneClock
			return
		}
	}
	panic(fmt.Sprintf("format %q: it is not registered, or has a writer", f.Name))
}

// Compression is how a file is packed as a whole, told by what its name ends with.
type Compression string

// The compressions.
const (
	Plain Compression = ""
	Gzip  Compression = ".gz"
	Zstd  Compression = ".zst"
)

// ForPath returns the format in which a file of this name is written, by its extension, the
// longest first, and how it is to be packed. The error lists what is possible.
func ForPath(path string) (Format, Compression, error) {
	name := strings.ToLower(filepath.Base(path))
	if f, ok := writable(name); ok {
		return f, Plain, nil
	}
	for _, c := range []Compression{Gzip, Zstd} {
		inner, packed := strings.CutSuffix(name, string(c))
		if !packed {
			continue
		}
		switch f, ok := writable(inner); {
		case !ok:
		case f.Packs:
			return Format{}, Plain, fmt.Errorf("%s: %s is compressed in itself; leave out %s", path, f.Extensions[0], c)
		default:
			return f, c, nil
		}
	}
	return Format{}, Plain, fmt.Errorf("%s: nothing is written in files that end so; there are %s", path,
		strings.Join(Written(), ", "))
}

// writable returns the written format with the longest extension that name ends with.
func writable(name string) (best Format, ok bool) {
	longest := 0
	for _, f := range All() {
		for _, e := range f.Extensions {
			if f.Create != nil && strings.HasSuffix(name, e) && len(e) > longest {
				best, longest, ok = f, len(e), true
			}
		}
	}
	return best, ok
}

// Written returns the extensions of what can be written, sorted.
func Written() []string {
	var out []string
	for _, f := range All() {
		if f.Create != nil {
			out = append(out, f.Extensions...)
		}
	}
	slices.Sort(out)
	return out
}
