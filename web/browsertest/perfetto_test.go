package browsertest

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// standIn is a page that speaks the viewer's side of the protocol: it answers PING with
// PONG once it listens, and keeps what else it is told. It listens late, as a viewer
// does that has megabytes to load.
const standIn = `<!doctype html><title>viewer</title><script>
window.pings = 0;
setTimeout(() => addEventListener("message", (event) => {
  if (event.data === "PING") { window.pings++; event.source.postMessage("PONG", event.origin); return; }
  window.from = event.origin;
  window.got = event.data.perfetto;
}), 300);
</script>`

// viewer serves the stand-in over TLS and returns how Chromium is made to take it for
// ui.perfetto.dev: the real page code runs against the real origin, which is not there.
func viewer(t *testing.T) (resolve string, trust chromedp.ExecAllocatorOption) {
	t.Helper()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "ui.perfetto.dev" || r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, standIn)
	}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKIXPublicKey(srv.Certificate().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(key)
	return "MAP ui.perfetto.dev 127.0.0.1:" + u.Port(),
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(sum[:]))
}

// TestPerfetto hands the timeline of a diffusion run to the stand-in of the viewer.
func TestPerfetto(t *testing.T) {
	resolve, trust := viewer(t)
	in := browser(t, resolve, trust)
	srv := serve(t, "diffusion")
	srv.call(t, "POST", "/start_profile", `{"profile_prefix": "paint"}`, nil)
	srv.call(t, "POST", "/v1/images/generations", `{"prompt": "a horse in motion", "num_inference_steps": 4}`, nil)
	var st status
	srv.call(t, "POST", "/stop_profile", "", &st)
	size := 0
	for _, a := range st.Artifacts {
		if a.Name == "timeline.pftrace" {
			size = a.Size
		}
	}
	if size == 0 {
		t.Fatalf("session %s has no timeline", st.ID)
	}

	p := open(t, in, srv.url+"/#"+st.ID)
	p.until(shown("paint", "complete"))
	p.until(`document.querySelector("img.picture")?.naturalWidth > 0`)
	p.shoot("diffusion")
	opened := chromedp.WaitNewTarget(p.ctx, func(*target.Info) bool { return true })
	p.do(chromedp.Click(chromedp.CSS("[data-act=perfetto]")))
	p.until(`document.querySelector("article > [role=status]").textContent.startsWith("The timeline is open")`)
	id, ok := <-opened
	if !ok {
		t.Fatal("no tab was opened")
	}
	ctx, end := chromedp.NewContext(p.ctx, chromedp.WithTargetID(id))
	defer end()
	if err := chromedp.Do(ctx); err != nil { // without a limit: the first context that runs is the tab's life
		t.Fatal(err)
	}
	tab := &page{t: t, ctx: ctx}
	tab.until(`window.got`)
	if got := eval[string](tab,
		`[location.origin, window.from, got.buffer instanceof ArrayBuffer, got.buffer.byteLength, got.title, got.fileName, pings > 0].join(" ")`); got !=
		fmt.Sprintf("https://ui.perfetto.dev %s true %d paint %s %s.pftrace true", srv.url, size, st.ID, st.ID) {
		t.Errorf("the viewer was told %s", got)
	}
	p.quiet()
}

// TestPerfettoUnreachable says so where there is no viewer, and not before the reader
// has closed its tab or waited.
func TestPerfettoUnreachable(t *testing.T) {
	in := browser(t, "")
	srv := serve(t, "diffusion")
	srv.call(t, "POST", "/start_profile", "", nil)
	srv.call(t, "POST", "/v1/images/generations", `{"prompt": "a horse", "num_inference_steps": 2}`, nil)
	srv.call(t, "POST", "/stop_profile", "", nil)
	p := open(t, in, srv.url)
	p.until(shown("no prefix", "complete"))
	opened := chromedp.WaitNewTarget(p.ctx, func(*target.Info) bool { return true })
	p.do(chromedp.Click(chromedp.CSS("[data-act=perfetto]")))
	p.until(`document.querySelector("article > [role=status]").textContent.startsWith("Waiting")`)
	id, ok := <-opened
	if !ok {
		t.Fatal("no tab was opened")
	}
	p.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.CallBrowser(ctx, target.CloseTarget, target.CloseTargetParams{TargetID: id})
		return err
	}))
	p.until(`document.querySelector("article > [role=status].bad")?.textContent.includes("closed before")`)
	p.quiet()
}

// TestNoProfiler shows what the server says when no stage can be captured.
func TestNoProfiler(t *testing.T) {
	in := browser(t, "")
	srv := serve(t, "diffusion", "--profiler-config.profiler=")
	p := open(t, in, srv.url)
	p.do(chromedp.Click(chromedp.CSS("#start")))
	p.until(`document.querySelector("#message.bad .hint")?.textContent.includes("profiler_config")`)
	if text := eval[string](p, `document.querySelector("#message").textContent`); !strings.Contains(text,
		"no profiler is configured for stage 0 (text_encoder)") {
		t.Errorf("the page says %q", text)
	}
	if n := eval[int](p, `document.querySelectorAll("#stages input:disabled").length`); n != 3 {
		t.Errorf("%d of 3 stages cannot be chosen", n)
	}
	p.shoot("noprofiler")
	p.quiet("404")
}
