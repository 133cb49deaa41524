package hta

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
)

// NoStream is the stream of a row without a numeric stream argument.
const NoStream = int64(-1)

// Options change which rows count.
type Options struct {
	IncludeLastStep bool // keep the last ProfilerStep, as include_last_profiler_step does
	AllSteps        bool // no step filter, as in HTA's TraceDiff
}

// Rows are the slices of a trace as HTA holds them after loading: one entry for each slice.
type Rows struct {
	Start, Dur []int64     // ns; the trace's own columns unless times were rounded
	Keep       []bool      // which slices count
	Lanes      []view.Lane // streams in order of first appearance; Device is -1
	LaneOf     []int32     // index into Lanes, view.None if it is on no stream
	Work       []int32     // rows on streams, in file order
	Partner    []int32     // for a device row its launch, for a launch its last device row
	Ambiguous  int         // calls whose correlation an earlier call has too
	Step       []int32     // number of the ProfilerStep, -1 if none

	tr     *trace.Trace
	stream []int64
}

// HasSteps reports whether the ranks of a job together have at least two ProfilerSteps with
// different names: only then the last one is dropped.
func HasSteps(trs []*trace.Trace) bool {
	names := map[string]bool{}
	for _, tr := range trs {
		stepNames(tr, names)
	}
	return len(names) >= 2
}

// stepNames adds the distinct names of tr's ProfilerStep slices to set.
func stepNames(tr *trace.Trace, set map[string]bool) {
	last := trace.StringID(0)
	for _, id := range tr.Slices.Name {
		if id == last {
			continue
		}
		last = id
		if n := tr.String(id); strings.HasPrefix(n, "ProfilerStep") {
			set[n] = true
		}
	}
}

// Load makes the rows of tr. hasSteps is HasSteps of all ranks.
func Load(tr *trace.Trace, hasSteps bool, o Options) *Rows {
	s := &tr.Slices
	n := int32(s.Len())
	r := &Rows{tr: tr, Start: s.Start, Dur: s.Dur, Keep: make([]bool, n), stream: make([]int64, n)}
	float := false
	for i := range n {
		r.Keep[i] = s.Cat[i] != trace.CatTraceSpan && s.Cat[i] != trace.CatOther
		r.stream[i] = streamOf(tr, int(i))
		float = float || r.Keep[i] && s.Start[i]%1000 != 0
	}
	if float {
		r.round()
	}
	r.link()
	r.findSteps()
	if hasSteps && !o.AllSteps {
		r.dropLastStep(o.IncludeLastStep)
	}
	r.LaneOf = make([]int32, n)
	seen := map[int64]int32{}
	for i := range n {
		r.LaneOf[i] = view.None
		if !r.Keep[i] || r.stream[i] == NoStream {
			continue
		}
		l, ok := seen[r.stream[i]]
		if !ok {
			l = int32(len(r.Lanes))
			seen[r.stream[i]] = l
			r.Lanes = append(r.Lanes, view.Lane{Device: -1, Stream: r.stream[i], Track: s.Track[i]})
		}
		r.LaneOf[i] = l
		r.Work = append(r.Work, i)
	}
	return r
}

func (r *Rows) name(i int32) string { return r.tr.String(r.tr.Slices.Name[i]) }

// link joins launches and device rows by correlation; a row belongs to the last call of the file
// with its correlation.
func (r *Rows) link() {
	corr := r.tr.Slices.Corr
	gpu := func(i int32) bool {
		if r.stream[i] >= 0 && corr[i] >= 0 {
			return true
		}
		name := r.name(i)
		return name == "Event Sync" || name == "Context Sync"
	}
	r.Partner, r.Ambiguous = view.Link{
		Trace: r.tr, Start: r.Start, Last: true,
		Call: func(i int32) bool { return r.Keep[i] && !gpu(i) },
		Work: func(i int32) bool { return r.Keep[i] && gpu(i) },
	}.Partners()
}

// streamOf is args.stream if it is a number or the text of one.
func streamOf(tr *trace.Trace, i int) int64 {
	raw := tr.Arg(i, "stream")
	if len(raw) == 0 {
		return NoStream
	}
	text := strings.Trim(string(raw), `"`)
	if v, err := strconv.ParseInt(text, 10, 64); err == nil {
		return v
	}
	return NoStream
}

// round changes times as HTA does where a file has fractional microseconds: it converts to float64
// and rounds starts up and ends down, so that a short slice gets a duration of -1 us.
func (r *Rows) round() {
	s := &r.tr.Slices
	n := s.Len()
	r.Start, r.Dur = make([]int64, n), make([]int64, n)
	base := int64(0)
	if r.tr.Meta.WallClock {
		base = r.tr.Meta.BaseTimeNs
	}
	for i := range n {
		ns := s.Start[i] - base
		ts := float64(ns/1000) + float64(ns%1000)/1000
		end := math.Floor(ts + float64(s.Dur[i])/1000)
		ts = math.Ceil(ts)
		r.Start[i], r.Dur[i] = base+int64(ts)*1000, int64(end-ts)*1000
	}
}

var stepName = regexp.MustCompile(`^ProfilerStep\s*#\s*(\d+)`)

// findSteps gives every slice the number of its ProfilerStep: of the last step around its
// start on the host, of its launch on a stream above 0, of nothing on stream 0.
func (r *Rows) findSteps() {
	s := &r.tr.Slices
	n := int32(s.Len())
	r.Step = make([]int32, n)
	type stepSpan struct {
		start, end int64
		number     int32
	}
	var steps []stepSpan
	for i := range n {
		r.Step[i] = -1
		name := r.name(i)
		if !r.Keep[i] || !strings.HasPrefix(name, "ProfilerStep") {
			continue
		}
		if m := stepName.FindStringSubmatch(name); m != nil {
			if k, err := strconv.ParseInt(m[1], 10, 32); err == nil {
				steps = append(steps, stepSpan{r.Start[i], r.Start[i] + r.Dur[i], int32(k)})
			}
		}
	}
	if len(steps) == 0 {
		return
	}
	at := func(ts int64) int32 {
		for j := len(steps) - 1; j >= 0; j-- {
			if steps[j].start <= ts && ts < steps[j].end {
				return steps[j].number
			}
		}
		return -1
	}
	for i := range n {
		if r.Keep[i] && (r.stream[i] < 0 || r.stream[i] == 0 && s.Cat[i] == trace.CatCPUOp) {
			r.Step[i] = at(r.Start[i])
		}
	}
	for i := range n {
		if r.Keep[i] && r.stream[i] > 0 && r.Partner[i] >= 0 {
			r.Step[i] = r.Step[r.Partner[i]]
		}
	}
}

// dropLastStep drops the last ProfilerStep and the device work that it launched.
func (r *Rows) dropLastStep(include bool) {
	s := &r.tr.Slices
	n := int32(s.Len())
	limit, have := int64(0), false
	for i := range n {
		if r.Keep[i] && r.stream[i] < 0 && strings.HasPrefix(r.name(i), "ProfilerStep") {
			t := r.Start[i]
			if include {
				t = math.MaxInt64
			}
			if !have || t > limit {
				limit, have = t, true
			}
		}
	}
	if !have {
		return
	}
	launched := map[int64]bool{}
	for i := range n {
		if r.Keep[i] && r.stream[i] < 0 {
			r.Keep[i] = r.Start[i] < limit
			if r.Keep[i] {
				launched[s.Corr[i]] = true
			}
		}
	}
	for i := range n {
		if r.Keep[i] && r.stream[i] >= 0 {
			r.Keep[i] = launched[s.Corr[i]]
		}
	}
}

// Pair is a launch call and one device row of its correlation.
type Pair struct{ Host, Device int32 }

// Launches joins host and device rows on the correlations of the calls that LaunchCall
// knows.
func (r *Rows) Launches(noMemory bool) []Pair {
	corr := r.tr.Slices.Corr
	wanted := map[int64]bool{}
	for i := range int32(len(corr)) {
		if r.Keep[i] && LaunchCall(r.name(i), noMemory) {
			wanted[corr[i]] = true
		}
	}
	hosts := map[int64][]int32{}
	for i := range int32(len(corr)) {
		if r.Keep[i] && r.LaneOf[i] < 0 && wanted[corr[i]] {
			hosts[corr[i]] = append(hosts[corr[i]], i)
		}
	}
	var out []Pair
	for _, d := range r.Work {
		if wanted[corr[d]] {
			for _, h := range hosts[corr[d]] {
				out = append(out, Pair{h, d})
			}
		}
	}
	return out
}

// StartsSpan is the time in ns between the first and the last start of any row. FullAtLimit takes
// its shares of this time.
func (r *Rows) StartsSpan() int64 {
	lo, hi, any := int64(0), int64(0), false
	for i, t := range r.Start {
		if !r.Keep[i] {
			continue
		}
		if !any {
			lo, hi, any = t, t, true
		}
		lo, hi = min(lo, t), max(hi, t)
	}
	return hi - lo
}
