package procs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of what is read of one process, which is whatever its owner made it.
const (
	maxCmdline = 64 << 10 // a title, or a script behind its options, is far shorter
	maxEnviron = 1 << 20  // hosts allow more, jobs have kilobytes
	maxFDs     = 1 << 16  // a rank opens its accelerators early; the rest are sockets
	// maxAncestors is deeper than any chain of launchers, and ends a walk in a circle.
	maxAncestors = 64
	maxStatus    = 64 << 10 // of a process's stat and status: some kilobytes
	// maxHostStat has room for the interrupt counters of the largest hosts, which stand
	// before the line that is wanted.
	maxHostStat = 8 << 20
)

// tick is the unit of times in stat. USER_HZ is 100 on every Linux that runs torch.
const tick = 10 * time.Millisecond

var envNames = []string{EnvRank, EnvLocalRank, EnvWorldSize, EnvStage, EnvStageName, EnvTraceDir, EnvDaemon}

// Read returns what the proc file system at root, usually "/proc", says of a process.
// What its owner keeps from the reader is absent, and Restricted is true. The error is
// fs.ErrNotExist if the process is gone, a zombie included; it is another one if root is
// no proc file system, as on hosts that are not Linux.
func Read(root string, pid int) (Process, error) {
	if pid <= 0 {
		return Process{}, fmt.Errorf("process %d: a process id is positive", pid)
	}
	boot, err := bootTime(root)
	if err != nil {
		return Process{}, err
	}
	dir := procDir(root, pid)
	st, err := readStat(dir)
	if err != nil {
		return Process{}, gone(dir, err)
	}
	p := Process{PID: pid, StartTicks: st.ticks, StartedAt: boot.Add(time.Duration(st.ticks) * tick),
		Ancestors: ancestors(root, st.parent)}
	status, err := readBounded(filepath.Join(dir, "status"), maxStatus)
	if err == nil {
		err = parseIDs(status, &p)
	}
	if err != nil {
		return Process{}, gone(dir, err)
	}
	p.above = titleAbove(root, p.Ancestors)
	for _, part := range []func(string, *Process) error{readArgs, readEnv, readDevices} {
		switch err := part(dir, &p); {
		case errors.Is(err, fs.ErrPermission):
			p.Restricted = true
		case err != nil:
			return Process{}, gone(dir, err)
		}
	}
	// The parts belong together only if the process was the same all the time.
	switch again, err := readStat(dir); {
	case err != nil:
		return Process{}, gone(dir, err)
	case again.ticks != st.ticks:
		return Process{}, fmt.Errorf("process %d ended while it was read, another has its id now: %w", pid,
			fs.ErrNotExist)
	}
	return p, nil
}

// ReplicaOf returns the data-parallel replica that a process of the host works for, as titles say it: its
// own or the nearest above. It is not known if the process has no title, or none says it.
func ReplicaOf(root string, pid int) (int, bool) {
	p, err := Read(root, pid)
	if err != nil {
		return 0, false
	}
	own, ok := parseTitle(p.Args)
	if !ok {
		return 0, false
	}
	return own.replica(p.above)
}

// titleAbove looks for the title above in the host's processes. They need not be processes that Place is given, or
// be given to it as early.
func titleAbove(root string, ancestors []int) *title {
	return saysReplicaAbove(ancestors, func(pid int) []string {
		var up Process
		if readArgs(procDir(root, pid), &up) != nil {
			return nil
		}
		return up.Args
	})
}

func procDir(root string, pid int) string { return filepath.Join(root, strconv.Itoa(pid)) }

// gone makes err an fs.ErrNotExist if the process has ended: reads of files that were opened before
// then fail with other errors.
func gone(dir string, err error) error {
	if _, serr := os.Stat(dir); errors.Is(serr, fs.ErrNotExist) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("process %s has ended: %w (%v)", filepath.Base(dir), fs.ErrNotExist, err)
	}
	return fmt.Errorf("process %s: %w", filepath.Base(dir), err)
}

// bootTime's error is never fs.ErrNotExist, which says that a process is gone.
func bootTime(root string) (time.Time, error) {
	name := filepath.Join(root, "stat")
	b, err := readBounded(name, maxHostStat)
	if err != nil {
		return time.Time{},
			fmt.Errorf("%s is no proc file system: %v; processes are read on Linux with proc mounted there", root, err)
	}
	for line := range bytes.Lines(b) {
		if s, ok := strings.CutPrefix(string(line), "btime "); ok {
			sec, err := strconv.ParseUint(strings.TrimSpace(s), 10, 40) // 40 bits: thousands of years
			if err != nil {
				return time.Time{}, fmt.Errorf("%s: btime %q: want seconds since 1970", name, strings.TrimSpace(s))
			}
			return time.Unix(int64(sec), 0), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s has no line btime, the host's start; is %s a proc file system of Linux?", name,
		root)
}

// stat holds the needed fields of /proc/PID/stat.
type stat struct {
	state  byte
	parent int // 0 if it is out of sight
	ticks  uint64
}

func readStat(dir string) (stat, error) {
	b, err := readBounded(filepath.Join(dir, "stat"), maxStatus)
	if err != nil {
		return stat{}, err
	}
	st, err := parseStat(string(b))
	if err != nil {
		return stat{}, fmt.Errorf("%s: %w", filepath.Join(dir, "stat"), err)
	}
	if st.state == 'Z' || st.state == 'X' || st.state == 'x' {
		return stat{}, fmt.Errorf("it has ended and waits for its parent: %w", fs.ErrNotExist)
	}
	return st, nil
}

// parseStat reads fields 3, 4 and 22 as proc_pid_stat(5) numbers them. Field 2 is the
// program's name in parentheses and may itself hold anything.
func parseStat(s string) (stat, error) {
	const first, last = 3, 22
	i := strings.LastIndexByte(s, ')')
	if i < 0 {
		return stat{}, errors.New("no ')' after the program's name; is it a stat file of proc?")
	}
	f := strings.Fields(s[i+1:])
	if len(f) <= last-first {
		return stat{}, fmt.Errorf("%d fields, want at least %d", len(f)+first-1, last)
	}
	parent, err := strconv.ParseUint(f[4-first], 10, 31)
	if err != nil {
		return stat{}, fmt.Errorf("field 4, the parent's id, is %q: want a number", f[4-first])
	}
	ticks, err := strconv.ParseUint(f[last-first], 10, 64)
	if err != nil || ticks > uint64(math.MaxInt64/tick) {
		return stat{}, fmt.Errorf("field 22, the start, is %q: want hundredths of a second", f[last-first])
	}
	return stat{state: f[0][0], parent: int(parent), ticks: ticks}, nil
}

// ancestors ends where a parent is out of sight, which is not an error: it may have ended, or
// be hidden from other users.
func ancestors(root string, parent int) []int {
	var out []int
	for parent > 0 && len(out) < maxAncestors && !slices.Contains(out, parent) {
		out = append(out, parent)
		st, err := readStat(procDir(root, parent))
		if err != nil {
			break
		}
		parent = st.parent
	}
	return out
}

// parseIDs reads the lines Uid and Gid, of real, effective, saved and file system ids, and
// Groups of a status file; proc_pid_status(5).
func parseIDs(status []byte, p *Process) error {
	found := map[string]bool{}
	for line := range bytes.Lines(status) {
		f := strings.Fields(string(line))
		if len(f) == 0 {
			continue
		}
		name, values := f[0], f[1:]
		switch {
		case name == "Groups:":
		case (name == "Uid:" || name == "Gid:") && len(values) >= 2:
			values = values[1:2]
		default:
			continue
		}
		for _, v := range values {
			id, err := strconv.ParseUint(v, 10, 32)
			if err != nil || uint64(int(id)) != id {
				return fmt.Errorf("its status has the line %q: want numbers", strings.TrimSpace(string(line)))
			}
			switch name {
			case "Uid:":
				p.UID = int(id)
			case "Gid:":
				p.GID = int(id)
			default:
				p.Groups = append(p.Groups, int(id))
			}
		}
		found[name] = true
	}
	if !found["Uid:"] || !found["Gid:"] {
		return errors.New("its status has no lines Uid and Gid; is it one of Linux's proc?")
	}
	return nil
}

func readArgs(dir string, p *Process) error {
	b, err := readBounded(filepath.Join(dir, "cmdline"), maxCmdline)
	p.Args = splitArgs(string(b))
	return err
}

// splitArgs also takes a title's padding away.
func splitArgs(s string) []string {
	s = strings.TrimRight(s, "\x00 ")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\x00")
}

// readEnv reads the environment. What the process has overwritten of it with its title, as setproctitle
// does, it reads from the ancestors' environments, which are the same except for the launcher's own
// variables.
func readEnv(dir string, p *Process) error {
	b, err := readBounded(filepath.Join(dir, "environ"), maxEnviron)
	if err != nil {
		return err
	}
	b, whole := untitled(b)
	p.Env = parseEnv(b)
	for _, pid := range p.Ancestors {
		if whole {
			return nil
		}
		if b, err = readBounded(filepath.Join(filepath.Dir(dir), strconv.Itoa(pid), "environ"),
			maxEnviron); err != nil {
			return nil // what an ancestor hides, or took along, is not this process's
		}
		b, whole = untitled(b)
		above := parseEnv(b)
		delete(above, EnvRank)
		delete(above, EnvLocalRank)
		delete(above, EnvWorldSize)
		maps.Copy(above, p.Env)
		p.Env = above
	}
	return nil
}

// untitled returns what a title has left of an environment, and whether that is all. A title overwrites the
// beginning, or all, and fills up with zeros; the first variable behind them may have lost its beginning.
func untitled(environ []byte) (rest []byte, whole bool) {
	rest = bytes.TrimLeft(environ, "\x00")
	if len(rest) == len(environ) {
		return environ, true
	}
	_, rest, _ = bytes.Cut(rest, []byte{0})
	return rest, false
}

// parseEnv keeps the names in envNames, the first of each as getenv does.
func parseEnv(b []byte) map[string]string {
	if len(b) == maxEnviron { // the last one may be cut
		b = b[:bytes.LastIndexByte(b, 0)+1]
	}
	env := map[string]string{}
	for v := range strings.SplitSeq(string(b), "\x00") {
		name, value, ok := strings.Cut(v, "=")
		if _, have := env[name]; ok && !have && slices.Contains(envNames, name) {
			env[name] = value
		}
	}
	return env
}

func readDevices(dir string, p *Process) error {
	dir = filepath.Join(dir, "fd")
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(maxFDs)
	_ = f.Close() // only read
	if err != nil && err != io.EOF {
		return err
	}
	seen := map[string]bool{}
	for _, n := range names {
		// A file that was closed meanwhile, or is hidden, is not counted.
		if to, err := os.Readlink(filepath.Join(dir, n)); err == nil && isAccelerator(to) {
			seen[to] = true
		}
	}
	p.Devices = len(seen)
	return nil
}

// isAccelerator recognises the device files of NVIDIA, AMD, Intel and others' render nodes, Ascend
// and the kernel's accel class. Control files such as nvidiactl do not count: a process that only
// asks for a driver's version opens them too.
func isAccelerator(file string) bool {
	if n, ok := strings.CutPrefix(file, "/dev/accel/"); ok {
		return n != ""
	}
	for _, prefix := range []string{"/dev/nvidia", "/dev/davinci", "/dev/dri/renderD"} {
		if n, ok := strings.CutPrefix(file, prefix); ok {
			return n != "" && strings.Trim(n, "0123456789") == ""
		}
	}
	return file == "/dev/kfd"
}

// readBounded returns at most limit bytes; files of proc have no size to ask for first.
func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	return io.ReadAll(io.LimitReader(f, limit))
}
