package hub

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// errAbsent is why a rank takes no part in a session that goes on without it.
const errAbsent = "it was not there when the session began"

// ErrAbsent says that ranks which the pipeline is to have are not there, so that a session
// could not record them.
type ErrAbsent struct {
	Pipeline string
	Ranks    []protocol.RankInfo
}

func (e *ErrAbsent) Error() string {
	names := make([]string, len(e.Ranks))
	for i, r := range e.Ranks {
		names[i] = fmt.Sprintf("stage %d (%s) replica %d rank %d", r.Stage, r.StageName, r.Replica, r.Rank)
	}
	return fmt.Sprintf("pipeline %s is not whole: %s is not there", e.Pipeline, strings.Join(names, ", "))
}

// Hint says what to do about it.
func (e *ErrAbsent) Hint() string {
	return "start again when /health is ok, choose other stages, or go on without it: allow_partial, --allow-partial"
}

// HTTPStatus is 503.
func (e *ErrAbsent) HTTPStatus() int { return http.StatusServiceUnavailable }

// Expect says which ranks a pipeline is to have. A session is of all of them: one that is
// not there when it begins is in the way, or lost with allow_partial, and never left out
// without a word. The ranks have their ids, stages' names, engines and profilers.
func (h *Hub) Expect(pipeline string, ranks []protocol.RankInfo) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.expected == nil {
		h.expected = map[string][]protocol.RankInfo{}
	}
	h.expected[pipeline] = slices.Clone(ranks)
}

// withAbsent adds to the live ranks of a pipeline those that are expected and are not there.
// They have no incarnation.
func (h *Hub) withAbsent(pipeline string, live []protocol.RankInfo) []protocol.RankInfo {
	h.mu.Lock()
	expected := h.expected[pipeline]
	h.mu.Unlock()
	for _, want := range expected {
		if !slices.ContainsFunc(live, func(r protocol.RankInfo) bool { return r.RankID == want.RankID }) {
			want.Incarnation = ""
			live = append(live, want)
		}
	}
	slices.SortStableFunc(live, func(a, b protocol.RankInfo) int { return a.Compare(b.RankID) })
	return live
}

// absent is the error of a session that q asks for over ranks some of which are not there.
func absent(ranks []protocol.RankInfo, q *protocol.StartRequest) error {
	var out []protocol.RankInfo
	for _, r := range ranks {
		if r.Incarnation == "" && q.ConfigFor(r.Profiler) != nil {
			out = append(out, r)
		}
	}
	if len(out) == 0 || q.AllowPartial {
		return nil
	}
	return &ErrAbsent{Pipeline: out[0].Pipeline, Ranks: out}
}
