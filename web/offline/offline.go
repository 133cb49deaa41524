// Package offline writes traces as one HTML file that shows them without a server: the timeline's
// page with its modules inline, and the answers that a server would have given it, recorded and
// compressed. It opens from a disk, a mail or a ticket, and makes no requests.
//
// The file is limited in size. The report is complete. The timeline is recorded at resolutions that
// double until every slice is shown by itself or the limit is reached. Details (arguments,
// launches, callers) are those of the longest slices. The page says so when it is asked for
// something that was not recorded.
package offline

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/url"
	"slices"
	"strings"

	_ "embed" // of the shim

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/web"
	"github.com/kinetoscope/kinetoscope/web/view"
)

// Limits of a file.
const (
	// MaxBytes bounds the recorded answers of a file, compressed: as text they take a third more,
	// which a mail still carries.
	MaxBytes = 8 << 20
	// detailBytes is the part of MaxBytes that is for the details of slices.
	detailBytes = 2 << 20
	// maxDetails bounds the slices that are asked for details; each takes some milliseconds.
	maxDetails = 4000
	// basePx is the resolution of the first level, in columns over the whole time. Each further
	// level has twice that of the one before.
	basePx    = 2048
	maxLevels = 10
	// batch is how many tracks one answer has.
	batch = 64
)

//go:embed shim.js
var shim string

func init() {
	format.Register(format.Format{
		Name: "page", Title: "web page that needs no server", Extensions: []string{".html"},
		OneClock: true,
		Create:   func(w io.Writer, o format.WriteOptions) format.Writer { return &writer{w: w, o: o} },
		Lacks:    "slices finer than its size allows, arguments of all but the longest, search, sums of areas",
	})
}

// writer is format.Writer for pages.
type writer struct {
	w       io.Writer
	o       format.WriteOptions
	sources []timeline.Source
}

// Add implements format.Writer.
func (w *writer) Add(ctx context.Context, r format.Rank) error {
	w.sources = append(w.sources, timeline.Source{Trace: r.Trace, Label: r.Name, Clock: clockOf(r)})
	return ctx.Err()
}

// clockOf approximates the rank's clock by a line through its begin and end.
func clockOf(r format.Rank) align.Clock {
	start, end, ok := r.Trace.Extent()
	if !ok || r.Clock == nil {
		return align.Clock{}
	}
	c := align.Clock{OffsetNs: r.Clock(start) - start, RefNs: start}
	if end > start {
		c.Drift = float64(r.Clock(end)-end-c.OffsetNs) / float64(end-start)
	}
	return c
}

// Close implements format.Writer.
func (w *writer) Close(ctx context.Context) error {
	return Write(ctx, w.w, &view.Opened{Title: w.o.Name, Detail: "written by kinetoscope convert", Sources: w.sources})
}

// Write writes what is opened as a page.
func Write(ctx context.Context, w io.Writer, o *view.Opened) error {
	if len(o.Sources) == 0 {
		return fmt.Errorf("write page: there is no trace to write")
	}
	r := newRecorder(ctx, o)
	defer r.close()
	if err := r.record(); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	page, err := r.page(o.Title)
	if err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	if _, err := w.Write(page); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

// library is a view.Library with one run, which has been read already.
type library struct{ opened *view.Opened }

func (l library) Open(context.Context, string, func(open.Progress)) (*view.Opened, error) {
	return l.opened, nil
}

// info describes the recorded answers to the page.
type info struct {
	End    int64               `json:"end"`
	Batch  int                 `json:"batch"`
	Levels []levelInfo         `json:"levels"`
	Keys   map[string][]string `json:"keys"` // parameters that tell recorded answers of a path apart
}

type levelInfo struct {
	Column float64  `json:"column"` // ns that a box may stand for
	Tracks []string `json:"tracks"`
}

// keys are, for each path, the parameters that tell its recorded answers apart. The page sends
// others too, such as the width of a window; for these it gets the answer for the whole.
var keys = map[string][]string{"ops": {"trace", "by"}, "flame": {"trace", "of"}, "criticalpath": {"trace"}}

// pack packs b as text of the page.
func pack(b []byte) (string, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := z.Write(b); err != nil {
		return "", err
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(out.Bytes()), nil
}

// page puts modules, styles and answers into one file.
func (r *recorder) page(title string) ([]byte, error) {
	text, err := web.UI("timeline.html")
	if err != nil {
		return nil, err
	}
	page := string(text)
	css, err := web.UI("timeline.css")
	if err != nil {
		return nil, err
	}
	icon, err := web.UI("icon.svg")
	if err != nil {
		return nil, err
	}
	imports, err := modules()
	if err != nil {
		return nil, err
	}
	head, err := r.head(imports)
	if err != nil {
		return nil, err
	}
	for _, p := range [][2]string{
		{`<link rel="stylesheet" href="/ui/timeline.css">`, "<style>\n" + string(css) + "</style>"},
		{`<script type="module" src="/ui/timeline.js"></script>`, head},
		{`/ui/icon.svg`, "data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(icon)},
		{`href="/" title="Kinetoscope: sessions"`, `href="#" title="Kinetoscope"`},
		{`<title>Timeline · Kinetoscope</title>`, "<title>" + html.EscapeString(neutral.Plain(title)) + "</title>\n" +
			policy},
	} {
		if !strings.Contains(page, p[0]) {
			return nil, fmt.Errorf("the timeline's page has no %s", p[0])
		}
		page = strings.ReplaceAll(page, p[0], p[1])
	}
	return []byte(page), nil
}

// policy lets only the file's own script run and forbids the page every request.
const policy = `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' data:; ` +
	`style-src 'unsafe-inline'; img-src data: blob:; connect-src 'none'">`

// modules are the page's modules by a name that does not depend on where the file lies.
func modules() (map[string]string, error) {
	names, err := web.UIModules()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, name := range names {
		text, err := web.UI(name)
		if err != nil {
			return nil, err
		}
		own := strings.NewReplacer(`from "./`, `from "kinetoscope/`, `import "./`,
			`import "kinetoscope/`).Replace(string(text))
		out["kinetoscope/"+name] = "data:text/javascript;base64," + base64.StdEncoding.EncodeToString([]byte(own))
	}
	return out, nil
}

// head returns the page's scripts: the recorded answers, the shim that answers with them, the
// modules.
func (r *recorder) head(imports map[string]string) (string, error) {
	var b strings.Builder
	data := func(id, text string) {
		fmt.Fprintf(&b, "<script type=\"text/plain\" id=\"%s\">%s</script>\n", id, text)
	}
	known, err := json.Marshal(r.info)
	if err != nil {
		return "", err
	}
	data("kt-info", string(known)) // json escapes < and >
	answers, err := r.packed()
	if err != nil {
		return "", err
	}
	data("kt-answers", answers)
	for k, l := range r.levels {
		data(fmt.Sprintf("kt-level-%d", k), l)
	}
	list, err := json.Marshal(map[string]any{"imports": imports})
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&b, "<script>\n%s</script>\n<script type=\"importmap\">%s</script>\n", shim, list)
	b.WriteString("<script type=\"module\">import \"kinetoscope/timeline.js\";</script>")
	return b.String(), nil
}

// packed returns all recorded answers but the timeline's, compressed.
func (r *recorder) packed() (string, error) {
	raw, err := json.Marshal(r.answers)
	if err != nil {
		return "", err
	}
	return pack(raw)
}

// ask returns a path with the parameters that tell its answers apart, in the order of keys.
func ask(path string, params ...string) string {
	if len(params) == 0 {
		return path
	}
	q := url.Values{}
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	return path + "?" + q.Encode()
}

// longest sorts slices by their length, the longest first.
func longest(list []shown) {
	slices.SortFunc(list, func(a, b shown) int {
		return cmp.Or(cmp.Compare(b.ns, a.ns), strings.Compare(a.id, b.id))
	})
}
