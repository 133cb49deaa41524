package docpart

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKeep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	p := Part{path, "sums", "go test ./x -update"}
	const page = "# Page\n<!-- sums: made by go test ./x -update -->\nold\n<!-- end of sums -->\nafter\n"
	if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Keep(t, "old\n", false)
	p.Keep(t, "new\n", true)
	got, err := os.ReadFile(path)
	want := "# Page\n<!-- sums: made by go test ./x -update -->\nnew\n<!-- end of sums -->\nafter\n"
	if err != nil || string(got) != want {
		t.Errorf("%v, %q", err, got)
	}
	for _, broken := range []string{"", "<!-- end of sums -->\n", "<!-- sums: made by go test ./x -update -->\n"} {
		if _, err := p.put(broken, "new\n"); err == nil {
			t.Errorf("%q has a place for it", broken)
		}
	}
}

// says takes down what a failing test would say.
type says struct {
	testing.TB
	failed bool
}

func (s *says) Helper()               {}
func (s *says) Errorf(string, ...any) { s.failed = true }

func TestKeepFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(path, []byte("<!-- a: made by b -->\nold\n<!-- end of a -->\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &says{TB: t}
	Part{path, "a", "b"}.Keep(s, "new\n", false)
	if !s.failed {
		t.Error("a part that is out of date passes")
	}
}
