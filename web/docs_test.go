package web

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// noAsker stands for nodes of which nobody asks anything.
type noAsker struct{ Asker }

// TestEveryRouteIsDocumented holds docs/http.md to the server's table and metrics.
func TestEveryRouteIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(data)
	s, url := start(t, newOmni(), func(c *Config) { c.Asker = noAsker{} })
	wild := strings.NewReplacer("{id...}", "ID", "{id}", "ID", "{name...}", "NAME", "{$}", "")
	for pattern, m := range s.table() {
		if strings.HasPrefix(pattern, "/ui/") || strings.HasPrefix(pattern, "/view/") || pattern == "/compare" ||
			pattern == "/{$}" {
			continue // the status page
		}
		for method := range m {
			if want := "`" + method + " " + wild.Replace(pattern) + "`"; !strings.Contains(doc, want) {
				t.Errorf("docs/http.md lacks %s", want)
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
