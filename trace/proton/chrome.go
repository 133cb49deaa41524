package proton

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// FormatChrome is Meta.Format of Proton's Chrome traces.
const FormatChrome = "proton"

// The categories of Proton's slices, and the name of its arrows.
const (
	catScope  = "scope"
	catMetric = "metric"
	launch    = "launch->kernel"
)

// argStack is the argument with the frames of a slice, the outermost first.
const argStack = "call_stack"

var (
	gpuStream = regexp.MustCompile(`^GPU Stream (\d+)$`)
	graph     = regexp.MustCompile(`^Graph: Stream (\d+)$`)
)

// Is reports whether t, read from Chrome JSON, is of Proton: all of its slices are scopes,
// metrics and kernels, and have a stack or lie on a lane of a graph.
func Is(t *trace.Trace) bool {
	stacks := 0
	for i, c := range t.Slices.Cat {
		switch text := t.CategoryText(c); {
		case text != catScope && text != catMetric && c != trace.CatKernel:
			return false
		case t.Arg(i, argStack) != nil:
			stacks++
		case !graph.MatchString(t.Tracks[t.Slices.Track[i]].Name):
			return false
		}
	}
	return stacks > 0
}

// Classify gives the slices of t their names, categories, lanes and correlations: scopes
// and metrics are annotations named as their innermost frame, the scope that an arrow
// begins in is a launch call.
func Classify(t *trace.Trace) {
	for i := range t.Tracks {
		k := &t.Tracks[i]
		if m := gpuStream.FindStringSubmatch(k.Name); m != nil {
			k.Kind, k.Device = trace.TrackGPU, 0
			k.Stream, _ = strconv.ParseInt(m[1], 10, 64)
		} else if graph.MatchString(k.Name) {
			k.Kind = trace.TrackOther
		}
	}
	s := &t.Slices
	for i, c := range s.Cat {
		if c == trace.CatKernel {
			continue
		}
		if t.CategoryText(c) == catMetric {
			s.Name[i] = t.Intern(scopeName(t, i))
		}
		s.Cat[i] = trace.CatUserAnnotation
	}
	link(t)
}

// scopeName is the name of a metric's scope, which Proton writes with the values behind it.
func scopeName(t *trace.Trace, i int) string {
	var frames []string
	if raw := t.Arg(i, argStack); json.Unmarshal(raw, &frames) == nil && len(frames) > 0 {
		return frames[len(frames)-1]
	}
	name, _, _ := strings.Cut(t.String(t.Slices.Name[i]), ": <")
	return name
}

// at is an instant of a track.
type at struct {
	track trace.TrackID
	ns    int64
}

// link gives a launch and the kernels of its arrow one correlation.
func link(t *trace.Trace) {
	f := &t.Flows
	id, ok := t.Strings.Lookup(launch)
	if !ok {
		return
	}
	begins := map[at][]int{} // slices by where they begin, the outermost first
	for i, track := range t.Slices.Track {
		k := at{track, t.Slices.Start[i]}
		begins[k] = append(begins[k], i)
	}
	for k := range begins {
		slices.SortStableFunc(begins[k], func(a, b int) int {
			return cmp.Or(cmp.Compare(t.Slices.Dur[b], t.Slices.Dur[a]),
				cmp.Compare(len(t.Arg(a, argStack)), len(t.Arg(b, argStack))))
		})
	}
	for i := range f.Time {
		list := begins[at{f.Track[i], f.Time[i]}]
		if f.Name[i] != id || len(list) == 0 || f.ID[i] >= 1<<62 {
			continue
		}
		corr := int64(f.ID[i]) + 1 // 0 is none
		inner := list[len(list)-1]
		switch {
		case f.Start[i]:
			t.Slices.Corr[inner], t.Slices.Cat[inner] = corr, trace.CatCUDADriver
		case t.Slices.Cat[inner] == trace.CatKernel:
			t.Slices.Corr[inner] = corr
		}
	}
}
