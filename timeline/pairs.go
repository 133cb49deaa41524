package timeline

import (
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Pair is a trace of one timeline and the trace of another that it is compared with.
type Pair struct {
	A    int    `json:"a"`
	B    int    `json:"b"`
	Name string `json:"name"` // as A's timeline calls its trace, and B's where that differs
}

// Pairs matches the traces of two timelines: first those of equal stage, replica and rank, then the
// remaining ones in their order, as long as both have some. onlyA and onlyB have no counterpart.
func Pairs(a, b *Timeline) (pairs []Pair, onlyA, onlyB []int) {
	taken := make([]bool, len(b.parts))
	match := make([]int, len(a.parts))
	for i, p := range a.parts {
		match[i] = slices.IndexFunc(b.parts, func(q *part) bool { return sameRank(&p.t.Meta, &q.t.Meta) })
		if k := match[i]; k >= 0 && taken[k] {
			match[i] = -1
		} else if k >= 0 {
			taken[k] = true
		}
	}
	for i := range a.parts {
		if match[i] < 0 {
			match[i] = slices.Index(taken, false)
			if match[i] < 0 {
				onlyA = append(onlyA, i)
				continue
			}
			taken[match[i]] = true
		}
		p := Pair{i, match[i], a.Name(i)}
		if other := b.Name(p.B); other != p.Name {
			p.Name += " / " + other
		}
		pairs = append(pairs, p)
	}
	for k, t := range taken {
		if !t {
			onlyB = append(onlyB, k)
		}
	}
	return pairs, onlyA, onlyB
}

// sameRank says whether two traces were made by the same rank of the same stage.
func sameRank(a, b *trace.Meta) bool {
	return a.Rank >= 0 && a.Rank == b.Rank && a.Replica == b.Replica && a.Stage == b.Stage &&
		(a.Stage != "" || a.StageID == b.StageID)
}

// Name is what people call trace i: its stage, replica and rank, or its file.
func (tl *Timeline) Name(i int) string {
	name, _ := tl.rankName(i)
	if s := tl.parts[i].t.Meta.Stage; s != "" {
		return s + " " + name
	}
	return name
}

// Trace returns trace i, which must not be changed.
func (tl *Timeline) Trace(i int) (*trace.Trace, error) {
	p, err := tl.part(i)
	if err != nil {
		return nil, err
	}
	return p.t, nil
}

// Subject returns trace i as all questions of it see it; what these have read of it is shared.
// Its trace must not be changed.
func (tl *Timeline) Subject(i int) (*analysis.Subject, error) {
	p, err := tl.part(i)
	if err != nil {
		return nil, err
	}
	return p.subject(), nil
}
