package kinetod

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// passCredentials makes the kernel add the sender's credentials to each datagram.
func passCredentials(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	return errors.Join(err, set)
}

// credentials believes the kernel alone. Files that came along are closed.
func credentials(oob []byte, pid int) (uid int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, fmt.Errorf("who sent it is not known: %w", err)
	}
	by := (*unix.Ucred)(nil)
	for i := range messages {
		if c, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			by = c
			continue
		}
		if files, err := unix.ParseUnixRights(&messages[i]); err == nil {
			for _, fd := range files {
				_ = unix.Close(fd)
			}
		}
	}
	switch {
	case by == nil:
		return 0, errors.New("the kernel does not say who sent it")
	case int(by.Pid) != pid:
		return 0,
			fmt.Errorf("process %d says that it is %d: it is not, or it runs in another PID namespace; give it an agent there", by.Pid, pid)
	}
	return int(by.Uid), nil
}

// do runs f with the rights that u has to files. An agent that is another user has to be root.
func (u User) do(f func() error) error {
	if u.UID == os.Geteuid() {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		// The thread is not unlocked: it ends with this goroutine, and its rights end with it.
		runtime.LockOSThread()
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("as user %d: %v", u.UID, p)
			}
		}()
		if err := u.become(); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// become gives this thread u's rights to files. The kernel takes root's away with the user id.
func (u User) become() error {
	groups := make([]uint32, 0, len(u.Groups)+1)
	for _, g := range append(slices.Clone(u.Groups), u.GID) {
		groups = append(groups, uint32(g))
	}
	// package syscall sets the groups of all threads; this is the one thread's call.
	if _, _, no := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])),
		0); no != 0 {
		return u.refused(no)
	}
	// These calls return no error, but a call with an impossible id returns the current one.
	const nobody = -1
	_, gidErr := unix.SetfsgidRetGid(u.GID)
	gid, gidErr2 := unix.SetfsgidRetGid(nobody)
	_, uidErr := unix.SetfsuidRetUid(u.UID)
	uid, uidErr2 := unix.SetfsuidRetUid(nobody)
	if err := errors.Join(gidErr, gidErr2, uidErr, uidErr2); err != nil || gid != u.GID || uid != u.UID {
		return u.refused(err)
	}
	return nil
}

func (u User) refused(err error) error {
	return fmt.Errorf("the process belongs to user %d: run the agent as that user or as root: %w", u.UID,
		errors.Join(os.ErrPermission, err))
}
