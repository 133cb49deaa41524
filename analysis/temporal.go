package analysis

import (
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Temporal says how a rank's device spent the time between its first and its last
// work. The five exclusive parts add up to SpanNs: a moment counts as compute if any
// stream computes, else as communication, else as memory, else as other, else as idle.
type Temporal struct {
	Rank      int    `json:"rank"`       // -1 if unknown
	HasDevice bool   `json:"has_device"` // false: no device work, all times are 0
	Window    Window `json:"window"`     // first start to last end; with Options.Window that window
	SpanNs    int64  `json:"span_ns"`

	ComputeNs              int64 `json:"compute_ns"`
	ExposedCommunicationNs int64 `json:"exposed_communication_ns"` // not hidden behind compute
	ExposedMemoryNs        int64 `json:"exposed_memory_ns"`        // not hidden behind compute or communication
	OtherNs                int64 `json:"other_ns"`
	IdleNs                 int64 `json:"idle_ns"`

	CommunicationNs int64 `json:"communication_ns"` // hidden or not
	MemoryNs        int64 `json:"memory_ns"`        // hidden or not
	BusyNs          int64 `json:"busy_ns"`          // any work on any stream
	// NonComputeNs is busy time without compute; HTA's name for the parts in between.
	NonComputeNs int64 `json:"non_compute_ns"`

	ComputeShare float64 `json:"compute_share"` // of SpanNs, as are the next
	IdleShare    float64 `json:"idle_share"`

	// With several devices the parts above are those of all together: a moment is idle if
	// none of them works. Devices has each on its own, by id.
	Devices       []DeviceTime `json:"devices"`
	MeanBusyShare float64      `json:"mean_busy_share"` // of SpanNs, mean over Devices
	TogetherNs    int64        `json:"together_ns"`     // two or more of Devices were busy
	// UnknownNs is the part of IdleNs in which launches were made whose device work the trace
	// does not have.
	UnknownNs int64 `json:"unknown_ns"`
	// UnknownWindowNs is UnknownNs and the same of the time before and after the span.
	UnknownWindowNs int64 `json:"unknown_window_ns"`
	// WindowNs is what the trace covers, host and devices.
	WindowNs int64 `json:"window_ns"`
}

// DeviceTime is one device's part of Temporal.SpanNs.
type DeviceTime struct {
	Device    int64   `json:"device"`     // its number in the trace
	BusyNs    int64   `json:"busy_ns"`    // merged over its streams
	BusyShare float64 `json:"busy_share"` // of SpanNs
	Slices    int     `json:"slices"`     // of device work on it
}

// TemporalBreakdown answers where the device's time went.
func TemporalBreakdown(tr *trace.Trace, opt Options) Temporal { return newFrame(tr, opt).temporal() }

func (f *frame) temporal() Temporal {
	t := Temporal{Rank: f.rank}
	w, ok := f.span()
	if f.opt.Window != nil {
		w = *f.opt.Window
	}
	t.Window, t.HasDevice, t.Devices = w, ok, []DeviceTime{}
	t.WindowNs = f.windowNs()
	if !ok {
		return t
	}
	sets := f.mergedKinds()
	compute, comm, mem, other := sets[KindCompute], sets[KindCommunication], sets[KindMemory], sets[KindOther]
	t.ComputeNs, t.CommunicationNs, t.MemoryNs = total(compute), total(comm), total(mem)
	busy := f.merged(allKinds)
	t.BusyNs = total(busy)
	if f.rules.NegativeTimes {
		// The span is that of the merged spans; a last slice with negative duration ends early.
		t.Window = Window{StartNs: busy[0].start, EndNs: busy[len(busy)-1].end}
		t.SpanNs = t.Window.EndNs - t.Window.StartNs
	} else {
		t.SpanNs = w.EndNs - w.StartNs
		for mask, ns := range sweepMasks(compute, comm, mem, other) {
			switch {
			case mask == 0 || mask&1 != 0:
			case mask&2 != 0:
				t.ExposedCommunicationNs += ns
			case mask&4 != 0:
				t.ExposedMemoryNs += ns
			default:
				t.OtherNs += ns
			}
		}
	}
	t.IdleNs = t.SpanNs - t.BusyNs
	t.NonComputeNs = t.SpanNs - t.ComputeNs - t.IdleNs
	f.devices(&t)
	t.ComputeShare, t.IdleShare = share(t.ComputeNs, t.SpanNs), share(t.IdleNs, t.SpanNs)
	return t
}

// windowNs is what the slices that count cover.
func (f *frame) windowNs() int64 {
	if f.opt.Window != nil {
		return f.opt.Window.EndNs - f.opt.Window.StartNs
	}
	if f.view == nil {
		return 0
	}
	lo, hi, _ := f.view.Extent()
	return hi - lo
}

// devices fills the times of each device.
func (f *frame) devices(t *Temporal) {
	t.Devices = []DeviceTime{}
	if f.view == nil {
		return
	}
	list := f.view.Devices()
	var busy int64
	for k := range list {
		d := DeviceTime{Device: list[k].ID, BusyNs: view.Within(list[k].Busy, t.Window.StartNs, t.Window.EndNs),
			Slices: len(list[k].Work)}
		d.BusyShare = share(d.BusyNs, t.SpanNs)
		busy += d.BusyNs
		t.Devices = append(t.Devices, d)
	}
	t.MeanBusyShare = share(busy, t.SpanNs*int64(max(1, len(list))))
	t.UnknownNs, t.UnknownWindowNs = f.unknownIdle()
	t.TogetherNs = view.Within(view.Together(list), t.Window.StartNs, t.Window.EndNs)
}

// unknownIdle is the time between device work, and in the whole window, of which it is not
// known whether it was idle.
func (f *frame) unknownIdle() (span, window int64) {
	if len(f.seen.Missing) == 0 {
		return 0, 0
	}
	busy := f.view.Busy(f.view.ByStart)
	for k := 1; k < len(busy); k++ {
		if a, b := &busy[k-1], &busy[k]; f.seen.Unknown(a.Last, b.First, b.Start) {
			span += b.Start - a.End
		}
	}
	window = span
	lo, hi, _ := f.view.Extent()
	if first := &busy[0]; f.seen.Unknown(view.None, first.First, first.Start) {
		window += first.Start - lo
	}
	if last := &busy[len(busy)-1]; f.seen.Unknown(last.Last, view.None, hi) {
		window += hi - last.End
	}
	return span, window
}

// mergedKinds returns the merged spans of each kind, which no caller may change.
func (f *frame) mergedKinds() *[numKinds][]interval {
	f.kindsOnce.Do(func() {
		kind := f.kindBySlice()
		for _, i := range f.byStart {
			of := &f.byKind[kind(i)]
			*of = joined(*of, interval{f.start[i], f.end(i)})
		}
	})
	return &f.byKind
}

// Overlap says how much of a rank's communication runs behind compute.
type Overlap struct {
	Rank            int     `json:"rank"`
	CommunicationNs int64   `json:"communication_ns"` // merged over streams
	OverlappedNs    int64   `json:"overlapped_ns"`    // of it, time in which compute ran as well
	Share           float64 `json:"share"`            // OverlappedNs of CommunicationNs; 0 if there is no communication
}

// CommComputeOverlap answers how much communication hides behind compute.
func CommComputeOverlap(tr *trace.Trace, opt Options) Overlap { return newFrame(tr, opt).overlap() }

func (f *frame) overlap() Overlap {
	m := f.mergedKinds()
	o := Overlap{Rank: f.rank, CommunicationNs: total(m[KindCommunication])}
	o.OverlappedNs = f.masks(m[KindCompute], m[KindCommunication])[3]
	o.Share = share(o.OverlappedNs, o.CommunicationNs)
	return o
}
