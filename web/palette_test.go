package web

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/timeline"
)

// TestPalette holds the pages' table of colours to that of package timeline: go test ./web -run
// Palette -update writes it anew.
func TestPalette(t *testing.T) {
	var b strings.Builder
	b.WriteString("// The colours of timeline/palette.go, as its test in web/palette_test.go writes them.\n\n")
	b.WriteString("// By class, in the server's order: hue, how far names spread it, chroma.\nexport const CLASSES = [\n")
	for i, s := range timeline.Shades() {
		fmt.Fprintf(&b, "  [%g, %g, %g], // %s\n", s.Hue, s.Spread, s.Chroma, timeline.Class(i))
	}
	b.WriteString("];\n\n// Classes whose colours stand for parts of time and memory, and for kinds of steps.\nexport const PARTS = {\n")
	parts := timeline.PartClasses()
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		fmt.Fprintf(&b, "  %s: %d, // %s\n", name, parts[name], parts[name])
	}
	b.WriteString("};\n")
	fmt.Fprintf(&b, "\nexport const INK = %q; // text on slices\n", timeline.Ink)
	const name = "tl-palette.js"
	if *update {
		if err := os.WriteFile(filepath.Join("ui", name), []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := UI(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("ui/%s is not the colours of package timeline:\n%s", name, b.String())
	}
}
