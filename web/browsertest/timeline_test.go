package browsertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// settled is when the timeline has drawn what the server has of the window.
const settled = `globalThis.kinetoscope?.still?.()`

// generated makes a trace of some megabytes of text.
func generated(t testing.TB, mb int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "generated.json.gz")
	gen := exec.Command("go", "run", "./bench/cmd/gentrace", "-mb", strconv.Itoa(mb), "-python", file)
	gen.Dir = filepath.Join("..", "..")
	if out, err := gen.CombinedOutput(); err != nil {
		t.Fatalf("gentrace: %v\n%s", err, out)
	}
	return file
}

// timeline shows files in a tab.
func timeline(t testing.TB, in context.Context, paths ...string) *page {
	t.Helper()
	srv := launch(t, append([]string{"view", "--no-open"}, paths...)...)
	return openUntil(t, in, srv.url, settled)
}

// TestNoBusyColumnIsEmpty holds the picture to its data, to the pixel: in every row on the
// screen each column that a slice covers is painted, however far it is zoomed out, and a
// column in the middle of a gap of three and more is not.
func TestNoBusyColumnIsEmpty(t *testing.T) {
	in := browser(t, "")
	p := timeline(t, in, generated(t, 12))
	p.quiet()
	for _, part := range []string{"1", "50", "4000"} {
		eval[bool](p,
			`(kinetoscope.cursor = null, kinetoscope.setWindow(kinetoscope.info.end_ns * 0.4, kinetoscope.info.end_ns * (0.4 + 0.6 / `+part+`)), true)`)
		p.until(settled)
		eval[bool](p, twoFrames)
		got := eval[map[string]int](p, `(() => {
			const k = kinetoscope, pane = k.main, out = { rows: 0, busy: 0, empty: 0, gaps: 0, painted: 0 };
			const scale = pane.width / (k.win.t1 - k.win.t0), W = Math.floor(pane.width);
			for (const item of pane.visible()) {
				const d = k.store.held.get(item.node.id);
				if (!d) continue;
				for (const r of d.rows) {
					const y = item.y + 1 + r.row * item.rowH + item.rowH - 3 - pane.el.scrollTop;
					if (y < 1 || y > pane.paneHeight - 2) continue;
					out.rows++;
					const pixels = pane.g.getImageData(0, Math.round(y * pane.ratio), Math.round(W * pane.ratio), 1).data;
					const covered = new Float32Array(W + 2);
					for (let i = r.first; i < r.last; i++) {
						const a = (d.from + d.start[i] - k.win.t0) * scale, b = Math.max(a + 1, (d.from + d.end[i] - k.win.t0) * scale);
						for (let c = Math.max(0, Math.floor(a)); c <= W && c < b; c++) covered[c] += Math.min(b, c + 1) - Math.max(a, c);
					}
					const ticks = new Set(k.ticks.flatMap((t) => { const x = Math.round(pane.x(t)); return [x - 1, x, x + 1]; }));
					for (let c = 1; c < W - 1; c++) {
						const alpha = pixels[4 * Math.round(c * pane.ratio) + 3];
						if (covered[c] > 0.6) { out.busy++; if (!alpha) out.empty++; }
						if (!covered[c - 1] && !covered[c] && !covered[c + 1] && !ticks.has(c)) { out.gaps++; if (alpha) out.painted++; }
					}
				}
			}
			return out;
		})()`)
		if got["rows"] < 3 || got["busy"] < 500 || got["empty"] > 0 || got["painted"] > 0 {
			t.Errorf("1/%s of the trace: %v", part, got)
		}
	}
	if hidden := eval[string](p, `document.querySelector("#facts").textContent`); !strings.Contains(hidden,
		"· 0 hidden ·") {
		t.Errorf("the header says %q", hidden)
	}
	p.shoot("timeline-generated")
	p.quiet("willReadFrequently") // that is this test's reading
}

// TestTimelineByKeyboard searches, steps, zooms and finds the same view again by its
// address, without a mouse.
func TestTimelineByKeyboard(t *testing.T) {
	in := browser(t, "")
	p := timeline(t, in, generated(t, 12))
	if url := eval[string](p, `location.href`); strings.Contains(url, "key=") {
		t.Errorf("the key stays in the address: %s", url)
	}
	eval[bool](p, `(document.querySelector("#tracks canvas").focus(), true)`)
	p.press("/")
	p.until(`document.activeElement.id === "query"`)
	eval[bool](p, `(document.activeElement.value = "", true)`) // the driver types what the page has kept from the field
	p.press("aten::\r")
	p.until(`kinetoscope.found?.count > 100 && kinetoscope.selected?.detail?.name.startsWith("aten::")`)
	first := eval[string](p, `kinetoscope.selected.id`)
	p.press("\r")
	p.until(`kinetoscope.selected?.id !== "` + first + `"`)
	eval[bool](p, `(document.activeElement.blur(), true)`)
	id := eval[string](p, `kinetoscope.selected.id`)
	p.press("]")
	p.until(`kinetoscope.selected?.id !== "` + id + `"`)
	p.press("[")
	p.until(`kinetoscope.selected?.id === "` + id + `"`)
	p.until(settled)
	p.press("f")
	p.until(`kinetoscope.win.t1 - kinetoscope.win.t0 < kinetoscope.selected.detail.dur_ns * 2`)
	p.press("m")
	p.until(`kinetoscope.marks.length === 2`)
	p.press("p")
	p.until(`kinetoscope.tree.pinned.length === 1 && !document.querySelector("#pinned").hidden`)
	for _, want := range []string{"Duration", "Others of this name", "Arguments", "Median"} {
		p.until(`document.querySelector("#body").innerText.includes("` + want + `")`)
	}
	p.until(`location.hash.includes("s=" + kinetoscope.selected.id) && location.hash.includes("pin=")`)
	p.until(settled)
	before := eval[[]float64](p, `[kinetoscope.win.t0, kinetoscope.win.t1]`)
	p.do(chromedp.Reload())
	p.until(settled + ` && kinetoscope.selected?.detail`)
	after := eval[[]float64](p, `[kinetoscope.win.t0, kinetoscope.win.t1]`)
	if max(before[0]-after[0], after[0]-before[0], before[1]-after[1], after[1]-before[1]) > 1 {
		t.Errorf("the address shows %v, it was made of %v", after, before)
	}
	if got := eval[string](p, `kinetoscope.selected.id`); got != id {
		t.Errorf("the address shows slice %s, it was made of %s", got, id)
	}
	if n := eval[int](p, `kinetoscope.marks.length + kinetoscope.tree.pinned.length`); n != 3 {
		t.Errorf("%d marks and pins, want 3", n)
	}
	p.press("?")
	p.until(`document.querySelector("#keys").open`)
	p.quiet()
}

// TestTimelineOfARun goes from a session's page to its timeline, and sees requests,
// stages and hand-offs; axe finds nothing on any of its tabs, in both themes.
func TestTimelineOfARun(t *testing.T) {
	in := browser(t, "")
	srv := serve(t)
	srv.call(t, "POST", "/start_profile", `{"profile_prefix": "timeline"}`, nil)
	for range 3 {
		srv.call(t, "POST", "/v1/chat/completions",
			`{"messages": [{"role": "user", "content": "one two three"}], "max_tokens": 24}`, nil)
	}
	var st struct{ ID string }
	srv.call(t, "POST", "/stop_profile", "", &st)
	p := open(t, in, srv.url+"/#"+st.ID)
	p.until(`document.querySelector("#detail a.button") && document.querySelector("#detail .findings")`)
	if links := eval[int](p, `document.querySelectorAll(".findings a[href*='#s=']").length`); links == 0 {
		t.Error("no finding leads to its slice")
	}
	p.withoutPolicy()
	p.do(chromedp.Click(chromedp.CSS("#detail a.button")))
	p.until(settled + ` && kinetoscope.requests.length === 3 && kinetoscope.handoffs.length > 0`)
	names := eval[[]string](p, `[...document.querySelectorAll("#tracks .label.stage .name")].map((e) => e.textContent)`)
	if !slices.Equal(names, []string{"thinker", "talker", "code2wav"}) {
		t.Errorf("stages %v", names)
	}
	testWindows(p)
	testInView(p)
	testBack(p)
	for _, scheme := range []string{"dark", "light"} {
		p.size(1280, scheme)
		p.until(settled)
		for _, tab := range []string{"findings", "slice", "area", "flame", "requests", "notes"} {
			eval[bool](p, `(async () => { if ("`+tab+
				`" === "slice") await kinetoscope.select("0.5"); else kinetoscope.panel.show("`+tab+
				`"); return true; })()`)
			p.until(settled + ` && !document.querySelector("#body").textContent.includes("Adding up")`)
			p.audit(scheme + ", " + tab)
		}
		p.shoot("timeline-" + scheme)
	}
	for _, width := range []int64{360, 3840} {
		p.size(width, "light")
		p.until(settled)
		if over := eval[int](p, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
			t.Errorf("the page is %d px wider than %d", over, width)
		}
		// on a screen of 4 K rows and what is written in them are larger
		want := map[int64]int{360: 20, 3840: 29}[width]
		if got := eval[int](p, `kinetoscope.main.items.find((i) => i.node.kind === "steps").h`); got != want {
			t.Errorf("a row of steps is %d px high at %d, want %d", got, width, want)
		}
	}
	p.quiet()
}

// testWindows sees when each rank recorded, on a lane and in words.
func testWindows(p *page) {
	p.t.Helper()
	p.until(`kinetoscope.recorded?.windows.length === 4 && kinetoscope.tree.byID.has("windows")`)
	p.until(settled)
	eval[bool](p, `(kinetoscope.tree.folded.set("windows", false), kinetoscope.layout(), kinetoscope.panel.show("notes"), true)`)
	p.until(settled)
	if said := eval[string](p, `document.querySelector("#body").innerText`); !strings.Contains(said, "began") ||
		!strings.Contains(said, "Recorded from") {
		p.t.Errorf("of the windows the page says %q", said)
	}
	// a click on a window is that stretch of the rank
	at := eval[[]float64](p, `(() => { const k = kinetoscope, i = k.main.items.find((x) => x.node.id === "windows"), b = k.main.canvas.getBoundingClientRect();
		const w = k.recorded.windows[1]; return [b.left + k.main.x((w.from_ns + w.to_ns) / 2), b.top + i.y + 2 + 1.5 * i.rowH - k.main.el.scrollTop]; })()`)
	p.do(chromedp.MouseClickXY(at[0], at[1]))
	p.until(`kinetoscope.area && kinetoscope.area.from === kinetoscope.recorded.windows[1].from_ns && kinetoscope.area.tracks.has("trace:1")`)
	p.until(settled + ` && !document.querySelector("#body").textContent.includes("Adding up")`)
}

// testInView moves the window while the tab of what is in view is open: its sums follow.
func testInView(p *page) {
	p.t.Helper()
	for _, tab := range []string{"area", "flame"} {
		eval[bool](p, `(kinetoscope.clear(), kinetoscope.setWindow(4e6, 5e6), kinetoscope.panel.show("`+tab+`"), true)`)
		p.until(settled + ` && document.querySelector("#body").innerText.startsWith("1.00 ms")`)
		eval[bool](p, `(kinetoscope.setWindow(1e6, 3e6), true)`)
		p.until(settled + ` && document.querySelector("#body").innerText.startsWith("2.00 ms")`)
	}
	eval[bool](p, `(kinetoscope.panel.show("findings"), true)`)
	p.until(settled)
}

// testBack goes to the report and back with the browser's own buttons, and to a changed address.
func testBack(p *page) {
	p.t.Helper()
	eval[bool](p, `(document.activeElement.blur(), kinetoscope.setWindow(1e6, 5e6), true)`)
	p.until(settled + ` && location.hash.includes("t=1000000-5000000")`)
	p.press("v")
	p.until(settled + ` && kinetoscope.view === "report" && location.hash.includes("view=report")`)
	eval[bool](p, `(history.back(), true)`)
	p.until(`kinetoscope.view === "timeline" && !document.querySelector("#stage").classList.contains("away")`)
	p.until(settled + ` && !location.hash.includes("view=report") && kinetoscope.win.t1 === 5e6`)
	eval[bool](p, `(history.forward(), true)`)
	p.until(settled + ` && kinetoscope.view === "report"`)
	eval[bool](p, `(location.hash = "#t=2000000-3000000&s=0.5&tab=slice", true)`)
	p.until(`kinetoscope.view === "timeline" && kinetoscope.win.t0 === 2e6 && kinetoscope.selected?.id === "0.5" && !kinetoscope.area`)
	p.until(settled)
}

// touch puts fingers on what lies from at[0] on, at[2] px wide, at the height at[1].
func (p *page) touch(kind input.DispatchTouchEventType, at []float64, xs ...float64) {
	p.t.Helper()
	var points []*input.TouchPoint
	for i, x := range xs {
		id := float64(i)
		points = append(points, &input.TouchPoint{X: at[0] + x*at[2], Y: at[1], ID: &id})
	}
	p.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, input.DispatchTouchEvent,
			input.DispatchTouchEventParams{Type: kind, TouchPoints: points})
		return err
	}))
}

// TestPinch zooms with two fingers: what lay between them stays there.
func TestPinch(t *testing.T) {
	in := browser(t, "")
	p := timeline(t, in, generated(t, 1))
	p.withoutPolicy()
	p.do(chromedp.Reload())
	p.until(settled)
	at := eval[[]float64](p,
		`(() => { const b = document.querySelector("#tracks canvas").getBoundingClientRect(); return [b.left, b.top + 60, b.width]; })()`)
	before := eval[[]float64](p, `[kinetoscope.win.t0, kinetoscope.win.t1]`)
	touch := func(kind input.DispatchTouchEventType, xs ...float64) { p.touch(kind, at, xs...) }
	touch(input.DispatchTouchEventTypeTouchStart, 0.4)
	touch(input.DispatchTouchEventTypeTouchStart, 0.4, 0.6)
	touch(input.DispatchTouchEventTypeTouchMove, 0.3, 0.7)
	touch(input.DispatchTouchEventTypeTouchMove, 0.2, 0.8)
	p.until(`kinetoscope.win.t1 - kinetoscope.win.t0 < 0.5 * ` + fmt.Sprint(before[1]-before[0]))
	touch(input.DispatchTouchEventTypeTouchEnd)
	p.until(settled)
	after := eval[[]float64](p, `[kinetoscope.win.t0, kinetoscope.win.t1]`)
	span := (before[1] - before[0]) / 3
	if mid, was := (after[0]+after[1])/2, (before[0]+before[1])/2; after[1]-after[0] < span*0.95 ||
		after[1]-after[0] > span*1.05 || max(mid-was, was-mid) > span*0.05 {
		t.Errorf("three times as wide fingers make %v of %v", after, before)
	}
	p.audit("timeline, pinched")
	p.quiet()
}

// audit lets axe look at the page; it is no script of ours, so that the page's policy must be
// off, see withoutPolicy.
func (p *page) audit(what string) {
	p.t.Helper()
	axe, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		p.t.Fatal(err)
	}
	eval[bool](p, string(axe)+"; true")
	for _, v := range eval[[]string](p,
		`axe.run().then((r) => r.violations.map((v) => v.id + ": " + v.nodes[0].html.slice(0, 200)))`) {
		p.t.Errorf("%s: %s", what, v)
	}
}

// withoutPolicy has the pages that the tab loads from now on run what tests give them.
func (p *page) withoutPolicy() {
	p.t.Helper()
	p.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, cdppage.SetBypassCSP, cdppage.SetBypassCSPParams{Enabled: true})
		return err
	}))
}

// parts are the sections that the report shows, once all have said what they have.
func (p *page) parts() []string {
	p.t.Helper()
	p.until(settled)
	return eval[[]string](p, `[...document.querySelectorAll(".part:not([hidden])")].map((e) => e.dataset.key)`)
}

// TestReport reads the report of a run: each part has what the run has, and leads to the
// timeline.
func TestReport(t *testing.T) {
	in := browser(t, "")
	srv := serve(t)
	srv.call(t, "POST", "/start_profile", `{"profile_prefix": "report"}`, nil)
	for range 3 {
		srv.call(t, "POST", "/v1/chat/completions",
			`{"messages": [{"role": "user", "content": "one two three"}], "max_tokens": 24}`, nil)
	}
	var st struct{ ID string }
	srv.call(t, "POST", "/stop_profile", "", &st)
	p := openUntil(t, in, srv.url+"/view/"+st.ID, settled)
	p.withoutPolicy()
	p.do(chromedp.Reload())
	p.until(settled)
	p.press("v")
	want := []string{"findings", "where", "requests", "steps", "ops", "flames", "path", "comm", "memory", "roofline"}
	if got := p.parts(); !slices.Equal(got, want) {
		t.Errorf("the report has %v, want %v", got, want)
	}
	if failed := eval[[]string](p,
		`kinetoscope.report.sections.filter((s) => s.error).map((s) => s.of.id + ": " + s.error)`); len(failed) > 0 {
		t.Errorf("parts failed: %v", failed)
	}
	for _, scheme := range []string{"dark", "light"} {
		p.size(1280, scheme)
		p.until(settled)
		p.audit("report, " + scheme)
		for _, pale := range eval[[]string](p, paleText) {
			t.Errorf("report, %s: %s", scheme, pale)
		}
		p.shoot("report-" + scheme)
	}
	for _, width := range []int64{360, 3840} {
		p.size(width, "light")
		p.until(settled)
		if over := eval[int](p,
			`Math.max(document.documentElement.scrollWidth - innerWidth, document.querySelector("#report").scrollWidth - document.querySelector("#report").clientWidth)`); over > 0 {
			t.Errorf("the report is %d px wider than %d", over, width)
		}
		for _, cut := range eval[[]string](p, longWords) {
			t.Errorf("at %d px a long word leaves the window: %s", width, cut)
		}
	}
	p.size(1280, "light")
	p.walk()

	eval[bool](p, `(document.querySelector("#part-requests .fallrow button").click(), true)`)
	p.until(settled + ` && kinetoscope.view === "timeline" && kinetoscope.selected?.request`)
	p.press("v")
	p.until(settled + ` && location.hash.includes("view=report")`)
	for group, row := range map[string]string{"shape": "code.under", "kernel": ".empty"} {
		eval[bool](p, `(document.querySelector("#part-ops [data-value=`+group+`]").click(), true)`)
		p.until(settled + ` && document.querySelector("#part-ops ` + row + `")`)
	}
	eval[bool](p, `(document.querySelector("#part-ops [data-value=name]").click(), true)`)
	p.until(settled + ` && document.querySelector("#part-ops td.opname button")`)
	name := eval[string](p, `document.querySelector("#part-ops td.opname button").textContent`)
	eval[bool](p, `(document.querySelector("#part-ops td.opname button").click(), true)`)
	p.until(settled + ` && kinetoscope.view === "timeline" && kinetoscope.selected?.detail?.name === ` +
		strconv.Quote(name))
	p.press("v")
	p.until(settled + ` && kinetoscope.view === "report"`)
	eval[bool](p, `(document.querySelector("#part-path [data-act=path]").click(), true)`)
	p.until(settled +
		` && kinetoscope.view === "timeline" && kinetoscope.path?.steps.length > 0 && kinetoscope.tree.byID.has("path")`)
	p.until(`location.hash.includes("path=0")`)
	p.quiet()
}

// TestViewsOfSharedTraces opens every trace that lies beside the repository, and a directory of
// ranks: nothing is hidden, no part of the report fails, nothing is complained of.
func TestViewsOfSharedTraces(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", "..", "..", "shared"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, pattern := range []string{"traces/*.json.gz", "engine-traces/*.json.gz"} {
		list, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, list...)
	}
	if len(names) == 0 {
		t.Skip("no shared traces beside the repository")
	}
	in := browser(t, "")
	// axe takes seconds for each: it sees a directory, a trace with a device and one without.
	audited := map[string]bool{"engine-traces": true, "kineto_resnet50_nw0.json.gz": true,
		"max4_rank0.1795910567862964002.pt.trace.json.gz": true}
	sets := [][]string{{filepath.Join(root, "engine-traces")}}
	for _, name := range names {
		sets = append(sets, []string{name})
	}
	for _, paths := range sets {
		t.Run(filepath.Base(paths[0]), func(t *testing.T) {
			srv := launch(t, append([]string{"view", "--no-open"}, paths...)...)
			p := openUntil(t, in, srv.url, settled)
			look := audited[filepath.Base(paths[0])]
			if look {
				p.withoutPolicy()
				p.do(chromedp.Reload())
				p.until(settled)
				p.audit("timeline")
			}
			if facts := eval[string](p, `document.querySelector("#facts").textContent`); !strings.Contains(facts,
				"· 0 hidden ·") {
				t.Errorf("the header says %q", facts)
			}
			p.press("v")
			if got := p.parts(); len(got) < 1 { // of a front end's trace nothing but findings
				t.Error("the report is empty")
			}
			if failed := eval[[]string](p,
				`kinetoscope.report.sections.filter((s) => s.error).map((s) => s.of.id + ": " + s.error)`); len(
				failed) > 0 {
				t.Errorf("parts failed: %v", failed)
			}
			if look {
				p.audit("report")
			}
			p.quiet()
		})
	}
}

// longWords lists the texts of the report, but for those of tables and pictures, whose end is not to be
// seen when a word of them is longer than a line, as names of operators are.
const longWords = `(() => {
	const cut = [];
	for (const e of document.querySelectorAll("#report p, #report h2, #report .findings span, #report .findings button")) {
		if (!e.checkVisibility() || e.children.length || e.closest(".scroll, svg")) continue;
		const was = e.textContent;
		e.textContent = "w".repeat(600);
		const r = document.createRange();
		r.selectNodeContents(e);
		if (r.getBoundingClientRect().right > innerWidth) cut.push(was.slice(0, 80));
		e.textContent = was;
	}
	return cut;
})()`
