package trace

import (
	"encoding/json"
	"errors"
	"fmt"
)

// maxViolations bounds what Validate reports.
const maxViolations = 20

// Validate checks what every reader promises: columns of equal length, ids that exist,
// durations not negative, valid argument objects, slices that nest in their lanes. It
// reads every row and is meant for tests. The error joins the violations found.
func (t *Trace) Validate() error {
	v := validator{t: t}
	v.lengths()
	if v.errs == nil {
		v.slices()
		v.others()
	}
	if v.errs == nil {
		v.nesting()
	}
	return errors.Join(v.errs...)
}

type validator struct {
	t    *Trace
	errs []error
}

func (v *validator) fail(format string, a ...any) {
	if len(v.errs) < maxViolations {
		v.errs = append(v.errs, fmt.Errorf(format, a...))
	}
}

func (v *validator) same(table string, want int, lens ...int) {
	for _, n := range lens {
		if n != want {
			v.fail("%s: columns of %d and %d rows", table, want, n)
		}
	}
}

func (v *validator) lengths() {
	s, i, c, f := &v.t.Slices, &v.t.Instants, &v.t.Counters, &v.t.Flows
	v.same("slices", len(s.Start), len(s.Dur), len(s.Name), len(s.Cat), len(s.Track), len(s.Corr), len(s.Args),
		len(s.Event))
	v.same("instants", len(i.Time), len(i.Name), len(i.Cat), len(i.Track), len(i.Args))
	v.same("counters", len(c.Time), len(c.Name), len(c.Series), len(c.Track), len(c.Value))
	v.same("flows", len(f.Time), len(f.ID), len(f.Track), len(f.Cat), len(f.Name), len(f.Start))
}

func (v *validator) ids(table string, i int, track TrackID, names ...StringID) {
	if int(track) >= len(v.t.Tracks) {
		v.fail("%s %d: track %d of %d", table, i, track, len(v.t.Tracks))
	}
	for _, n := range names {
		if int(n) >= v.t.Strings.Len() {
			v.fail("%s %d: string %d of %d", table, i, n, v.t.Strings.Len())
		}
	}
}

func (v *validator) category(table string, i int, c Category) {
	if c >= catStatic && (c < CatDynamic || int(c-CatDynamic) >= len(v.t.cats)) {
		v.fail("%s %d: category %d is not registered", table, i, c)
	}
}

func (v *validator) args(table string, i int, r ArgsRef) {
	if r == NoArgs {
		return
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(v.t.Args(r), &m); err != nil {
		v.fail("%s %d: args %q: %w", table, i, v.t.Args(r), err)
	}
}

func (v *validator) slices() {
	s := &v.t.Slices
	for i := range s.Start {
		v.ids("slice", i, s.Track[i], s.Name[i])
		v.category("slice", i, s.Cat[i])
		v.args("slice", i, s.Args[i])
		if s.Dur[i] < 0 {
			v.fail("slice %d: dur %d", i, s.Dur[i])
		}
		if s.Corr[i] == 0 {
			v.fail("slice %d: correlation 0", i)
		}
		if i > 0 && s.Event[i] <= s.Event[i-1] {
			v.fail("slice %d: event %d after %d", i, s.Event[i], s.Event[i-1])
		}
	}
}

func (v *validator) others() {
	t := v.t
	for i := range t.Instants.Time {
		v.ids("instant", i, t.Instants.Track[i], t.Instants.Name[i])
		v.category("instant", i, t.Instants.Cat[i])
		v.args("instant", i, t.Instants.Args[i])
	}
	for i := range t.Counters.Time {
		v.ids("counter", i, t.Counters.Track[i], t.Counters.Name[i], t.Counters.Series[i])
	}
	for i := range t.Flows.Time {
		v.ids("flow", i, t.Flows.Track[i], t.Flows.Name[i], t.Flows.Cat[i])
	}
}

// nesting checks the index: every slice once, parents hold their children, and lanes
// nest exactly.
func (v *validator) nesting() {
	s, x := &v.t.Slices, v.t.Index()
	seen := make([]bool, s.Len())
	for k := range v.t.Tracks {
		ends := make([][]int64, x.Lanes[k])
		for _, i := range x.Track(TrackID(k)) {
			if seen[i] {
				v.fail("slice %d: twice in the index", i)
			}
			seen[i] = true
			if p := x.Parent[i]; p != NoParent {
				if s.Track[p] != s.Track[i] || s.Start[p] > s.Start[i] || s.End(int(p))+NestTolerance < s.End(int(i)) {
					v.fail("slice %d: parent %d does not hold it", i, p)
				}
			}
			l := x.Lane[i]
			e := ends[l]
			for len(e) > 0 && e[len(e)-1] <= s.Start[i] {
				e = e[:len(e)-1]
			}
			if len(e) > 0 && s.End(int(i)) > e[len(e)-1] && l < maxLanes-1 {
				v.fail("slice %d: overlaps another in lane %d", i, l)
			}
			ends[l] = append(e, s.End(int(i)))
		}
	}
	for i, ok := range seen {
		if !ok {
			v.fail("slice %d: missing from the index", i)
		}
	}
}
