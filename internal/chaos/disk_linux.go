package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideEnv tells a process that it has a mount namespace of its own.
const insideEnv = "KINETOSCOPE_CHAOS_INSIDE"

// Inside runs this program again in a mount namespace of its own, where it can make small disks
// that are invisible outside and vanish with it, and returns the exit code. ok is false if that is
// not permitted, or if the process is inside already; the caller continues then.
func Inside() (code int, ok bool) {
	if os.Getenv(insideEnv) != "" || os.Geteuid() != 0 {
		return 0, false
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// it ends what it started
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return 0, false
	}
	_ = cmd.Wait() // its exit code says it
	return cmd.ProcessState.ExitCode(), true
}

// smallDisks mounts small disks on the product's directories. It is an error if there is no
// namespace for them.
func smallDisks(dirs ...string) error {
	if os.Getenv(insideEnv) == "" {
		return errors.New("small disks need root and a mount namespace")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to this namespace: %w", err)
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m,mode=700"); err != nil {
			return fmt.Errorf("small disk at %s: %w", filepath.Base(dir), err)
		}
	}
	return nil
}

func freeDisks(dirs ...string) {
	for _, dir := range dirs {
		_ = unix.Unmount(dir, unix.MNT_DETACH) // it goes with the namespace at the latest
	}
}

// readOnlyRuns makes the run store read-only. The kernel refuses that while a file is open
// for writing, as one often is when artifacts are made, so it is tried until none is.
func readOnlyRuns(ctx context.Context, t target) (func() error, error) {
	remount := func(flags uintptr) error {
		return unix.Mount("", t.p.runs, "", unix.MS_REMOUNT|flags, "size=64m,mode=700")
	}
	var failed error
	err := until(ctx, requestTimeout, "a moment when no file of the run store is being written", func() bool {
		failed = remount(unix.MS_RDONLY)
		return !errors.Is(failed, unix.EBUSY)
	})
	return func() error { return remount(0) }, errors.Join(err, failed)
}
