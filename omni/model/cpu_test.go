package model

import (
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/usage"
)

// cpuTime returns a function that reports the processor time of an operation since the
// call, which other processes of the machine disturb less than the time of the clock.
func cpuTime(b *testing.B) func() {
	now := func() float64 { return usage.Own().CPU.Seconds() * 1e3 }
	begin := now()
	return func() { b.ReportMetric((now()-begin)/float64(b.N), "cpu-ms/op") }
}
