package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"strconv"
	"strings"
	"testing"
)

// homes are questions that have one home: who asks them anywhere else does work twice, or answers
// differently some day. Each has the files that may call it, tests apart, with the reason.
var homes = map[string]map[string]string{
	"analysis/plausible.Look": {
		"analysis/view.go":       "analysis.Subject, which looks at a trace once for all that is asked of it",
		"analysis/frame.go":      "views with options of their own, which nobody shares",
		"analysis/steps/find.go": "callers without a subject",
		"convert/collectives.go": "clocks are compared before anything else is asked of a recording",
	},
	"analysis.Look": {
		"analysis/ops.go":              "the operators of one trace that has no subject",
		"bench/cmd/loadratio/child.go": "what looking costs is what it measures",
	},
	"analysis/view.New": {
		"analysis/plausible/plausible.go": "what is believed of a trace begins with all of it",
		"tables/rank.go":                  "the table of kernels says what the file says, believed or not",
	},
}

// TestHomes: questions with one home are asked there.
func TestHomes(t *testing.T) {
	used := map[string]bool{}
	eachFile(t, func(rel string, src []byte) error {
		if strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		calls, err := callsOf(src, path.Dir(rel))
		if err != nil {
			return err
		}
		for _, of := range calls {
			callers, ok := homes[of]
			if !ok {
				continue
			}
			used[of+" "+rel] = true
			if callers[rel] == "" {
				t.Errorf("%s calls %s: ask its home (see homes in internal/archtest), or say there why not", rel, of)
			}
		}
		return nil
	})
	for of, callers := range homes {
		for rel := range callers {
			if !used[of+" "+rel] {
				t.Errorf("%s may call %s and does not: take it out of homes", rel, of)
			}
		}
	}
}

// callsOf returns what a file of package dir calls of this module's functions: "analysis/view.New".
func callsOf(src []byte, dir string) ([]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), "", src, 0)
	if err != nil {
		return nil, err
	}
	packages := map[string]string{} // by the name that the file uses
	for _, i := range f.Imports {
		whole, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return nil, err
		}
		of, ok := strings.CutPrefix(whole, module+"/")
		if !ok {
			continue
		}
		name := of[strings.LastIndexByte(of, '/')+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		packages[name] = of
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch fun := call.Fun.(type) {
		case *ast.Ident:
			out = append(out, dir+"."+fun.Name)
		case *ast.SelectorExpr:
			if x, ok := fun.X.(*ast.Ident); ok && packages[x.Name] != "" {
				out = append(out, packages[x.Name]+"."+fun.Sel.Name)
			}
		}
		return true
	})
	return out, nil
}
