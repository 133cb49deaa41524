package web

import (
	"net/http"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/web/perfettosql"
)

// Perfetto's UI, a page of another site, reads the extensions and nothing else; other pages read neither.
func TestExtensionsForPerfetto(t *testing.T) {
	_, url := start(t, newOmni(), withKeys)
	ask := func(method, path, origin string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if origin != "" {
			r.Header.Set("Origin", origin)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	const perfetto = "https://ui.perfetto.dev"
	for _, c := range []struct {
		method, path, origin string
		status               int
		allowed              bool
	}{
		{"GET", manifestPath, perfetto, 200, true},
		{"GET", macrosPath, perfetto, 200, true},
		{"GET", sqlModulesPath, "http://localhost:10000", 200, true},
		{"OPTIONS", manifestPath, perfetto, 204, true},
		{"GET", manifestPath, "", 200, false},
		{"GET", manifestPath, "https://evil.example", 403, false},
		{"OPTIONS", manifestPath, "https://evil.example", 403, false},
		{"POST", manifestPath, perfetto, 403, false},
		{"GET", "/v1/sessions", perfetto, 403, false},
		{"GET", "/health", perfetto, 403, false},
		{"GET", "/perfetto/../v1/sessions", perfetto, 403, false},
	} {
		resp := ask(c.method, c.path, c.origin)
		if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != c.status ||
			(got == c.origin && got != "") != c.allowed {
			t.Errorf("%s %s of %q: %d, allowed for %q", c.method, c.path, c.origin, resp.StatusCode, got)
		}
	}
	_, h, body := call(t, "GET", url+macrosPath, "")
	if got := parse[perfettosql.Macros](t, body); len(got.Macros) < 30 ||
		!strings.HasPrefix(h.Get("Content-Type"), "application/json") {
		t.Errorf("%d macros as %s", len(got.Macros), h.Get("Content-Type"))
	}
}
