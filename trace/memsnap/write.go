package memsnap

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// maxFrames bounds the frames of an entry; torch's snapshots hold full stacks, but
// shared frames make even deep ones small.
const maxFrames = 64

// Actions of a trace entry.
const (
	ActionAlloc         = "alloc"
	ActionFreeCompleted = "free_completed"
	ActionSegmentAlloc  = "segment_alloc"
	ActionSegmentFree   = "segment_free"
)

// Stats counts what Write wrote.
type Stats struct {
	Entries   int // of all device traces
	Segments  int // allocated at the end of the window
	Unmatched int // frees of what was allocated before the window
}

// Has reports whether t has allocations to write.
func Has(t *trace.Trace) bool {
	id, ok := t.Strings.Lookup(trace.NameMemory)
	return ok && slices.Contains(t.Instants.Name, id)
}

// Write writes a snapshot of the end of t's window, with the history of the window.
func Write(w io.Writer, t *trace.Trace) (Stats, error) {
	s := replay(t)
	p := newPickler(w)
	p.dict(func() {
		p.text("segments")
		p.list(len(s.live), func(i int) { s.segment(p, s.live[i]) })
		p.text("device_traces")
		p.list(len(s.devices), func(i int) {
			d := s.devices[i]
			p.list(len(d), func(k int) { s.entry(p, d[k]) })
		})
		p.text("allocator_settings")
		p.dict(func() {})
		p.text("external_annotations")
		p.list(0, nil)
	})
	if err := p.stop(); err != nil {
		return s.stats, fmt.Errorf("write memory snapshot: %w", err)
	}
	return s.stats, nil
}

// entry is one line of a device trace.
type entry struct {
	action string
	addr   uint64
	size   int64
	at     int64 // ns
	row    int32 // instant
	device int
}

type liveKey struct {
	device int
	pool   string
	addr   uint64
}

type snapshot struct {
	t       *trace.Trace
	index   *trace.Index
	devices [][]entry
	live    []entry // allocations without a free, by device and address
	stats   Stats
}

// maxDevice bounds the device traces: the list's length is the largest device number.
const maxDevice = 1024

// replay goes through the allocations and frees in order of time.
func replay(t *trace.Trace) *snapshot {
	s := &snapshot{t: t, index: t.Index(), devices: make([][]entry, 1)}
	in := &t.Instants
	var rows []int32
	for i := range in.Time {
		if t.String(in.Name[i]) == trace.NameMemory {
			rows = append(rows, int32(i))
		}
	}
	slices.SortStableFunc(rows, func(a, b int32) int { return cmp.Compare(in.Time[a], in.Time[b]) })
	live := map[liveKey]entry{}
	for _, i := range rows {
		bytes, ok := t.RefArgInt(in.Args[i], "Bytes")
		addr, okAddr := argUint(t, in.Args[i], "Addr")
		if !ok || !okAddr || bytes == 0 {
			continue
		}
		device := 0
		if d, _ := t.RefArgInt(in.Args[i], "Device Id"); d > 0 && d < maxDevice {
			device = int(d)
		}
		for len(s.devices) <= device {
			s.devices = append(s.devices, nil)
		}
		pool, _ := t.RefArgText(in.Args[i], "Pool")
		s.step(live, liveKey{device, pool, addr}, entry{addr: addr, size: bytes, at: in.Time[i], row: i,
			device: device})
	}
	s.keep(live)
	for _, d := range s.devices {
		s.stats.Entries += len(d)
	}
	s.stats.Segments = len(s.live)
	return s
}

func (s *snapshot) step(live map[liveKey]entry, key liveKey, e entry) {
	add := func(e entry, actions ...string) {
		for _, a := range actions {
			e.action = a
			s.devices[key.device] = append(s.devices[key.device], e)
		}
	}
	old, held := live[key]
	if e.size > 0 {
		if held { // its free was lost
			lost := old
			lost.at = e.at
			add(lost, ActionFreeCompleted, ActionSegmentFree)
		}
		live[key] = e
		add(e, ActionSegmentAlloc, ActionAlloc)
		return
	}
	e.size = -e.size
	if !held {
		s.stats.Unmatched++
		add(e, ActionFreeCompleted)
		return
	}
	e.size = old.size
	delete(live, key)
	add(e, ActionFreeCompleted, ActionSegmentFree)
}

// keep sorts what is still allocated.
func (s *snapshot) keep(live map[liveKey]entry) {
	keys := make([]liveKey, 0, len(live))
	for k := range live {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b liveKey) int {
		return cmp.Or(cmp.Compare(a.device, b.device), cmp.Compare(a.addr, b.addr), cmp.Compare(a.pool, b.pool))
	})
	for _, k := range keys {
		s.live = append(s.live, live[k])
	}
}

// smallSegment is where torch's allocator calls a segment large.
const smallSegment = 1 << 20

func (s *snapshot) segment(p *pickler, e entry) {
	kind := "small"
	if e.size > smallSegment {
		kind = "large"
	}
	p.dict(func() {
		field(p, "device", int64(e.device))
		p.text("address")
		p.uint(e.addr)
		for _, k := range []string{"total_size", "allocated_size", "active_size", "requested_size"} {
			field(p, k, e.size)
		}
		field(p, "stream", 0)
		p.text("segment_type")
		p.text(kind)
		p.text("segment_pool_id")
		p.int(0)
		p.int(0)
		p.op(opTuple2)
		p.text("is_expandable")
		p.bool(false)
		p.text("frames")
		s.frames(p, e)
		p.text("blocks")
		p.list(1, func(int) { s.block(p, e) })
	})
}

func (s *snapshot) block(p *pickler, e entry) {
	p.dict(func() {
		p.text("address")
		p.uint(e.addr)
		field(p, "size", e.size)
		field(p, "requested_size", e.size)
		p.text("state")
		p.text("active_allocated")
		p.text("frames")
		s.frames(p, e)
	})
}

func (s *snapshot) entry(p *pickler, e entry) {
	p.dict(func() {
		p.text("action")
		p.text(e.action)
		p.text("addr")
		p.uint(e.addr)
		field(p, "size", e.size)
		field(p, "stream", 0)
		field(p, "device", int64(e.device))
		field(p, "time_us", e.at/1000)
		p.text("frames")
		s.frames(p, e)
	})
}

func field(p *pickler, key string, v int64) {
	p.text(key)
	p.int(v)
}

// frames writes where an allocation was made: the slices around it, innermost first,
// below its pool.
func (s *snapshot) frames(p *pickler, e entry) {
	names := s.stack(e)
	p.once(p.lists, strings.Join(names, "\x00"), func() {
		p.list(len(names), func(i int) {
			p.dict(func() {
				p.text("filename")
				p.text(s.t.Meta.Stage)
				field(p, "line", 0)
				p.text("name")
				p.text(names[i])
			})
		})
	})
}

func (s *snapshot) stack(e entry) []string {
	var names []string
	if pool, ok := s.t.RefArgText(s.t.Instants.Args[e.row], "Pool"); ok {
		names = append(names, pool)
	}
	sl, order := &s.t.Slices, s.index.Track(s.t.Instants.Track[e.row])
	at := s.t.Instants.Time[e.row]
	k, _ := slices.BinarySearchFunc(order, at, func(i uint32, ns int64) int {
		if sl.Start[i] <= ns {
			return -1
		}
		return 1
	})
	if k == 0 {
		return names
	}
	for i := int32(order[k-1]); i != trace.NoParent && len(names) < maxFrames; i = s.index.Parent[i] {
		if sl.End(int(i)) >= at {
			names = append(names, s.t.String(sl.Name[i]))
		}
	}
	return names
}

// argUint reads an address, which may lie beyond the largest int64.
func argUint(t *trace.Trace, ref trace.ArgsRef, key string) (uint64, bool) {
	if v, ok := t.RefArgInt(ref, key); ok {
		return uint64(v), true
	}
	v, err := strconv.ParseUint(string(t.RefArg(ref, key)), 10, 64)
	return v, err == nil
}
