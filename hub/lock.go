package hub

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// lockFile, in DataDir, is locked by the process that uses the directory and holds its
// pid. The lock goes with the process, however that ends; the file stays.
const lockFile = "hub.lock"

// ErrDataDirTaken says that another process uses the data directory. Two hubs on one
// directory would write over each other's streams.
type ErrDataDirTaken struct {
	Dir string
	PID int // 0: not known
}

func (e *ErrDataDirTaken) Error() string {
	who := "another process"
	if e.PID != 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("data directory %s is used by %s: stop that or choose another directory", e.Dir, who)
}

// HTTPStatus is 409.
func (e *ErrDataDirTaken) HTTPStatus() int { return http.StatusConflict }

// Code is data_dir_taken.
func (e *ErrDataDirTaken) Code() protocol.Code { return protocol.CodeDataDirTaken }

// LockDataDir takes a hub's data directory for this process, making it if need be, until
// the returned function is called or the process ends. If another process holds it the
// error is an *ErrDataDirTaken.
func LockDataDir(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	l := flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	if !ok {
		text, _ := os.ReadFile(l.Path()) //nolint:errcheck // the pid is a courtesy
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return nil, errors.Join(&ErrDataDirTaken{Dir: dir, PID: pid}, l.Close())
	}
	// The pid is only for people: a full disk must not prevent the lock.
	if f, err := os.OpenFile(l.Path(), os.O_WRONLY|os.O_TRUNC, 0); err == nil {
		fmt.Fprintln(f, os.Getpid())
		f.Close()
	}
	return l.Close, nil
}
