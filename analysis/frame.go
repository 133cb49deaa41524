package analysis

import (
	"slices"
	"sync"

	"github.com/kinetoscope/kinetoscope/analysis/cause"
	"github.com/kinetoscope/kinetoscope/analysis/hta"
	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/internal/cores"
	"github.com/kinetoscope/kinetoscope/internal/lists"
	"github.com/kinetoscope/kinetoscope/trace"
)

// frame is one trace as the analyses see it: which slices count, which of them are
// device work on which lane, and who launched whom. It is built once for many analyses
// and, but for what is computed once when first asked for, never changed
// after newFrame, so analyses may share it.
type frame struct {
	tr         *trace.Trace
	view       *view.View              // what the columns below come from; nil with HTA
	seen       *plausible.Trace        // what view was made from and what is doubtful of it; nil with HTA
	look       func() *plausible.Trace // what seen is without HTA, for answers that HTA does not define
	host       func() cause.Report     // of a Subject, which other questions share; nil without one
	opt        Options
	rules      hta.Rules // by whose definitions is counted
	rows       *hta.Rows // what the columns below come from with Options.HTA; nil without
	rank       int
	start, dur []int64 // per slice, ns; the trace's own columns unless HTA rounds or a window cuts
	keep       []bool  // per slice; nil if every slice counts
	lanes      []Lane  // in order of first appearance
	laneOf     []int32 // per slice: index into lanes, -1 if not on a device
	dev        []int32 // device work in file order
	byStart    []int32 // device work by start, then file order
	partner    []int32 // per slice: of device work its launch, of a launch its last device work; -1 if none
	ambiguous  int     // launch calls whose correlation an earlier one has as well
	kinds      []Kind  // per slice of dev

	callsOnce sync.Once
	callTree  *tree // see calls
	commsOnce sync.Once
	commTable CommTable // see comms
	kindsOnce sync.Once
	byKind    [numKinds][]interval // see mergedKinds
}

const noSlice = int32(-1)

// newFrame looks at tr as opt says.
func newFrame(tr *trace.Trace, opt Options) *frame {
	return newFrames([]*trace.Trace{tr}, opt)[0]
}

// newFrames looks at the ranks of one job, in parallel. With HTA the step filter is
// chosen for all ranks together.
func newFrames(trs []*trace.Trace, opt Options) []*frame {
	fs := make([]*frame, len(trs))
	hasSteps := opt.HTA && hta.HasSteps(trs)
	cores.Each(len(trs), func(i int) {
		if opt.HTA {
			fs[i] = htaFrame(trs[i], opt, hasSteps)
		} else {
			fs[i] = ownFrame(plausible.Look(trs[i]), opt)
		}
	})
	return fs
}

// framesOf are newFrames, which share the subjects' views where they can.
func framesOf(list []*Subject, opt Options) []*frame {
	if opt.HTA { // whose steps are chosen for all ranks together
		trs := make([]*trace.Trace, len(list))
		for i, s := range list {
			trs[i] = s.Trace
		}
		fs := newFrames(trs, opt)
		for i, s := range list {
			fs[i].look = s.seen
		}
		return fs
	}
	fs := make([]*frame, len(list))
	cores.Each(len(list), func(i int) { fs[i] = list[i].View(opt).f })
	return fs
}

// frameOf is a subject's frame for options that it keeps no view of.
func frameOf(s *Subject, opt Options) *frame {
	if opt.HTA {
		return framesOf([]*Subject{s}, opt)[0]
	}
	return ownFrame(s.seen(), opt)
}

// htaFrame returns a frame by HTA's definitions.
func htaFrame(tr *trace.Trace, opt Options, hasSteps bool) *frame {
	opt.Window = nil
	r := hta.Load(tr, hasSteps, hta.Options{IncludeLastStep: opt.HTAIncludeLastStep, AllSteps: opt.HTAAllSteps})
	f := &frame{tr: tr, opt: opt, rules: hta.All, rows: r, rank: tr.Meta.Rank}
	f.look = sync.OnceValue(func() *plausible.Trace { return plausible.Look(tr) })
	f.start, f.dur, f.keep = r.Start, r.Dur, r.Keep
	f.lanes, f.laneOf, f.dev = r.Lanes, r.LaneOf, r.Work
	f.partner, f.ambiguous = r.Partner, r.Ambiguous
	f.classify(func(_ trace.Category, name string) Kind { return Kind(hta.TypeOf(name)) })
	f.byStart = slices.Clone(f.dev)
	sortByKey(f.byStart, func(i int32) int64 { return f.start[i] })
	return f
}

// bareFrame returns a frame by our definitions that knows which slices count and nothing
// else.
func bareFrame(tr *trace.Trace, opt Options) *frame {
	f := &frame{tr: tr, opt: opt, rank: tr.Meta.Rank, start: tr.Slices.Start, dur: tr.Slices.Dur}
	if opt.Window != nil {
		f.keep, f.start, f.dur = view.CutTimes(f.start, f.dur, nil, opt.Window.StartNs, opt.Window.EndNs)
	}
	return f
}

// ownFrame returns a frame by our definitions of a trace that was looked at.
func ownFrame(seen *plausible.Trace, opt Options) *frame {
	tr := seen.View.Trace
	f := &frame{tr: tr, opt: opt, rank: tr.Meta.Rank, seen: seen}
	v := seen.View
	if opt.Window != nil {
		v = v.Cut(opt.Window.StartNs, opt.Window.EndNs)
	}
	f.build(v)
	return f
}

// several says that the trace is of several ranks that could not be parted: who launched what, and
// who waits for whom, is not known.
func (f *frame) several() bool { return f.seen != nil && f.seen.Several() }

func (f *frame) end(i int32) int64 { return f.start[i] + f.dur[i] }

func (f *frame) name(i int32) string { return f.tr.String(f.tr.Slices.Name[i]) }

func (f *frame) counts(i int32) bool { return f.keep == nil || f.keep[i] }

// isDeviceWork says whether a category is work on a device. Annotations projected on
// the device and synchronisation markers enclose work; they are none.
func isDeviceWork(c trace.Category) bool { return c.Busy() }

// isRuntime says whether a category is a call into a device runtime.
func isRuntime(c trace.Category) bool { return c.Runtime() }

// build takes over what v says of the device's work.
func (f *frame) build(v *view.View) {
	f.view = v
	f.start, f.dur, f.keep = v.Start, v.Dur, v.Keep
	f.lanes, f.laneOf, f.dev, f.byStart = v.Lanes, v.LaneOf, v.Work, v.ByStart
	f.partner, f.ambiguous = v.Partner, v.Ambiguous
	f.classify(kindOf)
}

// classify fills kinds, asking once a distinct category and name.
func (f *frame) classify(kind func(trace.Category, string) Kind) {
	s := &f.tr.Slices
	f.kinds = make([]Kind, len(f.dev))
	known := map[uint64]Kind{}
	lastKey, lastKind := ^uint64(0), KindOther
	for j, i := range f.dev {
		key := uint64(s.Cat[i])<<32 | uint64(s.Name[i])
		if key != lastKey {
			k, ok := known[key]
			if !ok {
				k = kind(s.Cat[i], f.tr.String(s.Name[i]))
				known[key] = k
			}
			lastKey, lastKind = key, k
		}
		f.kinds[j] = lastKind
	}
}

// span is the time from the first start to the last end of device work; ok is false if
// there is none.
func (f *frame) span() (w Window, ok bool) {
	if len(f.dev) == 0 {
		return Window{}, false
	}
	w = Window{StartNs: f.start[f.byStart[0]], EndNs: f.end(f.byStart[0])}
	for _, i := range f.byStart {
		w.EndNs = max(w.EndNs, f.end(i))
	}
	return w, true
}

// merged returns the merged spans of device work whose kind is in the set (bit k for
// kind k).
func (f *frame) merged(set uint) []interval {
	kind := f.kindBySlice()
	var iv []interval
	for _, i := range f.byStart {
		if set>>kind(i)&1 != 0 {
			iv = joined(iv, interval{f.start[i], f.end(i)})
		}
	}
	return iv
}

// kindBySlice returns a look-up from slice to kind; dev ascends, so a scan is avoided
// by a table as wide as the trace only once.
func (f *frame) kindBySlice() func(int32) Kind {
	t := make([]Kind, len(f.start))
	for j, i := range f.dev {
		t[i] = f.kinds[j]
	}
	return func(i int32) Kind { return t[i] }
}

const allKinds = 1<<numKinds - 1

// byLane returns the device work of each lane by start.
func (f *frame) byLane() [][]int32 {
	return lists.Grouped(f.byStart, len(f.lanes), func(i int32) int { return int(f.laneOf[i]) })
}
