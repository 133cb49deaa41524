// Package analyses is the registry of the questions that can be asked of traces, of each one or of
// two sides against each other.
//
// An analysis is one file of this package, or of any other that is linked in. It says what the
// analysis is called, what it needs, what it computes of each trace, and how its answer looks as
// tables, as JSON and as findings. The verb of the command line with its flags, the analysis' part
// of the report's page and its rows in docs/cli.md are made from that; docs/extending.md shows one
// from beginning to end. Nothing here reads or writes files.
package analyses

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/compare"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Analysis is one question: what a user reads of it before asking.
type Analysis struct {
	Name    string // of the verb: small letters and "-"
	Order   int    // place among the verbs, and on the page
	Help    string // one sentence for --help: which question it answers
	Answers string // the same as a phrase, for docs/cli.md
	// Needs says what a trace must have for an answer, for a reader whose trace has none
	// of it: "The trace has no allocations: profile_memory records them."; "" if nothing.
	Needs  string
	HTA    bool     // Asked.HTA changes the answer; the verb has --hta
	Sums   bool     // the answer sums over ranks unless Asked.ByRank; the verb has --by-rank
	Tables []string // names of the answer's tables, the one that --csv prints first
	JSON   []Field  // of the answer, "ranks" first
	// Page has the report's page show the answer's main table and the findings. What has a
	// Method.Page is on the page without it.
	Page bool
	// PageOnly says that it has a part of the report's page and no verb.
	PageOnly bool
	// Doubts says that the answer itself names the statements of a trace that are not believed;
	// else they are printed beside the answer.
	Doubts bool
	// Appetite is the memory that Rank takes beside the trace, in multiples of the trace's own; 0
	// means 1. With --memory, as many traces are read at a time as fit together with it.
	Appetite float64

	begin   func() asker
	compare func() comparer
}

// Field is a field of an answer's JSON.
type Field struct {
	Key  string
	Type string // Go type of what it holds, "analysis.OpTable"
}

// Asked is what all verbs can be asked beside their own options.
type Asked struct {
	HTA    bool // HTA's definitions
	ByRank bool // ranks apart in tables that sum over them
	// Everything says that all parts of the answer are wanted, for JSON or a table by
	// name; else those will do that a reader sees at first.
	Everything bool
}

// Options are those of package analysis.
func (a Asked) Options() analysis.Options { return analysis.Options{HTA: a.HTA} }

// Answer is the answer of an analysis, in all its forms.
type Answer struct {
	Lines  []string        // sentences above the tables
	Notes  []string        // what the user should know about the question, beside the answer
	Above  []*report.Table // what a reader sees before the main table
	Tables []*report.Table // the first is the main one, and what CSV prints
	Asked  []*report.Table // only by name: series over time
	JSON   map[string]any
	Files  []File // further files that were asked for
	// Each writes what a reader sees of trace i in place of the tables, where pictures say
	// more; nil: the tables.
	Each func(w io.Writer, i int, o report.TextOptions) error
}

// File is a file for the caller to write.
type File struct {
	Flag    string // that asked for it, "--svg"
	Path    string
	Content []byte
}

// InputError is a mistake of the caller: options that contradict each other or the traces.
type InputError struct{ Err error }

// Error returns the message.
func (e *InputError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Err }

func wrong(format string, args ...any) error { return &InputError{fmt.Errorf(format, args...)} }

// Method is how an analysis is computed. O is a struct of its options, whose fields are
// tagged as github.com/alecthomas/kong reads flags; R is what it finds in one trace and
// must not hold the trace, as traces may be read one after the other.
type Method[O, R any] struct {
	// Check refuses options that make no sense, before anything is read. May be nil.
	Check func(o *O, a Asked) error
	// Rank looks at one trace. Several goroutines call it.
	Rank func(s *analysis.Subject, o *O, a Asked) (R, error)
	// Answer joins the results of all traces, in the traces' order.
	Answer func(list []report.Ranked[R], o *O, a Asked) (Answer, error)
	// Findings returns the results that are worth a sentence. Evidence.Rank is an index into list.
	// May be nil.
	Findings func(list []report.Ranked[R]) []analysis.Finding
	// Reported takes from the report, which computes all that it prints as JSON on all cores
	// together, what Rank would compute for the page. May be nil.
	Reported func(k *analysis.RankReport) R
	// Page is the part of the report's page; nil: the answer's main table, and the answer's
	// JSON.
	Page func(list []report.Ranked[R], p *report.TraceReport) PagePart
}

// PagePart is what the report's page shows of an analysis.
type PagePart struct {
	Lines  []string // above all tables
	Tables []*report.Table
	JSON   any // under the analysis' name; nil where the report has it already
}

// None are the options of an analysis that has none.
type None struct{}

// Comparison is how two sides are compared. O is as that of Method.
type Comparison[O any] struct {
	// Check refuses options that make no sense, before anything is read. May be nil.
	Check func(o *O, a Asked) error
	// Compare says what changed from before to after.
	Compare func(before, after Input, o *O, a Asked) (Answer, error)
}

// Input is what a user gives as one side of a comparison: at least one trace, or a whole pipeline.
type Input struct {
	Path     string // as the user named it
	Traces   []report.Ranked[*trace.Trace]
	Pipeline *compare.Side // instead of Traces, on both sides or on none
}

var registry = map[string]*Analysis{}

// Register adds an analysis of traces one by one; it is called while packages are
// initialised, as the value of a package's variable. It panics if a name is taken or a part
// is missing.
func Register[O, R any](a Analysis, m Method[O, R]) *Analysis {
	a.begin = func() asker { return &asking[O, R]{m: m} }
	a.Page = a.Page || m.Page != nil
	if a.PageOnly {
		return add(&a, m.Page != nil && (m.Rank != nil || m.Reported != nil))
	}
	return add(&a, m.Rank != nil && m.Answer != nil && len(a.Tables) > 0)
}

// RegisterComparison adds a comparison of two sides, as Register does.
func RegisterComparison[O any](a Analysis, c Comparison[O]) *Analysis {
	a.compare = func() comparer { return &comparing[O]{c: c} }
	return add(&a, c.Compare != nil && len(a.Tables) > 0 && !a.Sums && !a.Page && !a.PageOnly)
}

func add(a *Analysis, whole bool) *Analysis {
	switch {
	case a.Name == "" || a.Help == "" || !whole:
		panic(fmt.Sprintf("analyses: %q lacks a name, a help, tables or a method, or has what goes with no comparison",
			a.Name))
	case registry[a.Name] != nil:
		panic(fmt.Sprintf("analyses: %q is registered twice", a.Name))
	}
	registry[a.Name] = a
	return a
}

// All returns the analyses that have a verb, by Order and name.
func All() []*Analysis {
	return slices.DeleteFunc(ordered(), func(a *Analysis) bool { return a.PageOnly })
}

// Named returns the analysis of that name that has a verb; nil if there is none.
func Named(name string) *Analysis {
	if a := registry[name]; a != nil && !a.PageOnly {
		return a
	}
	return nil
}

func ordered() []*Analysis {
	return slices.SortedFunc(maps.Values(registry), func(a, b *Analysis) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), strings.Compare(a.Name, b.Name))
	})
}

// Compares says whether a compares two sides; then Pair begins a question, else Ask.
func (a *Analysis) Compares() bool { return a.compare != nil }

// Question is an analysis about to be asked.
type Question struct {
	*Analysis
	asker
}

// Ask begins a question with options of its own, at the defaults that their tags name: so the
// report's page asks as the verb does without flags.
func (a *Analysis) Ask() *Question {
	q := &Question{a, a.begin()}
	a.defaults(q.Options())
	return q
}

// Pair is a comparison about to be asked for.
type Pair struct {
	*Analysis
	comparer
}

// Pair begins a comparison with options of its own, at the defaults that their tags name.
func (a *Analysis) Pair() *Pair {
	p := &Pair{a, a.compare()}
	a.defaults(p.Options())
	return p
}

// defaults panics if a default is none of its field's type: that is a mistake of the analysis.
func (a *Analysis) defaults(options any) {
	if err := kong.ApplyDefaults(options); err != nil {
		panic(fmt.Sprintf("analyses: options of %q: %v", a.Name, err))
	}
}

// comparer is a Comparison without its types.
type comparer interface {
	// Options points at the question's options, a struct with kong's tags.
	Options() any
	// Check refuses options that make no sense.
	Check(a Asked) error
	// Compare says what changed.
	Compare(before, after Input, a Asked) (Answer, error)
}

type comparing[O any] struct {
	c Comparison[O]
	o O
}

func (q *comparing[O]) Options() any { return &q.o }

func (q *comparing[O]) Check(a Asked) error {
	if q.c.Check == nil {
		return nil
	}
	return q.c.Check(&q.o, a)
}

func (q *comparing[O]) Compare(before, after Input, a Asked) (Answer, error) {
	return q.c.Compare(before, after, &q.o, a)
}

// asker is a Method without its types.
type asker interface {
	// Options points at the question's options, a struct with kong's tags.
	Options() any
	// Check refuses options that make no sense.
	Check(a Asked) error
	// Rank looks at one trace. Several goroutines may call it.
	Rank(s *analysis.Subject, a Asked) (any, error)
	// Answer joins what Rank returned.
	Answer(list []report.Ranked[any], a Asked) (Answer, error)
	// Findings returns the results that are worth a sentence.
	Findings(list []report.Ranked[any]) []analysis.Finding
	// reported is what Rank would return, out of the report; ok is false if Rank has to.
	reported(k *analysis.RankReport) (r any, ok bool)
	page(list []report.Ranked[any], p *report.TraceReport) (PagePart, error)
	// result is the type of what Rank returns, and unpack decodes one.
	result() reflect.Type
	unpack(data []byte) (any, error)
}

type asking[O, R any] struct {
	m Method[O, R]
	o O
}

func (q *asking[O, R]) Options() any { return &q.o }

func (q *asking[O, R]) Check(a Asked) error {
	if q.m.Check == nil {
		return nil
	}
	return q.m.Check(&q.o, a)
}

func (q *asking[O, R]) Rank(s *analysis.Subject, a Asked) (any, error) { return q.m.Rank(s, &q.o, a) }

func (q *asking[O, R]) reported(k *analysis.RankReport) (any, bool) {
	if q.m.Reported == nil {
		return nil, false
	}
	if k == nil {
		return nil, true
	}
	return q.m.Reported(k), true
}

func (q *asking[O, R]) page(list []report.Ranked[any], p *report.TraceReport) (PagePart, error) {
	if q.m.Page != nil {
		return q.m.Page(typed[R](list), p), nil
	}
	a, err := q.Answer(list, Asked{Everything: true})
	if err != nil {
		return PagePart{}, err
	}
	return PagePart{Tables: a.Tables[:1], JSON: a.JSON}, nil
}

func (q *asking[O, R]) Answer(list []report.Ranked[any], a Asked) (Answer, error) {
	return q.m.Answer(typed[R](list), &q.o, a)
}

func (q *asking[O, R]) Findings(list []report.Ranked[any]) []analysis.Finding {
	if q.m.Findings == nil {
		return nil
	}
	return q.m.Findings(typed[R](list))
}

// typed gives results that Rank returned their type back.
func typed[R any](list []report.Ranked[any]) []report.Ranked[R] {
	out := make([]report.Ranked[R], len(list))
	for i := range list {
		out[i] = report.Ranked[R]{Label: list[i].Label, Value: list[i].Value.(R)}
	}
	return out
}

// summed is list, or its sum over ranks unless they are wanted apart.
func summed[R any](
	a Asked, list []report.Ranked[R], sum func([]report.Ranked[R]) []report.Ranked[R],
) []report.Ranked[R] {
	if a.ByRank {
		return list
	}
	return sum(list)
}
