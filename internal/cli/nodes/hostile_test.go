package nodes_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/kinetoscope/kinetoscope/analyses"
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline/pipetest"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/answer"
	"github.com/kinetoscope/kinetoscope/internal/cli/nodes"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/chrome"
	"github.com/kinetoscope/kinetoscope/web/api"
)

// place is a value in a message, and how another is put there.
type place struct {
	v   any
	put func(any)
}

// places are those of all values in what was decoded from MessagePack, also in texts that are such themselves.
func places(v any, put func(any), out []place) []place {
	out = append(out, place{v, put})
	switch v := v.(type) {
	case map[any]any:
		for _, key := range keys(v) {
			out = places(v[key], func(x any) { v[key] = x }, out)
		}
	case []any:
		for i, one := range v {
			out = places(one, func(x any) { v[i] = x }, out)
		}
	}
	return out
}

// keys are those of m, in an order that is the same each time.
func keys(m map[any]any) []any {
	return slices.SortedFunc(maps.Keys(m), func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

// bend decodes MessagePack, changes some values in it to what nobody's profiler has, and encodes it again. What
// is packed in it is bent more often than what holds it.
func bend(t *testing.T, rnd *rand.Rand, data []byte, changes int) []byte {
	t.Helper()
	d := msgpack.NewDecoder(bytes.NewReader(data))
	d.SetMapDecoder(func(d *msgpack.Decoder) (any, error) { return d.DecodeUntypedMap() }) // some keys are numbers
	root, err := d.DecodeInterface()
	if err != nil {
		t.Fatal(err)
	}
	for range changes {
		all := places(root, func(x any) { root = x }, nil)
		var packed []place
		for _, p := range all {
			if b, ok := p.v.([]byte); ok && len(b) > 0 {
				packed = append(packed, p)
			}
		}
		if len(packed) > 0 && rnd.IntN(4) > 0 {
			p := packed[rnd.IntN(len(packed))]
			p.put(bend(t, rnd, p.v.([]byte), 1))
			continue
		}
		p := all[rnd.IntN(len(all))]
		p.put(other(rnd, p.v))
	}
	out, err := msgpack.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func one[T any](rnd *rand.Rand, list ...T) T { return list[rnd.IntN(len(list))] }

// other is a value in v's place: mostly one of its kind.
func other(rnd *rand.Rand, v any) any {
	if rnd.IntN(8) == 0 {
		return one[any](rnd, nil, 7, "x", []any{}, map[string]any{}, true, math.NaN())
	}
	switch v := v.(type) {
	case int8, int16, int32, int64, uint8, uint16, uint32, uint64:
		return one[any](rnd, 0, 1, -1, 7, 100, 255, int64(1)<<31, int64(1)<<40, math.MaxInt64, math.MinInt64,
			uint64(math.MaxUint64))
	case float32, float64:
		return one(rnd, 0, -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e300, -1e300)
	case string:
		return one(rnd, "", "\x1b[31m", "=1+1", "\u202e", "\xff", strings.Repeat("x", 100_000))
	case []any:
		if len(v) == 0 {
			return []any{nil}
		}
		return one(rnd, v[:rnd.IntN(len(v))], append(v[:len(v):len(v)], v...), append(v[:len(v):len(v)], nil))
	case map[any]any:
		if len(v) > 0 {
			delete(v, one(rnd, keys(v)...))
		}
		return v
	case bool:
		return !v
	}
	return nil
}

// hostileNode answers questions as the agent of a node does, and then changes what it says.
type hostileNode struct {
	solver *nodes.Solver
	dir    string
	t      *testing.T
	mu     sync.Mutex
	honest map[string][][]byte // by question
	rnd    *rand.Rand          // nil: it is honest
}

// begin says which test asks from now on, once what another one asked is answered.
func (h *hostileNode) begin(t *testing.T, rnd *rand.Rand) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.t, h.rnd = t, rnd
}

// failed tells the test, unless whoever asked is gone, perhaps with the test.
func (h *hostileNode) failed(r *http.Request, err error) {
	if r.Context().Err() == nil {
		h.t.Error(err)
	}
}

// ServeHTTP answers a question.
func (h *hostileNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var q api.Question
	err := json.NewDecoder(r.Body).Decode(&q)
	if err != nil {
		h.failed(r, err)
		return
	}
	found, err := h.solver.Find(r.Context(), []string{h.dir})
	if err != nil {
		h.failed(r, err)
		return
	}
	if h.honest[string(q.Body)] == nil {
		for i, file := range found.Files {
			data, err := h.solver.Solve(r.Context(),
				protocol.Task{Body: q.Body, Paths: []string{h.dir}, Index: i, File: file})
			if err != nil {
				h.failed(r, fmt.Errorf("%s: %w", q.Body, err))
				delete(h.honest, string(q.Body))
				return
			}
			h.honest[string(q.Body)] = append(h.honest[string(q.Body)], data)
		}
	}
	out := json.NewEncoder(w)
	_ = out.Encode(api.QuestionPart{Files: found.Files})
	for i, data := range h.honest[string(q.Body)] {
		if h.rnd != nil {
			data = bend(h.t, h.rnd, data, h.rnd.IntN(4))
		}
		_ = out.Encode(api.QuestionPart{Index: i, Data: data})
	}
	_ = out.Encode(api.QuestionPart{Done: true})
}

// FuzzHostileNodes asks each question of a node whose agent's answers are well formed and mean what no trace
// can: the verb answers or says what is wrong, and a terminal obeys none of it.
func FuzzHostileNodes(f *testing.F) {
	dir := f.TempDir()
	for _, tr := range pipetest.Torch() {
		var b bytes.Buffer
		if _, err := chrome.Write(&b, tr, chrome.Options{}); err != nil {
			f.Fatal(err)
		}
		path := filepath.Join(dir, fmt.Sprintf("rank%d.json", tr.Meta.Rank))
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			f.Fatal(err)
		}
	}
	solver, err := nodes.NewSolver([]string{dir}, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	node := &hostileNode{solver: solver, dir: dir, honest: map[string][][]byte{}}
	web := httptest.NewServer(node)
	f.Cleanup(web.Close)
	verbs := []string{nodes.Report, nodes.Report}
	for _, a := range analyses.All() {
		if !a.Compares() && a.Ask().Travels() == nil {
			verbs = append(verbs, a.Name)
		}
	}
	forms := []answer.Flags{{Top: -1}, {Top: -1, JSON: true}, {Top: -1, CSV: true}}
	ask := func(t *testing.T, verb string, form *answer.Flags, rnd *rand.Rand) error {
		node.begin(t, rnd)
		var out, said bytes.Buffer
		e := cli.NewEnv(t.Context(), cli.Streams{In: strings.NewReader(""), Out: &out, Err: &said})
		err := answerTo(e, web.URL, dir, verb, form)
		texts := []string{out.String(), said.String()}
		for _, text := range texts {
			if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && neutral.Command(r) }) {
				t.Errorf("%s: a terminal obeys what is printed", verb)
			}
		}
		return err
	}
	for i := range len(verbs) * len(forms) * 2 {
		f.Add(uint64(i))
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		verb, form := verbs[seed%uint64(len(verbs))], forms[seed/uint64(len(verbs))%uint64(len(forms))]
		if err := ask(t, verb, &form, nil); err != nil {
			t.Fatalf("%s of an honest node: %v", verb, err)
		}
		_ = ask(t, verb, &form, rand.New(rand.NewPCG(seed, 1))) // what is wrong with an answer may be said
	})
}

// answerTo answers a question about the traces of a node as the verb does.
func answerTo(e *cli.Env, url, dir, verb string, form *answer.Flags) error {
	var s nodes.Server
	s.URL = url
	var o reading.Options
	var c reading.Choice
	at := []api.Place{{Node: "n1", Paths: []string{dir}}}
	asked := analyses.Asked{Everything: form.JSON}
	if verb != nodes.Report {
		q := analyses.Named(verb).Ask()
		list, infos, err := nodes.Ranked(e, &s, &o, &c, at, nodes.Question[any]{Verb: verb, Options: q.Options(),
			Asked: asked, Unpack: q.Unpack})
		if err != nil {
			return err
		}
		q.Findings(list)
		a, err := q.Answer(list, asked)
		if err != nil {
			return err
		}
		title, note := answer.Title(infos)
		return form.Print(e, verb, infos, answer.Answer{Title: title, Note: note, Lines: a.Lines, Tables: a.Tables,
			Above: a.Above, Asked: a.Asked, JSON: a.JSON})
	}
	page := analyses.NewPage(asked)
	o.Doubted = true
	list, infos, err := nodes.Ranked(e, &s, &o, &c, at, nodes.Question[nodes.Summary]{Verb: verb, Asked: asked,
		Unpack: func(data []byte) (nodes.Summary, error) { return nodes.UnpackSummary(page, data) }})
	if err != nil {
		return err
	}
	parts, found := make([]analysis.RankPart, len(list)), make([]analyses.Found, len(list))
	out := &report.TraceReport{Names: func(i, slice int) string { return list[i].Value.Names[slice] }}
	metas := make([]*trace.Meta, len(list))
	for i := range list {
		parts[i], found[i], metas[i] = list[i].Value.Part, list[i].Value.Found, infos[i].Meta
		out.Labels = append(out.Labels, list[i].Label)
	}
	out.Report = analysis.Join(parts)
	out.Title, out.Note = answer.Title(infos)
	out.Lines = append(out.Lines, report.WorldLine(metas, out.Labels))
	doc, err := page.Build(out, found)
	if err != nil {
		return err
	}
	doc["report"] = out.Report
	if form.JSON || form.CSV {
		return form.Print(e, verb, infos, answer.Answer{Title: out.Title, Tables: out.Tables, JSON: doc})
	}
	return report.Traces(e.Out, out, e.Text())
}
