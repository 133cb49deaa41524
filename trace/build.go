package trace

// New returns an empty trace: rank and stage unknown.
func New() *Trace {
	return &Trace{Meta: Meta{Rank: -1, StageID: -1}}
}

// AddTrack adds a lane and returns its id. It does not look for an equal one. What is no UTF-8 in its texts is
// replaced, and counted.
func (t *Trace) AddTrack(k Track) TrackID {
	for _, text := range []*string{&k.PIDText, &k.TIDText, &k.Process, &k.Name, &k.Labels} {
		*text = t.valid(*text)
	}
	t.Tracks = append(t.Tracks, k)
	return TrackID(len(t.Tracks) - 1)
}

// Slice is one row of Slices, for building and for tests; traces are kept as columns.
type Slice struct {
	Start, Dur int64 // ns
	Name       string
	Cat        Category
	Track      TrackID
	Corr       int64 // 0 is taken as none, as Kineto has no correlation 0
	Args       []byte
}

// AddSlice appends a slice and returns its index. Its Event is the number of rows of
// all kinds added before.
func (t *Trace) AddSlice(s Slice) int {
	if s.Corr == 0 {
		s.Corr = NoCorrelation
	}
	c := &t.Slices
	c.Event = append(c.Event, t.events())
	c.Start = append(c.Start, s.Start)
	c.Dur = append(c.Dur, max(0, s.Dur))
	c.Name = append(c.Name, t.Intern(s.Name))
	c.Cat = append(c.Cat, s.Cat)
	c.Track = append(c.Track, s.Track)
	c.Corr = append(c.Corr, s.Corr)
	c.Args = append(c.Args, t.AddArgs(s.Args))
	return len(c.Start) - 1
}

// events returns the number of rows of all kinds.
func (t *Trace) events() uint32 {
	return uint32(len(t.Slices.Start) + len(t.Instants.Time) + len(t.Counters.Time) + len(t.Flows.Time))
}

// AddInstant appends a point in time and returns its index. at is in ns.
func (t *Trace) AddInstant(at int64, name string, cat Category, track TrackID, args []byte) int {
	c := &t.Instants
	c.Time = append(c.Time, at)
	c.Name = append(c.Name, t.Intern(name))
	c.Cat = append(c.Cat, cat)
	c.Track = append(c.Track, track)
	c.Args = append(c.Args, t.AddArgs(args))
	return len(c.Time) - 1
}

// AddCounter appends a sample of a series and returns its index. at is in ns.
func (t *Trace) AddCounter(at int64, name, series string, track TrackID, value float64) int {
	c := &t.Counters
	c.Time = append(c.Time, at)
	c.Name = append(c.Name, t.Intern(name))
	c.Series = append(c.Series, t.Intern(series))
	c.Track = append(c.Track, track)
	c.Value = append(c.Value, value)
	return len(c.Time) - 1
}

// AddFlow appends one end of an arrow and returns its index. at is in ns; start is
// true for the end where the arrow begins.
func (t *Trace) AddFlow(at int64, id uint64, cat, name string, track TrackID, start bool) int {
	c := &t.Flows
	c.Time = append(c.Time, at)
	c.ID = append(c.ID, id)
	c.Track = append(c.Track, track)
	c.Cat = append(c.Cat, t.Intern(cat))
	c.Name = append(c.Name, t.Intern(name))
	c.Start = append(c.Start, start)
	return len(c.Time) - 1
}

// Timeless reports whether slice i has no time, though its place in the file and its
// name are known.
func (t *Trace) Timeless(i int) bool {
	at, base := t.Slices.Start[i], t.Meta.BaseTimeNs
	return t.Meta.ZeroIsNoTime && at == base || base > 0 && at == 0 // the zero of the file, or of the clock
}

// Extent returns the first start and the last end of the slices, ignoring those without
// a time and strays; ok is false if there are none.
func (t *Trace) Extent() (start, end int64, ok bool) {
	var stray map[int32]bool
	for _, i := range t.Strays().Slices {
		if stray == nil {
			stray = map[int32]bool{}
		}
		stray[i] = true
	}
	for i, s := range t.Slices.Start {
		if t.Timeless(i) || t.Slices.Cat[i] == CatTraceSpan || stray != nil && stray[int32(i)] {
			continue
		}
		if e := s + t.Slices.Dur[i]; !ok {
			start, end, ok = s, e, true
		} else {
			start, end = min(start, s), max(end, e)
		}
	}
	return start, end, ok
}

// DuplicateIDs counts rows that share an id which should be theirs alone: runtime
// calls with the correlation of an earlier one, and starts of flows with the id and
// category of an earlier one. It reads all rows; nothing is repaired, for device work
// shares its launch's correlation rightly.
func (t *Trace) DuplicateIDs() (calls, flows int) {
	seen := make(map[int64]struct{})
	for i, c := range t.Slices.Cat {
		if !c.Runtime() || t.Slices.Corr[i] == NoCorrelation {
			continue
		}
		if _, dup := seen[t.Slices.Corr[i]]; dup {
			calls++
		}
		seen[t.Slices.Corr[i]] = struct{}{}
	}
	type flow struct {
		id  uint64
		cat StringID
	}
	ids := make(map[flow]struct{})
	for i, start := range t.Flows.Start {
		if !start {
			continue
		}
		k := flow{t.Flows.ID[i], t.Flows.Cat[i]}
		if _, dup := ids[k]; dup {
			flows++
		}
		ids[k] = struct{}{}
	}
	return calls, flows
}
