package analysis

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/hta"
)

// TestHTAHasOnePlace: what HTA defines otherwise is asked of package hta; only what reads
// Options looks at the switch itself.
func TestHTAHasOnePlace(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	asks := regexp.MustCompile(`opt\.HTA\b`)
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") || f == "frame.go" || f == "options.go" || f == "view.go" {
			continue
		}
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range strings.Split(string(raw), "\n") {
			if asks.MatchString(l) && !strings.Contains(l, "opt.HTA = false") {
				t.Errorf("%s asks for Options.HTA: make the difference a field of hta.Rules\n%s", f,
					strings.TrimSpace(l))
			}
		}
	}
	for want, got := range map[Kind]hta.Type{KindOther: hta.Other, KindCompute: hta.Compute,
		KindCommunication: hta.Communication, KindMemory: hta.Memory} {
		if Kind(got) != want {
			t.Errorf("hta.Type %d is %v, want %v", got, Kind(got), want)
		}
	}
}
