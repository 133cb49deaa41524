package report

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/neutral"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/format"
	"github.com/kinetoscope/kinetoscope/units"
)

// Fact is one thing that a file says about itself.
type Fact struct {
	Key, Value string
}

// FactTable is facts as a table.
func FactTable(list []Fact) *Table {
	t := &Table{Name: "facts", Title: "Facts", Columns: []Column{{Key: "key", Title: "key", Left: true},
		{Key: "value", Title: "value", Left: true, Flex: true}}}
	for _, f := range list {
		t.Add(Str(f.Key), Str(f.Value))
	}
	t.Limit = max(1, t.Len())
	return t
}

// Inspection writes the description of one file: facts, then tables.
func Inspection(w io.Writer, title string, facts []Fact, tables []*Table, o TextOptions) error {
	p := &printer{w: bufio.NewWriter(w), o: o.withDefaults()}
	p.heading(title, "")
	wide := 0
	for _, f := range facts {
		wide = max(wide, len([]rune(f.Key)))
	}
	for _, f := range facts {
		key := f.Key
		for _, l := range wrap(p.plain(neutral.Plain(f.Value)), p.o.Width-wide-4) {
			p.line("  " + pad(key, wide, true) + "  " + cut(l, p.o.Width-wide-4, p.plain("…")))
			key = ""
		}
	}
	p.page("", "", []Section{{Tables: tables}})
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// Unread says how much of a text was not read, for the end of a sentence; "" if all was.
func Unread(skipped, text int64) string {
	if skipped <= 0 || text <= 0 {
		return ""
	}
	return fmt.Sprintf("; %s of %s (%s) not read", units.Bytes(skipped), units.Bytes(text),
		units.Share(float64(skipped)/float64(text)))
}

// MetaFacts are what the trace says about itself as a whole.
func MetaFacts(t *trace.Trace) []Fact {
	m := &t.Meta
	var out []Fact
	add := func(key, format string, args ...any) { out = append(out, Fact{key, fmt.Sprintf(format, args...)}) }
	add("format", "%s", format.Title(m.Format))
	switch {
	case m.StageID >= 0:
		add("stage", "%s, replica %d", strings.TrimSpace(fmt.Sprint(m.StageID, " ", m.Stage)), m.Replica)
	case m.Stage != "":
		add("stage", "%s, replica %d", m.Stage, m.Replica)
	}
	switch {
	case m.Rank >= 0 && m.WorldSize > 0:
		add("rank", "%d of %d", m.Rank, m.WorldSize)
	case m.Rank >= 0:
		add("rank", "%d", m.Rank)
	default:
		add("rank", "unknown")
	}
	if m.Host != "" {
		add("host", "%s", m.Host)
	}
	if m.Backend != "" {
		add("backend", "%s", m.Backend)
	}
	for _, d := range devices(m.Devices) {
		add("device", "%s", d)
	}
	out = append(out, windowFacts(t)...)
	for _, k := range slices.Sorted(mapKeys(m.Extra)) {
		if m.Format == "native" && (k == "clock" || k == "pid") {
			continue // the recording's own facts say it
		}
		v := strings.TrimSpace(m.Extra[k])
		if text := ""; json.Unmarshal([]byte(v), &text) == nil {
			v = text
		}
		if len(v) > maxExtra {
			v = fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(v[:maxExtra], ""), len(v))
		}
		add(k, "%s", v)
	}
	return out
}

// maxExtra bounds how many bytes of a free key's raw JSON are shown.
const maxExtra = 160

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// devices joins equal cards.
func devices(list []trace.Device) []string {
	type kind struct {
		name   string
		memory int64
		sms    int
	}
	count := map[kind]int{}
	var order []kind
	for _, d := range list {
		k := kind{d.Name, d.TotalMemory, d.SMs}
		if count[k] == 0 {
			order = append(order, k)
		}
		count[k]++
	}
	var out []string
	for _, k := range order {
		s := k.name
		if s == "" {
			s = "unnamed"
		}
		s = units.Times(count[k], s)
		if k.memory > 0 {
			s += ", " + units.Bytes(k.memory)
		}
		if k.sms > 0 {
			s += fmt.Sprintf(", %d SMs", k.sms)
		}
		out = append(out, s)
	}
	return out
}

func windowFacts(t *trace.Trace) []Fact {
	m := &t.Meta
	out := []Fact{{"window", fmt.Sprintf("%s, from %d to %d ns", units.Duration(float64(m.WindowEnd-m.WindowStart)),
		m.WindowStart, m.WindowEnd)}}
	clock := "times are since an unknown instant: not comparable with other files"
	if m.WallClock {
		clock = "wall clock, window begins " +
			time.Unix(0, m.WindowStart).UTC().Format("2006-01-02 15:04:05.000000000") + " UTC"
		if m.BaseTimeNs != 0 {
			clock += fmt.Sprintf(", baseTimeNanoseconds %d", m.BaseTimeNs)
		}
	}
	return append(out, Fact{"clock", clock})
}

// CountTable is how many rows of each kind and category the trace has.
func CountTable(t *trace.Trace) *Table {
	out := &Table{Name: "categories", Title: "Events", What: "category", Columns: []Column{
		{Key: "rows", Title: "rows", Left: true}, {Key: "category", Title: "category", Left: true, Flex: true},
		{Key: "count", Title: "count"}, {Key: "sum_ns", Title: "summed time"},
	}}
	type acc struct{ n, ns int64 }
	sums := map[trace.Category]*acc{}
	for i, c := range t.Slices.Cat {
		if sums[c] == nil {
			sums[c] = &acc{}
		}
		sums[c].n++
		sums[c].ns += t.Slices.Dur[i]
	}
	instants := map[trace.Category]int64{}
	for _, c := range t.Instants.Cat {
		instants[c]++
	}
	for c := range 256 {
		if a := sums[trace.Category(c)]; a != nil {
			out.Add(Str("slices"), Str(t.CategoryText(trace.Category(c))), Int(a.n), Ns(a.ns))
		}
	}
	for c := range 256 {
		if n := instants[trace.Category(c)]; n > 0 {
			out.Add(Str("instants"), Str(t.CategoryText(trace.Category(c))), Int(n), NoValue)
		}
	}
	if n := len(t.Counters.Time); n > 0 {
		type series struct {
			track        trace.TrackID
			name, series trace.StringID
		}
		distinct := map[series]bool{}
		for i := range t.Counters.Time {
			distinct[series{t.Counters.Track[i], t.Counters.Name[i], t.Counters.Series[i]}] = true
		}
		out.Add(Str("counters"), Str(fmt.Sprintf("%d series", len(distinct))), Int(n), NoValue)
	}
	flows := map[trace.StringID]int64{}
	for _, c := range t.Flows.Cat {
		flows[c]++
	}
	var ids []trace.StringID
	for c := range flows {
		ids = append(ids, c)
	}
	slices.SortFunc(ids, func(a, b trace.StringID) int { return strings.Compare(t.String(a), t.String(b)) })
	for _, c := range ids {
		out.Add(Str("flow ends"), Str(t.String(c)), Int(flows[c]), NoValue)
	}
	out.Limit = max(1, out.Len())
	return out
}

// TrackTable is the lanes of the trace.
func TrackTable(t *trace.Trace) *Table {
	out := &Table{Name: "tracks", Title: "Tracks", What: "track", Columns: []Column{
		{Key: "track", Title: "track"}, {Key: "kind", Title: "kind", Left: true},
		{Key: "process", Title: "process", Left: true, Flex: true},
		{Key: "name", Title: "name", Left: true, Flex: true},
		{Key: "pid"}, {Key: "tid"}, {Key: "device", Title: "device"}, {Key: "stream", Title: "stream"},
		{Key: "slices", Title: "slices"}, {Key: "lanes", Title: "lanes"}, {Key: "busy_ns", Title: "covered"},
	}}
	x := t.Index()
	most := make([]trace.TrackID, len(t.Tracks))
	for i := range most {
		most[i] = trace.TrackID(i)
	}
	slices.SortStableFunc(most, func(a, b trace.TrackID) int { return cmp.Compare(len(x.Track(b)), len(x.Track(a))) })
	out.Later(len(most), func(i int) []Cell { return trackRow(t, x, most[i]) })
	out.Limit = 15
	return out
}

func trackRow(t *trace.Trace, x *trace.Index, id trace.TrackID) []Cell {
	k, order := &t.Tracks[id], x.Track(id)
	covered, end := int64(0), int64(math.MinInt64) // times can be negative
	for _, s := range order {
		if start := max(t.Slices.Start[s], end); t.Slices.End(int(s)) > start {
			covered += t.Slices.End(int(s)) - start
			end = t.Slices.End(int(s))
		}
	}
	lanes := uint16(0)
	if int(id) < len(x.Lanes) {
		lanes = x.Lanes[id]
	}
	name := k.Name
	if name == "" && k.Stream >= 0 {
		name = fmt.Sprintf("stream %d", k.Stream)
	}
	return []Cell{ID(int64(id)), Str([]string{"thread", "stream", "other"}[min(int(k.Kind), 2)]),
		Str(either(k.Process, k.PIDText, fmt.Sprint(k.PID))), Str(either(name, k.TIDText, fmt.Sprint(k.TID))),
		ID(k.PID), ID(k.TID), Hide(k.Device < 0, ID(k.Device)), Hide(k.Stream < 0, ID(k.Stream)), Int(len(order)),
		Hide(lanes <= 1, Int(int(lanes))), Hide(len(order) == 0, Ns(covered))}
}

func either(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// GroupTable is the process groups.
func GroupTable(t *trace.Trace) *Table {
	out := &Table{Name: "groups", Title: "Process groups", What: "group", Columns: []Column{
		{Key: "name", Title: "name", Left: true}, {Key: "desc", Title: "description", Left: true, Flex: true},
		{Key: "backend", Title: "backend", Left: true}, {Key: "size", Title: "size"},
		{Key: "ranks", Title: "ranks", Left: true, Flex: true},
	}}
	for _, g := range t.Meta.ProcessGroups {
		out.Add(Str(g.Name), Str(g.Desc), Str(g.Backend), Int(g.Size), Str(ranges(g.Ranks)))
	}
	return out
}

// ranges writes 0,1,2,3,8 as 0-3,8.
func ranges(list []int) string {
	var b strings.Builder
	for i := 0; i < len(list); {
		k := i
		for k+1 < len(list) && list[k+1] == list[k]+1 {
			k++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, list[i])
		if k > i {
			fmt.Fprintf(&b, "-%d", list[k])
		}
		i = k + 1
	}
	return b.String()
}

// RepairTable is what a reader mended; several traces by label.
func RepairTable(list []Ranked[map[string]int]) *Table {
	out := &Table{Name: "repairs", Title: "Repairs", What: "kind of repair",
		Note: "what the reader mended, or found remarkable", Columns: []Column{
			{Key: "trace", Title: "trace", Left: true, Flex: true}, {Key: "repair", Title: "repair", Left: true,
				Flex: true}, {Key: "count", Title: "count"},
		}}
	for i := range list {
		var kinds []string
		for k := range list[i].Value {
			kinds = append(kinds, k)
		}
		slices.Sort(kinds)
		for _, k := range kinds {
			out.Add(label(list, i), Str(k), Int(list[i].Value[k]))
		}
	}
	out.Limit = 40
	return out
}
