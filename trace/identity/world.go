package identity

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// World is traces whose ranks ran side by side: one replica of one stage in one
// capture. Collectives match, and ranks wait for each other, only within one. No rank
// is in it twice.
type World struct {
	Name   string // what tells it from the other worlds, for a reader; "" if there is one only
	Traces []int  // places in the list given to Worlds, by rank
	// Why says what keeps the world's traces apart from others of the same stage and
	// replica: "captured at another time"; "" if nothing but that does.
	Why string
}

// farApart is the gap in ns between the windows of two ranks, both on the wall clock,
// beyond which they are not taken for one capture. Clocks of hosts that are kept by NTP
// differ by milliseconds, and ranks of one capture start within seconds.
const farApart = int64(60e9)

// Worlds groups traces by what they say of themselves, see Learn. Every trace is in
// exactly one world; the worlds are in the order of their first traces.
//
// Stage, replica, role and phase part traces first, and the size of the job where both
// say one. Windows that are far apart in time are captures of their own. Where a rank
// is there twice after that, what tells its traces apart tells captures apart: windows
// that do not overlap, else names, else directories, else the order in time.
func Worlds(list []*trace.Meta) []World {
	all := make([]int, len(list))
	for i := range all {
		all[i] = i
	}
	g := grouper{list: list}
	var out []World
	for _, at := range g.split(all, g.place) {
		for _, at := range g.bySize(at) {
			for _, c := range g.byTime(at, farApart) {
				out = append(out, g.unique(c, 0, "")...)
			}
		}
	}
	slices.SortFunc(out, func(a, b World) int { return cmp.Compare(slices.Min(a.Traces), slices.Min(b.Traces)) })
	g.name(out)
	return out
}

type grouper struct{ list []*trace.Meta }

// place identifies the stage, replica, role and phase of a trace, which are equal within a world.
func (g *grouper) place(i int) string {
	m := g.list[i]
	stage := m.Stage
	if m.StageID >= 0 {
		stage = fmt.Sprint(m.StageID)
	}
	return fmt.Sprintf("%s\x00%d\x00%s\x00%s", stage, m.Replica, m.Role, m.Phase)
}

// bySize parts the traces by the size of their job. Those that do not say it stay with
// the first.
func (g *grouper) bySize(at []int) [][]int {
	known := 0
	for _, i := range at {
		if n := g.list[i].WorldSize; n > 0 && known == 0 {
			known = n
		}
	}
	return g.split(at, func(i int) string { return fmt.Sprint(cmp.Or(g.list[i].WorldSize, known)) })
}

// split parts the traces by key, in the order of the first of each.
func (g *grouper) split(at []int, key func(i int) string) [][]int {
	where := map[string]int{}
	var out [][]int
	for _, i := range at {
		k := key(i)
		n, ok := where[k]
		if !ok {
			n = len(out)
			where[k] = n
			out = append(out, nil)
		}
		out[n] = append(out[n], i)
	}
	return out
}

// byTime parts the traces where no window reaches within gap of the next one. Traces
// without wall-clock times cannot be parted by time and stay together with the first.
func (g *grouper) byTime(at []int, gap int64) [][]int {
	sorted := slices.Clone(at)
	slices.SortStableFunc(sorted, func(a, b int) int {
		x, y := g.list[a], g.list[b]
		if x.WallClock != y.WallClock {
			if x.WallClock {
				return 1
			}
			return -1
		}
		return cmp.Compare(x.WindowStart, y.WindowStart)
	})
	var out [][]int
	var end int64
	for k, i := range sorted {
		m := g.list[i]
		switch {
		case k == 0 || m.WallClock && g.list[sorted[k-1]].WallClock && m.WindowStart-end > gap:
			out, end = append(out, nil), m.WindowEnd
		default:
			end = max(end, m.WindowEnd)
		}
		out[len(out)-1] = append(out[len(out)-1], i)
	}
	return out
}

// twice reports whether a rank is there more than once. Traces of unknown rank are
// told apart by where they lie.
func (g *grouper) twice(at []int) bool {
	seen := map[string]bool{}
	for _, i := range at {
		k := g.rank(i)
		if seen[k] {
			return true
		}
		seen[k] = true
	}
	return false
}

func (g *grouper) rank(i int) string {
	m := g.list[i]
	if m.Rank >= 0 {
		return fmt.Sprint("rank ", m.Rank, " ", m.Place["pp"], " ", m.Place["ep"])
	}
	return fmt.Sprint(m.Host, " ", m.PID, " ", m.File)
}

// waysApart are the ways of telling captures apart where a rank is there twice.
var waysApart = []struct {
	why   string
	split func(g *grouper, at []int) [][]int
}{
	{"captured at another time", func(g *grouper, at []int) [][]int { return g.byTime(at, -1) }},
	{"on another host", (*grouper).byHost},
	{"another name", func(g *grouper, at []int) [][]int {
		return g.split(at, func(i int) string { return path.Base(g.list[i].Capture) })
	}},
	{"in another directory", func(g *grouper, at []int) [][]int {
		return g.split(at, func(i int) string { return path.Dir(g.list[i].Capture) })
	}},
	{"in another directory", func(g *grouper, at []int) [][]int {
		return g.split(at, func(i int) string { return filepath.Dir(g.list[i].File) })
	}},
	{"the rank's next window", (*grouper).byTurn},
}

// unique parts traces until no rank is in one part twice.
func (g *grouper) unique(at []int, way int, why string) []World {
	if way == len(waysApart) || !g.twice(at) {
		slices.SortStableFunc(at, func(a, b int) int { return cmp.Compare(g.list[a].Rank, g.list[b].Rank) })
		return []World{{Traces: at, Why: why}}
	}
	var out []World
	parts := waysApart[way].split(g, at)
	if len(parts) > 1 {
		why = waysApart[way].why
	}
	for _, p := range parts {
		out = append(out, g.unique(p, way+1, why)...)
	}
	return out
}

// byHost parts traces by their hosts, if every host is known and has no rank twice: jobs of one host each
// that ran at the same time. Otherwise it leaves them together.
func (g *grouper) byHost(at []int) [][]int {
	parts := g.split(at, func(i int) string { return g.list[i].Host })
	for _, p := range parts {
		if g.list[p[0]].Host == "" || g.twice(p) {
			return [][]int{at}
		}
	}
	return parts
}

// byTurn puts the first window of every rank together, then the second, and so on.
func (g *grouper) byTurn(at []int) [][]int {
	sorted := slices.Clone(at)
	slices.SortStableFunc(sorted, func(a, b int) int {
		return cmp.Compare(g.list[a].WindowStart, g.list[b].WindowStart)
	})
	turn := map[string]int{}
	var out [][]int
	for _, i := range sorted {
		n := turn[g.rank(i)]
		turn[g.rank(i)]++
		if n == len(out) {
			out = append(out, nil)
		}
		out[n] = append(out[n], i)
	}
	return out
}

// name sets each world's name, as short as tells it from the others.
func (g *grouper) name(list []World) {
	if len(list) < 2 {
		return
	}
	texts := make([]string, len(list))
	replicas := slices.ContainsFunc(g.list, func(m *trace.Meta) bool { return m.Replica > 0 })
	for k := range list {
		m := g.list[list[k].Traces[0]]
		parts := []string{StageName(m), m.Role, m.Phase}
		if replicas {
			parts = append(parts, fmt.Sprintf("replica %d", m.Replica))
		}
		texts[k] = strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
	}
	first := func(k int) *trace.Meta { return g.list[list[k].Traces[0]] }
	addWhereEqual(texts, func(k int) string {
		if m := first(k); m.WorldSize > 0 {
			return fmt.Sprintf("of %d ranks", m.WorldSize)
		}
		return ""
	})
	addWhereEqual(texts, func(k int) string { return first(k).Host })
	addWhereEqual(texts, func(k int) string { return strings.Trim(path.Base(first(k).Capture), "#@_-. ") })
	addWhereEqual(texts, func(k int) string { return strings.Trim(filepath.Base(filepath.Dir(first(k).File)), ".") })
	same := map[string]int{}
	for _, t := range texts {
		same[t]++
	}
	nth := map[string]int{}
	for k, t := range texts {
		if same[t] > 1 {
			nth[t]++
			t = strings.TrimSpace(fmt.Sprintf("%s capture %d", t, nth[t]))
		}
		list[k].Name = cmp.Or(t, "ranks")
	}
}
