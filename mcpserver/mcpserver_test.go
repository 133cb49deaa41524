package mcpserver

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const sample = `{"traceEvents": [
 {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 1000, "dur": 50, "args": {"External id": 7}},
 {"ph": "X", "cat": "cpu_op", "name": "aten::add", "pid": 1, "tid": 1, "ts": 2000, "dur": 5}
]}`

// client connects a real client to a server whose verbs are run by f.
func client(t *testing.T, root string, capture bool, f func(args []string) Result) *mcp.ClientSession {
	t.Helper()
	s, err := New(Options{Run: func(_ context.Context, args []string) Result { return f(args) }, Root: root,
		Version: "test", AllowCapture: capture})
	if err != nil {
		t.Fatal(err)
	}
	here, there := mcp.NewInMemoryTransports()
	server, err := s.Connect(t.Context(), there, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := mcp.NewClient(&mcp.Implementation{Name: "test"}, nil).Connect(t.Context(), here, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = server.Wait()
	})
	return c
}

func call(t *testing.T, c *mcp.ClientSession, tool string, args map[string]any) (text string, failed bool) {
	t.Helper()
	r, err := c.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		return err.Error(), true
	}
	return r.Content[0].(*mcp.TextContent).Text, r.IsError
}

func root(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "t.json"), []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A tool is a verb with its flags.
func TestVerbs(t *testing.T) {
	dir := root(t)
	real, err := filepath.EvalSymlinks(filepath.Join(dir, "t.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	c := client(t, dir, true, func(args []string) Result {
		got = args
		return Result{Stdout: "answer\n", Stderr: "note: repaired\n"}
	})
	paths := []string{"t.json"}
	for _, x := range []struct {
		tool string
		in   map[string]any
		want []string
	}{
		{"report", map[string]any{"paths": paths, "rank": 0, "stage": "talker"},
			[]string{"report", real, "--rank=0", "--stage=talker"}},
		{"ops", map[string]any{"paths": paths}, []string{"ops", real, "--top=10"}},
		{"idle", map[string]any{"paths": paths, "top": 3, "table": "gaps", "sort": "ns"},
			[]string{"idle", real, "--top=3", "--table=gaps", "--sort=ns"}},
		{"diff", map[string]any{"before": "t.json", "after": "latest"}, []string{"diff", real, "latest", "--top=10"}},
		{"sql", map[string]any{"paths": paths, "question": "show tables"},
			[]string{"sql", real, "--read-only", " show tables"}},
		{"capture", map[string]any{"pipeline": "omni", "seconds": 3},
			[]string{"capture", "--pipeline=omni", "--duration=3s"}},
		{"status", map[string]any{}, []string{"status"}},
	} {
		text, failed := call(t, c, x.tool, x.in)
		if failed || !strings.Contains(text, "answer") || !strings.Contains(text, "repaired") ||
			!slices.Equal(got, x.want) {
			t.Errorf("%s ran %q, want %q: %s", x.tool, got, x.want, text)
		}
	}
}

// What a verb says of a failure comes last, and what it found of a session that is incomplete is an answer.
func TestVerbsThatEndBadly(t *testing.T) {
	warnings := strings.Repeat("note: a line of another file\n", 100)
	for _, x := range []struct {
		of     Result
		failed bool
		want   string
	}{
		{Result{Stdout: "half\n", Stderr: warnings + "error: the disk is full\n", Code: 1}, true, "the disk is full"},
		{Result{Code: 1}, true, "exit code 1"},
		{Result{Stdout: "rank 3 is lost\n", Stderr: "error: partial\n", Code: 3, Partial: true}, false,
			"rank 3 is lost"},
		{Result{Stdout: "x\n", Stderr: warnings + "error: partial\n", Code: 3, Partial: true}, false, "error: partial"},
	} {
		c := client(t, root(t), true, func([]string) Result { return x.of })
		if text, failed := call(t, c, "stop", map[string]any{}); failed != x.failed || !strings.Contains(text, x.want) {
			t.Errorf("failed %v: %q; want %v, %q", failed, text, x.failed, x.want)
		}
	}
}

// No question reaches a file outside, nor a flag.
func TestPathsStayInside(t *testing.T) {
	c := client(t, root(t), true, func(args []string) Result {
		t.Errorf("ran %q", args)
		return Result{}
	})
	for _, p := range []string{"/etc/passwd", "../x", "out/passwd", "out", "--runs-dir=/", "-", "", "no/such"} {
		if text, failed := call(t, c, "report", map[string]any{"paths": []string{p}}); !failed {
			t.Errorf("%q: %s", p, text)
		}
	}
	for tool, in := range map[string]map[string]any{
		"report":  {"paths": []string{}},
		"ops":     {"paths": []string{"t.json"}, "top": -1},
		"capture": {"pipeline": "/etc/passwd"},
		"slices":  {"path": "t.json", "name": "("},
		"more":    {"cursor": "x"},
	} {
		if text, failed := call(t, c, tool, in); !failed {
			t.Errorf("%s %v: %s", tool, in, text)
		}
	}
}

func TestCapturesAreOffByDefault(t *testing.T) {
	c := client(t, root(t), false, func([]string) Result { return Result{} })
	tools, err := c.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range tools.Tools {
		if !tool.Annotations.ReadOnlyHint {
			t.Errorf("%s is there", tool.Name)
		}
	}
	if _, failed := call(t, c, "start", map[string]any{}); !failed {
		t.Error("start is there")
	}
}

// Pages hold every byte once, whole lines where lines fit.
func TestPages(t *testing.T) {
	long := strings.Repeat("a line of thirty characters…\n", 1000) + strings.Repeat("é", 3*PageBytes)
	c := client(t, root(t), false, func([]string) Result { return Result{Stdout: long} })
	r, err := c.CallTool(t.Context(), &mcp.CallToolParams{Name: "report",
		Arguments: map[string]any{"paths": []string{"t.json"}}})
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for n := 0; ; n++ {
		m := r.StructuredContent.(map[string]any)
		text := m["text"].(string)
		if len(text) > PageBytes || n > 100 {
			t.Fatalf("a page of %d bytes", len(text))
		}
		all.WriteString(text)
		next, ok := m["next"].(string)
		if !ok {
			break
		}
		if r, err = c.CallTool(t.Context(), &mcp.CallToolParams{Name: "more",
			Arguments: map[string]any{"cursor": next}}); err != nil {
			t.Fatal(err)
		}
	}
	if all.String() != long {
		t.Errorf("%d of %d bytes came", all.Len(), len(long))
	}
}

func TestVerbFails(t *testing.T) {
	c := client(t, root(t), false, func([]string) Result {
		return Result{Stderr: "kinetoscope: error: no such table\n", Code: 2}
	})
	if text, failed := call(t, c, "ops", map[string]any{"paths": []string{"t.json"}}); !failed ||
		!strings.Contains(text, "no such table") {
		t.Errorf("%v: %s", failed, text)
	}
}

func TestSlices(t *testing.T) {
	c := client(t, root(t), false, func([]string) Result { return Result{} })
	text, failed := call(t, c, "slices", map[string]any{"path": "t.json", "args": true})
	if failed || !strings.Contains(text, "2 of 2 slices") || !strings.Contains(text, "+0s  50µs") ||
		!strings.Contains(text, `{"External id": 7}`) {
		t.Error(text)
	}
	for want, in := range map[string]map[string]any{
		"1 of 1 slices\n":           {"path": "t.json", "name": "^aten::a"},
		"1 of 1 slices\nid":         {"path": "t.json", "from_ms": 0.5},
		"1 of 1 slices\nid  at":     {"path": "t.json", "to_ms": 0.5},
		"0 of 0 slices":             {"path": "t.json", "min_us": 51},
		"1 of 2 slices, the first;": {"path": "t.json", "limit": 1},
	} {
		if text, failed := call(t, c, "slices", in); failed || !strings.HasPrefix(text, want) {
			t.Errorf("%v: %s", in, text)
		}
	}
	if text, failed := call(t, c, "slices", map[string]any{"path": "t.json", "limit": maxSlices + 1}); !failed {
		t.Error(text)
	}
}

// An agent that was talked into it sends the user's key to nobody else's server.
func TestServersElsewhereAreNotAsked(t *testing.T) {
	asked := []string{}
	c := client(t, root(t), true, func(args []string) Result {
		asked = append(asked, args[len(args)-1])
		return Result{}
	})
	for _, bad := range []string{"http://evil.example", "http://127.0.0.1.evil.example", "http://localhost@evil.example",
		"//evil.example", "evil", "http://169.254.169.254/latest", "http://[fe80::1]:8000", "\x00"} {
		for _, tool := range []string{"start", "stop", "status"} {
			if text, failed := call(t, c, tool, map[string]any{"url": bad}); !failed {
				t.Errorf("%s of %s: %s", tool, bad, text)
			}
		}
	}
	if len(asked) > 0 {
		t.Errorf("asked: %q", asked)
	}
	for _, good := range []string{"http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"} {
		if text, failed := call(t, c, "status", map[string]any{"url": good}); failed {
			t.Errorf("%s: %s", good, text)
		}
	}
	s := &server{o: Options{Server: "https://usual.example:8443"}}
	if err := s.checkURL("https://usual.example:8443"); err != nil {
		t.Error(err)
	}
	if s.checkURL("http://usual.example:8443") == nil || s.checkURL("https://usual.example") == nil {
		t.Error("another door of the usual server is taken for it")
	}
}

func TestAfter(t *testing.T) {
	for ns, want := range map[int64]string{0: "+0s", 1500: "+1.5µs", -28_719_315: "-28.719315ms"} {
		if got := after(ns); got != want {
			t.Errorf("%d: %q, want %q", ns, got, want)
		}
	}
}
