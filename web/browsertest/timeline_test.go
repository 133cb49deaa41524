package browsertest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// settled is when the timeline has drawn what the server has of the window.
const settled = `globalThis.kinetoscope?.still?.()`

// generated makes a trace of some megabytes of text.
func generated(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "generated.json.gz")
	gen := exec.Command("go", "run", "./bench/cmd/gentrace", "-mb", "12", "-python", file)
	gen.Dir = filepath.Join("..", "..")
	if out, err := gen.CombinedOutput(); err != nil {
		t.Fatalf("gentrace: %v\n%s", err, out)
	}
	return file
}

// timeline shows files in a tab.
func timeline(t *testing.T, in context.Context, paths ...string) *page {
	t.Helper()
	srv := launch(t, append([]string{"view", "--no-open"}, paths...)...)
	return openUntil(t, in, srv.url, settled)
}

// TestNoBusyColumnIsEmpty holds the picture to its data, to the pixel: in every row on the
// screen each column that a slice covers is painted, however far it is zoomed out, and a
// column in the middle of a gap of three and more is not.
func TestNoBusyColumnIsEmpty(t *testing.T) {
	in := browser(t, "")
	p := timeline(t, in, generated(t))
	p.quiet()
	for _, part := range []string{"1", "50", "4000"} {
		eval[bool](p, `(kinetoscope.cursor = null, kinetoscope.setWindow(kinetoscope.info.end_ns * 0.4, kinetoscope.info.end_ns * (0.4 + 0.6 / `+part+`)), true)`)
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
	if hidden := eval[string](p, `document.querySelector("#facts").textContent`); !strings.Contains(hidden, "· 0 hidden ·") {
		t.Errorf("the header says %q", hidden)
	}
	p.shoot("timeline-generated")
	p.quiet("willReadFrequently") // that is this test's reading
}

// TestTimelineByKeyboard searches, steps, zooms and finds the same view again by its
// address, without a mouse.
func TestTimelineByKeyboard(t *testing.T) {
	in := browser(t, "")
	p := timeline(t, in, generated(t))
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
		srv.call(t, "POST", "/v1/chat/completions", `{"messages": [{"role": "user", "content": "one two three"}], "max_tokens": 24}`, nil)
	}
	var st struct{ ID string }
	srv.call(t, "POST", "/stop_profile", "", &st)
	p := open(t, in, srv.url+"/#"+st.ID)
	p.until(`document.querySelector("#detail a.button") && document.querySelector("#detail .findings")`)
	if links := eval[int](p, `document.querySelectorAll(".findings a[href*='#s=']").length`); links == 0 {
		t.Error("no finding leads to its slice")
	}
	p.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, cdppage.SetBypassCSP, cdppage.SetBypassCSPParams{Enabled: true}) // axe is no script of ours
		return err
	}), chromedp.Click(chromedp.CSS("#detail a.button")))
	p.until(settled + ` && kinetoscope.requests.length === 3 && kinetoscope.handoffs.length > 0`)
	names := eval[[]string](p, `[...document.querySelectorAll("#tracks .label.stage .name")].map((e) => e.textContent)`)
	if !slices.Equal(names, []string{"thinker", "talker", "code2wav"}) {
		t.Errorf("stages %v", names)
	}
	axe, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"dark", "light"} {
		p.size(1280, scheme)
		p.until(settled)
		eval[bool](p, string(axe)+"; true")
		for _, tab := range []string{"findings", "slice", "area", "flame", "requests", "notes"} {
			eval[bool](p, `(async () => { if ("`+tab+`" === "slice") await kinetoscope.select("0.5"); else kinetoscope.panel.show("`+tab+`"); return true; })()`)
			p.until(settled + ` && !document.querySelector("#body").textContent.includes("Adding up")`)
			for _, v := range eval[[]string](p, `axe.run().then((r) => r.violations.map((v) => v.id + ": " + v.nodes[0].html.slice(0, 200)))`) {
				t.Errorf("%s, %s: %s", scheme, tab, v)
			}
		}
		p.shoot("timeline-" + scheme)
	}
	for _, width := range []int64{360, 3840} {
		p.size(width, "light")
		p.until(settled)
		if over := eval[int](p, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
			t.Errorf("the page is %d px wider than %d", over, width)
		}
	}
	p.quiet()
}
