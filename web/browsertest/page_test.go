package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
)

// status is what these tests read of a session.
type status struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Prefix string `json:"prefix"`
	Stages []struct {
		Ranks []struct {
			State     string     `json:"state"`
			Artifacts []artifact `json:"artifacts"`
		} `json:"ranks"`
	} `json:"stages"`
	Artifacts []artifact `json:"artifacts"`
}

type artifact struct {
	Name string `json:"name"`
	Size int    `json:"size"`
	URL  string `json:"url"`
}

// files are all artifacts of a session.
func (s *status) files() []artifact {
	out := s.Artifacts
	for _, st := range s.Stages {
		for _, r := range st.Ranks {
			out = append(out, r.Artifacts...)
		}
	}
	return out
}

const chat = `{"messages": [{"role": "user", "content": "What does a horse do?"}], "max_tokens": 24}`

// shown is true once the page shows a session with the prefix, in that state.
func shown(prefix, state string) string {
	return fmt.Sprintf(`document.querySelector("#session-name")?.textContent === %q && document.querySelector("article header .badge").textContent === %q`, prefix, state)
}

// TestPage uses the page as its reader does, on the omni pipeline: four ranks, each a
// process.
func TestPage(t *testing.T) {
	in := browser(t, "")
	srv := serve(t, "omni")
	p := open(t, in, srv.url)
	t.Run("empty", func(t *testing.T) {
		on := p.in(t)
		on.until(`document.querySelector("#health").textContent === "ok"`)
		on.until(`document.querySelector("#sessions").textContent.startsWith("None yet")`)
		on.do(chromedp.Click(chromedp.CSS("#stop")))
		on.until(`document.querySelector("#message").textContent.length > 3 && !document.querySelector("#message").textContent.includes("…")`)
		if said := eval[string](on,
			`document.querySelector("#message").className + document.querySelector("#message").textContent`); !strings.Contains(said, "no session") && !strings.Contains(said, "nothing") {
			t.Errorf("a stop with nothing to stop says %q", said)
		}
		on.shoot("empty")
		on.quiet()
	})
	t.Run("capture", func(t *testing.T) { testCapture(p.in(t), srv) })
	t.Run("downloads", func(t *testing.T) { testDownloads(p.in(t), srv) })
	t.Run("looks", func(t *testing.T) { testLooks(p.in(t)) })
	t.Run("steady", func(t *testing.T) { testSteady(p.in(t), srv) })
	t.Run("lookback", func(t *testing.T) { testLookBack(p.in(t), srv) })
	t.Run("keyboard", func(t *testing.T) { testKeyboard(p.in(t), srv) })
	t.Run("form", func(t *testing.T) { testForm(p.in(t)) })
	t.Run("session of old", func(t *testing.T) {
		on := p.in(t)
		on.do(chromedp.Navigate(srv.url + "/#01NOSUCHSESSION"))
		on.until(`document.querySelector("#detail").textContent.includes("no session")`)
		on.quiet("404")
	})
	t.Run("server gone", func(t *testing.T) {
		on := p.in(t)
		on.do(chromedp.Navigate(srv.url + "/#"))
		on.until(shown("keys", "complete"))
		on.quiet("404")
		srv.stop()
		on.until(`document.querySelector("#health").textContent.startsWith("unreachable")`)
		on.until(shown("keys", "complete")) // what is known stays
		on.quiet("net::ERR_", "503")        // a connection that ends has several names
	})
}

// testCapture starts, sends a request, stops, and looks at everything that is shown.
func testCapture(p *page, srv *server) {
	p.do(chromedp.SendKeys(chromedp.CSS("#prefix"), "night"), chromedp.Click(chromedp.CSS("#start")))
	p.until(shown("night", "recording"))
	p.until(`document.querySelectorAll(".ranks tbody tr").length === 4`)
	p.until(`/recording on every rank/.test(document.querySelector(".progress").textContent)`)
	p.until(`/ for [1-9]\d* s /.test(document.querySelector(".facts").textContent)`)
	p.quiet()

	// A second start is refused, next to the button, with the way to the session.
	p.do(chromedp.SetValue(chromedp.CSS("#prefix"), "second"), chromedp.Click(chromedp.CSS("#start")))
	p.until(`document.querySelector("#message.bad")?.textContent.includes("stop it first")`)
	var list struct{ Data []status }
	srv.call(p.t, "GET", "/v1/sessions", "", &list)
	if len(list.Data) != 1 {
		p.t.Fatalf("%d sessions after a refused start", len(list.Data))
	}
	if href := eval[string](p, `document.querySelector("#message a").getAttribute("href")`); href != "#"+
		list.Data[0].ID {
		p.t.Errorf("the refusal leads to %s, not to session %s", href, list.Data[0].ID)
	}
	p.shoot("recording")
	p.quiet("409")

	srv.call(p.t, "POST", "/v1/chat/completions", chat, nil)
	p.do(chromedp.Click(chromedp.CSS("#stop")))
	p.until(shown("night", "complete"))
	p.until(`/Session night is complete: 4 of 4 ranks complete/.test(document.querySelector("#message").textContent)`)
	states := eval[[]string](p, `[...document.querySelectorAll(".ranks tbody .badge")].map((b) => b.textContent)`)
	if strings.Join(states, " ") != "complete complete complete complete" {
		p.t.Errorf("ranks are %q", states)
	}
	for _, row := range eval[[][]string](p,
		`[...document.querySelectorAll(".ranks tbody tr")].map((r) => [...r.querySelectorAll(".num")].map((n) => n.textContent))`) {
		if len(row) != 5 || row[1] == "0" || !strings.Contains(row[4], "±") {
			p.t.Errorf("a rank shows %q: want iterations, events, bytes, drops and its clock", row)
		}
	}
	p.until(`document.querySelector(".headline") && document.querySelector("img.picture")?.naturalWidth > 0`)
	p.pictureHasTheTimelinesColours()
	if w := eval[int](p, `document.querySelector("img.picture").naturalWidth`); w < 900 {
		p.t.Errorf("the picture is %d px wide", w)
	}

	// The report in words is the report in numbers.
	var report struct {
		Bottleneck struct {
			Stage string `json:"stage"`
			Why   string `json:"why"`
		} `json:"bottleneck"`
		Findings []struct {
			Text  string `json:"text"`
			Where string `json:"where"`
		} `json:"findings"`
	}
	srv.call(p.t, "GET", "/v1/sessions/"+list.Data[0].ID+"/artifacts/report.json", "", &report)
	headline := eval[string](p, `document.querySelector(".headline").textContent`)
	if b := report.Bottleneck; b.Stage == "" || !strings.Contains(headline, b.Stage) {
		p.t.Errorf("the headline %q does not name the bottleneck %q", headline, b.Stage)
	}
	detail := eval[string](p, `document.querySelector("#detail").textContent`)
	for i, f := range report.Findings {
		if i < 4 && !strings.Contains(f.Text, "is the bottleneck") &&
			(!strings.Contains(detail, f.Text) || !strings.Contains(detail, f.Where)) {
			p.t.Errorf("the page lacks the finding %q", f.Text)
		}
	}
	for _, want := range []string{"decode step", "thinker", "code2wav", "timeline.pftrace", "stopped on request"} {
		if !strings.Contains(detail, want) {
			p.t.Errorf("the page lacks %q", want)
		}
	}
	p.quiet()
}

// testDownloads follows every link and lets the browser save one file.
func testDownloads(p *page, srv *server) {
	var list struct{ Data []status }
	srv.call(p.t, "GET", "/v1/sessions", "", &list)
	links := eval[map[string]string](p,
		`Object.fromEntries([...document.querySelectorAll("#detail a[download]")].map((a) => [a.getAttribute("href"), a.parentElement.textContent]))`)
	files := list.Data[0].files()
	if len(files) < 4*4+3 || len(links) != len(files)+1 { // and the manifest
		p.t.Errorf("%d links for %d artifacts and the manifest", len(links), len(files))
	}
	for _, f := range files {
		var data []byte
		srv.call(p.t, "GET", f.URL, "", &data)
		text, ok := links[f.URL]
		if !ok || len(data) != f.Size {
			p.t.Errorf("%s: linked %t, %d bytes, %d in the session", f.Name, ok, len(data), f.Size)
		}
		if !strings.HasSuffix(text, "B") {
			p.t.Errorf("%s: the link %q shows no size", f.Name, text)
		}
	}
	var manifest []byte
	srv.call(p.t, "GET", "/v1/sessions/"+list.Data[0].ID+"/artifacts/manifest.json", "", &manifest)
	if !json.Valid(manifest) {
		p.t.Error("the manifest is no JSON")
	}

	saved := p.download(`a[download="timeline.pftrace"]`)
	for _, f := range files {
		if f.Name == "timeline.pftrace" && saved != int64(f.Size) {
			p.t.Errorf("the browser saved %d bytes of %d", saved, f.Size)
		}
	}
	p.quiet()
}

// download clicks on a link and returns the size of the file that the browser saved.
func (p *page) download(link string) int64 {
	p.t.Helper()
	dir := p.t.TempDir()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	progress := chromedp.Events(ctx, cdpbrowser.DownloadProgress)
	events := true
	p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, cdpbrowser.SetDownloadBehavior, cdpbrowser.SetDownloadBehaviorParams{
			Behavior: cdpbrowser.SetDownloadBehaviorBehaviorAllowAndName, DownloadPath: dir, EventsEnabled: &events,
		})
		return err
	}), chromedp.Click(chromedp.CSS(link)))
	for ev, err := range progress {
		if err != nil {
			p.t.Fatalf("download: %v", err)
		}
		switch ev.State {
		case cdpbrowser.DownloadProgressStateCanceled:
			p.t.Fatalf("download of %s was cancelled", link)
		case cdpbrowser.DownloadProgressStateCompleted:
			info, err := os.Stat(filepath.Join(dir, ev.GUID))
			if err != nil {
				p.t.Fatal(err)
			}
			return info.Size()
		}
	}
	p.t.Fatalf("download of %s did not end", link)
	return 0
}

// testLooks holds the page to its width in both schemes, and its words to readable
// colours (WCAG's 4.5 to 1).
func testLooks(p *page) {
	defer p.size(1280, "light")
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 800, 400} {
			p.size(width, scheme)
			name := fmt.Sprintf("%s at %d", scheme, width)
			if w := eval[int64](p, `document.documentElement.scrollWidth`); w > width {
				p.t.Errorf("%s: the page is %d px wide", name, w)
			}
			if width >= 800 {
				for _, over := range eval[[]string](p,
					`[...document.querySelectorAll(".scroll")].filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth).map((e) => e.innerText.slice(0, 60))`) {
					p.t.Errorf("%s: a table is too wide: %q", name, over)
				}
			}
			for _, pale := range eval[[]string](p, paleText) {
				p.t.Errorf("%s: %s", name, pale)
			}
			p.shoot(fmt.Sprintf("complete-%s-%d", scheme, width))
		}
	}
	p.quiet()
}

// paleText lists text whose colour is too near to what is behind it.
const paleText = `(() => {
  const rgb = (c) => { const v = (c.match(/[\d.]+/g) ?? []).map(Number); return c.startsWith("color(srgb") ? [...v.slice(0, 3).map((x) => 255 * x), ...v.slice(3)] : v; };
  const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    if (!e) return [255, 255, 255];
    const c = rgb(getComputedStyle(e).backgroundColor), alpha = c[3] ?? 1;
    if (alpha === 1) return c;
    const under = behind(e.parentElement);
    return under.map((v, i) => v * (1 - alpha) + c[i] * alpha);
  };
  const out = new Set();
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) out.add(e.textContent.slice(0, 30) + " has contrast " + ratio.toFixed(2));
  }
  return [...out];
})()`

// testSteady looks whether what the reader holds stays while the page refreshes.
func testSteady(p *page, srv *server) {
	eval[bool](p, `(() => {
		window.had = [...document.querySelectorAll("#detail *, #stages *, #sessions *")];
		window.changes = 0;
		const watch = new MutationObserver((list) => { window.changes += list.length; });
		for (const id of ["detail", "stages", "sessions"]) watch.observe(document.getElementById(id), { subtree: true, childList: true, attributes: true, characterData: true });
		document.querySelector("[data-key=ops]").open = true;
		document.querySelector("[data-stage='1']").checked = false;
		document.querySelector("[data-act=perfetto]").focus();
		window.looks = 0;
		window.hears = new EventSource("/v1/events");
		window.hears.addEventListener("load", () => window.looks++);
		return true;
	})()`)
	p.until(`window.looks >= 3`)
	eval[bool](p, `(window.hears.close(), true)`)
	for script, want := range map[string]string{
		`document.activeElement.dataset.act`:                             "perfetto",
		`String(document.querySelector("[data-key=ops]").open)`:          "true",
		`String(document.querySelector("[data-stage='1']").checked)`:     "false",
		`String(window.had.filter((e) => !e.isConnected).length)`:        "0",
		`String(window.changes <= 1)`:                                    "true", // the details that were opened
		`String(document.querySelector("img.picture").naturalWidth > 0)`: "true",
	} {
		if got := eval[string](p, script); got != want {
			p.t.Errorf("after three events %s is %q, want %q", script, got, want)
		}
	}
	p.quiet()
}

// testLookBack captures the last seconds of the stages that are still chosen.
func testLookBack(p *page, srv *server) {
	srv.call(p.t, "POST", "/v1/chat/completions", chat, nil)
	p.do(chromedp.SetValue(chromedp.CSS("#prefix"), "back"), chromedp.Click(chromedp.CSS("#lookback")))
	p.until(shown("back", "complete"))
	p.until(`document.querySelector(".headline") && document.querySelector("img.picture")?.naturalWidth > 0`)
	if n := eval[int](p, `document.querySelectorAll(".ranks tbody tr").length`); n != 3 {
		p.t.Errorf("%d ranks of two stages, want 3", n)
	}
	if text := eval[string](p, `document.querySelector(".ranks").textContent`); strings.Contains(text, "talker") {
		p.t.Errorf("a stage that was not chosen was captured: %s", text)
	}
	if n := eval[int](p, `document.querySelectorAll("#sessions li").length`); n != 2 {
		p.t.Errorf("%d sessions are listed, want 2", n)
	}
	// The session of before is a click away.
	p.do(chromedp.Click(chromedp.CSS("#sessions li:last-child a")))
	p.until(shown("night", "complete"))
	p.quiet()
}

// testKeyboard captures without a mouse, from the top of the page.
func testKeyboard(p *page, srv *server) {
	p.do(chromedp.Navigate(srv.url+"/#"), chromedp.Reload())
	p.until(shown("back", "complete"))
	tabTo := p.tabTo
	tabTo("[data-stage='0']")
	p.press(" ") // off
	tabTo("#prefix")
	p.press("keys\r")
	p.until(shown("keys", "recording"))
	srv.call(p.t, "POST", "/v1/chat/completions", chat, nil)
	tabTo("#stop")
	p.press("\r")
	p.until(shown("keys", "complete"))
	if !eval[bool](p, `document.activeElement.id === "stop"`) {
		p.t.Error("the focus did not stay on the button")
	}
	if text := eval[string](p, `document.querySelector(".ranks").textContent`); strings.Contains(text, "thinker") {
		p.t.Error("the stage that was switched off was captured")
	}
	tabTo("#sessions li:nth-child(2) a")
	p.press("\r")
	p.until(shown("back", "complete"))
	p.until(`document.querySelector("[data-key=ops]")`)
	tabTo("[data-act=perfetto]")
	tabTo("[data-key=ops] summary")
	tabTo("a[download='timeline.pftrace']")
	// Everything that is to be used has a name for those who do not see it.
	for _, bare := range eval[[]string](p,
		`[...document.querySelectorAll("a, button, input, img, progress")].filter((e) =>
		!(e.ariaLabel || e.textContent.trim() || e.alt || e.labels?.length)).map((e) => e.outerHTML)`) {
		p.t.Errorf("no name: %s", bare)
	}
	p.quiet()
}

// testForm sees what the options of a start become, and that all of the page is reached by Tab.
func testForm(p *page) {
	p.until(`document.querySelector("#cost").textContent.includes("Measured on")`)
	said := eval[string](p, `document.querySelector("#cost").textContent`)
	for _, want := range []string{"recorded for", "order of magnitude"} { // ten minutes of what took seconds
		if !strings.Contains(said, want) {
			p.t.Errorf("the cost lacks %q: %s", want, said)
		}
	}
	eval[bool](p, `(() => {
		document.querySelector("#more").open = true;
		document.querySelector("#own").click();
		for (const [id, v] of Object.entries({ wait: "1", warmup: "2", active: "3", activities: "CPU,CUDA", iteration: "request" })) document.querySelector("#" + id).value = v;
		window.bodies = [];
		const ask = window.fetch;
		window.fetch = (url, o) => (String(url) === "/v1/estimate" && bodies.push(o.body), ask(url, o));
		document.querySelector("#active").dispatchEvent(new Event("input", { bubbles: true }));
		return true;
	})()`)
	p.until(`bodies.length > 0`)
	var got struct {
		Config struct {
			Wait, Warmup, Active int
			Activities           []string `json:"torch_profiler_activities"`
			Iteration            string
			WaitIterations       int `json:"wait_iterations"`
			WarmupIterations     int `json:"warmup_iterations"`
			ActiveIterations     int `json:"active_iterations"`
		} `json:"profiler_config"`
	}
	if err := json.Unmarshal([]byte(eval[string](p, `bodies.at(-1)`)), &got); err != nil {
		p.t.Fatal(err)
	}
	if c := got.Config; c.WaitIterations != 1 || c.WarmupIterations != 2 || c.ActiveIterations != 3 ||
		strings.Join(c.Activities, " ") != "CPU CUDA" || c.Iteration != "request" {
		p.t.Errorf("the form asks for %+v", c)
	}
	p.walk()
	p.quiet()
	p.do(chromedp.Reload())
	p.until(shown("back", "complete")) // which the address says
}

// in is p for the subtest t.
func (p *page) in(t *testing.T) *page {
	p.t = t
	return p
}

// pictureHasTheTimelinesColours compares the fills of the session's picture, on either ground, with the
// colours that the pages draw the same parts in.
func (p *page) pictureHasTheTimelinesColours() {
	p.t.Helper()
	got := eval[map[string][]string](p, `(async () => {
		const { partColor } = await import("/ui/tl-color.js");
		const text = await (await fetch(document.querySelector("img.picture").src)).text();
		const said = { wrong: [], seen: [] };
		const hold = (name, color, dark) => {
			said.seen.push(name);
			const want = partColor(name, dark).slice(0, 7);
			if (color !== want) said.wrong.push(name + " is " + color + ", on the timeline " + want + (dark ? " in the dark" : ""));
		};
		for (const [, name, color] of text.matchAll(/ class="([a-z_]+)" fill="(#[0-9a-f]{6})"/g)) hold(name, color, false);
		for (const [, name, color] of text.matchAll(/[.]([a-z_]{2,}){fill:(#[0-9a-f]{6})}/g)) hold(name, color, true);
		return said;
	})()`)
	if len(got["seen"]) < 20 {
		p.t.Errorf("the picture has the parts %q", got["seen"])
	}
	for _, wrong := range got["wrong"] {
		p.t.Error(wrong)
	}
}
