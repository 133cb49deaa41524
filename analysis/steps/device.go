package steps

import (
	"cmp"
	"slices"
	"sort"

	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/order"
)

// device is a trace's device work in the orders that the analysis needs.
type device struct {
	t      *trace.Trace
	v      *view.View
	seen   *plausible.Trace
	work   []int32        // device slices by start
	launch []int32        // per slice of work: the call that launched it, -1 if none
	units  []unit         // one a device
	any    *unit          // all devices together
	both   []view.Stretch // when two or more devices were busy
	// calls are the launch calls by start, each with its device slices; callOf is its
	// inverse, -1 where launch is.
	calls  []call
	callOf []int32
}

// call is a launch call and what it launched.
type call struct {
	slice int32
	work  []int32 // indices into device.work, in order of start
}

// newDevice collects the device work of seen.
func newDevice(seen *plausible.Trace) *device {
	v := seen.View
	d := &device{t: v.Trace, v: v, seen: seen}
	list := v.Devices()
	d.both = view.Together(list)
	shared := map[int64][]view.Lane{} // by device
	for _, l := range seen.Shared {
		shared[l.Device] = append(shared[l.Device], l)
	}
	n := 0
	for k := range list {
		n += len(list[k].Work)
		d.units = append(d.units, newUnit(v, &list[k], shared[list[k].ID]))
	}
	if len(list) == 1 {
		d.work = list[0].Work
	} else {
		d.work = make([]int32, 0, n)
		for k := range list {
			d.work = append(d.work, list[k].Work...)
		}
		slices.SortFunc(d.work, func(a, b int32) int {
			return cmp.Or(cmp.Compare(v.Start[a], v.Start[b]), cmp.Compare(a, b))
		})
	}
	if len(d.units) == 1 {
		d.any = &d.units[0]
	} else {
		busy := v.Busy(d.work)
		all := newUnit(v, &view.Device{ID: -1, Work: d.work, Busy: busy, Tally: view.NewTally(busy)}, nil)
		d.any = &all
	}
	d.launch = make([]int32, len(d.work))
	for k, i := range d.work {
		d.launch[k] = v.Launch(i)
	}
	d.collectCalls()
	return d
}

// collectCalls fills calls and callOf from launch.
func (d *device) collectCalls() {
	v := d.v
	at := make([]int32, len(v.Start)) // by slice: 1 + index into calls
	linked, n := 0, 0
	for _, l := range d.launch {
		if l >= 0 {
			linked++
			if at[l]++; at[l] == 1 {
				n++
			}
		}
	}
	calls := make([]int32, 0, n)
	for l := range at {
		if at[l] > 0 {
			calls = append(calls, int32(l))
		}
	}
	order.ByKey(calls, func(l int32) int64 { return v.Start[l] })
	block := make([]int32, linked) // the work of all calls
	d.calls = make([]call, n)
	for i, l := range calls {
		has := at[l]
		d.calls[i] = call{slice: l, work: block[:0:has]}
		block = block[has:]
		at[l] = int32(i) + 1
	}
	d.callOf = make([]int32, len(d.work))
	for k, l := range d.launch {
		d.callOf[k] = -1
		if l >= 0 {
			d.callOf[k] = at[l] - 1
			c := &d.calls[at[l]-1]
			c.work = append(c.work, int32(k))
		}
	}
}

// launchedAt returns when work k was launched; its own start if the launch is not known.
func (d *device) launchedAt(k int) int64 {
	if l := d.launch[k]; l >= 0 {
		return d.v.Start[l]
	}
	return d.v.Start[d.work[k]]
}

// assign assigns the device work to steps, which are sorted by start. It returns the time of work
// that belongs to no step, and of work without a known launch.
func (d *device) assign(steps []Step) (outside, unlinked int64) {
	v := d.v
	seen := make([]bool, len(d.calls))
	for x := range steps {
		steps[x].worstGap = -1
	}
	for k, i := range d.work {
		l := d.launch[k]
		if l < 0 {
			unlinked += v.Dur[i]
		}
		x := stepAt(steps, d.launchedAt(k))
		if x < 0 {
			outside += v.Dur[i]
			continue
		}
		st := &steps[x]
		if st.Slices == 0 || v.Start[i] < st.DeviceStartNs {
			st.DeviceStartNs = v.Start[i]
		}
		st.DeviceEndNs = max(st.DeviceEndNs, v.End(i))
		st.Slices++
		if l < 0 {
			continue
		}
		c := d.callOf[k]
		graph := isGraph(d.t, l, len(d.calls[c].work))
		if graph {
			st.GraphSlices++
		}
		if !seen[c] {
			seen[c] = true
			st.Launches++
			if graph {
				st.GraphLaunches++
			}
		}
	}
	d.doubtDominant(steps)
	for _, l := range d.seen.Missing {
		if x := stepAt(steps, v.Start[l]); x >= 0 {
			steps[x].MissingLaunches++
		}
	}
	return outside, unlinked
}

// doubtDominant marks the step that launched a slice which takes most of all time, if there are
// others enough to answer without it.
func (d *device) doubtDominant(steps []Step) {
	if len(steps) <= minRepeats {
		return
	}
	for _, x := range d.seen.Doubts {
		if x.Kind != plausible.Dominant {
			continue
		}
		i := int32(x.Evidence.Slice)
		at := d.v.Start[i]
		if l := d.v.Launch(i); l >= 0 {
			at = d.v.Start[l]
		}
		if k := stepAt(steps, at); k >= 0 && d.v.Counts(i) {
			steps[k].doubted = true
		}
	}
}

// stepAt returns the last step that began at or before at and whose turn had not ended; -1
// if there is none.
func stepAt(steps []Step, at int64) int {
	n := sort.Search(len(steps), func(i int) bool { return steps[i].StartNs > at })
	// Steps of several threads can overlap, but no step overlaps with more than a few before it.
	for k := n - 1; k >= 0 && k >= n-4; k-- {
		if at < steps[k].untilNs {
			return k
		}
	}
	return -1
}
