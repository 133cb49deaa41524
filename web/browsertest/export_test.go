package browsertest

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestExportFromThePage takes the area in view away as a file, and asks for it in a format that cannot hold it:
// the page says why.
func TestExportFromThePage(t *testing.T) {
	in := browser(t, "")
	p := timeline(t, in, generated(t, 1))
	p.do(chromedp.Click(chromedp.CSS("#tab-area")))
	p.until(settled + ` && document.querySelector("#body .exports a")`)
	csv := eval[int64](p, `fetch(document.querySelector('#body .exports a[href$="format=csv"]').href).then((r) => r.blob()).then((b) => b.size)`)
	if size := p.download(`#body .exports a[href$="format=csv"]`); size != csv || size == 0 {
		t.Errorf("the file has %d bytes, the server's answer %d", size, csv)
	}
	p.quiet()
	p.do(chromedp.Click(chromedp.CSS(`#body .exports a[href$="format=otlp"]`)))
	p.until(`!document.querySelector("#notice").hidden`)
	said := eval[string](p, `document.querySelector("#notice").innerText`)
	if !strings.Contains(said, "no request is named") {
		t.Errorf("of a format without an answer the page says %q", said)
	}
	p.quiet("status of 400")
}
