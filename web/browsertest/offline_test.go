package browsertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// maxPage bounds a file that shows traces without a server: what is recorded, with a third more as
// text, and the page itself.
const maxPage = 12 << 20

// TestOfflinePage opens the file that convert writes from the disk: the timeline has its slices at
// every zoom, a slice its arguments, the report its sections, and nobody is asked for anything.
func TestOfflinePage(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), `with a space & "quotes".html`)
	convert := exec.Command(bin, "convert", generated(t, 4), "-o", file)
	if out, err := convert.CombinedOutput(); err != nil {
		t.Fatalf("convert: %v\n%s", err, out)
	}
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() > maxPage {
		t.Errorf("the page has %d bytes", st.Size())
	}
	in := browser(t, "")
	p := openUntil(t, in, fileURL(file), settled)
	// boxes that are drawn, and how many slices they stand for
	const drawn = `(() => { let boxes = 0, slices = 0; for (const d of kinetoscope.store.held.values())
		for (const r of d.rows) for (let i = r.first; i < r.last; i++) { boxes++; slices += d.count[i]; } return { boxes, slices }; })()`
	whole := eval[map[string]int](p, drawn)
	if whole["boxes"] < 1000 || whole["slices"] < 10*whole["boxes"]/9 {
		t.Errorf("the whole shows %v", whole)
	}
	eval[bool](p, `(kinetoscope.setWindow(kinetoscope.info.end_ns * 0.5, kinetoscope.info.end_ns * 0.501), true)`)
	p.until(settled)
	near := eval[map[string]int](p, drawn)
	if near["boxes"] < 5 || near["slices"] != near["boxes"] {
		t.Errorf("a thousandth shows %v: the slices do not part", near)
	}
	// the longest slice has its details
	eval[bool](p, `(kinetoscope.setWindow(0, kinetoscope.info.end_ns), true)`)
	p.until(settled)
	eval[bool](p, `(() => { let best = null; for (const [id, d] of kinetoscope.store.held) for (const r of d.rows)
		for (let i = r.first; i < r.last; i++) if (d.count[i] === 1 && (!best || d.end[i] - d.start[i] > best.ns))
			best = { ns: d.end[i] - d.start[i], id: kinetoscope.tree.byID.get(id).trace + "." + d.slice[i] };
		kinetoscope.select(best.id); return true; })()`)
	p.until(`kinetoscope.selected && document.querySelector("#body").innerText.includes("duration")
		|| document.querySelector("#body").innerText.includes("Duration")`)
	eval[bool](p, `(document.querySelector("[data-view=report]").click(), true)`)
	p.until(settled)
	if n := eval[int](p, `document.querySelectorAll("#sections .part:not([hidden])").length`); n < 3 {
		t.Errorf("the report has %d sections", n)
	}
	if bad := eval[string](p,
		`[...document.querySelectorAll("#sections .part:not([hidden])")].filter((s) => s.innerText.includes("not in this file")).map((s) => s.id).join()`); bad != "" {
		t.Errorf("sections without their answer: %s", bad)
	}
	if n := eval[int](p,
		`performance.getEntriesByType("resource").filter((e) => !e.name.startsWith("data:")).length`); n != 0 {
		t.Errorf("the page asked for %d things", n)
	}
	p.quiet()
}
