package chaos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every test that the page names is there.
func TestEvidence(t *testing.T) {
	var named []string
	for _, c := range claims {
		named = append(named, c.tests...)
	}
	for _, e := range elsewhere {
		test, _, _ := strings.Cut(e.test, " (")
		named = append(named, test)
	}
	for _, n := range named {
		pkg, test, _ := strings.Cut(n, ": ")
		files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(pkg), "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range files {
			src, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(src), "\nfunc "+test+"(")
		}
		if !found {
			t.Errorf("there is no test %s in %s", test, pkg)
		}
	}
}
