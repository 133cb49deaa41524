package analyses

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/internal/docpart"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

var update = flag.Bool("update", false, "write the rows of docs/cli.md")

// The tables of docs/cli.md: their heads, and the rows of the verbs that are no analyses.
const (
	verbsHead = "| command | answers | tables (`--table`), the first is what `--csv` prints |\n" +
		"|---|---|---|\n" +
		"| `report` | where the time went, on one page, findings last | %s; of a run %s |\n"
	verbsFoot = "| `inspect` | what is in a file, every repair with its count | `files`, `facts`, `categories`, " +
		"`tracks`, `groups`, `repairs` |\n"
	jsonHead = "| command | type of a `ranks` entry | further fields |\n" +
		"|---|---|---|\n"
	jsonFoot = "| `inspect` | – | `files`: facts, counts, window, and of recordings `recording`: generations, " +
		"drops, clock, cut |\n" +
		"| `report` of traces | – | `report`: `analysis.Report`, `steps`: `steps.Report`, one a trace |\n" +
		"| `report` of a run | – | no fields but those of [report.json](report.md); of several runs " +
		"`runs`: `dir` and `report` |\n"
)

// TestDocs holds the tables of docs/cli.md to what analyses say of themselves.
func TestDocs(t *testing.T) {
	var verbs, fields strings.Builder
	for _, a := range All() {
		verbs.WriteString(a.VerbRow() + "\n")
		fields.WriteString(a.JSONRow() + "\n")
	}
	head := fmt.Sprintf(verbsHead, tablesOf(t, pageOf(t, pipetest.Torch())),
		tablesOf(t, report.PipelineTables(pipeline.Analyze(pipetest.Omni(), pipeline.Options{}))))
	for name, text := range map[string]string{
		"verbs": head + verbs.String() + verbsFoot, "JSON": jsonHead + fields.String() + jsonFoot,
	} {
		docpart.Part{Page: "../docs/cli.md", Name: name, Make: "go test ./analyses -update"}.Keep(t, text, *update)
	}
}

// pageOf are the tables of the report's page about traces.
func pageOf(t *testing.T, traces []*trace.Trace) []*report.Table {
	t.Helper()
	subjects := analysis.NewSubjects(traces)
	all := analysis.AllOf(subjects, analysis.Options{})
	page, r := NewPage(Asked{}), &report.TraceReport{Report: &all, Names: report.NamesOf(traces)}
	found := make([]Found, len(traces))
	for i, s := range subjects {
		r.Labels = append(r.Labels, fmt.Sprint(i))
		var err error
		if found[i], err = page.Rank(s); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := page.Build(r, found); err != nil {
		t.Fatal(err)
	}
	return r.Tables
}

// tablesOf are the names of tables as a cell of a table in Markdown. Of two tables with one name
// --table would find the first alone.
func tablesOf(t *testing.T, list []*report.Table) string {
	t.Helper()
	var names []string
	for _, tab := range list {
		if slices.Contains(names, "`"+tab.Name+"`") {
			t.Errorf("two tables are called %s", tab.Name)
		}
		names = append(names, "`"+tab.Name+"`")
	}
	return strings.Join(names, ", ")
}

// ask asks about traces as a verb does.
func ask(t *testing.T, q *Question, traces []*trace.Trace, a Asked) Answer {
	t.Helper()
	if err := q.Check(a); err != nil {
		t.Fatal(err)
	}
	list := make([]report.Ranked[any], len(traces))
	for i, tr := range traces {
		v, err := q.Rank(analysis.NewSubject(tr), a)
		if err != nil {
			t.Fatal(err)
		}
		list[i] = report.Ranked[any]{Label: string(rune('0' + i)), Value: v}
	}
	out, err := q.Answer(list, a)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSaysWhatItAnswers compares the tables and fields that analyses announce with those
// that they give.
func TestSaysWhatItAnswers(t *testing.T) {
	for _, a := range All() {
		if a.Compares() {
			continue // TestDiff
		}
		traces := pipetest.Torch()
		if a.Name == "critical-path" {
			traces = traces[:1]
		}
		q := a.Ask()
		got := ask(t, q, traces, Asked{Everything: true})
		var names []string
		for _, tab := range slices.Concat(got.Tables, got.Above, got.Asked) {
			if !slices.Contains(a.Tables, tab.Name) {
				t.Errorf("%s: table %s is not announced", a.Name, tab.Name)
			}
			names = append(names, tab.Name)
		}
		if got.Tables[0].Name != a.Tables[0] {
			t.Errorf("%s: CSV prints %s, announced is %s", a.Name, got.Tables[0].Name, a.Tables[0])
		}
		for _, name := range a.Tables {
			if !slices.Contains(names, name) && name != "sequences" && name != "collectives" { // those need a flag
				t.Errorf("%s: no table %s", a.Name, name)
			}
		}
		var keys []string
		for _, f := range a.JSON {
			keys = append(keys, f.Key)
			if got.JSON[f.Key] == nil {
				t.Errorf("%s: no %s in its JSON", a.Name, f.Key)
			}
		}
		if len(keys) != len(got.JSON) || keys[0] != "ranks" {
			t.Errorf("%s: JSON has %d fields, announced are %q", a.Name, len(got.JSON), keys)
		}
	}
}

func TestDiff(t *testing.T) {
	traces := pipetest.Torch()
	side := func(name string, list ...*trace.Trace) Input {
		s := Input{Path: name}
		for _, tr := range list {
			s.Traces = append(s.Traces, report.Ranked[*trace.Trace]{Label: name, Value: tr})
		}
		return s
	}
	a := registry["diff"]
	for _, steps := range []string{"auto", "all"} {
		q := a.Pair()
		q.Options().(*diffOptions).Steps = steps
		got, err := q.Compare(side("a", traces[0]), side("b", traces[1]), Asked{})
		if err != nil {
			t.Fatal(err)
		}
		if got.Tables[0].Name != a.Tables[0] || len(got.JSON) != len(a.JSON) {
			t.Errorf("table %s and %d fields of JSON, announced are %q and %q", got.Tables[0].Name, len(got.JSON),
				a.Tables, a.JSON)
		}
		for _, f := range a.JSON {
			if got.JSON[f.Key] == nil {
				t.Errorf("no %s in its JSON", f.Key)
			}
		}
		if how := got.JSON["compared_by"]; how != "whole_trace" { // for want of steps
			t.Errorf("--steps %s compares by %s", steps, how)
		}
		if got, err = q.Compare(side("a", traces[0]), side("a", traces[0]), Asked{}); err != nil ||
			got.Tables[0].Len() > 0 {
			t.Errorf("a trace differs from itself: %v, %v", got.Tables, err)
		}
	}
	var wrong *InputError
	if _, err := a.Pair().Compare(side("a", traces...), side("b", traces[1]), Asked{}); !errors.As(err, &wrong) {
		t.Errorf("two traces on one side: %v", err)
	}
	empty := side("empty", trace.New())
	if _, err := a.Pair().Compare(empty, empty, Asked{}); err == nil || errors.As(err, &wrong) {
		t.Errorf("traces without slices: %v", err)
	}
}

func TestOptions(t *testing.T) {
	three := "mm"
	for _, c := range []struct {
		name string
		set  func(options any)
		want string // in the error, or in the name of the first table
	}{
		{"ops", func(o any) { o.(*opsOptions).StackDepth = -1 }, "--stack-depth -1"},
		{"ops", func(o any) { o.(*opsOptions).Flops = true }, "roofline"},
		{"kernels", func(o any) { o.(*kernelsOptions).Sequences = &three },
			"sequences"},
		{"kernels", func(o any) { o.(*kernelsOptions).MinLength = 0 }, "--min-length 0"},
		{"comms", func(o any) { o.(*commsOptions).Each = true }, "collectives"},
		{"critical-path", func(o any) { o.(*pathOptions).Instance = 2 }, "--instance"},
		{"critical-path", func(any) {}, "2 traces"},
		{"memory", func(o any) { o.(*memoryOptions).SVG = "x.svg" }, "no allocations to draw"},
	} {
		q := registry[c.name].Ask()
		c.set(q.Options())
		got, err := "", q.Check(Asked{})
		var list []report.Ranked[any]
		for _, tr := range pipetest.Torch() {
			v, _ := q.Rank(analysis.NewSubject(tr), Asked{})
			list = append(list, report.Ranked[any]{Value: v})
		}
		if err == nil {
			var a Answer
			if a, err = q.Answer(list, Asked{}); err == nil {
				got = a.Tables[0].Name
			}
		}
		if err != nil {
			got = err.Error()
			if _, ok := err.(*InputError); !ok {
				t.Errorf("%s: %v is no mistake of who asks", c.name, err)
			}
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestRegisterRefuses(t *testing.T) {
	rank := func(*analysis.Subject, *None, Asked) (int, error) { return 0, nil }
	answer := func([]report.Ranked[int], *None, Asked) (Answer, error) { return Answer{}, nil }
	for name, a := range map[string]Analysis{"taken": {Name: "ops", Help: "x", Tables: []string{"x"}},
		"no help": {Name: "x", Tables: []string{"x"}}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: registered", name)
				}
			}()
			Register(a, Method[None, int]{Rank: rank, Answer: answer})
		}()
	}
}

// A question begins at the defaults of its flags, so that the report's page, which gives none,
// says the numbers of the verb.
func TestDefaults(t *testing.T) {
	if o := registry["kernels"].Ask().Options().(*kernelsOptions); o.MinLength != 3 {
		t.Errorf("--min-length is %d without the flag", o.MinLength)
	}
	if o := registry["diff"].Pair().Options().(*diffOptions); o.Steps != "auto" || o.Only != "all" {
		t.Errorf("the defaults of diff are %+v", o)
	}
}
