package timeline

// Recorded is when the rank of a trace recorded, as it measured it itself.
type Recorded struct {
	FromNs, ToNs int64 // by the trace's clock; ToNs 0: nobody said
	State        string
	StoppedBy    string // what ended it; "" is not known
}

// Window is when a rank recorded, on the timeline's clock.
type Window struct {
	Trace  int    `json:"trace"`
	Name   string `json:"name"`
	FromNs int64  `json:"from_ns"`
	ToNs   int64  `json:"to_ns"` // where the trace ends if nobody measured the end
	// ErrorNs bounds how far both instants may lie off the common clock; 0 with one trace.
	ErrorNs   int64  `json:"error_ns"`
	Open      bool   `json:"open,omitempty"` // nobody measured the end
	State     string `json:"state,omitempty"`
	StoppedBy string `json:"stopped_by,omitempty"`
}

// Windows is when the ranks of a session recorded, and how well they began together.
type Windows struct {
	Windows []Window `json:"windows"` // in order of the traces
	// AgreedNs is the instant at which all were told to begin; nil: there was none, or where it
	// lies on this timeline is not known.
	AgreedNs *int64 `json:"agreed_ns,omitempty"`
	// Together says that the traces are on one clock. Without it each begins at 0, and nothing is known
	// of how the windows lie to each other.
	Together bool `json:"together"`
	// SkewNs is from the first begin to the last one, as measured; its error is that of both.
	SkewNs int64 `json:"skew_ns"`
	// CommonNs is for how long all of them recorded; 0 if there is no such time.
	CommonNs int64 `json:"common_ns"`
}

// Windows lists when each rank recorded. Traces of which nobody measured it have none.
func (tl *Timeline) Windows() Windows {
	out := Windows{Windows: []Window{}}
	for i, p := range tl.parts {
		r := p.Recorded
		if r == nil || !p.t.Meta.WallClock {
			continue
		}
		w := Window{Trace: i, Name: tl.Name(i), FromNs: p.clock.Map(r.FromNs), ToNs: p.to, Open: r.ToNs <= r.FromNs,
			State: r.State, StoppedBy: r.StoppedBy}
		if !w.Open {
			w.ToNs = p.clock.Map(r.ToNs)
		}
		w.ToNs = max(w.ToNs, w.FromNs)
		if tl.Placement == ByClock && len(tl.parts) > 1 {
			w.ErrorNs = p.Clock.ErrorNs
		}
		out.Windows = append(out.Windows, w)
	}
	if tl.Placement != ByClock || len(out.Windows) == 0 {
		return out
	}
	if tl.agreed != 0 && tl.Wall {
		at := tl.agreed - tl.StartNs
		out.AgreedNs = &at
	}
	first, last, end := out.Windows[0].FromNs, out.Windows[0].FromNs, out.Windows[0].ToNs
	for _, w := range out.Windows[1:] {
		first, last, end = min(first, w.FromNs), max(last, w.FromNs), min(end, w.ToNs)
	}
	out.Together = true
	out.SkewNs, out.CommonNs = last-first, max(0, end-last)
	return out
}
