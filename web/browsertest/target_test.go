package browsertest

import (
	"os"
	"os/exec"
	"path/filepath"
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

// TestWindowsOfATarget captures a server over HTTP from the page, and sees when each of its ranks
// recorded.
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
	p.until(settled + ` && kinetoscope.recorded?.windows.length === 2 && kinetoscope.tree.byID.has("windows")`)
	eval[bool](p, `(kinetoscope.tree.folded.set("windows", false), kinetoscope.layout(), kinetoscope.panel.show("notes"), true)`)
	p.until(settled)
	p.until(`document.querySelector("#body").innerText.includes("Recorded from")`)
	if w := eval[[]float64](p, `kinetoscope.recorded.windows.map((w) => w.to_ns - w.from_ns)`); w[0] <= 0 || w[1] <= 0 {
		t.Errorf("the windows are %v ns long", w)
	}
	p.audit("windows of a target")
	p.walk()
	p.shoot("target-windows")
	p.quiet()
}
