package browsertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// standin starts a server whose profile routes behave as a vLLM's, with two ranks, and returns
// where it is reached.
func standin(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(buildDir, "standin")
	build := exec.Command("go", "build", "-o", bin, "./bench/cmd/standin")
	build.Dir = filepath.Join("..", "..")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the server: %v\n%s", err, text)
	}
	dir := t.TempDir()
	said := filepath.Join(t.TempDir(), "address")
	cmd := exec.Command(bin, "vllm", dir, said)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		if addr, err := os.ReadFile(said); err == nil {
			return "vllm://" + string(addr) + "?dir=" + dir
		}
		select {
		case <-late:
			t.Fatal("the server does not say where it is")
		case <-tick.C:
		}
	}
}

// TestWindowsOfATarget captures a server over HTTP from the page, and reads when each of its ranks
// recorded. Its traces are not on one clock: windows beside each other would say what nobody knows, and
// lie where no slice is, so that there is no lane of them.
func TestWindowsOfATarget(t *testing.T) {
	in := browser(t, "")
	srv := serve(t, "--nats-listen", "127.0.0.1:0", "--target", standin(t))
	p := open(t, in, srv.url)
	p.withoutPolicy()
	p.do(chromedp.SendKeys(chromedp.CSS("#prefix"), "target"), chromedp.Click(chromedp.CSS("#start")))
	p.until(shown("target", "recording"))
	p.do(chromedp.Click(chromedp.CSS("#stop")))
	p.until(shown("target", "complete"))
	p.do(chromedp.Click(chromedp.CSS("#detail a.button")))
	p.until(settled + ` && kinetoscope.recorded?.windows.length === 2`)
	eval[bool](p, `(kinetoscope.panel.show("notes"), true)`)
	p.until(settled)
	if eval[bool](p, `kinetoscope.recorded.together || kinetoscope.tree.byID.has("windows")`) {
		t.Error("windows of traces on different clocks have a lane")
	}
	p.until(`document.querySelector("#body").innerText.includes("Recorded from")`)
	if said := eval[string](p, `document.querySelector("#body").innerText`); !strings.Contains(said,
		"each trace lies from its own start") {
		t.Errorf("of the windows the page says %q", said)
	}
	for i, cell := range eval[[]string](p, `(() => {
		const at = [...document.querySelectorAll("#body thead th")].findIndex((e) => e.textContent === "Recorded for");
		return [...document.querySelectorAll("#body tbody tr")].map((r) => r.children[at].textContent);
	})()`) {
		want := eval[string](p, fmt.Sprintf(`import("/ui/units.js").then(({ dur }) =>
			dur(kinetoscope.recorded.windows[%d].to_ns - kinetoscope.recorded.windows[%d].from_ns))`, i, i))
		if cell != want || want == "0" {
			t.Errorf("rank %d recorded for %s, the page says %q", i, want, cell)
		}
	}
	p.audit("windows of a target")
	p.walk()
	p.shoot("target-windows")
	p.quiet()
}
