// Package trace holds one rank's trace in memory as columns. It knows no file
// format: readers fill a Trace, writers and analyses read it.
package trace

// StringID indexes Trace.Strings; 0 is the empty string.
type StringID uint32

// TrackID indexes Trace.Tracks.
type TrackID uint32

// NoArgs is the ArgsRef of a slice without arguments.
const NoArgs ArgsRef = 0

// ArgsRef locates a slice's raw arguments; read them with Trace.Args.
type ArgsRef uint64

// LeastWallClock is the least time in ns that is taken for one since the Unix epoch: September 2001.
const LeastWallClock = int64(1e18)

// NoCorrelation is the correlation of a slice that has none.
const NoCorrelation int64 = -1

// Trace is what one rank recorded in one window. New makes an empty one. It must not
// be copied. Adding is for one goroutine; reading is for any number once adding ended.
type Trace struct {
	Meta     Meta
	Strings  Strings
	Tracks   []Track
	Slices   Slices
	Instants Instants
	Counters Counters
	Flows    Flows
	Repairs  Repairs
	args     argStore
	cats     []string // texts of the categories from CatDynamic on
	index    indexCell
}

// Slices are the complete events, one column a field, in file order.
type Slices struct {
	Start []int64 // ns; since the Unix epoch if Meta.WallClock, else since an unknown instant
	Dur   []int64 // ns, >= 0
	Name  []StringID
	Cat   []Category
	Track []TrackID
	Corr  []int64   // links a runtime call with the device work it launched; NoCorrelation if absent
	Args  []ArgsRef // raw arguments
	Event []uint32  // position among the events of the file, all phases counted
}

// Len returns the number of slices.
func (s *Slices) Len() int { return len(s.Start) }

// End returns the end of slice i in ns.
func (s *Slices) End(i int) int64 { return s.Start[i] + s.Dur[i] }

// TrackKind says what a track's slices are.
type TrackKind uint8

// The kinds of track.
const (
	TrackCPU   TrackKind = iota // a thread of a process
	TrackGPU                    // a stream of a device
	TrackOther                  // spans, overhead and other lanes that are neither
)

// String returns "cpu", "gpu" or "other".
func (k TrackKind) String() string {
	switch k {
	case TrackCPU:
		return "cpu"
	case TrackGPU:
		return "gpu"
	}
	return "other"
}

// Track is a lane of slices.
type Track struct {
	Kind             TrackKind
	PID, TID         int64  // as in the file; for text ids a negative number stands in, see PIDText and TIDText
	PIDText, TIDText string // set only if the file had text that is not a number
	Device, Stream   int64  // -1 if not a device lane
	Process, Name    string // from metadata rows; may be empty
	Labels           string // process_labels, e.g. "CPU", "GPU 0"
	SortIndex        int64
}

// Meta is what a trace says about itself as a whole.
type Meta struct {
	File       string // where it was read from
	Format     string // "kineto", "torch-fallback", "ascend", "native" …
	WallClock  bool   // Start is since the Unix epoch
	BaseTimeNs int64  // baseTimeNanoseconds; 0 if absent
	Rank       int    // -1 if unknown
	WorldSize  int    // 0 if unknown
	Backend    string // "nccl", "gloo" …
	Host       string
	StageID    int // -1 if unknown
	Stage      string
	Replica    int // 0 if unknown
	Identity
	Devices                []Device
	ProcessGroups          []ProcessGroup
	WindowStart, WindowEnd int64 // ns; from the trace span, else the slices' extent
	// slices that begin at BaseTimeNs have no time and are outside the window
	ZeroIsNoTime bool
	Sums         bool              // of a profile: times are sums laid end to end, see package sums
	Extra        map[string]string // every other top-level key, value as raw JSON
}

// Identity is what tells a trace from others besides stage, replica and rank. Package
// identity fills it and groups traces by it.
type Identity struct {
	Role  string         `json:",omitempty"` // what a process does that is no plain rank: "front end", "prefill" …
	Phase string         `json:",omitempty"` // which part of its rank's work: "extend", "decode", "graph capture"
	Place map[string]int `json:",omitempty"` // its rank in each kind of parallelism that is known: "tp", "pp", "dp" …
	// equal for the ranks of one capture, as far as names tell: "iteration_10"
	Capture string         `json:",omitempty"`
	PID     int            `json:",omitempty"` // of the recorded process; 0 if unknown
	Print   uint64         `json:",omitempty"` // equal for copies of one trace, packed, cut or merged; 0 if unknown
	Sketch  []uint64       `json:",omitempty"` // of copies that were written anew, see identity.Sketch
	Content uint64         `json:",omitempty"` // of all slices, see identity.Sketch
	Part    int            `json:",omitempty"` // which of its file's traces it is, from 1; 0 if it is the only one
	Learnt  map[Field]From `json:",omitempty"` // where each part was learnt from
}

// Field names a part of a trace's identity.
type Field string

// The parts of an identity.
const (
	FieldStage   Field = "stage"
	FieldReplica Field = "replica"
	FieldRank    Field = "rank"
	FieldRole    Field = "role"
	FieldHost    Field = "host"
	FieldPhase   Field = "phase"
)

// From says where a part of an identity was learnt from.
type From string

// The places that tell an identity, the most trusted first.
const (
	FromRun     From = "run"         // the manifest of a run of ours
	FromContent From = "content"     // the trace itself
	FromPIDs    From = "process ids" // of a file that several ranks were merged into
	FromFile    From = "file name"   // the name of its file
	FromDir     From = "directory"   // the name of a directory that it lies in
)

// Device is a card that the process could see.
type Device struct {
	ID          int
	Name        string
	TotalMemory int64 // bytes
	SMs         int
}

// ProcessGroup is a communicator of ranks.
type ProcessGroup struct {
	Name, Desc, Backend string
	Size                int
	Ranks               []int
}

// Instants are points in time.
type Instants struct {
	Time  []int64
	Name  []StringID
	Cat   []Category
	Track []TrackID
	Args  []ArgsRef
}

// Counters are samples; a series is a (Track, Name, Series).
type Counters struct {
	Time   []int64
	Name   []StringID
	Series []StringID
	Track  []TrackID
	Value  []float64
}

// Flows are the two ends of arrows. Ends with equal (ID, Cat) belong together.
type Flows struct {
	Time  []int64
	ID    []uint64
	Track []TrackID
	Cat   []StringID
	Name  []StringID
	Start []bool // true for the start of the arrow
}
