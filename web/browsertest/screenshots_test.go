package browsertest

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

var docs = flag.String("docs", "", "make the pictures of the documentation anew, in this directory")

// frame sets the size of the window and the colours, and waits until the page has both.
func (p *page) frame(width, height int64, scheme string) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(width, height), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
	p.until(fmt.Sprintf(`innerWidth === %d && innerHeight === %d`, width, height))
	eval[bool](p, twoFrames)
}

// picture writes what the window shows.
func (p *page) picture(name string) {
	p.t.Helper()
	png := run(p, chromedp.CaptureScreenshot())
	if err := os.WriteFile(filepath.Join(*docs, name+".png"), png, 0o666); err != nil {
		p.t.Fatal(err)
	}
}

// requests sends n chats at a time, and waits for them.
func (s *server) requests(t testing.TB, n int) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			s.call(t, "POST", "/v1/chat/completions", fmt.Sprintf(
				`{"messages": [{"role": "user", "content": "What does a horse do in motion, frame %d?"}], "max_tokens": %d}`,
				i, 20+8*i), nil)
		})
	}
	wg.Wait()
}

// TestScreenshots makes the pictures of README and docs of real sessions: make screenshots. It is
// no test of anything, and does nothing otherwise.
func TestScreenshots(t *testing.T) {
	if *docs == "" {
		t.Skip("-docs says where the pictures go")
	}
	in := browser(t, "")
	srv := serve(t)
	var ids []string
	for _, prefix := range []string{"before", "night"} {
		srv.call(t, "POST", "/start_profile", `{"profile_prefix": "`+prefix+`"}`, nil)
		srv.requests(t, 4)
		srv.requests(t, 3)
		var st status
		srv.call(t, "POST", "/stop_profile", "", &st)
		ids = append(ids, st.ID)
	}
	srv.call(t, "PATCH", "/v1/runs/"+ids[0], `{"tags": ["baseline"], "note": "before the new kernel", "pinned": true}`,
		nil)

	p := openUntil(t, in, srv.url+"/view/"+ids[1], settled)
	p.frame(1600, 1000, "dark")
	p.until(settled + ` && kinetoscope.recorded`)
	eval[bool](p,
		`(kinetoscope.tree.folded.set("windows", false), kinetoscope.layout(), kinetoscope.panel.show("requests"), true)`)
	p.until(settled)
	p.picture("timeline")
	p.press("v")
	p.until(settled)
	p.frame(1600, 1180, "dark")
	eval[bool](p, `(document.querySelector("#part-where").scrollIntoView(), true)`)
	p.until(settled)
	p.picture("report")

	p.do(chromedp.Navigate(srv.url + "/compare?a=" + ids[0] + "&b=" + ids[1]))
	p.until(compared)
	p.frame(1280, 1240, "light")
	p.until(compared)
	p.picture("compare")

	p.do(chromedp.Navigate(srv.url + "/#" + ids[1]))
	p.until(shown("night", "complete"))
	p.until(`document.querySelector("img.picture")?.naturalWidth > 0 && document.querySelector(".headline")`)
	p.frame(1280, 1130, "light")
	p.picture("page")

	p.do(chromedp.SetValue(chromedp.CSS("#prefix"), "broken"), chromedp.Click(chromedp.CSS("#start")))
	p.until(shown("broken", "recording"))
	srv.requests(t, 2)
	var h health
	srv.call(t, "GET", "/health", "", &h)
	if err := syscall.Kill(h.Stages[len(h.Stages)-1].Details[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.until(`/^Recording on \d+ of \d+ ranks/.test(document.querySelector("#alert").textContent)`)
	p.frame(1280, 700, "light")
	p.picture("live")
	p.do(chromedp.Click(chromedp.CSS("#stop")))
	p.until(shown("broken", "partial"))

	p.do(chromedp.Navigate(srv.url + "/runs"))
	p.until(`document.querySelectorAll("#list tbody tr").length === 3`)
	p.frame(1280, 530, "light")
	p.picture("runs")
}
