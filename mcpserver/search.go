package mcpserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/kinetoscope/kinetoscope/trace"
)

// search is the input of the tool search.
type search struct {
	Path string `json:"path" jsonschema:"one trace"`
	Name string `json:"name" jsonschema:"a regular expression; (?i) before it ignores case"`
	Top  int    `json:"top,omitempty" jsonschema:"names; 20 without it"`
}

// Limits of the tool search.
const (
	defaultNames = 20
	maxNames     = 2000
)

func (s *server) addSearch(m *mcp.Server) {
	mcp.AddTool(m, readOnly("search",
		"Where a name is: every name that matches, with how often and how long, and the ids of its first and its "+
			"longest slice, which the tool slices shows."),
		func(ctx context.Context, _ *mcp.CallToolRequest, in search) (*mcp.CallToolResult, Answer, error) {
			path, err := s.path(in.Path)
			if err != nil {
				return nil, Answer{}, err
			}
			if in.Name == "" {
				return nil, Answer{}, errors.New("name: write what to search for")
			}
			if in.Top < 0 || in.Top > maxNames {
				return nil, Answer{}, fmt.Errorf("top: 1 to %d", maxNames)
			}
			match, err := pattern(in.Name)
			if err != nil {
				return nil, Answer{}, err
			}
			t, err := one(ctx, path, in.Path)
			if err != nil {
				return nil, Answer{}, err
			}
			return s.of(t, in.list(t, match))
		})
}

// hit is a name that was found.
type hit struct {
	name           string
	category       string
	calls          int
	ns             int64
	first, longest int
}

// list returns the names that match, those with the most time first.
func (q *search) list(t *trace.Trace, match *regexp.Regexp) string {
	s := &t.Slices
	hits := make([]*hit, t.Strings.Len())
	asked := make([]bool, len(hits))
	var found []*hit
	for i, id := range s.Name {
		if int(id) >= len(hits) {
			continue
		}
		if !asked[id] {
			if asked[id] = true; match.MatchString(t.String(id)) {
				hits[id] = &hit{name: t.String(id), category: t.CategoryText(s.Cat[i]), first: i, longest: i}
				found = append(found, hits[id])
			}
		}
		h := hits[id]
		if h == nil {
			continue
		}
		h.calls++
		h.ns += s.Dur[i]
		if s.Start[i] < s.Start[h.first] {
			h.first = i
		}
		if s.Dur[i] > s.Dur[h.longest] {
			h.longest = i
		}
	}
	slices.SortFunc(found, func(a, b *hit) int { return cmp.Or(cmp.Compare(b.ns, a.ns), cmp.Compare(a.name, b.name)) })
	if len(found) == 0 {
		return fmt.Sprintf("No slice's name matches %q.\n", q.Name)
	}
	top := min(len(found), cmp.Or(q.Top, defaultNames))
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d names\ncalls  total  first id  longest id  longest  at  category  name\n", top, len(found))
	start, _, _ := t.Extent()
	for _, h := range found[:top] {
		fmt.Fprintf(&b, "%d  %s  %d  %d  %s  +%s  %s  %s\n", h.calls, time.Duration(h.ns), h.first, h.longest,
			time.Duration(s.Dur[h.longest]), time.Duration(s.Start[h.longest]-start), cmp.Or(h.category, "-"), h.name)
	}
	return b.String()
}
