package timeline

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/kinetoscope/kinetoscope/internal/cores"
	"github.com/kinetoscope/kinetoscope/timeline/lod"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/identity"
)

// cell is the rows of one track.
type cell struct {
	rows   *lod.Rows
	slices int
	busy   int64 // ns under slices: durations of the outermost ones
	own    int32 // the trace's track whose rows it is, +1; 0 for a packed lane
}

// quietShare is the share of its process's slices up to which a thread goes with the
// quiet ones: a process of PyTorch has dozens of threads that did next to nothing.
const quietShare = 0.01

// Node is a track, or a group of them, in the order of the tree.
type Node struct {
	ID     string `json:"id"`
	Parent string `json:"parent"` // "" at the top
	Kind   string `json:"kind"`   // stage, rank, file, process, device, quiet, counters; thread, stream, lane, counter
	Name   string `json:"name"`
	Detail string `json:"detail,omitempty"`
	Trace  int    `json:"trace"` // -1: of several

	// Of a track of slices:
	Rows   int   `json:"rows,omitempty"`
	Lanes  int   `json:"lanes,omitempty"` // more than one: slices overlap
	Slices int   `json:"slices,omitempty"`
	BusyNs int64 `json:"busy_ns,omitempty"`
	Hidden int   `json:"hidden"` // slices that no row shows; 0

	// Of a counter:
	Samples int     `json:"samples,omitempty"`
	Min     float64 `json:"min,omitempty"`
	Max     float64 `json:"max,omitempty"`
	Unit    string  `json:"unit,omitempty"`

	Folded bool `json:"folded,omitempty"` // as the tree is first shown
	// Packed: of a device whose streams are shown as lanes; Streams: how many it has.
	Packed  bool `json:"packed,omitempty"`
	Streams int  `json:"streams,omitempty"`
}

// Packing says whether a device's streams are shown as they are, or as lanes by kind of work:
// compute, copies, and one for each kind of collective.
type Packing string

// The packings.
const (
	PackAuto Packing = "auto" // devices with more than packFrom busy streams
	PackAll  Packing = "on"
	PackNone Packing = "off"
)

// packFrom is the number of busy streams from which on a device is packed by itself: more
// than a program makes by hand, fewer than the replay of a graph does.
const packFrom = 8

// prepare makes the rows of all tracks, those of several at a time.
func (p *part) prepare() {
	var side sync.WaitGroup
	side.Go(func() { p.class = classes(p.t) })
	side.Go(func() { p.series = seriesOf(p.t) })
	p.index = p.t.Index()
	p.tracks = make([]*cell, len(p.t.Tracks))
	cores.Each(len(p.tracks), func(k int) {
		p.tracks[k] = p.cell(trace.TrackID(k))
		p.tracks[k].own = int32(k) + 1
	})
	side.Wait()
}

// cell makes the rows of one track.
func (p *part) cell(k trace.TrackID) *cell {
	rows := lod.Of(p.t, p.index, k)
	c := &cell{rows: rows, slices: len(p.index.Track(k))}
	for i := range rows.Len() {
		if r := rows.Row(i); r.Lane == 0 && r.Depth == 0 {
			c.busy = rows.Busy(i)
		}
	}
	return c
}

// Tree lists the tracks: stage, replica and rank, or file; device and process; stream and
// thread. Children follow their parents.
func (tl *Timeline) Tree(pack Packing) []Node {
	t := &tree{tl: tl, pack: pack}
	staged := slices.ContainsFunc(tl.parts, func(p *part) bool { return p.t.Meta.StageID >= 0 || p.t.Meta.Stage != "" })
	order := make([]int, len(tl.parts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := &tl.parts[i].t.Meta, &tl.parts[j].t.Meta
		return cmp.Or(cmp.Compare(a.StageID, b.StageID), cmp.Compare(a.Stage, b.Stage),
			cmp.Compare(a.Replica, b.Replica), cmp.Compare(a.Rank, b.Rank))
	})
	stage, last := "", ""
	for _, i := range order {
		p := tl.parts[i]
		if staged {
			name := cmp.Or(p.t.Meta.Stage, "stage "+strconv.Itoa(p.t.Meta.StageID))
			if id := fmt.Sprintf("stage:%d:%s", p.t.Meta.StageID, name); id != last {
				stage, last = id, id
				t.add(Node{ID: id, Kind: "stage", Name: name, Detail: stageDetail(p.t.Meta.StageID), Trace: -1})
			}
		}
		t.part(i, stage, len(tl.parts) == 1 && !staged)
	}
	return t.nodes
}

func stageDetail(id int) string {
	if id < 0 {
		return ""
	}
	return "stage " + strconv.Itoa(id)
}

type tree struct {
	tl    *Timeline
	pack  Packing
	nodes []Node
}

func (t *tree) add(n Node) { t.nodes = append(t.nodes, n) }

// part lists one trace's tracks.
func (t *tree) part(i int, parent string, alone bool) {
	p := t.tl.parts[i]
	if !alone {
		id := "trace:" + strconv.Itoa(i)
		name, kind := t.tl.rankName(i)
		t.add(Node{ID: id, Parent: parent, Kind: kind, Name: name, Detail: p.detail(name), Trace: i})
		parent = id
	}
	devices, processes := p.groups()
	const quiet = 1 // a group beside the threads of a process
	t.nodes = slices.Grow(t.nodes, len(p.tracks)+len(devices)+len(processes)*(1+quiet)+len(p.series))
	for _, d := range devices {
		t.device(i, parent, d)
	}
	for _, g := range processes {
		t.process(i, parent, g, len(processes) > 1)
	}
	t.counters(i, parent)
}

// rankName names a trace among the others.
func (tl *Timeline) rankName(i int) (name, kind string) {
	p := tl.parts[i]
	m := &p.t.Meta
	if text := identity.Name(m); text != "" && m.StageID < 0 && m.Stage == "" {
		same := slices.ContainsFunc(tl.parts, func(q *part) bool { return q != p && identity.Name(&q.t.Meta) == text })
		if !same {
			return text, "rank"
		}
	}
	if m.Rank < 0 {
		return cmp.Or(path.Base(strings.ReplaceAll(p.Label, "\\", "/")), "trace "+strconv.Itoa(i)), "file"
	}
	name = "rank " + strconv.Itoa(m.Rank)
	for j, q := range tl.parts {
		n := &q.t.Meta
		if n.Stage != m.Stage || n.StageID != m.StageID || j == i {
			continue
		}
		if n.Rank == m.Rank && n.Replica == m.Replica { // two files of one rank
			return cmp.Or(path.Base(strings.ReplaceAll(p.Label, "\\", "/")), name+", trace "+strconv.Itoa(i)), "file"
		}
		if n.Replica != m.Replica && !strings.HasPrefix(name, "replica") {
			name = fmt.Sprintf("replica %d %s", m.Replica, name)
		}
	}
	return name, "rank"
}

func (p *part) detail(name string) string {
	var list []string
	if p.t.Meta.Host != "" {
		list = append(list, p.t.Meta.Host)
	}
	if len(p.t.Meta.Devices) > 0 && p.t.Meta.Devices[0].Name != "" {
		list = append(list, p.t.Meta.Devices[0].Name)
	}
	if base := path.Base(strings.ReplaceAll(p.Label, "\\", "/")); base != name && base != "." {
		list = append(list, base)
	}
	return strings.Join(list, " · ")
}

// trackGroup is the tracks of a device or a process.
type trackGroup struct {
	device int64
	pid    int64
	name   string
	tracks []trace.TrackID
	slices int
}

// groups sorts the tracks that hold something to devices and processes.
func (p *part) groups() (devices, processes []*trackGroup) {
	at := map[[2]int64]*trackGroup{}
	for k := range p.t.Tracks {
		tk := &p.t.Tracks[k]
		if p.tracks[k].slices == 0 {
			continue
		}
		key := [2]int64{0, tk.PID}
		if tk.Kind == trace.TrackGPU {
			key = [2]int64{1, tk.Device}
		}
		g := at[key]
		if g == nil {
			g = &trackGroup{device: tk.Device, pid: tk.PID, name: tk.Process}
			at[key] = g
			if key[0] == 1 {
				devices = append(devices, g)
			} else {
				processes = append(processes, g)
			}
		}
		g.tracks = append(g.tracks, trace.TrackID(k))
		g.slices += p.tracks[k].slices
	}
	slices.SortFunc(devices, func(a, b *trackGroup) int { return cmp.Compare(a.device, b.device) })
	slices.SortStableFunc(processes, func(a, b *trackGroup) int { return cmp.Compare(b.slices, a.slices) })
	return devices, processes
}

// device lists a device's streams, or its lanes.
func (t *tree) device(i int, parent string, g *trackGroup) {
	p := t.tl.parts[i]
	id := fmt.Sprintf("dev:%d:%d", i, g.device)
	busy := 0
	for _, k := range g.tracks {
		if p.works(k) {
			busy++
		}
	}
	n := Node{ID: id, Parent: parent, Kind: "device", Name: "device " + strconv.FormatInt(g.device, 10), Trace: i,
		Streams: len(g.tracks)}
	for _, d := range p.t.Meta.Devices {
		if int64(d.ID) == g.device {
			n.Detail = d.Name
		}
	}
	n.Packed = len(g.tracks) > 1 && (t.pack == PackAll || t.pack != PackNone && busy > packFrom)
	t.add(n)
	if n.Packed {
		for j, l := range p.lanes(g) {
			t.add(trackNode(fmt.Sprintf("%d:p%d.%d", i, g.device, j), id, "lane", l.name, i, &l.cell))
		}
		return
	}
	slices.SortStableFunc(g.tracks, func(a, b trace.TrackID) int {
		return cmp.Or(cmp.Compare(p.t.Tracks[a].Stream, p.t.Tracks[b].Stream), cmp.Compare(a, b))
	})
	for _, k := range g.tracks {
		t.add(trackNode(trackID(i, k), id, "stream", streamName(&p.t.Tracks[k]), i, p.tracks[k]))
	}
}

func streamName(k *trace.Track) string {
	name := "stream " + strconv.FormatInt(k.Stream, 10)
	if k.Stream < 0 || k.Name != "" && !strings.Contains(k.Name, strconv.FormatInt(k.Stream, 10)) {
		return strings.TrimSpace(k.Name)
	}
	return name
}

// process lists a process's threads, those that did most first and the quiet ones in a
// group of their own.
func (t *tree) process(i int, parent string, g *trackGroup, several bool) {
	p := t.tl.parts[i]
	if several {
		id := fmt.Sprintf("proc:%d:%d", i, g.pid)
		t.add(Node{ID: id, Parent: parent, Kind: "process", Name: processName(g, &p.t.Tracks[g.tracks[0]]), Trace: i})
		parent = id
	}
	slices.SortStableFunc(g.tracks, func(a, b trace.TrackID) int {
		return cmp.Compare(p.tracks[b].slices, p.tracks[a].slices)
	})
	quiet := len(g.tracks)
	for quiet > 2 && float64(p.tracks[g.tracks[quiet-1]].slices) < quietShare*float64(g.slices) {
		quiet--
	}
	if len(g.tracks)-quiet < 2 {
		quiet = len(g.tracks)
	}
	for _, k := range g.tracks[:quiet] {
		t.add(trackNode(trackID(i, k), parent, "thread", threadName(&p.t.Tracks[k]), i, p.tracks[k]))
	}
	if quiet == len(g.tracks) {
		return
	}
	id := fmt.Sprintf("quiet:%d:%d", i, g.pid)
	t.add(Node{ID: id, Parent: parent, Kind: "quiet", Name: fmt.Sprintf("%d quiet threads", len(g.tracks)-quiet),
		Trace: i, Folded: true})
	for _, k := range g.tracks[quiet:] {
		t.add(trackNode(trackID(i, k), id, "thread", threadName(&p.t.Tracks[k]), i, p.tracks[k]))
	}
}

func processName(g *trackGroup, first *trace.Track) string {
	id := strconv.FormatInt(g.pid, 10)
	if first.PIDText != "" {
		id = first.PIDText
	}
	if g.name == "" {
		return "process " + id
	}
	return g.name + " " + id
}

func threadName(k *trace.Track) string {
	id := strconv.FormatInt(k.TID, 10)
	if k.TIDText != "" {
		id = k.TIDText
	}
	switch {
	case k.Name == "":
		return "thread " + id
	case strings.Contains(k.Name, id):
		return k.Name
	}
	return k.Name + " " + id
}

func trackNode(id, parent, kind, name string, i int, c *cell) Node {
	n := Node{ID: id, Parent: parent, Kind: kind, Name: name, Trace: i, Rows: c.rows.Len(), Slices: c.slices,
		BusyNs: c.busy, Hidden: c.rows.Hidden}
	for r := range c.rows.Len() {
		n.Lanes = max(n.Lanes, int(c.rows.Row(r).Lane)+1)
	}
	return n
}

func trackID(part int, k trace.TrackID) string { return fmt.Sprintf("%d:%d", part, k) }

// track finds the rows of a track of slices.
func (tl *Timeline) track(id string) (part int, c *cell, err error) {
	missing := fmt.Errorf("track %q: %w: GET …/tracks lists them", id, ErrNotFound)
	a, b, ok := strings.Cut(id, ":")
	i, err := strconv.Atoi(a)
	if !ok || err != nil || i < 0 || i >= len(tl.parts) || b == "" {
		return 0, nil, missing
	}
	p := tl.parts[i]
	if b[0] != 'p' {
		k, err := strconv.ParseUint(b, 10, 32)
		if err != nil || k >= uint64(len(p.tracks)) {
			return 0, nil, missing
		}
		return i, p.tracks[k], nil
	}
	dev, lane, _ := strings.Cut(b[1:], ".")
	d, err1 := strconv.ParseInt(dev, 10, 64)
	l, err2 := strconv.Atoi(lane)
	if err1 != nil || err2 != nil || l < 0 {
		return 0, nil, missing
	}
	devices, _ := p.groups()
	for _, g := range devices {
		if g.device != d {
			continue
		}
		if lanes := p.lanes(g); l < len(lanes) {
			return i, &lanes[l].cell, nil
		}
	}
	return 0, nil, missing
}
