package timeline

import (
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/coll"
)

// Limits of the answer about communication.
const (
	commCells   = 160 // of the heat map: columns
	maxCommRows = 500
)

// CommRank is one trace's part in the communication.
type CommRank struct {
	Trace     int    `json:"trace"`
	Stage     string `json:"stage,omitempty"`
	Name      string `json:"name"`
	Calls     int    `json:"calls"`
	CommNs    int64  `json:"comm_ns"`    // sum over its collectives
	ComputeNs int64  `json:"compute_ns"` // merged, of its devices
	Matched   int    `json:"matched"`
	LastCount int    `json:"last_count"`
	BlameNs   int64  `json:"blame_ns"`
	WaitNs    int64  `json:"wait_ns"`
	Worst     string `json:"worst,omitempty"` // slice of the collective that the others waited for longest
}

// CommRow is the collectives of one operation, group, type and size of one trace.
type CommRow struct {
	Trace int `json:"trace"`
	coll.Row
	Longest string `json:"longest,omitempty"`
}

// Communication says who communicated how much, and who waited for whom.
type Communication struct {
	Ranks []CommRank `json:"ranks"` // in the order of the traces; of those that communicate
	Rows  []CommRow  `json:"rows"`  // most time first
	// Matched collectives were found on two ranks at least; Partial of them lack a rank.
	Matched int      `json:"matched"`
	Partial int      `json:"partial"`
	Notes   []string `json:"notes"` // what could not be compared
	// Bytes[i][j] is how many bytes Ranks[j] got from Ranks[i]; Unplaced is the bytes of matched
	// collectives for which that is not known. See coll.Traffic.
	Bytes    [][]int64 `json:"bytes"`
	Unplaced int64     `json:"unplaced_bytes"`
	// WaitNs[i][j] is how long Ranks[i] waited in collectives that Ranks[j] entered last.
	WaitNs [][]int64 `json:"wait_ns"`
	// LateNs[j][c] is how long, on the mean, the others waited for Ranks[j] in the collectives
	// that it entered last and began in the cell of CellNs that begins at c*CellNs.
	CellNs int64     `json:"cell_ns"`
	LateNs [][]int64 `json:"late_ns"`
}

// Communication says who communicated how much, and who waited for whom.
func (tl *Timeline) Communication() *Communication { return tl.side.comm.get(tl.communication) }

func (tl *Timeline) communication() *Communication {
	out := &Communication{Ranks: []CommRank{}, Rows: []CommRow{}, Notes: []string{},
		CellNs: max(1, (tl.EndNs+commCells-1)/commCells)}
	parts := make([]analysis.StragglerPart, len(tl.parts))
	place := make([]int, len(tl.parts)) // by trace: in out.Ranks; -1
	for i, p := range tl.parts {
		parts[i] = p.look().StragglerPart()
		place[i] = -1
		if len(parts[i].Collectives) == 0 {
			continue
		}
		name, _ := tl.rankName(i)
		r := CommRank{Trace: i, Stage: p.t.Meta.Stage, Name: name, Calls: len(parts[i].Collectives),
			ComputeNs: parts[i].ComputeNs}
		for _, row := range coll.Rows(parts[i].Collectives) {
			c := CommRow{Trace: i, Row: row}
			if row.Worst >= 0 {
				c.Longest = sliceID(i, uint32(row.Worst))
			}
			r.CommNs += row.SumNs
			out.Rows = append(out.Rows, c)
		}
		place[i] = len(out.Ranks)
		out.Ranks = append(out.Ranks, r)
	}
	slices.SortStableFunc(out.Rows, func(a, b CommRow) int { return int(min(1, max(-1, b.SumNs-a.SumNs))) })
	out.Rows = out.Rows[:min(len(out.Rows), maxCommRows)]
	if len(out.Ranks) < 2 {
		return out
	}
	tl.waits(out, parts, place)
	return out
}

// waits fills in who waited for whom.
func (tl *Timeline) waits(out *Communication, parts []analysis.StragglerPart, place []int) {
	ranks, m := analysis.MatchParts(parts)
	rep := analysis.StragglersIn(parts, ranks, &m)
	out.Matched, out.Partial = rep.Matched, rep.Partial
	for _, u := range rep.Unmatched {
		out.Notes = append(out.Notes, analysis.UnmatchedText(u))
	}
	for _, s := range rep.Ranks {
		if place[s.Index] < 0 {
			continue
		}
		r := &out.Ranks[place[s.Index]]
		r.Matched, r.LastCount, r.BlameNs, r.WaitNs = s.Matched, s.LastCount, s.BlameNs, s.WaitNs
		if s.WorstSlice != analysis.NoSlice {
			r.Worst = sliceID(s.Index, uint32(s.WorstSlice))
		}
	}
	for range out.Ranks {
		out.WaitNs = append(out.WaitNs, make([]int64, len(out.Ranks)))
		out.LateNs = append(out.LateNs, make([]int64, commCells))
	}
	out.traffic(m.Traffic(ranks), place)
	for k := range m.Sets {
		set := &m.Sets[k]
		waits := set.Waits(ranks)
		if waits == nil {
			continue
		}
		last, sum := 0, int64(0)
		for j, w := range waits {
			if w < waits[last] {
				last = j
			}
			sum += w
		}
		to := place[set.Members[last].Rank]
		for j, w := range waits {
			if from := place[set.Members[j].Rank]; j != last {
				out.WaitNs[from][to] += w
			}
		}
		late := set.Members[last]
		at := tl.parts[late.Rank].clock.Map(ranks[late.Rank].List[late.Index].StartNs)
		cell := min(commCells-1, max(0, at/out.CellNs))
		out.LateNs[to][cell] += sum / int64(max(1, len(waits)-1))
	}
}

// traffic fills in what went between the ranks that communicate.
func (c *Communication) traffic(t coll.Traffic, place []int) {
	c.Unplaced = t.Unplaced
	for range c.Ranks {
		c.Bytes = append(c.Bytes, make([]int64, len(c.Ranks)))
	}
	for i, row := range t.Bytes {
		for j, n := range row {
			if n > 0 {
				c.Bytes[place[i]][place[j]] += n
			}
		}
	}
}
