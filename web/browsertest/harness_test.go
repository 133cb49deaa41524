package browsertest

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

var screenshots = flag.String("screenshots", "", "write pictures of the page to this directory")

// patience is how long one step of a test may take on a busy machine; a healthy one
// needs a small part of it.
const patience = 2 * time.Minute

// chromium finds the browser or skips the test.
func chromium(t testing.TB) string {
	t.Helper()
	names := []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
		"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"}
	for i, name := range names {
		if name == "" {
			continue
		}
		path, err := exec.LookPath(name)
		if err == nil {
			return path
		}
		if i == 0 {
			t.Fatalf("CHROMIUM: %v", err)
		}
	}
	t.Skip("no Chromium found: install it or set CHROMIUM to its path")
	return ""
}

// buildDir is where binary builds to; TestMain makes and removes it.
var buildDir string

// binary builds the program once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	out := filepath.Join(buildDir, "kinetoscope")
	if runtime.GOOS == "windows" {
		out += ".exe"
	}
	build := exec.Command("go", "build", "-o", out, "./cmd/kinetoscope")
	build.Dir = filepath.Join("..", "..")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build cmd/kinetoscope: %w\n%s", err, text)
	}
	return out, nil
})

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kinetoscope-browsertest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildDir = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// server is a running `kinetoscope serve`.
type server struct {
	url  string
	key  string // that calls show, if not ""
	stop func() // ends it and waits
}

// serve starts a pipeline's server and waits until it says that it serves.
func serve(t testing.TB, args ...string) *server {
	t.Helper()
	return launch(t, append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...)
}

// launch starts the program with a verb that serves and writes its URL to a file.
func launch(t testing.TB, args ...string) *server {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ready := filepath.Join(dir, "ready")
	cmd := exec.Command(bin, append(args, "--ready-file", ready)...)
	cmd.Dir = dir // its runs go there
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
			t.Error("the server did not stop on SIGTERM")
		}
		if t.Failed() {
			t.Logf("the server said:\n%s", out.Bytes())
		}
	})
	t.Cleanup(stop)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		if url, err := os.ReadFile(ready); err == nil && len(url) > 0 {
			return &server{url: strings.TrimSpace(string(url)), stop: stop}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the server ended: %v\n%s", err, out.Bytes())
		case <-late:
			t.Fatal("the server is not ready")
		case <-tick.C:
		}
	}
}

// call does one request and decodes the answer into v, if there is one to decode to.
func (s *server) call(t testing.TB, method, path, body string, v any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if s.key != "" {
		req.Header.Set("Authorization", "Bearer "+s.key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %v %s", method, path, res.StatusCode, err, data)
	}
	if b, ok := v.(*[]byte); ok {
		*b = data
	} else if v != nil {
		if err := json.Unmarshal(data, v); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
}

// browser starts Chromium, which reaches this machine and nothing else: names lead
// nowhere but where resolve maps them.
func browser(t testing.TB, resolve string, flags ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	opts := append([]chromedp.ExecAllocatorOption{
		chromedp.ExecPath(chromium(t)),
		chromedp.WSURLReadTimeout(patience),
		chromedp.Headless,
		chromedp.NoSandbox, // root has none, nor have many containers; the pages are our own
		chromedp.DisableGPU,
		chromedp.NoFirstRun,
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("host-resolver-rules", strings.TrimPrefix(resolve+",MAP * ~NOTFOUND,EXCLUDE 127.0.0.1", ",")),
		chromedp.WindowSize(1280, 900),
	}, flags...)
	alloc, endAlloc := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, end := chromedp.NewContext(alloc)
	t.Cleanup(func() { end(); endAlloc() })
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return ctx
}

// page is a tab and what its console said.
type page struct {
	t   testing.TB
	ctx context.Context

	mu    sync.Mutex
	said  []string      // guarded by mu
	heard chan struct{} // takes a token whenever the console has said where the test is
}

// here is what quiet has the console say, to know that all before it was heard.
const here = "the test has come to "

// hear keeps what the console says.
func (p *page) hear(said string) {
	if strings.Contains(said, here) {
		p.heard <- struct{}{}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, said)
}

// open shows url in a tab of its own and waits until the page has drawn its stages.
func open(t testing.TB, in context.Context, url string) *page {
	t.Helper()
	return openUntil(t, in, url, `document.querySelectorAll("#stages li").length > 0`)
}

// openUntil shows url in a tab of its own and waits until ready is true there.
func openUntil(t testing.TB, in context.Context, url, ready string) *page {
	t.Helper()
	ctx, end := chromedp.NewContext(in)
	p := &page{t: t, ctx: ctx, heard: make(chan struct{}, 1)}
	messages := chromedp.Console(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for m, err := range messages {
			if err != nil {
				return // the tab is closed
			}
			p.hear(m.String() + " " + m.URL)
		}
	})
	t.Cleanup(func() { end(); wg.Wait() })
	p.do(chromedp.Navigate(url))
	p.until(ready)
	return p
}

// do runs actions within patience.
func (p *page) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("%v; the page:\n%s", err, p.text())
	}
}

// run runs an action that gives a value.
func run[T any](p *page, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		p.t.Fatalf("%v; the page:\n%s", err, p.text())
	}
	return v
}

// eval returns what script evaluates to; promises are awaited.
func eval[T any](p *page, script string) T {
	p.t.Helper()
	return run(p, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

// until waits until script is true. It asks from outside: the page's policy forbids
// what would ask from inside. A page on its way to another one has no answer yet.
func (p *page) until(script string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		is, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+script+")"))
		if is {
			return
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("waited for %s (%v); the page:\n%s", script, err, p.text())
		case <-tick.C:
		}
	}
}

func (p *page) text() string {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	s, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return s
}

// press types keys; "\t" and "\r" are Tab and Enter.
func (p *page) press(keys string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys))
}

// tabTo presses Tab until what a selector means has the focus, and shows it.
func (p *page) tabTo(what string) {
	p.t.Helper()
	for range 100 {
		p.press("\t")
		if eval[bool](p, `document.activeElement.matches(`+fmt.Sprintf("%q", what)+`)`) {
			if !eval[bool](p, `getComputedStyle(document.activeElement).outlineStyle !== "none"`) {
				p.t.Errorf("%s does not show that it has the focus", what)
			}
			return
		}
	}
	p.t.Fatalf("Tab does not lead to %s", what)
}

// walk presses Tab through the whole page, from its begin, and fails where it misses something
// that is to be used, where the focus does not show, and where what has it has no name.
func (p *page) walk() {
	p.t.Helper()
	eval[bool](p, `(() => {
		window.walked = new Set();
		window.unseen = [];
		window.stops = () => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
			.filter((e) => e.tabIndex >= 0 && !e.disabled && e.checkVisibility({ visibilityProperty: true }) && e.getClientRects().length);
		window.step = () => {
			const e = document.activeElement;
			if (e === document.body || walked.has(e)) return;
			walked.add(e);
			const s = getComputedStyle(e);
			if (s.outlineStyle === "none" && s.boxShadow === "none") unseen.push("no focus to see on " + e.outerHTML.slice(0, 90));
			if (!(e.ariaLabel || e.getAttribute("aria-labelledby") || e.textContent.trim() || e.alt || e.title || e.labels?.length || e.querySelector("img[alt]"))) unseen.push("no name: " + e.outerHTML.slice(0, 90));
		};
		document.activeElement.blur();
		window.scrollTo(0, 0);
		document.body.tabIndex = -1;
		document.body.focus();
		document.body.removeAttribute("tabindex");
		return true;
	})()`)
	for range eval[int](p, `stops().length`) + 5 {
		p.press("\t")
		eval[bool](p, `(step(), true)`)
	}
	for _, bad := range eval[[]string](p,
		`[...unseen, ...stops().filter((e) => !walked.has(e)).map((e) => "Tab misses " + e.outerHTML.slice(0, 90))]`) {
		p.t.Error(bad)
	}
}

// dropped is a file that falls on a page.
type dropped struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// drop lets files fall on the page, together.
func (p *page) drop(files ...dropped) {
	p.t.Helper()
	list, err := json.Marshal(files)
	if err != nil {
		p.t.Fatal(err)
	}
	eval[bool](p, fmt.Sprintf(`(() => {
		const d = new DataTransfer();
		for (const f of %s) d.items.add(new File([f.text], f.name));
		dispatchEvent(new DragEvent("drop", { dataTransfer: d, cancelable: true }));
		return true;
	})()`, list))
}

// size sets the window's width and the colours that the reader prefers, and waits until
// the page has both.
func (p *page) size(width int64, scheme string) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(width, 900), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
	p.until(fmt.Sprintf(`innerWidth === %d && matchMedia("(prefers-color-scheme: %s)").matches`, width, scheme))
	eval[bool](p, twoFrames)
}

// twoFrames is true once the page has drawn what it is now: the first frame may be one
// that was under way.
const twoFrames = `new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(() => r(true))))`

// quiet fails the test if the console said anything but what has one of the words
// allowed, and forgets what it said.
func (p *page) quiet(allowed ...string) {
	p.t.Helper()
	eval[bool](p, fmt.Sprintf(`(console.debug(%q), true)`, here+p.t.Name()))
	select {
	case <-p.heard:
	case <-time.After(patience):
		p.t.Fatal("the console is not heard")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
next:
	for _, s := range p.said {
		for _, a := range allowed {
			if strings.Contains(s, a) {
				continue next
			}
		}
		p.t.Errorf("the console says: %s", s)
	}
	p.said = nil
}

// shoot writes a picture of the whole page if asked for.
func (p *page) shoot(name string) {
	p.t.Helper()
	if *screenshots == "" {
		return
	}
	png := run(p, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o666); err != nil {
		p.t.Fatal(err)
	}
}

// fileURL is the address of a file on this disk.
func fileURL(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() }
