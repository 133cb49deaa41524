package browsertest

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestFilterHidesNothing filters the tracks of two ranks away: the page says that none matches, a slice that is
// looked for is shown all the same, and the time that a finding is about is shown with its rank.
func TestFilterHidesNothing(t *testing.T) {
	in := browser(t, "")
	p := timeline(t, in, steppedTrace(t, "trace_rank0.json", "Card One", 12, 1000, 300),
		steppedTrace(t, "trace_rank1.json", "Card One", 12, 1000, 310))
	p.frame(900, 460, "light")
	p.until(settled)
	filter := func() {
		t.Helper()
		p.do(chromedp.Click(chromedp.CSS("#filter")))
		p.press("zzz")
		p.until(`!document.querySelector("#unmatched").hidden && kinetoscope.main.items.length === 0`)
	}
	filter()
	said := eval[string](p, `document.querySelector("#unmatched").innerText`)
	if !strings.Contains(said, "No track has “zzz” in its name") {
		t.Errorf("without a track the page says %q", said)
	}
	p.do(chromedp.Click(chromedp.CSS("#unmatched button")))
	p.until(`document.querySelector("#unmatched").hidden && kinetoscope.main.items.length > 4 && document.activeElement.id === "filter"`)
	filter()
	eval[bool](p, `(kinetoscope.select("1.0", { reveal: true }), true)`)
	p.until(settled + ` && kinetoscope.main.placeOf(kinetoscope.selected.detail) && document.querySelector("#filter").value === ""`)
	eval[bool](p, `(kinetoscope.panel.findings = [{ severity: "notice", text: "rank 1: idle", where: "rank 1", track: "1:0", start_ns: 1e6, end_ns: 2e6 }],
		kinetoscope.main.el.scrollTop = 0, kinetoscope.panel.show("findings"), true)`)
	if said := eval[string](p, `document.querySelector("#body .findings").innerText`); strings.Count(said, "rank 1") != 1 {
		t.Errorf("the finding says its rank twice: %q", said)
	}
	p.do(chromedp.Click(chromedp.CSS("#body .findings button")))
	p.until(settled + ` && kinetoscope.win.t0 > 0.9e6 && kinetoscope.win.t1 < 2.1e6`)
	if top := eval[string](p, `document.elementFromPoint(60, document.querySelector("#tracks").getBoundingClientRect().top + 8).closest(".label")?.dataset.key`); top != "trace:1" {
		t.Errorf("the list of tracks begins with %s, want the finding's rank", top)
	}
	p.quiet()
}
