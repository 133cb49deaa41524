package procs

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// maxMaps bounds what is read of a process's mappings: torch with CUDA has some thousand
// lines.
const maxMaps = 4 << 20

// HasTorch reports whether the proc file system at root shows that a process has libtorch
// loaded. It is not known of another user's process, which is then false.
func HasTorch(root string, pid int) bool {
	f, err := os.Open(filepath.Join(procDir(root, pid), "maps"))
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for read := 0; lines.Scan() && read < maxMaps; read += len(lines.Bytes()) {
		if bytes.Contains(lines.Bytes(), []byte("/libtorch")) {
			return true
		}
	}
	return false
}

// Coming lists the processes below of that will ask a daemon for configs, but for those that are known:
// they have torch loaded, and an environment that has Kineto ask. A library that has found no daemon
// looks for one again some ten seconds later, so that a server shows before the workers that it
// started. A copy of the process itself, as data loaders fork them, never asks.
func Coming(root string, of Process, known map[int]bool) (pids []int) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || known[pid] || pid == of.PID {
			continue
		}
		st, err := readStat(procDir(root, pid))
		if err != nil || !slices.Contains(ancestors(root, st.parent), of.PID) {
			continue
		}
		p, err := Read(root, pid)
		if err == nil && p.Env[EnvDaemon] != "" && !slices.Equal(p.Args, of.Args) && HasTorch(root, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
