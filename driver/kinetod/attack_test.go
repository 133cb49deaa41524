//go:build linux

package kinetod

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/driver/kinetod/kinetodtest"
	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// mallory is a user without rights, whose processes a root agent records.
var mallory = User{UID: 31337, GID: 31337}

// asMallory does what one of her processes can do.
func asMallory(t *testing.T, f func() error) {
	t.Helper()
	if err := mallory.do(f); err != nil {
		t.Error(err)
	}
}

// newMallory is a rank of a process of hers, and a directory of her own that it names for
// its traces. When the trace is there, attack runs in place of its rename.
func newMallory(t *testing.T, attack func(tmp, file, under string) error) (r *testRank, under string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for two users")
	}
	top, err := os.MkdirTemp("", "kinetod") // t.TempDir lets no other user in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	under = filepath.Join(top, "mallory")
	for _, err := range []error{os.Chmod(top, 0o711), os.Mkdir(under, 0o700),
		os.Chown(under, mallory.UID, mallory.GID)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	sockets := socketDir(t)
	d := listen(t, sockets)
	kinetodtest.Start(t, sockets, kinetodtest.Behaviour{PID: pid, Write: func(tmp, file string) error {
		if err := os.Chown(tmp, mallory.UID, mallory.GID); err != nil { // the stand-in is root
			return err
		}
		asMallory(t, func() error { return attack(tmp, file, under) })
		return nil
	}})
	known(t, d, pid)
	r = newRank(t, d, Target{PID: pid, User: mallory, TraceDir: under})
	return r, under
}

// record runs a session and returns what is handed over.
func record(t *testing.T, r *testRank, gz bool) (protocol.ArmRequest, string, error) {
	t.Helper()
	q := armRequest()
	q.Config.UseGzip = gz
	if st, err := start(t, r, q); err != nil || st.State == protocol.StateFailed {
		t.Fatalf("%+v, %v", st, err)
	}
	_, out, err := collect(t, r, q.Session)
	if err != nil {
		return q, "", err
	}
	return q, out[0].Path, nil
}

func TestRecordsAnotherUsersProcess(t *testing.T) {
	r, under := newMallory(t, func(tmp, file, _ string) error { return os.Rename(tmp, file) })
	q, path, err := record(t, r, false)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 || strings.HasPrefix(path, under) {
		t.Errorf("%s: %v, %v; want a file of the agent's alone", path, st.Mode(), err)
	}
	if uid, _, _ := plainfile.Owner(st); uid != 0 {
		t.Errorf("it belongs to %d", uid)
	}
	if _, err := r.Abort(t.Context(), protocol.AbortRequest{Session: q.Session}); err != nil {
		t.Error(err)
	}
	if left := files(t, under); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the packed trace stays: %v", err)
	}
}

// The directory of traces is moved away while its trace is written, and links to a file of
// root's lie at every name below it where the agent may write, read or remove.
func TestRootOverwritesNoFileThatAProcessChooses(t *testing.T) {
	for _, gz := range []bool{true, false} {
		precious := filepath.Join(t.TempDir(), "shadow")
		if err := os.WriteFile(precious, []byte("root's"), 0o600); err != nil {
			t.Fatal(err)
		}
		r, _ := newMallory(t, func(tmp, file, under string) error {
			names, err := os.ReadDir(under)
			if err != nil || len(names) != 1 {
				return errors.Join(err, errors.New("one directory is expected"))
			}
			moved := filepath.Join(under, "moved")
			base := filepath.Base(filepath.Dir(file))
			err = errors.Join(os.Rename(filepath.Join(under, names[0].Name()), moved),
				os.MkdirAll(filepath.Dir(file), 0o777))
			for _, dir := range []string{under, filepath.Dir(file), filepath.Dir(filepath.Dir(file))} {
				for _, ending := range []string{".json", ".json.gz"} {
					if e := os.Symlink(precious, filepath.Join(dir, base+ending)); !errors.Is(e, fs.ErrExist) {
						err = errors.Join(err, e)
					}
				}
			}
			// Now the trace, so that the agent goes on: where it is held, and at its path.
			rel, _ := filepath.Rel(filepath.Join(under, names[0].Name()), tmp)
			held := filepath.Join(moved, rel)
			return errors.Join(err, os.WriteFile(file, kinetodtest.Trace(time.Now()), 0o600),
				os.Rename(held, strings.TrimSuffix(held, ".tmp")))
		})
		q, path, err := record(t, r, gz)
		if err == nil {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(f)
			f.Close()
			if strings.Contains(string(b), "root's") {
				t.Error("root's file is handed over")
			}
		}
		if _, err := r.Abort(t.Context(), protocol.AbortRequest{Session: q.Session}); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(precious); err != nil || string(b) != "root's" {
			t.Errorf("root's file is now %d bytes, %v (gzip %v)", len(b), err, gz)
		}
	}
}

// What is removed is what was made, not what stands at its name.
func TestRootRemovesNoDirectoryThatAProcessChooses(t *testing.T) {
	victim := t.TempDir()
	kept := filepath.Join(victim, "trace.json")
	if err := os.WriteFile(kept, []byte("root's"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, _ := newMallory(t, func(_, _, under string) error {
		names, err := os.ReadDir(under)
		if err != nil || len(names) != 1 {
			return errors.Join(err, errors.New("one directory is expected"))
		}
		at := filepath.Join(under, names[0].Name())
		return errors.Join(os.Rename(at, filepath.Join(under, "moved")), os.Symlink(victim, at))
	})
	q := armRequest()
	if _, err := start(t, r, q); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Abort(t.Context(), protocol.AbortRequest{Session: q.Session}); err != nil {
		t.Error(err)
	}
	r.wg.Wait()
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("root's file: %v", err)
	}
}

// A process that names a directory of root's for its traces gets nothing made there.
func TestRootMakesNoDirectoryWhereAProcessCouldNot(t *testing.T) {
	r, _ := newMallory(t, func(tmp, file, _ string) error { return os.Rename(tmp, file) })
	victim := t.TempDir()
	for _, dir := range []string{victim, filepath.Dir(victim)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.to.TraceDir = victim
	if _, err := r.Arm(t.Context(), armRequest()); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v, want a refusal", err)
	}
	if left, err := os.ReadDir(victim); err != nil || len(left) != 0 {
		t.Errorf("made: %v, %v", left, err)
	}
}

// A pipe in place of the trace keeps nobody waiting, and a file of another user is no trace.
func TestOnlyPlainFilesOfTheUserAreTaken(t *testing.T) {
	for name, attack := range map[string]func(tmp, file, under string) error{
		"pipe":      func(_, file, _ string) error { return syscall.Mkfifo(file, 0o666) },
		"directory": func(_, file, _ string) error { return os.Mkdir(file, 0o777) },
		"link out":  func(_, file, _ string) error { return os.Symlink("/etc/hostname", file) },
		"hard link": func(tmp, file, _ string) error { return errors.Join(os.Link(tmp, file), os.Link(tmp, file+"2")) },
		"too large": func(tmp, file, _ string) error {
			return errors.Join(os.Truncate(tmp, maxTraceBytes+1), os.Rename(tmp, file))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newMallory(t, attack)
			if _, path, err := record(t, r, true); err == nil {
				t.Errorf("taken: %s", path)
			}
		})
	}
}

// The thread that was another user is not used again.
func TestRightsOfAnotherUserEndWithTheWork(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for two users")
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if err := mallory.do(func() error { _, err := os.ReadFile(secret); return err }); !errors.Is(err,
			fs.ErrPermission) {
			t.Fatalf("as another user: %v", err)
		}
		if _, err := os.ReadFile(secret); err != nil {
			t.Fatalf("as root: %v", err)
		}
	}
	if err := mallory.do(func() error { panic("oh") }); err == nil || !strings.Contains(err.Error(), "oh") {
		t.Error(err)
	}
}

// A process that says it is another one, to be told what that one is to record, is not
// believed: the kernel knows who sent a message.
func TestAMessageOfAnotherProcessIsNotTaken(t *testing.T) {
	dir := socketDir(t)
	d, err := Listen(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	liar := kinetodtest.Start(t, dir, kinetodtest.Behaviour{PID: os.Getppid()})
	eventually(t, "answered", func() bool { return liar.Replies() > 1 && d.Dropped() > 1 })
	if got := d.Processes(); len(got) != 0 {
		t.Errorf("registered: %+v", got)
	}
	liar.Stop()
	honest := kinetodtest.Start(t, dir, kinetodtest.Behaviour{})
	known(t, d, os.Getpid())
	if p, _ := d.Process(os.Getpid()); p.UID != os.Getuid() {
		t.Errorf("user %d, want %d", p.UID, os.Getuid())
	}
	eventually(t, "answered", func() bool { return honest.Replies() > 0 })
}
