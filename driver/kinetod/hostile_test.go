package kinetod

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// Whatever a directory, a session or a caller of dyno is called, a config has the lines that we wrote
// and no others.
func TestNothingAddsLinesToAConfig(t *testing.T) {
	good := request{file: "/tmp/a/trace.json", start: time.Unix(1, 0), duration: time.Second, traceID: "id",
		cfg: protocol.ProfilerConfig{Profiler: "torch"}}
	text, err := good.text()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Count(text, "\n")
	for _, evil := range []string{"\n", "\r", "\x00", "\x1b", "\v", "\f", "\u0085", "\u2028", "\u202e"} {
		for what, change := range map[string]func(*request){
			"directory": func(r *request) {
				r.file = "/tmp/x" + evil + "ACTIVITIES_LOG_FILE=/etc/passwd" + evil + "/trace.json"
			},
			"key": func(r *request) { r.file = "/tmp/x" + evil + "PROFILE_WITH_STACK true/trace.json" },
			"session": func(r *request) {
				r.traceID = "x" + evil + "PROFILE_WITH_STACK=true"
			},
		} {
			r := good
			change(&r)
			if text, err := r.text(); err == nil {
				t.Errorf("%s with %q: %q", what, evil, text)
			}
		}
		text, err := dynoConfig("ACTIVITIES_LOG_FILE=/tmp/a.json\nREQUEST_TRACE_ID=x" + evil + "PYTHONPATH=/tmp\n")
		if err == nil && (strings.Contains(text, "PYTHONPATH") || strings.ContainsAny(text, "\r\x00\x1b")) {
			t.Errorf("dyno with %q: %q", evil, text)
		}
	}
	for _, path := range []string{"/tmp/../etc/a.json", "a.json", "/tmp/a#b/c.json", "/tmp/a=b.json",
		"/x.json/../a.json", "/tmp/a.json "} {
		r := good
		r.file = path
		if text, err := r.text(); err == nil {
			t.Errorf("%q: %q", path, text)
		}
	}
	good.cfg.Activities = []string{"CPU\nPROFILE_WITH_STACK=true"}
	if text, err := good.text(); err == nil || strings.Count(text, "\n") > lines {
		t.Errorf("an activity: %q", text)
	}
}

// Where others may write to the socket's directory, nothing but the socket is opened to all users.
func TestOnlyASocketIsOpenedToAll(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(out, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, daemonName)
	if err := os.Symlink(out, at); err != nil {
		t.Fatal(err)
	}
	if err := openToAll(dir); err == nil {
		t.Error("a link is opened")
	}
	if st, err := os.Stat(out); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: at})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := openToAll(dir); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(at); err != nil || st.Mode().Perm() != fs.FileMode(0o666) {
		t.Errorf("%v, %v", st, err)
	}
}
