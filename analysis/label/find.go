package label

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/internal/lists"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Step is a slice with a label, and the time of its step: that of the slice, except for labels that
// only mark an end.
type Step struct {
	Slice int
	Label
	Start, End int64
}

// stretchEnds gives a time to steps whose labels only mark their ends. Such a step begins with the
// first label of a lower rank (the denoiser's call) after the previous end, or at the previous end
// if there is none.
func stretchEnds(t *trace.Trace, l []Step) {
	s := &t.Slices
	slices.SortStableFunc(l, func(a, b Step) int { return cmp.Compare(s.Start[a.Slice], s.Start[b.Slice]) })
	begin, have := int64(0), false
	for i := range l {
		x := &l[i]
		x.Start, x.End = s.Start[x.Slice], s.End(x.Slice)
		switch {
		case !x.atEnd && x.rank >= 0 && !have:
			begin, have = x.Start, true
		case x.atEnd && have:
			x.Start = min(begin, x.Start)
			have = false
		case x.atEnd && begin > 0:
			x.Start = begin
		}
		if x.atEnd {
			if !have {
				begin = x.End
			}
		}
	}
}

// Find finds, among the slices of t that want accepts, the steps of the preferred method, sorted by
// start. skipped counts labels that are not steps: idle ones, captures of graphs.
func Find(t *trace.Trace, want func(i int) bool) (found []Step, skipped int) {
	s := &t.Slices
	// A frame, an operator and an annotation may have the same name, so each kind has its own
	// cache: by name 1 + the place among labels, -1 of what is none, 0 if it was not read yet.
	var cache [4][]int32
	var labels []Label
	all := map[Method][]Step{}
	for i := range s.Start {
		if !want(i) {
			continue
		}
		of := 0
		switch s.Cat[i] {
		case trace.CatPythonFunction:
			of = 1
		case trace.CatCPUOp:
			of = 2
		case trace.CatUserAnnotation:
			of = 3
		}
		if cache[of] == nil {
			cache[of] = make([]int32, t.Strings.Len())
		}
		at := &cache[of][s.Name[i]]
		if *at == 0 {
			*at = -1
			if l, ok := Parse(t.String(s.Name[i]), s.Cat[i]); ok {
				labels = append(lists.Doubled(labels), l)
				*at = int32(len(labels))
			}
		}
		l, ok := Label{}, false
		if *at > 0 {
			l, ok = labels[*at-1], true
		} else {
			l, ok = Numbered(t, i)
		}
		if ok {
			all[l.Method] = append(lists.Doubled(all[l.Method]), Step{Slice: i, Label: l})
		}
	}
	for _, m := range order {
		l := all[m]
		usable := 0
		best := anyRank
		for _, x := range l {
			if !x.Skip {
				usable++
				best = max(best, x.rank)
			}
		}
		if usable == 0 {
			skipped += len(l)
			continue
		}
		stretchEnds(t, l)
		rounds(t, l)
		l = slices.DeleteFunc(l, func(x Step) bool {
			if x.Skip {
				skipped++
			}
			return x.Skip || x.rank != best && x.rank != anyRank
		})
		return joined(t, outermost(t, l)), skipped
	}
	return nil, skipped
}

// rounds tells whole rounds of speculative decoding, which frames mark, from prompts: they verify.
func rounds(t *trace.Trace, l []Step) {
	for i := range l {
		if l[i].spec != wholeRound {
			continue
		}
		l[i].Kind = Prefill
		for k := i; k < len(l) && l[k].Start < l[i].End; k++ { // by start: what is inside comes behind
			if l[k].spec == verifies && t.Slices.Track[l[k].Slice] == t.Slices.Track[l[i].Slice] {
				l[i].Kind = Decode
				break
			}
		}
	}
}

// maxDrafts is how many passes of a draft model one round has at most: more in a row are steps of
// a model that decodes without one.
const maxDrafts = 16

// joined makes one step of the passes of a round of speculative decoding: what a draft model
// proposes, what the model verifies of it, and what the draft model takes in of that. l is by start.
func joined(t *trace.Trace, l []Step) []Step {
	if !slices.ContainsFunc(l, func(x Step) bool { return x.spec == verifies || x.spec == extendsDraft }) {
		return l
	}
	drafts := proposals(t, l)
	track := t.Slices.Track
	last := map[trace.TrackID]int{}  // place in out of the track's last step
	open := map[trace.TrackID]bool{} // that step is what a draft model proposed so far
	out := l[:0]
	for i, x := range l {
		at := track[x.Slice]
		n, ok := last[at]
		switch {
		case ok && x.spec == extendsDraft && out[n].End <= x.Start:
			out[n].End = x.End
		case ok && open[at] && drafts[i]:
			out[n].End = x.End
		case ok && open[at] && x.spec == verifies:
			x.Start, open[at] = out[n].Start, false
			out[n] = x
		default:
			last[at], open[at] = len(out), drafts[i]
			out = append(out, x)
		}
	}
	return out
}

// proposals tells the passes of decoding that are a draft model's: they stand before one that verifies.
func proposals(t *trace.Trace, l []Step) []bool {
	out := make([]bool, len(l))
	behind := map[trace.TrackID][]int{} // passes of decoding since the last other one, going back
	verified := map[trace.TrackID]bool{}
	settle := func(at trace.TrackID) {
		if verified[at] && len(behind[at]) <= maxDrafts {
			for _, k := range behind[at] {
				out[k] = true
			}
		}
		behind[at] = behind[at][:0]
	}
	for i := len(l) - 1; i >= 0; i-- {
		at := t.Slices.Track[l[i].Slice]
		if l[i].spec == decodes {
			behind[at] = append(behind[at], i)
			continue
		}
		settle(at)
		verified[at] = l[i].spec == verifies
	}
	for at := range behind {
		settle(at)
	}
	return out
}

// outermost drops labels inside another label of the same track and sorts by start.
func outermost(t *trace.Trace, l []Step) []Step {
	track := t.Slices.Track
	slices.SortStableFunc(l, func(a, b Step) int {
		return cmp.Or(cmp.Compare(track[a.Slice], track[b.Slice]), cmp.Compare(a.Start, b.Start),
			cmp.Compare(b.End, a.End))
	})
	out := l[:0]
	for _, x := range l {
		if n := len(out); n > 0 && track[out[n-1].Slice] == track[x.Slice] && x.End <= out[n-1].End {
			continue
		}
		out = append(out, x)
	}
	slices.SortStableFunc(out, func(a, b Step) int { return cmp.Compare(a.Start, b.Start) })
	return out
}

// OneTrack keeps the labels of the track with the most of them: a label that is projected on a
// device lies on each stream to which the step launched work.
func OneTrack(t *trace.Trace, l []Step) []Step {
	count := map[trace.TrackID]int{}
	for _, x := range l {
		count[t.Slices.Track[x.Slice]]++
	}
	best, have := trace.TrackID(0), 0
	for _, x := range l {
		if id := t.Slices.Track[x.Slice]; count[id] > have || count[id] == have && id < best {
			best, have = id, count[id]
		}
	}
	return slices.DeleteFunc(l, func(x Step) bool { return t.Slices.Track[x.Slice] != best })
}
