// Package open finds and reads traces of every kind: a file, standard input, a
// directory of ranks, a directory of torch_npu. It decides by content, reads many
// files at once and stays within a limit of memory.
package open

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/trace/index"
	"github.com/kinetoscope/kinetoscope/units"
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
	// surely is the share of an estimate that every trace takes at least, as texts and packing
	// differ. A source whose share alone exceeds the limit is refused unread; others are counted
	// while they are read.
	surely = 0.1
)

// Options says how to open. The zero value reads everything with all cores and no
// limit.
type Options struct {
	Workers int   // scanning goroutines in all; 0 means GOMAXPROCS
	Memory  int64 // bytes that traces may take at a time, without the readers' buffers; 0: no limit
	// Share is how many bytes of traces are read at a time where Memory is no limit: a trace that is expected to take
	// more is read alone, whatever it takes. 0: as many traces as there are workers.
	Share    int64
	DropArgs bool // keep no arguments
	// Keep says that the function of EachSource keeps the traces: what was read counts against Memory to the end.
	Keep  bool
	Index index.Cache
	Stdin io.Reader // what Stdin reads; nil means os.Stdin

	// Only, if not nil, says which of the sources are read. What the paths of all tell of each
	// counts all the same.
	Only func(i int) bool

	// Left is told what is not read and what does not count: files of directories and
	// archives, copies. It is called by one goroutine at a time.
	Left func(Left)

	// Progress is called from several goroutines, not at the same time, and must be
	// quick.
	Progress func(Progress)
}

// tell hands on what is left out.
func (o *Options) tell(list []Left) {
	if o.Left == nil {
		return
	}
	for _, l := range list {
		o.Left(l)
	}
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

// MemoryError reports that traces need more memory than they may take.
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
	return fmt.Sprintf(
		"%s: about %s of memory needed even without arguments, %s allowed: raise the limit or open fewer files",
		what, units.Bytes(e.Need), units.Bytes(e.Limit))
}

// ContentError reports that a file's content cannot be read: it is not what its beginning says, or
// of no known kind. Faults of the disk, of memory or of permissions are other errors.
type ContentError struct {
	Path string
	Err  error // names the file
}

// Error implements error.
func (e *ContentError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ContentError) Unwrap() error { return e.Err }

// tooLarge is a MemoryError if what is estimated at need bytes cannot be within the limit.
func tooLarge(file string, need, limit int64) error {
	need = int64(float64(need) * shareOfColumns)
	if limit > 0 && float64(need)*surely > float64(limit) {
		return &MemoryError{File: file, Need: need, Limit: limit}
	}
	return nil
}

// Files reads the traces at paths. A directory stands for the traces in it, and so does a file that
// holds several: an archive, or a file of many ranks. The result is in the order of Find and of
// each file, without copies of traces. If the limit of memory is too small for all traces with
// their arguments, they come without; if it is too small even for that, the error is a MemoryError.
// The memory is counted while traces are read; what must exceed the limit by its files' sizes is
// refused before.
func Files(ctx context.Context, paths []string, o Options) ([]*trace.Trace, error) {
	list, left, err := Survey(paths)
	if err != nil {
		return nil, err
	}
	o.tell(left)
	return Sources(ctx, Join(list), o)
}

// Sources is Files for sources of Survey or Find.
func Sources(ctx context.Context, list []Source, o Options) ([]*trace.Trace, error) {
	var need int64
	for _, s := range list {
		need += s.memory()
	}
	if err := tooLarge("", need, o.Memory); err != nil {
		return nil, err
	}
	all := make([][]*trace.Trace, len(list))
	err := each(ctx, list, o, true, func(i int, t *trace.Trace) error {
		all[i] = append(all[i], t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := withoutCopies(slices.Concat(all...), o)
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

// withoutCopies leaves out what is there twice.
func withoutCopies(list []*trace.Trace, o Options) []*trace.Trace {
	metas, sizes := make([]*trace.Meta, len(list)), make([]int, len(list))
	for i, t := range list {
		metas[i], sizes[i] = &t.Meta, t.Slices.Len()
	}
	var out []*trace.Trace
	var left []Left
	for i, of := range identity.Settle(metas, sizes) {
		if of < 0 {
			out = append(out, list[i])
			continue
		}
		left = append(left, Left{metas[i].File, CopyReason(metas[of].File)})
	}
	o.tell(left)
	return out
}

// CopyReason is why a trace does not count that is a copy of the one in file.
func CopyReason(file string) string { return "the same trace as in " + file }

func lostArgs(t *trace.Trace) bool { return t.Repairs.Count[trace.RepairArgsMemory] > 0 }

// Each reads the traces at paths as Files does and hands each to f as soon as it is read, from
// several goroutines. i counts in the order of Find; the traces of one file come one after the
// other, in its order. Memory that f does not keep is freed when it returns, so that traces of any
// total size pass within the limit. A trace that is too large alone comes without arguments, or
// fails. Copies of traces in other files come too: identity.Copies finds them when all are there.
func Each(ctx context.Context, paths []string, o Options, f func(i int, t *trace.Trace) error) error {
	list, left, err := Survey(paths)
	if err != nil {
		return err
	}
	o.tell(left)
	return each(ctx, Join(list), o, false, f)
}

// EachSource is Each for sources of Survey or Find.
func EachSource(ctx context.Context, list []Source, o Options, f func(i int, t *trace.Trace) error) error {
	return each(ctx, list, o, o.Keep, f)
}

// each reads the sources; keep says that f keeps the traces.
func each(ctx context.Context, list []Source, o Options, keep bool, f func(int, *trace.Trace) error) error {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	limit := cmp.Or(o.Memory, o.Share)
	if limit <= 0 {
		limit = 1 << 62
	}
	mem := &pool{room: semaphore.NewWeighted(limit), limit: limit}
	p := newProgress(list, o.Progress)
	hints := hintsOf(list)
	outer := ctx
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, min(o.Workers, len(list))))
	workers := max(1, o.Workers/atOnce(list, limit, keep))
	var mu sync.Mutex
	var failed []error
	some := false
	for i, s := range list {
		if o.Only != nil && !o.Only(i) {
			continue
		}
		need := min(s.memory(), limit)
		if keep {
			need = 0 // kept traces free no memory, so waiting for it would not end
		}
		if err := tooLarge(s.Path, s.memory(), o.Memory); err != nil {
			return errors.Join(err, g.Wait())
		}
		g.Go(func() error {
			h := &share{pool: mem, keep: keep}
			defer h.close()
			r := &reading{s: &s, o: &o, hints: hints[i], fo: format.Options{Workers: workers, DropArgs: o.DropArgs,
				Progress: p.of(i)}}
			traces, err := h.read(ctx, r, need)
			mu.Lock()
			o.tell(r.left)
			if err != nil && s.found && unreadable(err) && ctx.Err() == nil {
				o.tell([]Left{{s.Path, strings.TrimPrefix(err.Error(), s.Path+": ")}})
				failed = append(failed, err)
				err = nil
			}
			if _, full := errors.AsType[*MemoryError](err); unreadable(err) && !full && ctx.Err() == nil {
				err = &ContentError{Path: s.Path, Err: err}
			}
			some = some || len(traces) > 0
			mu.Unlock()
			if err != nil {
				return err
			}
			p.done(i)
			for _, t := range traces {
				if err := f(i, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if !some && len(failed) > 0 && o.Only == nil {
		if n := len(failed) - named; n > 0 {
			failed = append(failed[:named], fmt.Errorf("and %d more files that are no traces", n))
		}
		return errors.Join(failed...)
	}
	return outer.Err()
}

// atOnce is how many of the sources may be read together, 1 or more: of those that wait for limit bytes the smallest
// that fit, all of those that are kept.
func atOnce(list []Source, limit int64, keep bool) int {
	if keep {
		return max(1, len(list))
	}
	needs := make([]int64, len(list))
	for i := range list {
		needs[i] = list[i].memory()
	}
	slices.Sort(needs)
	n := 0
	for n < len(needs) && needs[n] <= limit {
		limit -= needs[n]
		n++
	}
	return max(1, n)
}

// hintsOf reads what the paths tell, each and all together.
func hintsOf(list []Source) []identity.Hints {
	out := make([]identity.Hints, len(list))
	metas := make([]*trace.Meta, len(list))
	for i, s := range list {
		out[i] = identity.FromPath(s.Path)
		metas[i] = &trace.Meta{Rank: -1, StageID: -1}
		identity.Learn(metas[i], out[i])
	}
	identity.RankByPlace(metas)
	for i, m := range metas {
		out[i].Rank = m.Rank
		if from := m.Learnt[trace.FieldReplica]; from != "" && out[i].Replica < 0 {
			out[i].Replica, out[i].Learnt[trace.FieldReplica] = m.Replica, from
		}
	}
	return out
}

// sameOwner reports whether nothing in two paths says that their traces are of different
// ranks.
func sameOwner(a, b string) bool {
	x, y := identity.FromPath(a), identity.FromPath(b)
	differ := func(m, n int) bool { return m >= 0 && n >= 0 && m != n }
	return !differ(x.Rank, y.Rank) && !differ(x.StageID, y.StageID) && !differ(x.Replica, y.Replica) &&
		x.Phase == y.Phase &&
		(x.Stage == y.Stage || x.Stage == "" || y.Stage == "")
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
