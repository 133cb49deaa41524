package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
)

// MaxLimit bounds the runs of one answer.
const MaxLimit = 1000

// Query chooses runs. Its zero value is all of them, youngest first.
type Query struct {
	Text   string   // words that must all occur, in any letter case, in what a listing shows of a run
	Tags   []string // that a run must all have
	State  session.State
	Health Health
	Kind   Kind
	Pinned bool // pinned runs only
	Sort   SortKey
	Up     bool // ascending: the least first
	Offset int
	Limit  int // 0: MaxLimit
}

// Kind says where runs come from.
type Kind string

// The kinds of run.
const (
	KindSession Kind = "session" // recorded here
	KindUpload  Kind = "upload"  // uploaded
)

// SortKey is what runs are sorted by.
type SortKey string

// The keys.
const (
	SortStarted  SortKey = "started"
	SortName     SortKey = "name" // prefix
	SortDuration SortKey = "duration"
	SortSize     SortKey = "size"
	SortHealth   SortKey = "health" // the worst is the greatest
	SortRanks    SortKey = "ranks"
)

var orders = map[SortKey]func(a, b *Item) int{
	SortStarted:  func(a, b *Item) int { return a.StartedAt.Compare(b.StartedAt) },
	SortName:     func(a, b *Item) int { return cmp.Compare(strings.ToLower(a.Prefix), strings.ToLower(b.Prefix)) },
	SortDuration: func(a, b *Item) int { return cmp.Compare(a.RecordedNs, b.RecordedNs) },
	SortSize:     func(a, b *Item) int { return cmp.Compare(a.Bytes, b.Bytes) },
	SortRanks:    func(a, b *Item) int { return cmp.Compare(a.Ranks, b.Ranks) },
	SortHealth: func(a, b *Item) int {
		return cmp.Compare(slices.Index(Healths, a.Health), slices.Index(Healths, b.Health))
	},
}

// SortKeys are all keys, in order.
func SortKeys() []SortKey {
	return []SortKey{SortStarted, SortName, SortDuration, SortSize, SortHealth, SortRanks}
}

// Check says what is wrong with a query, as a *protocol.FieldError.
func (q *Query) Check() error {
	wrong := func(field string, got any, allowed string) error {
		return &protocol.FieldError{Field: field, Text: fmt.Sprintf("%s %q: allowed are %s", field, fmt.Sprint(got),
			allowed)}
	}
	switch {
	case q.Sort != "" && orders[q.Sort] == nil:
		return wrong("sort", q.Sort, words(SortKeys()))
	case q.Health != "" && !slices.Contains(Healths, q.Health):
		return wrong("health", q.Health, words(Healths))
	case q.Kind != "" && q.Kind != KindSession && q.Kind != KindUpload:
		return wrong("kind", q.Kind, words([]Kind{KindSession, KindUpload}))
	case q.State != "" && !q.State.Terminal():
		return wrong("state", q.State,
			words([]session.State{session.StateComplete, session.StatePartial, session.StateFailed}))
	case q.Limit < 0 || q.Limit > MaxLimit:
		return wrong("limit", q.Limit, fmt.Sprintf("1 to %d", MaxLimit))
	case q.Offset < 0:
		return wrong("offset", q.Offset, "0 and more")
	}
	return nil
}

// words lists the allowed values.
func words[T ~string](list []T) string {
	out := make([]string, len(list))
	for i, w := range list {
		out[i] = string(w)
	}
	return strings.Join(out, ", ")
}

// Found is the result of a search, with totals over the whole store.
type Found struct {
	Items   []Item   `json:"data"`
	Matched int      `json:"matched"` // also beyond the limit
	Runs    int      `json:"runs"`    // in the store
	Bytes   int64    `json:"bytes"`   // of all runs
	Tags    []string `json:"tags"`    // that any run has
}

// Search returns the runs that q chooses. The error is a *protocol.FieldError, or that the
// store cannot be listed.
func (c *Catalog) Search(q Query) (Found, error) {
	if err := q.Check(); err != nil {
		return Found{}, err
	}
	all, err := c.All()
	if err != nil {
		return Found{}, err
	}
	return q.choose(all), nil
}

// choose is the pure part of Search.
func (q *Query) choose(all []Item) Found {
	out := Found{Runs: len(all), Tags: []string{}, Items: []Item{}}
	terms := strings.Fields(strings.ToLower(q.Text))
	for i := range all {
		it := &all[i]
		out.Bytes += it.Bytes
		out.Tags = append(out.Tags, it.Tags...)
		if q.matches(it, terms) {
			out.Items = append(out.Items, *it)
		}
	}
	slices.Sort(out.Tags)
	out.Tags = slices.Compact(out.Tags)
	order := orders[cmp.Or(q.Sort, SortStarted)]
	slices.SortStableFunc(out.Items, func(a, b Item) int {
		by := order(&a, &b)
		if !q.Up {
			by = -by
		}
		return cmp.Or(by, cmp.Compare(b.ID, a.ID)) // of equals the youngest first
	})
	out.Matched = len(out.Items)
	out.Items = out.Items[min(q.Offset, out.Matched):]
	out.Items = out.Items[:min(cmp.Or(q.Limit, MaxLimit), len(out.Items))]
	return out
}

func (q *Query) matches(it *Item, terms []string) bool {
	kind := KindSession
	if it.Upload != nil {
		kind = KindUpload
	}
	if q.State != "" && it.State != q.State || q.Health != "" && it.Health != q.Health ||
		q.Kind != "" && kind != q.Kind || q.Pinned && !it.Pinned {
		return false
	}
	for _, t := range q.Tags {
		if !slices.Contains(it.Tags, t) {
			return false
		}
	}
	if len(terms) == 0 {
		return true
	}
	text := []string{it.ID, it.Name, it.Prefix, it.Pipeline, string(it.State), string(it.Health), it.Why, it.Note,
		strings.Join(it.Stages, " "), strings.Join(it.Tags, " ")}
	if it.Upload != nil {
		text = append(text, it.Upload.Name, it.Upload.Format)
	}
	all := strings.ToLower(strings.Join(text, "\n"))
	for _, w := range terms {
		if !strings.Contains(all, w) {
			return false
		}
	}
	return true
}
