package view

import (
	"net/http"

	"github.com/kinetoscope/kinetoscope/analysis/compare"
	"github.com/kinetoscope/kinetoscope/timeline"
)

// allTraces as trace_a and trace_b asks for all pairs of traces together.
const allTraces = "-1"

// maxSummed bounds the pairs of one answer; each takes as long as one that is asked for alone.
const maxSummed = 64

func allAsked(r *http.Request) bool {
	v := r.URL.Query()
	return v.Get("trace_a") == allTraces && v.Get("trace_b") == allTraces
}

// allBody is the body of GET /v1/compare/traces for all pairs.
type allBody struct {
	SchemaVersion int `json:"schema_version"`
	TraceA        int `json:"trace_a"` // -1
	TraceB        int `json:"trace_b"`
	*compare.Sum
	// Pairs are those that were added up, of all that there are.
	Pairs    []timeline.Pair `json:"pairs"`
	AllPairs int             `json:"all_pairs"`
	Steps    []any           `json:"steps"` // none: those of pairs are not of one another
	Names    int             `json:"names"` // of which Diff.Rows has the first 1000
}

// paired are all pairs of traces, compared by one way.
type paired struct {
	list []compare.Pair
	of   []timeline.Pair // place by place
	all  int             // how many pairs there are
}

// pairs compares each trace of a side that r names with its counterpart, all by one way: by their
// steps if every pair has some, else whole. The result is kept.
func (a *API) pairs(r *http.Request) (s [2]*compareSide, _ *paired, err error) {
	if s, err = a.sides(r); err != nil {
		return s, nil, err
	}
	v, err := a.memo.get(memoKey(s, "pairs"), func() (any, error) {
		of, _, _ := timeline.Pairs(s[0].tl, s[1].tl)
		p := &paired{of: of[:min(len(of), maxSummed)], all: len(of)}
		if len(of) == 0 {
			return nil, refuse(404, "no trace of a has a counterpart in b")
		}
		for _, by := range []compare.StepChoice{compare.StepsAuto, compare.StepsAll} {
			p.list = p.list[:0]
			for _, k := range p.of {
				rep, err := diffOf(s, k.A, k.B, by)
				if err != nil {
					return nil, answered(err)
				}
				p.list = append(p.list, compare.Pair{TraceReport: rep, A: s[0].opened.Sources[k.A].Trace,
					B: s[1].opened.Sources[k.B].Trace})
			}
			if compare.OneWay(p.list) {
				break
			}
		}
		return p, nil
	})
	if err != nil {
		return s, nil, err
	}
	return s, v.(*paired), nil
}

// compareAll adds up what changed in all pairs of traces.
func (a *API) compareAll(w http.ResponseWriter, r *http.Request) error {
	_, p, err := a.pairs(r)
	if err != nil {
		return err
	}
	sum := compare.SumOf(p.list)
	b := allBody{SchemaVersion: SchemaVersion, TraceA: -1, TraceB: -1, Sum: sum, Pairs: p.of, AllPairs: p.all,
		Steps: []any{}, Names: len(sum.Rows)}
	n := min(len(sum.Rows), maxDiffRows)
	sum.Diff.Rows, sum.Rows = sum.Diff.Rows[:n], sum.Rows[:n]
	return writeJSON(w, b)
}

// compareAllFlames adds up the flame graphs of all pairs of traces; the result is kept.
func (a *API) compareAllFlames(w http.ResponseWriter, r *http.Request, device bool) error {
	s, p, err := a.pairs(r)
	if err != nil {
		return err
	}
	b := flamesBody{SchemaVersion: SchemaVersion}
	for i := range p.list {
		b.StepsA, b.StepsB = b.StepsA+len(p.list[i].WindowsA), b.StepsB+len(p.list[i].WindowsB)
	}
	v, err := a.memo.get(memoKey(s, "all flames", device), func() (any, error) {
		var list []*timeline.FlameDiff
		for i, k := range p.of {
			f, err := a.flamesOf(s, k.A, k.B, p.list[i].TraceReport, device)
			if err != nil {
				return nil, answered(err)
			}
			list = append(list, f)
		}
		return timeline.SumFlames(list), nil
	})
	if err != nil {
		return err
	}
	b.Flame = v.(*timeline.FlameDiff)
	return writeJSON(w, b)
}
