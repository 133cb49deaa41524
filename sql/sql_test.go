package sql

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// programs builds kinetoscope and kinetoscope-sql side by side, as a user has them.
func programs(t *testing.T) (kinetoscope string) {
	t.Helper()
	dir := t.TempDir()
	for _, b := range []struct{ dir, pkg string }{{"..", "./cmd/kinetoscope"}, {".", "./kinetoscope-sql"}} {
		cmd := exec.Command("go", "build", "-o", dir+string(filepath.Separator), b.pkg)
		cmd.Dir = b.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", b.pkg, err, out)
		}
	}
	return filepath.Join(dir, "kinetoscope")
}

// traces makes two ranks of a generated trace.
func traces(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for rank, name := range []string{"rank0.json", "rank1.json.gz"} {
		cmd := exec.Command("go", "run", "./bench/cmd/gentrace", "-mb", "2", "-memory", "-world", "2",
			"-rank", []string{"0", "1"}[rank], filepath.Join(dir, name))
		cmd.Dir = ".."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make a trace: %v\n%s", err, out)
		}
	}
	return dir
}

type asker struct {
	t                  *testing.T
	program, in, cache string
}

func (a asker) ask(args ...string) (string, error) {
	cmd := exec.Command(a.program, append([]string{"sql", "--cache", a.cache, a.in}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), errors.New(err.Error() + ": " + errs.String())
	}
	return out.String(), nil
}

func (a asker) must(args ...string) string {
	a.t.Helper()
	out, err := a.ask(args...)
	if err != nil {
		a.t.Fatalf("%v: %v", args, err)
	}
	return out
}

// The program answers as a user asks it, through kinetoscope.
func TestAsUser(t *testing.T) {
	a := asker{t, programs(t), traces(t), t.TempDir()}

	t.Run("every question of docs/sql.md", func(t *testing.T) {
		text, err := os.ReadFile("../docs/sql.md")
		if err != nil {
			t.Fatal(err)
		}
		questions := regexp.MustCompile("(?s)```sql\n(.+?)\n```").FindAllStringSubmatch(string(text), -1)
		if len(questions) < 30 {
			t.Fatalf("%d questions", len(questions))
		}
		for _, q := range questions {
			if out, err := a.ask(q[1]); err != nil || out == "" {
				t.Errorf("%s: %v", q[1], err)
			}
		}
	})
	t.Run("every question of the agents' skill", func(t *testing.T) {
		text, err := os.ReadFile("../cmd/kinetoscope/skill/workflows/sql.md")
		if err != nil {
			t.Fatal(err)
		}
		questions := regexp.MustCompile("(?m)^    (select .+)$").FindAllStringSubmatch(string(text), -1)
		if len(questions) < 2 {
			t.Fatalf("%d questions", len(questions))
		}
		for _, q := range questions {
			if out, err := a.ask(q[1]); err != nil || out == "" {
				t.Errorf("%s: %v", q[1], err)
			}
		}
	})
	t.Run("numbers are those of the ops verb", func(t *testing.T) {
		var rows []struct {
			Name  string
			Calls int64
			Self  int64
		}
		text := a.must("--json",
			"select name, calls, self_cpu as self from ops where rank = 0 order by self desc, name limit 5")
		if err := json.Unmarshal([]byte(text), &rows); err != nil || len(rows) != 5 {
			t.Fatal(err, text)
		}
		out, err := exec.Command(a.program, "ops", a.in, "--rank", "0", "--csv", "--top", "0").Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if !strings.Contains(string(out), r.Name) {
				t.Errorf("ops does not have %s", r.Name)
			}
		}
	})
	t.Run("answers of the analyses", func(t *testing.T) {
		for question, want := range map[string]string{
			"select count(*) as n, count(distinct rank) as ranks from ranks where device_busy > 0":           "n,ranks\n2,2\n",
			"select count(*) > 0 as ok from steps where dur > 0":                                             "ok\ntrue\n",
			"select count(*) > 0 as ok from findings f join ranks r using (trace)":                           "ok\ntrue\n",
			"select count(*) > 0 as ok from kernels k join slices s on s.trace = k.trace and s.id = k.op_id": "ok\ntrue\n",
		} {
			if out := a.must("--csv", question); out != want {
				t.Errorf("%s: %q", question, out)
			}
		}
	})
	t.Run("forms", func(t *testing.T) {
		if out := a.must("--csv", "select 1 as a, '=2+3' as b, NULL as c"); out != "a,b,c\n1,'=2+3,\n" {
			t.Errorf("CSV %q", out)
		}
		if out := a.must("--json",
			"select 1 as b, 'x' as a, 'NaN'::double as c"); out != "[\n{\"b\":1,\"a\":\"x\",\"c\":\"NaN\"}\n]\n" {
			t.Errorf("JSON %q", out)
		}
		if out := a.must("select 'a' || chr(27) || '[2J' as name, 10 as n union all select 'b', 2"); strings.Contains(
			out, "\x1b") || !strings.Contains(out, "\nb       2\n") {
			t.Errorf("table %q", out)
		}
		file := filepath.Join(t.TempDir(), "o.parquet")
		a.must("--parquet", file, "select rank, count(*) as n from slices group by rank;")
		if out := a.must("--csv", "select count(*) as ranks from '"+file+"'"); out != "ranks\n2\n" {
			t.Errorf("Parquet read back: %q", out)
		}
		if _, err := a.ask("--parquet", file, "select 1 as a"); err == nil ||
			!strings.Contains(err.Error(), "not overwritten") {
			t.Errorf("a file that is there: %v", err)
		}
	})
	t.Run("a session keeps what is made", func(t *testing.T) {
		a.must("--session", "s", "create table kept as select count(*) as n from slices")
		if out := a.must("--session", "s", "--csv", "select n > 0 as ok from kept"); out != "ok\ntrue\n" {
			t.Errorf("%q", out)
		}
	})
	t.Run("the second question reads no trace", func(t *testing.T) {
		entries, err := os.ReadDir(filepath.Join(a.cache, "tables"))
		if err != nil {
			t.Fatal(err)
		}
		a.must("select count(*) from slices")
		again, err := os.ReadDir(filepath.Join(a.cache, "tables"))
		if err != nil || len(again) != len(entries) {
			t.Errorf("%d directories of tables, then %d", len(entries), len(again))
		}
	})
	t.Run("a bucket of runs", func(t *testing.T) {
		bucket := filepath.Join(t.TempDir(), "bucket")
		for _, run := range []string{"a", "b"} {
			convert := exec.Command(a.program, "convert", a.in, "-o", bucket+"/", "--run", run)
			if out, err := convert.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		// Views of a stranger are SQL that nobody asked for.
		if err := os.WriteFile(filepath.Join(bucket, "views.sql"), []byte("DROP VIEW slices;\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		b := asker{t, a.program, bucket, a.cache}
		for question, want := range map[string]string{
			"select run, rank, count(*) > 0 as ok from slices group by all order by all":                 "run,rank,ok\na,0,true\na,1,true\nb,0,true\nb,1,true\n",
			"select count(*) as n from ranks":                                                            "n\n4\n",
			"select count(*) = (select count(*) from slices) as ok from slices join ranks using (trace)": "ok\ntrue\n",
			"select count(*) > 0 as ok from by_name where rank = 1":                                      "ok\ntrue\n",
		} {
			if out := b.must("--csv", question); out != want {
				t.Errorf("%s: %q", question, out)
			}
		}
		b.must("--read-only", "select count(*) from kernels")
		if _, err := b.ask("--rank", "1", "select 1 as a"); err == nil ||
			!strings.Contains(err.Error(), "where rank = 0") {
			t.Errorf("--rank: %v", err)
		}
	})
	t.Run("questions of others", func(t *testing.T) {
		if out := a.must("--read-only", "--csv", "select count(*) > 0 as ok from kernels"); out != "ok\ntrue\n" {
			t.Errorf("%q", out)
		}
		a.must("--read-only", "describe slices")
		secret := filepath.Join(t.TempDir(), "secret.csv")
		if err := os.WriteFile(secret, []byte("a\nhidden\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, q := range []string{
			"select * from read_csv('" + secret + "')", "select * from '" + secret + "'",
			"select content from read_text('" + secret + "')",
			"copy (select 1) to '" + secret + "x'", "create table t as select 1", "attach '" + secret + "x' as x",
			"set enable_external_access = true",
			"select 1; copy (select 1 as a) to '" + secret + "x'", "install httpfs", "load json", "export database '" +
				secret + "x'",
			"copy (select 1 as a) to '" + filepath.Join(a.cache, "tables", "x.parquet") + "'; select 1 as a",
			"pragma enable_external_access",
			"explain analyze create table t as select 1", "explain (analyze) create table t as select 1",
			"explain /* x */ analyze create table t as select 1",
			"select * from glob('/etc/*')", "call pragma_version()",
		} {
			out, err := a.ask("--read-only", q)
			if err == nil || strings.Contains(out, "hidden") {
				t.Errorf("%s: %q", q, out)
			}
		}
		a.must("--read-only", "explain select 1")
		a.must("--read-only", "EXPLAIN ANALYZE select 1")
		if out, err := a.ask("--session", "s", "--read-only", "explain analyze drop table kept"); err == nil {
			t.Errorf("a table of a session is dropped: %q", out)
		}
		a.must("--session", "s", "select n from kept")
		if _, err := os.Stat(secret + "x"); err == nil {
			t.Error("something was written")
		}
	})
	t.Run("wrong", func(t *testing.T) {
		for _, c := range []struct {
			args []string
			want string
		}{
			{[]string{"select bogus from slices"}, "bogus"},
			{[]string{"--session", "../x", "select 1 as a"}, "without slashes"},
			{[]string{"--rank", "9", "select count(*) from slices"}, "no trace of rank"},
		} {
			if _, err := a.ask(c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v: %v", c.args, err)
			}
		}
	})
}

func TestOpen(t *testing.T) {
	if _, err := Open(t.Context(), t.TempDir(), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no tables: %v", err)
	}
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestValues(t *testing.T) {
	for _, c := range []struct {
		v           any
		plain, text string
	}{
		{nil, "", "NULL"}, {math.Inf(1), "+Inf", "+Inf"}, {1.5, "1.5", "1.5"}, {int64(7), "7", "7"},
		{"a\nb\u202e", "a\nb\u202e", "a b "}, {strings.Repeat("x", 200), strings.Repeat("x", 200),
			strings.Repeat("x", 79) + "…"},
	} {
		if p, s := plain(c.v), shown(c.v); p != c.plain || s != c.text {
			t.Errorf("%v: %q and %q", c.v, p, s)
		}
	}
}
