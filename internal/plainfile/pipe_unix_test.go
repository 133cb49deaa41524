//go:build unix

package plainfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A pipe to which nobody writes is refused, and not waited for; so is a directory. A link that leads out of
// the directory is none of its files.
func TestRegularTakesRegularFilesAlone(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	if err := errors.Join(os.Mkdir(in, 0o700), os.WriteFile(filepath.Join(dir, "secret"), []byte("s"), 0o600),
		os.WriteFile(filepath.Join(in, "file"), []byte("x"), 0o600), syscall.Mkfifo(filepath.Join(in, "pipe"), 0o600),
		os.Symlink("pipe", filepath.Join(in, "to-pipe")), os.Symlink("../secret", filepath.Join(in, "out")),
		os.Mkdir(filepath.Join(in, "dir"), 0o700)); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(in)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f, err := Regular(root, "file")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(f); string(b) != "x" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	f.Close()
	for name, kind := range map[string]bool{"pipe": true, "to-pipe": true, "dir": true, "out": false, "none": false} {
		if f, err := Regular(root, name); err == nil || errors.Is(err, ErrKind) != kind {
			t.Errorf("%s: %v, %v", name, f, err)
		}
		b, err := ReadPath(filepath.Join(in, name))
		if errors.Is(err, ErrKind) != kind || name == "out" && string(b) != "s" {
			t.Errorf("%s by its path: %q, %v", name, b, err)
		}
	}
}
