package browsertest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// TestKey uses the page of a server that asks for a key: once, and then pictures,
// downloads and the way to Perfetto work as without one.
func TestKey(t *testing.T) {
	resolve, trust := viewer(t)
	in := browser(t, resolve, trust)
	srv := serve(t, "diffusion", "--api-key", "the-page-key")
	srv.key = "the-page-key"
	srv.call(t, "POST", "/start_profile", `{"profile_prefix": "locked"}`, nil)
	srv.call(t, "POST", "/v1/images/generations", `{"prompt": "a horse", "num_inference_steps": 2}`, nil)
	var st status
	srv.call(t, "POST", "/stop_profile", "", &st)
	sizes := map[string]int{}
	for _, f := range st.files() {
		sizes[f.Name] = f.Size
	}

	p := open(t, in, srv.url)
	p.until(`document.querySelector("#login")?.open`)
	if shown := eval[bool](p, `document.body.textContent.includes("locked")`); shown {
		t.Error("the page shows a session before it has a key")
	}
	if at := eval[string](p, `document.activeElement.id`); at != "key" {
		t.Errorf("the focus is on %q, not where the key goes", at)
	}
	p.shoot("login")
	p.press("a-wrong-key\r")
	p.until(`document.querySelector("#refused").textContent.includes("not a key")`)
	if !eval[bool](p, `document.querySelector("#login")?.open`) {
		t.Error("a wrong key opens the page")
	}
	for _, pale := range eval[[]string](p, paleText) {
		t.Error(pale)
	}
	p.press("the-page-key\r") // over the wrong one, which is selected
	p.until(shown("locked", "complete"))
	p.until(`!document.querySelector("#login")?.open`)
	p.until(`document.querySelector("img.picture")?.naturalWidth > 0`)
	if held := eval[string](p,
		`document.cookie + JSON.stringify(sessionStorage) + JSON.stringify(localStorage) + document.querySelector("#key").value`); held != "{}{}" {
		t.Errorf("scripts can read %q", held)
	}
	if saved := p.download(`a[download="timeline.pftrace"]`); saved != int64(sizes["timeline.pftrace"]) {
		t.Errorf("the browser saved %d bytes of %d", saved, sizes["timeline.pftrace"])
	}
	p.quiet("401")
	t.Run("perfetto", func(t *testing.T) { testKeyPerfetto(p.in(t), sizes["timeline.pftrace"]) })
	t.Run("reload", func(t *testing.T) {
		on := p.in(t)
		on.do(chromedp.Reload())
		on.until(shown("locked", "complete"))
		if eval[bool](on, `Boolean(document.querySelector("#login")?.open)`) {
			t.Error("the page asks twice")
		}
		on.do(chromedp.SetValue(chromedp.CSS("#prefix"), "second"), chromedp.Click(chromedp.CSS("#start")))
		on.until(shown("second", "recording"))
		on.quiet()
	})
	t.Run("runs", func(t *testing.T) { testKeyRuns(p.in(t), srv) })
	t.Run("another site", func(t *testing.T) { testOtherSite(t, in, srv) })
	t.Run("stop", func(t *testing.T) {
		on := p.in(t)
		on.until(shown("second", "recording"))
		on.do(chromedp.Click(chromedp.CSS("#stop")))
		on.until(shown("second", "complete"))
		on.quiet()
	})
}

// testKeyRuns logs in on the page of runs, as who has its link does.
func testKeyRuns(p *page, srv *server) {
	p.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, network.ClearBrowserCookies, cdp.Empty{})
		return err
	}))
	p.do(chromedp.Navigate(srv.url + "/runs"))
	p.until(`document.querySelector("#login")?.open && document.activeElement.id === "key"`)
	p.shoot("runs-login")
	p.press("wrong\r")
	p.until(`document.querySelector("#refused").textContent.includes("not a key")`)
	p.press("the-page-key\r")
	p.until(`document.querySelectorAll("#list tbody tr").length === 1 && !document.querySelector("#login")?.open`)
	p.quiet("401")
	p.do(chromedp.Navigate(srv.url + "/"))
	p.until(shown("second", "recording"))
	p.quiet()
}

func testKeyPerfetto(p *page, size int) {
	opened := chromedp.WaitNewTarget(p.ctx, func(*target.Info) bool { return true })
	p.do(chromedp.Click(chromedp.CSS("[data-act=perfetto]")))
	p.until(`document.querySelector("article > [role=status]").textContent.startsWith("The timeline is open")`)
	id, ok := <-opened
	if !ok {
		p.t.Fatal("no tab was opened")
	}
	ctx, end := chromedp.NewContext(p.ctx, chromedp.WithTargetID(id))
	defer end()
	if err := chromedp.Do(ctx); err != nil {
		p.t.Fatal(err)
	}
	tab := &page{t: p.t, ctx: ctx}
	tab.until(`window.got`)
	if got := eval[int](tab, `got.buffer.byteLength`); got != size {
		p.t.Errorf("the viewer got %d bytes of %d", got, size)
	}
	p.quiet()
}

// testOtherSite lets a page of another port of the same host, which to cookies is the same
// site, try to stop the session and to read the list. The cookie is sent and must not count.
func testOtherSite(t *testing.T, in context.Context, srv *server) {
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<!doctype html><title>another site</title>`)
	}))
	defer evil.Close()
	ctx, end := chromedp.NewContext(in)
	defer end()
	p := &page{t: t, ctx: ctx}
	if err := chromedp.Do(ctx); err != nil { // without a limit: the first context that runs is the tab's life
		t.Fatal(err)
	}
	p.do(chromedp.Navigate(evil.URL))
	for _, request := range []string{`"/stop_profile", {method: "POST", mode: "no-cors", credentials: "include"}`,
		`"/v1/sessions", {credentials: "include"}`} {
		got := eval[string](p,
			fmt.Sprintf(`((path, how) => fetch(%q + path, how).then((r) => r.type, () => "refused"))(%s)`, srv.url,
				request))
		if got != "opaque" && got != "refused" { // opaque says nothing of the status
			t.Errorf("another site reads the answer to %s: %s", request, got)
		}
	}
	var list struct{ Data []status }
	srv.call(t, "GET", "/v1/sessions", "", &list)
	if len(list.Data) != 2 || list.Data[0].State != "recording" {
		t.Errorf("another site stopped the session: %+v", list.Data)
	}
}
