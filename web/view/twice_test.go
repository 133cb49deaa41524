package view

import (
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/badtraces"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// TestTwiceIsShownOnce opens directories in which the same trace is there more than once:
// each is shown once, the whole one, and what is not shown is told.
func TestTwiceIsShownOnce(t *testing.T) {
	for _, c := range badtraces.Cases() {
		if c.Kind != "twice" && c.Name != "beside its parts" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			dir := t.TempDir()
			if err := badtraces.Lay(dir, c.Files); err != nil {
				t.Fatal(err)
			}
			found, unread, err := open.Survey([]string{dir})
			if err != nil {
				t.Fatal(err)
			}
			var ins []Input
			for _, s := range open.Join(found) {
				ins = append(ins, Input{Source: s})
			}
			var o Opened
			if err := o.Read(t.Context(), ins, open.Options{}, func(open.Progress) {}); err != nil {
				t.Fatal(err)
			}
			if len(o.Sources) != len(c.Want) || len(o.Left)+len(unread) != len(c.Left) || len(o.Failed) > 0 {
				t.Fatalf("%d of %d shown, left %v, failed %v", len(o.Sources), len(c.Want), o.Left, o.Failed)
			}
			for _, s := range o.Sources {
				if s.Trace.Repairs.Damage() != "" {
					t.Errorf("%s was shown for a whole one: %s", s.Label, s.Trace.Repairs.Damage())
				}
			}
			for _, l := range o.Left {
				if !strings.Contains(l.Error, "trace") {
					t.Errorf("%s is left out without a reason: %q", l.Path, l.Error)
				}
			}
		})
	}
}
