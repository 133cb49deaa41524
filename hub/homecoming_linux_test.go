package hub

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// The run store goes away while ranks record. The session ends at once and says where the
// recordings wait; they come home by themselves when the store is back, also by another hub.
func TestFullRunStore(t *testing.T) {
	for name, restart := range map[string]bool{"same hub": false, "next hub": true} {
		t.Run(name, func(t *testing.T) {
			addr := freePort(t)
			r := newRig(t, func(c *Config) { c.RetryInterval, c.Listen = 20*time.Millisecond, addr })
			r.join(2)
			r.start(protocol.StartRequest{Prefix: "p"})
			r.work(3)
			root := r.Store().Root()
			closeStore(t, root)
			st := r.stop()
			if st.WaitsFor == "" || !strings.Contains(st.Error, st.WaitsFor) {
				t.Errorf("meanwhile it waits for %q: %s", st.WaitsFor, st.Error)
			}
			for _, k := range st.Stages[0].Ranks {
				if k.State != protocol.StateFailed ||
					!strings.Contains(k.Reason, "waits in "+filepath.Join(r.spool, st.ID)) ||
					!strings.Contains(k.Reason, "kinetoscope recover") {
					t.Errorf("meanwhile %s is %s: %s", k.Text(), k.State, k.Reason)
				}
			}
			if restart {
				if err := r.Hub.Close(); err != nil {
					t.Fatal(err)
				}
				var err error
				if r.Hub, err = Start(t.Context(), r.cfg); err != nil {
					t.Fatal(err)
				}
			}
			openStore(t, root)
			got := r.until(st.ID, func(s *session.Status) bool { return s.State == session.StateComplete })
			if got.WaitsFor != "" || got.Error != "" || len(r.verify(got)) != 2 ||
				!strings.HasSuffix(got.RunDir, "_p_"+st.ID) {
				t.Errorf("%+v", got)
			}
			for _, k := range got.Stages[0].Ranks {
				if k.State != protocol.StateComplete || !strings.Contains(k.Reason, "afterwards") ||
					len(k.Artifacts) != 2 || k.Clock.RTTNs == 0 {
					t.Errorf("%s: %+v", k.Text(), k)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(r.spool, "*", "*")); len(left) > 0 {
				t.Errorf("left in the spool: %v", left)
			}
			waitFor(t, func() bool { // the record goes last
				left, _ := filepath.Glob(filepath.Join(r.cfg.DataDir, recordsDir, "*"))
				return len(left) == 0
			})
			r.ready(2)
			r.start(protocol.StartRequest{})
			r.work(1)
			if st := r.stop(); st.State != session.StateComplete {
				t.Errorf("the next session: %s %s", st.State, st.Error)
			}
		})
	}
}

// closeStore makes the store read-only: by its mode, or for root, whom that does not bind,
// by a mount over it.
func closeStore(t *testing.T, root string) {
	t.Helper()
	if os.Geteuid() != 0 {
		if err := os.Chmod(root, 0o500); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_RDONLY, "size=64k"); err != nil {
		t.Skipf("root without the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) }) // if the test has not
}

func openStore(t *testing.T, root string) {
	t.Helper()
	var err error
	if os.Geteuid() != 0 {
		err = os.Chmod(root, 0o700)
	} else {
		err = unix.Unmount(root, unix.MNT_DETACH)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestNoRoom(t *testing.T) {
	if !store.NoRoom(&os.PathError{Op: "write", Err: syscall.ENOSPC}) || store.NoRoom(os.ErrNotExist) ||
		store.NoRoom(nil) {
		t.Error("NoRoom")
	}
}
