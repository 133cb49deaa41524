package timeline

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kinetoscope/kinetoscope/trace"
)

// MaxPattern bounds a text or regular expression that is looked for, in bytes: it is compared with every name.
const MaxPattern = 1000

// Limits of a search.
const (
	maxHits      = 2000    // listed, by time
	maxGathered  = 1 << 21 // of which the listed are the first
	checkEvery   = 1 << 14 // slices between looks at the context
	maxHitTracks = 4096
)

// Search says what to look for.
type Search struct {
	Text  string
	Regex bool // Text is a regular expression, as Go's package regexp has them
	Args  bool // in arguments too, as they stand in the trace
	Exact bool // the name is Text, letter for letter
	Limit int  // hits listed; 0: maxHits
}

// TrackHits counts the hits of one track.
type TrackHits struct {
	Track string `json:"track"`
	Count int    `json:"count"`
}

// Found is what a search found.
type Found struct {
	Count  int         `json:"count"`
	Names  int         `json:"names"` // distinct names among the hits
	Tracks []TrackHits `json:"tracks"`
	Hits   []Ref       `json:"hits"` // by time, the first ones
	// Partial: there are more hits than could be put in order; Hits are some of them.
	Partial bool `json:"partial,omitempty"`
}

// matcher returns the test that s asks for; case matters only where the text has capitals.
func (s *Search) matcher() (text func(string) bool, raw func([]byte) bool, err error) {
	if s.Text == "" || len(s.Text) > MaxPattern {
		return nil, nil, fmt.Errorf("q has %d bytes; 1 to %d are allowed", len(s.Text), MaxPattern)
	}
	if s.Exact {
		return func(n string) bool { return n == s.Text }, func([]byte) bool { return false }, nil
	}
	pattern := s.Text
	if !s.Regex {
		pattern = regexp.QuoteMeta(pattern)
	}
	if strings.ToLower(s.Text) == s.Text {
		pattern = "(?i)" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, nil, fmt.Errorf("q: %w", err)
	}
	if !s.Regex && strings.ToLower(s.Text) != s.Text {
		return func(n string) bool { return strings.Contains(n, s.Text) },
			func(b []byte) bool { return bytes.Contains(b, []byte(s.Text)) }, nil
	}
	if !s.Regex && ascii(s.Text) {
		var low []byte
		find := []byte(s.Text)
		return func(n string) bool {
			if !ascii(n) { // letters beyond ASCII have cases that are letters of ASCII
				return re.MatchString(n)
			}
			low = append(low[:0], n...)
			for i, c := range low {
				if c >= 'A' && c <= 'Z' {
					low[i] = c | 0x20
				}
			}
			return bytes.Contains(low, find)
		}, re.Match, nil
	}
	return re.MatchString, re.Match, nil
}

// ascii reports whether s is nothing but ASCII.
func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

type hit struct {
	part  int
	slice uint32
	start int64
}

// Search finds slices by their names and, if asked, arguments, in all traces.
func (tl *Timeline) Search(ctx context.Context, s Search) (*Found, error) {
	text, raw, err := s.matcher()
	if err != nil {
		return nil, err
	}
	out := &Found{Tracks: []TrackHits{}, Hits: []Ref{}}
	var hits []hit
	for i, p := range tl.parts {
		named := make([]bool, p.t.Strings.Len())
		for id, n := range p.t.Strings.Texts() {
			named[id] = text(n)
		}
		used := make([]bool, len(named))
		count := make([]int, len(p.t.Tracks))
		var buf []byte
		for k, n := range p.t.Slices.Name {
			if k%checkEvery == 0 && ctx.Err() != nil {
				return nil, ctx.Err()
			}
			ok := named[n]
			if !ok && s.Args && p.t.Slices.Args[k] != trace.NoArgs {
				buf = p.t.AppendArgs(buf[:0], p.t.Slices.Args[k])
				ok = raw(buf)
			}
			if !ok {
				continue
			}
			out.Count++
			if !used[n] {
				used[n] = true
				out.Names++
			}
			count[p.t.Slices.Track[k]]++
			if len(hits) < maxGathered {
				hits = append(hits, hit{i, uint32(k), p.start(uint32(k))})
			} else {
				out.Partial = true
			}
		}
		for k, n := range count {
			if n > 0 && len(out.Tracks) < maxHitTracks {
				out.Tracks = append(out.Tracks, TrackHits{trackID(i, trace.TrackID(k)), n})
			}
		}
	}
	slices.SortFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.part, b.part), cmp.Compare(a.slice, b.slice))
	})
	limit := s.Limit
	if limit <= 0 || limit > maxHits {
		limit = maxHits
	}
	for _, h := range hits[:min(limit, len(hits))] {
		out.Hits = append(out.Hits, tl.ref(h.part, h.slice))
	}
	return out, nil
}

// Next returns the next slice of the same name on the same track, or the previous one if back is
// set; nil if there is none.
func (tl *Timeline) Next(id string, back bool) (*Ref, error) {
	i, s, err := tl.slice(id)
	if err != nil {
		return nil, err
	}
	p := tl.parts[i]
	sl := &p.t.Slices
	order := p.index.Track(sl.Track[s])
	at := slices.Index(order, s)
	step := 1
	if back {
		step = -1
	}
	for at += step; at >= 0 && at < len(order); at += step {
		if sl.Name[order[at]] == sl.Name[s] {
			r := tl.ref(i, order[at])
			return &r, nil
		}
	}
	return nil, nil
}

func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}
