package kinetod

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
)

// What agents that are dead have left goes before the next session, but for whole traces
// that a hub may still ask for, what belongs to other processes, and what is no agent's.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	const dead = 1 << 30 // no pid is so large
	id := func() string { return ulid.Make().String() }
	lay := func(name, file, text string) string {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if file != "" {
			if err := os.WriteFile(filepath.Join(path, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	gone := []string{
		lay(dirName(id(), pid), "trace_4242.json.tmp", ""),
		lay(dirName(id(), pid), "", ""),
		lay(dirName(id(), dead), "trace_1073741824.json.tmp", "half"),
		lay(dirName(id(), pid), "trace_4242.json", "{}"),
	}
	old := time.Now().Add(-leftoverAge - time.Hour)
	if err := os.Chtimes(gone[3], old, old); err != nil {
		t.Fatal(err)
	}
	stay := []string{
		lay(dirName(id(), pid), "trace_4242.json", "{}"),
		lay(dirName(id(), os.Getpid()), "x", ""),
		lay("kinetoscope-notes-4242", "", ""),
		lay(dirName(id(), pid)+"x", "", ""),
	}
	k := newDriver(listen(t, socketDir(t)), Target{PID: pid, User: me(), TraceDir: dir}, slog.New(slog.DiscardHandler),
		quick)
	k.sweep()
	for _, p := range gone {
		if _, err := os.Stat(p); err == nil {
			t.Errorf("%s is left", p)
		}
	}
	for _, p := range stay {
		if _, err := os.Stat(p); err != nil {
			t.Error(err)
		}
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}
