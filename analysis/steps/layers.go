package steps

import (
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/plausible"
)

// Limits of what is taken for the layers of one step rather than for steps.
const (
	maxLayer   = 32  // launches of a layer; iterations have more, or replay graphs
	minLayers  = 4   // of a step
	layerPause = 1.5 // times the usual distance of layers that one is from the next step's first
	// periods by which the steps that a longer period explains may be short of the sequence's ends
	openEnds = 1
)

// stack is layers that repeat, and from time to time pause: a step is what lies between two pauses.
type stack struct {
	tokens []token
	period int
	cuts   []int
}

// ofLayers replaces a period of layers by that of the steps that they are in, if the layers of every
// step are as many, at most a first and a last step having less. The host waits for no layer, or they
// would be iterations, which may pause as regularly.
func ofLayers(l []token, p int, cuts []int, seen *plausible.Trace) (int, []int) {
	s := stack{l, p, cuts}
	if p > maxLayer || len(cuts) < minRepeats*minLayers || slices.ContainsFunc(l[cuts[0]:cuts[1]], replays) {
		return p, cuts
	}
	begins := s.pauses()
	if len(begins) < minRepeats-1 {
		return p, cuts
	}
	n := begins[1] - begins[0]
	for k := 1; k < len(begins); k++ {
		if begins[k]-begins[k-1] != n {
			return p, cuts
		}
	}
	if n < minLayers || begins[0] > n || len(cuts)-begins[len(begins)-1] > n || s.waited(seen) {
		return p, cuts
	}
	if begins[0] == n {
		begins = slices.Insert(begins, 0, 0)
	}
	if len(begins) < minRepeats {
		return p, cuts
	}
	out := make([]int, len(begins))
	for k, b := range begins {
		out[k] = cuts[b]
	}
	return out[1] - out[0], out
}

func replays(t token) bool { return t.replay }

// pauses are the repetitions, by number, that begin much later after the one before than is usual.
func (s *stack) pauses() []int {
	far := make([]int64, 0, len(s.cuts)-1)
	for k := 1; k < len(s.cuts); k++ {
		far = append(far, s.tokens[s.cuts[k]].start-s.tokens[s.cuts[k-1]].start)
	}
	usual := slices.Clone(far)
	slices.Sort(usual)
	limit := layerPause * float64(usual[len(usual)/2])
	var out []int
	for k, ns := range far {
		if float64(ns) > limit {
			out = append(out, k+1)
		}
	}
	return out
}

// waited reports whether the host waits for the device in the second repetition, which stands for all
// that no pause is behind.
func (s *stack) waited(seen *plausible.Trace) bool {
	from, to := s.tokens[s.cuts[1]].start, s.tokens[s.cuts[2]].start
	for i, c := range seen.Trace.Slices.Cat {
		if at := seen.Start[i]; c.Runtime() && at >= from && at < to &&
			strings.Contains(strings.ToLower(seen.Name(int32(i))), "synchronize") {
			return true
		}
	}
	return false
}
