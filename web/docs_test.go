package web

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
)

// noAsker stands for nodes of which nobody asks anything.
type noAsker struct{ Asker }

// everything has a server serve all routes there are.
func everything(c *Config) { c.Asker, c.ProfileByGet = noAsker{}, true }

// TestEveryRouteIsDocumented holds docs/http.md to the server's table and metrics.
func TestEveryRouteIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	s, url, _ := shelfWith(t, everything)
	wild := strings.NewReplacer("{id...}", "ID", "{id}", "ID", "{name...}", "NAME", "{$}", "")
	for pattern, m := range s.table() {
		if strings.HasPrefix(pattern, "/ui/") || strings.HasPrefix(pattern, "/view/") || pattern == "/compare" ||
			pattern == "/runs" || pattern == "/{$}" {
			continue // pages
		}
		for method := range m {
			if want := "`" + method + " " + wild.Replace(pattern); !strings.Contains(doc, want+"`") &&
				!strings.Contains(doc, want+"?") {
				t.Errorf("docs/http.md lacks %s`", want)
			}
			if method == http.MethodPost && !strings.Contains(doc, "$K"+pattern) {
				t.Errorf("docs/http.md has no example of %s", pattern)
			}
		}
	}
	call(t, "POST", url+"/v1/chat/completions", `{"messages":[{"role":"user","content":"one"}]}`)
	_, _, body := call(t, "GET", url+"/metrics", "")
	names := regexp.MustCompile(`(?m)^# TYPE kinetoscope_(\S+)`).FindAllStringSubmatch(body, -1)
	if len(names) < 10 {
		t.Fatalf("%d metrics", len(names))
	}
	for _, n := range names {
		if !strings.Contains(doc, "`"+n[1]+"`") {
			t.Errorf("docs/http.md lacks the metric %s", n[1])
		}
	}
}

// TestEveryDocumentedRouteIsServed asks for each route and example of docs/http.md as curl does. Those
// that change something, or are of a session, have tests of their own; here they must lead somewhere.
func TestEveryDocumentedRouteIsServed(t *testing.T) {
	data, err := os.ReadFile("../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	s, url, ids := shelfWith(t, everything)
	mux, table := http.NewServeMux(), s.table()
	for pattern := range table {
		mux.Handle(pattern, http.NotFoundHandler())
	}
	served := func(method, path string) bool {
		_, pattern := mux.Handler(httptest.NewRequestWithContext(t.Context(), method, path, nil))
		return table[pattern][method] != nil
	}
	concrete := strings.NewReplacer("/models/ID", "/models/"+s.api.Model(), "ID", ids[1], "{slice}", "0.0", "NAME", "x")
	routes := regexp.MustCompile("`(GET|POST|PATCH|DELETE) (/[^`? ]*)").FindAllStringSubmatch(string(data), -1)
	if len(routes) < 50 {
		t.Fatalf("%d routes are documented", len(routes))
	}
	asked := 0
	for _, r := range routes {
		method, path := r[1], concrete.Replace(r[2])
		if !served(method, path) {
			t.Errorf("%s %s is documented and not served", method, r[2])
			continue
		}
		if method != http.MethodGet || strings.HasSuffix(path, "_profile") || path == "/v1/events" ||
			strings.HasPrefix(path, "/v1/sessions/") {
			continue
		}
		if path != "/v1/runs" { // which refuses what it does not know
			path += "?from=0&to=2000&q=a&format=csv&a=" + ids[0] + "&b=" + ids[1]
		}
		get(t, url+path, http.StatusOK)
		asked++
	}
	if asked < 30 {
		t.Errorf("%d routes were asked for", asked)
	}
	examples := regexp.MustCompile(`\$K(/[^\s"'?]*)`).FindAllStringSubmatch(string(data), -1)
	if len(examples) < 20 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, e := range examples {
		if path := concrete.Replace(e[1]); !served(http.MethodGet, path) && !served(http.MethodPost, path) {
			t.Errorf("the example of %s leads nowhere", e[1])
		}
	}
}
