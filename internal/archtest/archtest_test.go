// Package archtest holds the architecture: which package may import which, that the
// recorder needs the standard library alone, that every package says what it is.
package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/kinetoscope/kinetoscope"

// rooms are the packages from the bottom up. A package imports rooms above it in this
// list only if they stand in the same line, and everything below. A name stands for
// the packages under it too, unless a longer name is listed.
var rooms = [][]string{
	{"internal/plainfile", "internal/neutral", "internal/wait", "internal/most", "internal/cores", "internal/lists",
		"internal/brokenpipe"},
	{"internal/tempspool"},
	{"units", "docs"},
	{"profiler/format"},
	{"profiler"},
	{"profiler/otelbridge"},
	{"protocol"},
	{"trace/ids", "trace/order"},
	{"trace"},
	{"trace/identity", "trace/unpack", "trace/xla"},
	{"trace/split", "trace/format", "trace/sums"},
	{"trace/chrome", "trace/perfetto", "trace/sheet", "trace/folded", "trace/optable", "trace/memsnap",
		"trace/opstats", "trace/kineto", "trace/ascend", "trace/native", "trace/index", "trace/open", "trace/stacks",
		"trace/pprof", "trace/speedscope", "trace/table", "trace/parquet", "trace/sqlite", "trace/nsys",
		"trace/gotrace",
		"trace/cut", "trace/xplane", "trace/rocprof", "trace/proton", "trace/sglangomni", "trace/vllmomni",
		"trace/arrowipc"},
	{"align"},
	{"trace/write"},
	{"analysis"},
	{"otlp"},
	{"timeline"},
	{"report"},
	{"analyses"},
	{"session"},
	{"store"},
	{"convert"},
	{"store/runs"},
	{"store/catalog"},
	{"tables"},
	{"hub/link"},
	{"hub/work"},
	{"hub/rank"},
	{"driver"},
	{"driver/procs"},
	{"driver/native", "driver/kinetod", "driver/server", "driver/drivertest"},
	{"agent"},
	{"hub"},
	{"hub/conversion"},
	{"omni/wire", "omni/deploy", "omni/collective"},
	{"omni/model"},
	{"omni/worker"},
	{"omni"},
	{"omni/load", "omni/overhead"},
	{"web/view"},
	{"web/api", "web/feed", "web/perfettosql"},
	{"client"},
	{"web"},
	{"web/offline"},
	{"mcpserver"},
	{"cmd", "bench", "examples", "internal", "deploy"},
}

// pure packages do no I/O and have no clock of their own: neither may they import what
// would give them one.
var (
	pure      = []string{"session", "align", "analysis", "timeline", "protocol", "omni/wire"}
	impure    = []string{"net", "net/http", "os", "os/exec", "syscall"}
	forbidden = map[string][]string{
		"trace":        {"github.com/nats-io/", "net/http"},
		"analysis":     {"github.com/nats-io/", "net/http"},
		"session":      {"github.com/nats-io/"},
		"profiler":     {"github.com/", "go.", "golang.org/", "gonum.org/"},
		"driver/procs": {"github.com/", "go.", "golang.org/", "gonum.org/", "google.golang.org/"},
	}
	// stdlibOnly are held to the rule for "profiler" although the bridge below it is not.
	excepted = []string{"profiler/otelbridge"}
)

type pkg struct {
	dir     string
	imports map[string]token.Position
	doc     bool
	name    string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	byDir := map[string]*pkg{}
	fset := token.NewFileSet()
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" ||
				path == filepath.Join(root, "runs")) {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root {
				return filepath.SkipDir // a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		dir = filepath.ToSlash(dir)
		p := byDir[dir]
		if p == nil {
			p = &pkg{dir: dir, imports: map[string]token.Position{}}
			byDir[dir] = p
		}
		p.name = f.Name.Name
		p.doc = p.doc || documented(f)
		for _, i := range f.Imports {
			p.imports[strings.Trim(i.Path.Value, `"`)] = fset.Position(i.Pos())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var list []pkg
	for _, p := range byDir {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b pkg) int { return strings.Compare(a.dir, b.dir) })
	if len(list) < 20 {
		t.Fatalf("found %d packages under %s: the walk is broken", len(list), root)
	}
	return list
}

func documented(f *ast.File) bool {
	return f.Doc != nil && len(strings.TrimSpace(f.Doc.Text())) > 20
}

// room returns the height of a package and the listed name that it stands under.
func room(dir string) (height int, name string) {
	height = -1
	for h, line := range rooms {
		for _, r := range line {
			if (dir == r || strings.HasPrefix(dir, r+"/")) && len(r) > len(name) {
				height, name = h, r
			}
		}
	}
	return height, name
}

func TestImportsRunDownward(t *testing.T) {
	for _, p := range packages(t) {
		h, from := room(p.dir)
		if h < 0 {
			t.Errorf("package %s has no room: add it to rooms and to docs/design.md", p.dir)
			continue
		}
		for imp, pos := range p.imports {
			dir, ok := strings.CutPrefix(imp, module+"/")
			if !ok {
				continue
			}
			to, name := room(dir)
			if to > h || to == h && name != from && !slices.Contains(rooms[h], name) {
				t.Errorf("%s: %s imports %s, which stands above it", pos, p.dir, dir)
			}
		}
	}
}

func TestForbiddenImports(t *testing.T) {
	under := func(dir, r string) bool { return dir == r || strings.HasPrefix(dir, r+"/") }
	for _, p := range packages(t) {
		if slices.ContainsFunc(excepted, func(e string) bool { return under(p.dir, e) }) {
			continue
		}
		for imp, pos := range p.imports {
			if strings.HasPrefix(imp, module) {
				continue
			}
			if slices.ContainsFunc(pure, func(r string) bool { return under(p.dir, r) }) &&
				slices.Contains(impure, imp) {
				t.Errorf("%s: %s is pure and must not import %s", pos, p.dir, imp)
			}
			for r, list := range forbidden {
				if under(p.dir, r) && slices.ContainsFunc(list,
					func(f string) bool { return strings.HasPrefix(imp, f) }) {
					t.Errorf("%s: %s must not import %s", pos, p.dir, imp)
				}
			}
		}
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	for _, p := range packages(t) {
		if !p.doc {
			t.Errorf("package %s (%s) has no package comment", p.name, p.dir)
		}
	}
}
