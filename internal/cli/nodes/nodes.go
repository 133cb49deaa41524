// Package nodes asks the verbs' questions of traces that stay on other hosts: "node1:/traces" in
// place of a path. The agent of each host computes what the verb would keep of every trace; what
// comes back is settled and answered as if it had been read here.
package nodes

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/kinetoscope/kinetoscope/analyses"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/flags"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/web/api"
)

// Server are flags that say which server reaches the nodes.
type Server struct {
	flags.Reach `group:"Traces on other hosts, as NODE:PATH"`
}

// Places returns the places that paths mean: none if all paths are of this host. A mixture is an
// error.
func Places(paths []string) ([]api.Place, error) {
	var out []api.Place
	here := ""
	for _, p := range paths {
		node, path, ok := reading.Away(p)
		if !ok {
			here = p
			continue
		}
		i := slices.IndexFunc(out, func(o api.Place) bool { return o.Node == node })
		if i < 0 {
			i, out = len(out), append(out, api.Place{Node: node})
		}
		out[i].Paths = append(out[i].Paths, path)
	}
	if len(out) > 0 && here != "" {
		return nil, cli.Usage("%s is on this host and %s:%s is not: ask of them one by one", here, out[0].Node,
			out[0].Paths[0])
	}
	return out, nil
}

// ask is the Body of a question.
type ask struct {
	Version string          `json:"version"` // of the asking program; results have the form of that version
	Verb    string          `json:"verb"`    // an analysis, or "report"
	Options json.RawMessage `json:"options,omitempty"`
	Asked   analyses.Asked  `json:"asked"`
	Choice  reading.Choice  `json:"choice"`
	Doubted bool            `json:"doubted"` // reading.Options.Doubted
}

// found is what a node answers about one file.
type found struct {
	Traces []traceOf
	Left   []open.Left
}

// traceOf is one trace of it.
type traceOf struct {
	Info  reading.Info
	Value []byte
}

// Question is asked of nodes.
type Question[T any] struct {
	Verb    string
	Options any // of the analysis; nil for the report
	Asked   analyses.Asked
	Unpack  func(data []byte) (T, error)
}

// Ranked is reading.Ranked of the traces at these places.
func Ranked[T any](e *cli.Env, s *Server, o *reading.Options, r *reading.Choice, at []api.Place, q Question[T]) (
	[]report.Ranked[T], []reading.Info, error) {
	got, err := q.gather(e, s, o, r, at)
	if err != nil {
		return nil, nil, err
	}
	return reading.Settle(e, o, got, nil)
}

func (q *Question[T]) gather(e *cli.Env, s *Server, o *reading.Options, r *reading.Choice, at []api.Place) (
	[]result[T], error) {
	body := ask{Version: cli.Version(), Verb: q.Verb, Asked: q.Asked, Choice: *r, Doubted: o.Quiet || o.Doubted}
	var err error
	if q.Options != nil {
		if body.Options, err = json.Marshal(q.Options); err != nil {
			return nil, err
		}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	c, err := s.Client()
	if err != nil {
		return nil, err
	}
	g := gathering[T]{e: e, q: *q, at: at, bar: cli.NewBar(e.Err)}
	err = c.Ask(e.Ctx, api.Question{Body: data, At: at}, g.take)
	g.bar.End()
	if err != nil {
		return nil, flags.ServerError(err)
	}
	return g.results(r)
}

type result[T any] = reading.Result[T]

// gathering is an answer that comes in parts.
type gathering[T any] struct {
	e    *cli.Env
	q    Question[T]
	at   []api.Place
	bar  *cli.Bar
	p    open.Progress
	list []sorted[T]
}

type sorted[T any] struct {
	place, index int
	result[T]
}

func (g *gathering[T]) take(p api.QuestionPart) error {
	if p.Place < 0 || p.Place >= len(g.at) {
		return fmt.Errorf("an answer of place %d of %d", p.Place, len(g.at))
	}
	node := g.at[p.Place].Node
	if p.Data == nil {
		g.p.Files += len(p.Files)
		for _, l := range p.Left {
			g.left(node, open.Left(l))
		}
		return nil
	}
	var f found
	if err := analyses.Decode(p.Data, &f); err != nil {
		return fmt.Errorf("node %s: %w", node, err)
	}
	for _, l := range f.Left {
		g.left(node, l)
	}
	for i := range f.Traces {
		t := &f.Traces[i]
		if t.Info.Meta == nil {
			return fmt.Errorf("node %s: a trace without a name", node)
		}
		v, err := g.q.Unpack(t.Value)
		if err != nil {
			return fmt.Errorf("node %s: %s: %w", node, t.Info.File, err)
		}
		t.Info.File = node + ":" + t.Info.File
		g.list = append(g.list, sorted[T]{p.Place, p.Index, result[T]{Value: v, Info: t.Info}})
	}
	g.p.Done++
	g.bar.Update(g.p)
	return nil
}

// left notes a file of a node that was not read.
func (g *gathering[T]) left(node string, l open.Left) {
	g.e.Left = append(g.e.Left, open.Left{Path: node + ":" + l.Path, Reason: l.Reason})
}

// results are what was found, in the order of the places and files.
func (g *gathering[T]) results(r *reading.Choice) ([]result[T], error) {
	if len(g.list) == 0 {
		return nil, r.None(nil)
	}
	slices.SortStableFunc(g.list, func(a, b sorted[T]) int {
		return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.index, b.index), cmp.Compare(a.Info.Seq, b.Info.Seq))
	})
	out := make([]result[T], len(g.list))
	for i := range g.list {
		out[i] = g.list[i].result
	}
	return out, nil
}
