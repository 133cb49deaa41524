package timeline

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Limits of a slice's details.
const (
	maxLinks   = 256 // a launch of a graph starts a thousand kernels; Detail.LinkCount has all
	maxSample  = 1 << 20
	histBins   = 48
	maxParents = 512
)

// Ref is a slice as others refer to it.
type Ref struct {
	ID      string `json:"id"`
	Track   string `json:"track"`
	Lane    string `json:"lane_track,omitempty"` // the packed lane it is on too, if its device was packed
	Name    string `json:"name"`
	Class   Class  `json:"class"`
	StartNs int64  `json:"start_ns"`
	DurNs   int64  `json:"dur_ns"`
}

// Link is a slice that is related to another.
type Link struct {
	Ref
	// Role is what the linked slice is to the one asked for: "launch", "work" that it
	// launched, "flow from" or "flow to".
	Role string `json:"role"`
	// DelayNs is from the end of the earlier to the start of the later; negative where
	// they overlap.
	DelayNs int64 `json:"delay_ns"`
}

// Detail is all that is known of a slice.
type Detail struct {
	Ref
	Trace    int             `json:"trace"`
	Category string          `json:"category"`
	AtNs     int64           `json:"at_ns,omitempty"` // time of day, Unix ns, on the common clock
	SelfNs   int64           `json:"self_ns"`
	RowLane  int             `json:"lane"`
	Depth    int             `json:"depth"`
	Args     json.RawMessage `json:"args,omitempty"`
	Parents  []Ref           `json:"parents"` // innermost first
	Links    []Link          `json:"links"`
	// LinkCount counts the links, of which Links has the first by time.
	LinkCount int          `json:"link_count"`
	Same      Distribution `json:"same"`
	Step      *Span        `json:"step,omitempty"`
	Requests  []string     `json:"requests,omitempty"`
}

// Distribution is how long the slices of one name in one trace took.
type Distribution struct {
	Count   int     `json:"count"`
	TotalNs int64   `json:"total_ns"`
	MeanNs  float64 `json:"mean_ns"`
	MinNs   int64   `json:"min_ns"`
	P50Ns   int64   `json:"p50_ns"`
	P99Ns   int64   `json:"p99_ns"`
	MaxNs   int64   `json:"max_ns"`
	Longest string  `json:"longest"`
	Rank    int     `json:"rank"`    // how many took at least as long as the slice asked for
	Sampled bool    `json:"sampled"` // P50Ns and P99Ns are of a sample
	// Bins count durations in equal steps of their logarithm from MinNs to MaxNs.
	Bins []int `json:"bins"`
}

func (tl *Timeline) ref(i int, s uint32) Ref {
	p := tl.parts[i]
	return Ref{ID: sliceID(i, s), Track: trackID(i, p.t.Slices.Track[s]), Lane: p.packedID(i, s),
		Name: p.t.String(p.t.Slices.Name[s]), Class: p.classOf(s),
		StartNs: p.start(s), DurNs: p.t.Slices.Dur[s]}
}

// Detail describes a slice.
func (tl *Timeline) Detail(id string) (*Detail, error) {
	i, s, err := tl.slice(id)
	if err != nil {
		return nil, err
	}
	p := tl.parts[i]
	d := &Detail{Ref: tl.ref(i, s), Trace: i, Category: p.t.CategoryText(p.t.Slices.Cat[s]), SelfNs: p.index.Self[s],
		RowLane: int(p.index.Lane[s]), Depth: int(p.index.Depth[s]), Args: validArgs(p.t.Args(p.t.Slices.Args[s])),
		Parents: []Ref{}, Links: []Link{}}
	if tl.Wall && tl.Placement == ByClock {
		d.AtNs = tl.StartNs + d.StartNs
	}
	for at := p.index.Parent[s]; at != trace.NoParent && len(d.Parents) < maxParents; at = p.index.Parent[at] {
		d.Parents = append(d.Parents, tl.ref(i, uint32(at)))
	}
	d.Links = append(append(d.Links, tl.launches(i, s)...), tl.flows(i, s)...)
	slices.SortStableFunc(d.Links, func(a, b Link) int { return cmp.Compare(a.StartNs, b.StartNs) })
	if d.LinkCount = len(d.Links); d.LinkCount > maxLinks {
		d.Links = d.Links[:maxLinks]
	}
	d.Same = p.distribution(i, s)
	d.Requests = p.requests(s)
	d.Step = tl.stepOf(i, s)
	return d, nil
}

func validArgs(raw []byte) json.RawMessage {
	if len(raw) == 0 || !json.Valid(raw) {
		return nil
	}
	return raw
}

func (tl *Timeline) link(i int, s uint32, role string, of Ref) Link {
	l := Link{Ref: tl.ref(i, s), Role: role}
	a, b := of, l.Ref
	if b.StartNs < a.StartNs {
		a, b = b, a
	}
	l.DelayNs = b.StartNs - a.StartNs - a.DurNs
	return l
}

// launches finds what a call launched, or what launched device work, by correlation. In
// files of several processes ids repeat; the call that began last before counts.
func (tl *Timeline) launches(i int, s uint32) []Link {
	p := tl.parts[i]
	sl := &p.t.Slices
	c := sl.Corr[s]
	if c == trace.NoCorrelation {
		return nil
	}
	isWork := func(k uint32) bool { return p.t.Tracks[sl.Track[k]].Kind == trace.TrackGPU || sl.Cat[k].Device() }
	work := isWork(s)
	var calls, works []uint32
	for k, kc := range sl.Corr {
		if kc != c || uint32(k) == s {
			continue
		}
		if isWork(uint32(k)) {
			works = append(works, uint32(k))
		} else if sl.Cat[k].Runtime() || !work {
			calls = append(calls, uint32(k))
		}
	}
	of := tl.ref(i, s)
	if work {
		best := -1
		for k, call := range calls {
			if sl.Start[call] <= sl.Start[s] && (best < 0 || sl.Start[call] > sl.Start[calls[best]]) {
				best = k
			}
		}
		if best < 0 && len(calls) > 0 {
			best = 0
		}
		if best >= 0 {
			return []Link{tl.link(i, calls[best], "launch", of)}
		}
		return nil
	}
	until := int64(math.MaxInt64) // the next call of the same id
	for _, call := range calls {
		if sl.Start[call] > sl.Start[s] {
			until = min(until, sl.Start[call])
		}
	}
	var out []Link
	for _, k := range works {
		if sl.Start[k] >= sl.Start[s] && sl.Start[k] < until || len(works) == 1 {
			out = append(out, tl.link(i, k, "work", of))
		}
	}
	return out
}

// flowEnd is one end of an arrow of a trace.
type flowEnd struct {
	part int
	row  int
}

// flows finds the slices at the other ends of the arrows that begin or end in s. Ids hold
// in their trace; those of hand-offs between stages hold in all.
func (tl *Timeline) flows(i int, s uint32) []Link {
	p := tl.parts[i]
	f := &p.t.Flows
	start, end, track := p.t.Slices.Start[s], p.t.Slices.End(int(s)), p.t.Slices.Track[s]
	var out []Link
	of := tl.ref(i, s)
	for row, at := range f.Time {
		if f.Track[row] != track || at < start || at > end {
			continue
		}
		if k, ok := p.around(track, at); !ok || k != s {
			continue
		}
		for _, e := range tl.others(flowEnd{i, row}) {
			q := tl.parts[e.part]
			k, ok := q.around(q.t.Flows.Track[e.row], q.t.Flows.Time[e.row])
			if !ok || e.part == i && (k == s || p.t.Slices.Corr[k] != trace.NoCorrelation &&
				p.t.Slices.Corr[k] == p.t.Slices.Corr[s]) {
				continue // the link of a launch says more
			}
			role := "flow from"
			if f.Start[row] {
				role = "flow to"
			}
			out = append(out, tl.link(e.part, k, role, of))
			if len(out) >= maxLinks {
				return out
			}
		}
	}
	return out
}

// others returns the ends of the arrow of e on the other side.
func (tl *Timeline) others(e flowEnd) []flowEnd {
	f := &tl.parts[e.part].t.Flows
	cat := tl.parts[e.part].t.String(f.Cat[e.row])
	var out []flowEnd
	for j, q := range tl.parts {
		if j != e.part && !crosses(cat) {
			continue
		}
		c, ok := q.t.Strings.Lookup(cat)
		if !ok {
			continue
		}
		g := &q.t.Flows
		for row, id := range g.ID {
			if id == f.ID[e.row] && g.Cat[row] == c && g.Start[row] != f.Start[e.row] && len(out) < maxLinks {
				out = append(out, flowEnd{j, row})
			}
		}
	}
	return out
}

// around returns the innermost slice of a track at an instant of the trace.
func (p *part) around(track trace.TrackID, at int64) (uint32, bool) {
	order := p.index.Track(track)
	s := &p.t.Slices
	n, _ := slices.BinarySearchFunc(order, at, func(k uint32, t int64) int {
		if s.Start[k] <= t {
			return -1
		}
		return 1
	})
	if n == 0 {
		return 0, false
	}
	for k := int32(order[n-1]); k != trace.NoParent; k = p.index.Parent[k] {
		if s.End(int(k)) >= at {
			return uint32(k), true
		}
	}
	return 0, false
}

// distribution sums the durations of the slices of s's name up.
func (p *part) distribution(i int, s uint32) Distribution {
	sl := &p.t.Slices
	d := Distribution{MinNs: math.MaxInt64, Bins: make([]int, histBins)}
	var durs []int64
	longest := s
	for k, n := range sl.Name {
		if n != sl.Name[s] || sl.Cat[k] != sl.Cat[s] {
			continue
		}
		v := sl.Dur[k]
		d.Count++
		d.TotalNs += v
		d.MinNs, d.MaxNs = min(d.MinNs, v), max(d.MaxNs, v)
		if v > sl.Dur[longest] {
			longest = uint32(k)
		}
		if v >= sl.Dur[s] {
			d.Rank++
		}
		if len(durs) < maxSample {
			durs = append(durs, v)
		} else if d.Sampled = true; d.Count%7 == 0 {
			durs[d.Count*2654435761%maxSample] = v
		}
	}
	d.MeanNs = float64(d.TotalNs) / float64(d.Count)
	d.Longest = sliceID(i, longest)
	slices.Sort(durs)
	d.P50Ns, d.P99Ns = durs[len(durs)/2], durs[min(len(durs)-1, len(durs)*99/100)]
	for _, v := range durs {
		d.Bins[logBin(v, d.MinNs, d.MaxNs, histBins)]++
	}
	return d
}

// requests returns the ids that the slice, or one round it, names.
func (p *part) requests(s uint32) []string {
	for k := int32(s); k != trace.NoParent; k = p.index.Parent[k] {
		if id, ok := p.t.ArgText(int(k), trace.ArgRequest); ok && id != "" {
			return []string{id}
		}
		if ids, ok := p.t.ArgText(int(k), trace.ArgRequests); ok && ids != "" {
			return splitList(ids)
		}
	}
	return nil
}
