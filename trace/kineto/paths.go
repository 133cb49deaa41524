package kineto

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// paths corrects the names of a writer that escapes nothing: Kineto on Windows writes
// C:\new\train.py as it stands. Most of its backslashes begin no valid escape, which shows such a
// writer; then its backslashes before b, f, n, r and t are not escapes either. One text alone does
// not show this, so it is decided when the whole file has been read.
func (m *merger) paths() {
	t := m.t
	if t.Repairs.Count[trace.RepairEscape] == 0 && !m.eaten() {
		return
	}
	remap := map[trace.StringID]trace.StringID{}
	for _, id := range slices.Sorted(maps.Keys(m.escaped)) {
		raw := m.escaped[id]
		if fixed := doubled(raw); fixed != raw {
			if to := t.Intern(trace.Unescape([]byte(fixed))); to != id {
				remap[id] = to
			}
		}
	}
	for _, col := range [][]trace.StringID{t.Slices.Name, t.Instants.Name, t.Counters.Name, t.Counters.Series,
		t.Flows.Name} {
		for i, id := range col {
			if to, ok := remap[id]; ok {
				col[i] = to
			}
		}
	}
	n := t.RewriteArgs(func(lit string) string { return doubled(lit) })
	t.Repairs.Add(trace.RepairPaths, len(remap)+n)
}

// frame is the path of a frame of Python in which a single backslash stands before a letter that makes
// it an escape. No path holds what such an escape means.
var frame = regexp.MustCompile(`^(?:[A-Za-z]:)?[^\s":]*\\[bfnrt][^\s":]*\.py\(\d+\)`)

// eaten reports whether a text of the file shows a writer that escapes nothing though each of its
// backslashes happens to begin a valid escape.
func (m *merger) eaten() bool {
	for _, raw := range m.escaped {
		if path := frame.FindString(raw); path != "" && doubled(path) != path {
			return true
		}
	}
	return false
}

// doubled doubles every backslash of JSON text that stands before b, f, n, r or t and is
// not itself escaped, one before u if the text has other backslashes, and the two that begin the name
// of a server's share.
func doubled(raw string) string {
	if !strings.Contains(raw, `\`) {
		return raw
	}
	before := "bfnrt"
	if strings.Count(raw, `\`) > strings.Count(raw, `\u`) {
		before = "bfnrtu"
	}
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		b.WriteByte(raw[i])
		if raw[i] != '\\' || i+1 == len(raw) {
			continue
		}
		switch {
		case strings.IndexByte(before, raw[i+1]) >= 0:
			b.WriteByte('\\')
		case share(raw, i):
			b.WriteString(`\\`)
		}
		i++
		b.WriteByte(raw[i])
	}
	return b.String()
}

// share reports whether the escaped backslash at raw[i:] begins a path, of which it is half of the two
// before a server's name: a path of Windows begins with no single one. What stands before is the
// text's beginning or what parts the frames of a stack.
func share(raw string, i int) bool {
	begins := i == 0 || raw[i-1] == '"' || raw[i-1] == ';'
	return begins && raw[i+1] == '\\' && i+2 < len(raw) && raw[i+2] != '\\'
}
