package tables

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/internal/docpart"
	"github.com/kinetoscope/kinetoscope/trace"
)

var update = flag.Bool("update", false, "write what docs/sql.md says of the tables")

// docs/sql.md says of the tables and views what the code says.
func TestDocs(t *testing.T) {
	docpart.Part{Page: "../docs/sql.md", Name: "tables", Make: "go test ./tables -update"}.Keep(t, reference(), *update)
}

// reference is the tables and views in Markdown.
func reference() string {
	var b strings.Builder
	for _, t := range Schema() {
		fmt.Fprintf(&b, "\n**%s**: %s\n\n| column | type | meaning |\n|---|---|---|\n", t.Name, t.Doc)
		for _, c := range t.Columns {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", c.Name, c.Type, c.Doc)
		}
	}
	b.WriteString("\n**Views** over them:\n\n| view | made of |\n|---|---|\n")
	for _, v := range viewText.FindAllStringSubmatch(Views, -1) {
		fmt.Fprintf(&b, "| %s | %s |\n", v[1], strings.Join(Needs(v[1]), ", "))
	}
	return b.String() + "\n"
}

func TestNeeds(t *testing.T) {
	for question, want := range map[string][]string{
		"select * from slices":                    {"slices"},
		"SELECT * FROM Flows f JOIN tracks":       {"tracks", "flows"},
		"select * from kernels":                   {"kernels"},
		"select * from streams":                   {"slices"},
		"from steps join findings using (trace)":  {"steps", "findings"},
		"from slice join thread_track using (id)": {"slices", "tracks"},
		"show tables":                             Names(),
	} {
		if got := Needs(question); !slices.Equal(got, want) {
			t.Errorf("%q needs %v, want %v", question, got, want)
		}
	}
}

func sample() *trace.Trace {
	tr := trace.New()
	tr.AddSlice(trace.Slice{Dur: 5, Name: "a", Track: tr.AddTrack(trace.Track{})})
	return tr
}

func TestDir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d")
	if _, err := Create(path, "bogus"); err == nil {
		t.Error("a table that does not exist: no error")
	}
	d, err := Create(path, "slices", "ops")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := d.Add(t.Context(), i, RankOf(analysis.NewSubject(sample()), "x"), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Add(t.Context(), 1, RankOf(analysis.NewSubject(sample()), "x"), 1); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the same part twice: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(path, "*", "*"))
	if err != nil || len(files) != 4 {
		t.Errorf("files %v, %v", files, err)
	}
	if _, err := Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a directory that is not empty: %v", err)
	}
}

func TestCache(t *testing.T) {
	c := Cache{Path: t.TempDir(), MaxBytes: 250}
	made := 0
	fill := func(_ context.Context, dir string) error {
		made++
		return os.WriteFile(filepath.Join(dir, "x"), make([]byte, 100), 0o600)
	}
	get := func(key string) string {
		t.Helper()
		dir, err := c.Get(t.Context(), key, fill)
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	a := get("a")
	if b := get("a"); a != b || made != 1 {
		t.Errorf("%s made %d times", b, made)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(a, old, old); err != nil {
		t.Fatal(err)
	}
	get("b")
	get("c") // over the bound: a is the oldest
	if _, err := os.Stat(a); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the oldest is still there: %v", err)
	}
	failed := errors.New("no trace")
	if _, err := c.Get(t.Context(), "d", func(context.Context, string) error { return failed }); !errors.Is(err,
		failed) {
		t.Error(err)
	}
	left, err := os.ReadDir(c.Path)
	if err != nil || len(left) != 2 {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestKey(t *testing.T) {
	s := []Source{{Path: "a", Size: 1, ModTime: 2}}
	keys := map[string]bool{
		Key(s, nil): true, Key(s, []string{"slices"}): true,
		Key([]Source{{Path: "a", Size: 1, ModTime: 3}}, nil): true, Key(append(s, s...), nil): true,
	}
	if len(keys) != 4 || !keys[Key(s, nil)] {
		t.Errorf("keys %v", keys)
	}
}
