package server

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/driver/server/servertest"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// whole is a trace with a valid end.
const whole = `{"traceEvents": [{"ph": "X", "name": "a", "pid": 1, "tid": 1, "ts": 1, "dur": 1}]}`

// A server that puts a link, a second name of a file or a pipe where its trace belongs has nothing
// of ours read, and no removal follows what it has renamed.
func TestOnlyPlainFilesOfAServerAreTaken(t *testing.T) {
	for name, plant := range map[string]func(secret, at string) error{
		"link": os.Symlink, "second name": os.Link,
	} {
		dir, out := t.TempDir(), t.TempDir()
		secret := filepath.Join(out, "secret")
		if err := os.WriteFile(secret, []byte(whole), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := openFolder(dir, filepath.Join(dir, "own"))
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		own := filepath.Join(dir, "own")
		if err := os.Mkdir(own, 0o700); err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(own, "a.trace.json")
		if err := os.WriteFile(at, []byte(whole), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.readTail("a.trace.json"); err != nil {
			t.Fatalf("%s: the trace itself: %v", name, err)
		}
		open := p.content("a.trace.json") // as it is handed over
		if err := os.Remove(at); err != nil {
			t.Fatal(err)
		}
		if err := plant(secret, at); err != nil {
			t.Fatal(err)
		}
		if r, c, err := open(); err == nil {
			text, _ := io.ReadAll(r)
			_ = c.Close()
			t.Errorf("%s: it is read: %s", name, text)
		}
		// The directory itself becomes a link to another one, with a file of the same name.
		if err := os.Rename(own, own+"-away"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(out, "a.trace.json"), []byte(whole), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(out, own); err != nil {
			t.Fatal(err)
		}
		if _, c, err := open(); err == nil {
			_ = c.Close()
			t.Errorf("%s: a directory that is linked is read", name)
		}
		if got := p.list(true); len(got) > 0 {
			t.Errorf("%s: a directory that is linked is listed: %v", name, got)
		}
		if err := p.remove("a.trace.json"); err != nil {
			t.Error(err)
		}
		if err := p.removeOwn(true); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(out, "a.trace.json")); err != nil {
			t.Errorf("%s: a file elsewhere is removed: %v", name, err)
		}
	}
}

// What answers every path with a page, with JSON of its own or with 404 is no engine.
func TestWhatIsNoServerIsRefused(t *testing.T) {
	for says, h := range map[string]http.HandlerFunc{
		"<html>": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<html>\x1b[31m<title>router</title>\u202e</html>")
		},
		"{}":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") },
		"hello": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") },
		"404":   http.NotFound,
	} {
		web := httptest.NewServer(h)
		defer web.Close()
		for name := range engines {
			if name == "toy-serve" {
				continue // it says nothing of itself
			}
			to := Target{Engine: name, URL: web.URL, Dir: t.TempDir(), Stages: []string{"a"}}
			d, err := Open(t.Context(), to, id, discard())
			if err == nil {
				_ = d.Close()
				t.Errorf("%s: a server that says %s is taken", name, says)
				continue
			}
			if says == "<html>" && (!strings.Contains(err.Error(), "not a known server") ||
				!strings.Contains(err.Error(), "<title>router") || strings.ContainsAny(err.Error(), "\x1b\u202e")) {
				t.Errorf("%s: %v", name, err)
			}
			checks := Examine(t.Context(), to)
			if !slices.ContainsFunc(checks, func(c Check) bool { return c.Verdict == Failing }) {
				t.Errorf("%s, %s: nothing fails of %+v", name, says, checks)
			}
		}
	}
}

// A start that is answered with success by what says nothing of a profile has started none.
func TestWhatSaysNothingHasBegunNothing(t *testing.T) {
	for _, e := range []engine{sglangDiffusion{}, sglangOmni{}, dynamo{}, vllmOmni{}} {
		for _, says := range []string{"", "{}", "ok", `{"status":""}`, "<html></html>", "[]"} {
			if e.began(answer{http.StatusOK, []byte(says)}) == nil {
				t.Errorf("%T takes %q for a start", e, says)
			}
		}
	}
}

// Real ones are taken still.
func TestServersAreKnown(t *testing.T) {
	for name, serve := range testServers {
		dir := t.TempDir()
		srv := serve(dir, servertest.Quirks{})
		web := httptest.NewServer(srv)
		d, err := Open(t.Context(), Target{Engine: name, URL: web.URL, Dir: dir, Stages: omniStages}, id, discard())
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if err := d.Close(); err != nil {
			t.Error(err)
		}
		web.Close()
		srv.Wait()
	}
}

// What is not taken because it is a link, a pipe or a file with a second name is said to be so: it is neither missing
// nor cut.
func TestWhatIsNotTakenIsSaid(t *testing.T) {
	for name, tt := range map[string]struct {
		plant func(path string) error
		says  string
	}{
		"link": {func(path string) error { return os.Symlink("/etc/passwd", path) },
			"which are not taken: 0"},
		"second name": {func(path string) error {
			other := filepath.Join(t.TempDir(), "other")
			return errors.Join(os.WriteFile(other, []byte(whole), 0o600), os.Link(other, path))
		}, "no plain file with one name"},
	} {
		u := openUnit(t, protocol.EngineVLLM, servertest.Quirks{NoFiles: true}, nil)
		u.d.time.quiet = 20 * time.Millisecond
		q := request(nil)
		if _, err := u.Arm(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if _, err := u.Start(t.Context(), protocol.BeginRequest{Session: q.Session}); err != nil {
			t.Fatal(err)
		}
		if err := tt.plant(filepath.Join(u.dir, u.d.last.tag+"_rank0.1.pt.trace.json")); err != nil {
			t.Fatal(err)
		}
		if _, err := u.Stop(t.Context(), protocol.StopRequest{Session: q.Session}); err != nil {
			t.Fatal(err)
		}
		s, _, err := u.Collect(t.Context(), protocol.CollectRequest{Session: q.Session})
		said := s.Reason
		if err != nil {
			said += err.Error()
		}
		if !strings.Contains(said, tt.says) || strings.Contains(said, "it is cut") {
			t.Errorf("%s: %q", name, said)
		}
	}
}
