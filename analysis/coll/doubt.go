package coll

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Guess is a kernel that was taken for compute and may communicate.
type Guess struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
	SumNs int64  `json:"sum_ns"`
	First int    `json:"first"` // its first slice
}

// maxGuesses bounds the names that are listed: those with the most time are enough.
const maxGuesses = 8

// guesses lists kernels that count as compute although that is not certain: kernels whose names may
// mean communication and, if a rank of a larger world shows no communication at all, the kernels
// with the most time.
func (r *reader) guesses(found []Collective) []Guess {
	v, s := r.v, &r.t.Slices
	alone := len(found) == 0 && r.t.Meta.WorldSize > 1
	at := map[trace.StringID]int{}
	var out []Guess
	doubtful := r.once(Doubtful)
	for _, d := range v.Work {
		name := s.Name[d]
		if s.Cat[d] != trace.CatKernel || r.comm(name) || !alone && !doubtful(name) ||
			view.IsWrapper(s.Cat[d], v.Name(d)) {
			continue
		}
		k, ok := at[name]
		if !ok {
			k = len(out)
			at[name] = k
			out = append(out, Guess{Name: v.Name(d), First: int(d)})
		}
		out[k].Count++
		out[k].SumNs += v.Dur[d]
	}
	slices.SortStableFunc(out, func(a, b Guess) int {
		x, y := doubtful(s.Name[a.First]), doubtful(s.Name[b.First])
		return cmp.Or(-cmp.Compare(stat.One(x), stat.One(y)), cmp.Compare(b.SumNs, a.SumNs))
	})
	return out[:min(len(out), maxGuesses)]
}

// maxGuessName bounds a name in a sentence, in bytes.
const maxGuessName = 60

// GuessText says in a sentence, without the rank, which names were taken for compute; "" if there
// are none.
func GuessText(list []Guess) string {
	if len(list) == 0 {
		return ""
	}
	names := make([]string, len(list))
	doubtful, fused := false, true
	for k, g := range list {
		doubtful, fused = doubtful || Doubtful(g.Name), fused && Fused(g.Name)
		names[k] = strings.ToValidUTF8(g.Name[:min(len(g.Name), maxGuessName)], "")
		if len(g.Name) > maxGuessName {
			names[k] += "…"
		}
	}
	text := "kernels whose names would suit communication were taken for compute, as no record says otherwise"
	switch {
	case fused:
		text = "kernels that by their names communicate and compute at once were counted as compute, their communication in no sum"
	case !doubtful:
		text = "no communication was found although the rank is one of several; taken for compute were"
	}
	return fmt.Sprintf("%s: %s", text, strings.Join(names, ", "))
}
