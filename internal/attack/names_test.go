package attack

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// obeyed are names that a terminal or a spreadsheet takes for commands: escape codes with the
// control characters of ASCII and of Latin 1, text that turns its direction, line ends that
// are none of ASCII's, a formula.
var obeyed = []string{"\x1b]0;owned\x07", "\u009b31m", "\u009d0;owned\u009c", "\u202egpj.exe", "\u2066x\u2069",
	"\u061cx", "\x7f", "\u0085x", "\u2028x", "\u2029x", "a\rb", formula}

const formula = `=cmd|' /C calc'!A0`

// hostileTrace is a trace whose names are all of that kind, or among more, wherever a trace has names.
func hostileTrace(t *testing.T, dir, file string, dur int, more ...string) string {
	t.Helper()
	events := []map[string]any{
		{"ph": "M", "name": "process_name", "pid": 1, "args": map[string]any{"name": "p" + obeyed[1] + obeyed[3]}},
		{"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": map[string]any{"name": obeyed[1] + obeyed[3]}},
	}
	add := func(cat, name string, pid, tid, ts int, args map[string]any) {
		events = append(events, map[string]any{"ph": "X", "cat": cat, "name": name, "pid": pid, "tid": tid, "ts": ts,
			"dur": dur, "args": args})
	}
	for i, bad := range slices.Concat(obeyed, more) {
		ts := 100 * i
		add("user_annotation", fmt.Sprintf("ProfilerStep#%d%s", i, bad), 1, 1, ts, nil)
		add("cpu_op", bad, 1, 1, ts+1, map[string]any{"Input Dims": [][]int{{2, 3}}, "Input type": []string{bad},
			"Call stack": bad + ";" + bad, "External id": i + 1})
		add("cuda_runtime", "cudaLaunchKernel"+bad, 1, 1, ts+2, map[string]any{"correlation": i + 1})
		add("kernel", bad, 0, 7, ts+3, map[string]any{"correlation": i + 1, "stream": 7, "device": 0})
		add("kernel", "ncclDevKernel_AllReduce"+bad, 0, 8, ts+40, map[string]any{"correlation": i + 1, "stream": 8,
			"device": 0, "Collective name": "allreduce" + bad, "In msg nelems": 4, "dtype": bad, "Group size": 2,
			"Process Group Name": bad})
		add("gpu_memcpy", "Memcpy HtoD"+bad, 0, 7, ts+60, map[string]any{"bytes": 100, "stream": 7, "device": 0})
		events = append(events, map[string]any{"ph": "i", "s": "t", "cat": "cpu_instant_event", "name": "[memory]",
			"pid": 1, "tid": 1, "ts": ts + 5, "args": map[string]any{"Device Type": 1, "Device Id": 0, "Addr": i,
				"Bytes": 100, "Total Allocated": 100 * (i + 1)}})
	}
	b, err := json.Marshal(map[string]any{"schemaVersion": 1, "traceEvents": events, "hostname": "h" + obeyed[1],
		"deviceProperties": []map[string]any{{"id": 0, "name": "card" + obeyed[1] + obeyed[3]}},
		"distributedInfo":  map[string]any{"rank": 0, "world_size": 2, "backend": "nccl" + obeyed[1]}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// commandIn returns the first character of out that is a command where it is shown.
func commandIn(out []byte) string {
	for i, r := range string(out) {
		if r == '\n' || r == '\t' {
			continue
		}
		if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp) {
			return fmt.Sprintf("%q", out[max(0, i-20):min(len(out), i+20)])
		}
	}
	return ""
}

// What a trace calls its operators, kernels, threads, groups and cards, and what a file is
// called, runs nothing in a terminal or a spreadsheet: in no verb, in no form.
func TestNamesInTracesAreText(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	formulas := []string{"@SUM(1)", "+1+1", "-1+1", "\t=1+1", "\r=1+1"}
	first := hostileTrace(t, dir, "a\u009b31m.json", 20, formulas...)
	second := hostileTrace(t, dir, "b\u202e.json", 30, formulas...)
	for _, verb := range []string{"report", "steps", "kernels", "ops", "comms", "idle", "memory", "critical-path",
		"inspect", "diff"} {
		for _, form := range []string{"", "--json", "--csv"} {
			t.Run(verb+form, func(t *testing.T) {
				t.Parallel()
				args := []string{verb, first}
				if verb == "diff" {
					args = append(args, second)
				}
				if form != "" {
					args = append(args, form)
				}
				cmd := exec.CommandContext(t.Context(), binary(t), args...)
				var said bytes.Buffer
				cmd.Stderr = &said
				out, err := cmd.Output()
				if err != nil && form != "--csv" { // not every verb has a table by itself
					t.Fatalf("%v: %s", err, said.Bytes())
				}
				if what := commandIn(out); what != "" {
					t.Errorf("a terminal obeys what is on stdout: %s", what)
				}
				if what := commandIn(said.Bytes()); what != "" {
					t.Errorf("a terminal obeys what is on stderr: %s", what)
				}
				if form == "--csv" {
					noFormula(t, out)
				}
			})
		}
	}
}

func noFormula(t *testing.T, out []byte) {
	t.Helper()
	r := csv.NewReader(bytes.NewReader(out))
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, cell := range slices.Concat(rows...) {
		if _, err := strconv.ParseFloat(cell, 64); err != nil && cell != "" && strings.Contains("=+-@\t\r", cell[:1]) {
			t.Errorf("a cell is a formula: %q", cell)
		}
	}
}

// What is typed and refused is repeated as text: it may be a file's name.
func TestNamesInErrorsAreText(t *testing.T) {
	t.Parallel()
	bad := "no\u009b31m\u202e\x1b[31m"
	for _, args := range [][]string{{"report", bad}, {bad}, {"inspect", bad}, {"serve", bad + ".yaml"},
		{"convert", bad, "-o", bad + ".json"}, {"capture", "--pipeline", bad}, {"sessions", "--url", "http://" + bad},
		{"recover", "--data-dir", bad}} {
		out, err := exec.CommandContext(t.Context(), binary(t), args...).CombinedOutput()
		if err == nil {
			t.Errorf("%q was taken", args)
		}
		if what := commandIn(out); what != "" {
			t.Errorf("%q: a terminal obeys what is said: %s", args, what)
		}
	}
}

// What is converted for people is no less text: a workbook has no formula and is XML, a page runs no script
// but its own, tables and stacks obey nobody, and all that is JSON is.
func TestNamesInFilesAreText(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const script = `</script><script>alert(1)</script><img src=x onerror=alert(1)>`
	long := strings.Repeat("long\u202e", 1<<14)
	from := hostileTrace(t, dir, "a\u009b31m.json", 20, script, `"><svg onload=alert(1)>`, "@SUM(1)", "+1", "-1",
		"[x](javascript:alert(1))", long)
	for _, out := range []string{"a.xlsx", "a.html", "a.folded", "a.device.folded", "a.speedscope.json", "a.json",
		"a.json.gz"} {
		t.Run(out, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, out)
			if said, err := exec.CommandContext(t.Context(), binary(t), "convert", from, "-o",
				path).CombinedOutput(); err != nil || commandIn(said) != "" {
				t.Fatalf("%v: %q", err, said)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case strings.HasSuffix(out, ".xlsx"):
				noFormulas(t, b)
			case strings.HasSuffix(out, ".html"):
				for _, bad := range []string{"<script>alert", "<img src=x", "<svg onload"} {
					if bytes.Contains(b, []byte(bad)) {
						t.Errorf("%s is in the page", bad)
					}
				}
				if !bytes.Contains(b, []byte("default-src 'none'")) {
					t.Error("the page may ask others")
				}
			case strings.HasSuffix(out, ".folded"):
				if what := commandIn(b); what != "" {
					t.Errorf("a terminal obeys %s", what)
				}
			case strings.HasSuffix(out, ".json"):
				if !json.Valid(b) {
					t.Error("it is no JSON")
				}
			}
		})
	}
	for _, args := range [][]string{{"report", from, "--svg", filepath.Join(dir, "a.svg")},
		{"steps", from, "--svg", filepath.Join(dir, "s.svg")}, {"memory", from, "--svg", filepath.Join(dir, "m.svg")}} {
		_ = exec.CommandContext(t.Context(), binary(t), args...).Run() // a verb without pictures refuses the flag
	}
	pictures, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil || len(pictures) == 0 {
		t.Fatalf("no verb drew a picture: %v", err)
	}
	for _, path := range pictures {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		onlyXML(t, filepath.Base(path), bytes.NewReader(b), "script", "image", "foreignObject")
		if what := commandIn(b); what != "" {
			t.Errorf("%s: %s", path, what)
		}
	}
}

// noFormulas refuses a workbook with formulas, links or what is no XML.
func noFormulas(t *testing.T, book []byte) {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(book), int64(len(book)))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range z.File {
		if !strings.HasSuffix(file.Name, ".xml") {
			continue
		}
		f, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		onlyXML(t, file.Name, f, "f", "hyperlink", "externalReference", "ddeLink")
		f.Close()
	}
}

// onlyXML refuses what is no XML, or has one of the elements.
func onlyXML(t *testing.T, name string, r io.Reader, never ...string) {
	t.Helper()
	for d := xml.NewDecoder(r); ; {
		token, err := d.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if slices.Contains(never, start.Name.Local) {
			t.Errorf("%s has an element %s", name, start.Name.Local)
		}
		for _, a := range start.Attr {
			if strings.HasPrefix(a.Name.Local, "on") {
				t.Errorf("%s: %s runs something", name, a.Name.Local)
			}
		}
	}
}
