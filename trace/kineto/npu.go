package kineto

import (
	"regexp"
	"strconv"
	"strings"
)

// The names of the processes in traces of Ascend's profiler, as it writes them today.
const (
	NPUPython   = "Python"
	NPUCANN     = "CANN"
	NPUHardware = "Ascend Hardware"
)

// npuDevice are the names that hardware had before, and that it has where a trace is of several cards.
var npuDevice = regexp.MustCompile(`(?i)^(?:ascend hardware|npu|task scheduler)[ _:-]*\[?(\d*)\]?$`)

// npuRuntime are the layers of which CANN's process was one each.
var npuRuntime = map[string]bool{"cann": true, "ascendcl": true, "acl": true, "ge": true, "runtime": true, "node": true}

// NPUProcess translates the name of a process in a trace of Ascend's profiler into today's: older ones
// call the hardware NPU or Task Scheduler, and its runtime by its layers. card is the hardware's number,
// -1 if the name does not say it. A name of no such process is returned as it is.
func NPUProcess(name string) (now string, card int64) {
	if f := npuDevice.FindStringSubmatch(name); f != nil {
		if n, err := strconv.ParseInt(f[1], 10, 32); err == nil {
			return NPUHardware, n
		}
		return NPUHardware, -1
	}
	switch low := strings.ToLower(name); {
	case npuRuntime[low]:
		return NPUCANN, -1
	case strings.HasPrefix(low, "python"):
		return NPUPython, -1
	}
	return name, -1
}

// npu tells by the names of its processes whether a trace is of Ascend's profiler. A runtime alone is
// not enough, for other programs call a process that.
func npu(processes map[string]bool) bool {
	for name := range processes {
		if now, _ := NPUProcess(name); now == NPUHardware || name == NPUCANN || name == "Overlap Analysis" {
			return true
		}
	}
	return false
}
