package web

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
)

var reference = regexp.MustCompile(`(?:href|src)="(/[^"]+)"|from "\./([^"]+)"`)

// maxPage is how large all files of the page may be: it is to stay one that is read
// in an afternoon, and quick over a slow tunnel.
const maxPage = 352 << 10

// TestPageIsWhole follows every reference of the page's files and holds them to
// their policy: nothing from elsewhere, nothing inline.
func TestPageIsWhole(t *testing.T) {
	_, url := start(t, newOmni())
	_, h, index := call(t, "GET", url+"/", "")
	if !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none';") ||
		h.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("headers %v", h)
	}
	if c := h.Get("Cross-Origin-Opener-Policy"); c != "" {
		t.Errorf("Cross-Origin-Opener-Policy %q: it would cut the page off from the viewer that it opens", c)
	}
	if strings.Contains(index, "<style") || strings.Contains(index, " on") &&
		regexp.MustCompile(` on[a-z]+="`).MatchString(index) || strings.Contains(index, "http://") ||
		strings.Contains(index, "https://") {
		t.Error("the page holds what its policy forbids")
	}
	_, h, timelines := call(t, "GET", url+"/view/latest", "")
	if !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none';") {
		t.Errorf("headers of the timeline's page %v", h)
	}
	_, h, compared := call(t, "GET", url+"/compare?a=x&b=y", "")
	if !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none';") {
		t.Errorf("headers of the comparison's page %v", h)
	}
	reached := map[string]bool{"index.html": true, "timeline.html": true, "compare.html": true,
		"runs.html": true, "runs": true}
	queue := []string{index, timelines, compared, readUI(t, "runs.html")}
	for len(queue) > 0 {
		for _, m := range reference.FindAllStringSubmatch(queue[0], -1) {
			file := m[1]
			if file == "" {
				file = "/ui/" + m[2]
			}
			if reached[path.Base(file)] {
				continue
			}
			reached[path.Base(file)] = true
			status, h, body := call(t, "GET", url+file, "")
			if status != 200 || h.Get("Content-Type") != uiTypes[path.Ext(file)] || h.Get("Content-Type") == "" {
				t.Errorf("%s: %d %s", file, status, h.Get("Content-Type"))
			}
			queue = append(queue, body)
		}
		queue = queue[1:]
	}
	files, err := fs.ReadDir(ui, "ui")
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	pages := map[string]string{"main.js": index, "timeline.js": timelines, "compare.js": compared}
	for _, f := range files {
		data := readUI(t, f.Name())
		size += len(data)
		if m := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacent|\beval\(|\bstyle:`).FindString(data); m != "" &&
			path.Ext(f.Name()) == ".js" {
			t.Errorf("ui/%s uses %s: text must stay text", f.Name(), m)
		}
		if !reached[f.Name()] {
			t.Errorf("nothing refers to ui/%s", f.Name())
		}
	}
	if size > maxPage {
		t.Errorf("the page has %d bytes, more than %d", size, maxPage)
	}
	// Every element that the script looks up is in the page.
	for script, page := range pages {
		for _, m := range regexp.MustCompile(`\$\("([a-z-]+)"\)`).FindAllStringSubmatch(readUI(t, script), -1) {
			if !strings.Contains(page, `id="`+m[1]+`"`) {
				t.Errorf("%s looks up #%s, which its page lacks", script, m[1])
			}
		}
	}
	if status, _, _ := call(t, "GET", url+"/ui/none.js", ""); status != 404 {
		t.Errorf("unknown file: %d", status)
	}
	if status, _, _ := call(t, "GET", url+"/ui/..%2fpage.go", ""); status != 404 {
		t.Errorf("file outside: %d", status)
	}
}

func readUI(t *testing.T, name string) string {
	t.Helper()
	data, err := fs.ReadFile(ui, "ui/"+name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
