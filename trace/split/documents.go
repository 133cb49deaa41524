package split

import (
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Documents parts every trace of a file by ranks and puts together what belongs to one:
// where two processes wrote into the same file, pieces of both alternate, and what
// follows the first piece is found in the document of the other.
func Documents(list []*trace.Trace) []*trace.Trace {
	var out []*trace.Trace
	for i, t := range list {
		parts := Ranks(t)
		if i > 0 && len(parts) > 1 && list[i-1].Repairs.Count[trace.RepairCutByNext] > 0 {
			parts = slices.DeleteFunc(parts, func(p *trace.Trace) bool { return continues(out, p) })
			rename(parts, t)
		}
		out = append(out, parts...)
	}
	return out
}

// continues appends t to the trace of the same process among earlier ones; false if there
// is none.
func continues(earlier []*trace.Trace, t *trace.Trace) bool {
	for _, e := range earlier {
		if e.Meta.BaseTimeNs == t.Meta.BaseTimeNs && sharesProcess(e, t) {
			e.Append(t)
			for k, n := range t.Repairs.Count {
				e.Repairs.Add(k, n)
			}
			e.Repairs.Skipped += t.Repairs.Skipped
			e.Repairs.Text += t.Repairs.Text
			e.Window()
			return true
		}
	}
	return false
}

// sharesProcess reports whether a thread of a host is in both.
func sharesProcess(a, b *trace.Trace) bool {
	type thread struct{ pid, tid int64 }
	in := map[thread]bool{}
	for i := range a.Tracks {
		if k := &a.Tracks[i]; k.Kind == trace.TrackCPU && k.PIDText == "" {
			in[thread{k.PID, k.TID}] = true
		}
	}
	for i := range b.Tracks {
		if k := &b.Tracks[i]; k.Kind == trace.TrackCPU && k.PIDText == "" && in[thread{k.PID, k.TID}] {
			return true
		}
	}
	return false
}

// rename gives the only part that is left of t what t's header says of the rank.
func rename(parts []*trace.Trace, t *trace.Trace) {
	if len(parts) != 1 {
		return
	}
	m := &parts[0].Meta
	m.Rank, m.Learnt, m.Part = t.Meta.Rank, t.Meta.Learnt, t.Meta.Part
	parts[0].Repairs = t.Repairs
}
