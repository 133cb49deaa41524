package convert

import (
	"math/bits"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/trace"
)

// maxHandOffs bounds how many ends of hand-offs are kept of a rank: bounds of a clock come of the
// fastest few, and a rank has so many in an hour of a hundred a second.
const maxHandOffs = 1 << 18

// handOffs returns what t sent to other ranks and had from them. Of more than maxHandOffs those
// are left out whose ids a hash chooses, alike in every rank.
func handOffs(t *trace.Trace) []align.HandOff {
	f := &t.Flows
	global := map[trace.StringID]bool{}
	of := func(c trace.StringID) bool {
		is, known := global[c]
		if !known {
			is = trace.Handoff(t.String(c))
			global[c] = is
		}
		return is
	}
	timed := func(i int) bool { return of(f.Cat[i]) && t.String(f.Name[i]) != trace.HandoffOfStream }
	n := 0
	for i := range f.Cat {
		if timed(i) {
			n++
		}
	}
	mask := uint64(1)<<bits.Len(uint(n/(maxHandOffs+1))) - 1
	out := make([]align.HandOff, 0, n/int(mask+1))
	for i := range f.Cat {
		if timed(i) && (f.ID[i]*0x9e3779b97f4a7c15)>>32&mask == 0 {
			out = append(out, align.HandOff{ID: f.ID[i], Ns: f.Time[i], Sent: f.Start[i]})
		}
	}
	return out
}
