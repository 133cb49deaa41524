package analysis

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// noStream is HTA's stream of a row without a numeric stream argument.
const noStream = int64(-1)

var stepName = regexp.MustCompile(`^ProfilerStep\s*#\s*(\d+)`)

// htaStepNames adds the distinct names of tr's ProfilerStep slices to set.
func htaStepNames(tr *trace.Trace, set map[string]bool) {
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

// buildHTA builds the rows that HTA would have after loading.
func (f *frame) buildHTA(filter bool) {
	s := &f.tr.Slices
	n := int32(s.Len())
	f.keep = make([]bool, n)
	stream := make([]int64, n)
	float := false
	for i := range n {
		f.keep[i] = s.Cat[i] != trace.CatTraceSpan && s.Cat[i] != trace.CatOther
		stream[i] = htaStream(f.tr, int(i))
		float = float || f.keep[i] && s.Start[i]%1000 != 0
	}
	if float {
		f.roundHTA()
	}
	gpu := func(i int32) bool {
		if stream[i] >= 0 && s.Corr[i] >= 0 {
			return true
		}
		name := f.name(i)
		return name == "Event Sync" || name == "Context Sync"
	}
	f.link(func(i int32) bool { return !gpu(i) }, gpu)
	f.stepsHTA(stream)
	if filter {
		f.dropLastStepHTA(stream)
	}
	f.laneOf = make([]int32, n)
	seen := map[int64]int32{}
	for i := range n {
		f.laneOf[i] = noSlice
		if !f.keep[i] || stream[i] == noStream {
			continue
		}
		l, ok := seen[stream[i]]
		if !ok {
			l = int32(len(f.lanes))
			seen[stream[i]] = l
			f.lanes = append(f.lanes, Lane{Device: -1, Stream: stream[i], Track: s.Track[i]})
		}
		f.laneOf[i] = l
		f.dev = append(f.dev, i)
	}
	f.classify(func(_ trace.Category, name string) Kind { return htaKind(name) })
}

// htaStream is args.stream if it is a number or the text of one.
func htaStream(tr *trace.Trace, i int) int64 {
	raw := tr.Arg(i, "stream")
	if len(raw) == 0 {
		return noStream
	}
	text := strings.Trim(string(raw), `"`)
	if v, err := strconv.ParseInt(text, 10, 64); err == nil {
		return v
	}
	return noStream
}

// roundHTA does to times what HTA does where a file has fractional microseconds:
// through float64, start up, end down, so that a short slice gets a duration of -1 us.
func (f *frame) roundHTA() {
	s := &f.tr.Slices
	n := s.Len()
	f.start, f.dur = make([]int64, n), make([]int64, n)
	base := int64(0)
	if f.tr.Meta.WallClock {
		base = f.tr.Meta.BaseTimeNs
	}
	for i := range n {
		ns := s.Start[i] - base
		ts := float64(ns/1000) + float64(ns%1000)/1000
		end := math.Floor(ts + float64(s.Dur[i])/1000)
		ts = math.Ceil(ts)
		f.start[i], f.dur[i] = base+int64(ts)*1000, int64(end-ts)*1000
	}
}

// stepsHTA gives every slice the number of its ProfilerStep: of the last step around
// its start on the host, of its launch on a stream above 0, of nothing on stream 0.
func (f *frame) stepsHTA(stream []int64) {
	s := &f.tr.Slices
	n := int32(s.Len())
	f.step = make([]int32, n)
	type stepSpan struct {
		start, end int64
		number     int32
	}
	var steps []stepSpan
	for i := range n {
		f.step[i] = -1
		name := f.name(i)
		if !f.keep[i] || !strings.HasPrefix(name, "ProfilerStep") {
			continue
		}
		if m := stepName.FindStringSubmatch(name); m != nil {
			if k, err := strconv.ParseInt(m[1], 10, 32); err == nil {
				steps = append(steps, stepSpan{f.start[i], f.end(i), int32(k)})
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
		if f.keep[i] && (stream[i] < 0 || stream[i] == 0 && s.Cat[i] == trace.CatCPUOp) {
			f.step[i] = at(f.start[i])
		}
	}
	for i := range n {
		if f.keep[i] && stream[i] > 0 && f.partner[i] >= 0 {
			f.step[i] = f.step[f.partner[i]]
		}
	}
}

// dropLastStepHTA drops the last ProfilerStep and the device work that it launched.
func (f *frame) dropLastStepHTA(stream []int64) {
	s := &f.tr.Slices
	n := int32(s.Len())
	limit, have := int64(0), false
	for i := range n {
		if f.keep[i] && stream[i] < 0 && strings.HasPrefix(f.name(i), "ProfilerStep") {
			t := f.start[i]
			if f.opt.HTAIncludeLastStep {
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
		if f.keep[i] && stream[i] < 0 {
			f.keep[i] = f.start[i] < limit
			if f.keep[i] {
				launched[s.Corr[i]] = true
			}
		}
	}
	for i := range n {
		if f.keep[i] && stream[i] >= 0 {
			f.keep[i] = launched[s.Corr[i]]
		}
	}
}
