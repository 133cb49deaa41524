package trace

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Repairs counts what a reader mended, by kind, and how much it could not read.
type Repairs struct {
	Count   map[string]int
	Skipped int64 // bytes of the unpacked text from which nothing was read
	Text    int64 // bytes of the unpacked text that is this trace's; 0 if the reader does not count them
}

// The kinds of repair. docs/trace-formats.md says what each one means and does.
const (
	RepairTruncatedFile   = "truncated file"               // JSON ends early; the events before are kept
	RepairDamagedPiece    = "damaged piece of a recording" // left out; reading goes on behind it
	RepairTruncatedStream = "truncated compression"        // gzip or zstd ends early or is damaged
	// no repair fits; reading goes on at the next event
	RepairSyntax      = "event dropped: syntax"
	RepairOversize    = "event dropped: larger than limit"    // see kineto.Options.MaxEvent
	RepairNoTime      = "event dropped: no usable ts"         // ts absent, NaN or out of range
	RepairAbsurdDur   = "event dropped: dur over 7 days"      // overflow of the device's clock
	RepairJunkPython  = "event dropped: junk python frame"    // python_function with pid 0 and tid 0
	RepairPhase       = "event dropped: unknown phase"        // ph that no trace model has a place for
	RepairNegativeDur = "negative dur set to 0"               //
	RepairNoDur       = "missing dur set to 0"                //
	RepairBadDur      = "unusable dur set to 0"               // NaN, Infinity, text
	RepairTextTime    = "ts or dur given as text"             //
	RepairTextID      = "pid, tid or id given as text number" //
	// the device gave no time: cuda_event before CUDA 12.8
	RepairZeroTime = "ts 0 kept out of the window"
	// the begin has no time; the slice stands at its end
	RepairZeroBegin = "begin at ts 0: dur set to 0"
	RepairEscape    = "bad escape kept as text"               // per distinct name, per event for args
	RepairControl   = "raw control character in text"         // the same
	RepairUTF8      = "invalid UTF-8 replaced"                // the same
	RepairQuote     = "unescaped quote in text"               // per event
	RepairNonFinite = "NaN or Infinity in args quoted"        // per event
	RepairValue     = "malformed value quoted or set to null" // per event
	RepairArgs      = "args not an object or unreadable"      // args dropped, event kept
	// over 64 GiB of objects that differ; per piece of the file
	RepairArgsLimit   = "args dropped: too many"
	RepairArgsMemory  = "args dropped: limit of memory"       // see kineto.Options.Room
	RepairUnsorted    = "events not in order of time"         // informative; nothing changes
	RepairStreamSync  = "stream sync slices on a lane apart"  // tid = stream + 1 000 000
	RepairFurther     = "further array of events in the file" // read into the same trace
	RepairAfterEnd    = "content after the end ignored"       // text that is not a trace; Skipped has its bytes
	RepairBeforeStart = "text before the trace ignored"       // log lines mostly; Skipped has its bytes
	RepairTwice       = "slice in the file twice"             // counted once, see Trace.Twice
	RepairLeftover    = "events after the end of the trace"   // read into the same trace
	RepairCutByNext   = "cut by the next trace of the file"   // two writers, or one that was killed
	// which process launched the device's work is not known; count of processes
	RepairMerged = "ranks merged in one file, not parted"
	// rows of merged ranks whose launch is in none of them
	RepairUnowned = "device row of an unknown rank given to the first"
	// devices of merged ranks of which only their order says whose they are
	RepairInOrder = "device given to a rank by their order"
	// in a file with bad escapes; per distinct name or template
	RepairPaths            = "escape in a path taken as text"
	RepairMetadata         = "metadata value unreadable" // usually unescaped log lines after the events
	RepairUnmatchedBegin   = "begin without end closed at the window's end"
	RepairUnmatchedEnd     = "end without begin dropped"
	RepairFlowStep         = "flow step kept as an end"              // ph t
	RepairCategoryLimit    = "category text lost: too many distinct" //
	RepairLaneLimit        = "overlap beyond the lanes' limit"       //
	RepairWrongCompression = "name says compressed, content is not"  // or the reverse
	RepairCSVRow           = "table row dropped"                     // Ascend's CSV files
)

// informative are the repairs that change nothing that an analysis says.
var informative = map[string]bool{RepairUnsorted: true, RepairStreamSync: true, RepairTextTime: true,
	RepairTextID: true, RepairZeroTime: true,
	RepairWrongCompression: true}

// Damage lists the repairs for a reader, "3 × negative dur set to 0", without those that
// change nothing that an analysis says; "" if there are no others.
func (r *Repairs) Damage() string {
	var list []string
	for kind, n := range r.Count {
		if !informative[kind] {
			list = append(list, fmt.Sprintf("%d × %s", n, kind))
		}
	}
	slices.Sort(list)
	return strings.Join(list, "; ")
}

// Add counts n repairs of kind.
func (r *Repairs) Add(kind string, n int) {
	if n == 0 {
		return
	}
	if r.Count == nil {
		r.Count = make(map[string]int)
	}
	r.Count[kind] += n
}

// Total returns the number of repairs of all kinds.
func (r *Repairs) Total() int {
	n := 0
	for _, c := range r.Count {
		n += c
	}
	return n
}

// String lists the repairs as "n kind" sorted by kind, joined by "; ".
func (r *Repairs) String() string {
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(r.Count)) {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(strconv.Itoa(r.Count[k]) + " " + k)
	}
	return b.String()
}
