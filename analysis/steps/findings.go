package steps

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/drift"
	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// Thresholds of the findings.
const (
	graphMin    = 0.3  // of device slices launched by graphs
	eagerMax    = 0.05 // of decode kernels in graphs below which graphs are missing
	manyKernels = 100  // launches of a decode step that graphs would save
	firstRatio  = 2.0  // first denoise step by the mean
	outsideMin  = 0.1  // of device work outside steps
	prefillMin  = 0.3  // of the time in steps
	mixedRatio  = 1.5  // mixed or prefill steps by decode steps: the others wait for prompts
)

// finder adds findings to a report.
type finder struct {
	r     *Report
	t     *trace.Trace
	index int
}

func (f *finder) add(c finding.Code, sev analysis.Severity, slice int, number float64, format string, args ...any) {
	x := analysis.Finding{Code: c, Severity: sev, Text: fmt.Sprintf(format, args...), Number: number, Unit: c.Unit()}
	switch {
	case slice >= 0:
		x.Evidence = analysis.SliceEvidence(f.t, f.index, slice)
	case len(f.r.Steps) > 0:
		x.Evidence = analysis.SpanEvidence(f.index, 0, f.r.Steps[0].StartNs, f.r.Steps[len(f.r.Steps)-1].EndNs)
	default:
		x.Evidence = analysis.SpanEvidence(f.index, 0, f.t.Meta.WindowStart, f.t.Meta.WindowEnd)
	}
	f.r.Findings = append(f.r.Findings, x)
}

// findings fills Report.Findings, worst first.
func (r *Report) findings(seen *plausible.Trace, index int) {
	r.Findings = append([]analysis.Finding{}, seen.Findings(index, "")...)
	f := &finder{r, seen.Trace, index}
	if len(r.Steps) == 0 {
		f.add(finding.NoSteps, analysis.Info, -1, 0,
			"no steps were found: no labels of an engine, and no sequence of two or more launches that comes %d times or more and fills half of the time", minRepeats)
		return
	}
	f.pace()
	f.kinds()
	f.graphs()
	f.drift()
	f.outside(seen)
	slices.SortStableFunc(r.Findings, finding.Compare)
}

func (f *finder) pace() {
	v := &f.r.Verdict
	switch v.Bound {
	case BoundHost:
		sev := analysis.Notice
		if v.HostIdleShare >= 0.1 {
			sev = analysis.Warning
		}
		f.add(finding.HostBound, sev, v.Slice, 100*v.HostIdleShare, "%s; the longest wait was %s", v.Text,
			units.Duration(float64(v.LongestGapNs)))
	case BoundDevice:
		f.add(finding.DeviceBound, analysis.Info, f.longest(), 100*v.BusyShare, "%s", v.Text)
	case BoundNone:
		n := v.Unknown + v.Outside
		if v.Disputed() {
			n = len(f.r.Steps)
		}
		if n > 0 {
			f.add(finding.PaceUnknown, analysis.Notice, -1, float64(n), "%s", v.Text)
		}
	case BoundOther:
		code := finding.PaceShared
		switch {
		case v.blind():
			code = finding.LaunchesUnknown
		case v.inTurn():
			code = finding.DevicesInTurn
		}
		f.add(code, analysis.Notice, v.Slice, 100*v.OtherShare, "%s", v.Text)
	}
}

// longest returns the index of the longest step of the kind with the most time.
func (f *finder) longest() int {
	if len(f.r.Kinds) == 0 {
		return -1
	}
	return f.r.Steps[f.r.Kinds[0].Worst].Slice
}

func (f *finder) kinds() {
	var total int64
	by := map[Kind]*Stats{}
	for i := range f.r.Kinds {
		total += f.r.Kinds[i].TotalNs
		by[f.r.Kinds[i].Kind] = &f.r.Kinds[i]
	}
	for i := range f.r.Kinds {
		s := &f.r.Kinds[i]
		tail := finding.Tail{Step: stepOf(s.Kind), Count: s.Count, P50Ns: s.P50Ns, P99Ns: s.P99Ns, MaxNs: s.MaxNs}
		if text, ratio, ok := tail.Text(); ok {
			f.add(finding.SlowSteps, analysis.Notice, f.r.Steps[s.Worst].Slice, ratio, "%s", text)
		}
	}
	if decode := by[Decode]; decode != nil {
		f.promptsBetween(decode, total)
	}
}

// promptsBetween says what steps with prompts take from sequences that decode meanwhile.
func (f *finder) promptsBetween(decode *Stats, total int64) {
	var prompt int64
	count, worst := 0, -1
	for _, i := range delaying(f.r.Steps) {
		prompt += f.r.Steps[i].Ns()
		count++
		if worst < 0 || f.r.Steps[i].Ns() > f.r.Steps[worst].Ns() {
			worst = i
		}
	}
	if count == 0 {
		return
	}
	mean := stat.Ratio(prompt, int64(count))
	if p := stat.Ratio(prompt, total); p >= prefillMin && mean >= mixedRatio*decode.MeanNs {
		f.add(finding.PromptsBetween, analysis.Info, f.r.Steps[worst].Slice, 100*p,
			"%s of the time in steps goes into %s with prompts, %s each, while other sequences decode; a decode step takes %s, so these wait while prompts are computed",
			units.Share(p), units.Plural(count, "step"), units.Duration(mean), units.Duration(decode.MeanNs))
	}
}

// delaying lists the steps with prompts for which sequences wait that decode: they are in the step, or
// the next decode step has more sequences than the prompts before it were. Where a label does not say how
// many there are, a decode step before it is taken for theirs. A prompt that comes alone delays nobody.
func delaying(steps []Step) (out []int) {
	decoded := false // a decode step came before
	for i := 0; i < len(steps); i++ {
		if !steps[i].prompts() {
			decoded = decoded || steps[i].Kind == Decode
			continue
		}
		from, prompts, known := i, 0, true
		for ; i < len(steps) && steps[i].prompts(); i++ {
			prompts += steps[i].Prefills
			known = known && steps[i].Batch > 0
		}
		others := decoded
		if i < len(steps) && steps[i].Kind == Decode && steps[i].Batch > 0 && known {
			others = steps[i].Batch > prompts
		}
		for k := from; k < i; k++ {
			if others || steps[k].Prefills > 0 && steps[k].Batch > steps[k].Prefills {
				out = append(out, k)
			}
		}
		i-- // what ended the prompts is looked at next
	}
	return out
}

func (s *Step) prompts() bool { return s.Kind == Prefill || s.Kind == Mixed }

func (f *finder) graphs() {
	r := f.r
	if r.GraphShare >= graphMin && len(r.Graphs) > 0 {
		g := &r.Graphs[0]
		replays, whole := 0, 0
		for _, x := range r.Graphs {
			replays += x.Replays
			whole += stat.One(!x.Part)
		}
		f.add(finding.OperatorsInGraphs, analysis.Info, g.Slice, 100*r.GraphShare,
			"%s of the device's slices were launched by %s of %s, the one with most time has %s: operators behind them are named only in a trace of the capture",
			units.Share(r.GraphShare), some(replays, "replay"), some(whole, "graph"), some(g.Slices, "kernel"))
	}
	for i := range r.Kinds {
		s := &r.Kinds[i]
		if (s.Kind == Decode || s.Kind == Denoise) && s.GraphShare < eagerMax && s.Launches >= manyKernels &&
			s.HostIdleShare >= hostSpan {
			f.add(finding.NoGraphs, analysis.Warning, r.Steps[s.Worst].Slice, s.Launches,
				"a %s makes %.0f launches one by one and the device waits %s of the time for them: replaying a graph would help",
				stepOf(s.Kind), s.Launches, units.Share(s.HostIdleShare))
		}
	}
}

// stepOf names a step of a kind: "decode step", "prefill step", "step", "training step".
func stepOf(k Kind) string {
	switch k {
	case Unknown:
		return "step"
	case Generation:
		return "generation"
	}
	return strings.ReplaceAll(k.String(), "_", " ") + " step"
}

func some(n int, word string) string {
	if n == 1 {
		return "one " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// drift says how denoise loops change, each of it once whatever the number of loops: of a server that made
// a hundred images, the worst of them.
func (f *finder) drift() {
	f.changing("slower", func(d *Drift) float64 { return d.Change })
	f.changing("faster", func(d *Drift) float64 { return -d.Change })
	loops := f.r.Drifts
	slow, worst := 0, -1
	ratio := func(i int) float64 { return float64(loops[i].FirstStepNs) / loops[i].MeanNs }
	for i := range loops {
		if ratio(i) >= firstRatio {
			slow++
			if worst < 0 || ratio(i) > ratio(worst) {
				worst = i
			}
		}
	}
	switch {
	case slow == 0:
	case slow == 1 && worst == 0:
		f.add(finding.SlowFirstStep, analysis.Notice, f.r.Steps[loops[0].First].Slice, ratio(0),
			"the first denoise step takes %s, %.1f times the mean: a warm-up before the window would hide it",
			units.Duration(float64(loops[0].FirstStepNs)), ratio(0))
	default:
		f.add(finding.SlowFirstStep, analysis.Notice, f.r.Steps[loops[worst].First].Slice, ratio(worst),
			"the first denoise step of %d of %d loops takes %.0f times its loop's mean or more, in the worst %s (%.1f times): it comes again, so that no warm-up hides it",
			slow, len(loops), firstRatio, units.Duration(float64(loops[worst].FirstStepNs)), ratio(worst))
	}
}

// changing says of the loops whose steps change by drift.Said or more, by is how much, how the worst does.
func (f *finder) changing(word string, by func(*Drift) float64) {
	var worst *Drift
	n := 0
	for i := range f.r.Drifts {
		d := &f.r.Drifts[i]
		if by(d) < drift.Said {
			continue
		}
		n++
		if worst == nil || by(d) > by(worst) {
			worst = d
		}
	}
	if n == 0 {
		return
	}
	where := ""
	if all := len(f.r.Drifts); all > 1 {
		where = fmt.Sprintf(" in %d of %d loops, in the worst", n, all)
	}
	f.add(finding.StepDrift, analysis.Notice, f.r.Steps[worst.Last].Slice, 100*worst.Change,
		"denoise steps get %s%s: the last quarter of %d takes %s, the first %s (%+.0f%%)", word, where, worst.Steps,
		units.Duration(worst.TailNs), units.Duration(worst.HeadNs), 100*worst.Change)
}

func (f *finder) outside(seen *plausible.Trace) {
	var all int64 // as OutsideNs: durations, over all devices
	for _, i := range seen.Work {
		if seen.OnDevice(i) && !view.IsWrapper(seen.Trace.Slices.Cat[i], seen.Name(i)) {
			all += seen.Dur[i]
		}
	}
	if p := stat.Ratio(f.r.OutsideNs, all); p >= outsideMin {
		f.add(finding.WorkOutsideSteps, analysis.Info, -1, 100*p, "%s of the device work was launched outside of steps",
			units.Share(p))
	}
}
