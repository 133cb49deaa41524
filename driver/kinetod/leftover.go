package kinetod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/hub/rank"
)

const (
	// dirPrefix begins the names of the directories that agents make for traces.
	dirPrefix = "kinetoscope-"
	// leftoverAge is how long an uncollected trace is kept: as long as a hub remembers its session.
	leftoverAge = 7 * 24 * time.Hour
	// maxSwept bounds the names that one sweep reads: others' files lie there too.
	maxSwept = 100_000
)

// dirName names the directory of a session's trace of a process.
func dirName(session string, pid int) string { return fmt.Sprintf("%s%s-%d", dirPrefix, session, pid) }

// parseDirName is the opposite of dirName.
func parseDirName(name string) (session string, pid int, ok bool) {
	rest, ok := strings.CutPrefix(name, dirPrefix)
	if !ok {
		return "", 0, false
	}
	session, number, ok := strings.Cut(rest, "-")
	if !ok {
		return "", 0, false
	}
	pid, err := strconv.Atoi(number)
	if _, bad := ulid.ParseStrict(session); err != nil || bad != nil || pid <= 0 || strconv.Itoa(pid) != number {
		return "", 0, false
	}
	return session, pid, true
}

// openTraceDir opens a directory that makeTraceDir made, in an earlier agent perhaps. The
// caller calls close or remove.
func openTraceDir(as User, under, base string) (*traceDir, error) {
	d := &traceDir{as: as, base: base}
	err := as.do(func() (err error) {
		if d.parent, err = os.OpenRoot(under); err != nil {
			return err
		}
		if d.root, err = d.parent.OpenRoot(base); err != nil {
			return err
		}
		return d.mine()
	})
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// size is the size of a plain file, -1 without one.
func (d *traceDir) size(name string) int64 {
	n := int64(-1)
	_ = d.as.do(func() error {
		st, err := d.root.Lstat(name)
		if err == nil && st.Mode().IsRegular() {
			n = st.Size()
		}
		return err
	})
	return n
}

// age is how long ago the directory was last changed.
func (d *traceDir) age() (age time.Duration) {
	_ = d.as.do(func() error {
		st, err := d.root.Stat(".")
		if err == nil {
			age = time.Since(st.ModTime())
		}
		return err
	})
	return age
}

// Leftover returns the trace that the process wrote for an agent that is dead.
func (k *Driver) Leftover(session string) []rank.File {
	d, err := openTraceDir(k.to.User, k.to.TraceDir, dirName(session, k.to.PID))
	if err != nil {
		return nil
	}
	defer d.close()
	file := traceFile(traceName, k.to.PID)
	if d.size(file) <= 0 {
		return nil
	}
	f, _, err := k.packed.pack(context.Background(), d, file, d.base, true)
	if err != nil {
		k.log.Warn("a trace that was left cannot be taken", "session", session, "pid", k.to.PID, "err", err)
		return nil
	}
	return []rank.File{f}
}

// DiscardLeftover removes what was left for a session.
func (k *Driver) DiscardLeftover(session string) error {
	base := dirName(session, k.to.PID)
	d, err := openTraceDir(k.to.User, k.to.TraceDir, base)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(d.remove(), k.packed.remove(base))
}

// lives reports whether there is a process of that pid.
func lives(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}

// sweep removes the directories of agents that have died: those without a complete trace whose
// process has died or is idle, and those that have not been collected for leftoverAge.
func (k *Driver) sweep() {
	k.mu.Lock()
	mine := map[string]bool{}
	for c := range k.captures {
		mine[c.base] = true
	}
	k.mu.Unlock()
	var names []string
	_ = k.to.User.do(func() error {
		root, err := os.OpenRoot(k.to.TraceDir) // a directory, or nothing: it waits for no pipe
		if err != nil {
			return err
		}
		defer root.Close()
		f, err := root.Open(".")
		if err != nil {
			return err
		}
		names, err = f.Readdirnames(maxSwept)
		return errors.Join(err, f.Close())
	})
	for _, name := range names {
		_, pid, ok := parseDirName(name)
		if !ok || mine[name] || pid != k.to.PID && lives(pid) {
			continue
		}
		d, err := openTraceDir(k.to.User, k.to.TraceDir, name)
		if err != nil {
			continue // another user's
		}
		if d.size(traceFile(traceName, pid)) > 0 && d.age() < leftoverAge {
			_ = d.close()
			continue
		}
		if err := d.remove(); err != nil {
			k.log.Warn("left-over files stay", "dir", name, "err", err)
			continue
		}
		k.log.Info("files of an agent that is dead are removed", "dir", name)
	}
}
