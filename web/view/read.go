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
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// Input is one file to read and, if it belongs to a run, whose it is; else Rank is nil.
type Input = runs.Input

// atOnce is how many files are read at a time; each is read by all cores. Under a limit of
// memory they come one after the other, for each may take what those before it have left.
const atOnce = 2

// Read reads traces and puts them on one clock. What cannot be read is told, and is an
// error only if there is nothing else.
func Read(ctx context.Context, ins []Input, o open.Options, progress func(open.Progress)) ([]timeline.Source, []Failure,
	error) {
	traces := make([][]*trace.Trace, len(ins))
	errs := make([]error, len(ins))
	sum := &sums{report: progress, of: make([]open.Progress, len(ins))}
	var wg sync.WaitGroup
	room := newRoom(o.Memory)
	slot := make(chan struct{}, room.atOnce())
	for i, in := range ins {
		wg.Go(func() {
			slot <- struct{}{}
			defer func() { <-slot }()
			opt := o
			opt.Progress = func(p open.Progress) { sum.add(i, p) }
			opt.Memory = room.left()
			list, err := open.Files(ctx, []string{in.Path}, opt)
			if err == nil && len(list) != 1 && in.Rank != nil {
				err = fmt.Errorf("%d traces in a rank's file", len(list))
			}
			room.take(list)
			traces[i], errs[i] = list, err
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	var ranks []convert.RankInput
	var out []timeline.Source
	var failed []Failure
	for i, in := range ins {
		if errs[i] != nil {
			failed = append(failed, Failure{in.Path, errs[i].Error()})
			continue
		}
		for _, t := range traces[i] {
			r, note := placed(in, t)
			ranks = append(ranks, r)
			label := in.Path
			if len(traces[i]) > 1 { // an archive, or a file that ranks were merged into
				label = fmt.Sprintf("%s #%d", cmp.Or(t.Meta.File, in.Path), t.Meta.Part)
			}
			out = append(out, timeline.Source{Trace: t, Label: label, Note: note})
		}
	}
	if len(out) == 0 {
		return nil, failed, errors.Join(errs...)
	}
	for i, c := range convert.Clocks(ranks) {
		out[i].Clock = c
	}
	return out, failed, nil
}

// room is the memory that the traces of a timeline may take together.
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

// placed tells a trace of a run what the file does not say.
func placed(in Input, t *trace.Trace) (convert.RankInput, string) {
	r := convert.RankInput{Trace: t, StageName: t.Meta.Stage}
	r.Rank.Stage, r.Rank.Replica, r.Rank.Rank = t.Meta.StageID, t.Meta.Replica, t.Meta.Rank
	note := t.Repairs.Damage()
	if note != "" {
		note = "repaired: " + note
	}
	if in.Rank == nil {
		return r, note
	}
	in.Place(t)
	r.Rank, r.StageName, r.Clock = in.Rank.RankID, in.Rank.StageName, in.Rank.Clock
	if in.Rank.State != protocol.StateComplete {
		note = fmt.Sprintf("%s: %s", in.Rank.State, in.Rank.Reason)
	}
	return r, note
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
	out := &Opened{Title: m.Session.Prefix, Detail: filepath.Base(r.Dir())}
	if out.Title == "" {
		out.Title = "session " + m.Session.ID
	}
	out.Sources, out.Failed, err = Read(ctx, ins, o, progress)
	out.Failed = append(missing, out.Failed...)
	return out, err
}

// RunInputs lists what a run's ranks left, and the ranks that left nothing, with their
// reasons. That none left anything is an error.
func RunInputs(r *store.Run, m *store.Manifest) (ins []Input, missing []Failure, err error) {
	if ins, err = runs.Inputs(r); err != nil {
		return nil, nil, err
	}
	for _, s := range m.Session.Stages {
		for i := range s.Ranks {
			rank := &s.Ranks[i]
			if slices.ContainsFunc(ins, func(in Input) bool { return in.Rank.RankID == rank.RankID }) {
				continue
			}
			missing = append(missing, Failure{fmt.Sprintf("%s rank %d", rank.StageName, rank.Rank),
				fmt.Sprintf("left no trace; it is %s: %s", rank.State, rank.Reason)})
		}
	}
	return ins, missing, nil
}
