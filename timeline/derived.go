package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/internal/lists"
)

// derived is a counter that is computed from a trace and not recorded in it.
type derived struct {
	series
	parent string
	// Of a device's busy share: when some stream of it worked; else nil.
	busy *view.Tally
}

// Derived lists the counters that follow from the traces: tokens in flight over all of them, how
// busy devices are, how much launched work waits for them, requests in flight, sequences and tokens
// of the steps. Their curves are asked for as those of recorded counters are.
func (tl *Timeline) Derived() []Node {
	out := []Node{} // a trace may have two counters for each of its slices
	if s := tl.inSteps(); s.max > least(*s) {
		out = append(out, Node{ID: tokensInFlight, Kind: "counter", Name: s.name, Trace: -1, Samples: len(s.time),
			Max:  s.max,
			Unit: s.unit, Detail: "computed"})
	}
	for i := range tl.parts {
		list := tl.derivedOf(i)
		for k := range list {
			d := &list[k]
			samples := len(d.time)
			if d.busy != nil {
				samples = len(d.busy.Stretches())
			}
			out = append(lists.Doubled(out), Node{ID: strconv.Itoa(i) + ":d" + strconv.Itoa(k), Parent: d.parent,
				Kind: "counter", Name: d.name, Trace: i, Samples: samples, Min: d.min, Max: d.max, Unit: d.unit,
				Detail: "computed"})
		}
	}
	return out
}

// tokensInFlight is the id of the one counter that is of all traces.
const tokensInFlight = "all:tokens"

// inSteps counts the tokens that the steps under way compute, of all traces together, in the
// timeline's time. Ranks of a replica step together: the first that is there stands for them.
func (tl *Timeline) inSteps() *series {
	return tl.side.tokens.get(func() *series {
		type replica struct {
			stage string
			id, n int
		}
		lead := map[replica]int{}
		for i, p := range tl.parts {
			m := &p.t.Meta
			k := replica{m.Stage, m.StageID, m.Replica}
			if m.Rank < 0 {
				k = replica{"", -1, -1 - i} // whose it is is not known: it stands for itself
			}
			if j, ok := lead[k]; !ok || m.Rank < tl.parts[j].t.Meta.Rank {
				lead[k] = i
			}
		}
		var list []change
		for _, i := range lead {
			clock := tl.parts[i].clock
			for _, s := range tl.stepsOf(i).Steps {
				if s.Tokens > 0 {
					list = append(list, change{clock.Map(s.StartNs), float64(s.Tokens)},
						change{clock.Map(max(s.EndNs, s.StartNs+1)), -float64(s.Tokens)})
				}
			}
		}
		out := course("tokens in flight", "tokens", list)
		return &out
	})
}

func (tl *Timeline) derivedOf(i int) []derived {
	return tl.parts[i].cells.derived.get(func() []derived { return tl.derive(i) })
}

func (tl *Timeline) derive(i int) []derived {
	p := tl.parts[i]
	var out []derived
	queues := map[int64][]change{}
	for _, s := range p.look().Queue().Streams {
		queues[s.Lane.Device] = append(queues[s.Lane.Device], changes(s.Series)...)
	}
	devices := p.subject().Seen().View.Devices()
	for k := range devices {
		d := &devices[k]
		if len(d.Busy) == 0 {
			continue
		}
		id := strconv.FormatInt(d.ID, 10)
		parent, of := "dev:"+strconv.Itoa(i)+":"+id, " of device "+id
		share := series{name: "busy" + of, unit: "share", max: 1}
		out = append(lists.Doubled(out), derived{series: share, parent: parent, busy: &d.Tally})
		if q := course("launched, waiting", "launches", queues[d.ID]); q.max > 0 {
			q.name += of
			out = append(lists.Doubled(out), derived{series: q, parent: parent})
		}
	}
	parent := "trace:" + strconv.Itoa(i)
	list := []series{tl.inFlight(i),
		tl.perStep(i, "sequences in the step", "sequences", func(batch, _ int) int { return batch })}
	if len(tl.parts) > 1 { // of one trace the tokens in flight are these
		list = append(list, tl.perStep(i, "tokens in the step", "tokens", func(_, tokens int) int { return tokens }))
	}
	for _, s := range list {
		if s.max > least(s) {
			at := parent
			if s.unit != "requests" && len(p.series) > fewCounters {
				at = counterGroup(i) // with the recorded ones
			}
			out = append(out, derived{series: s, parent: at})
		}
	}
	return out
}

// derivedCounter finds a counter by the id that Derived gave it; nil if no counter has that id.
func (tl *Timeline) derivedCounter(id string) (int, *derived, error) {
	a, b, ok := strings.Cut(id, ":d")
	i, err1 := strconv.Atoi(a)
	k, err2 := strconv.Atoi(b)
	if !ok || err1 != nil || err2 != nil {
		return 0, nil, nil
	}
	if i >= 0 && i < len(tl.parts) && k >= 0 {
		if list := tl.derivedOf(i); k < len(list) {
			return i, &list[k], nil
		}
	}
	return 0, nil, fmt.Errorf("counter %q: %w: GET …/derived lists them", id, ErrNotFound)
}

func (p *part) derivedCurve(id string, d *derived, q Query) Curve {
	if d.busy != nil {
		return p.share(id, d, q)
	}
	return p.curve(id, &d.series, q)
}

// least is the value that a counter has to exceed to be shown: that each step has one
// sequence, the ruler of steps shows already.
func least(s series) float64 {
	if s.unit == "requests" {
		return 0
	}
	return 1
}

// change is by how much a value changes at an instant of the trace.
type change struct {
	at int64
	by float64
}

// changes are the changes of a step function.
func changes(points []analysis.Point) []change {
	out, last := make([]change, 0, len(points)), 0.0
	for _, q := range points {
		out = append(out, change{q.TimeNs, q.Value - last})
		last = q.Value
	}
	return out
}

// course sums changes up to a counter.
func course(name, unit string, list []change) series {
	out := series{name: name, unit: unit}
	slices.SortStableFunc(list, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	v := 0.0
	for k, c := range list {
		v += c.by
		if k+1 < len(list) && list[k+1].at == c.at {
			continue
		}
		out.time, out.value = append(out.time, c.at), append(out.value, v)
		out.max = max(out.max, v)
	}
	return out
}

// inFlight counts the requests that a trace's stage holds.
func (tl *Timeline) inFlight(i int) series {
	return course("requests in flight", "requests", tl.flights()[i])
}

// flights are, by trace, the arrivals and departures of the requests that its stage holds, on its clock.
func (tl *Timeline) flights() [][]change {
	return tl.side.flights.get(func() [][]change {
		out := make([][]change, len(tl.parts))
		for _, r := range tl.Requests() {
			for _, s := range r.Spans {
				if s.Trace >= 0 {
					p := tl.parts[s.Trace]
					out[s.Trace] = append(out[s.Trace], change{p.local(s.StartNs), 1}, change{p.local(s.EndNs), -1})
				}
			}
		}
		return out
	})
}

// perStep is a number that steps have, 0 between them.
func (tl *Timeline) perStep(i int, name, unit string, of func(batch, tokens int) int) series {
	out := series{name: name, unit: unit}
	for _, s := range tl.stepsOf(i).Steps {
		v := float64(of(s.Batch, s.Tokens))
		if n := len(out.time); n > 0 && out.time[n-1] >= s.StartNs {
			out.time, out.value = out.time[:n-1], out.value[:n-1] // it goes on without a pause
		}
		out.time, out.value = append(out.time, s.StartNs, max(s.EndNs, s.StartNs+1)), append(out.value, v, 0)
		out.max = max(out.max, v)
	}
	return out
}

// share is the curve of a device's busy share, a point a column.
func (p *part) share(id string, d *derived, q Query) Curve {
	c := Curve{Track: id, Time: []int64{}, Min: []float64{}, Max: []float64{}, Last: []float64{}, High: 1}
	width := max(1, (q.To-q.From)/int64(q.Px))
	last := -1.0
	for t := q.From; t < q.To; t += width {
		from, to := p.local(t), p.local(t+width)
		v := min(1, float64(d.busy.In(from, to))/float64(max(1, to-from)))
		if v != last {
			c.point(t, v, v, v)
			last = v
		}
	}
	return c
}
