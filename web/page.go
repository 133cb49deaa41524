package web

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"path"
)

// ui is the status page: plain HTML, CSS and JavaScript modules, no build.
//
//go:embed ui
var ui embed.FS

// UI returns a file of the pages, for programs that show them without a server.
func UI(name string) ([]byte, error) { return fs.ReadFile(ui, "ui/"+name) }

// UIModules lists the JavaScript modules of the pages, sorted, without the one of the status page.
func UIModules() ([]string, error) {
	list, err := fs.ReadDir(ui, "ui")
	var out []string
	for _, e := range list {
		if path.Ext(e.Name()) == ".js" && e.Name() != "main.js" {
			out = append(out, e.Name())
		}
	}
	return out, err
}

// uiTypes are the content types of the page's files; the system's table of types may be wrong.
var uiTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

func (s *Server) page(w http.ResponseWriter, _ *http.Request) error {
	return servePage(w, "index.html")
}

// viewPage is the timeline of a run; the page asks for the rest.
func (s *Server) viewPage(w http.ResponseWriter, _ *http.Request) error {
	return servePage(w, "timeline.html")
}

// comparePage shows two runs side by side; the page asks for the rest.
func (s *Server) comparePage(w http.ResponseWriter, _ *http.Request) error {
	return servePage(w, "compare.html")
}

// firstView redirects a browser, on a server without a pipeline, to the timeline that the server
// was started for.
func (s *Server) firstView(w http.ResponseWriter, r *http.Request) error {
	http.Redirect(w, r, cmp.Or(s.cfg.Front, "/view/"+ViewID), http.StatusFound)
	return nil
}

func (s *Server) pageFile(w http.ResponseWriter, r *http.Request) error {
	return servePage(w, r.PathValue("file"))
}

// pagePolicy lets the page run its own scripts and styles, show pictures of runs and talk to this
// server, and nothing else; no text becomes markup or script. Opening a timeline in a viewer of
// another origin sends a message to a tab that the page has opened; no policy needs to allow that,
// and only a Cross-Origin-Opener-Policy would forbid it, so none is set.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// servePage answers with a file of ui.
func servePage(w http.ResponseWriter, name string) error {
	data, err := fs.ReadFile(ui, "ui/"+name)
	if err != nil {
		return notFound("no such file of the status page: " + name)
	}
	h := w.Header()
	h.Set("Content-Type", uiTypes[path.Ext(name)])
	h.Set("Content-Length", fmt.Sprint(len(data)))
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	_, _ = w.Write(data) // if the client is gone, the answer does not matter
	return nil
}
