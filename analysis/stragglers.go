package analysis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/internal/cores"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// StragglerReport says which ranks the others wait for; coll.Match and coll.Blames define
// how that is known.
type StragglerReport struct {
	Matched int         `json:"matched"` // collectives found on at least two ranks
	Partial int         `json:"partial"` // of these: without a trace of every member of the group
	Ranks   []Straggler `json:"ranks"`   // most blamed first
	// Pairs are the messages between two ranks, by sender and receiver; their From and To are
	// places in the traces given.
	Pairs []coll.Pair `json:"pairs"`
	// Unmatched counts the collectives that could not be compared, and says why. Ranks
	// are places in the traces given.
	Unmatched []coll.Unmatched `json:"unmatched,omitempty"`
}

// Straggler is one rank's part in the waiting.
type Straggler struct {
	Rank  int `json:"rank"`  // as the trace says; -1 if unknown
	Index int `json:"index"` // in the traces given
	// Matched is in how many of the compared collectives the rank took part.
	Matched int `json:"matched"`
	// LastCount is in how many of them it came last.
	LastCount int `json:"last_count"`
	// BlameNs sums, over the collectives in which the rank came last, the mean time
	// that the others waited in them.
	BlameNs int64 `json:"blame_ns"`
	WaitNs  int64 `json:"wait_ns"` // time the rank waited for others, over all collectives
	// ComputeNs is the rank's merged compute time; a straggler by compute has more of
	// it than the others, one held up by its host has not.
	ComputeNs int64 `json:"compute_ns"`
	// WorstSlice is the collective, on this rank, with the largest single blame.
	WorstSlice int `json:"worst_slice"` // NoSlice if never last
}

// Stragglers answers which ranks hold the others up. Collectives are compared within one
// world (a replica of a stage, in one capture) and one process group only; what cannot be
// compared is counted.
func Stragglers(trs []*trace.Trace, opt Options) StragglerReport {
	return stragglers(newFrames(trs, opt))
}

// StragglerPart is what Stragglers needs of one trace, which need not be kept for it.
type StragglerPart struct {
	Meta        trace.Meta
	Collectives []Collective
	ComputeNs   int64 // merged compute time of the device
}

// StragglerPart is what Stragglers needs of the trace.
func (v *View) StragglerPart() StragglerPart { return v.f.stragglerPart() }

func (f *frame) stragglerPart() StragglerPart {
	return StragglerPart{Meta: f.tr.Meta, Collectives: f.comms().Collectives,
		ComputeNs: total(f.merged(1 << KindCompute))}
}

func stragglers(fs []*frame) StragglerReport { return StragglersOf(stragglerParts(fs)) }

func stragglerParts(fs []*frame) []StragglerPart {
	parts := make([]StragglerPart, len(fs))
	cores.Each(len(fs), func(i int) { parts[i] = fs[i].stragglerPart() })
	return parts
}

// MatchParts says which collectives of parts are the same: their ranks, in the order of parts,
// and what was matched.
func MatchParts(parts []StragglerPart) ([]coll.Rank, coll.Matching) {
	metas := make([]*trace.Meta, len(parts))
	for i := range parts {
		metas[i] = &parts[i].Meta
	}
	ranks := coll.Ranks(metas)
	for i := range ranks {
		ranks[i].List = parts[i].Collectives
	}
	return ranks, coll.Match(ranks)
}

// StragglersOf is Stragglers of traces that are gone.
func StragglersOf(parts []StragglerPart) StragglerReport {
	ranks, m := MatchParts(parts)
	return StragglersIn(parts, ranks, &m)
}

// StragglersIn is StragglersOf of parts that MatchParts has matched already.
func StragglersIn(parts []StragglerPart, ranks []coll.Rank, m *coll.Matching) StragglerReport {
	out := StragglerReport{Ranks: make([]Straggler, len(parts))}
	for i := range parts {
		out.Ranks[i] = Straggler{Rank: parts[i].Meta.Rank, Index: i, ComputeNs: parts[i].ComputeNs}
	}
	out.Matched, out.Unmatched = len(m.Sets), m.Unmatched
	for k := range m.Sets {
		if !m.Sets[k].Whole {
			out.Partial++
		}
	}
	out.Pairs = m.Pairs(ranks)
	for i, b := range m.Blames(ranks) {
		r := &out.Ranks[i]
		r.Matched, r.LastCount, r.BlameNs, r.WaitNs, r.WorstSlice = b.Matched, b.Last, b.BlameNs, b.WaitNs, b.Worst
	}
	slices.SortStableFunc(out.Ranks, func(a, b Straggler) int { return cmp.Compare(b.BlameNs, a.BlameNs) })
	return out
}

// stragglerShare is the share of a rank's span for which the others must have waited.
const stragglerShare = 0.01

// StragglerFindings says what of s, which StragglersOf made of parts, is worth a sentence:
// the rank that was waited for longest, and what could not be compared. ranks are the
// reports of the same traces.
func StragglerFindings(s *StragglerReport, ranks []RankReport, parts []StragglerPart) []Finding {
	out := blamed(s, ranks, parts)
	for _, u := range s.Unmatched {
		w := ranks[u.Ranks[0]].Temporal.Window
		out = append(out, Finding{
			Code: finding.NotCompared, Severity: Notice, Number: float64(u.Count), Unit: "count",
			Text: UnmatchedText(u), Doubt: true,
			Evidence: SpanEvidence(u.Ranks[0], 0, w.StartNs, w.EndNs),
		})
	}
	return out
}

// blamed names the rank that was waited for longest.
func blamed(s *StragglerReport, ranks []RankReport, parts []StragglerPart) []Finding {
	if len(s.Ranks) == 0 {
		return nil
	}
	first := s.Ranks[0]
	part := share(first.BlameNs, ranks[first.Index].Temporal.SpanNs)
	at := slices.IndexFunc(parts[first.Index].Collectives,
		func(c Collective) bool { return c.Slice == first.WorstSlice })
	if part < stragglerShare || first.WorstSlice == NoSlice || at < 0 {
		return nil
	}
	c := &parts[first.Index].Collectives[at]
	return []Finding{{
		Code: finding.WaitedFor, Severity: severityOf(part), Number: float64(first.BlameNs) / 1e6, Unit: "ms",
		Evidence: Evidence{Rank: first.Index, Track: c.Track, Slice: c.Slice, StartNs: c.StartNs, EndNs: c.End()},
		Text: fmt.Sprintf("%sthe other ranks waited %s for it, in %d of %d collectives",
			whose(&parts[first.Index].Meta), units.Duration(float64(first.BlameNs)), first.LastCount, first.Matched),
	}}
}

// guessFinding names the kernels of a rank that may communicate and were taken for compute.
func (f *frame) guessFinding(at int, r *RankReport) []Finding {
	list := r.Comms.Guesses
	if len(list) == 0 {
		return nil
	}
	severity := Info
	if coll.Doubtful(list[0].Name) {
		severity = Notice
	}
	return []Finding{{
		Code: finding.TakenForCompute, Severity: severity, Text: f.who() + coll.GuessText(list),
		Number: float64(list[0].SumNs) / 1e3, Unit: "us",
		Evidence: SliceEvidence(f.tr, at, list[0].First), Doubt: true,
	}}
}

// UnmatchedText says in a sentence which collectives were not compared, and why.
func UnmatchedText(u coll.Unmatched) string {
	group := ""
	if u.Group != "" {
		group = " of group " + strings.TrimSpace(u.Group)
	}
	return fmt.Sprintf("%s%s on %s were not compared: %s", units.Plural(u.Count, "collective"), group,
		units.Plural(len(u.Ranks), "rank"), u.Reason)
}
