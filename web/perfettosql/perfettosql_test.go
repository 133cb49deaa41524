package perfettosql

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/perfetto"
)

// The same questions are asked here as in docs/sql.md, thirty at least, in that order, and every name
// begins as Perfetto's UI demands.
func TestQuestionsAreThoseOfTheDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/sql.md")
	if err != nil {
		t.Fatal(err)
	}
	rest := string(doc)
	questions := Questions()
	for _, q := range questions {
		at := strings.Index(rest, "\n**"+q.Title+"**\n")
		if at < 0 {
			t.Fatalf("docs/sql.md does not ask %q, or not in this order", q.Title)
		}
		rest = rest[at+1:]
		if q.SQL == "" || strings.Count(q.SQL, ";") < 1 {
			t.Errorf("%s: %q", q.Title, q.SQL)
		}
	}
	if len(questions) < 30 {
		t.Errorf("%d questions", len(questions))
	}
	ids := map[string]bool{}
	for _, m := range TheMacros().Macros {
		if !strings.HasPrefix(m.ID, Namespace+".") || ids[m.ID] || m.Name == "" || len(m.Run) != 1 {
			t.Errorf("macro %+v", m)
		}
		ids[m.ID] = true
	}
	for _, m := range TheModules().Modules {
		if !strings.HasPrefix(m.Name, Namespace+".") || m.SQL == "" {
			t.Errorf("module %+v", m)
		}
	}
}

// expand puts the text of modules in place of what includes them, each once, and takes Perfetto's words
// for SQLite's.
func expand(t *testing.T, sql string, done map[string]bool) string {
	t.Helper()
	modules := map[string]string{}
	for _, m := range TheModules().Modules {
		modules[m.Name] = m.SQL
	}
	var out strings.Builder
	for line := range strings.Lines(sql) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "INCLUDE PERFETTO MODULE ")
		if !ok {
			out.WriteString(strings.ReplaceAll(line, "CREATE PERFETTO VIEW", "CREATE VIEW"))
			continue
		}
		name = strings.TrimSuffix(name, ";")
		text, ok := modules[name]
		if !ok {
			t.Fatalf("there is no module %s", name)
		}
		if !done[name] {
			done[name] = true
			out.WriteString(expand(t, text, done))
		}
	}
	return out.String()
}

// ask is a Python program that loads tables with the columns of Perfetto's into SQLite, which is what
// trace processor is made of, and asks every question.
const ask = `
import json, sqlite3, sys
given = json.load(sys.stdin)
answers = {}
for title, sql in given["questions"]:
    db = sqlite3.connect(":memory:")
    for name, columns in given["columns"].items():
        db.execute(f"create table {name} ({', '.join(columns)})")
        marks = ", ".join("?" for _ in columns)
        db.executemany(f"insert into {name} values ({marks})", given["rows"].get(name) or [])
    *before, query = [s for s in sql.split(";") if s.strip()]
    for s in before:
        db.execute(s)
    answers[title] = db.execute(query).fetchall()
json.dump(answers, sys.stdout)
`

// tables are those of Perfetto's tables that the questions ask, of what its file says of the traces.
func tables(t *testing.T, file string) (columns map[string][]string, rows map[string][][]any) {
	t.Helper()
	columns = map[string][]string{
		"slice": {"id", "ts", "dur", "track_id", "category", "name", "depth", "parent_id", "arg_set_id"},
		"track": {"id", "name", "parent_id"}, "thread_track": {"id", "name", "utid"},
		"thread": {"utid", "tid", "name", "upid"}, "process": {"upid", "pid", "name"},
		"args":    {"arg_set_id", "flat_key", "int_value", "string_value", "real_value"},
		"counter": {"ts", "track_id", "value"}, "counter_track": {"id", "name"},
	}
	rows = map[string][][]any{}
	add := func(table string, values ...any) { rows[table] = append(rows[table], values) }
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	tr, err := perfetto.Read(in)
	if err != nil {
		t.Fatal(err)
	}
	processes := map[string]int{} // by name: a device's lane has the number of the device, not of its process
	for i := range tr.Tracks {
		k := &tr.Tracks[i]
		if _, known := processes[k.Process]; !known {
			processes[k.Process] = len(processes)
			add("process", processes[k.Process], k.PID, k.Process)
		}
		add("track", i, k.Name, nil)
		add("thread_track", i, k.Name, i)
		add("thread", i, k.TID, k.Name, processes[k.Process])
	}
	index := tr.Index()
	for i := range tr.Slices.Len() {
		var parent any
		if p := index.Parent[i]; p != trace.NoParent {
			parent = p
		}
		add("slice", i, tr.Slices.Start[i], tr.Slices.Dur[i], tr.Slices.Track[i], tr.CategoryText(tr.Slices.Cat[i]),
			tr.String(tr.Slices.Name[i]), index.Depth[i], parent, i)
		var args map[string]any
		if raw := tr.Args(tr.Slices.Args[i]); len(raw) > 0 {
			if err := json.Unmarshal(raw, &args); err != nil {
				t.Fatalf("%s: %v", raw, err)
			}
		}
		for k, v := range args {
			switch v := v.(type) {
			case string:
				add("args", i, "debug."+k, nil, v, nil)
			case float64:
				add("args", i, "debug."+k, int64(v), nil, nil)
			}
		}
	}
	for i := range tr.Counters.Time {
		add("counter_track", i, tr.String(tr.Counters.Name[i]))
		add("counter", tr.Counters.Time[i], i, tr.Counters.Value[i])
	}
	return columns, rows
}

// write writes two ranks as Perfetto's UI gets them.
func write(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "both.pftrace")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := perfetto.NewWriter(f, 0)
	for i, tr := range pipetest.Torch() {
		for _, lane := range p.AddRank(tr, perfetto.RankOptions{Name: fmt.Sprint("rank ", i)}) {
			for e := range lane {
				p.Emit(e)
			}
		}
	}
	if _, err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every question is SQL over Perfetto's columns, and those that this trace can answer are answered.
func TestQuestionsInSQLite(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3, whose library has SQLite")
	}
	given := map[string]any{}
	given["columns"], given["rows"] = tables(t, write(t))
	var list [][2]string
	for _, q := range Questions() {
		list = append(list, [2]string{q.Title, expand(t, comments(q.SQL), map[string]bool{})})
	}
	for i := range list {
		list[i][1] = comments(list[i][1])
	}
	given["questions"] = list
	in, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", ask)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %.2000s", err, errs.String())
	}
	answers := map[string][][]any{}
	if err := json.Unmarshal(out.Bytes(), &answers); err != nil {
		t.Fatal(err)
	}
	for _, title := range []string{"Where did the time go, by name?", "Device time by kernel",
		"How busy was each stream?",
		"How long is it from launch to start?", "Which operator launched the most device time?", "Compare ranks",
		"Collectives", "The longest gaps of a stream", "Calls of the runtime"} {
		if len(answers[title]) == 0 || answers[title][0][0] == nil {
			t.Errorf("%s: %v", title, answers[title])
		}
	}
	if got := answers["Device work whose launch is not in the trace"]; len(got) != 1 || got[0][0] != 0.0 {
		t.Errorf("kernels without a launch: %v", got)
	}
	if got := answers["Compare ranks"]; len(got) != 2 {
		t.Errorf("ranks: %v", got)
	}
}

// comments leaves comments out: what they say may hold a semicolon.
func comments(sql string) string {
	var out strings.Builder
	for line := range strings.Lines(sql) {
		if !strings.HasPrefix(strings.TrimSpace(line), "--") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// Perfetto's own engine answers too, where KINETOSCOPE_TRACE_PROCESSOR names one.
func TestQuestionsInTraceProcessor(t *testing.T) {
	shell := os.Getenv("KINETOSCOPE_TRACE_PROCESSOR")
	if shell == "" {
		t.Skip("KINETOSCOPE_TRACE_PROCESSOR names no trace_processor_shell")
	}
	file := write(t)
	for _, q := range Questions() {
		query := filepath.Join(t.TempDir(), "query.sql")
		sql := strings.ReplaceAll(expand(t, q.SQL, map[string]bool{}), "CREATE VIEW", "CREATE PERFETTO VIEW")
		if err := os.WriteFile(query, []byte(sql), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), shell, "-q", query, file)
		var errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = io.Discard, &errs
		if err := cmd.Run(); err != nil {
			t.Errorf("%s: %v: %.500s", q.Title, err, errs.String())
		}
	}
}
