package analysis

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/finding"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/units"
)

// noticeShare is the share of the span from which a finding is worth a sentence.
const noticeShare = 0.02

// healthyBusy is the share of the span from which a device is busy enough for a full queue to
// be no loss.
const healthyBusy = 0.85

// severityOf grades a loss of part of the span, which is a notice at least.
func severityOf(part float64) Severity { return max(Notice, finding.SeverityOf(part)) }

// findings turns the numbers of a report into sentences.
func findings(fs []*frame, r *Report) []Finding {
	var out []Finding
	for i, f := range fs {
		if f.seen != nil {
			out = append(out, f.seen.Findings(i, f.who())...)
		}
		out = append(out, f.rankFindings(i, &r.Ranks[i])...)
		out = append(out, f.memoryFinding(i, &r.Ranks[i])...)
		out = append(out, f.guessFinding(i, &r.Ranks[i])...)
	}
	if r.Stragglers != nil {
		out = append(out, StragglerFindings(r.Stragglers, r.Ranks, stragglerParts(fs))...)
	}
	metas := make([]*trace.Meta, len(fs))
	for i, f := range fs {
		metas[i] = &f.tr.Meta
	}
	tellApart(out, metas)
	slices.SortStableFunc(out, finding.Compare)
	return out
}

// tellApart names the traces in the findings as identity.Labels does where stage and rank alone would
// name several of them.
func tellApart(list []Finding, metas []*trace.Meta) {
	same := map[string]int{}
	files := make([]string, len(metas))
	for i, m := range metas {
		same[whose(m)]++
		files[i] = m.File
	}
	if len(same) == len(metas) {
		return
	}
	labels := identity.Labels(metas, files)
	for k := range list {
		f := &list[k]
		if f.Code == finding.NotCompared { // of several traces
			continue
		}
		who := whose(metas[f.Evidence.Rank])
		if rest, ok := strings.CutPrefix(f.Text, who); ok && same[who] > 1 {
			f.Text = identity.Spoken(labels[f.Evidence.Rank]) + ": " + rest
		}
	}
}

func (f *frame) rankFindings(at int, r *RankReport) []Finding {
	var out []Finding
	t := &r.Temporal
	if !t.HasDevice || f.several() {
		return nil
	}
	track := f.tr.Slices.Track[f.dev[0]]
	span := SpanEvidence(at, track, t.Window.StartNs, t.Window.EndNs)
	add := func(code finding.Code, part float64, text string, e Evidence) {
		if part >= noticeShare {
			out = append(out, Finding{Code: code, Severity: severityOf(part), Text: text, Number: 100 * part, Unit: "%",
				Evidence: e})
		}
	}
	out = append(out, f.idleFinding(at, r, span)...)
	comm := share(t.ExposedCommunicationNs, t.SpanNs)
	if c := worstKernel(r, KindCommunication); c >= 0 {
		add(finding.ExposedComm, comm,
			fmt.Sprintf(
				"%scommunication without compute behind it took %s of the span; %s of all communication was hidden",
				f.who(), units.Share(comm), units.Share(r.Overlap.Share)), SliceEvidence(f.tr, at, c))
	}
	if c := worstKernel(r, KindMemory); c >= 0 {
		mem := share(t.ExposedMemoryNs, t.SpanNs)
		add(finding.ExposedCopies, mem,
			fmt.Sprintf("%scopies and fills without compute behind them took %s of the span", f.who(),
				units.Share(mem)), SliceEvidence(f.tr, at, c))
	}
	if n := r.Launches.Count; n > 0 {
		if part := float64(r.Launches.Short) / float64(n); part >= 0.5 && r.Launches.GraphLaunches == 0 {
			out = append(out, Finding{Code: finding.ShortKernels, Severity: Notice, Number: 100 * part, Unit: "%",
				Evidence: span,
				Text:     fmt.Sprintf("%s%s of %d launched kernels ran shorter than their launch call; graphs or fusion would pay", f.who(), units.Share(part), n)})
		}
	}
	for _, q := range r.Queue.Streams {
		if q.BlockedShare >= noticeShare {
			sev, why := severityOf(q.BlockedShare), "launch calls blocked"
			if share(t.BusyNs, t.SpanNs) >= healthyBusy {
				sev, why = Info, "launch calls wait for a busy device, as they should"
			}
			out = append(out, Finding{Code: finding.QueueFull, Severity: sev, Number: 100 * q.BlockedShare, Unit: "%",
				Text: fmt.Sprintf("%sstream %d's queue was full for %s of the time; %s", f.who(), q.Lane.Stream,
					units.Share(q.BlockedShare), why),
				Evidence: SliceEvidence(f.tr, at, q.MaxAt)})
		}
	}
	return out
}

// smallSpan is the part of the window that the device's first to last work must span at
// least for its idle time to be told of that span; below, it is told of the window.
const smallSpan = 0.5

// idleFinding says how much of the time the devices stood still and what most of the waiting
// was for. The time is the span of device work, or the window if that is much longer.
func (f *frame) idleFinding(at int, r *RankReport, e Evidence) []Finding {
	t := &r.Temporal
	busy, whole, unknown, of := t.BusyNs, t.SpanNs, t.UnknownNs, "the span of "+units.Duration(float64(t.SpanNs))
	if share(t.SpanNs, t.WindowNs) < smallSpan {
		whole, unknown = t.WindowNs, t.UnknownWindowNs
		of = fmt.Sprintf("the window of %s (work from first to last: %s)", units.Duration(float64(whole)),
			units.Duration(float64(t.SpanNs)))
	}
	if 2*unknown > whole-busy {
		return nil // it is said already that the work of launches is missing
	}
	n := int64(len(t.Devices))
	var most *DeviceTime
	if n > 1 {
		busy = 0
		for k := range t.Devices {
			d := &t.Devices[k]
			if busy += d.BusyNs; most == nil || d.BusyNs > most.BusyNs {
				most = d
			}
		}
		whole *= n
	}
	idle := share(whole-busy-unknown*n, whole)
	if idle < noticeShare {
		return nil
	}
	idleNs := (whole - busy) / max(1, n)
	sev := severityOf(idle)
	code, text := finding.DeviceIdle, fmt.Sprintf("%sthe device was idle for %s of %s", f.who(), units.Share(idle), of)
	if n > 1 {
		code, text = finding.DevicesIdle, fmt.Sprintf("%s%d devices, on average %s busy in %s, %s", f.who(), n,
			units.Share(1-idle), of, together(t))
		if part := share(most.BusyNs, whole/n); part >= healthyBusy && 1-idle < healthyBusy {
			sev = Notice // the others have less to do
			text += fmt.Sprintf("; device %d is busy %s", most.Device, units.Share(part))
		}
	}
	if c := r.Host.Main(); c != nil && 2*r.Host.WaitNs >= idleNs {
		text += fmt.Sprintf("; for %s of it the host was in %s", units.Duration(float64(c.Ns)), c.Text())
		e = SliceEvidence(f.tr, at, c.Slice)
	} else if g, cause := f.mainCause(r); g != nil && n < 2 {
		text += "; most of the busiest stream's waiting was " + cause
		e = SpanEvidence(at, g.Lane.Track, g.StartNs, g.EndNs)
	}
	return []Finding{{Code: code, Severity: sev, Text: text, Number: 100 * idle, Unit: "%", Evidence: e}}
}

// together says how much of the time several devices worked at once.
func together(t *Temporal) string {
	part := share(t.TogetherNs, t.BusyNs)
	if part < 0.005 {
		return "never two at once"
	}
	return fmt.Sprintf("two or more at once for %s of the time in which any was", units.Share(part))
}

// fullMemory is the share of a card's memory from which the next allocation may fail.
const fullMemory = 0.9

// memoryFinding says how near a rank came to the end of its card's memory.
func (f *frame) memoryFinding(at int, r *RankReport) []Finding {
	var out []Finding
	for _, d := range r.Memory.Devices {
		for _, card := range f.tr.Meta.Devices {
			held := max(d.PeakBytes, d.PeakReserved)
			if d.DeviceType == 0 || int64(card.ID) != d.DeviceID || card.TotalMemory <= 0 {
				continue
			}
			part := share(held, card.TotalMemory)
			if part < fullMemory {
				continue
			}
			text := fmt.Sprintf("%sdevice %d held %s of %s at its peak", f.who(), d.DeviceID, units.Bytes(held),
				units.Bytes(card.TotalMemory))
			if len(d.ByOp) > 0 && d.ByOp[0].AtPeakBytes > 0 {
				text += fmt.Sprintf(", most of what was allocated here by %s", d.ByOp[0].Name)
			}
			out = append(out, Finding{Code: finding.MemoryFull, Severity: Warning, Text: text, Number: 100 * part,
				Unit:     "%",
				Evidence: SpanEvidence(at, 0, d.PeakTimeNs, d.PeakTimeNs)})
		}
	}
	return out
}

// who names the rank in a sentence if the trace knows it.
func (f *frame) who() string { return whose(&f.tr.Meta) }

func whose(m *trace.Meta) string {
	s := ""
	if m.Stage != "" {
		s = m.Stage + " "
	}
	if m.Rank >= 0 {
		s += fmt.Sprintf("rank %d ", m.Rank)
	}
	if s == "" {
		return ""
	}
	return s[:len(s)-1] + ": "
}

// mainCause returns the longest gap of the main cause on the stream with the most work, and how it is said.
func (f *frame) mainCause(r *RankReport) (*Gap, string) {
	var busiest *StreamIdle
	var most int64 = -1
	busy := make([]int64, len(f.lanes))
	for _, d := range f.dev {
		busy[f.laneOf[d]] += f.dur[d]
	}
	at := make(map[Lane]int, len(f.lanes))
	for l, lane := range f.lanes {
		at[lane] = l
	}
	for k := range r.Idle.Streams {
		if l, ok := at[r.Idle.Streams[k].Lane]; ok && busy[l] > most {
			busiest, most = &r.Idle.Streams[k], busy[l]
		}
	}
	if busiest == nil {
		return nil, ""
	}
	main := HostWait
	for c := range busiest.Causes {
		if busiest.Causes[c].Ns > busiest.Causes[main].Ns {
			main = IdleCause(c)
		}
	}
	said := [numIdleCauses]string{"for the host to launch", "for kernels to start one after the other",
		"for something other than the host: another stream or a synchronisation",
		"before work whose launch was not recorded"}
	for k := range r.Idle.Longest {
		if g := &r.Idle.Longest[k]; g.Cause == main && g.Lane == busiest.Lane {
			return g, said[main]
		}
	}
	return nil, ""
}

func worstKernel(r *RankReport, k Kind) int {
	for _, row := range r.Kernels.Kernels {
		if row.Kind == k {
			return row.Worst
		}
	}
	return -1
}
