package browsertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// compared is when the comparison shows all there is to show.
const compared = `globalThis.comparison?.still?.()`

// steppedTrace writes a trace of n ProfilerSteps of stepUs each, every one of which launches a
// gemm of gemmUs, a relu of 50 µs and what else is named, of 20 µs.
func steppedTrace(t testing.TB, name, card string, n, stepUs, gemmUs int, more ...string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b,
		`{"schemaVersion":1,"deviceProperties":[{"id":0,"name":%q}],"cuda_runtime_version":12080,"traceEvents":[
{"ph":"M","name":"process_name","pid":1,"tid":0,"ts":0,"args":{"name":"python"}}`, card)
	corr := 0
	event := func(cat, name string, pid, tid, ts, dur, corr int) {
		fmt.Fprintf(&b, `,
{"ph":"X","cat":%q,"name":%q,"pid":%d,"tid":%d,"ts":%d,"dur":%d,"args":{"correlation":%d,"device":0,"stream":7}}`,
			cat, name, pid, tid, ts, dur, corr)
	}
	for i := range n {
		at := 1000 + i*stepUs
		event("user_annotation", fmt.Sprintf("ProfilerStep#%d", i), 1, 1, at, stepUs, 0)
		free := at + 20
		for k, kernel := range append([]string{"gemm", "relu"}, more...) {
			corr++
			dur := []int{gemmUs + i%5, 50, 20}[min(k, 2)]
			event("cpu_op", "aten::"+kernel, 1, 1, at+10+20*k, 15, 0)
			event("cuda_runtime", "cudaLaunchKernel", 1, 1, at+12+20*k, 5, corr)
			event("kernel", kernel, 0, 7, free, dur, corr)
			free += dur
		}
	}
	b.WriteString("\n]}\n")
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// whole lets the page be as high as what it shows, for its picture.
const whole = `(() => { const r = document.querySelector("#report").style; r.flex = "none"; r.overflow = "visible";
	document.body.style.overflow = "visible"; document.body.style.height = "auto"; return true; })()`

// TestCompare sees of two files what is different in them, by keyboard alone: the verdict, the
// kernel that grew and the one that is new, their colours in the flame graph, and the timelines
// that move together.
func TestCompare(t *testing.T) {
	in := browser(t, "")
	srv := launch(t, "view", "--no-open", "--compare",
		steppedTrace(t, "before.json", "Card One", 20, 1000, 300),
		steppedTrace(t, "after.json", "Card Two", 24, 1200, 600, "added_kernel"))
	p := openUntil(t, in, srv.url, compared)
	p.withoutPolicy()
	p.do(chromedp.Reload())
	p.until(compared)

	text := func(of string) string {
		t.Helper()
		return eval[string](p, `document.querySelector(`+fmt.Sprintf("%q", of)+`).innerText`)
	}
	for of, wants := range map[string][]string{
		"#verdict-text": {"longer in B", "over 20 and 24",
			"gemm changed most (+300 µs in a mean step)"},
		"#part-verdict": {"Card One", "Card Two", "cuda runtime 12080",
			"cards: Card One in A, Card Two in B"},
		"#part-ops tbody":                {"added_kernel", "only in B", "+300 µs", "no chance"},
		"#part-flames .flames + .scroll": {"gemm", "aten::gemm", "+300 µs"},

		"#lane-a h3":                         {"before.json", "step 1"},
		"#lane-b h3":                         {"after.json", "step 1"},
		"#part-steps tbody":                  {"1.00 ms", "1.20 ms", "+20%", "20 · 24"},
		"#part-flames .flames + .scroll ~ p": {"over 20 steps of A and 24 of B"},
	} {
		got := text(of)
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("%s lacks %q: %s", of, want, got)
			}
		}
	}
	// A box that takes more time is red, one that is the same grey.
	for name, hue := range map[string]string{"gemm ": "--more", "relu ": "--same"} {
		if got := eval[string](p,
			`[...document.querySelectorAll("#part-flames .flame")].find((e) => e.getAttribute("aria-label").startsWith("`+
				name+`")).dataset.color`); !strings.Contains(got, hue) {
			t.Errorf("the box of %s is %s", name, got)
		}
	}

	t.Run("stretch", func(t *testing.T) { testStretch(p.in(t)) })
	t.Run("pinch", func(t *testing.T) { testPinchBoth(p.in(t)) })
	p.in(t)
	eval[bool](p, `(history.replaceState(null, "", location.pathname + location.search), true)`)
	p.do(chromedp.Reload())
	p.until(compared)
	t.Run("locked", func(t *testing.T) { testLocked(p.in(t)) })
	p.in(t)
	t.Run("looks", func(t *testing.T) {
		on := p.in(t)
		for _, scheme := range []string{"dark", "light"} {
			on.size(1280, scheme)
			on.until(compared)
			on.audit("comparison, " + scheme)
			for _, pale := range eval[[]string](on, paleText) {
				t.Errorf("%s: %s", scheme, pale)
			}
		}
		for _, width := range []int64{360, 3840} {
			on.size(width, "light")
			on.until(compared)
			if over := eval[int](on, `Math.max(document.documentElement.scrollWidth - innerWidth,
				document.querySelector("#report").scrollWidth - document.querySelector("#report").clientWidth)`); over > 0 {
				t.Errorf("the comparison is %d px wider than %d", over, width)
			}
		}
		eval[bool](on, whole)
		for _, scheme := range []string{"dark", "light"} {
			for _, width := range []int64{360, 1280} {
				on.size(width, scheme)
				on.until(compared)
				on.shoot(fmt.Sprintf("compare-%s-%d", scheme, width))
			}
		}
	})
	p.in(t).quiet()
}

// testLocked moves both timelines with keys, locks them at other steps, and finds all again by
// the address.
func testLocked(p *page) {
	const apart = `[comparison.both.a, comparison.both.b].map((l) => Math.round(l.win.t0 - l.lock))`
	together := func() {
		p.t.Helper()
		p.until(compared)
		if d := eval[[]int64](p, apart); d[0] != d[1] {
			p.t.Errorf("the windows begin %d and %d ns from the lock", d[0], d[1])
		}
	}
	together()
	if locks := eval[[]int64](p, `[comparison.both.a.lock, comparison.both.b.lock]`); locks[0] != 1_000_000 ||
		locks[1] != 1_200_000 {
		p.t.Errorf("locked at %v ns, the second steps begin at 1 and 1.2 ms", locks)
	}
	eval[bool](p, `(document.querySelector("#lane-a canvas[tabindex]").focus(), true)`)
	before := eval[float64](p, `comparison.both.r1 - comparison.both.r0`)
	p.press("ww")
	p.until(fmt.Sprintf(`comparison.both.r1 - comparison.both.r0 < 0.7 * %g`, before))
	p.press("d")
	together()
	p.press("n")
	p.until(`comparison.lock.a === 2 && comparison.lock.b === 2 && comparison.both.b.lock === 2400000`)
	together()
	said := eval[string](p, `document.querySelector("#lane-b h3").innerText`)
	if !strings.Contains(said, "step 2") || !strings.Contains(said, "2.400 ms of its own clock") {
		p.t.Errorf("the lane says %q", said)
	}

	// A row of the table leads to its slice, and to its like on the other side.
	eval[bool](p, `(document.querySelector("#part-ops tbody button[data-side=b]").click(), true)`)
	p.until(`comparison.both.b.selected?.detail && comparison.both.a.selected?.detail`)
	p.until(compared)
	names := eval[[]string](p, `comparison.both.lanes.map((l) => l.selected.detail.name)`)
	if names[0] != names[1] {
		p.t.Errorf("chosen are %q", names)
	}
	p.until(`document.querySelectorAll("#picked a[href^='/view/']").length === 2`)

	// Filters, widths and what is zoomed into are in the address.
	eval[bool](p, `(document.querySelector("#part-ops [data-value=device]").click(),
		document.querySelector("#part-flames [data-value=b]").click(), document.querySelectorAll("#part-flames .flame")[1].click(), true)`)
	p.until(`document.querySelector("#part-flames .crumbs")`)
	p.until(compared + ` && location.hash.includes("on=device") && location.hash.includes("s=b:")`)
	was := eval[string](p, `location.hash`)
	p.do(chromedp.Reload())
	p.until(compared + ` && comparison.both.b.selected?.detail`)
	p.until(`document.querySelector("#part-flames .crumbs")`)
	p.until(compared)
	if now := eval[string](p, `location.hash`); now != was {
		p.t.Errorf("the address %s shows %s", was, now)
	}
	p.press("?")
	p.until(`document.querySelector("#keys").open`)
	p.press("\x1b")
	p.until(`!document.querySelector("#keys").open`)
}

// testStretch chooses a stretch of both timelines with Shift, sees what it adds up to on each side,
// takes it away as a file, and finds it again by the address.
func testStretch(p *page) {
	at := eval[[]float64](p,
		`(() => { document.querySelector("#lanes").scrollIntoView(); const b = document.querySelector("#lane-a canvas[tabindex]").getBoundingClientRect();
		return [b.left + b.width * 0.2, b.top + 40, b.left + b.width * 0.6]; })()`)
	shift := chromedp.ButtonModifiers(chromedp.ModifierShift)
	p.do(chromedp.MouseEvent(input.DispatchMouseEventTypeMousePressed, at[0], at[1], chromedp.Button("left"),
		chromedp.ClickCount(1), shift),
		chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, at[2], at[1], chromedp.Button("left"), shift),
		chromedp.MouseEvent(input.DispatchMouseEventTypeMouseReleased, at[2], at[1], chromedp.Button("left"),
			chromedp.ClickCount(1), shift))
	p.until(`comparison.both.sums?.of && document.querySelectorAll("#picked tbody tr").length > 0`)
	p.until(compared)
	span := eval[[]float64](p,
		`[comparison.both.area[1] - comparison.both.area[0], (comparison.both.r1 - comparison.both.r0) * 0.4]`)
	if span[0] < 0.98*span[1] || span[0] > 1.02*span[1] {
		p.t.Errorf("dragging over two fifths chose %g of %g ns", span[0], span[1])
	}
	// The table says of each side what its server says.
	for k, side := range []string{"a", "b"} {
		got := eval[int](p, fmt.Sprintf(`comparison.both.sums.of[%d].slices`, k))
		want := eval[int](p,
			fmt.Sprintf(`fetch(comparison.both.%s.source.exportURL({ ...comparison.both.%s.query(), format: "csv" })).then((r) => r.text())
			.then((t) => t.trim().split("\n").slice(1).reduce((n, l) => n + Number(/,(\d+),\d+,\d+,[\d.]+,\d+,\d+,[^,]*$/.exec(l)[1]), 0))`, side, side))
		if got == 0 || got != want {
			p.t.Errorf("%s has %d slices on the page, its CSV %d", side, got, want)
		}
	}
	if n := eval[int](p, `document.querySelectorAll("#picked .exports a[download]").length`); n < 16 || n%2 != 0 {
		p.t.Errorf("%d ways to take the stretch away, want 4 of each side", n)
	}
	p.until(`/area=-?\d+~-?\d+/.test(location.hash)`)
	p.audit("comparison, a stretch chosen")
	p.walk()
	p.until(compared)
	rows := eval[string](p, `document.querySelector("#picked tbody").innerText`)
	p.do(chromedp.Reload())
	p.until(compared + ` && document.querySelectorAll("#picked tbody tr").length > 0`)
	if again := eval[string](p, `document.querySelector("#picked tbody").innerText`); again != rows {
		p.t.Errorf("the address shows\n%s\nit was made of\n%s", again, rows)
	}
	p.press("\x1b")
	p.until(`!comparison.both.area`)
	p.until(compared)
}

// testPinchBoth zooms both timelines with two fingers on one of them.
func testPinchBoth(p *page) {
	at := eval[[]float64](p,
		`(() => { document.querySelector("#lanes").scrollIntoView(); const b = document.querySelector("#lane-a canvas[tabindex]").getBoundingClientRect();
		return [b.left, b.top + 40, b.width]; })()`)
	before := eval[float64](p, `comparison.both.r1 - comparison.both.r0`)
	touch := func(kind input.DispatchTouchEventType, xs ...float64) { p.touch(kind, at, xs...) }
	touch(input.DispatchTouchEventTypeTouchStart, 0.4)
	touch(input.DispatchTouchEventTypeTouchStart, 0.4, 0.6)
	touch(input.DispatchTouchEventTypeTouchMove, 0.3, 0.7)
	touch(input.DispatchTouchEventTypeTouchMove, 0.2, 0.8)
	p.until(fmt.Sprintf(`comparison.both.r1 - comparison.both.r0 < 0.5 * %g`, before))
	touch(input.DispatchTouchEventTypeTouchEnd)
	p.until(compared)
	if d := eval[[]float64](p, `comparison.both.lanes.map((l) => l.win.t1 - l.win.t0)`); max(d[0]-d[1], d[1]-d[0]) > 1 {
		p.t.Errorf("the windows are %g and %g ns wide", d[0], d[1])
	}
	p.audit("comparison, pinched")
}

// testAllRanks adds all pairs of ranks up: the page has the server's sum, which is that of its pairs.
func testAllRanks(p *page, srv *server, ids [2]string) {
	p.t.Helper()
	type diff struct {
		Diff struct {
			Rows []struct {
				Name string
				A, B struct {
					Count int
					Ns    int64
				}
			}
		}
		Pairs []struct{ A, B int }
	}
	of := func(trace string) (d diff) {
		srv.call(p.t, "GET", "/v1/compare/traces?a="+ids[0]+"&b="+ids[1]+"&trace_a="+trace+"&trace_b="+trace, "", &d)
		return d
	}
	all := of("-1")
	sums := map[string]int64{}
	for i := range all.Pairs {
		for _, r := range of(fmt.Sprint(i)).Diff.Rows {
			sums[r.Name] += r.A.Ns - r.B.Ns
		}
	}
	if len(all.Pairs) != 4 || len(all.Diff.Rows) != len(sums) {
		p.t.Errorf("%d pairs, %d names of %d", len(all.Pairs), len(all.Diff.Rows), len(sums))
	}
	for _, r := range all.Diff.Rows {
		if got := r.A.Ns - r.B.Ns; got != sums[r.Name] {
			p.t.Errorf("%s: %d ns, its pairs have %d", r.Name, got, sums[r.Name])
		}
	}
	eval[bool](p,
		`(() => { const s = document.querySelector("#pair"); s.selectedIndex = 0; s.dispatchEvent(new Event("change", { bubbles: true })); return true; })()`)
	p.until(`comparison.pair.a === -1 && comparison.traces?.pairs?.length === 4`)
	p.until(compared + ` && location.hash.includes("pair=all")`)
	p.withoutPolicy()
	p.do(chromedp.Reload()) // the address says all pairs
	p.until(compared + ` && comparison.pair.a === -1 && comparison.traces.pairs.length === 4`)
	testLateLane(p, ids[1])
	p.audit("comparison, all pairs")
	p.walk()
	p.until(compared)
	if said := eval[string](p, `document.querySelector("#part-ops").innerText`); !strings.Contains(said,
		"4 pairs added up") ||
		!strings.Contains(said, "code2wav") && !strings.Contains(said, "conv1d") {
		p.t.Errorf("all ranks together show %q", said)
	}
	if n := eval[int](p, `document.querySelectorAll("#lane-a .label.stage").length`); n != 3 {
		p.t.Errorf("the timeline of all ranks has %d stages", n)
	}
	p.shoot("compare-all")
	p.until(`comparison.both.a.requests.length === 2 && comparison.both.a.tree.byID.has("requests")`)
}

// held has the pages that the tab loads from now on wait with requests that have text in their address
// until letGo is called there, which which they say by waits being true. What it returns ends that.
func (p *page) held(text string) (end func()) {
	p.t.Helper()
	script := run(p, chromedp.Action[cdppage.ScriptIdentifier](func(ctx context.Context, tab *chromedp.Target,
	) (cdppage.ScriptIdentifier, error) {
		r, err := cdp.Call(ctx, tab, cdppage.AddScriptToEvaluateOnNewDocument,
			cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: fmt.Sprintf(`{
				const ask = fetch;
				const gate = new Promise((r) => (globalThis.letGo = () => (r(), true)));
				globalThis.fetch = async (url, ...more) => {
					if (String(url).includes(%q)) await (globalThis.waits = true, gate);
					return ask(url, ...more);
				};
			}`, text)})
		return r.Identifier, err
	}))
	return func() {
		p.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
			_, err := cdp.Call(ctx, tab, cdppage.RemoveScriptToEvaluateOnNewDocument,
				cdppage.RemoveScriptToEvaluateOnNewDocumentParams{Identifier: script})
			return err
		}))
	}
}

// testLateLane has one timeline of all pairs drawn while the other still waits for its hand-offs: nothing
// is asked or drawn for a lane that has no size yet.
func testLateLane(p *page, late string) {
	p.t.Helper()
	end := p.held("/v1/runs/" + late + "/arrows")
	p.do(chromedp.Reload())
	p.until(`globalThis.waits && globalThis.comparison?.both?.a.store.held.size > 0 && !comparison.both.a.store.busy`)
	eval[bool](p, twoFrames)
	if said := eval[string](p, `document.querySelector("#notice").textContent`); said != "" {
		p.t.Errorf("while a timeline waits the page says %q", said)
	}
	if eval[bool](p, `comparison.both.b.ruler.step !== undefined`) {
		p.t.Error("a ruler is measured that has no width yet: it would look for ticks for ever")
	}
	eval[bool](p, `letGo()`)
	p.until(compared + ` && comparison.both.b.store.held.size > 0`)
	end()
}

// TestCompareRuns chooses two captures of a running pipeline and sees the verdict of its diff.
func TestCompareRuns(t *testing.T) {
	in := browser(t, "")
	srv := serve(t)
	p := openUntil(t, in, srv.url+"/compare", `document.querySelector("#state .card")`)
	p.until(`document.querySelector("#state").innerText.includes("There are no runs here")`)
	var ids [2]string
	for i := range ids {
		srv.call(t, "POST", "/start_profile", fmt.Sprintf(`{"profile_prefix": "run%d"}`, i), nil)
		for range 2 {
			srv.call(t, "POST", "/v1/chat/completions", chat, nil)
		}
		var st status
		srv.call(t, "POST", "/stop_profile", "", &st)
		ids[i] = st.ID
	}
	p.do(chromedp.Reload())
	p.until(`document.querySelectorAll("#pick select").length === 2`)
	p.until(`[...document.querySelectorAll("#pick select")].map((s) => s.value).join() === "` + ids[0] + "," + ids[1] +
		`"`)
	p.do(chromedp.Click(chromedp.CSS("#pick button")))
	p.until(compared)
	var want struct {
		By      string `json:"by"`
		Verdict string `json:"verdict"`
		Pairs   []struct{ Name string }
	}
	srv.call(t, "GET", "/v1/compare?a="+ids[0]+"&b="+ids[1], "", &want)
	if want.By != "pipelines" || len(want.Pairs) != 4 || want.Verdict == "" {
		t.Fatalf("%+v", want)
	}
	if got := eval[string](p, `document.querySelector("#verdict-text").textContent`); got != want.Verdict {
		t.Errorf("the page says %q, the server %q", got, want.Verdict)
	}
	parts := eval[[]string](p, `[...document.querySelectorAll("#sections > .part")].map((e) => e.dataset.key)`)
	if got := strings.Join(parts, " "); got != "verdict latency steps where ops flames" {
		t.Errorf("the page has %s", got)
	}
	eval[bool](p,
		`(() => { const s = document.querySelector("#pair"); s.selectedIndex = 3; s.dispatchEvent(new Event("change", { bubbles: true })); return true; })()`)
	p.until(`comparison.pair.a === 2 && document.querySelector("#lane-a h3").innerText.includes("talker")`)
	p.until(compared)
	testAllRanks(p, srv, ids)
	p.do(chromedp.EmulateViewport(1280, 1240))
	p.until(`innerWidth === 1280 && innerHeight === 1240`)
	p.until(compared)
	p.shoot("compare")
	eval[bool](p, whole)
	p.shoot("compare-runs")
	p.do(chromedp.Click(chromedp.CSS("#swap")))
	p.until(compared + ` && location.search.startsWith("?a=` + ids[1] + `")`)
	p.do(chromedp.Navigate(srv.url + "/compare?a=" + ids[0] + "&b=01NOSUCHRUN"))
	p.until(`document.querySelector("#state").innerText.includes("cannot be compared")`)
	p.quiet("404")
}
