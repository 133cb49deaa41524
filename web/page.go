package web

import (
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

// uiTypes are the page's content types; the system's table is not to be trusted.
var uiTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

func (s *Server) page(w http.ResponseWriter, _ *http.Request) error {
	return servePage(w, "index.html")
}

func (s *Server) pageFile(w http.ResponseWriter, r *http.Request) error {
	return servePage(w, r.PathValue("file"))
}

// servePage answers with a file of ui. Its policy lets the page load and talk
// to this server alone.
func servePage(w http.ResponseWriter, name string) error {
	data, err := fs.ReadFile(ui, "ui/"+name)
	if err != nil {
		return notFound("no such file of the status page: " + name)
	}
	h := w.Header()
	h.Set("Content-Type", uiTypes[path.Ext(name)])
	h.Set("Content-Length", fmt.Sprint(len(data)))
	h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	_, _ = w.Write(data) // a client that is gone needs no answer
	return nil
}
