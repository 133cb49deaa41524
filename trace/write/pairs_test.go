package write

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	parquetgo "github.com/parquet-go/parquet-go"

	"github.com/kinetoscope/kinetoscope/internal/docpart"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// inputs are files of all kinds that are read, made by the tests of their readers.
var inputs = []string{
	"../../analysis/testdata/torch_cpu.json.gz", "../kineto/testdata/*.json", "../nsys/testdata/report.sqlite",
	"../xplane/testdata/cpu.xplane.pb",
	"../xplane/testdata/cpu.trace.json.gz", "../rocprof/testdata/result.json", "../rocprof/testdata/result.db",
	"../perfetto/testdata/*.pftrace",
	"../proton/testdata/scopes.hatchet", "../proton/testdata/kernels.hatchet", "../proton/testdata/chrome.json",
	"../memsnap/testdata/snapshot.pickle", "../sglangomni/testdata/*.jsonl",
	"../vllmomni/testdata/*.json*",
}

// row is what a slice must keep.
type row struct {
	start, dur             int64
	name, category, parent string
	args                   string
}

// rowsOf returns the slices of t, sorted, with times from its first slice.
func rowsOf(t *trace.Trace) []row {
	x := t.Index()
	var out []row
	for i, at := range t.Slices.Start {
		if t.Slices.Cat[i] == trace.CatTraceSpan {
			continue // the window, which writers say in their own way
		}
		r := row{start: at, dur: t.Slices.Dur[i], name: t.String(t.Slices.Name[i]),
			category: t.CategoryText(t.Slices.Cat[i])}
		if p := x.Parent[i]; p != trace.NoParent {
			r.parent = t.String(t.Slices.Name[p])
		}
		r.args = normal(t.Args(t.Slices.Args[i]))
		out = append(out, r)
	}
	sortRows(out)
	return out
}

// sortRows sorts rows and counts their times from the first.
func sortRows(rows []row) {
	first := int64(math.MaxInt64)
	for i := range rows {
		first = min(first, rows[i].start)
	}
	for i := range rows {
		rows[i].start -= first
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.dur, a.dur), strings.Compare(a.name, b.name),
			strings.Compare(a.args, b.args), strings.Compare(a.parent, b.parent),
			strings.Compare(a.category, b.category))
	})
}

// normal is a JSON object with its keys sorted and its integers as they are.
func normal(raw []byte) string {
	if len(raw) == 0 {
		return "{}"
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return string(raw)
	}
	out, _ := json.Marshal(plain(v))
	return string(out)
}

// plain writes what has several spellings in one: fractions, and null and objects without
// members, which Perfetto does not have.
func plain(v any) any {
	switch v := v.(type) {
	case nil:
		return "null"
	case json.Number:
		if f, err := v.Float64(); err == nil && strings.ContainsAny(v.String(), ".eE") {
			return f
		}
	case map[string]any:
		if len(v) == 0 {
			return []any{}
		}
		for k := range v {
			v[k] = plain(v[k])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	}
	return v
}

// ofTorch are arguments that the recordings of package profiler get in Kineto's format, for
// tools that look for them.
var ofTorch = regexp.MustCompile(`"(Ev Idx|External id|Record function id)":\d+,?`)

// decoders read the files of formats that are written and not read. Of sums TestSums compares what is
// kept; what a format keeps says the format itself.
var decoders = map[string]func(t *testing.T, b []byte) []row{
	"parquet": parquetRows, "arrow": arrowRows, "speedscope": speedscopeRows,
}

// reader returns what reads f's files as slices; nil if nothing does.
func reader(f format.Format) func(t *testing.T, b []byte) []row {
	if f.Read != nil && f.Keeps.Times {
		return readBack
	}
	return decoders[f.Name]
}

// readBack reads a file as any user's.
func readBack(t *testing.T, b []byte) []row {
	t.Helper()
	path := filepath.Join(t.TempDir(), "back")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var got *trace.Trace
	found, err := open.Find([]string{path})
	if err == nil {
		err = open.EachSource(t.Context(), found, open.Options{},
			func(_ int, tr *trace.Trace) error { got = tr; return nil })
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Validate(); err != nil {
		t.Fatal(err)
	}
	return rowsOf(got)
}

func parquetRows(t *testing.T, b []byte) []row {
	t.Helper()
	type slice struct {
		ID       int64   `parquet:"id,optional"`
		Parent   *int64  `parquet:"parent_id,optional"`
		Ts       int64   `parquet:"ts,optional"`
		Dur      int64   `parquet:"dur,optional"`
		Name     string  `parquet:"name,optional"`
		Category string  `parquet:"category,optional"`
		Args     *string `parquet:"args,optional"`
	}
	list, err := parquetgo.Read[slice](bytes.NewReader(b), int64(len(b)))
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	var out []row
	for _, s := range list {
		if s.Category == trace.CatTraceSpan.String() {
			continue
		}
		r := row{start: s.Ts, dur: s.Dur, name: s.Name, category: s.Category, args: "{}"}
		if s.Args != nil {
			r.args = normal([]byte(*s.Args))
		}
		if s.Parent != nil {
			r.parent = list[*s.Parent].Name
		}
		out = append(out, r)
	}
	sortRows(out)
	return out
}

func arrowRows(t *testing.T, b []byte) []row {
	t.Helper()
	r, err := ipc.NewFileReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var out []row
	var names []string
	var parents []int64
	for i := range r.NumRecords() {
		rec, err := r.RecordBatchAt(i)
		if err != nil {
			t.Fatal(err)
		}
		column := func(name string) arrow.Array { return rec.Column(rec.Schema().FieldIndices(name)[0]) }
		ints := func(name string) *array.Int64 { return column(name).(*array.Int64) }
		texts := func(name string) *array.String { return column(name).(*array.String) }
		for k := range int(rec.NumRows()) {
			x := row{start: ints("ts").Value(k), dur: ints("dur").Value(k), name: texts("name").Value(k), args: "{}"}
			if c := texts("category"); !c.IsNull(k) {
				x.category = c.Value(k)
			}
			if a := texts("args"); !a.IsNull(k) {
				x.args = normal([]byte(a.Value(k)))
			}
			parent := int64(-1)
			if p := ints("parent_id"); !p.IsNull(k) {
				parent = p.Value(k)
			}
			out, names, parents = append(out, x), append(names, x.name), append(parents, parent)
		}
	}
	for i, p := range parents {
		if p >= 0 {
			out[i].parent = names[p]
		}
	}
	out = slices.DeleteFunc(out, func(r row) bool { return r.category == trace.CatTraceSpan.String() })
	sortRows(out)
	return out
}

func speedscopeRows(t *testing.T, b []byte) []row {
	t.Helper()
	var doc struct {
		Shared struct {
			Frames []struct {
				Name, File string
				Line       int
			}
		}
		Profiles []struct {
			Unit   string
			Events []struct {
				Type  string
				At    float64
				Frame int
			}
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	var out []row
	for _, p := range doc.Profiles {
		var stack []int // of out
		for _, e := range p.Events {
			if e.Type == "O" {
				f := doc.Shared.Frames[e.Frame]
				r := row{start: int64(e.At), name: f.Name}
				if f.File != "" {
					r.name = fmt.Sprintf("%s(%d): %s", f.File, f.Line, f.Name)
				}
				if n := len(stack); n > 0 {
					r.parent = out[stack[n-1]].name
				}
				stack = append(stack, len(out))
				out = append(out, r)
				continue
			}
			top := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			out[top].dur = int64(e.At) - out[top].start
		}
	}
	// The window of torch's profiler is a slice of Kineto's files that rowsOf leaves out.
	out = slices.DeleteFunc(out, func(r row) bool {
		return strings.HasPrefix(r.name, "PyTorch Profiler") || r.name == "Iteration Start"
	})
	sortRows(out)
	return out
}

// numbered is a step's number, which speedscope's frames are named without.
var numbered = regexp.MustCompile(`^(ProfilerStep)#\d+$`)

// forget takes from rows what a format does not keep.
func forget(k format.Parts, rows []row) []row {
	out := slices.Clone(rows)
	for i := range out {
		r := &out[i]
		if !k.Args {
			r.args = ""
		}
		if !k.Categories {
			r.category = ""
		}
		if !k.Nesting {
			r.parent = ""
		}
		if !k.Args && !k.Categories {
			r.name, r.parent = numbered.ReplaceAllString(r.name, "$1"), numbered.ReplaceAllString(r.parent, "$1")
		}
	}
	sortRows(out)
	return out
}

// Every pair of a format that is read and one that is written keeps times, names, nesting and
// arguments, but for what the format says.
func TestPairs(t *testing.T) {
	seen := map[string]bool{}
	for _, pattern := range append(made(t), inputs...) {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 && !strings.Contains(pattern, "*") {
			t.Fatal(pattern, err)
		}
		for _, path := range files {
			found, err := open.Find([]string{path})
			if err != nil {
				t.Fatal(err)
			}
			err = open.EachSource(t.Context(), found, open.Options{}, func(_ int, tr *trace.Trace) error {
				if tr.Slices.Len() > 0 {
					seen[tr.Meta.Format] = true
					pairs(t, filepath.Base(path), tr)
				}
				return nil
			})
			if err != nil {
				t.Log(path, err) // files of readers' tests may be damaged on purpose
			}
		}
	}
	for _, name := range []string{"kineto", "nsys", "xplane", "xla", "rocprof", "rocpd", "native", "go", "ascend",
		"hatchet", "proton", "pprof", "memory-snapshot", "sglang-omni"} {
		if !seen[name] {
			t.Errorf("no input of format %s: %v", name, seen)
		}
	}
}

var update = flag.Bool("update", false, "write what docs/formats.md says of the formats")

// docs/formats.md says of each format what TestPairs holds it to.
func TestDocs(t *testing.T) {
	var b strings.Builder
	b.WriteString("| ending | format | read | times | names | nesting | arguments | categories | what else it does not hold |\n|---|---|---|---|---|---|---|---|---|\n")
	mark := func(ok bool) string {
		if ok {
			return "yes"
		}
		return "no"
	}
	for _, f := range format.All() {
		if f.Create == nil {
			continue
		}
		k := f.Keeps
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s | %s | %s |\n", strings.Join(f.Extensions, "`, `"),
			f.Title,
			mark(f.Read != nil), mark(k.Times), mark(k.Names), mark(k.Nesting), mark(k.Args), mark(k.Categories),
			f.Lacks)
	}
	docpart.Part{Page: "../../docs/formats.md", Name: "what is written", Make: "go test ./trace/write -update"}.
		Keep(t, b.String(), *update)
}

func pairs(t *testing.T, file string, tr *trace.Trace) {
	for _, f := range format.All() {
		if f.Create == nil {
			continue
		}
		k, read := f.Keeps, reader(f)
		if read == nil {
			continue
		}
		t.Run(fmt.Sprintf("%s %s to %s", tr.Meta.Format, file, f.Name), func(t *testing.T) {
			var out bytes.Buffer
			start, _, _ := tr.Extent()
			w := f.Create(&out, format.WriteOptions{Name: "x", Workers: 1, StartNs: start, Ranks: 1})
			if err := w.Add(t.Context(), format.Rank{Trace: tr, Name: "rank 0"}); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			want, got := forget(k, rowsOf(tr)), forget(k, read(t, out.Bytes()))
			if tr.Meta.Format == "native" && f.Name == "kineto" {
				for i := range got {
					got[i].args = strings.Replace(ofTorch.ReplaceAllString(got[i].args, ""), ",}", "}", 1)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d slices, want %d", len(got), len(want))
			}
			differ := 0
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					if differ++; differ <= 3 {
						t.Errorf("slice %d:\n got %+v\nwant %+v", i, got[i], want[i])
					}
				}
			}
			if differ > 3 {
				t.Errorf("%d slices differ", differ)
			}
		})
	}
}
