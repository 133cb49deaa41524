// Package open finds and reads traces of every kind: a file, standard input, a
// directory of ranks, a directory of torch_npu. It decides by content, reads many
// files at once and stays within a limit of memory.
package open

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/ascend"
	"github.com/kinetoscope/kinetoscope/trace/index"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
	"github.com/kinetoscope/kinetoscope/trace/native"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// What a trace takes in memory, as shares of its text and of its packed size. Real
// files have 150 bytes of text and more an event and unpack to ten to twenty times
// their size; a trace takes 60 to 80 bytes an event. See docs/reader.md.
const (
	memoryOfPlain  = 0.3
	memoryOfPacked = 6.0
	shareOfColumns = 0.8 // what stays without arguments
)

// Options says how to open. The zero value reads everything with all cores and no
// limit.
type Options struct {
	Workers  int   // scanning goroutines in all; 0 means GOMAXPROCS
	Memory   int64 // bytes that traces may take at a time, without the readers' buffers; 0: no limit
	DropArgs bool  // keep no arguments
	Index    index.Cache
	Stdin    io.Reader // what Stdin reads; nil means os.Stdin

	// Progress is called from several goroutines, not at the same time, and must be
	// quick.
	Progress func(Progress)
}

// Progress is how far opening got.
type Progress struct {
	Files, Done int
	Read, Size  int64 // bytes of the files as they lie on disk
	Events      int64
	Elapsed     time.Duration
}

// ETA estimates the time left; 0 if nothing is known yet.
func (p Progress) ETA() time.Duration {
	if p.Read <= 0 || p.Size <= p.Read {
		return 0
	}
	return time.Duration(float64(p.Elapsed) * float64(p.Size-p.Read) / float64(p.Read))
}

// MemoryError tells that traces need more memory than they may take.
type MemoryError struct {
	File        string // "" for all files together
	Need, Limit int64  // bytes; Need is an estimate
}

// Error implements error.
func (e *MemoryError) Error() string {
	what := e.File
	if what == "" {
		what = "the traces together"
	}
	return fmt.Sprintf("%s: about %.4g MiB of memory needed even without arguments, %.4g MiB allowed: raise the limit or open fewer files",
		what, float64(e.Need)/(1<<20), float64(e.Limit)/(1<<20))
}

// Files reads the traces at paths; directories stand for the traces in them. The
// result is in the order of Find. If the limit of memory is too small for all traces
// with their arguments, they come without; if it is too small for that, the error is a
// MemoryError. What files will take is estimated first, and counted while they are
// read.
func Files(ctx context.Context, paths []string, o Options) ([]*trace.Trace, error) {
	list, err := Find(paths)
	if err != nil {
		return nil, err
	}
	if o.Memory > 0 {
		var need int64
		for _, s := range list {
			need += s.memory()
		}
		if need > o.Memory {
			o.DropArgs = true
			need = int64(float64(need) * shareOfColumns)
		}
		if need > o.Memory {
			return nil, &MemoryError{Need: need, Limit: o.Memory}
		}
	}
	out := make([]*trace.Trace, len(list))
	err = each(ctx, list, o, true, func(i int, t *trace.Trace) error {
		out[i] = t
		return nil
	})
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(out, lostArgs) {
		for _, t := range out {
			if !lostArgs(t) {
				t.DropArgs()
				t.Repairs.Add(trace.RepairArgsMemory, 1)
			}
		}
	}
	return out, nil
}

func lostArgs(t *trace.Trace) bool { return t.Repairs.Count[trace.RepairArgsMemory] > 0 }

// Each reads the traces at paths as Files does and hands each to f, from several
// goroutines, when it is there; i counts in the order of Find. What f does not keep
// is free again after it, so that traces of any total size pass within the limit. A
// trace that alone is too large comes without arguments, or fails.
func Each(ctx context.Context, paths []string, o Options, f func(i int, t *trace.Trace) error) error {
	list, err := Find(paths)
	if err != nil {
		return err
	}
	return each(ctx, list, o, false, f)
}

// each reads the sources; keep says that f keeps the traces.
func each(ctx context.Context, list []Source, o Options, keep bool, f func(int, *trace.Trace) error) error {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	limit := o.Memory
	if limit <= 0 {
		limit = 1 << 62
	}
	mem := &pool{room: semaphore.NewWeighted(limit), limit: limit}
	p := newProgress(list, o.Progress)
	outer := ctx
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, min(o.Workers, len(list))))
	workers := max(1, o.Workers/max(1, len(list)))
	for i, s := range list {
		need, drop := s.memory(), o.DropArgs
		if drop || need > limit {
			need, drop = int64(float64(need)*shareOfColumns), true
		}
		if need > limit {
			return errors.Join(&MemoryError{File: s.Path, Need: need, Limit: o.Memory}, g.Wait())
		}
		g.Go(func() error {
			h := &share{pool: mem, keep: keep}
			defer h.close()
			k := kineto.Options{Workers: workers, DropArgs: drop, Progress: p.of(i)}
			t, err := h.read(ctx, &s, o, k, need)
			if err != nil {
				return err
			}
			p.done(i)
			return f(i, t)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return outer.Err()
}

// read reads one source.
func (s *Source) read(ctx context.Context, o Options, k kineto.Options) (*trace.Trace, error) {
	switch s.Kind {
	case Ascend:
		return ascend.ReadDir(ctx, s.Path, k)
	case Native:
		t, _, err := native.ReadFile(ctx, s.Path)
		return t, err
	case Pipe:
		in := o.Stdin
		if in == nil {
			in = os.Stdin
		}
		return fromPipe(ctx, in, k)
	}
	if !k.DropArgs {
		if t, err := o.Index.Load(s.Path); err == nil {
			return t, nil
		}
	}
	t, err := kineto.ReadFile(ctx, s.Path, k)
	if err != nil {
		return nil, err
	}
	if t.Meta.Format == "ascend" {
		ascend.Classify(t)
	}
	if !k.DropArgs {
		if err := o.Index.Save(s.Path, t); err != nil { // the trace is read all the same
			slog.WarnContext(ctx, "index not saved", "file", s.Path, "err", err)
		}
	}
	return t, nil
}

// fromPipe reads a recording or a trace from a stream.
func fromPipe(ctx context.Context, in io.Reader, k kineto.Options) (*trace.Trace, error) {
	head := make([]byte, len(format.Magic))
	n, err := io.ReadFull(in, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	in = io.MultiReader(bytes.NewReader(head[:n]), in)
	if isNative(head[:n]) {
		t, _, err := native.Read(ctx, in)
		return t, err
	}
	t, err := kineto.Read(ctx, in, k)
	if err == nil && t.Meta.Format == "ascend" {
		ascend.Classify(t)
	}
	return t, err
}

// progress adds up what the readers report.
type progress struct {
	mu    sync.Mutex
	call  func(Progress)
	start time.Time
	sum   Progress
	files []Progress
}

func newProgress(list []Source, call func(Progress)) *progress {
	p := &progress{call: call, start: time.Now(), files: make([]Progress, len(list))}
	p.sum.Files = len(list)
	for i, s := range list {
		p.files[i].Size = s.Size
		p.sum.Size += s.Size
	}
	return p
}

func (p *progress) of(i int) func(read, events, size int64) {
	if p.call == nil {
		return nil
	}
	return func(read, events, _ int64) { p.add(i, read, events, 0) }
}

func (p *progress) done(i int) {
	if p.call != nil {
		p.add(i, p.files[i].Size, p.files[i].Events, 1)
	}
}

func (p *progress) add(i int, read, events int64, done int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &p.files[i]
	p.sum.Read += read - f.Read
	p.sum.Events += events - f.Events
	p.sum.Done += done
	f.Read, f.Events = read, events
	p.sum.Elapsed = time.Since(p.start)
	p.call(p.sum)
}
