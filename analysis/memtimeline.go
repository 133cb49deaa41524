package analysis

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/internal/enum"
	"github.com/kinetoscope/kinetoscope/trace"
)

// MemoryTimelineSchema is the version of MemoryTimeline's JSON form; it grows when a
// field changes its meaning or goes away. docs/artifacts.md describes it.
const MemoryTimelineSchema = 1

// Limits of a timeline, so that it stays small however long the recording was.
const (
	// maxTimelinePoints is how many points a device's course has: several for each
	// column of a large picture, some hundred kilobytes as text with all categories.
	maxTimelinePoints = 4096
	// maxTimelineDevices is how many devices are told of, those that held most. No host
	// has more cards.
	maxTimelineDevices = 64
	// maxPeakRows bounds the lists of what was held at the peak: what follows is small.
	maxPeakRows = 20
	// maxPhases bounds the phases: finer ones are thinner than a pixel.
	maxPhases = 480
)

// HeldBy says what a byte was allocated for, as far as a trace tells.
type HeldBy uint8

// What bytes are held by, in the order in which pictures stack them.
const (
	HeldBefore  HeldBy = iota // there before the recording began
	HeldPrefill               // allocated on a thread inside of a region of that name
	HeldDecodeStep
	HeldTextEncode
	HeldDenoiseStep
	HeldVAEDecode
	HeldVocode
	HeldOther // allocated outside of every such region
	// the totals count it and no event explains it: other threads allocated it, or its free was not recorded
	HeldUnknown
	NumHeldBy
)

var heldNames = enum.Of[HeldBy]("memory held by", "before", trace.NamePrefill, trace.NameDecodeStep,
	trace.NameTextEncode,
	trace.NameDenoiseStep, trace.NameVAEDecode, trace.NameVocode, "other", "unknown")

// String returns the name in memory_timeline.json.
func (h HeldBy) String() string { return heldNames.Text(h) }

// MarshalText writes the name.
func (h HeldBy) MarshalText() ([]byte, error) { return heldNames.Marshal(h) }

// UnmarshalText reads the name.
func (h *HeldBy) UnmarshalText(b []byte) error { return heldNames.Unmarshal(h, b) }

// MemoryTimeline is what a rank's allocators held over a recording, and for what. Times
// named t are ns since StartNs.
type MemoryTimeline struct {
	SchemaVersion int    `json:"schema_version"`
	Rank          int    `json:"rank"` // -1 if unknown
	StageID       int    `json:"stage_id"`
	Stage         string `json:"stage"`
	Replica       int    `json:"replica"`
	// StartNs is when the recording began, in ns since the Unix epoch if WallClock, else
	// since an unknown instant; SpanNs is how long it took.
	StartNs   int64            `json:"start_ns"`
	WallClock bool             `json:"wall_clock"`
	SpanNs    int64            `json:"span_ns"`
	Phases    []MemoryPhase    `json:"phases"`
	Devices   []DeviceTimeline `json:"devices"` // the largest peak first
	// DevicesLeftOut counts the devices beyond the first 64.
	DevicesLeftOut int `json:"devices_left_out"`
}

// MemoryPhase is a stretch of time in which the rank ran regions of one kind. Shorter
// ones than a 480th of the recording are joined to what surrounds them.
type MemoryPhase struct {
	Region  HeldBy `json:"region"`
	StartNs int64  `json:"start_t_ns"`
	EndNs   int64  `json:"end_t_ns"`
	Count   int    `json:"count"` // regions that began in it
}

// DeviceTimeline is the course of one allocator. At every point the categories add up to
// the total, and EndBytes = BaseBytes + AllocatedBytes - FreedBytes + UnexplainedBytes.
type DeviceTimeline struct {
	Device     string `json:"device"` // "CPU", "CUDA 0"
	DeviceType int64  `json:"device_type"`
	DeviceID   int64  `json:"device_id"` // -1 for the host
	Events     int    `json:"events"`    // allocations and frees
	// HasAddresses is false if no event says what it freed; then all bytes are unknown.
	HasAddresses   bool  `json:"has_addresses"`
	BaseBytes      int64 `json:"base_bytes"` // held when the recording began
	AllocatedBytes int64 `json:"allocated_bytes"`
	FreedBytes     int64 `json:"freed_bytes"`
	// UnexplainedBytes is how much the allocator's totals changed without an event: other
	// threads' allocations that were not recorded, less their frees.
	UnexplainedBytes int64            `json:"unexplained_bytes"`
	EndBytes         int64            `json:"end_bytes"`
	Peak             MemoryPeak       `json:"peak"`
	Categories       []MemoryCategory `json:"categories"` // that ever held anything, in the order of HeldBy
	// Each point holds until the next, the last to the end. The first is at 0.
	TimesNs    []int64 `json:"t_ns"`
	TotalBytes []int64 `json:"total_bytes"`
	// Reduced says how points were left out; nil if there is one for every event.
	Reduced *MemoryReduction `json:"reduced"`
}

// MemoryCategory is the part of a course that is held by one thing.
type MemoryCategory struct {
	HeldBy      HeldBy  `json:"held_by"`
	AtPeakBytes int64   `json:"at_peak_bytes"` // at the peak of the total
	MaxBytes    int64   `json:"max_bytes"`     // its own largest value, of all events
	EndBytes    int64   `json:"end_bytes"`
	Bytes       []int64 `json:"bytes"` // at DeviceTimeline.TimesNs
}

// MemoryReduction says what the points of a course stand for.
type MemoryReduction struct {
	// Method is "bucket_peak": of every bucket of time the moment with the largest total,
	// with its true time, and at last the state at the end.
	Method   string `json:"method"`
	BucketNs int64  `json:"bucket_ns"`
	Events   int    `json:"events"` // points that there would have been
}

// MemoryPeak is the moment at which an allocator held most; of several the first.
type MemoryPeak struct {
	Bytes  int64  `json:"bytes"`
	TimeNs int64  `json:"t_ns"`
	Op     string `json:"op"`     // innermost operator in which it was reached, "" if in none
	Region HeldBy `json:"region"` // around it; before if nothing exceeded what was held at first
	// What is known to have been held, without what was there before: how many
	// allocations, the largest of them, and summed by operator and region.
	LiveBytes   int64            `json:"live_bytes"`
	LiveCount   int              `json:"live_count"`
	Allocations []LiveAllocation `json:"allocations"`
	ByOp        []LiveByOp       `json:"by_op"`
}

// LiveAllocation is one allocation that was held at the peak.
type LiveAllocation struct {
	Bytes  int64  `json:"bytes"`
	TimeNs int64  `json:"t_ns"` // when it was made
	Addr   string `json:"addr"` // hexadecimal: JSON's numbers hold no addresses
	Op     string `json:"op"`   // innermost operator around it, "" if none
	Region HeldBy `json:"region"`
	Pool   string `json:"pool,omitempty"` // of native ranks
}

// LiveByOp sums what one operator allocated in one region and was held at the peak.
type LiveByOp struct {
	Op     string `json:"op"`
	Region HeldBy `json:"region"`
	Bytes  int64  `json:"bytes"`
	Count  int    `json:"count"`
}

// DeviceName names an allocator by c10's code of its device type and its number, -1 if
// it has none: "CPU", "CUDA 0".
func DeviceName(deviceType, id int64) string {
	name := map[int64]string{0: "CPU", 1: "CUDA", 6: "HIP", 12: "XPU", 19: "MTIA", 20: "private"}[deviceType]
	if name == "" {
		name = fmt.Sprintf("type %d", deviceType)
	}
	if id >= 0 {
		name += fmt.Sprintf(" %d", id)
	}
	return name
}

// HeldMemory answers what every allocator held over time, split by the region in which
// it was allocated. A trace without allocations gives no devices.
func HeldMemory(tr *trace.Trace, opt Options) MemoryTimeline {
	opt.HTA = false
	f := bareFrame(tr, opt)
	m := &tr.Meta
	out := MemoryTimeline{SchemaVersion: MemoryTimelineSchema, Rank: m.Rank, StageID: m.StageID, Stage: m.Stage,
		Replica:   m.Replica,
		WallClock: m.WallClock, Phases: []MemoryPhase{}, Devices: []DeviceTimeline{}}
	byDev, t, _ := f.memoryEvents()
	if len(byDev) == 0 {
		return out
	}
	w := f.memoryWindow(byDev)
	out.StartNs, out.SpanNs = w.StartNs, between(w.StartNs, w.EndNs)
	regions := f.regions(t)
	out.Phases = f.phases(t, regions, w)
	devices := make([]memoryDevice, 0, len(byDev))
	for k := range byDev {
		devices = append(devices, k)
	}
	slices.SortFunc(devices, compareDevices)
	for _, k := range devices {
		h := &holder{f: f, t: t, regions: regions, es: byDev[k], start: w.StartNs, span: out.SpanNs}
		d := h.timeline()
		d.Device, d.DeviceType, d.DeviceID = DeviceName(k.typ, k.id), k.typ, k.id
		out.Devices = append(out.Devices, d)
	}
	slices.SortStableFunc(out.Devices, func(a, b DeviceTimeline) int { return cmp.Compare(b.Peak.Bytes, a.Peak.Bytes) })
	if n := len(out.Devices); n > maxTimelineDevices {
		out.Devices, out.DevicesLeftOut = out.Devices[:maxTimelineDevices], n-maxTimelineDevices
	}
	return out
}

// between returns to-from, at least 0, and the largest int64 where that is too small.
func between(from, to int64) int64 {
	d := to - from
	switch {
	case to <= from:
		return 0
	case d < 0:
		return 1<<63 - 1
	}
	return d
}

// memoryWindow is the recording's window, stretched over all events.
func (f *frame) memoryWindow(byDev map[memoryDevice][]memoryEvent) Window {
	w := Window{f.tr.Meta.WindowStart, f.tr.Meta.WindowEnd}
	if f.opt.Window != nil {
		w = *f.opt.Window
	}
	known := w.EndNs > w.StartNs
	for _, es := range byDev {
		first, last := es[0].at, es[len(es)-1].at
		if !known {
			w, known = Window{first, last}, true
		}
		w.StartNs, w.EndNs = min(w.StartNs, first), max(w.EndNs, last)
	}
	return w
}

// regions returns, per slice, the region that it is or lies in: HeldOther if none,
// HeldBefore inside of a native rank's account of what it holds.
func (f *frame) regions(t *tree) []HeldBy {
	s := &f.tr.Slices
	byName := map[trace.StringID]HeldBy{}
	for h := HeldPrefill; h <= HeldVocode; h++ {
		if id, ok := f.tr.Strings.Lookup(h.String()); ok {
			byName[id] = h
		}
	}
	if id, ok := f.tr.Strings.Lookup(trace.NameMemoryHeld); ok {
		byName[id] = HeldBefore
	}
	out := make([]HeldBy, s.Len())
	for _, i := range t.order {
		if h, ok := byName[s.Name[i]]; ok {
			out[i] = h
		} else if p := t.parent[i]; p >= 0 {
			out[i] = out[p]
		} else {
			out[i] = HeldOther
		}
	}
	return out
}

// phases are the outermost regions of all threads in order of time. One that begins
// within a 480th of the window after the last phase's begin joins it, so that there
// are never more than that many; the phase is then what took most of its time.
func (f *frame) phases(t *tree, regions []HeldBy, w Window) []MemoryPhase {
	isRegion := func(h HeldBy) bool { return h >= HeldPrefill && h <= HeldVocode }
	var rows []int32
	for _, i := range t.order {
		if p := t.parent[i]; isRegion(regions[i]) && (p < 0 || !isRegion(regions[p])) {
			rows = append(rows, i)
		}
	}
	sortByKey(rows, func(i int32) int64 { return f.start[i] })
	tolerance := between(w.StartNs, w.EndNs) / maxPhases
	out := []MemoryPhase{}
	var busy [NumHeldBy]int64 // of the last phase
	for _, i := range rows {
		from, to := between(w.StartNs, max(f.start[i], w.StartNs)), between(w.StartNs, min(f.end(i), w.EndNs))
		if to < from {
			continue
		}
		last := len(out) - 1
		if last < 0 || between(out[last].EndNs, from) > tolerance || regions[i] != out[last].Region &&
			from-out[last].StartNs >= tolerance {
			out, busy = append(out, MemoryPhase{regions[i], from, to, 1}), [NumHeldBy]int64{}
			busy[regions[i]] = to - from
			continue
		}
		p := &out[last]
		p.EndNs = max(p.EndNs, to)
		p.Count++
		if busy[regions[i]] += to - from; busy[regions[i]] > busy[p.Region] {
			p.Region = regions[i]
		}
	}
	return out
}
