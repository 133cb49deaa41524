//go:build unix

package usage

import (
	"runtime"
	"syscall"
	"time"
)

// Own is what this process has taken so far, without Wall.
func Own() Cost {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return Cost{}
	}
	return Cost{CPU: time.Duration(u.Utime.Nano() + u.Stime.Nano()), RSS: peak(&u)}
}

// peak returns a process's peak memory in bytes.
func peak(usage any) int64 {
	u, ok := usage.(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" || runtime.GOOS == "ios" {
		return int64(u.Maxrss) // in bytes there
	}
	return int64(u.Maxrss) * 1024 // in kilobytes
}
