package nodes

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/kinetoscope/kinetoscope/analyses"
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/units"
)

// Solver answers questions about the traces below some directories, and no others. It implements
// work.Solver.
type Solver struct {
	roots   []string // absolute, without links
	options reading.Options
	log     *slog.Logger
}

// NewSolver makes a Solver of directories, which must be there. memory bounds what it takes at a time;
// 0: no bound.
func NewSolver(dirs []string, memory units.ByteSize, log *slog.Logger) (*Solver, error) {
	s := &Solver{log: log}
	s.options.Memory, s.options.Quiet = memory, true
	for _, d := range dirs {
		abs, err := filepath.Abs(d)
		if err == nil {
			abs, err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			return nil, cli.Usage("--traces %s: %w", d, err)
		}
		s.roots = append(s.roots, abs)
	}
	return s, nil
}

// within returns the real path of p, which is below one of the roots or relative to the only one.
func (s *Solver) within(p string) (string, error) {
	if !filepath.IsAbs(p) {
		if p != "" && len(s.roots) > 1 {
			return "", fmt.Errorf("%q is relative, and this agent shows several directories: %s", p,
				strings.Join(s.roots, ", "))
		}
		p = filepath.Join(s.roots[0], p)
	}
	real, err := filepath.EvalSymlinks(p)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(s.roots, func(root string) bool {
		rel, err := filepath.Rel(root, real)
		return err == nil && filepath.IsLocal(rel)
	}) {
		return "", fmt.Errorf("%s is not below what this agent shows: %s", p, strings.Join(s.roots, ", "))
	}
	return real, nil
}

// inputs are the files at paths, which are below the roots; files that links in them mean may be
// outside.
func (s *Solver) inputs(e *cli.Env, o *reading.Options, paths []string) (files []string, ins []reading.Input,
	err error) {
	for _, p := range paths {
		if p == "" {
			files = append(files, s.roots...)
			continue
		}
		real, err := s.within(p)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, real)
	}
	ins, err = o.Inputs(e, files)
	return files, ins, err
}

// outside returns the first file of a source that a link leads out of the roots.
func (s *Solver) outside(in *reading.Input) (path string, is bool) {
	for _, p := range append([]string{in.Source.Path}, in.Source.Twins...) {
		if _, err := s.within(p); err != nil {
			return p, true
		}
	}
	return "", false
}

func (s *Solver) env(ctx context.Context) *cli.Env {
	e := cli.NewEnv(ctx, cli.Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
	e.Log = s.log
	return e
}

// Find returns the traces at paths.
func (s *Solver) Find(ctx context.Context, paths []string) (out protocol.FindAnswer, err error) {
	e, o := s.env(ctx), s.options
	_, ins, err := s.inputs(e, &o, paths)
	if err != nil {
		return out, err
	}
	for _, in := range ins {
		out.Files = append(out.Files, in.Source.Path)
	}
	for _, l := range e.Left {
		out.Left = append(out.Left, protocol.LeftFile(l))
	}
	return out, nil
}

// Solve answers a question about one file.
func (s *Solver) Solve(ctx context.Context, t protocol.Task) ([]byte, error) {
	var a ask
	d := json.NewDecoder(bytes.NewReader(t.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return nil, fmt.Errorf("no question of this version, %s: %w", cli.Version(), err)
	}
	if a.Version != cli.Version() {
		return nil, fmt.Errorf("the agent is of version %s, and the question of %s: use the same on both", cli.Version(),
			a.Version)
	}
	find, err := finder(&a)
	if err != nil {
		return nil, err
	}
	e, o := s.env(ctx), s.options
	o.Doubted, o.Quiet = a.Doubted, false
	files, ins, err := s.inputs(e, &o, t.Paths)
	if err != nil {
		return nil, err
	}
	i := t.Index
	if i < 0 || i >= len(ins) || ins[i].Source.Path != t.File {
		if i = slices.IndexFunc(ins, func(in reading.Input) bool { return in.Source.Path == t.File }); i < 0 {
			return nil, fmt.Errorf("%s is not there any more", t.File)
		}
	}
	if p, is := s.outside(&ins[i]); is {
		return analyses.Encode(found{Left: []open.Left{{Path: p, Reason: "a link leads out of what the agent shows"}}})
	}
	return s.solve(e, &o, &a, find, files, i)
}

// solve asks the i-th of the files that o finds at paths.
func (s *Solver) solve(e *cli.Env, o *reading.Options, a *ask, find find, paths []string, i int) ([]byte, error) {
	o.Only = func(k int) bool { return k == i }
	var mu sync.Mutex
	var out found
	told := e.Left // with what was found
	e.Left = nil
	err := o.Each(e, &a.Choice, paths, func(_ int, t *trace.Trace, info reading.Info) error {
		s := analysis.NewSubject(t)
		v, err := find(s)
		if err != nil {
			return fmt.Errorf("%s: %w", info.File, err)
		}
		if !a.Doubted {
			info.Doubts = s.Seen().Doubts
		}
		mu.Lock()
		defer mu.Unlock()
		out.Traces = append(out.Traces, traceOf{info, v})
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out.Traces, func(a, b traceOf) int { return cmp.Compare(a.Info.Seq, b.Info.Seq) })
	out.Left = slices.DeleteFunc(e.Left, func(l open.Left) bool { return slices.Contains(told, l) })
	return analyses.Encode(out)
}

// find finds in a trace what a verb needs of it, packed.
type find func(s *analysis.Subject) ([]byte, error)

// finder returns how a is answered.
func finder(a *ask) (find, error) {
	if a.Verb == Report {
		page := analyses.NewPage(a.Asked)
		return func(s *analysis.Subject) ([]byte, error) {
			r, err := Summarize(page, s, a.Asked.Options())
			if err != nil {
				return nil, err
			}
			return r.pack(page)
		}, nil
	}
	of := analyses.Named(a.Verb)
	if of == nil || of.Compares() {
		return nil, fmt.Errorf("this agent knows no question %q", a.Verb)
	}
	q := of.Ask()
	d := json.NewDecoder(bytes.NewReader(a.Options))
	d.DisallowUnknownFields()
	if err := errors.Join(q.Travels(), d.Decode(q.Options())); err != nil {
		return nil, fmt.Errorf("options of %s: %w", a.Verb, err)
	}
	if err := q.Check(a.Asked); err != nil {
		return nil, err
	}
	return func(s *analysis.Subject) ([]byte, error) {
		r, err := q.Rank(s, a.Asked)
		if err != nil {
			return nil, err
		}
		return q.Pack(r)
	}, nil
}
