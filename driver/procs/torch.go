package procs

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
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
