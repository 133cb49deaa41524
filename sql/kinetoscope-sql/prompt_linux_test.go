package main

import (
	"bytes"
	stdsql "database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// terminal is a program on a terminal of its own, whose foreground process it is.
type terminal struct {
	t    *testing.T
	ptmx *os.File
	mu   sync.Mutex
	seen bytes.Buffer
	at   int // what has been waited for
}

func onTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals:", err)
	}
	var n uint32
	var unlocked int32
	size := [4]uint16{40, 120} // rows and columns: without any nothing is completed
	for _, c := range []struct{ request, arg uintptr }{
		{syscall.TIOCSPTLCK, uintptr(unsafe.Pointer(&unlocked))}, {syscall.TIOCGPTN, uintptr(unsafe.Pointer(&n))},
		{syscall.TIOCSWINSZ, uintptr(unsafe.Pointer(&size))},
	} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, ptmx.Fd(), c.request, c.arg); errno != 0 {
			t.Fatal(errno)
		}
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, ptmx: ptmx}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := ptmx.Read(b)
			term.mu.Lock()
			term.seen.Write(b[:n])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = tty.Close()
		_ = ptmx.Close()
	})
	return term
}

func (m *terminal) send(text string) {
	if _, err := m.ptmx.WriteString(text); err != nil {
		m.t.Fatal(err)
	}
}

// wait waits for text behind what was waited for before, and types again meanwhile.
func (m *terminal) wait(text, again string) {
	m.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		m.mu.Lock()
		seen := m.seen.String()
		m.mu.Unlock()
		if i := strings.Index(seen[m.at:], text); i >= 0 {
			m.at += i + len(text)
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("no %q in %q", text, seen[m.at:])
		}
		m.send(again)
		time.Sleep(20 * time.Millisecond)
	}
}

// TestMain lets a test run the program: this test's binary is it where the environment asks for it.
func TestMain(m *testing.M) {
	if os.Getenv("KINETOSCOPE_TEST_SQL") != "" {
		main()
	}
	os.Exit(m.Run())
}

// The prompt goes on after an interrupt, remembers a question of several lines as one, and completes SQL's own words.
func TestPrompt(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	db, err := stdsql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("COPY (SELECT 1 AS a) TO '" + filepath.Join(dir, "t.parquet") + "'"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), "KINETOSCOPE_TEST_SQL=1", "XDG_CACHE_HOME="+home)
	m := onTerminal(t, cmd)
	m.wait("^C stops one", "")
	m.wait("sql> ", "")
	m.send("select count(*) from range(100000000) a, range(100000000) b;\r")
	m.wait("error: stopped", "\x03") // again until the question is being answered
	m.send("sel\t")
	m.wait("select", "")
	m.send(" 40 +\r2 as answer;\r")
	m.wait("\r\n    42", "")
	m.send("\x1b[A\r")
	m.wait("\r\n    42", "")
	m.send("quit\r")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	history, err := os.ReadFile(filepath.Join(home, "kinetoscope", "sql_history"))
	if err != nil || !strings.Contains(string(history), "\nselect 40 + 2 as answer;\n") {
		t.Errorf("history %q, %v", history, err)
	}
}

// What is wrong in a question is wrong input; several questions have their answers, but for those that make something.
func TestAnswers(t *testing.T) {
	dir := t.TempDir()
	db, err := stdsql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("COPY (SELECT 1 AS a) TO '" + filepath.Join(dir, "t.parquet") + "'"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		out  string
	}{
		{[]string{"select 1 as a; select 'x<y>' as b"}, 0, "a\n1\n\nb\nx<y>\n"},
		{[]string{"--json", "select 1 as a; select 'x<y>' as b"}, 0, "[\n{\"a\":1}\n]\n[\n{\"b\":\"x<y>\"}\n]\n"},
		{[]string{"create table made as select 5 as n; select n from made"}, 0, "n\n5\n"},
		{[]string{"selec"}, exitUsage, ""},
		{[]string{"select nothing from t"}, exitUsage, ""},
		{[]string{"--read-only", "create table x as select 1"}, exitUsage, ""},
		{[]string{"--parquet", filepath.Join(dir, "o.parquet"), "select 1 as a; select 2 as b"}, exitUsage, ""},
		{[]string{" ; "}, exitUsage, ""},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{dir}, c.args...), strings.NewReader(""), &out, &errs)
		if code != c.code || out.String() != c.out {
			t.Errorf("%q: code %d, %q, %s", c.args, code, out.String(), errs.String())
		}
	}
}
