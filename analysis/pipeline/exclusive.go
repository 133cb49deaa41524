package pipeline

import "github.com/kinetoscope/kinetoscope/trace"

// segment is a stretch of a rank's time that one class owns. Lists of segments are
// sorted, do not overlap, and equal neighbours are joined.
type segment struct {
	start, end int64
	cls        class
}

// appendSegment adds [start, end) to a list, joining it with an equal neighbour.
func appendSegment(l []segment, start, end int64, c class) []segment {
	if end <= start {
		return l
	}
	if n := len(l); n > 0 && l[n-1].end == start && l[n-1].cls == c {
		l[n-1].end = end
		return l
	}
	return append(l, segment{start, end, c})
}

// precedes reports whether a rather than b owns an instant that both claim.
func precedes(a, b class) bool {
	if x, y := classCategory[a], classCategory[b]; x != y {
		return x < y
	}
	return a < b
}

// overlay merges two lists; where both claim an instant the preceding class has it.
func overlay(a, b []segment) []segment {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make([]segment, 0, len(a)+len(b))
	i, j := 0, 0
	at := min(a[0].start, b[0].start)
	for i < len(a) || j < len(b) {
		// The next boundary after at, and who claims [at, next).
		next, owner := int64(1<<63-1), clsIdle
		if i < len(a) {
			if a[i].start > at {
				next = a[i].start
			} else {
				next, owner = a[i].end, a[i].cls
			}
		}
		if j < len(b) {
			if b[j].start > at {
				next = min(next, b[j].start)
			} else {
				next = min(next, b[j].end)
				if owner == clsIdle || precedes(b[j].cls, owner) {
					owner = b[j].cls
				}
			}
		}
		if owner != clsIdle {
			out = appendSegment(out, at, next, owner)
		}
		at = next
		if i < len(a) && a[i].end <= at {
			i++
		}
		if j < len(b) && b[j].end <= at {
			j++
		}
	}
	return out
}

// overlayAll is overlay for any number of lists. It merges neighbours pairwise, so each segment is
// copied only a logarithmic number of times.
func overlayAll(lists [][]segment) []segment {
	if len(lists) == 0 {
		return nil
	}
	for len(lists) > 1 {
		half := lists[:0]
		for i := 0; i < len(lists); i += 2 {
			if i+1 < len(lists) {
				half = append(half, overlay(lists[i], lists[i+1]))
			} else {
				half = append(half, lists[i])
			}
		}
		lists = half
	}
	return lists[0]
}

// fill clips a list to [start, end) and fills its gaps with clsIdle.
func fill(l []segment, start, end int64) []segment {
	out := make([]segment, 0, len(l)+8)
	at := start
	for _, s := range l {
		lo, hi := max(s.start, at), min(s.end, end)
		if hi <= lo {
			continue
		}
		out = appendSegment(out, at, lo, clsIdle)
		out = appendSegment(out, lo, hi, s.cls)
		at = hi
	}
	return appendSegment(out, at, end, clsIdle)
}

// open is a slice whose end was not reached yet.
type open struct {
	slice   int
	end     int64
	childNs int64
	cls     class // as classified
	owner   class // whose time it is
	step    int   // the innermost step at or around it, or -1
}

// visitor receives the classified slices of a track.
type visitor interface {
	// opened is called for each slice, in order of start. parent is the class of the slice around
	// i, clsIdle if there is none; step is the step around it, or -1.
	opened(i int, c, parent class, step int)
	// closed is called when slice i has ended, innermost first; selfNs excludes the
	// classified slices inside it.
	closed(i int, c class, selfNs int64)
}

// trackPass walks the slices of one track, sorted by (start, -dur, event), calls v for them, and
// returns the exclusive segments, unclipped.
func trackPass(t *trace.Trace, k *classifier, order []uint32, v visitor) []segment {
	var (
		segs  []segment
		stack []open
		at    int64
	)
	pop := func(until int64) {
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if top.end > until {
				return
			}
			if top.end > at {
				segs = appendSegment(segs, at, top.end, top.owner)
				at = top.end
			}
			v.closed(top.slice, top.cls, max(0, t.Slices.Dur[top.slice]-top.childNs))
			stack = stack[:len(stack)-1]
		}
	}
	for _, u := range order {
		i := int(u)
		c := k.slice(i)
		if !c.timed() {
			if c == clsRequest {
				v.opened(i, c, clsIdle, -1)
			}
			continue
		}
		start, end := t.Slices.Start[i], t.Slices.End(i)
		pop(start)
		owner, parent, step := c, clsIdle, -1
		if n := len(stack); n > 0 {
			top := &stack[n-1]
			if start > at {
				segs = appendSegment(segs, at, start, top.owner)
			}
			top.childNs += min(end, top.end) - start
			parent = top.owner
			// Operators and sampling count as part of the slice around them. So do the parts of a
			// collective, except those recorded as waits.
			if c == clsOp || c == clsSample {
				owner = top.owner
			}
			step = top.step
		}
		at = start
		v.opened(i, c, parent, step)
		o := open{slice: i, end: end, cls: c, owner: owner, step: step}
		if c.isStep() {
			o.step = i
		}
		stack = append(stack, o)
	}
	pop(1<<63 - 1)
	return segs
}

// hostTracks returns the slices of every CPU track in the order of trackPass; tracks
// without slices are left out.
func hostTracks(t *trace.Trace) [][]uint32 {
	x := t.Index()
	var out [][]uint32
	for id := range t.Tracks {
		if o := x.Track(trace.TrackID(id)); len(o) > 0 && t.Tracks[id].Kind != trace.TrackGPU {
			out = append(out, o)
		}
	}
	return out
}
