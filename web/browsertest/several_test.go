package browsertest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/chromedp/chromedp"
)

// archived is a tar of two ranks' traces of n steps.
func archived(t *testing.T, n, stepUs, gemmUs int) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for rank := range 2 {
		text, err := os.ReadFile(steppedTrace(t, "trace.json", "Card One", n, stepUs, gemmUs+rank))
		if err != nil {
			t.Fatal(err)
		}
		h := &tar.Header{Name: fmt.Sprintf("trace_rank%d.json", rank), Mode: 0o600, Size: int64(len(text))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestSeveralInOneUpload brings two archives of two ranks each, looks at one, chooses both on the
// page of runs and compares them: rank with rank, and all together.
func TestSeveralInOneUpload(t *testing.T) {
	in := browser(t, "")
	p := openUntil(t, in, launch(t, "view", "--no-open").url, `document.querySelector(".empty")`)
	p.withoutPolicy()
	origin := eval[string](p, `location.origin`)
	for i, file := range []string{archived(t, 12, 1000, 300), archived(t, 12, 1200, 600)} {
		p.do(chromedp.Navigate(origin + "/runs"))
		p.until(fmt.Sprintf(
			`document.querySelector(".empty, #list tbody") && document.querySelectorAll("#list tbody tr").length === %d`, i))
		p.drop([]string{"before.tar", "after.tar"}[i], file)
		p.until(`location.pathname.startsWith("/view/")`)
		p.until(settled + ` && kinetoscope.info.traces.length === 2`)
	}
	p.audit("two ranks of one upload")
	p.walk()
	p.press("v")
	p.until(settled + ` && kinetoscope.view === "report"`)
	p.audit("report of two ranks of one upload")
	p.walk()
	p.do(chromedp.Navigate(origin + "/runs"))
	p.until(`document.querySelectorAll("#list tbody [data-pick]").length === 2`)
	eval[bool](p, `(document.querySelectorAll("[data-pick]").forEach((b) => b.click()), true)`)
	p.until(`!document.querySelector("#compare").disabled`)
	p.do(chromedp.Click(chromedp.CSS("#compare")))
	p.until(`location.pathname === "/compare"`)
	p.until(compared)
	if n := eval[int](p, `comparison.whole.pairs.length`); n != 2 {
		t.Errorf("%d pairs of ranks, want 2", n)
	}
	p.until(`document.querySelector("#part-ops").innerText.includes("gemm")`)
	eval[bool](p, `(() => { const s = document.querySelector("#pair"); s.selectedIndex = 0;
		s.dispatchEvent(new Event("change", { bubbles: true })); return true; })()`)
	p.until(`comparison.pair.a === -1 && comparison.traces?.pairs?.length === 2`)
	p.until(compared)
	p.quiet()
}
