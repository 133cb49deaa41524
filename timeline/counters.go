package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/trace"
)

// series is one counter: values that hold until the next sample.
type series struct {
	name     string
	unit     string
	time     []int64 // the trace's
	value    []float64
	min, max float64
}

// memoryArgs are what "[memory]" instants say a device holds.
var memoryArgs = []struct{ key, name string }{{"Total Allocated", "allocated"}, {"Total Reserved", "reserved"}}

// seriesOf collects a trace's counters by name and series, and the memory that devices
// held by its "[memory]" instants.
func seriesOf(t *trace.Trace) []series {
	at := map[string]int{}
	var out []series
	add := func(name, unit string, time int64, v float64) {
		if v != v {
			return // no number
		}
		i, ok := at[name]
		if !ok {
			i = len(out)
			at[name] = i
			out = append(out, series{name: name, unit: unit, min: v, max: v})
		}
		s := &out[i]
		s.time, s.value = append(s.time, time), append(s.value, v)
		s.min, s.max = min(s.min, v), max(s.max, v)
	}
	c := &t.Counters
	for i := range c.Time {
		name := t.String(c.Name[i])
		if s := t.String(c.Series[i]); s != "" && s != name {
			name += " " + s
		}
		if k := &t.Tracks[c.Track[i]]; k.Device >= 0 {
			name += " of device " + strconv.FormatInt(k.Device, 10)
		}
		unit := ""
		if strings.Contains(strings.ToLower(name), "bytes") {
			unit = "bytes"
		}
		add(name, unit, c.Time[i], c.Value[i])
	}
	if id, ok := t.Strings.Lookup(trace.NameMemory); ok {
		for i, n := range t.Instants.Name {
			if n != id {
				continue
			}
			ref := t.Instants.Args[i]
			kind, _ := t.RefArgInt(ref, "Device Type")
			dev, _ := t.RefArgInt(ref, "Device Id")
			for _, a := range memoryArgs {
				if v, ok := t.RefArgFloat(ref, a.key); ok && v >= 0 {
					add(analysis.DeviceName(kind, dev)+" memory "+a.name, "bytes", t.Instants.Time[i], v)
				}
			}
		}
	}
	for i := range out {
		s := &out[i]
		if !slices.IsSorted(s.time) {
			sort.Stable((*byTime)(s))
		}
	}
	slices.SortFunc(out, func(a, b series) int { return cmp.Compare(a.name, b.name) })
	return slices.DeleteFunc(out, func(s series) bool { return s.min == s.max && s.min == 0 })
}

type byTime series

func (s *byTime) Len() int           { return len(s.time) }
func (s *byTime) Less(i, j int) bool { return s.time[i] < s.time[j] }
func (s *byTime) Swap(i, j int) {
	s.time[i], s.time[j] = s.time[j], s.time[i]
	s.value[i], s.value[j] = s.value[j], s.value[i]
}

// fewCounters are shown at once; more go into a group that is folded at first.
const fewCounters = 2

// counterGroup is the group of a trace's counters where it has more than fewCounters.
func counterGroup(i int) string { return fmt.Sprintf("counters:%d", i) }

// counters lists a trace's counters.
func (t *tree) counters(i int, parent string) {
	n := len(t.tl.parts[i].series)
	if n > fewCounters {
		id := counterGroup(i)
		t.add(Node{ID: id, Parent: parent, Kind: "counters", Name: "counters", Trace: i, Folded: true})
		parent = id
	}
	for k := range t.tl.parts[i].series {
		s := &t.tl.parts[i].series[k]
		t.add(Node{ID: fmt.Sprintf("%d:c%d", i, k), Parent: parent, Kind: "counter", Name: s.name, Trace: i,
			Samples: len(s.time),
			Min:     s.min, Max: s.max, Unit: s.unit})
	}
}

// Curve is a counter in a window, by column: when the column's first sample lies, and the
// least, greatest and last value there. The first point is what held when the window began.
type Curve struct {
	Track string    `json:"track"`
	Time  []int64   `json:"t"`
	Min   []float64 `json:"min"`
	Max   []float64 `json:"max"`
	Last  []float64 `json:"last"`
	// Low and High are the least and the greatest value of the whole counter.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Counters returns the curves of q's tracks.
func (tl *Timeline) Counters(q Query) ([]Curve, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	out := []Curve{}
	for _, id := range q.Tracks {
		if id == tokensInFlight {
			out = append(out, (&part{}).curve(id, tl.inSteps(), q)) // in the timeline's own time
			continue
		}
		if i, d, err := tl.derivedCounter(id); d != nil || err != nil {
			if err != nil {
				return nil, err
			}
			out = append(out, tl.parts[i].derivedCurve(id, d, q))
			continue
		}
		i, s, err := tl.counter(id)
		if err != nil {
			return nil, err
		}
		out = append(out, tl.parts[i].curve(id, s, q))
	}
	return out, nil
}

func (tl *Timeline) counter(id string) (int, *series, error) {
	a, b, ok := strings.Cut(id, ":c")
	i, err1 := strconv.Atoi(a)
	k, err2 := strconv.Atoi(b)
	if !ok || err1 != nil || err2 != nil || i < 0 || i >= len(tl.parts) || k < 0 || k >= len(tl.parts[i].series) {
		return 0, nil, fmt.Errorf("counter %q: %w: GET …/tracks lists them", id, ErrNotFound)
	}
	return i, &tl.parts[i].series[k], nil
}

func (p *part) curve(id string, s *series, q Query) Curve {
	c := Curve{Track: id, Time: []int64{}, Min: []float64{}, Max: []float64{}, Last: []float64{}, Low: s.min,
		High: s.max}
	from, to := p.local(q.From), p.local(q.To)
	width := max(1, (to-from)/int64(q.Px))
	at, _ := slices.BinarySearch(s.time, from)
	if at > 0 {
		v := s.value[at-1]
		c.point(q.From, v, v, v)
	}
	for at < len(s.time) && s.time[at] < to {
		col := (s.time[at] - from) / width
		lo, hi, first := s.value[at], s.value[at], s.time[at]
		for at < len(s.time) && s.time[at] < to && (s.time[at]-from)/width == col {
			lo, hi = min(lo, s.value[at]), max(hi, s.value[at])
			at++
		}
		c.point(p.clock.Map(first), lo, hi, s.value[at-1])
	}
	return c
}

func (c *Curve) point(t int64, lo, hi, last float64) {
	c.Time, c.Min, c.Max, c.Last = append(c.Time, t), append(c.Min, lo), append(c.Max, hi), append(c.Last, last)
}
