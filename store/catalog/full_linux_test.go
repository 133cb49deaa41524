package catalog

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A disk that becomes full while a file of unknown length comes refuses it as one that was full before, and
// nothing of the file stays.
func TestDiskFillsDuringAnUpload(t *testing.T) {
	s := newShelf(t, nil, Limits{})
	if err := unix.Mount("tmpfs", s.st.Root(), "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("without the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(s.st.Root(), unix.MNT_DETACH) })
	_, err := s.Upload(t.Context(), "a.json", -1, strings.NewReader(foreign+strings.Repeat(" ", 1<<20)))
	no, ok := errors.AsType[*UploadRefused](err)
	if !ok || no.Status != http.StatusInsufficientStorage || strings.Contains(no.Why, s.st.Root()) || no.Do == "" {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(s.st.Root()); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}
