package browsertest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"strings"
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
		p.drop(dropped{[]string{"before.tar", "after.tar"}[i], file})
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

// TestTwoDroppedTogether brings two traces at once, on the page of runs and on a timeline, and follows
// the link to their comparison: the one that was dropped first is A.
func TestTwoDroppedTogether(t *testing.T) {
	in := browser(t, "")
	p := openUntil(t, in, launch(t, "view", "--no-open").url, `document.querySelector(".empty")`)
	origin := eval[string](p, `location.origin`)
	two := make([]dropped, 2)
	for i, name := range []string{"before.json", "after.json"} {
		text, err := os.ReadFile(steppedTrace(t, name, "Card One", 12, 1000+200*i, 300+300*i))
		if err != nil {
			t.Fatal(err)
		}
		two[i] = dropped{name, string(text)}
	}
	follow := func(where string) {
		t.Helper()
		link := where + ` a[href^="/compare?a="]`
		p.drop(two...)
		p.until(`document.querySelector(` + fmt.Sprintf("%q", link) + `)`)
		if said := eval[string](p, `document.querySelector(`+fmt.Sprintf("%q", where)+`).innerText`); !strings.Contains(
			said, "Both traces are here. Compare them") {
			t.Errorf("of two traces the page says %q", said)
		}
		p.do(chromedp.Click(chromedp.CSS(link)))
		p.until(`location.pathname === "/compare"`)
		p.until(compared)
		if title := eval[string](p, `document.querySelector("#title").textContent`); title != "before → after" {
			t.Errorf("compared are %q", title)
		}
		if said := eval[string](p, `document.querySelector("#verdict-text").textContent`); !strings.Contains(said,
			"gemm changed most (+300") {
			t.Errorf("the verdict is %q", said)
		}
	}
	follow("#message")
	p.do(chromedp.Navigate(origin + "/runs"))
	p.until(`document.querySelectorAll("#list tbody tr").length === 2`)
	p.do(chromedp.Click(chromedp.CSS("#list tbody a.button")))
	p.until(settled)
	follow("#notice")
	p.quiet()
}
