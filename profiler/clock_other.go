//go:build !amd64

package profiler

func tsc() int64 { return monoNow() }

func tscUsable() bool { return false }
