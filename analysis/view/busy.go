package view

import (
	"cmp"
	"slices"
	"sort"

	"github.com/kinetoscope/kinetoscope/internal/lists"
	"github.com/kinetoscope/kinetoscope/trace/ids"
)

// Stretch is a maximal span in which something was busy.
type Stretch struct {
	Start, End int64
	First      int32 // the slice that began it
	Last       int32 // the slice that ended it
}

// Busy merges rows, which are sorted by start, into stretches that neither overlap nor touch.
func (v *View) Busy(rows []int32) []Stretch {
	return v.stretches(nil, rows, func(k int) int64 { return v.End(rows[k]) })
}

// stretches joins rows, which are by start and end where end says, and appends what that makes to out.
func (v *View) stretches(out []Stretch, rows []int32, ends func(k int) int64) []Stretch {
	none := len(out)
	for k, i := range rows {
		start, end := v.Start[i], ends(k)
		if n := len(out); n == none || start > out[n-1].End {
			out = append(lists.Doubled(out), Stretch{start, end, i, i})
		} else if b := &out[n-1]; end > b.End {
			b.End, b.Last = end, i
		}
	}
	return out
}

// BusyCut returns what Busy does if each slice of the lanes in shared, whose slices lie over each
// other, ended where the next one of its lane begins: the least time for which they were busy.
func (v *View) BusyCut(rows []int32, shared []Lane) []Stretch {
	cut := make(map[Lane]bool, len(shared))
	for _, l := range shared {
		cut[l] = true
	}
	next := make([]int32, len(rows)) // in rows, by place: the next of the same lane
	last := make(map[int32]int, len(shared))
	for k := len(rows) - 1; k >= 0; k-- {
		l := v.LaneOf[rows[k]]
		next[k] = None
		if l < 0 || !cut[v.Lanes[l]] {
			continue
		}
		if n, ok := last[l]; ok {
			next[k] = rows[n]
		}
		last[l] = k
	}
	return v.stretches(nil, rows, func(k int) int64 {
		end := v.End(rows[k])
		if n := next[k]; n != None {
			end = min(end, v.Start[n])
		}
		return end
	})
}

// Device is one device's work.
type Device struct {
	ID   int64
	Work []int32 // by start; rows that only enclose others are left out
	Busy []Stretch
	// Tally is of Busy.
	Tally Tally
}

// Devices returns the device work by device, in order of the devices' ids. It is divided once; the
// answer is shared and must not be changed.
func (v *View) Devices() []Device { return v.devices() }

// divide makes Devices' answer. A trace may have a device for each of its slices: what is kept of
// them lies in a few blocks.
func (v *View) divide() []Device {
	numbers, count, rows, of := v.devicesOfRows()
	out := make([]Device, len(count))
	block := make([]int32, len(rows))
	for k, n := range count {
		out[k] = Device{ID: numbers[k], Work: block[:0:n]}
		block = block[n:]
	}
	for at, k := range of {
		out[k].Work = append(out[k].Work, rows[at])
	}
	slices.SortFunc(out, func(a, b Device) int { return cmp.Compare(a.ID, b.ID) })
	var busy []Stretch
	ends := make([]int, len(out))
	for k := range out {
		work := out[k].Work
		busy = v.stretches(busy, work, func(i int) int64 { return v.End(work[i]) })
		ends[k] = len(busy)
	}
	sums := make([]int64, 0, len(busy)+len(out))
	from := 0
	for k, end := range ends {
		d := &out[k]
		d.Busy = busy[from:end:end]
		d.Tally, sums = tallyIn(sums, d.Busy)
		from = end
	}
	return out
}

// devicesOfRows returns the ids of the devices in order of their first work and how many rows each has; the
// rows by start, and the place of the device of each among the ids.
func (v *View) devicesOfRows() (numbers []int64, count []int, rows []int32, of []uint32) {
	var list ids.List[int64]
	ofLane := make([]int32, len(v.Lanes)) // 1 + the place of a lane's device; 0 if it is not known yet
	rows, of = make([]int32, 0, len(v.ByStart)), make([]uint32, 0, len(v.ByStart))
	s := &v.Trace.Slices
	for _, i := range v.ByStart {
		if !v.OnDevice(i) || IsWrapper(s.Cat[i], v.Name(i)) {
			continue
		}
		l := v.LaneOf[i]
		if ofLane[l] == 0 {
			id := v.Lanes[l].Device
			k, added := list.Number(id, ids.Mix(0, id))
			if added {
				count = append(lists.Doubled(count), 0)
			}
			ofLane[l] = int32(k) + 1
		}
		k := uint32(ofLane[l] - 1)
		count[k]++
		rows, of = append(rows, i), append(of, k)
	}
	return list.Keys(), count, rows, of
}

// Together returns when two or more of the devices were busy at once.
func Together(list []Device) []Stretch {
	if len(list) < 2 {
		return nil
	}
	type edge struct {
		at    int64
		delta int
	}
	var edges []edge
	for k := range list {
		for _, b := range list[k].Busy {
			edges = append(edges, edge{b.Start, 1}, edge{b.End, -1})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.delta, b.delta))
	})
	var out []Stretch
	n, from := 0, int64(0)
	for _, e := range edges {
		if n > 1 && e.at > from {
			if k := len(out); k > 0 && out[k-1].End == from {
				out[k-1].End = e.at
			} else {
				out = append(out, Stretch{from, e.at, None, None})
			}
		}
		n, from = n+e.delta, e.at
	}
	return out
}

// Tally answers for any span how long something was busy in it, in logarithmic time.
type Tally struct {
	busy []Stretch
	sum  []int64 // busy time of the stretches before each
}

// NewTally makes a tally of stretches, which are in order and do not overlap. It keeps list.
func NewTally(list []Stretch) Tally {
	t, _ := tallyIn(make([]int64, 0, len(list)+1), list)
	return t
}

// tallyIn is NewTally, which appends its sums to block and returns it.
func tallyIn(block []int64, list []Stretch) (Tally, []int64) {
	from := len(block)
	var sum int64
	for _, b := range list {
		block = append(block, sum)
		sum += b.End - b.Start
	}
	block = append(block, sum)
	return Tally{busy: list, sum: block[from:len(block):len(block)]}, block
}

// Stretches returns what the tally is of.
func (x *Tally) Stretches() []Stretch { return x.busy }

// before is how long it was busy before t.
func (x *Tally) before(t int64) int64 {
	k := sort.Search(len(x.busy), func(k int) bool { return x.busy[k].End > t })
	if k == len(x.busy) {
		return x.sum[k]
	}
	return x.sum[k] + max(0, t-x.busy[k].Start)
}

// In is how long it was busy in [lo, hi), ns.
func (x *Tally) In(lo, hi int64) int64 { return x.before(hi) - x.before(lo) }

// Within is how much of the stretches, which are in order, lies in [lo, hi), ns.
func Within(list []Stretch, lo, hi int64) int64 {
	var ns int64
	k := sort.Search(len(list), func(k int) bool { return list[k].End > lo })
	for ; k < len(list) && list[k].Start < hi; k++ {
		ns += max(0, min(hi, list[k].End)-max(lo, list[k].Start))
	}
	return ns
}
