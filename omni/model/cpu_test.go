//go:build unix

package model

import (
	"testing"

	"golang.org/x/sys/unix"
)

// cpuTime returns a function that reports the processor time of an operation since the
// call, which other processes of the machine disturb less than the time of the clock.
func cpuTime(b *testing.B) func() {
	now := func() float64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
	}
	begin := now()
	return func() { b.ReportMetric((now()-begin)/float64(b.N), "cpu-ms/op") }
}
