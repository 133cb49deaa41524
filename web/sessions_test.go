package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/web/api"
)

// dirSessions finds runs as directories under root, named by id.
type dirSessions struct {
	root string
	list []session.Status
}

func (d dirSessions) List(context.Context, int) ([]session.Status, error) { return d.list, nil }

func (d dirSessions) Get(_ context.Context, id string) (*session.Status, error) {
	for i := range d.list {
		if d.list[i].ID == id {
			return &d.list[i], nil
		}
	}
	return nil, fmt.Errorf("session %s: %w", id, fs.ErrNotExist)
}

func (d dirSessions) OpenArtifact(_ context.Context, id, name string) (*ArtifactFile, error) {
	f, err := OpenFile(filepath.Join(d.root, id), name)
	if f != nil && name == "report.json" {
		f.SHA256 = "abc123"
	}
	return f, err
}

func testRuns(t *testing.T) (dirSessions, []byte) {
	t.Helper()
	root := t.TempDir()
	run := filepath.Join(root, "S1")
	if err := os.MkdirAll(filepath.Join(run, "stage0_thinker"), 0o777); err != nil {
		t.Fatal(err)
	}
	var gz bytes.Buffer
	zw := gzip.NewWriter(&gz)
	if _, err := zw.Write([]byte(strings.Repeat(`{"traceEvents":[]}`, 100))); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"S1/stage0_thinker/trace_rank0.json.gz": gz.Bytes(), "S1/report.json": []byte("0123456789"),
		"S1/stage0_thinker/ops_rank0.xlsx": []byte("PK"), "S1/a.html": []byte("<script>"),
		"secret.txt": []byte("secret"),
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(root, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret.txt", filepath.Join(run, "link.txt")); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	eng := newOmni()
	a := eng.status("S2", newOpts(), session.StateComplete, "complete")
	b := eng.status("S1", newOpts(), session.StateComplete, "complete")
	return dirSessions{root, []session.Status{*a, *b}}, gz.Bytes()
}

func TestSessionsEndpoints(t *testing.T) {
	runs, _ := testRuns(t)
	_, url := start(t, newOmni(), func(c *Config) { c.Sessions = runs })
	_, _, body := call(t, "GET", url+"/v1/sessions", "")
	l := parse[api.SessionList](t, body)
	if l.Object != "list" || len(l.Data) != 2 || l.Data[0].ID != "S2" || l.Data[0].Artifacts[0].URL == "" {
		t.Errorf("%s", body)
	}
	_, _, body = call(t, "GET", url+"/v1/sessions?limit=1", "")
	if l := parse[api.SessionList](t, body); len(l.Data) != 1 {
		t.Errorf("%s", body)
	}
	if status, _, body := call(t, "GET", url+"/v1/sessions?limit=x", ""); status != 400 ||
		!strings.Contains(body, "limit") {
		t.Errorf("%d %s", status, body)
	}
	_, _, body = call(t, "GET", url+"/v1/sessions/S1", "")
	if st := parse[session.Status](t, body); st.ID != "S1" || st.Stages[0].Ranks[0].Artifacts[0].URL == "" {
		t.Errorf("%s", body)
	}
	_, bare := start(t, newOmni())
	if status, _, body := call(t, "GET", bare+"/v1/sessions", ""); status != 200 ||
		!strings.Contains(body, `"data":[]`) {
		t.Errorf("without a store: %d %s", status, body)
	}
	if status, _, _ := call(t, "GET", bare+"/v1/sessions/S1", ""); status != 404 {
		t.Errorf("without a store: %d", status)
	}
}

func TestArtifactDownload(t *testing.T) {
	runs, gz := testRuns(t)
	_, url := start(t, newOmni(), func(c *Config) { c.Sessions = runs })
	at := url + "/v1/sessions/S1/artifacts/"

	// http.Get decompresses what carries Content-Encoding; these bytes must arrive as they are.
	res, err := http.Get(at + "stage0_thinker/trace_rank0.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Equal(got, gz) || res.Uncompressed {
		t.Errorf("got %d bytes, want %d, uncompressed %v, %v", len(got), len(gz), res.Uncompressed, err)
	}
	if ct, ce := res.Header.Get("Content-Type"), res.Header.Get("Content-Encoding"); ct != "application/gzip" ||
		ce != "" {
		t.Errorf("type %q, encoding %q", ct, ce)
	}

	status, h, body := call(t, "GET", at+"report.json", "", "Range", "bytes=2-4")
	if status != 206 || body != "234" || h.Get("Content-Range") != "bytes 2-4/10" ||
		h.Get("Content-Type") != "application/json" {
		t.Errorf("%d %q %v", status, body, h)
	}
	if status, _, _ := call(t, "GET", at+"report.json", "", "Range", "bytes=99-"); status != 416 {
		t.Errorf("range past the end: %d", status)
	}
	if status, _, _ := call(t, "GET", at+"report.json", "", "If-None-Match", `"abc123"`); status != 304 {
		t.Errorf("known ETag: %d", status)
	}
	status, h, body = call(t, "HEAD", at+"stage0_thinker/ops_rank0.xlsx", "")
	if status != 200 || body != "" || h.Get("Content-Length") != "2" ||
		!strings.Contains(h.Get("Content-Type"), "spreadsheetml") {
		t.Errorf("HEAD: %d %v", status, h)
	}
	_, h, _ = call(t, "GET", at+"a.html", "")
	if !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") ||
		!strings.Contains(h.Get("Content-Security-Policy"), "sandbox") || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a page of a run may act here: %v", h)
	}
}

func TestArtifactTraversal(t *testing.T) {
	runs, _ := testRuns(t)
	_, url := start(t, newOmni(), func(c *Config) { c.Sessions = runs })
	for _, path := range []string{
		"S1/artifacts/../secret.txt", "S1/artifacts/%2e%2e/secret.txt", "S1/artifacts/..%2fsecret.txt",
		"S1/artifacts/%2fetc%2fpasswd", "S1/artifacts//etc/passwd", "S1/artifacts/..%5csecret.txt",
		"S1/artifacts/stage0_thinker/..%2f..%2fsecret.txt", "%2e%2e/artifacts/secret.txt", "..%2f/artifacts/secret.txt",
		"./artifacts/secret.txt", "S1/artifacts/link.txt", "S1/artifacts/stage0_thinker", "S1/artifacts/",
		"S1/artifacts/x%00", "S1/artifacts/C:secret", "S1%2f..%2fS1/artifacts/report.json",
	} {
		status, _, body := call(t, "GET", url+"/v1/sessions/"+path, "")
		if status < 300 || strings.Contains(body, "secret\n") || body == "secret" {
			t.Errorf("%s: %d %q", path, status, body)
		}
		if status == 500 && path != "S1/artifacts/link.txt" { // os.Root refuses the link
			t.Errorf("%s: 500 %s", path, body)
		}
	}
}
