package split

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
)

// minOwned is the share of a file's device rows whose process must be known for the rows to be
// parted by it.
const minOwned = 0.95

// byRows parts the rows of devices on which several processes' work stands, as where every rank
// saw its card as device 0: each goes to the process that launched it. Where ids collide it is
// the one whose rows stand around it in the file, or that all other rows of the stream are of.
// It is nil if that tells too few of them; a repair counts the rows that it does not tell.
func (p *processes) byRows() *groups {
	t := p.t
	host, ok := p.owners()
	if !ok {
		return nil
	}
	g := &groups{of: make([]int, len(t.Tracks)), label: make([]string, len(p.hosts))}
	for i := range t.Tracks {
		g.of[i] = -1
		if k := &t.Tracks[i]; k.Kind != trace.TrackGPU && k.PIDText == "" {
			g.of[i] = p.nearest(k.PID)
		}
	}
	lane := map[[2]int]trace.TrackID{} // by track and host
	of := func(track trace.TrackID, h int) trace.TrackID {
		key := [2]int{int(track), h}
		id, known := lane[key]
		switch {
		case known:
			return id
		case g.of[track] < 0:
			id = track
			g.of[track] = h
		default:
			id = t.AddTrack(t.Tracks[track])
			g.of = append(g.of, h)
		}
		lane[key] = id
		return id
	}
	s := &t.Slices
	byID := map[int64]int{} // the process of a correlation's rows; -1 if they are of several
	for i, h := range host {
		if h < 0 {
			continue
		}
		s.Track[i] = of(s.Track[i], h)
		if before, ok := byID[s.Corr[i]]; ok && before != h {
			h = -1
		}
		byID[s.Corr[i]] = h
	}
	f := &t.Flows
	for i, track := range f.Track {
		if h, ok := byID[int64(f.ID[i])]; ok && h >= 0 && t.Tracks[track].Kind == trace.TrackGPU {
			f.Track[i] = of(track, h)
		}
	}
	return g
}

// owners says for each row of a device which of the hosts launched it, by its place among these;
// -1 for rows of hosts. ok is false if that is not known of enough rows, or all are of one host. The
// rows of which it is not known, one in twenty at most, go to the first host, and are counted.
func (p *processes) owners() (host []int, ok bool) {
	t := p.t
	s := &t.Slices
	launched := p.launched()
	_, joined := p.fits()
	host = make([]int, s.Len())
	var rows []int // of devices, in the order of the file
	around := -1   // the host whose rows stood last in the file
	for _, i := range inFileOrder(s) {
		host[i] = -1
		k := &t.Tracks[s.Track[i]]
		switch {
		case k.PIDText != "":
		case k.Kind == trace.TrackGPU:
			rows = append(rows, i)
			host[i] = p.owner(launched[s.Corr[i]], around, joined)
		default:
			if n, found := slices.BinarySearch(p.hosts, k.PID); found {
				around = n
			}
		}
	}
	p.byCause(rows, host, launched)
	p.adoptByStream(rows, host)
	p.byStreams(rows, host, launched)
	known := make([]int, len(p.hosts))
	unknown := 0
	for _, i := range rows {
		if host[i] < 0 {
			unknown++
			host[i] = 0
		} else {
			known[host[i]]++
		}
	}
	if slices.Contains(known, 0) || float64(unknown) > (1-minOwned)*float64(len(rows)) {
		return nil, false
	}
	t.Repairs.Add(trace.RepairUnowned, unknown)
	return host, true
}

// owner is the host, by its place, whose launch a row belongs to; -1 if that is not known.
func (p *processes) owner(calls []call, around int, joined bool) int {
	if len(calls) == 1 {
		n, _ := slices.BinarySearch(p.hosts, calls[0].host)
		return n
	}
	if !joined || around < 0 {
		return -1
	}
	if len(calls) > 0 && !slices.ContainsFunc(calls, func(c call) bool { return c.host == p.hosts[around] }) {
		return -1
	}
	return around
}

// byCause finds the hosts of rows with a correlation that several hosts have, where only one way of
// giving each row to a launch lets every launch come before its row: the next launch comes after
// the row each time.
func (p *processes) byCause(rows, host []int, launched map[int64][]call) {
	s := &p.t.Slices
	same := map[int64][]int{}
	for _, i := range rows {
		if host[i] < 0 && len(launched[s.Corr[i]]) > 1 {
			same[s.Corr[i]] = append(same[s.Corr[i]], i)
		}
	}
	for id, list := range same {
		calls := slices.SortedFunc(slices.Values(launched[id]), func(a, b call) int { return cmp.Compare(a.at, b.at) })
		if len(calls) != len(list) {
			continue // a graph, or work is missing
		}
		slices.SortFunc(list, func(a, b int) int { return cmp.Compare(s.Start[a], s.Start[b]) })
		only := true
		for k, i := range list {
			only = only && s.Start[i] >= calls[k].at && (k+1 == len(calls) || s.Start[i] < calls[k+1].at)
		}
		for k, i := range list {
			if n, ok := slices.BinarySearch(p.hosts, calls[k].host); ok && only {
				host[i] = n
			}
		}
	}
}

// adoptByStream gives rows whose host is not known to the one that all known rows of their stream
// are of.
func (p *processes) adoptByStream(rows, host []int) {
	const several = -2
	of := map[trace.TrackID]int{}
	track := p.t.Slices.Track
	for _, i := range rows {
		if host[i] < 0 {
			continue
		}
		if h, ok := of[track[i]]; ok && h != host[i] {
			of[track[i]] = several
		} else if !ok {
			of[track[i]] = host[i]
		}
	}
	for _, i := range rows {
		if h, ok := of[track[i]]; ok && h >= 0 && host[i] < 0 {
			host[i] = h
		}
	}
}
