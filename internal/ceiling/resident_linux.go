package ceiling

import (
	"bytes"
	"os"
	"strconv"
)

// resident is what the operating system counts of the process, in bytes; of /proc/self/statm the
// second number, in pages. Where that cannot be read it is what the runtime holds.
func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if f := bytes.Fields(b); err == nil && len(f) > 1 {
		if n, err := strconv.ParseInt(string(f[1]), 10, 64); err == nil {
			return n * int64(os.Getpagesize())
		}
	}
	return mapped()
}
