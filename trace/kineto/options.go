// Package kineto reads the trace files that torch.profiler writes: Kineto's Chrome
// JSON of every era, the array of torch without Kineto, and the likes of both with
// which other tools overlay or rewrite them. docs/trace-formats.md lists the dialects
// and every repair.
//
// # How a file is read
//
// One goroutine unpacks the text into blocks and cuts each where an event seems to
// begin. Workers scan blocks into columns, each with tables of its own for names,
// argument templates and lanes. The caller's goroutine takes the results in order and
// renumbers them into one trace. A cut is a guess; it is right if the block before it
// ends between two events, and that is known once that block is scanned. After a wrong
// guess the block is scanned again from the right place, so the trace does not depend
// on the number of workers or the size of blocks.
//
// # What is kept
//
// Complete events become slices, with the arguments as templates and values (see
// package trace), instants, flows and counters rows of their own; metadata rows name
// tracks; the other keys of the file go to Meta. Times are int64 ns, read from the
// decimal text.
package kineto

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/trace"
)

const (
	// defaultWindow is large against an event and small against the caches of a few
	// cores; a file takes a handful of them at a time.
	defaultWindow = 4 << 20
	// firstWindow is the size of the first block, so that a small file costs little;
	// each next one is four times as large up to the window.
	firstWindow = 64 << 10
	// minWindow is the least that makes sense to hand to a worker; tests go below.
	minWindow = 1 << 6
	// defaultMaxEvent bounds what one event may take. Events of real files stay below
	// 1 MiB, also with long stacks.
	defaultMaxEvent = 16 << 20
	// maxHead bounds what may stand before and after the events.
	maxHead = 256 << 20
)

// Options says how to read. The zero value reads everything with all cores.
type Options struct {
	Workers  int   // goroutines that scan; 0 means GOMAXPROCS
	Window   int   // bytes of text a block; 0 means 4 MiB
	MaxEvent int   // largest event in bytes of text; 0 means 16 MiB
	DropArgs bool  // keep no arguments; correlation, device and stream are still read
	Size     int64 // bytes of the input if known, for Progress

	// Room, if set, is asked after every block whether the trace may take that much memory, in
	// bytes; a part of it may be reserved for the rest of the file. If it says no, the arguments
	// are dropped; if it says no again, reading ends with ErrMemory. read and size are as for
	// Progress. The reader's own buffers, some 8 MiB a worker, are not counted.
	Room func(taken, read, size int64) bool

	// Progress is called after every block with what was read of the input, in bytes
	// of the file as it lies on disk, the events so far, and Size. It must be quick.
	Progress func(read, events, size int64)
}

func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Window <= 0 {
		o.Window = defaultWindow
	}
	o.Window = max(o.Window, minWindow)
	if o.MaxEvent <= 0 {
		o.MaxEvent = defaultMaxEvent
	}
	return o
}

// ErrMemory reports that Options.Room refused what the trace takes without arguments.
var ErrMemory = errors.New("the trace takes more memory than it may")

// FormatError says why a file is not a trace that this package reads.
type FormatError struct {
	File   string // may be empty
	Offset int64  // in the unpacked text
	Want   string // what was expected there
	Got    string // what was there, and what it looks like
}

// Error implements error.
func (e *FormatError) Error() string {
	file := e.File
	if file == "" {
		file = "trace"
	}
	return fmt.Sprintf("%s: byte %d: expected %s, found %s", file, e.Offset, e.Want, e.Got)
}

// ReadFile reads the first trace in the file at path, packed or not. What the content
// does not tell of stage and rank is taken from the path. Most files hold one trace;
// ReadFileAll reads all of them.
func ReadFile(ctx context.Context, path string, o Options) (*trace.Trace, error) {
	return first(ReadFileAll(ctx, path, o))
}

// ReadFileAll reads the traces in the file at path in their order, at least one. Files
// hold several where ranks wrote into one or where somebody joined files.
func ReadFileAll(ctx context.Context, path string, o Options) ([]*trace.Trace, error) {
	f, err := plainfile.ByPath(path)
	if err != nil {
		return nil, fmt.Errorf("open trace: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil {
		o.Size = st.Size()
	}
	return read(ctx, f, path, o)
}

// Read reads r, packed or not, to its end and returns its first trace. When ctx ends it
// returns as soon as a call of r.Read in progress does.
func Read(ctx context.Context, r io.Reader, o Options) (*trace.Trace, error) {
	return first(ReadAll(ctx, r, "", o))
}

// ReadAll reads r, packed or not, to its end and returns its traces in their order, at
// least one. name stands for the path of a file, in messages and for what it tells of
// stage and rank; it may be empty.
func ReadAll(ctx context.Context, r io.Reader, name string, o Options) ([]*trace.Trace, error) {
	return read(ctx, r, name, o)
}

// first returns the first of a file's traces and notes in it that there are more.
func first(list []*trace.Trace, err error) (*trace.Trace, error) {
	if err != nil {
		return nil, err
	}
	for _, t := range list[1:] {
		list[0].Repairs.Add(trace.RepairAfterEnd, 1)
		list[0].Repairs.Skipped += t.Repairs.Text
		list[0].Repairs.Text += t.Repairs.Text
	}
	return list[0], nil
}
