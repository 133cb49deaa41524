package tempspool

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// holdEnv, set, has the test's program make a spool, put what it holds in it, say where it is, and wait
// to be killed. prefixEnv is the spool's prefix, Native without it.
const (
	holdEnv   = "KINETOSCOPE_TEST_HOLD_SPOOL"
	prefixEnv = "KINETOSCOPE_TEST_SPOOL_PREFIX"
)

func TestMain(m *testing.M) {
	what, is := os.LookupEnv(holdEnv)
	if !is {
		os.Exit(m.Run())
	}
	s, err := Make(cmp.Or(os.Getenv(prefixEnv), Native))
	if err != nil {
		panic(err)
	}
	if err := os.MkdirAll(filepath.Join(s.Path, "session", "parts"), 0o700); err != nil {
		panic(err)
	}
	if what != "" {
		if err := os.WriteFile(filepath.Join(s.Path, "session", what), []byte("x"), 0o600); err != nil {
			panic(err)
		}
	}
	if _, err := os.Stdout.WriteString(s.Path); err != nil {
		panic(err)
	}
	_, _ = os.Stdin.Read(make([]byte, 1)) // nothing comes: until it is killed
	runtime.KeepAlive(s)                  // one that nobody holds is given up
}

// spawn runs a process that holds a spool.
func spawn(t *testing.T, tmp, prefix, holds string) (dir string, kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+holds, prefixEnv+"="+prefix, "TMPDIR="+tmp)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill() // the second time it is gone
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	b := make([]byte, 4096)
	n, err := out.Read(b) // written at once
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n]), kill
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// A killed process's spool goes with the next one that is made, unless it holds a recording; a living
// one's stays whatever is in it.
func TestSpoolsOfKilledProcesses(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	empty, killEmpty := spawn(t, tmp, Native, "")
	full, killFull := spawn(t, tmp, Native, "recording")
	living, _ := spawn(t, tmp, Native, "")
	killEmpty()
	killFull()
	foreign := filepath.Join(tmp, Native+"link")
	if err := os.Symlink(living, foreign); err != nil {
		t.Fatal(err)
	}
	older := filepath.Join(tmp, Attached+"without-a-lock")
	if err := os.Mkdir(older, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Make(Attached)
	if err != nil {
		t.Fatal(err)
	}
	if there(empty) {
		t.Error("an empty spool of a killed process is left")
	}
	for _, dir := range []string{full, living, foreign, older, s.Path} {
		if !there(dir) {
			t.Errorf("%s is gone", dir)
		}
	}
	found, err := Abandoned(tmp)
	if err != nil || len(found) != 1 || found[0].Path != full {
		t.Fatalf("%d found beside %s, living %s, %v", len(found), full, living, err)
	}
	if again, err := Abandoned(tmp); err != nil || len(again) != 0 {
		t.Errorf("held twice: %+v, %v", again, err)
	}
	if left, err := found[0].Leave(); err != nil || len(left) != 1 || !there(full) {
		t.Errorf("%q, %v", left, err)
	}
	if left, err := s.Leave(); err != nil || len(left) != 0 || there(s.Path) {
		t.Errorf("%q, %v", left, err)
	}
}

// Copies of a killed process go with the next spool that is made, those of a living one stay, and none is
// taken for a recording.
func TestCopiesOfKilledProcesses(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	dead, kill := spawn(t, tmp, Copies, "trace.json")
	living, _ := spawn(t, tmp, Copies, "trace.json")
	kill()
	if found, err := Abandoned(tmp); err != nil || len(found) != 0 {
		t.Errorf("%d taken for spools of recordings, %v", len(found), err)
	}
	s, err := Make(Copies)
	if err != nil {
		t.Fatal(err)
	}
	if there(dead) {
		t.Error("copies of a killed process are left")
	}
	if !there(filepath.Join(living, "session", "trace.json")) || !there(s.Path) {
		t.Error("copies of a living process are gone")
	}
	if err := s.Remove(); err != nil || there(s.Path) {
		t.Error(err)
	}
}
