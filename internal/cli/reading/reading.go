// Package reading finds and reads the traces that a verb is given: files, directories of ranks, and
// runs by path, id or as "latest". Each trace is read once. On stderr it says what was damaged,
// left out or is in doubt.
package reading

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/internal/ceiling"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/store/runs"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/ascend"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/trace/index"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
	"github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/units"
)

// Options are flags that say how traces are found and read.
type Options struct {
	Memory  units.ByteSize `help:"Memory that the program may take in all; traces that do not fit together are read one after the other." placeholder:"4GiB"`
	Workers int            `help:"Goroutines that read; all cores without it." placeholder:"N"`
	Index   string         `help:"Keep an index to open large traces fast the next time: in this directory, or beside the traces with 'beside'." placeholder:"DIR"`
	RunsDir string         `default:"runs" help:"Where runs are looked up by id or as latest." type:"path"`

	Quiet bool `kong:"-"` // say nothing of repairs on stderr
	// Doubted says that the verb's answer itself names the doubtful parts of the traces, or needs
	// none of the notes about them.
	Doubted bool `kong:"-"`
	Copies  bool `kong:"-"` // show copies of the same trace too
	// Except is the file that the verb writes: in a directory that is read it is the answer of an earlier
	// time, and none of the traces.
	Except string `kong:"-"`
	// Kept, if not nil, gets the traces that were read, as far as they fit into memory.
	Kept *Kept `kong:"-"`
	// Only, if not nil, says which of the files that Inputs returns are read. Traces that no Choice
	// wants are then no error.
	Only func(i int) bool `kong:"-"`
	// Appetite is the memory that the verb takes beside a trace, in multiples of the trace's own; 0
	// means 1.
	Appetite float64 `kong:"-"`

	bound *ceiling.Ceiling // of Memory; nil without
}

// Bound limits the program to Memory from now on, if that is set. Near the limit ctx ends; if
// memory grows on, the program ends. Either way stderr says what to do.
func (f *Options) Bound(e *cli.Env) (err error) {
	if f.Memory == 0 || f.bound != nil {
		return nil
	}
	ctx, cancel := context.WithCancelCause(e.Ctx)
	f.bound, err = ceiling.Set(int64(f.Memory), func(err *ceiling.Error) { cancel(err) }, func(err *ceiling.Error) {
		fmt.Fprintln(e.Err, "kinetoscope: error:", err)
		os.Exit(cli.ExitFailed)
	})
	if err != nil {
		return cli.Usage("--memory: %w", err)
	}
	e.Ctx = ctx
	return nil
}

// limits returns how much of Memory the traces may take at a time, and how many goroutines may
// read.
func (f *Options) limits() (memory int64, workers int) {
	if f.bound == nil {
		return 0, f.Workers
	}
	workers = f.bound.Workers(cmp.Or(f.Workers, runtime.GOMAXPROCS(0)))
	return f.bound.Traces(workers, f.appetite()), workers
}

func (f *Options) appetite() float64 { return cmp.Or(f.Appetite, 1) }

// Choice selects ranks of a directory or a run.
type Choice struct {
	Rank  []int  `help:"Only these ranks." placeholder:"0,3"`
	Stage string `help:"Only this stage of a run, by id or name." placeholder:"STAGE"`
}

// Opening returns the options with which package open reads, and the bar that shows its progress.
func (f *Options) Opening(e *cli.Env) (open.Options, *cli.Bar, error) {
	if f.Workers < 0 {
		return open.Options{}, nil, cli.Usage("--workers %d: 0 or more", f.Workers)
	}
	if err := f.Bound(e); err != nil {
		return open.Options{}, nil, err
	}
	b := cli.NewBar(e.Err)
	o := open.Options{Stdin: e.In, Progress: b.Update}
	o.Memory, o.Workers = f.limits()
	growth := laterGrowth
	if f.Kept != nil {
		growth, o.Share = keptGrowth, readMost
	}
	if f.bound == nil {
		collectLate(growth)
	}
	switch f.Index {
	case "":
	case "beside":
		o.Index = index.Cache{Beside: true, MinSize: index.WorthMinSize}
	default:
		o.Index = index.Cache{Dir: f.Index, MinSize: index.WorthMinSize}
	}
	return o, b, nil
}

// Input is one file of traces to read and, if it belongs to a run, its rank in the run.
type Input struct {
	Source open.Source
	Run    *runs.Input
}

// Inputs finds the traces that paths mean: files, directories of ranks, runs by path, by
// the beginning of an id or as "latest".
func (f *Options) Inputs(e *cli.Env, paths []string) ([]Input, error) {
	var out []Input
	var files []string
	for _, p := range paths {
		if node, path, ok := Away(p); ok {
			return nil, cli.Usage("%s: this verb needs the whole trace: run it on host %s where %s lies, or copy it here",
				p, node, cmp.Or(path, "it"))
		}
		run, err := f.FindRun(p)
		if err != nil {
			return nil, err
		}
		if run != nil {
			list, err := runs.Inputs(run)
			run.Close()
			if up, ok := errors.AsType[*runs.UploadError](err); ok {
				files = append(files, up.Files...)
				continue
			}
			if err != nil {
				return nil, cli.UsageError{Err: err}
			}
			for i := range list {
				found, err := open.Find([]string{list[i].Path})
				if err != nil {
					return nil, cli.UsageError{Err: err}
				}
				out = append(out, Input{found[0], &list[i]})
			}
			continue
		}
		files = append(files, p)
	}
	if len(files) > 0 {
		found, left, err := open.Survey(files)
		if err != nil {
			return nil, cli.UsageError{Err: err}
		}
		e.Left = append(e.Left, left...)
		if found = f.without(e, found, files); len(found) == 0 {
			return nil, cli.Usage("%s has no trace but %s, which is to be written", strings.Join(files, ", "), f.Except)
		}
		if !f.Copies {
			found = open.Join(found)
		}
		for _, s := range found {
			out = append(out, Input{Source: s})
		}
	}
	return out, nil
}

// away is a path on a node. A name of one letter is a drive of Windows.
var away = regexp.MustCompile(`^([A-Za-z0-9_-]{2,64}):(.*)$`)

// Away returns the node and the path there that a path NODE:PATH means. A file of this host whose name has a colon
// goes before a node.
func Away(p string) (node, path string, ok bool) {
	m := away.FindStringSubmatch(p)
	if m == nil {
		return "", "", false
	}
	if _, err := os.Lstat(p); err == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// FindRun opens the run that path means; nil if it means traces.
func (f *Options) FindRun(path string) (*store.Run, error) {
	if path == open.Stdin {
		return nil, nil
	}
	r, err := runs.Find(path, f.RunsDir)
	if err != nil {
		return nil, cli.UsageError{Err: err}
	}
	return r, nil
}

// FindSession opens the run that path means if a session recorded it; nil if it means traces, as
// that of an upload does: it has no ranks that we know of, and is read as the traces that it holds.
func (f *Options) FindSession(path string) (*store.Run, error) {
	r, err := f.FindRun(path)
	if r == nil || err != nil {
		return nil, err
	}
	if m, err := r.Manifest(); err == nil && m.Upload != nil {
		r.Close()
		return nil, nil
	}
	return r, nil
}

// Wanted reports whether the user asked for the trace.
func (f *Choice) Wanted(t *trace.Trace) bool {
	m := &t.Meta
	if len(f.Rank) > 0 && !slices.Contains(f.Rank, m.Rank) {
		return false
	}
	return f.Stage == "" || f.Stage == m.Stage || m.StageID >= 0 && f.Stage == strconv.Itoa(m.StageID)
}

// has reports whether the choice leaves a rank in.
func (f *Choice) has(rank int) bool { return len(f.Rank) == 0 || slices.Contains(f.Rank, rank) }

// asked writes the flags that select ranks, for a message.
func (f *Choice) asked() string {
	var parts []string
	if f.Stage != "" {
		parts = append(parts, fmt.Sprintf("stage %q", f.Stage))
	}
	if len(f.Rank) > 0 {
		parts = append(parts, fmt.Sprintf("rank %v", f.Rank))
	}
	return strings.Join(parts, ", ")
}

// Info is what --json says about one trace.
type Info struct {
	Index   int            `json:"index"`
	File    string         `json:"file"`
	Format  string         `json:"format"`
	Rank    int            `json:"rank"` // -1 if unknown
	StageID int            `json:"stage_id"`
	Stage   string         `json:"stage,omitempty"`
	Replica int            `json:"replica"`
	Role    string         `json:"role,omitempty"`
	Phase   string         `json:"phase,omitempty"`
	Place   map[string]int `json:"place,omitempty"` // rank in each kind of parallelism
	Host    string         `json:"host,omitempty"`
	World   string         `json:"world,omitempty"`   // which of several sets of ranks it belongs to
	Part    int            `json:"part,omitempty"`    // which of its file's traces it is, from 1
	CopyOf  string         `json:"copy_of,omitempty"` // the file whose trace it is once more, where copies are shown
	Slices  int            `json:"slices"`
	Repairs map[string]int `json:"repairs"`
	Skipped int64          `json:"skipped_bytes"` // of its text, from which nothing was read
	Text    int64          `json:"text_bytes"`    // unpacked; 0 if not known

	LearntFrom map[trace.Field]trace.From `json:"learnt_from,omitempty"`
	// Doubts are statements of the trace that cannot be true; the answer leaves them out.
	Doubts []plausible.Doubt `json:"doubts,omitempty"`

	Meta   *trace.Meta `json:"-"` // without what is large
	Source open.Source `json:"-"` // what is opened to read it again
	Seq    int         `json:"-"` // which of the source's traces it is, from 0
	Run    *runs.Input `json:"-"` // its rank, if it belongs to a run
	Alone  bool        `json:"-"` // no other trace is read beside it
}

func infoOf(t *trace.Trace, path string) Info {
	i := Info{File: path, Format: t.Meta.Format, Rank: t.Meta.Rank, StageID: t.Meta.StageID, Stage: t.Meta.Stage,
		Replica: t.Meta.Replica,
		Role:    t.Meta.Role, Phase: t.Meta.Phase, Place: t.Meta.Place, Host: t.Meta.Host, LearntFrom: t.Meta.Learnt,
		Part: t.Meta.Part, Slices: t.Slices.Len(), Repairs: map[string]int{}, Skipped: t.Repairs.Skipped,
		Text: t.Repairs.Text}
	m := t.Meta
	m.Extra, m.Devices, m.ProcessGroups = nil, nil, nil
	i.Meta = &m
	for k, n := range t.Repairs.Count {
		i.Repairs[k] = n
	}
	return i
}

// Each reads the traces at paths and calls f for each that the Choice wants, from several
// goroutines. Of n files, i%n is the file's place and i/n the trace's place in the file. Memory
// that f does not keep is freed when f returns.
func (o *Options) Each(e *cli.Env, r *Choice, paths []string, f func(i int, t *trace.Trace, info Info) error) error {
	_, err := o.eachOf(e, r, paths, f)
	return err
}

// eachOf is Each, and returns the number of files.
func (o *Options) eachOf(e *cli.Env, r *Choice, paths []string, f func(i int, t *trace.Trace, info Info) error) (n int,
	err error) {
	ins, err := o.Inputs(e, paths)
	if err != nil {
		return 0, err
	}
	opts, b, err := o.Opening(e)
	if err != nil {
		return 0, err
	}
	files := make([]open.Source, len(ins))
	for i := range ins {
		files[i] = ins[i].Source
	}
	var mu sync.Mutex
	there := map[string]bool{}
	found := false
	seq := make([]int, len(ins))
	opts.Only = o.Only
	opts.Keep = o.Kept.plan(files, opts.Memory)
	opts.Left = func(l open.Left) { e.Left = append(e.Left, l) }
	err = open.EachSource(e.Ctx, files, opts, func(i int, t *trace.Trace) error {
		if in := ins[i].Run; in != nil {
			if !r.has(in.Server.Rank) {
				in.WithServer()
			}
			in.Complete(e.Ctx, t)
		}
		mu.Lock()
		there[cmp.Or(identity.Name(&t.Meta), "a trace of unknown stage and rank")] = true
		want := r.Wanted(t)
		found = found || want
		nth := seq[i]
		at := i + len(ins)*nth
		seq[i]++
		mu.Unlock()
		if !want {
			return nil
		}
		info := infoOf(t, cmp.Or(t.Meta.File, ins[i].Source.Path))
		info.Source, info.Seq, info.Run = ins[i].Source, nth, ins[i].Run
		info.Alone = len(ins) == 1 && !ins[i].Source.Archive && t.Meta.Part == 0
		if err := f(at, t, info); err != nil {
			return err
		}
		return o.Kept.add(ins[i].Source.Path, nth, t)
	})
	b.End()
	if _, full := errors.AsType[*open.MemoryError](err); full && opts.Keep {
		err = errCrowded
	}
	if err != nil {
		return 0, o.Error(e, err)
	}
	if !found && o.Only == nil {
		return 0, r.None(slices.Sorted(maps.Keys(there)))
	}
	return len(ins), nil
}

// None is the error that no trace is wanted; there has the names of those that are there, as far as
// they are known.
func (f *Choice) None(there []string) error {
	switch what := f.asked(); {
	case what == "":
		return cli.Usage("there is no trace")
	case len(there) == 0:
		return cli.Usage("no trace of %s", what)
	default:
		return cli.Usage("no trace of %s: there are %s", what, strings.Join(there, ", "))
	}
}

// Full returns the reason for which the program must end if it came near Memory, else nil.
func (f *Options) Full(e *cli.Env) error {
	if full, ok := errors.AsType[*ceiling.Error](context.Cause(e.Ctx)); ok {
		return full
	}
	return nil
}

// Error returns why reading failed: too little memory, or what the function Error makes of err.
func (f *Options) Error(e *cli.Env, err error) error {
	if full, ok := errors.AsType[*open.MemoryError](err); ok && f.bound != nil {
		_, workers := f.limits()
		return fmt.Errorf("%s: at least %s of memory are needed even without arguments, %s are allowed: allow more, or ask less at a time",
			cmp.Or(full.File, "the traces"), units.Bytes(f.bound.For(full.Need, workers, f.appetite())),
			units.Bytes(int64(f.Memory)))
	}
	return cmp.Or(f.Full(e), Error(err))
}

// Error makes a UsageError of err if the user named something that cannot be a trace; other errors
// stay as they are.
func Error(err error) error {
	var wrong *kineto.FormatError
	var raw *ascend.RawOnlyError
	var empty *open.EmptyError
	var content *open.ContentError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return errors.New("interrupted")
	case errors.As(err, &wrong), errors.As(err, &raw), errors.As(err, &empty), errors.As(err, &content),
		errors.Is(err, fs.ErrNotExist),
		strings.Contains(err.Error(), "read recording"):
		return cli.UsageError{Err: err}
	}
	return err
}

// Ranked runs an analysis on every trace that r wants and keeps only the results. Copies of one
// trace count once.
func Ranked[T any](e *cli.Env, o *Options, r *Choice, paths []string,
	f func(s *analysis.Subject) T) ([]report.Ranked[T], []Info, error) {
	return RankedBy(e, o, r, paths, Asker[T]{Ask: func(_ int, s *analysis.Subject, _ Info) (T, error) {
		return f(s), nil
	}})
}

// Asker is an analysis for RankedBy.
type Asker[T any] struct {
	// Ask looks at a trace; i is as in Options.Each.
	Ask func(i int, s *analysis.Subject, info Info) (T, error)
	// Dropped gets the result of Ask for a trace that turned out to be a copy; nil discards it.
	Dropped func(T) error
}

// RankedBy is Ranked for an analysis whose results need care, for instance removal, when they are
// dropped.
func RankedBy[T any](e *cli.Env, o *Options, r *Choice, paths []string, ask Asker[T]) ([]report.Ranked[T], []Info,
	error) {
	var mu sync.Mutex
	var got []Result[T]
	look := func(i int, t *trace.Trace, info Info) error {
		s := analysis.NewSubject(t)
		v, err := ask.Ask(i, s, info)
		if err != nil {
			return err
		}
		if !o.Quiet && !o.Doubted {
			info.Doubts = s.Seen().Doubts
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, Result[T]{at: i, Value: v, Info: info})
		return nil
	}
	left := len(e.Left)
	n, err := o.eachOf(e, r, paths, look)
	if errors.Is(err, errCrowded) { // one after the other then
		for _, g := range got {
			if ask.Dropped != nil {
				if err := ask.Dropped(g.Value); err != nil {
					return nil, nil, err
				}
			}
		}
		o.Kept.drop()
		got, e.Left = nil, e.Left[:left]
		n, err = o.eachOf(e, r, paths, look)
	}
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(got, func(a, b Result[T]) int {
		return cmp.Or(cmp.Compare(a.at%n, b.at%n), cmp.Compare(a.at, b.at))
	})
	return Settle(e, o, got, ask.Dropped)
}

// Result is what was found in one trace.
type Result[T any] struct {
	Value T
	Info  Info
	at    int // as in Options.Each
}

// Settle finds out which of the traces belong together and names them, and says on stderr what was
// damaged, left out or is in doubt. list is in the order of the answer. Copies of one trace count
// once; dropped, if not nil, gets the results of the others.
func Settle[T any](e *cli.Env, o *Options, got []Result[T], dropped func(T) error) ([]report.Ranked[T], []Info,
	error) {
	metas, sizes := make([]*trace.Meta, len(got)), make([]int, len(got))
	for i, g := range got {
		metas[i], sizes[i] = g.Info.Meta, g.Info.Slices
	}
	var list []report.Ranked[T]
	var infos []Info
	for i, of := range identity.Settle(metas, sizes) {
		if of >= 0 && !o.Copies {
			e.Left = append(e.Left, open.Left{Path: got[i].Info.File, Reason: open.CopyReason(got[of].Info.File)})
			if dropped != nil {
				if err := dropped(got[i].Value); err != nil {
					return nil, nil, err
				}
			}
			continue
		}
		g := &got[i]
		if of >= 0 {
			g.Info.CopyOf = got[of].Info.File
		}
		g.Info.Index, g.Info.Rank, g.Info.Replica = len(infos), metas[i].Rank, metas[i].Replica
		infos = append(infos, g.Info)
		list = append(list, report.Ranked[T]{Value: g.Value})
	}
	settle(infos)
	for i, l := range Labels(infos) {
		list[i].Label = l
	}
	if !o.Quiet {
		NoteRepairs(e, infos)
		NoteDoubts(e, infos)
	}
	NoteLeft(e)
	return list, infos, nil
}

// leftNamed bounds the files that a note names.
const leftNamed = 5

// NoteLeft says on stderr which files were not read, grouped by reason.
func NoteLeft(e *cli.Env) {
	byReason := map[string][]string{}
	var reasons []string
	for _, l := range e.Left {
		if byReason[l.Reason] == nil {
			reasons = append(reasons, l.Reason)
		}
		byReason[l.Reason] = append(byReason[l.Reason], l.Path)
	}
	for _, r := range reasons {
		files := byReason[r]
		what := strings.Join(files[:min(len(files), leftNamed)], ", ")
		if n := len(files) - leftNamed; n > 0 {
			what += fmt.Sprintf(" and %d more", n)
		}
		fmt.Fprintf(e.Err, "note: not read: %s: %s\n", what, r)
	}
}

// Labels names the traces for people: by stage and rank if that tells them apart, else also by
// their directories or files.
func Labels(infos []Info) []string {
	list, files := make([]*trace.Meta, len(infos)), make([]string, len(infos))
	for k := range infos {
		list[k], files[k] = infos[k].Meta, infos[k].File
		if files[k] == open.Stdin {
			files[k] = "stdin"
		}
	}
	return identity.Labels(list, files)
}

// settle notes in infos which traces belong together.
func settle(infos []Info) {
	list := make([]*trace.Meta, len(infos))
	for k := range infos {
		list[k] = infos[k].Meta
	}
	for _, w := range identity.Worlds(list) {
		for _, k := range w.Traces {
			infos[k].World = w.Name
		}
	}
}

// foreign are the formats of which a note says that torch did not write them, since some answers
// then lack parts.
var foreign = []string{"chrome", "viztracer", "xla", "xplane"}

// Foreign reports whether the trace is in a format that torch does not write.
func Foreign(i *Info) bool { return slices.Contains(foreign, i.Format) }

// repairsOf says what was damaged in a trace, without repairs that change nothing an analysis says;
// "" if nothing was.
func repairsOf(i *Info) string {
	text := (&trace.Repairs{Count: i.Repairs}).Damage()
	if text == "" {
		return ""
	}
	return text + report.Unread(i.Skipped, i.Text)
}

// NoteRepairs says on stderr which files are damaged, and which torch did not write.
func NoteRepairs(e *cli.Env, infos []Info) {
	for k := range infos {
		i := &infos[k]
		name := i.File
		if name == open.Stdin || name == "" {
			name = "standard input"
		}
		if i.Part > 1 {
			name += fmt.Sprintf(" #%d", i.Part)
		}
		if Foreign(i) {
			fmt.Fprintf(e.Err, "note: %s is %s\n", name, format.Title(i.Format))
		}
		if text := repairsOf(i); text != "" {
			fmt.Fprintf(e.Err, "note: %s was repaired: %s\n", name, text)
		}
	}
}

// NoteDoubts says on stderr which statements of the traces are not believed.
func NoteDoubts(e *cli.Env, infos []Info) {
	for k, l := range Labels(infos) {
		for _, d := range infos[k].Doubts {
			if d.Severity >= finding.Notice {
				fmt.Fprintf(e.Err, "note: in doubt: %s: %s\n", cmp.Or(l, filepath.Base(infos[k].File)), d.Text)
			}
		}
	}
}

// RepairsLine is what was damaged in one line, for a page; "" if nothing was.
func RepairsLine(infos []Info) string {
	var damaged []string
	for k, l := range Labels(infos) {
		if text := repairsOf(&infos[k]); text != "" {
			damaged = append(damaged, strings.TrimSpace(l+": "+text))
		}
	}
	switch {
	case len(damaged) == 0:
		return ""
	case len(infos) == 1:
		return ", repaired: " + repairsOf(&infos[0])
	case len(damaged) > 2:
		return fmt.Sprintf(", %d traces were repaired, as %s", len(damaged), damaged[0])
	}
	return ", repaired: " + strings.Join(damaged, " | ")
}
