package steps

import (
	"fmt"
	"sort"
	"testing"

	"pgregory.net/rapid"

	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
)

// plainLedger is the ledger's meaning, device by device and turn by turn.
type plainLedger struct {
	d       *device
	inSteps []idleness
}

func (p *plainLedger) turn(st *Step, lo, hi int64) {
	var all idleness
	var most, surely int64
	for k := range p.d.units {
		u := &p.d.units[k]
		a := p.account(u, st, lo, hi)
		if st.whole() {
			p.inSteps[k].add(a)
		}
		all.add(a)
		most, surely = max(most, a.busy), max(surely, a.surely)
	}
	n := int64(len(p.d.units))
	st.BusyNs, st.HostIdleNs, st.BlindIdleNs = all.busy/n, all.host/n, all.blind/n
	if st.MissingLaunches == 0 {
		st.Bound = boundOfDevices(st.SpanNs, st.BusyNs, st.HostIdleNs, most, surely)
	}
}

func (p *plainLedger) account(u *unit, st *Step, lo, hi int64) idleness {
	a := idleness{busy: u.In(lo, hi)}
	a.surely = a.busy
	if u.surely != nil {
		a.surely = u.surely.In(lo, hi)
	}
	at := lo
	n := sort.Search(len(u.busy), func(k int) bool { return u.busy[k].End > lo })
	for ; n < len(u.busy) && u.busy[n].Start < hi; n++ {
		if b := &u.busy[n]; b.Start > at {
			p.gap(&a, u, st, at, b.Start, n)
		}
		at = max(at, u.busy[n].End)
	}
	if at < hi {
		p.gap(&a, u, st, at, hi, n)
	}
	return a
}

func (p *plainLedger) gap(a *idleness, u *unit, st *Step, from, to int64, n int) {
	until, worst, before := to, view.None, view.None
	if n > 0 {
		before = u.busy[n-1].Last
	}
	if n < len(u.busy) {
		worst = u.busy[n].First
		l := u.v.Launch(worst)
		if l < 0 {
			a.blind += to - from
			return
		}
		until = min(to, u.v.End(l))
	}
	if p.d.seen.Unknown(before, worst, to) {
		a.blind += to - from
		return
	}
	host := until - from
	if host > 0 && len(p.d.units) > 1 {
		host -= p.d.any.In(from, until)
	}
	if host <= 0 {
		return
	}
	a.host += host
	if host > st.gapNs {
		st.gapNs, st.worstGap = host, worst
	}
}

// drawDevices makes a host that takes steps and launches work on some devices, of which some is
// missing, lies over other work, or has no launch.
func drawDevices(rt *rapid.T) *trace.Trace {
	t := trace.New()
	host := t.AddTrack(trace.Track{Kind: trace.TrackCPU, PID: 1, TID: 1, Device: -1, Stream: -1})
	var streams []trace.TrackID
	for dev := range rapid.Int64Range(1, 5).Draw(rt, "devices") {
		streams = append(streams, t.AddTrack(trace.Track{Kind: trace.TrackGPU, Device: dev, Stream: 7}))
	}
	now := int64(1000)
	for step := range rapid.IntRange(1, 12).Draw(rt, "steps") {
		begin := now
		for range rapid.IntRange(0, 4).Draw(rt, "launches") {
			now += us * rapid.Int64Range(0, 20).Draw(rt, "before")
			call := us * rapid.Int64Range(1, 30).Draw(rt, "call")
			corr := int64(t.Slices.Len()) + 1
			kind := rapid.IntRange(0, 9).Draw(rt, "kind")
			if kind != 0 {
				t.AddSlice(trace.Slice{Start: now, Dur: call, Name: "cudaLaunchKernel", Cat: trace.CatCUDARuntime,
					Track: host, Corr: corr})
			}
			if kind != 1 {
				start := now + us*rapid.Int64Range(1, 60).Draw(rt, "latency")
				t.AddSlice(trace.Slice{Start: start, Dur: us * rapid.Int64Range(0, 90).Draw(rt, "takes"), Name: "gemm",
					Cat: trace.CatKernel, Track: rapid.SampledFrom(streams).Draw(rt, "stream"), Corr: corr})
			}
			now += call
		}
		now += us * rapid.Int64Range(1, 10).Draw(rt, "after")
		t.AddSlice(trace.Slice{Start: begin, Dur: now - begin, Name: fmt.Sprintf("ProfilerStep#%d", step),
			Cat: trace.CatUserAnnotation, Track: host})
	}
	return t
}

// TestLedger: turns that are counted together have the times that each would have by itself.
func TestLedger(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := drawDevices(rt)
		seen := plausible.Look(tr)
		got := Find(tr, Options{Seen: seen})
		d := newDevice(seen)
		if len(d.work) == 0 || len(got.Steps) == 0 {
			return
		}
		want := append([]Step(nil), got.Steps...)
		p := plainLedger{d: d, inSteps: make([]idleness, len(d.units))}
		for x := range want {
			st := &want[x]
			if st.SpanNs == 0 {
				continue
			}
			st.gapNs, st.worstGap = 0, -1
			p.turn(st, st.AtNs, st.AtNs+st.SpanNs)
			g := &got.Steps[x]
			if g.BusyNs != st.BusyNs || g.HostIdleNs != st.HostIdleNs || g.BlindIdleNs != st.BlindIdleNs ||
				g.Bound != st.Bound || g.gapNs != st.gapNs || g.worstGap != st.worstGap {
				rt.Fatalf("step %d is\n%+v, want\n%+v", x, *g, *st)
			}
		}
		if got.Verdict.SpanNs == 0 {
			return
		}
		for k, dev := range got.Verdict.Devices {
			want := p.inSteps[k]
			share := stat.Ratio(want.host, got.Verdict.SpanNs)
			if dev.BusyNs != want.busy || dev.HostIdleShare != share {
				rt.Fatalf("device %d is %+v, want %+v in steps, %v of it the host's", k, dev, want, share)
			}
		}
	})
}
