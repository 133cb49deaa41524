package view

import (
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/order"
)

// launchParts occur, in lower case, in the names of the calls that launch kernels: CUDA's and
// HIP's runtime and driver, Level Zero's and Unified Runtime's, CANN's.
var launchParts = []string{"launchkernel", "kernellaunch", "launchcooperativekernel", "launchbyptr", "graphlaunch"}

// IsLaunch reports whether a runtime call of this name makes a device run kernels. Calls for copies
// and fills do not count: a copy between two places on the host needs no device work, and neither
// does a fill.
func IsLaunch(name string) bool {
	if strings.HasPrefix(name, "runFunction") { // MTIA
		return true
	}
	low := strings.ToLower(name)
	for _, p := range launchParts {
		if strings.Contains(low, p) {
			return true
		}
	}
	return false
}

// IsGraphLaunch says whether a call by its name replays a graph.
func IsGraphLaunch(name string) bool { return strings.Contains(name, "GraphLaunch") }

// Launches returns the calls that make a device run kernels, by start. Launches during the capture
// of a graph run nothing and are left out.
func (v *View) Launches() []int32 {
	const unknown, yes, begin, end = 0, 1, 2, 3
	s := &v.Trace.Slices
	kind := make([]int8, v.Trace.Strings.Len())
	var out, capture []int32
	for i := range int32(s.Len()) {
		if !v.Counts(i) {
			continue
		}
		if !s.Cat[i].Runtime() {
			if s.Cat[i] == trace.CatUserAnnotation && isCapture(v.Name(i)) {
				capture = append(capture, i)
			}
			continue
		}
		k := &kind[s.Name[i]]
		if *k == unknown {
			name := v.Name(i)
			switch {
			case IsLaunch(name):
				*k = yes
			case strings.Contains(name, "StreamBeginCapture"):
				*k = begin
			case strings.Contains(name, "StreamEndCapture"):
				*k = end
			default:
				*k = -1
			}
		}
		switch *k {
		case yes:
			out = append(out, i)
		case begin, end:
			capture = append(capture, i)
		}
	}
	byStart := func(i int32) int64 { return v.Start[i] }
	order.ByKey(out, byStart)
	if len(capture) == 0 {
		return out
	}
	order.ByKey(capture, byStart)
	return v.outside(out, capture, func(i int32) bool { return kind[s.Name[i]] == begin && s.Cat[i].Runtime() },
		func(i int32) bool { return kind[s.Name[i]] == end && s.Cat[i].Runtime() })
}

// isCapture reports whether an annotation of this name encloses the capture of a graph: vLLM's
// capture_32_FULL.
func isCapture(name string) bool {
	rest, ok := strings.CutPrefix(name, "capture_")
	return ok && rest != "" && rest[0] >= '0' && rest[0] <= '9'
}

// outside removes the launches, which are sorted by start, that lie in a capture of their thread:
// between the calls that begin and end it, or inside an annotation.
func (v *View) outside(launches, capture []int32, begins, ends func(int32) bool) []int32 {
	track := v.Trace.Slices.Track
	open := map[trace.TrackID]bool{}
	until := map[trace.TrackID]int64{}
	out := launches[:0]
	k := 0
	for _, l := range launches {
		for ; k < len(capture) && v.Start[capture[k]] <= v.Start[l]; k++ {
			c := capture[k]
			switch {
			case begins(c):
				open[track[c]] = true
			case ends(c):
				open[track[c]] = false
			default:
				until[track[c]] = max(until[track[c]], v.End(c))
			}
		}
		if t := track[l]; !open[t] && v.Start[l] >= until[t] {
			out = append(out, l)
		}
	}
	return out
}
