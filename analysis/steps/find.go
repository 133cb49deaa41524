package steps

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/cause"
	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/analysis/label"
	"github.com/kinetoscope/kinetoscope/analysis/plausible"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/units"
)

// Options changes what Find does. The zero value is usable.
type Options struct {
	// Index is the place of the trace among those of its job, for the evidence of findings.
	Index    int
	NoLabels bool // look for repetition only
	NoPeriod bool // look for labels only
	// Seen is the result of plausible.Look for the trace, if the caller has it; else Find computes
	// it.
	Seen *plausible.Trace
	// Host is Subject.Host of the trace, if the caller has a subject; else Find finds it where the
	// verdict needs it.
	Host func() cause.Report
}

// Find finds the steps of one rank's trace. The trace is not changed, and equal
// traces give equal reports. A trace without steps gives a report with method "none".
func Find(t *trace.Trace, o Options) *Report {
	r := &Report{
		SchemaVersion: SchemaVersion, Rank: t.Meta.Rank, Method: ByNothing, How: "no steps were found",
		Steps: []Step{}, Kinds: []Stats{}, Drifts: []Drift{}, Graphs: []Graph{}, Requests: []Request{},
	}
	r.Verdict.Slice = -1
	seen := o.Seen
	if seen == nil {
		seen = plausible.Look(t)
	}
	d := newDevice(seen)
	if seen.Several() { // labels, launches and devices of several ranks make no step of any
		r.How, r.Verdict = "several ranks are in the trace and cannot be told apart", verdict(d, nil, nil)
		r.Findings = append([]analysis.Finding{}, seen.Findings(o.Index, "")...)
		return r
	}
	graphs := findGraphs(d)
	r.find(t, d, graphs, o)
	ids := r.readRequests(t)
	until(t, r.Steps, r.Method)
	r.OutsideNs, r.UnlinkedNs = d.assign(r.Steps)
	d.turns(r.Steps)
	r.typeByKernels(d)
	r.Kinds = stats(r.Steps)
	if o.Host == nil {
		o.Host = func() cause.Report { return cause.Of(seen) }
	}
	r.Verdict = verdict(d, r.Steps, o.Host)
	r.Drifts = drifts(r.Steps)
	r.Graphs, r.GraphShare = graphs.report(d, r.Steps)
	r.Requests = requests(r.Steps, ids)
	r.findings(seen, o.Index)
	return r
}

// find fills Steps by the first method that gives any.
func (r *Report) find(t *trace.Trace, d *device, graphs *graphs, o Options) {
	s := &t.Slices
	host := func(i int) bool {
		switch s.Cat[i] {
		case trace.CatUserAnnotation, trace.CatPythonFunction, trace.CatCPUOp:
			return t.Tracks[s.Track[i]].Kind != trace.TrackGPU
		}
		return false
	}
	var found []label.Step
	skipped, where := 0, ""
	if !o.NoLabels {
		found, skipped = label.Find(t, host)
	}
	if len(found) == 0 && !o.NoLabels {
		where = " on the device"
		found, _ = label.Find(t, func(i int) bool { return s.Cat[i] == trace.CatGPUUserAnnotation })
		found = label.OneTrack(t, found)
	}
	r.Skipped = skipped
	if len(found) > 0 && found[0].Method == ByOmniForward && !o.NoPeriod && r.inside(t, d, graphs, found) {
		return
	}
	if len(found) > 0 && where == "" && !o.NoPeriod && r.beside(t, d, graphs, found) {
		return
	}
	if len(found) > 0 {
		r.Method, r.Typed = found[0].Method, "label"
		r.How = r.Method.Words() + where
		r.Steps = make([]Step, len(found))
		for i, f := range found {
			r.Steps[i] = Step{
				Kind: f.Kind, Name: t.String(s.Name[f.Slice]), Slice: f.Slice, StartNs: f.Start, EndNs: f.End,
				Batch: f.Batch, Prefills: f.Prefills, Tokens: f.Tokens,
			}
		}
		if r.Method == ByProfilerStep {
			r.Typed = ""
			if trains(t) {
				r.Typed = "backward operators"
				for i := range r.Steps {
					r.Steps[i].Kind = Training
				}
			}
		}
		return
	}
	if !o.NoPeriod {
		r.byRepetition(t, d, graphs)
	}
	if len(r.Steps) == 0 && !o.NoLabels {
		r.byAnnotation(t)
	}
}

// annotationCover is the share of a trace's extent that an annotation must cover to
// be taken for its steps.
const annotationCover = 0.5

// byAnnotation takes for steps the user's annotation that recurs and covers most of one thread. It
// is the last resort, because nothing says that the annotation marks steps.
func (r *Report) byAnnotation(t *trace.Trace) {
	s := &t.Slices
	lo, hi, ok := t.Extent()
	if !ok || hi <= lo {
		return
	}
	type key struct {
		track trace.TrackID
		name  trace.StringID
	}
	type cover struct {
		ns, end int64
		slices  []int
	}
	by := map[key]*cover{}
	var best *cover
	var keys []key
	x := t.Index()
	for id := range t.Tracks {
		if t.Tracks[id].Kind == trace.TrackGPU {
			continue
		}
		for _, u := range x.Track(trace.TrackID(id)) {
			i := int(u)
			if s.Cat[i] != trace.CatUserAnnotation {
				continue
			}
			k := key{trace.TrackID(id), s.Name[i]}
			c := by[k]
			if c == nil {
				c = &cover{end: lo}
				by[k] = c
				keys = append(keys, k)
			}
			if s.Start[i] < c.end {
				continue // nested in itself
			}
			c.end = s.End(i)
			c.ns += s.Dur[i]
			c.slices = append(c.slices, i)
		}
	}
	for _, k := range keys {
		c := by[k]
		if len(c.slices) >= minRepeats && stat.Ratio(c.ns, hi-lo) >= annotationCover &&
			(best == nil || c.ns > best.ns) {
			best = c
		}
	}
	if best == nil {
		return
	}
	r.Method = ByAnnotation
	r.How = fmt.Sprintf("the annotation %s, which recurs %d times and covers %s of the trace",
		t.String(s.Name[best.slices[0]]), len(best.slices), units.Share(stat.Ratio(best.ns, hi-lo)))
	for _, i := range best.slices {
		r.Steps = append(r.Steps, Step{Name: t.String(s.Name[i]), Slice: i, StartNs: s.Start[i], EndNs: s.End(i)})
	}
}

// inside finds denoise steps by repetition if labels only mark whole generations, and reports
// whether most of the steps lie inside these.
func (r *Report) inside(t *trace.Trace, d *device, graphs *graphs, found []label.Step) bool {
	r.byRepetition(t, d, graphs)
	n := 0
	for i := range r.Steps {
		for _, f := range found {
			if r.Steps[i].StartNs >= f.Start && r.Steps[i].StartNs < f.End {
				r.Steps[i].Kind = Denoise
				n++
				break
			}
		}
	}
	if 2*n <= len(r.Steps) || n < minRepeats {
		r.Steps, r.Method = r.Steps[:0], ByNothing
		return false
	}
	r.Typed = "label"
	r.How += fmt.Sprintf(", inside %s labelled %s", units.Plural(len(found), "generation"),
		t.String(t.Slices.Name[found[0].Slice]))
	return true
}

// besideMax is the least part of the device's work whose launches must lie inside labels for the
// labels to be preferred to a repetition.
const besideMax = 0.1

// beside finds steps by repetition if next to no launches lie inside the labels, and reports
// whether it found any. Such labels may be cut by the window, or mark something other than the
// loop.
func (r *Report) beside(t *trace.Trace, d *device, graphs *graphs, found []label.Step) bool {
	var in, all int64
	for k, i := range d.work {
		all += d.v.Dur[i]
		if encloses(found, d.launchedAt(k)) {
			in += d.v.Dur[i]
		}
	}
	if all == 0 || stat.Ratio(in, all) >= besideMax {
		return false
	}
	r.byRepetition(t, d, graphs)
	if len(r.Steps) < minRepeats {
		r.Steps, r.Method = r.Steps[:0], ByNothing
		return false
	}
	part := "none"
	if in > 0 {
		part = "only " + units.Share(stat.Ratio(in, all))
	}
	r.How += fmt.Sprintf("; %s %s enclose %s of the device's work", counted(len(found), "label"),
		t.String(t.Slices.Name[found[0].Slice]), part)
	if len(found) == 1 {
		r.How = strings.Replace(r.How, " enclose ", " encloses ", 1)
	}
	return true
}

// encloses reports whether one of the labels, which are sorted by start, encloses the time at.
func encloses(found []label.Step, at int64) bool {
	n := sort.Search(len(found), func(i int) bool { return found[i].Start > at })
	for k := n - 1; k >= 0 && k >= n-4; k-- { // labels of several threads can overlap
		if at < found[k].End {
			return true
		}
	}
	return false
}

func counted(n int, word string) string {
	if n == 1 {
		return "the " + word
	}
	return fmt.Sprintf("%d %ss like", n, word)
}

// trains reports whether the trace contains a backward pass.
func trains(t *trace.Trace) bool {
	for id := range t.Strings.Len() {
		if n := t.String(trace.StringID(id)); strings.HasPrefix(n, "autograd::engine::evaluate_function") ||
			strings.HasPrefix(n, "Optimizer.step") {
			return true
		}
	}
	return false
}

// readRequests notes the requests that each labelled step names, and returns their ids.
func (r *Report) readRequests(t *trace.Trace) []string {
	var names []string
	ids := map[string]int32{}
	in := map[int32]int{} // by request: 1 + the last step that named it
	for i := range r.Steps {
		st := &r.Steps[i]
		if st.Slice < 0 || st.Name == "" {
			continue
		}
		if n, ok := t.ArgInt(st.Slice, trace.ArgBatch); ok && st.Batch == 0 {
			st.Batch = int(n)
		}
		if n, ok := t.ArgInt(st.Slice, trace.ArgTokens); ok && st.Tokens == 0 {
			st.Tokens = int(n)
		}
		for _, key := range []string{trace.ArgRequest, trace.ArgRequests} {
			text, _ := t.ArgText(st.Slice, key)
			for one := range strings.SplitSeq(text, ",") {
				if one = strings.TrimSpace(one); one == "" {
					continue
				}
				id, ok := ids[one]
				if !ok {
					id = int32(len(names))
					ids[one] = id
					names = append(names, one)
				}
				if in[id] != i+1 {
					in[id] = i + 1
					st.requests = append(st.requests, id)
				}
			}
		}
	}
	return names
}

// requests sums the steps of each request.
func requests(steps []Step, names []string) []Request {
	out := make([]Request, len(names))
	inside := make([]int64, len(names))
	kinds := make([][numKinds]KindShare, len(names))
	for i := range steps {
		st := &steps[i]
		ns := st.EndNs - st.StartNs
		for _, id := range st.requests {
			q := &out[id]
			if q.ID == "" {
				q.ID, q.FirstNs, q.FirstStepNs = names[id], st.StartNs, ns
			}
			q.LastNs = max(q.LastNs, st.EndNs)
			inside[id] += ns
			k := &kinds[id][st.Kind]
			k.Kind = st.Kind
			k.Steps++
			k.Ns += ns
			k.ShareNs += float64(ns) / float64(max(1, st.Batch, len(st.requests)))
		}
	}
	for id := range out {
		out[id].GapNs = max(0, out[id].LastNs-out[id].FirstNs-inside[id])
		for _, k := range kinds[id] {
			if k.Steps > 0 {
				out[id].Kinds = append(out[id].Kinds, k)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Request) int { return cmp.Compare(a.FirstNs, b.FirstNs) })
	return out
}

// Parts of kernel names that distinguish a pass over prompts from one over single tokens:
// FlashAttention's split-KV, vLLM's paged attention, FlashInfer, FlashMLA, Triton kernels of
// SGLang.
var (
	decodeHints = []string{"splitkv", "split_kv", "paged_attention", "BatchDecode", "decode_attention", "mla_decode",
		"decode_kernel", "_decode_"}
	prefillHints = []string{"BatchPrefill", "prefill_attention", "context_attention", "extend_attention", "_prefill_",
		"prefill_kernel"}
)

// typeByKernels sets the kind of steps without a typed label where the names of their kernels tell
// it.
func (r *Report) typeByKernels(d *device) {
	if r.Typed != "" || len(r.Steps) == 0 {
		return
	}
	const decode, prefill = 1, 2
	hint := map[trace.StringID]uint8{}
	has := make([]uint8, len(r.Steps))
	s := &d.t.Slices
	for k, i := range d.work {
		h, ok := hint[s.Name[i]]
		if !ok {
			name := d.t.String(s.Name[i])
			contains := func(p string) bool { return strings.Contains(name, p) }
			if slices.ContainsFunc(decodeHints, contains) {
				h |= decode
			}
			if slices.ContainsFunc(prefillHints, contains) {
				h |= prefill
			}
			hint[s.Name[i]] = h
		}
		if h == 0 {
			continue
		}
		if x := stepAt(r.Steps, d.launchedAt(k)); x >= 0 {
			has[x] |= h
		}
	}
	for x, h := range has {
		if h == 0 {
			continue
		}
		r.Typed = "kernel names"
		r.Steps[x].Kind = [...]Kind{decode: Decode, prefill: Prefill, decode | prefill: Mixed}[h]
	}
}
