package browsertest

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
)

// health is what these tests read of a server's ranks.
type health struct {
	Stages []struct {
		Name    string `json:"name"`
		Details []struct {
			PID int `json:"pid"`
		} `json:"rank_details"`
	} `json:"stages"`
}

// TestLiveAndRuns loses a rank while a session records, and keeps the runs of a store in order
// on the page of runs.
func TestLiveAndRuns(t *testing.T) {
	in := browser(t, "")
	srv := serve(t, "diffusion")
	p := open(t, in, srv.url)
	t.Run("lost rank", func(t *testing.T) { testLostRank(p.in(t), srv) })
	t.Run("runs", func(t *testing.T) { testRuns(p.in(t), srv) })
	t.Run("axe", func(t *testing.T) { testAxe(t, in, srv) })
	t.Run("upload", func(t *testing.T) { testUpload(p.in(t), srv) })
}

// testLostRank kills a rank: the page says at the top how many still record, and why.
func testLostRank(p *page, srv *server) {
	p.until(`document.querySelectorAll(".graph .stage").length === 3`)
	p.do(chromedp.SendKeys(chromedp.CSS("#prefix"), "broken"), chromedp.Click(chromedp.CSS("#start")))
	p.until(shown("broken", "recording"))
	p.until(`document.querySelectorAll(".graph .rank.rec").length > 0`)
	p.until(`/ends by itself in/.test(document.querySelector(".progress").textContent)`)
	p.shoot("live-recording")
	if said := eval[string](p, `document.querySelector("#alert").textContent`); said != "" {
		p.t.Errorf("while all is well the page warns of %q", said)
	}
	var h health
	srv.call(p.t, "GET", "/health", "", &h)
	victim := h.Stages[len(h.Stages)-1]
	if err := syscall.Kill(victim.Details[0].PID, syscall.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
	p.until(`/^Recording on \d+ of \d+ ranks/.test(document.querySelector("#alert").textContent)`)
	said := eval[string](p, `document.querySelector("#alert").textContent`)
	if !strings.Contains(said, victim.Name) || !strings.Contains(said, "its process was killed") {
		p.t.Errorf("the page says %q", said)
	}
	if n := eval[int](p, `document.querySelectorAll(".graph .rank.lost").length`); n == 0 {
		p.t.Error("the picture of the pipeline shows no lost rank")
	}
	p.shoot("live-lost")
	p.do(chromedp.Click(chromedp.CSS("#stop")))
	p.until(shown("broken", "partial"))
	p.until(`document.querySelector("#alert").textContent === ""`)
	for _, width := range []int64{360, 3840} {
		p.size(width, "dark")
		if w := eval[int64](p, `document.documentElement.scrollWidth`); w > width {
			p.t.Errorf("the page is %d px wide at %d", w, width)
		}
		p.shoot(fmt.Sprintf("live-%d", width))
	}
	p.size(1280, "light")
	p.quiet("503")
}

// testRuns searches, labels, pins and deletes.
func testRuns(p *page, srv *server) {
	p.until(`document.querySelector("#health").textContent.startsWith("ok")`) // the rank is back
	srv.call(p.t, "POST", "/start_profile", `{"profile_prefix": "good"}`, nil)
	srv.call(p.t, "POST", "/v1/images/generations", `{"prompt": "a horse", "num_inference_steps": 2}`, nil)
	srv.call(p.t, "POST", "/stop_profile", "", nil)
	p.do(chromedp.Navigate(srv.url + "/runs"))
	p.until(`document.querySelectorAll("#list tbody tr").length === 2`)
	list := func() string {
		return eval[string](p, `[...document.querySelectorAll("#list tbody th a")].map((a) => a.textContent).join(" ")`)
	}
	if got := list(); got != "good broken" {
		p.t.Errorf("runs %q", got)
	}
	if row := eval[string](p, `document.querySelector("#list tbody tr:last-child").textContent`); !strings.Contains(row,
		"flawed") || !strings.Contains(row, "its process was killed") {
		p.t.Errorf("the broken run shows %q", row)
	}
	// Only with the keyboard: tags and a note, then a pin.
	p.do(chromedp.Focus(chromedp.CSS("#list tbody tr:first-child [data-act=edit]")))
	p.press("\r")
	p.until(`document.querySelector("#edit").open`)
	p.press("base, night\tthe one to compare with")
	p.do(chromedp.Click(chromedp.CSS("#save")))
	p.until(`document.querySelectorAll("#list .chip").length === 2`)
	p.do(chromedp.Focus(chromedp.CSS("#list tbody tr:first-child [data-act=pin]")))
	p.press("\r")
	p.until(`document.querySelector("#list tbody tr:first-child [data-act=delete]").disabled`)
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 360} {
			p.size(width, scheme)
			if w := eval[int64](p, `document.documentElement.scrollWidth`); w > width {
				p.t.Errorf("%s: the page is %d px wide at %d", scheme, w, width)
			}
			for _, pale := range eval[[]string](p, paleText) {
				p.t.Errorf("%s at %d: %s", scheme, width, pale)
			}
			p.shoot(fmt.Sprintf("runs-%s-%d", scheme, width))
		}
	}
	p.size(1280, "light")
	p.walk()
	p.do(chromedp.Focus(chromedp.CSS("#q")))
	p.press("killed")
	p.until(`document.querySelectorAll("#list tbody tr").length === 1 && location.search === "?q=killed"`)
	p.do(chromedp.Reload()) // the link shows the same
	p.until(`document.querySelectorAll("#list tbody tr").length === 1`)
	p.do(chromedp.Click(chromedp.CSS("[data-act=delete]")))
	p.until(`document.querySelector("#sure").open`)
	p.shoot("runs-delete")
	p.do(chromedp.Click(chromedp.CSS("#yes")))
	p.until(`document.querySelector(".empty")?.textContent.includes("No run is like that")`)
	p.shoot("runs-none")
	p.do(chromedp.Click(chromedp.CSS("[data-act=clear]")))
	p.until(`document.querySelectorAll("#list tbody tr").length === 1`)
	p.quiet()
}

// testAxe lets axe look at both pages, in a tab of its own: it takes one without our policy.
func testAxe(t *testing.T, in context.Context, srv *server) {
	p := open(t, in, srv.url)
	p.withoutPolicy()
	for path, ready := range map[string]string{
		"/":     `document.querySelector(".graph") && document.querySelector(".headline")`,
		"/runs": `document.querySelector("#list tbody tr")`,
	} {
		p.do(chromedp.Navigate(srv.url + path))
		p.until(ready)
		for _, scheme := range []string{"light", "dark"} {
			p.size(1280, scheme)
			p.audit(path + " " + scheme)
		}
	}
}

// theirTrace is a trace of somebody else's, as small as they get.
const theirTrace = `{"traceEvents":[{"ph":"X","name":"step","ts":1,"dur":20,"pid":1,"tid":1}]}`

// TestViewWithoutFiles shows the runs of a store without a pipeline: there are none, one is
// brought, looked at, found again and deleted. A viewer of files takes one as well.
func TestViewWithoutFiles(t *testing.T) {
	in := browser(t, "")
	p := openUntil(t, in, launch(t, "view", "--no-open").url, `document.querySelector(".empty")`)
	if said := eval[string](p, `document.querySelector(".empty").innerText`); !strings.Contains(said,
		"Drop a trace here") ||
		strings.Contains(said, "live page") || eval[bool](p, `document.querySelector("#tolive").checkVisibility()`) {
		t.Errorf("without a pipeline the page says %q", said)
	}
	p.shoot("runs-empty")
	p.do(chromedp.Navigate(eval[string](p, `location.origin`) + "/view/01NOSUCHRUN"))
	p.until(`document.querySelector("#state a")`)
	if eval[bool](p, `["panel", "find", "views"].some((id) => document.getElementById(id).checkVisibility())`) {
		t.Error("a run that is not there has something to search, fold or sum up")
	}
	p.shoot("view-missing")
	p.quiet("404")
	p.do(chromedp.Click(chromedp.CSS("#state a")))
	p.until(`document.querySelector(".empty")`)
	p.drop(dropped{"their trace.json", theirTrace})
	p.until(`location.pathname.startsWith("/view/")`)
	p.until(settled)
	p.until(`document.querySelector("#toruns")?.checkVisibility()`)
	p.do(chromedp.Click(chromedp.CSS("#toruns")))
	p.until(`document.querySelectorAll("#list tbody tr").length === 1`)
	if href := eval[string](p, `document.querySelector("#list tbody th a").pathname`); !strings.HasPrefix(href,
		"/view/") {
		t.Errorf("the run leads to %s, where there is no live page", href)
	}
	p.do(chromedp.Click(chromedp.CSS("[data-act=delete]")))
	p.until(`document.querySelector("#sure").open`)
	p.do(chromedp.Click(chromedp.CSS("#yes")))
	p.until(`document.querySelector(".empty")`)
	p.quiet()

	p = timeline(t, in, generated(t, 1))
	p.drop(dropped{"their trace.json", theirTrace})
	p.until(
		`location.pathname !== "/view/files" && document.querySelector("#title")?.textContent.includes("their trace")`)
	p.until(settled)
	p.do(chromedp.Navigate(eval[string](p, `location.origin`) + "/runs"))
	p.until(`document.querySelector("#keep").textContent.includes("gone when this viewer ends")`)
	p.quiet()
}

// testUpload brings a trace of elsewhere, which opens, and something else, which is refused.
func testUpload(p *page, srv *server) {
	p.do(chromedp.Navigate(srv.url + "/runs"))
	p.until(`document.querySelectorAll("#list tbody tr").length === 1`)
	p.drop(dropped{"letter.txt", "Dear all"})
	p.until(`document.querySelector("#message.bad")?.textContent.includes("holds no trace")`)
	p.quiet("415")
	p.drop(dropped{"their trace.json", theirTrace})
	p.until(`location.pathname.startsWith("/view/") && document.querySelector("#title")?.textContent.includes("their trace")`)
	p.quiet()
}
