package view

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/kinetoscope/kinetoscope/convert"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/store/runs"
	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// Input is a source that is read and, if it belongs to a run, its rank in the run; else Run is nil.
type Input struct {
	Source open.Source
	Run    *runs.Input
}

// atOnce is how many files are read at a time; each is read by all cores. Under a limit of
// memory they come one after the other, for each may take what those before it have left.
const atOnce = 2

// Read reads traces and puts them on one clock. It fills Sources, Left and Failed of o. It is an
// error if nothing could be read.
func (o *Opened) Read(ctx context.Context, ins []Input, opts open.Options, progress func(open.Progress)) error {
	traces := make([][]*trace.Trace, len(ins))
	errs := make([]error, len(ins))
	sum := &sums{report: progress, of: make([]open.Progress, len(ins))}
	var wg sync.WaitGroup
	var mu sync.Mutex
	room := newRoom(opts.Memory)
	slot := make(chan struct{}, room.atOnce())
	for i, in := range ins {
		wg.Go(func() {
			slot <- struct{}{}
			defer func() { <-slot }()
			opt := opts
			opt.Progress = func(p open.Progress) { sum.add(i, p) }
			opt.Memory = room.left()
			opt.Left = func(l open.Left) {
				mu.Lock()
				defer mu.Unlock()
				o.Left = append(o.Left, Failure{l.Path, l.Reason})
			}
			list, err := open.Sources(ctx, []open.Source{in.Source}, opt)
			if err == nil && len(list) != 1 && in.Run != nil {
				err = fmt.Errorf("%d traces in a rank's file", len(list))
			}
			room.take(list)
			traces[i], errs[i] = list, err
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for i, in := range ins {
		if errs[i] != nil {
			o.Failed = append(o.Failed, Failure{in.Source.Path, errs[i].Error()})
		}
	}
	o.settle(ctx, ins, traces)
	if len(o.Sources) == 0 {
		return errors.Join(errs...)
	}
	return nil
}

// settle takes over the traces that were read of the inputs, without copies of the same trace.
func (o *Opened) settle(ctx context.Context, ins []Input, traces [][]*trace.Trace) {
	var metas []*trace.Meta
	var sizes []int
	for i, list := range traces {
		for _, t := range list {
			if in := ins[i].Run; in != nil {
				in.Complete(ctx, t)
			}
			metas, sizes = append(metas, &t.Meta), append(sizes, t.Slices.Len())
		}
	}
	copies := identity.Settle(metas, sizes)
	var ranks []convert.RankInput
	n := 0
	for i, list := range traces {
		for _, t := range list {
			n++
			if of := copies[n-1]; of >= 0 {
				o.Left = append(o.Left, Failure{t.Meta.File, open.CopyReason(metas[of].File)})
				continue
			}
			r, note := placed(ins[i], t)
			ranks = append(ranks, r)
			label := ins[i].Source.Path
			if len(list) > 1 { // an archive, or a file that ranks were merged into
				label = fmt.Sprintf("%s #%d", cmp.Or(t.Meta.File, label), t.Meta.Part)
			}
			o.Sources = append(o.Sources, timeline.Source{Trace: t, Label: label, Note: note,
				Recorded: recorded(ins[i])})
		}
	}
	for i, c := range convert.Clocks(ranks) {
		o.Sources[i].Clock = c
	}
}

// room is the memory that all traces of a timeline may take together.
type room struct {
	limit int64 // 0: as much as there is
	taken atomic.Int64
}

func newRoom(limit int64) *room { return &room{limit: limit} }

func (r *room) atOnce() int {
	if r.limit > 0 {
		return 1
	}
	return atOnce
}

// left is the limit for the next file.
func (r *room) left() int64 {
	if r.limit <= 0 {
		return 0
	}
	return max(1, r.limit-r.taken.Load())
}

func (r *room) take(list []*trace.Trace) {
	for _, t := range list {
		r.taken.Add(t.Bytes())
	}
}

// placed gives a trace of a run what the run knows of its rank and its clock. The text says what is
// wrong with the trace, "" if nothing is.
func placed(in Input, t *trace.Trace) (convert.RankInput, string) {
	r := convert.RankInput{Trace: t, StageName: t.Meta.Stage}
	r.Rank.Stage, r.Rank.Replica, r.Rank.Rank = t.Meta.StageID, t.Meta.Replica, t.Meta.Rank
	note := t.Repairs.Damage()
	if note != "" {
		note = "repaired: " + note
	}
	if in.Run == nil {
		return r, note
	}
	rank := in.Run.Rank
	r.Rank, r.StageName, r.Clock = rank.RankID, rank.StageName, rank.Clock
	if rank.State != protocol.StateComplete {
		note = fmt.Sprintf("%s: %s", rank.State, rank.Reason)
	}
	return r, note
}

// recorded is when the rank of an input recorded, as its run has it.
func recorded(in Input) *timeline.Recorded {
	if in.Run == nil || in.Run.Rank.StartedAtNs == 0 {
		return nil
	}
	r := in.Run.Rank
	return &timeline.Recorded{FromNs: r.StartedAtNs, ToNs: r.StoppedAtNs, State: string(r.State),
		StoppedBy: string(r.StoppedBy)}
}

// sums adds the progress of several files up.
type sums struct {
	mu     sync.Mutex
	report func(open.Progress)
	of     []open.Progress
}

func (s *sums) add(i int, p open.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[i] = p
	all := open.Progress{Files: len(s.of)}
	for _, q := range s.of {
		all.Done += q.Done
		all.Read += q.Read
		all.Size += q.Size
		all.Events += q.Events
		all.Elapsed = max(all.Elapsed, q.Elapsed)
	}
	s.report(all)
}

// Runs is a Library of the runs of a store, by their session's id.
type Runs struct {
	Root    string // the store's directory
	Reading open.Options
}

// Open implements Library.
func (l Runs) Open(ctx context.Context, id string, progress func(open.Progress)) (*Opened, error) {
	s, err := store.Open(l.Root)
	if err != nil {
		return nil, err
	}
	r, err := s.Resolve(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return OpenRun(ctx, r, l.Reading, progress)
}

// OpenRun reads the traces of a run.
func OpenRun(ctx context.Context, r *store.Run, o open.Options, progress func(open.Progress)) (*Opened, error) {
	m, err := r.Manifest()
	if err != nil {
		return nil, err
	}
	ins, missing, err := RunInputs(r, m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	out := &Opened{Title: m.Session.Prefix, Detail: filepath.Base(r.Dir()), Session: SessionOf(m)}
	if out.Title == "" {
		out.Title = "session " + m.Session.ID
	}
	out.Failed = missing
	return out, out.Read(ctx, ins, o, progress)
}

// RunInputs lists the traces that a run's ranks left, and the ranks that left none, with their
// reasons. It is an error if no rank left any.
func RunInputs(r *store.Run, m *store.Manifest) (ins []Input, missing []Failure, err error) {
	if m.Upload != nil {
		found, err := open.Find(runs.Uploaded(r, m))
		if err != nil {
			return nil, nil, err
		}
		for _, s := range found {
			ins = append(ins, Input{s, nil})
		}
		return ins, nil, nil
	}
	list, err := runs.Inputs(r)
	if err != nil {
		return nil, nil, err
	}
	for i := range list {
		found, err := open.Find([]string{list[i].Path})
		if err != nil {
			missing = append(missing, Failure{list[i].Path, err.Error()})
			continue
		}
		ins = append(ins, Input{found[0], &list[i]})
	}
	for _, s := range m.Session.Stages {
		for i := range s.Ranks {
			rank := &s.Ranks[i]
			if slices.ContainsFunc(list, func(in runs.Input) bool { return in.Rank.RankID == rank.RankID }) {
				continue
			}
			missing = append(missing, Failure{fmt.Sprintf("%s rank %d", rank.StageName, rank.Rank),
				fmt.Sprintf("left no trace; it is %s: %s", rank.State, rank.Reason)})
		}
	}
	return ins, missing, nil
}
