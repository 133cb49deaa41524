package kineto

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/trace/proton"
	"github.com/kinetoscope/kinetoscope/trace/rocprof"
	"github.com/kinetoscope/kinetoscope/trace/unpack"
	"github.com/kinetoscope/kinetoscope/trace/xla"
)

const (
	// maxBase and maxWholeMicros together keep every time below 2^63 ns.
	maxBase = int64(2e18)
)

func sortOpen(list []openBegin) {
	slices.SortFunc(list, func(a, b openBegin) int {
		return cmp.Or(cmp.Compare(a.ts, b.ts), cmp.Compare(a.track, b.track), cmp.Compare(a.name, b.name))
	})
}

// finish turns the columns into a trace once its text is read, which ends at offset end
// of the file.
func (m *merger) finish(end int64) error {
	if m.phase == inHead { // unreachable: head decides at the end of the text
		return m.fail(0, "an array of events", "the end of the file")
	}
	for k, n := range m.meta.repairs {
		m.t.Repairs.Add(k, n)
	}
	m.closeOpen()
	m.clip()
	m.settleLoose()
	m.nameTracks()
	if err := m.noEvents(); err != nil {
		return err
	}
	t := m.t
	t.Meta.File = m.path
	t.Repairs.Add(trace.RepairMetadata, m.meta.bad)
	if m.meta.cut {
		t.Repairs.Add(trace.RepairTruncatedFile, 1)
	}
	if m.phase != inNext && m.p.in.Damaged() != nil { // what is damaged ends the last trace
		t.Repairs.Add(trace.RepairTruncatedStream, 1)
	}
	if n := m.p.in.Behind(); m.phase != inNext && n > 0 { // of the packed file, as it lies there
		m.skipped, end = m.skipped+n, end+n
		if t.Repairs.Count[trace.RepairAfterEnd] == 0 {
			t.Repairs.Add(trace.RepairAfterEnd, 1)
		}
	}
	t.Repairs.Skipped, t.Repairs.Text = m.skipped, end-m.from
	if len(m.docs) == 0 {
		m.compression()
	}
	m.paths()
	m.readMeta()
	m.flavour()
	m.times()
	if m.path != "" {
		identity.Learn(&t.Meta, identity.FromPath(m.path))
	}
	t.Trim()
	m.docs = append(m.docs, t)
	return nil
}

// settleLoose gives flows and counters their tracks.
func (m *merger) settleLoose() {
	t := m.t
	m.loose.join(m.lanes.Keys())
	for i, id := range t.Flows.Track {
		cat := t.String(t.Flows.Cat[i])
		launch := cat == "ac2g" || strings.HasPrefix(cat, "async")
		t.Flows.Track[i] = m.settle(uint32(id), launch && !t.Flows.Start[i])
	}
	for i, id := range t.Counters.Track {
		t.Counters.Track[i] = m.settle(uint32(id), false)
	}
}

func (m *merger) compression() {
	named := unpack.Named(m.path)
	if outer := m.p.in.Outer(); m.path != "" && named != outer && outer != unpack.UTF16 {
		m.t.Repairs.Add(trace.RepairWrongCompression, 1)
	}
}

// flavour names the dialect.
func (m *merger) flavour() {
	t := m.t
	switch {
	case npu(m.names.seen):
		t.Meta.Format = "ascend" // an array, or as a rank hands it over: in an envelope with a header
	case xla.Is(m.names.seen):
		t.Meta.Format = xla.Format
		xla.Classify(t)
	case m.meta.values["viztracer_metadata"] != nil || m.calls():
		t.Meta.Format = "viztracer"
		for i := range t.Slices.Cat { // it times calls of Python functions
			t.Slices.Cat[i] = trace.CatPythonFunction
		}
	case rocprof.IsChrome(t):
		t.Meta.Format = rocprof.FormatChrome
		rocprof.ClassifyChrome(t)
	case proton.Is(t):
		t.Meta.Format = proton.FormatChrome
		proton.Classify(t)
	case m.array && (len(t.Tracks) == 0 || t.Tracks[0].PIDText == "CPU functions"):
		t.Meta.Format = "torch-fallback"
		plain(t)
	case m.foreign() || m.array && t.Slices.Len() == 0:
		t.Meta.Format = "chrome"
		plain(t)
	default: // also its events alone, as people cut them out
		t.Meta.Format = "kineto"
	}
}

// plain makes slices without a category calls on the host.
func plain(t *trace.Trace) {
	for i, c := range t.Slices.Cat {
		if c == trace.CatOther {
			t.Slices.Cat[i] = trace.CatCPUOp
		}
	}
}

// foreign reports whether nothing around the events or in them says that torch wrote it: no key
// that Kineto writes, and no category that it has.
// calls reports whether all slices are of viztracer's category for calls: its own keys are lost when
// somebody cuts or joins its files.
func (m *merger) calls() bool {
	names := m.t.Categories()
	for _, c := range m.t.Slices.Cat {
		if c < trace.CatDynamic || !strings.EqualFold(names[c-trace.CatDynamic], "fee") {
			return false
		}
	}
	return m.t.Slices.Len() > 0
}

func (m *merger) foreign() bool {
	for _, k := range []string{"schemaVersion", "deviceProperties", "distributedInfo", "baseTimeNanoseconds",
		"traceName", "record_shapes", "with_stack"} {
		if m.meta.values[k] != nil {
			return false
		}
	}
	for _, c := range m.t.Slices.Cat {
		if c != trace.CatOther && c < trace.CatDynamic {
			return false
		}
	}
	return m.t.Slices.Len() > 0
}

// times adds the base to every time, finds the window and notes what is odd.
func (m *merger) times() {
	t := m.t
	s := &t.Slices
	sorted := slices.IsSorted(s.Start)
	if !sorted {
		t.Repairs.Add(trace.RepairUnsorted, 1)
	}
	base := t.Meta.BaseTimeNs
	m.timeless()
	for i, x := range s.Start {
		s.Start[i] = x + base
	}
	for _, col := range [][]int64{t.Instants.Time, t.Counters.Time, t.Flows.Time} {
		for i := range col {
			col[i] += base
		}
	}
	m.t.Window()
	t.Meta.WallClock = t.Meta.WindowStart >= trace.LeastWallClock
}

// A ts of 0 means "no time" only if all other times are far after it. In a trace whose base or
// whose wall clock is known, far is at least as long as the other slices last, and at least
// zeroGap. In other traces it is farFromZero times as long, because a trace whose times count from
// its own beginning has its first slices near 0.
const (
	farFromZero = 100
	zeroGap     = int64(100e6) // ns
)

// timeless finds slices whose ts is 0 because the profiler had no time for them. It also finds
// slices whose begin has ts 0; these keep their end and get no duration.
func (m *merger) timeless() {
	s := &m.t.Slices
	zero, first, last := 0, int64(math.MaxInt64), int64(math.MinInt64)
	base, ofClock := m.t.Meta.BaseTimeNs, 0
	for i, x := range s.Start {
		switch {
		case base > 0 && x == -base: // see trace.Trace.Timeless
			ofClock++
			continue
		case x == 0:
			zero++
			continue
		}
		first, last = min(first, x), max(last, x+s.Dur[i])
	}
	m.t.Repairs.Add(trace.RepairZeroTime, ofClock)
	if zero == 0 || first <= 0 || first == math.MaxInt64 {
		return
	}
	epoch := base > 0 || first >= trace.LeastWallClock
	near := epoch && first < max(zeroGap, last-first) || !epoch && first/farFromZero < last-first
	if near && !m.emptyAtZero() {
		return
	}
	m.t.Meta.ZeroIsNoTime = true
	begins := 0
	for _, i := range m.begin.atZero {
		if s.Dur[i] >= first {
			s.Start[i], s.Dur[i] = s.Dur[i], 0
			begins++
		}
	}
	m.t.Repairs.Add(trace.RepairZeroBegin, begins)
	m.t.Repairs.Add(trace.RepairZeroTime, zero-begins)
}

// emptyAtZero reports whether all that begins at the file's zero is device work of no length: then no device began
// there, and the driver gave neither time.
func (m *merger) emptyAtZero() bool {
	s := &m.t.Slices
	for i, x := range s.Start {
		if x == 0 && (s.Dur[i] != 0 || m.t.Tracks[s.Track[i]].Kind != trace.TrackGPU) {
			return false
		}
	}
	return true
}

// readMeta fills Meta from the envelope.
func (m *merger) readMeta() {
	meta := &m.t.Meta
	for _, key := range m.meta.order {
		raw := m.meta.values[key]
		ok := true
		switch key {
		case "baseTimeNanoseconds":
			n, isInt := textInt(raw)
			if ok = isInt && n >= 0 && n < maxBase; ok {
				meta.BaseTimeNs = n
			}
		case "distributedInfo":
			ok = distributed(meta, raw)
		case "deviceProperties":
			ok = devices(meta, raw)
		case "host_name":
			ok = json.Unmarshal(raw, &meta.Host) == nil
		case "stage_id":
			n, isInt := textInt(raw)
			if ok = isInt && n >= 0 && n < 1<<31; ok {
				meta.StageID = int(n)
			}
		case "stage":
			ok = json.Unmarshal(raw, &meta.Stage) == nil
		case "replica":
			n, isInt := textInt(raw)
			if ok = isInt && n >= 0 && n < 1<<31; ok {
				meta.Replica = int(n)
				meta.Learnt = map[trace.Field]trace.From{trace.FieldReplica: trace.FromContent}
			}
		case "traceEvents":
		default:
			if ok = len(raw) <= maxExtra; ok {
				if meta.Extra == nil {
					meta.Extra = make(map[string]string)
				}
				meta.Extra[key] = string(raw)
			}
		}
		if !ok {
			m.t.Repairs.Add(trace.RepairMetadata, 1)
		}
	}
}

// textInt reads an integer that may be given as text.
func textInt(raw []byte) (int64, bool) {
	return parseInt([]byte(strings.Trim(string(raw), `"`)))
}

// looseInt is an integer that may be given as text; anything else leaves it unset.
type looseInt struct {
	n  int
	ok bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *looseInt) UnmarshalJSON(b []byte) error {
	n, ok := textInt(b)
	l.n, l.ok = int(n), ok
	return nil
}

// looseRanks is a list of ranks, which on-demand traces write as text.
type looseRanks []int

// UnmarshalJSON implements json.Unmarshaler.
func (l *looseRanks) UnmarshalJSON(b []byte) error {
	text := strings.Trim(strings.Trim(string(b), `"`), "[]")
	for f := range strings.SplitSeq(text, ",") {
		if n, err := strconv.Atoi(strings.TrimSpace(f)); err == nil {
			*l = append(*l, n)
		}
	}
	return nil
}

func distributed(meta *trace.Meta, raw []byte) bool {
	var d struct {
		Backend   string   `json:"backend"`
		Rank      looseInt `json:"rank"`
		WorldSize looseInt `json:"world_size"`
		Groups    []struct {
			Name    json.RawMessage `json:"pg_name"`
			Desc    string          `json:"pg_desc"`
			Backend string          `json:"backend_config"`
			Size    looseInt        `json:"pg_size"`
			Ranks   looseRanks      `json:"ranks"`
		} `json:"pg_config"`
	}
	err := json.Unmarshal(raw, &d)
	meta.Backend = d.Backend
	if d.Rank.ok && d.Rank.n >= 0 {
		meta.Rank = d.Rank.n
	}
	meta.WorldSize = max(0, d.WorldSize.n)
	for _, g := range d.Groups {
		var name string
		if json.Unmarshal(g.Name, &name) != nil {
			name = string(g.Name)
		}
		meta.ProcessGroups = append(meta.ProcessGroups, trace.ProcessGroup{
			Name: name, Desc: g.Desc, Backend: g.Backend, Size: g.Size.n, Ranks: g.Ranks,
		})
	}
	return err == nil
}

func devices(meta *trace.Meta, raw []byte) bool {
	var list []struct {
		ID    looseInt    `json:"id"`
		Name  string      `json:"name"`
		Total json.Number `json:"totalGlobalMem"`
		SMs   looseInt    `json:"numSms"`
	}
	err := json.Unmarshal(raw, &list)
	for _, d := range list {
		total, _ := d.Total.Int64()
		meta.Devices = append(meta.Devices, trace.Device{ID: d.ID.n, Name: d.Name, TotalMemory: total, SMs: d.SMs.n})
	}
	return err == nil
}
