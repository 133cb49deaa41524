//go:build amd64

package profiler

import (
	"os"
	"runtime"
	"strings"
	"sync"
)

// tsc reads the time stamp counter. It is not serialising: the processor may read it a
// few nanoseconds early or late.
//
//go:noescape
func tsc() int64

func invariantTSC() bool

// tscUsable reports whether the counter ticks at one rate and alike on all cores. The
// processor says the first, the kernel, which watches the counter, the second by keeping
// it as its own clock source.
var tscUsable = sync.OnceValue(func() bool {
	if runtime.GOOS != "linux" || !invariantTSC() {
		return false
	}
	b, err := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	return err == nil && strings.TrimSpace(string(b)) == "tsc"
})
