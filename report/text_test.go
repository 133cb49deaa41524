package report

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got; go test -update writes it anew):\n%s", file, d)
	}
}

func omni() *pipeline.Report { return pipeline.Analyze(pipetest.Omni(), pipeline.Options{}) }
func diffusion() *pipeline.Report {
	return pipeline.Analyze(pipetest.Diffusion(), pipeline.Options{UncertaintyNs: 20_000})
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		name string
		r    *pipeline.Report
		o    TextOptions
	}{
		{"omni_100.txt", omni(), TextOptions{}},
		{"omni_80.txt", omni(), TextOptions{Width: 80}},
		{"omni_ascii_120.txt", omni(), TextOptions{Width: 120, ASCII: true}},
		{"omni_color_100.txt", omni(), TextOptions{Color: true}},
		{"diffusion_100.txt", diffusion(), TextOptions{}},
		{"diffusion_ascii_80.txt", diffusion(), TextOptions{Width: 80, ASCII: true}},
		{"empty.txt", pipeline.Analyze(nil, pipeline.Options{}), TextOptions{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Text(&b, c.r, c.o); err != nil {
				t.Fatal(err)
			}
			golden(t, c.name, b.Bytes())
			if !c.o.Color {
				checkShape(t, b.String(), c.o.withDefaults())
			}
			if c.o.Color != strings.Contains(b.String(), "\x1b") {
				t.Errorf("colours asked for: %v", c.o.Color)
			}
		})
	}
}

func checkShape(t *testing.T, s string, o TextOptions) {
	t.Helper()
	for i, l := range strings.Split(s, "\n") {
		if n := utf8.RuneCountInString(l); n > o.Width {
			t.Errorf("line %d has %d columns, width is %d: %s", i+1, n, o.Width, l)
		}
		for _, r := range l {
			if o.ASCII && r >= utf8.RuneSelf {
				t.Errorf("line %d: %q is no ASCII: %s", i+1, r, l)
			}
		}
	}
}

func TestTextEveryWidth(t *testing.T) {
	for _, r := range []*pipeline.Report{omni(), diffusion()} {
		r.Stages[0].Name = "an_unreasonably_long_stage_name_\x1b[31m"
		r.Stages[1].Ops[0].Name = strings.Repeat("ns::op<T>::", 40)
		for w := MinWidth; w <= MaxWidth; w++ {
			o := TextOptions{Width: w, Ops: -1, Rows: -1}
			var b bytes.Buffer
			if err := Text(&b, r, o); err != nil {
				t.Fatal(err)
			}
			checkShape(t, b.String(), o)
			if strings.Contains(b.String(), "\x1b") {
				t.Fatal("a control character of a name reached the terminal")
			}
		}
	}
}

func TestDetect(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if o := Detect(f, env(map[string]string{"COLUMNS": "90", "LANG": "C"})); o.Color || o.Width != 90 || !o.ASCII {
		t.Errorf("file, LANG=C: %+v", o)
	}
	if o := Detect(f, env(map[string]string{"LANG": "C", "LC_ALL": "de_DE.UTF-8"})); o.ASCII {
		t.Errorf("LC_ALL wins: %+v", o)
	}
}
