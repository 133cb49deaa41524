package units

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// written is how quantities look, here and on the page in the browser.
var written = []struct {
	kind  string
	value float64
	want  string
}{
	{"dur", 0, "0"}, {"dur", 1, "1 ns"}, {"dur", 999, "999 ns"}, {"dur", 1000, "1.00 µs"}, {"dur", 999_600, "1.00 ms"},
	{"dur", 97_500, "97.5 µs"}, {"dur", 12_345_678, "12.3 ms"}, {"dur", 999_499_999, "999 ms"}, {"dur", 2e9, "2.00 s"},
	{"dur", 119e9, "119 s"}, {"dur", 130e9, "2 min 10 s"},
	{"dur", 7199e9, "119 min 59 s"}, {"dur", 7199.6e9, "2 h 0 min"}, {"dur", 130e3 * 1e9, "36 h 6 min"},
	{"dur", 200e3 * 1e9, "2 d 7 h"},
	{"dur", 700 * 86400e9, "700 d 0 h"}, {"dur", 1.7e18, "53.9 years"}, {"dur", 9.2e18, "292 years"},
	{"bytes", 0, "0 B"}, {"bytes", 1000, "1000 B"}, {"bytes", 1024, "1.00 KiB"}, {"bytes", 65536, "64.0 KiB"},
	{"bytes", 1_048_000, "1023 KiB"},
	{"bytes", 1_048_570, "1.00 MiB"}, {"bytes", 3 << 30, "3.00 GiB"}, {"bytes", 5 << 40, "5.00 TiB"},
	{"percent", 0, "0%"}, {"percent", 0.0005, "<0.1%"}, {"percent", 0.045, "4.5%"}, {"percent", 0.0996, "10%"},
	{"percent", 0.374, "37%"}, {"percent", 1, "100%"},
}

func TestWritten(t *testing.T) {
	for _, c := range written {
		got := map[string]func(float64) string{
			"dur": Duration, "bytes": func(v float64) string { return Bytes(int64(v)) }, "percent": Share,
		}[c.kind](c.value)
		if got != c.want {
			t.Errorf("%s(%v) = %q, want %q", c.kind, c.value, got, c.want)
		}
	}
	for got, want := range map[string]string{
		Duration(-3000): "-3.00 µs", Duration(0.4): "0 ns", Scaled(1.25e9, "FLOP"): "1.25 GFLOP", Scaled(7, ""): "7.00",
		Scaled(0, "x"): "0",
		Bytes(-2048):   "-2.00 KiB", Count(-20_000): "-20.0 k", Count(0): "0", Count(9999): "9999",
		Count(12_345): "12.3 k", Count(1_250_000): "1.25 M", Duration(-130e9): "-2 min 10 s", Rate(0.0031): "0.0031",
		Rate(12.54): "12.5", Rate(0): "0", Share(-0.2): "-20%",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestBrowser holds the page's units.js to the same table, where there is a Node.
func TestBrowser(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("no node")
	}
	var js strings.Builder
	js.WriteString("import * as u from './units.js';\n")
	for _, c := range written {
		js.WriteString("console.log(u." + c.kind + "(" + formatJS(c.value) + "));\n")
	}
	cmd := exec.CommandContext(t.Context(), node, "--input-type=module", "-")
	cmd.Dir, cmd.Stdin = "../web/ui", strings.NewReader(js.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, c := range written {
		if i < len(lines) && lines[i] != c.want {
			t.Errorf("units.js: %s(%v) = %q, want %q", c.kind, c.value, lines[i], c.want)
		}
	}
}

func formatJS(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// TestOneHome: nothing that talks to users writes a number and its unit by itself. Other
// programs' formats (torch's operator table) are not ours to choose.
func TestOneHome(t *testing.T) {
	own := regexp.MustCompile(`%\.\d[fg] ?(%%|ms|us|µs|ns|s\b|[KMGT]i?B)`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch filepath.ToSlash(path) {
			case "../bench", "../examples", "../.git", "../sql", "../node_modules", "../python":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for n, l := range strings.Split(string(raw), "\n") {
			if own.MatchString(l) {
				t.Errorf("%s:%d writes a quantity by itself: %s", path, n+1, strings.TrimSpace(l))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
