// Package sums makes traces of profiles: of files that have sums by calling context, and no
// times. What a profile says is kept (names, nesting, time, counts, bytes), what it does not
// say is drawn: sums are laid end to end, callees from the begin of their caller, in the
// order of the file. Meta.Sums marks such a trace, so that what is made of it says so first.
//
// A frame whose time on the host is known is a cpu_op of that length; one whose time is not
// known is a python_function, which no table takes for work, as long as what lies in it.
// Device work lies on a track of its device, under a launch call of no length in the frame
// that it belongs to, so that stacks and tables find who launched it.
package sums

import (
	"fmt"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Node is a calling context: a frame under those of its callers.
type Node struct {
	Name string
	// HostNs is the time in the frame itself, without that of its callees; 0 if Timed is not set.
	HostNs int64
	Timed  bool
	// DeviceNs is the time of work on device Device that the frame itself launched, in Calls
	// pieces; 0 if there is none.
	DeviceNs int64
	Device   int64
	Calls    int64
	// AllocBytes is memory that the frame itself took; 0 if it is not known.
	AllocBytes int64
	// Args are further values for people, a JSON object or nil.
	Args     []byte
	Children []*Node
}

// Limits of what Trace makes of a profile.
const (
	// maxPieces bounds the slices that calls become. Beyond it the work of a context is one
	// slice, with its number of calls as an argument.
	maxPieces = 1 << 20
	// maxNs bounds all times together: 73 years, so that no sum overflows.
	maxNs    = int64(1) << 61
	maxYears = maxNs / (365 * 24 * 3600 * 1e9)
	// frameNs is the least length in ns that a frame is drawn with. It keeps the nesting: package
	// trace takes lengths within its tolerance for rounding errors.
	frameNs = 1000
)

// LaunchName is the name of the call under which device work lies.
const LaunchName = "launch (drawn)"

// ArgCalls is the argument with the number of calls that one slice stands for.
const ArgCalls = "calls"

// New returns an empty trace of sums. process names what the file is of, for its tracks.
func New(format, process string) *Builder {
	t := trace.New()
	t.Meta.Format, t.Meta.Sums = format, true
	return &Builder{t: t, process: process + ": sums, no times", devices: map[int64]*lane{}, hosts: map[string]*lane{}}
}

// Builder adds contexts to a trace. It belongs to one goroutine.
type Builder struct {
	t       *trace.Trace
	process string
	hosts   map[string]*lane
	devices map[int64]*lane
	pieces  int64
	corr    int64
	total   int64
}

// lane is a track and where its next slice may begin.
type lane struct {
	track trace.TrackID
	at    int64
}

// Add lays a tree behind what the track of this name holds. It fails if the times are
// negative or more than a trace can hold.
func (b *Builder) Add(track string, root *Node) error {
	h := b.hosts[track]
	if h == nil {
		h = &lane{track: b.t.AddTrack(trace.Track{
			Kind: trace.TrackCPU, PID: 1, TID: int64(len(b.hosts) + 1), Device: -1, Stream: -1, Process: b.process,
			Name: track, SortIndex: int64(len(b.hosts)),
		})}
		b.hosts[track] = h
	}
	width, err := b.measure(root)
	if err != nil {
		return err
	}
	if b.total += width.ns; b.total > maxNs {
		b.total -= width.ns
		return fmt.Errorf("%q: sums of more than %d years", root.Name, maxYears)
	}
	b.frame(h, root, h.at, width)
	h.at += width.ns
	return nil
}

// size is how long a tree is drawn.
type size struct {
	ns       int64
	children []size
}

func (b *Builder) measure(n *Node) (size, error) {
	s := size{children: make([]size, len(n.Children))}
	if n.HostNs < 0 || n.DeviceNs < 0 || n.Calls < 0 || n.HostNs > maxNs || n.DeviceNs > maxNs {
		return s, fmt.Errorf("%q: a time or count below 0 or beyond %d years", n.Name, maxYears)
	}
	s.ns = max(n.HostNs, n.DeviceNs)
	for i, c := range n.Children {
		w, err := b.measure(c)
		if err != nil {
			return s, err
		}
		s.children[i] = w
		s.ns += w.ns
	}
	if s.ns = max(s.ns, frameNs); s.ns > maxNs {
		return s, fmt.Errorf("%q: sums of more than %d years", n.Name, maxYears)
	}
	return s, nil
}

func (b *Builder) frame(h *lane, n *Node, at int64, width size) {
	cat := trace.CatPythonFunction
	if n.Timed {
		cat = trace.CatCPUOp
	}
	args := n.Args
	if n.Calls > 0 && n.DeviceNs == 0 {
		args = withCalls(args, n.Calls)
	}
	b.t.AddSlice(trace.Slice{Start: at, Dur: width.ns, Name: n.Name, Cat: cat, Track: h.track,
		Corr: trace.NoCorrelation, Args: args})
	if n.DeviceNs > 0 {
		b.device(h, n, at)
	}
	if n.AllocBytes != 0 {
		var a trace.ArgsObject
		a.Int("Device Type", 0)
		a.Int("Device Id", -1)
		a.Int("Bytes", n.AllocBytes)
		b.t.AddInstant(at, trace.NameMemory, trace.CatCPUInstant, h.track, a.Done())
	}
	from := at
	for i, c := range n.Children {
		b.frame(h, c, from, width.children[i])
		from += width.children[i].ns
	}
}

// device draws the work of a frame in as many pieces as it had calls, all of one length.
func (b *Builder) device(h *lane, n *Node, at int64) {
	d := b.devices[n.Device]
	if d == nil {
		d = &lane{track: b.t.AddTrack(trace.Track{
			Kind: trace.TrackGPU, PID: 2, TID: n.Device, Device: n.Device, Stream: 0, Process: b.process,
			Name: fmt.Sprintf("device %d", n.Device), SortIndex: 1<<20 + n.Device,
		})}
		b.devices[n.Device] = d
	}
	calls := max(1, n.Calls)
	args := n.Args
	if calls > n.DeviceNs || b.pieces+calls > maxPieces {
		args, calls = withCalls(args, calls), 1
	}
	b.pieces += calls
	d.at = max(d.at, at)
	each, rest := n.DeviceNs/calls, n.DeviceNs%calls
	for i := range calls {
		dur := each
		if i < rest { // the first pieces take the remainder, so that all add up to the sum
			dur++
		}
		b.corr++
		b.t.AddSlice(trace.Slice{Start: at + min(d.at-at, n.DeviceNs-1), Name: LaunchName, Cat: trace.CatCUDADriver,
			Track: h.track, Corr: b.corr})
		b.t.AddSlice(trace.Slice{Start: d.at, Dur: dur, Name: n.Name, Cat: trace.CatKernel, Track: d.track,
			Corr: b.corr, Args: args})
		d.at += dur
	}
}

// withCalls returns args with the number of calls.
func withCalls(args []byte, calls int64) []byte {
	o := trace.ArgsObject(nil)
	if len(args) > 2 {
		o = trace.ArgsObject(args[: len(args)-1 : len(args)-1])
	}
	o.Int(ArgCalls, calls)
	return o.Done()
}

// Done returns the trace.
func (b *Builder) Done() *trace.Trace {
	b.t.Window()
	b.t.Trim()
	return b.t
}
