package steps

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/cause"
	"github.com/kinetoscope/kinetoscope/analysis/drift"
	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/units"
)

// stats sums the steps by kind.
func stats(steps []Step) []Stats {
	var (
		out   [numKinds]Stats
		durs  [numKinds][]int64
		sums  [numKinds]struct{ host, span, busy, idle, slices, launches, graph, batch, whole int64 }
		total []Stats
	)
	for i := range steps {
		st := &steps[i]
		k := st.Kind
		ns := st.Ns()
		if s := &out[k]; len(durs[k]) == 0 || ns > s.MaxNs {
			s.MaxNs, s.Worst = ns, i
		}
		durs[k] = append(durs[k], ns)
		out[k].TotalNs += ns
		out[k].Tokens += int64(st.Tokens)
		x := &sums[k]
		x.host += st.EndNs - st.StartNs
		x.batch += int64(st.Batch)
		if !st.whole() {
			continue
		}
		x.whole++
		out[k].Whole++
		x.span += st.SpanNs
		x.busy += st.BusyNs
		x.idle += st.HostIdleNs
		x.slices += int64(st.Slices)
		x.launches += int64(st.Launches)
		x.graph += int64(st.GraphSlices)
		switch st.Bound {
		case BoundHost:
			out[k].HostBound++
		case BoundDevice:
			out[k].DeviceBound++
		}
	}
	for k := range out {
		n := int64(len(durs[k]))
		if n == 0 {
			continue
		}
		slices.Sort(durs[k])
		s, x := out[k], sums[k]
		s.Kind, s.Count = Kind(k), int(n)
		s.MeanNs, s.P50Ns, s.P99Ns = stat.Ratio(s.TotalNs, n), stat.Quantile(durs[k], 0.5), stat.Quantile(durs[k], 0.99)
		s.HostMeanNs, s.BusyShare, s.HostIdleShare = stat.Ratio(x.host, n), stat.Ratio(x.busy, x.span),
			stat.Ratio(x.idle, x.span)
		s.Slices, s.Launches, s.GraphShare, s.Batch = stat.Ratio(x.slices, x.whole), stat.Ratio(x.launches, x.whole),
			stat.Ratio(x.graph, x.slices), stat.Ratio(x.batch, n)
		s.TokensPerS = stat.Ratio(s.Tokens, s.TotalNs) * 1e9
		total = append(total, s)
	}
	slices.SortStableFunc(total, func(a, b Stats) int { return cmp.Compare(b.TotalNs, a.TotalNs) })
	if total == nil {
		return []Stats{}
	}
	return total
}

// verdict says what sets the pace over all steps.
// host is asked what the host did only where that matters.
func verdict(d *device, steps []Step, host func() cause.Report) Verdict {
	v := Verdict{Slice: -1, Devices: []DeviceShare{}}
	if d.seen.Several() {
		v.Text = "the trace does not show who sets the pace: several ranks are in it and cannot be told apart"
		return v
	}
	var all, span, busy, idle, blind, launches int64
	for i := range steps {
		st := &steps[i]
		all += st.SpanNs
		if st.MissingLaunches > 0 {
			v.Unknown++
			continue
		}
		if st.doubted {
			v.Doubted++
			continue
		}
		span += st.SpanNs
		busy += st.BusyNs
		idle += st.HostIdleNs
		blind += st.BlindIdleNs
		launches += int64(st.Launches)
		if st.gapNs > v.LongestGapNs {
			v.LongestGapNs, v.Slice = st.gapNs, int(st.worstGap)
		}
	}
	v.SpanNs = span
	switch {
	case v.Unknown > 0 && span == 0:
		v.Text = "the trace does not show who sets the pace: the device work of " + some(v.Unknown, "step") +
			" is missing in part or wholly, and there are no others"
		return v
	case span == 0 || len(d.units) == 0:
		v.Text = "no device work belongs to a step: nothing is said about the pace"
		return v
	}
	lo, hi := d.span(steps)
	whole := hi - lo
	v.PauseNs = max(0, whole-all)
	v.PauseShare = stat.Ratio(v.PauseNs, whole)
	v.BusyShare, v.HostIdleShare = stat.Ratio(busy, span), stat.Ratio(idle, span)
	v.OtherShare, v.BlindShare = max(0, 1-v.BusyShare-v.HostIdleShare), stat.Ratio(blind, span)
	v.LaunchesPerMs = stat.Ratio(launches, span) * 1e6
	v.LaunchDelayNs = launchDelay(d)
	v.ofDevices(d, steps, busy, idle)
	if v.Bound == BoundHost || v.PauseShare >= pauseSaid {
		c := host()
		if m := c.Main(); m != nil && stat.Ratio(m.Ns, whole) >= causeSaid {
			v.Cause = m
		}
	}
	v.Text = v.words()
	if v.Doubted > 0 {
		v.Text = "without the step in which one slice takes most of all time: " + v.Text
	}
	v.limit(d, steps, launches)
	return v
}

// ofDevices tells the devices' parts of the time in steps, and the bound; busy and idle are their means, ns.
func (v *Verdict) ofDevices(d *device, steps []Step, busy, idle int64) {
	var most, surely int64 // of the device that is so most
	for k := range d.units {
		u := &d.units[k]
		most, surely = max(most, u.inSteps.busy), max(surely, u.inSteps.surely)
		v.SurelyBusyShare += stat.Ratio(u.inSteps.surely, v.SpanNs) / float64(len(d.units))
		v.Devices = append(v.Devices, DeviceShare{u.id, u.inSteps.busy, stat.Ratio(u.inSteps.busy, v.SpanNs),
			stat.Ratio(u.inSteps.host, v.SpanNs)})
	}
	v.Bound = boundOfDevices(v.SpanNs, busy, idle, most, surely)
	if len(d.units) > 1 {
		v.TogetherShare = d.together(steps)
	}
}

// causeSaid is the share of the time that what the host did most must have taken to be named.
const causeSaid = 0.01

// outsideSaid is how many launches without device work outside of steps, as a share of the launches
// in steps, the verdict mentions.
const outsideSaid = 0.1

// limit says how much of the trace the verdict knows nothing about: steps with launches whose
// device work is missing from the trace, and such launches outside of steps. If that is most of the
// trace, there is no verdict. launches counts those in steps with complete work.
func (v *Verdict) limit(d *device, steps []Step, launches int64) {
	outside := len(d.seen.Missing)
	for i := range steps {
		outside -= steps[i].MissingLaunches
	}
	head, most, rest := "", false, "in the others"
	switch {
	case v.Unknown > 0:
		head = fmt.Sprintf("the device work of %d of %d steps is missing", v.Unknown, len(steps))
		most = 2*v.Unknown > len(steps)
	case outside > 0 && float64(outside) >= outsideSaid*float64(launches):
		head = fmt.Sprintf("%d launches outside of these steps lack device work in the trace", outside)
		if outside == 1 {
			head = "1 launch outside of these steps lacks device work in the trace"
		}
		v.Outside, most, rest = outside, int64(outside) > launches, "in the steps"
	default:
		return
	}
	if !most {
		v.Text = head + "; " + rest + ": " + v.Text
		return
	}
	v.Bound = BoundNone
	v.Text = fmt.Sprintf("the trace does not show who sets the pace: %s; %s %s busy %s of the time", head, rest,
		v.who(),
		units.Share(v.BusyShare))
}

// pauseSaid is the share of time in no step from which the verdict says that it describes only the
// rest.
const pauseSaid = 0.1

// blind reports whether most idle time lies before work whose launch is not in the trace; inTurn
// whether most of it is several devices waiting for each other.
func (v *Verdict) blind() bool  { return 2*v.BlindShare >= v.OtherShare }
func (v *Verdict) inTurn() bool { return len(v.Devices) > 1 && v.TogetherShare < seldomTogether }

// words puts the verdict into one sentence.
func (v *Verdict) words() string {
	head := fmt.Sprintf("%s busy %s of the time in steps", v.who(), v.busyText())
	waits := fmt.Sprintf("waits %s for launches", units.Share(v.HostIdleShare))
	if len(v.Devices) > 1 {
		waits = fmt.Sprintf("each waits %s for launches", units.Share(v.HostIdleShare))
	}
	text := ""
	switch {
	case v.Bound == BoundNone:
		text = fmt.Sprintf("the trace does not show who sets the pace: slices of one stream lie over each other, and %s", head)
	case v.Bound == BoundDevice:
		text = "device-bound: " + head + " and " + waits
		if !setsPace(int64(v.BusyShare*float64(v.SpanNs)), v.SpanNs) { // one of several does
			text = fmt.Sprintf("device-bound by device %d: %s and %s", v.busiest().Device, head, waits)
		}
	case v.Bound == BoundHost:
		text = "host-bound: " + head + " and " + waits
	case v.blind():
		text = fmt.Sprintf("the trace does not show who sets the pace: %s and idle for %s before work whose launch was not recorded", head, units.Share(v.BlindShare))
	case v.inTurn():
		text = fmt.Sprintf("the devices wait for each other: %s, %s, and %s for copies, dependencies and starting kernels", head, waits, units.Share(v.OtherShare))
	default:
		text = fmt.Sprintf("neither host nor device sets the pace alone: %s, %s, and %s for copies, dependencies and starting kernels", head, waits, units.Share(v.OtherShare))
	}
	if v.PauseShare >= pauseSaid {
		text += fmt.Sprintf("; steps cover only %s of the time", units.Share(1-v.PauseShare))
	}
	if v.Cause != nil {
		text += fmt.Sprintf("; what it waits for most is %s, %s", v.Cause.Text(), units.Duration(float64(v.Cause.Ns)))
	}
	return text
}

// busyNotice is the difference between the least and the most time for which a device may have been
// busy, as a share of the time, that is told.
const busyNotice = 0.01

// busyText is how long the devices were busy, or the limits of that.
func (v *Verdict) busyText() string {
	if v.BusyShare-v.SurelyBusyShare < busyNotice {
		return units.Share(v.BusyShare)
	}
	return units.Share(v.SurelyBusyShare) + " to " + units.Share(v.BusyShare)
}

// Silent reports whether the verdict says nothing of the pace: no device work belongs to a step, or several
// ranks are in the trace, which the trace's doubts say.
func (v *Verdict) Silent() bool {
	return v.Bound == BoundNone && v.SpanNs == 0 && v.Unknown+v.Outside == 0
}

// Disputed reports whether the trace does not show who sets the pace because slices of one stream lie
// over each other: with the least time for which the device may have been busy it does not set it.
func (v *Verdict) Disputed() bool {
	return v.Bound == BoundNone && v.SpanNs > 0 && v.Unknown+v.Outside == 0
}

// busiest is the device that works most in the steps, of which there is one at least.
func (v *Verdict) busiest() DeviceShare {
	return slices.MaxFunc(v.Devices, func(a, b DeviceShare) int { return cmp.Compare(a.BusyNs, b.BusyNs) })
}

// Limits of what the verdict says about several devices.
const (
	neverTogether  = 0.005 // of the busy time: rounding
	seldomTogether = 0.1
)

// who names the devices and says how they share the time.
func (v *Verdict) who() string {
	n := len(v.Devices)
	if n == 1 {
		return "the device is"
	}
	together := fmt.Sprintf("two or more at once for %s of that", units.Share(v.TogetherShare))
	if v.TogetherShare < neverTogether {
		together = "never two at once"
	}
	hi := v.busiest()
	lo := slices.MinFunc(v.Devices, func(a, b DeviceShare) int { return cmp.Compare(a.BusyNs, b.BusyNs) })
	if hi.BusyShare-lo.BusyShare >= 0.1 {
		together += fmt.Sprintf(", device %d most with %s, device %d least with %s", hi.Device,
			units.Share(hi.BusyShare), lo.Device, units.Share(lo.BusyShare))
	}
	return fmt.Sprintf("%d devices (%s) are on average", n, together)
}

// launchDelay returns the median time from a launch call's end to its first device work.
func launchDelay(d *device) float64 {
	delays := make([]int64, 0, len(d.calls))
	for i := range d.calls {
		c := &d.calls[i]
		delays = append(delays, max(0, d.v.Start[d.work[c.work[0]]]-d.v.End(c.slice)))
	}
	slices.Sort(delays)
	return stat.Quantile(delays, 0.5)
}

// drifts describes the loops of denoise steps. A loop ends at a step of another kind, another set
// of requests, or a pause.
func drifts(steps []Step) []Drift {
	out := []Drift{}
	for i := 0; i < len(steps); i++ {
		if steps[i].Kind != Denoise {
			continue
		}
		from := i
		var list []drift.Step
		for ; i < len(steps) && steps[i].Kind == Denoise; i++ {
			s := &steps[i]
			list = append(list, drift.Step{AtNs: s.AtNs, Ns: s.Ns(), HostNs: s.EndNs - s.StartNs,
				Same: i > from && slices.Equal(s.requests, steps[i-1].requests)})
		}
		for _, l := range drift.Loops(list) {
			out = append(out, Drift{First: from + l.First, Last: from + l.Last, StartNs: steps[from+l.First].StartNs,
				Drift: l.Drift})
		}
	}
	return out
}
