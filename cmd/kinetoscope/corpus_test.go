package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/internal/badtraces"
	"github.com/kinetoscope/kinetoscope/internal/cli"
)

// answered is what a verb said.
type answered struct {
	code     int
	out, err string
}

// verb runs a verb as a user types it, but for the process.
func verb(t *testing.T, args ...string) answered {
	t.Helper()
	var out, err bytes.Buffer
	code := run(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &err})
	return answered{code, out.String(), err.String()}
}

// tracesOf are the traces of an answer in JSON as the corpus writes them: "rank 0: 20" slices.
func tracesOf(t *testing.T, a answered) map[string]int {
	t.Helper()
	var doc struct {
		Traces []struct {
			StageID, Rank, Replica int
			Stage, Phase, Role     string
			Slices                 int
		}
	}
	if err := json.Unmarshal([]byte(a.out), &doc); err != nil {
		t.Fatalf("%v in %q, stderr %s", err, a.out, a.err)
	}
	out := map[string]int{}
	for _, x := range doc.Traces {
		out[fmt.Sprint(x.Stage, x.Rank, " ", x.Replica, x.Phase, x.Role)] += x.Slices
	}
	return out
}

// TestCorpusBehindEveryDoor asks every verb about every kind of trouble. No verb fails on what a
// user may well give it, and all count the same traces.
func TestCorpusBehindEveryDoor(t *testing.T) {
	if testing.Short() { // the race detector has the readers and analyses behind it in their own tests
		t.Skip("every verb on the whole corpus")
	}
	verbs := []string{"steps", "idle", "comms", "kernels", "ops", "memory"}
	for i, c := range badtraces.Cases() {
		t.Run(c.Kind+" "+c.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			in := filepath.Join(dir, "in")
			if err := badtraces.Lay(in, c.Files); err != nil {
				t.Fatal(err)
			}
			report := verb(t, "report", in, "--json")
			want := tracesOf(t, report)
			explained(t, report)
			for k := range 2 { // all read alike: each case asks two, each verb a third of the cases
				name := verbs[(i+3*k)%len(verbs)]
				if d := cmp.Diff(want, tracesOf(t, verb(t, name, in, "--json"))); d != "" {
					t.Errorf("%s counts other traces than report: %s", name, d)
				}
			}
			for _, name := range []string{"report", "inspect"} {
				if a := verb(t, name, in); a.code != cli.ExitOK || a.out == "" {
					t.Errorf("%s: code %d, stderr %s", name, a.code, a.err)
				}
			}
			if a := verb(t, "critical-path", in); a.code != cli.ExitOK && a.code != cli.ExitUsage {
				t.Errorf("critical-path: code %d, stderr %s", a.code, a.err)
			}
			for line, says := range c.Says {
				args := strings.Fields(line)
				expectSays(t, verb(t, append(args, in)...), line, says)
			}
			merged := filepath.Join(dir, "merged.pftrace")
			a := verb(t, "merge", in, "-o", merged)
			apart := strings.Contains(a.err, "do not belong on one timeline")
			if c.Kind == "worlds" && a.code == cli.ExitUsage && apart {
				return // windows far from each other show nothing at the same time
			}
			if a.code != cli.ExitOK {
				t.Fatalf("merge: code %d, stderr %s", a.code, a.err)
			}
			got := tracesOf(t, verb(t, "report", merged, "--json"))
			if d := cmp.Diff(sum(want), sum(got)); d != "" {
				t.Errorf("the merged file holds other slices: %s (%v, %v)", d, want, got)
			}
		})
	}
}

// explained checks that every finding of a report has a code that the documentation explains.
func explained(t *testing.T, a answered) {
	t.Helper()
	var doc struct {
		Report struct{ Findings []finding.Finding }
	}
	if err := json.Unmarshal([]byte(a.out), &doc); err != nil {
		t.Fatal(err)
	}
	for _, f := range doc.Report.Findings {
		if f.Code == "one_operator" { // of the toy that this test program has linked in
			continue
		}
		if !slices.Contains(finding.Codes(), f.Code) || f.Unit != f.Code.Unit() {
			t.Errorf("code %q with unit %q: %s", f.Code, f.Unit, f.Text)
		}
	}
}

// expectSays checks what a verb said; text that was wrapped is one line again.
func expectSays(t *testing.T, a answered, line string, says []string) {
	t.Helper()
	said := a.out + a.err
	flat := strings.Join(strings.Fields(said), " ")
	for _, want := range says {
		pattern, not := strings.CutPrefix(want, "!")
		re := regexp.MustCompile(pattern)
		if found := re.MatchString(flat) || re.MatchString(said); found == not {
			t.Errorf("%s: %q found is %v in:\n%s", line, pattern, found, said)
		}
	}
}

func sum(m map[string]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}
