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

	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// window is the input of the tool slices.
type window struct {
	Path   string  `json:"path" jsonschema:"one trace"`
	FromMs float64 `json:"from_ms,omitempty" jsonschema:"begin, ms after the trace's first slice"`
	ToMs   float64 `json:"to_ms,omitempty" jsonschema:"end, ms after the trace's first slice; the trace's end without it"`
	ID     *int    `json:"id,omitempty" jsonschema:"around this slice, in place of times: what runs while it does"`
	Name   string  `json:"name,omitempty" jsonschema:"only slices whose name matches this regular expression"`
	MinUs  float64 `json:"min_us,omitempty" jsonschema:"only slices that last at least so long"`
	Args   bool    `json:"args,omitempty" jsonschema:"with their arguments"`
	Limit  int     `json:"limit,omitempty" jsonschema:"slices; 50 without it"`

	from, to int64 // of slice ID, ns
}

// Limits of the tool slices.
const (
	defaultSlices = 50
	maxSlices     = 2000
	maxArgsShown  = 300     // bytes of a slice's arguments
	sliceMemory   = 4 << 30 // bytes that the trace may take
)

func (s *server) addSlices(m *mcp.Server) {
	mcp.AddTool(m,
		readOnly("slices",
			"What happened around a time, or where something happens: slices by begin, with track, duration and depth."),
		func(ctx context.Context, _ *mcp.CallToolRequest, in window) (*mcp.CallToolResult, Answer, error) {
			path, err := s.path(in.Path)
			if err != nil {
				return nil, Answer{}, err
			}
			match, err := in.check()
			if err != nil {
				return nil, Answer{}, err
			}
			t, err := one(ctx, path, in.Path)
			if err != nil {
				return nil, Answer{}, err
			}
			if err := in.around(t); err != nil {
				return nil, Answer{}, err
			}
			return s.of(t, in.list(t, match))
		})
}

// one reads the only trace of a path, which an agent called so.
func one(ctx context.Context, path, called string) (*trace.Trace, error) {
	traces, err := open.Files(ctx, []string{path}, open.Options{Memory: sliceMemory})
	if err != nil {
		return nil, err
	}
	if len(traces) != 1 {
		return nil, fmt.Errorf("path %q has %d traces: name one", called, len(traces))
	}
	return traces[0], nil
}

// of answers with a text about t.
func (s *server) of(t *trace.Trace, text string) (*mcp.CallToolResult, Answer, error) {
	a := s.pages.first(text)
	if t.Repairs.Total() > 0 {
		a.Note = "repaired: " + t.Repairs.String()
	}
	return result(a)
}

// around puts the window where slice ID is, if one is named.
func (w *window) around(t *trace.Trace) error {
	if w.ID == nil {
		return nil
	}
	i, s := *w.ID, &t.Slices
	if i < 0 || i >= s.Len() {
		return fmt.Errorf("id %d: the trace has slices 0 to %d", i, s.Len()-1)
	}
	w.from, w.to = s.Start[i], s.End(i)
	return nil
}

func (w *window) check() (*regexp.Regexp, error) {
	if w.Limit < 0 || w.Limit > maxSlices {
		return nil, fmt.Errorf("limit: 1 to %d", maxSlices)
	}
	w.Limit = cmp.Or(w.Limit, defaultSlices)
	if w.ToMs != 0 && w.ToMs < w.FromMs {
		return nil, errors.New("to_ms lies before from_ms")
	}
	return pattern(w.Name)
}

// pattern is the expression that names are to match.
func pattern(name string) (*regexp.Regexp, error) {
	if len(name) > timeline.MaxPattern {
		return nil, fmt.Errorf("name: more than %d bytes", timeline.MaxPattern)
	}
	match, err := regexp.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	return match, nil
}

// list returns the requested slices, one a line.
func (w *window) list(t *trace.Trace, match *regexp.Regexp) string {
	first, _, ok := t.Extent()
	if !ok {
		return "The trace has no slices.\n"
	}
	s, x := &t.Slices, t.Index()
	from, to := first+int64(w.FromMs*1e6), int64(1<<63-1)
	switch {
	case w.ID != nil:
		from, to = w.from, w.to
	case w.ToMs > 0:
		to = first + int64(w.ToMs*1e6)
	}
	named := map[trace.StringID]bool{}
	var found []int
	for i := range s.Len() {
		if s.Start[i] > to || s.End(i) < from || float64(s.Dur[i]) < w.MinUs*1e3 {
			continue
		}
		is, ok := named[s.Name[i]]
		if !ok {
			is = match.MatchString(t.String(s.Name[i]))
			named[s.Name[i]] = is
		}
		if is {
			found = append(found, i)
		}
	}
	slices.SortStableFunc(found, func(a, b int) int { return cmp.Compare(s.Start[a], s.Start[b]) })
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d slices", min(len(found), w.Limit), len(found))
	if len(found) > w.Limit {
		b.WriteString(", the first; narrow the window or give a limit")
	}
	b.WriteString("\nid  at  takes  depth  track  name\n")
	for _, i := range found[:min(len(found), w.Limit)] {
		k := &t.Tracks[s.Track[i]]
		fmt.Fprintf(&b, "%d  %s  %s  %d  %s  %s\n", i, after(s.Start[i]-first), time.Duration(s.Dur[i]),
			x.Depth[i], cmp.Or(k.Name, fmt.Sprint(k.TID)), t.String(s.Name[i]))
		if raw := t.Args(s.Args[i]); w.Args && len(raw) > 0 {
			text := strings.Join(strings.Fields(string(raw)), " ")
			if len(text) > maxArgsShown {
				text = strings.ToValidUTF8(text[:maxArgsShown], "") + "…"
			}
			b.WriteString("    " + text + "\n")
		}
	}
	return b.String()
}

// after is how long after the trace's first slice something is; what began before it, as spans of the recording do, is
// said so by its sign.
func after(ns int64) string {
	if ns < 0 {
		return time.Duration(ns).String()
	}
	return "+" + time.Duration(ns).String()
}
