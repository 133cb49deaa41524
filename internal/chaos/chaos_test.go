package chaos

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if code, inside := Inside(); inside {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// short are the cells of the form that every test run makes: one of each kind of fault that
// takes less than ten seconds. make chaos makes all of them.
var short = map[string][]Point{
	"a rank is killed":                    {Recording},
	"a rank's clock is set by an hour":    {Recording},
	"the hub is killed and started again": {Recording},
	"a second hub on the data directory":  {Idle},
	"the run store is full for 2 s":       {Stopping},
	"a recording is damaged in its spool": {Recording},
}

// The real product is broken at some points, and keeps what it promises.
func TestShortTable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary := filepath.Join(dir, "kinetoscope")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary,
		"github.com/kinetoscope/kinetoscope/cmd/kinetoscope")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	struck := 0
	rep, err := Run(t.Context(), Config{Binary: binary, Dir: dir, Seed: 1, Log: t.Logf,
		Only: func(fault string, at Point) bool { return slices.Contains(short[fault], at) }})
	if err != nil {
		t.Fatalf("%v%s", err, logs(dir))
	}
	for _, c := range rep.Cells {
		if c.Skip != "" {
			t.Logf("skipped: %s at %s: %s", c.Fault, c.At, c.Skip)
			continue
		}
		struck++
		for _, what := range c.Broken {
			t.Errorf("%s at %s: %s", c.Fault, c.At, what)
		}
	}
	if want := 5; struck < want { // all that need neither root nor Linux
		t.Errorf("%d cells were struck, want %d and more", struck, want)
	}
	if t.Failed() {
		t.Log(logs(dir))
	}
	for _, f := range Faults {
		delete(short, f.Name)
	}
	if len(short) > 0 {
		t.Errorf("no such faults: %v", short)
	}
}

// maxLog is how much of each server's log a failure shows: its end.
const maxLog = 8 << 10

func logs(dir string) string {
	var b strings.Builder
	list, _ := filepath.Glob(filepath.Join(dir, "row-*", "log")) //nolint:errcheck // the pattern is good
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		b.WriteString("\n" + path + ":\n" + string(text[max(0, len(text)-maxLog):]))
	}
	return b.String()
}

// A report whose promises do not hold says so, and what was not run is no success.
func TestPage(t *testing.T) {
	rep := &Report{Seed: 7, Cells: []Cell{
		{Fault: Faults[0].Name, At: Recording, Seen: "recording", State: "partial",
			Said: "thinker rank 0 lost: killed | by /a/b/c"},
		{Fault: Faults[0].Name, At: Stopping, Seen: "stopping", State: "complete", Broken: []string{"a file is gone"}},
		{Fault: Faults[1].Name, At: Idle, Skip: "no root"},
	}}
	var b strings.Builder
	if err := rep.Page(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Seed 7", "| a rank is killed | not run | not run | ✓ partial | **✗** | not run |",
		"1 of 2 cells held",
		`killed \| by …/c`, "a file is gone", "| skipped | no root |"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page lacks %q:\n%s", want, b.String())
		}
	}
	if rep.Broken() != 1 {
		t.Errorf("%d broken", rep.Broken())
	}
}
