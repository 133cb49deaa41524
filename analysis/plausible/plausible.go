// Package plausible finds statements of a trace that cannot be true, before anything is ranked or
// summed: work without a time, work that lasts into the next of its stream, work that begins before
// its launch, launches without their work, one slice that takes most of the time. Each doubt is a
// finding that says what, where and how much, and the analyses get a view of the trace without the
// doubtful statements.
//
// docs/troubleshooting.md explains every doubt with its usual causes and cures.
package plausible

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/analysis/internal/enum"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Kind is the kind of a doubt.
type Kind uint8

// The kinds of doubt.
const (
	NoTime      Kind = iota // slices without a time; left out
	Overrun                 // slices of one stream that enclose later ones; cut at the next start
	SharedLane              // a lane whose slices overlap throughout; nothing is changed
	Clock                   // a device's clock differs from the host's; its times are moved
	EarlyWork               // work before its launch; the launch is not believed
	NoWork                  // launches, and no device work at all
	MissingWork             // launches without device work beside others that have it
	Unmatched               // launches and device work that have no id in common
	Dominant                // one slice that is most of the time
	NoDuration              // device work of no length
	Sums                    // a profile's sums, which have no times
	Merged                  // several processes of ranks that could not be parted
	numKinds
)

var kindNames = enum.Of[Kind]("kind of doubt", "no_time", "overrun", "shared_lane", "clock", "early_work", "no_work",
	"missing_work", "unmatched", "dominant", "no_duration", "sums", "merged")

// String returns the kind's name.
func (k Kind) String() string { return kindNames.Text(k) }

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return kindNames.Marshal(k) }

// UnmarshalText reads the kind's name.
func (k *Kind) UnmarshalText(b []byte) error { return kindNames.Unmarshal(k, b) }

// Doubt is one statement of a trace that is not believed.
type Doubt struct {
	Kind Kind `json:"kind"`
	finding.Finding
}

// Trace is a trace without the statements that are not believed.
type Trace struct {
	*view.View
	Doubts []Doubt
	// Missing are the launch calls, by start, whose device work is missing from the trace, wholly or
	// in part: after one of them, and before and within what is there of its work, it is not known when
	// the device is idle.
	Missing []int32
	// Clocks are the devices whose clocks differ from the host's, by number. In View their times are moved.
	Clocks []DeviceClock
	// Shared are the lanes of SharedLane: for how long they are busy is known only within limits.
	Shared []view.Lane
}

// Look examines t and returns its doubts. The trace is not changed.
func Look(t *trace.Trace) *Trace {
	c := &checker{v: view.New(t)}
	if t.Meta.Sums && len(c.v.Start) > 0 {
		c.doubt(Sums, 0, extent{1, float64(len(c.v.Start)), "count"}, "%s", sumsText)
		return &Trace{View: c.v, Doubts: c.doubts}
	}
	c.merged()
	c.unread()
	c.strays()
	c.noTime()
	if len(c.v.Work) > 0 && !c.several {
		c.overruns()
		c.clocks()
		c.dominant()
		c.noDuration()
	}
	if !c.several {
		c.launches()
	}
	out := &Trace{View: c.v, Doubts: c.doubts, Missing: c.missing, Clocks: c.clocksFound, Shared: c.shared}
	if c.changed() {
		out.View = c.v.With(c.start, c.dur, c.keep, c.apart)
	}
	slices.SortStableFunc(out.Doubts, func(a, b Doubt) int { return finding.Compare(a.Finding, b.Finding) })
	return out
}

// Several says that the trace is of several ranks that could not be parted: who waits for whom,
// and how busy a device is, means nothing in it.
func (t *Trace) Several() bool {
	return slices.ContainsFunc(t.Doubts, func(d Doubt) bool { return d.Kind == Merged })
}

// merged doubts a trace of several processes that whoever read it could not part. It explains
// what other doubts would be about, and these are not looked for: ids that collide, streams
// that overlap, launches that seem to lack their work.
func (c *checker) merged() {
	n := c.v.Trace.Repairs.Count[trace.RepairMerged]
	if n == 0 || len(c.v.Start) == 0 {
		return
	}
	first := int32(0)
	if len(c.v.Work) > 0 {
		first = c.v.Work[0]
	}
	c.several = true
	c.doubt(Merged, first, extent{1, float64(n), "count"},
		"this file holds several ranks: %d processes that launch work, whose device work stands under one device number and cannot be told apart; sums are over all of them, and nothing is said about steps, waits and launches",
		n)
}

// sumsText says what is unknown about a profile.
const sumsText = "this is a profile, which has sums and no times: they are drawn end to end; sums and stacks hold, but " +
	"order, gaps, what ran at once and how long a single call took are not known"

// Findings returns the doubts as findings. rank is the index of the trace, and who stands before
// each sentence.
func (t *Trace) Findings(rank int, who string) []finding.Finding {
	out := make([]finding.Finding, len(t.Doubts))
	for i, d := range t.Doubts {
		out[i] = d.Finding
		out[i].Evidence.Rank = rank
		out[i].Text = who + out[i].Text
	}
	return out
}

// launchedAt is when work i was launched; its own start if that is not known.
func (t *Trace) launchedAt(i int32) int64 {
	if l := t.Launch(i); l >= 0 {
		return t.Start[l]
	}
	return t.Start[i]
}

// Unknown reports whether it is uncertain that the device was idle between the end of work before
// and the begin of work after, because a launch between their launches has no work in the trace.
// Either can be None; with after None the gap ends at to.
func (t *Trace) Unknown(before, after int32, to int64) bool {
	if len(t.Missing) == 0 {
		return false
	}
	lo, hi := int64(-1<<63), to
	if before >= 0 {
		lo = t.launchedAt(before)
	}
	if after >= 0 {
		hi = t.launchedAt(after)
	}
	k := sort.Search(len(t.Missing), func(k int) bool { return t.Start[t.Missing[k]] >= lo })
	return k < len(t.Missing) && t.Start[t.Missing[k]] <= hi
}

// checker collects the doubts about one view. Its columns are the view's own until one is changed.
type checker struct {
	v          *view.View
	start, dur []int64
	keep       []bool
	apart      map[int32]bool
	doubts     []Doubt
	missing    []int32

	clocksFound    []DeviceClock
	shared         []view.Lane
	several        bool // ranks are in the trace that could not be parted
	waitsForEvents bool // the host waits for events; set by waits
}

func (c *checker) changed() bool {
	return c.start != nil || c.dur != nil || c.keep != nil || c.apart != nil
}

// startOf and durOf are a slice's times as far as they have been corrected.
func (c *checker) startOf(i int32) int64 {
	if c.start != nil {
		return c.start[i]
	}
	return c.v.Start[i]
}

func (c *checker) durOf(i int32) int64 {
	if c.dur != nil {
		return c.dur[i]
	}
	return c.v.Dur[i]
}

func (c *checker) kept(i int32) bool { return c.keep == nil || c.keep[i] }

// own copies the columns before the first change.
func (c *checker) own() {
	if c.start == nil {
		c.start, c.dur = slices.Clone(c.v.Start), slices.Clone(c.v.Dur)
	}
}

func (c *checker) drop(i int32) {
	c.own()
	if c.keep == nil {
		c.keep = make([]bool, len(c.v.Start))
		for k := range c.keep {
			c.keep[k] = true
		}
	}
	c.keep[i] = false
}

// extent is the size of a doubt.
type extent struct {
	part   float64 // of the data that answers rest on; it decides the severity
	number float64 // the finding's number, in unit
	unit   string
}

// doubt adds a finding about slice i.
func (c *checker) doubt(k Kind, i int32, x extent, format string, args ...any) {
	f := finding.Finding{
		Code: finding.Code(k.String()), Severity: finding.SeverityOf(x.part), Text: fmt.Sprintf(format, args...),
		Number: x.number, Unit: x.unit, Doubt: true, Evidence: finding.Evidence{Slice: finding.NoSlice},
	}
	if i >= 0 {
		f.Evidence = finding.SliceEvidence(c.v.Trace, 0, int(i))
	}
	c.doubts = append(c.doubts, Doubt{k, f})
}

// lane names a lane.
func (c *checker) lane(l int32) string {
	x := &c.v.Lanes[l]
	return fmt.Sprintf("stream %d of device %d", x.Stream, x.Device)
}

// maxName bounds a name in a sentence; kernels of templates have names of thousands of bytes.
const maxName = 60

// name is slice i's name without template arguments and parameters.
func (c *checker) name(i int32) string {
	n := strings.TrimPrefix(c.v.Name(i), "void ")
	if k := strings.IndexAny(n, "<("); k > 0 {
		n = strings.TrimSpace(n[:k])
	}
	if r := []rune(n); len(r) > maxName {
		n = string(r[:maxName]) + "…"
	}
	return n
}

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
