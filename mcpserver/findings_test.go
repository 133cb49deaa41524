package mcpserver

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A finding comes with the slice behind it, under the path by which the tool slices shows it.
func TestFindings(t *testing.T) {
	dir := root(t)
	real, err := filepath.EvalSymlinks(filepath.Join(dir, "t.json"))
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, dir, false, func(args []string) Result {
		if want := []string{"report", real, "--json"}; !slices.Equal(args, want) {
			t.Errorf("ran %q, want %q", args, want)
		}
		return Result{Stdout: `{"traces": [{"file": "` + real + `"}], "report": {"findings": [
			{"code": "host_bound", "severity": "warning", "text": "host-bound: busy 41%", "evidence":
				{"rank": 0, "track": 1, "slice": 1, "start_ns": 2000000, "end_ns": 2005000}},
			{"code": "device_idle", "severity": "info", "text": "idle", "evidence":
				{"rank": 0, "track": 1, "slice": -1, "start_ns": 5, "end_ns": 6}}]}}`}
	})
	text, failed := call(t, c, "findings", map[string]any{"paths": []string{"t.json"}})
	want := `warning  host_bound  host-bound: busy 41%
    look at: path t.json id 1 track 1, 2000000 to 2005000 ns of the trace's clock
info  device_idle  idle
    look at: path t.json track 1, 5 to 6 ns of the trace's clock
`
	if failed || text != want {
		t.Errorf("%s\nwant\n%s", text, want)
	}
	text, failed = call(t, c, "slices", map[string]any{"path": "t.json", "id": 1})
	if failed || !strings.Contains(text, "1 of 1 slices") || !strings.Contains(text, "aten::add") {
		t.Errorf("slices around id 1: %s", text)
	}
	if text, failed = call(t, c, "slices", map[string]any{"path": "t.json", "id": 2}); !failed ||
		!strings.Contains(text, "slices 0 to 1") {
		t.Errorf("slices around no slice: %s", text)
	}
}

// A report that is none is an error in words.
func TestFindingsOfNoReport(t *testing.T) {
	c := client(t, root(t), false, func([]string) Result { return Result{Stdout: "no JSON"} })
	if text, failed := call(t, c, "findings", map[string]any{"paths": []string{"t.json"}}); !failed ||
		!strings.Contains(text, "read the report") {
		t.Error(text)
	}
	none := client(t, root(t), false, func([]string) Result { return Result{Stdout: `{"report": {}}`} })
	if text, failed := call(t, none, "findings", map[string]any{"paths": []string{"t.json"}}); failed ||
		text != "Nothing stands out.\n" {
		t.Error(text)
	}
}

func TestSearch(t *testing.T) {
	c := client(t, root(t), false, func([]string) Result { return Result{} })
	for _, x := range []struct {
		in     map[string]any
		failed bool
		want   string
	}{
		{map[string]any{"path": "t.json", "name": "(?i)ATEN"}, false, "2 of 2 names\n" +
			"calls  total  first id  longest id  longest  at  category  name\n" +
			"1  50µs  0  0  50µs  +0s  cpu_op  aten::mm\n1  5µs  1  1  5µs  +1ms  cpu_op  aten::add\n"},
		{map[string]any{"path": "t.json", "name": "aten", "top": 1}, false, "1 of 2 names"},
		{map[string]any{"path": "t.json", "name": "conv"}, false, "No slice's name matches"},
		{map[string]any{"path": "t.json", "name": ""}, true, "write what to search for"},
		{map[string]any{"path": "t.json", "name": "("}, true, "name: "},
		{map[string]any{"path": "t.json", "name": "a", "top": -1}, true, "top: 1 to"},
		{map[string]any{"path": "out/passwd", "name": "a"}, true, "lies outside"},
	} {
		if text, failed := call(t, c, "search", x.in); failed != x.failed || !strings.Contains(text, x.want) {
			t.Errorf("%v: %s", x.in, text)
		}
	}
}
