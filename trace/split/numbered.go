package split

import (
	"cmp"
	"maps"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
)

// processes are the numbers of a file's processes, of hosts and of devices apart, which
// may be equal.
type processes struct {
	t       *trace.Trace
	hosts   []int64 // with operators or launches of their own, in order
	devices []int64 // with work, in order
	off     map[int64]int64
	rows    map[int64]int // of each device
	// What launched and fits have found, which several ways of parting ask for.
	calls  map[int64][]call
	fit    map[[2]int64]pair
	joined bool
}

// numbered parts the tracks of a file in which several processes did what only a rank's
// own process does: run operators, launch work. Kineto records one process a file.
func numbered(t *trace.Trace) *groups {
	p := find(t)
	if len(p.hosts) < 2 {
		return nil
	}
	var owner map[int64]int64
	if len(p.hosts) <= maxRanks && len(p.devices) <= maxRanks {
		if owner = p.byOffset(); owner == nil {
			owner = p.byLaunch()
		}
	}
	if owner == nil && len(p.devices) > 0 { // on one device, or of one process's making
		if len(p.hosts) <= maxRanks {
			if g := p.byRows(); g != nil {
				return g
			}
		}
		t.Repairs.Add(trace.RepairMerged, len(p.hosts))
		return nil
	}
	g := &groups{of: make([]int, len(t.Tracks)), label: make([]string, len(p.hosts))}
	for i := range t.Tracks {
		k := &t.Tracks[i]
		switch {
		case k.Kind == trace.TrackGPU:
			g.of[i] = -1
			if n, ok := slices.BinarySearch(p.hosts, owner[k.PID]); ok {
				g.of[i] = n
			}
		case k.PIDText == "":
			g.of[i] = p.nearest(k.PID)
		default:
			g.of[i] = -1
		}
	}
	return g
}

// maxRanks bounds the processes and devices that are compared, each with each, by every row of a
// device. Files with more ranks have not been seen; a repair says that they are not split.
const maxRanks = 256

// find lists the processes that work.
func find(t *trace.Trace) *processes {
	p := &processes{t: t, off: map[int64]int64{}}
	hosts, devices, launches := map[int64]int{}, map[int64]int{}, map[int64]int{}
	for i, c := range t.Slices.Cat {
		k := &t.Tracks[t.Slices.Track[i]]
		switch {
		case k.PIDText != "":
		case k.Kind == trace.TrackGPU:
			devices[k.PID]++
			if k.Device >= 0 && devices[k.PID] == 1 {
				p.off[k.PID] = k.PID - k.Device
			}
		case c.Runtime() && t.Slices.Corr[i] != trace.NoCorrelation:
			launches[k.PID]++
		case c == trace.CatCPUOp:
			hosts[k.PID]++
		}
	}
	if len(devices) > 0 {
		hosts = launches
	}
	p.rows = maps.Clone(devices)
	p.hosts, p.devices = working(hosts), working(devices)
	if n := p.queues(); len(n) > 0 {
		p.hosts = slices.DeleteFunc(p.hosts, func(pid int64) bool { return n[pid] })
	}
	return p
}

// queues lists those of p.hosts that are devices with rows of calls of their own: MTIA's submission
// queues stand beside the streams of the device, and no work followed what they say. The process of a
// rank may have a device's number, too, and has calls that work followed.
func (p *processes) queues() map[int64]bool {
	queues := map[int64]bool{}
	for _, h := range p.hosts {
		if p.rows[h] > 0 {
			queues[h] = true
		}
	}
	if len(p.hosts) < 2 || len(queues) == 0 {
		return nil
	}
	s := &p.t.Slices
	worked := map[int64]bool{}
	for i, corr := range s.Corr {
		if corr != trace.NoCorrelation && p.t.Tracks[s.Track[i]].Kind == trace.TrackGPU {
			worked[corr] = true
		}
	}
	for i, c := range s.Cat {
		if k := &p.t.Tracks[s.Track[i]]; c.Runtime() && k.PIDText == "" && worked[s.Corr[i]] {
			delete(queues, k.PID)
		}
	}
	return queues
}

// fewRows is the share of the busiest process's rows below which another one is not taken
// for a rank: its number stands in rows that two writers broke, or it is a helper.
const fewRows = 0.05

// working lists the processes that have rows enough, in order.
func working(rows map[int64]int) []int64 {
	most := 0
	for _, n := range rows {
		most = max(most, n)
	}
	maps.DeleteFunc(rows, func(_ int64, n int) bool { return float64(n) < fewRows*float64(most) })
	return slices.Sorted(maps.Keys(rows))
}

// nearest returns the group of a host's process: its own, or for a helper that does no
// work of its own the one whose number is the nearest below.
func (p *processes) nearest(pid int64) int {
	at, found := slices.BinarySearch(p.hosts, pid)
	if found {
		return at
	}
	return max(0, at-1)
}

// byOffset parts processes by the number that was added to their ids: a device's id is
// its number and the offset. It returns the host of each device, nil if offsets do not
// tell one host from the other.
func (p *processes) byOffset() map[int64]int64 {
	offs := map[int64]bool{}
	for _, d := range p.devices {
		off, ok := p.off[d]
		if !ok || off < 0 {
			return nil
		}
		offs[off] = true
	}
	list := slices.Sorted(maps.Keys(offs))
	if len(list) < 2 || len(list) != len(p.hosts) {
		return nil
	}
	host := map[int64]int64{}
	for _, h := range p.hosts {
		own := list[0]
		for _, off := range list {
			if off <= h {
				own = off
			}
		}
		if _, twice := host[own]; twice {
			return nil
		}
		host[own] = h
	}
	owner := map[int64]int64{}
	for _, d := range p.devices {
		owner[d] = host[p.off[d]]
	}
	return owner
}

// pair is how well the work of a device fits the launches of a host.
type pair struct {
	found  int     // rows whose correlation the host launched before they began
	late   int     // rows whose correlation it launched only after they began
	delays int64   // ns from launch to begin, of these
	sample []int64 // of these the first, at most maxSample
	beside int     // rows that stand in the file behind one of the host's
}

// Limits of what the times of launches say of who launched.
const (
	maxSample = 512  // delays of launches that are compared
	minSample = 8    // the fewest that mean anything
	steadier  = 4    // how many times steadier the delays after the right launches are
	mostFound = 0.95 // of a device's rows that must follow a launch of its host
	// of these rows that must begin before the launch of a host that is not theirs, if that is to tell
	someLate = 0.2
)

func (f *pair) add(delay int64) {
	f.found++
	f.delays += delay
	if len(f.sample) < maxSample {
		f.sample = append(f.sample, delay)
	}
}

// spread is the median distance of the delays from their median, at least 1 ns; 0 if they are too
// few. A device begins work about as long after each of its own launches, and after those of another
// process as that one's pace has it.
func (f *pair) spread() int64 {
	if len(f.sample) < minSample {
		return 0
	}
	d := slices.Clone(f.sample)
	slices.Sort(d)
	middle := d[len(d)/2]
	for k := range d {
		d[k] = max(d[k]-middle, middle-d[k])
	}
	slices.Sort(d)
	return max(1, d[len(d)/2])
}

// byLaunch finds the host of each device by the launches of its work. Where ids collide, several
// hosts fit; then rows that stand together in the file are taken for one rank's, and work that
// always begins as long after its launches for theirs. If none of it tells and there are as many
// devices as hosts, they are matched in their order, as ranks are started, which a repair counts;
// otherwise the host whose launches are nearest in time is taken. It is nil if all devices belong to
// one host.
func (p *processes) byLaunch() map[int64]int64 {
	owner, used := map[int64]int64{}, map[int64]bool{}
	guessed := 0
	for n, d := range p.devices {
		best, told := p.hostOf(n, d)
		if !told {
			guessed++
		}
		owner[d], used[best] = best, true
	}
	if len(used) < 2 {
		return nil
	}
	p.t.Repairs.Add(trace.RepairInOrder, guessed)
	return owner
}

// hostOf is the host of device d, the n-th; told says that the trace tells, not the order.
func (p *processes) hostOf(n int, d int64) (best int64, told bool) {
	fit, joined := p.fits()
	rows := 0
	for _, h := range p.hosts {
		rows += fit[[2]int64{d, h}].beside
	}
	tells := func(a, b int64) int {
		x, y := fit[[2]int64{d, a}], fit[[2]int64{d, b}]
		if more := x.found - y.found; max(more, -more)*2 > max(x.found, y.found) {
			return -more
		}
		if far := x.beside - y.beside; joined && max(far, -far)*2 > rows {
			return -far
		}
		if far := x.late - y.late; float64(max(x.late, y.late)) >= someLate*float64(p.rows[d]) &&
			float64(min(x.late, y.late)) <= (1-mostFound)*float64(p.rows[d]) {
			return far
		}
		if s, t := x.spread(), y.spread(); s > 0 && t > 0 && max(s, t) >= steadier*min(s, t) {
			return cmp.Compare(s, t)
		}
		return 0
	}
	paired := len(p.devices) == len(p.hosts)
	best = slices.MinFunc(p.hosts, func(a, b int64) int {
		if c := tells(a, b); c != 0 {
			return c
		}
		if paired {
			return cmp.Compare(rank(a == p.hosts[n]), rank(b == p.hosts[n]))
		}
		return cmp.Compare(fit[[2]int64{d, a}].delays, fit[[2]int64{d, b}].delays)
	})
	return best, !slices.ContainsFunc(p.hosts, func(h int64) bool { return h != best && tells(best, h) == 0 })
}

// rank is 0 for what comes first.
func rank(first bool) int {
	if first {
		return 0
	}
	return 1
}

// call is the last launch of a host with some correlation.
type call struct{ host, at int64 }

func (p *processes) own() map[int64]bool {
	own := make(map[int64]bool, len(p.hosts))
	for _, h := range p.hosts {
		own[h] = true
	}
	return own
}

// launched are the last launches of each host by correlation.
func (p *processes) launched() map[int64][]call {
	if p.calls != nil {
		return p.calls
	}
	s := &p.t.Slices
	own := p.own()
	launched := map[int64][]call{}
	for i, c := range s.Cat {
		k := &p.t.Tracks[s.Track[i]]
		if !c.Runtime() || s.Corr[i] == trace.NoCorrelation || k.Kind == trace.TrackGPU || k.PIDText != "" ||
			!own[k.PID] {
			continue
		}
		calls := launched[s.Corr[i]]
		at := slices.IndexFunc(calls, func(c call) bool { return c.host == k.PID })
		if at < 0 {
			at = len(calls)
			calls = append(calls, call{host: k.PID})
		}
		calls[at].at = s.Start[i]
		launched[s.Corr[i]] = calls
	}
	p.calls = launched
	return launched
}

// fits counts, for every device and host, how well they fit. joined says that the rows of each host
// stand together in the file, so that neighbours mean something; a merge that sorted all rows by
// time destroys that.
func (p *processes) fits() (fit map[[2]int64]pair, joined bool) {
	if p.fit != nil {
		return p.fit, p.joined
	}
	s := &p.t.Slices
	own := p.own()
	launched := p.launched()
	fit = map[[2]int64]pair{}
	var last int64
	before, switches := false, 0
	for _, i := range inFileOrder(s) {
		k := &p.t.Tracks[s.Track[i]]
		if k.PIDText != "" {
			continue
		}
		if k.Kind != trace.TrackGPU {
			if own[k.PID] {
				if before && last != k.PID {
					switches++
				}
				last, before = k.PID, true
			}
			continue
		}
		if before {
			f := fit[[2]int64{k.PID, last}]
			f.beside++
			fit[[2]int64{k.PID, last}] = f
		}
		for _, c := range launched[s.Corr[i]] {
			f := fit[[2]int64{k.PID, c.host}]
			if c.at <= s.Start[i] {
				f.add(s.Start[i] - c.at)
			} else {
				f.late++
			}
			fit[[2]int64{k.PID, c.host}] = f
		}
	}
	p.fit, p.joined = fit, switches < 2*len(p.hosts)
	return p.fit, p.joined
}

// inFileOrder returns the slices in the order of their events.
func inFileOrder(s *trace.Slices) []int {
	order := make([]int, s.Len())
	for i := range order {
		order[i] = i
	}
	if !slices.IsSorted(s.Event) {
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(s.Event[a], s.Event[b]) })
	}
	return order
}
