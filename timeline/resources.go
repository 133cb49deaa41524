package timeline

import (
	"github.com/kinetoscope/kinetoscope/analysis"
)

// HeldMemory is what the allocators of one trace held over time.
type HeldMemory struct {
	Trace int    `json:"trace"`
	Name  string `json:"name"`
	// FromNs is when the course begins on the timeline: the times of the course are since then.
	FromNs int64 `json:"from_ns"`
	analysis.MemoryTimeline
}

// Memory returns what the allocators of every trace that tells of them held over time.
func (tl *Timeline) Memory() []HeldMemory {
	out := []HeldMemory{}
	for i, p := range tl.parts {
		m := p.cells.held.get(func() analysis.MemoryTimeline { return analysis.HeldMemory(p.t, analysis.Options{}) })
		if len(m.Devices) == 0 {
			continue
		}
		name, _ := tl.rankName(i)
		out = append(out, HeldMemory{Trace: i, Name: name, FromNs: p.clock.Map(m.StartNs), MemoryTimeline: m})
	}
	return out
}

// Roofline says how fast the operators of one trace computed, and how fast the trace's card can.
type Roofline struct {
	Trace int    `json:"trace"`
	Name  string `json:"name"`
	// Roofs is what the card can do, by the type of numbers; empty if it is not known.
	Roofs map[string]analysis.Roof `json:"roofs"`
	analysis.RooflineReport
	First []string `json:"first_slices"` // by row
}

// maxRoofRows bounds the operators of a roofline: the most arithmetic first.
const maxRoofRows = 300

// Rooflines returns the roofline of every trace in which some arithmetic is known.
func (tl *Timeline) Rooflines() []Roofline {
	out := []Roofline{}
	for i, p := range tl.parts {
		r := p.cells.roof.get(func() Roofline { return tl.roofline(i, p) })
		if len(r.Rows) > 0 {
			out = append(out, r)
		}
	}
	return out
}

func (tl *Timeline) roofline(i int, p *part) Roofline {
	roofs := analysis.RoofsOf(p.t)
	name, _ := tl.rankName(i)
	out := Roofline{Trace: i, Name: name, Roofs: map[string]analysis.Roof{},
		RooflineReport: p.look().Roofline()}
	out.Rows = out.Rows[:min(len(out.Rows), maxRoofRows)]
	for k := range out.Rows {
		r := &out.Rows[k]
		out.First = append(out.First, sliceID(i, uint32(max(0, r.First))))
		if roofs == nil {
			continue
		}
		if roof, ok := roofs(r.DType); ok {
			out.Roofs[r.DType] = roof
		}
	}
	return out
}

// pathFound is a critical path or why there is none.
type pathFound struct {
	path analysis.CriticalPath
	err  error
}

// PathStep is a stretch of the critical path, or several that are narrower than a column.
type PathStep struct {
	Slice   string `json:"slice"` // whose time it is, or that it leads to; of several the longest
	Track   string `json:"track"`
	Name    string `json:"name"`
	Type    string `json:"type"`
	Bound   string `json:"bound"`
	Count   int    `json:"count"`
	StartNs int64  `json:"start_ns"`
	EndNs   int64  `json:"end_ns"`
	longest int64
}

// PathName is the time of the path in slices of one name.
type PathName struct {
	analysis.CriticalByName
	Slice string `json:"slice"`
}

// Path is the longest chain of work and waits of one trace.
type Path struct {
	Trace   int                      `json:"trace"`
	Name    string                   `json:"name"`
	None    string                   `json:"none,omitempty"` // why there is no path
	TotalNs int64                    `json:"total_ns"`
	Edges   int                      `json:"edges"`
	Slices  int                      `json:"slices"`
	Bounds  []analysis.CriticalBound `json:"bounds"`
	ByName  []PathName               `json:"by_name"`
	Steps   []PathStep               `json:"steps"` // in the window
	// slices in the window that are as wide as a column, the first 4000
	OnPath []string `json:"on_path"`
}

// Limits of a path.
const (
	maxPathNames  = 100
	maxPathSlices = 4000
)

// Path returns the critical path of trace i in q's window.
func (tl *Timeline) Path(i int, q Query) (*Path, error) {
	p, err := tl.part(i)
	if err == nil {
		err = q.check()
	}
	if err != nil {
		return nil, err
	}
	f := p.cells.path.get(func() pathFound {
		path, err := p.look().CriticalPath(analysis.CriticalOptions{})
		return pathFound{path, err}
	})
	name, _ := tl.rankName(i)
	if f.err != nil {
		return &Path{Trace: i, Name: name, None: f.err.Error(), Bounds: []analysis.CriticalBound{},
			ByName: []PathName{}, Steps: []PathStep{}, OnPath: []string{}}, nil
	}
	out := &Path{Trace: i, Name: name, TotalNs: f.path.TotalNs, Edges: f.path.EdgeCount, Slices: f.path.SliceCount,
		Bounds: f.path.Bounds,
		ByName: []PathName{}, Steps: []PathStep{}, OnPath: []string{}}
	for _, n := range f.path.ByName[:min(len(f.path.ByName), maxPathNames)] {
		out.ByName = append(out.ByName, PathName{n, sliceID(i, uint32(max(0, n.Worst)))})
	}
	column := (q.To - q.From) / int64(q.Px)
	for k := range f.path.Edges {
		if s, ok := tl.pathStep(i, p, &f.path.Edges[k]); ok && s.EndNs > q.From && s.StartNs < q.To {
			out.add(s, column)
		}
	}
	for _, s := range f.path.Slices {
		if p.t.Slices.Dur[s] >= column && p.end(uint32(s)) > q.From && p.start(uint32(s)) < q.To &&
			len(out.OnPath) < maxPathSlices {
			out.OnPath = append(out.OnPath, sliceID(i, uint32(s)))
		}
	}
	return out, nil
}

// add adds a step, to the last one if both are narrower than a column and alike.
func (out *Path) add(s PathStep, column int64) {
	if n := len(out.Steps); n > 0 {
		last := &out.Steps[n-1]
		if s.Bound == last.Bound && s.EndNs-s.StartNs < column && s.StartNs-last.StartNs < column {
			last.Count++
			last.EndNs = max(last.EndNs, s.EndNs)
			if ns := s.EndNs - s.StartNs; ns > last.longest {
				last.Slice, last.Track, last.Name, last.Type, last.longest = s.Slice, s.Track, s.Name, s.Type, ns
			}
			return
		}
	}
	out.Steps = append(out.Steps, s)
}

// pathStep is an edge that takes time.
func (tl *Timeline) pathStep(i int, p *part, e *analysis.CriticalEdge) (PathStep, bool) {
	if e.Ns <= 0 {
		return PathStep{}, false
	}
	at := func(s int32, end bool) int64 {
		if end {
			return p.end(uint32(s))
		}
		return p.start(uint32(s))
	}
	s := uint32(e.To)
	if e.Slice >= 0 {
		s = uint32(e.Slice)
	}
	a, b := at(e.From, e.FromEnd), at(e.To, e.ToEnd)
	out := PathStep{Slice: sliceID(i, s), Track: trackID(i, p.t.Slices.Track[s]), Name: p.t.String(p.t.Slices.Name[s]),
		Type:  e.Type.String(),
		Bound: e.Bound.String(), Count: 1, StartNs: min(a, b), EndNs: max(a, b)}
	out.longest = out.EndNs - out.StartNs
	return out, true
}
