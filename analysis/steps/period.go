package steps

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/kinetoscope/kinetoscope/internal/lists"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/ids"
	"github.com/kinetoscope/kinetoscope/units"
)

// Limits of the search for repetition.
const (
	minRepeats    = 3    // fewer is no pattern
	maxCandidates = 64   // periods that are tried, each in one pass over the sequence
	growKinds     = 1.25 // more kinds of tokens that a longer period must explain to be the step
	coverSlack    = 0.05 // coverage that it may lose for it
	lengthSlack   = 0.25 // of the period by which a step's length may differ
	pauseLonger   = 1.05 // times as long as another pause before a step's begin that a pause must be to be preferred
	minCover      = 0.5  // of the sequence's time, or of its tokens, in steps that are alike
	// What repeats behind a start that repeats nothing must do so without a break, and oftener, or the
	// layers of one pass would be steps.
	minCoverLater   = 0.9
	minRepeatsLater = 6
)

// token is one thing that happened, in order.
type token struct {
	id     int32 // what
	start  int64
	end    int64
	slice  int32
	gap    int64 // since the end of the token before
	replay bool  // it replays a graph: one token can then be a whole step
}

// byRepetition finds steps as the period of a sequence: of launches with the work that they
// launched; of device work if launches are missing; of operators if there is not a device.
func (r *Report) byRepetition(t *trace.Trace, d *device, g *graphs) {
	tokens, what, method := launchTokens(d, g)
	if len(d.calls)*2 < len(d.work) && !slices.ContainsFunc(g.of, func(x int32) bool { return x >= 0 }) {
		tokens, what, method = workTokens(d), "kernels in the order of their streams", ByKernels
	}
	if len(d.work) == 0 {
		tokens, what, method = opTokens(t), "operators of the busiest thread", ByOperators
	}
	p, cuts := findPeriod(tokens, minCover, minRepeats)
	start := 0 // tokens before what repeats
	if p == 0 {
		if start = startOf(tokens); start == 0 {
			return
		}
		if p, cuts = findPeriod(tokens[start:], minCoverLater, minRepeatsLater); p == 0 {
			return
		}
		for i := range cuts {
			cuts[i] += start
		}
		start = cuts[0]
	}
	if len(d.work) > 0 {
		p, cuts = ofLayers(tokens, p, cuts, d.seen)
	}
	r.Method = method
	name := t.String(t.Slices.Name[tokens[cuts[0]].slice])
	if p > 1 {
		r.How = fmt.Sprintf("a repeating sequence of %d %s, each beginning with %s", p, what, name)
	} else {
		r.How = "the repetition of " + name
	}
	if n := firstWork(d, tokens[cuts[0]].slice); n != "" {
		r.How += " of " + n
	}
	if start > 0 {
		r.How += fmt.Sprintf("; the %d %s before it, over %s, repeat no such sequence", start, what,
			units.Duration(float64(tokens[start].start-tokens[0].start)))
	}
	r.Steps = cutSteps(tokens, cuts, p)
}

// firstWork names what the launch call l launched first; "" if l is no launch.
func firstWork(d *device, l int32) string {
	for i := range d.calls {
		if d.calls[i].slice == l {
			return d.t.String(d.t.Slices.Name[d.work[d.calls[i].work[0]]])
		}
	}
	return ""
}

// launchTokens are the launch calls, told apart by what they launched.
func launchTokens(d *device, g *graphs) ([]token, string, Method) {
	work := placed{d: d}
	out := make([]token, len(d.calls))
	for i := range d.calls {
		c := &d.calls[i]
		x := token{id: work.of(d.work[c.work[0]]), start: d.v.Start[c.slice], end: d.v.End(c.slice), slice: c.slice}
		if k := g.of[i]; k >= 0 {
			x.id, x.replay = -1-k, true
		}
		out[i] = x
	}
	return withGaps(out), "launches", ByKernels
}

// placed identifies device work by name and device, because several devices that do the same in
// turn are not a repetition.
type placed struct {
	d    *device
	kept ids.List[placedKey]
}

type placedKey struct {
	name   trace.StringID
	device int64
}

func (p *placed) of(i int32) int32 {
	key := placedKey{name: p.d.t.Slices.Name[i]}
	if len(p.d.units) > 1 {
		key.device = p.d.v.Lanes[p.d.v.LaneOf[i]].Device
	}
	id, _ := p.kept.Number(key, ids.Mix(ids.Mix(0, int64(key.name)), key.device))
	return int32(id)
}

func workTokens(d *device) []token {
	work := placed{d: d}
	out := make([]token, len(d.work))
	for k, i := range d.work {
		out[k] = token{id: work.of(i), start: d.v.Start[i], end: d.v.End(i), slice: i}
	}
	return withGaps(out)
}

// opTokens returns the outermost operators of the thread with most of them.
func opTokens(t *trace.Trace) []token {
	s := &t.Slices
	var best []token
	x := t.Index()
	for id := range t.Tracks {
		if t.Tracks[id].Kind == trace.TrackGPU {
			continue
		}
		var l []token
		end := int64(-1 << 63)
		for _, u := range x.Track(trace.TrackID(id)) {
			i := int(u)
			if s.Cat[i] != trace.CatCPUOp || s.Start[i] < end {
				continue
			}
			end = s.End(i)
			l = append(l, token{id: int32(s.Name[i]), start: s.Start[i], end: end, slice: int32(i)})
		}
		if len(l) > len(best) {
			best = l
		}
	}
	return withGaps(best)
}

func withGaps(l []token) []token {
	for i := range l {
		if i > 0 {
			l[i].gap = max(0, l[i].start-l[i-1].end)
		}
	}
	return l
}

// places are where a kind of token occurs.
type places struct {
	id     int32
	at     []int32
	median int32 // distance between neighbours
	steady bool  // most distances are near the median
}

// findPeriod returns the period of a sequence and where each repetition begins; 0 if it does not
// repeat.
//
// Candidates are the distances at which kinds of tokens recur. The layers of a model repeat as
// well. A period of a whole step also explains the kinds of tokens that occur only once in a step,
// so a longer period wins if it explains markedly more kinds and covers about as much time. A
// period of two steps explains no more kinds.
//
// Of the sequence's time or tokens at least cover must be in steps that are alike, and of these there
// must be as many as repeats.
func findPeriod(l []token, cover float64, repeats int) (int, []int) {
	kinds := recurring(l)
	periods := candidates(kinds)
	var (
		best  fit
		count = make([]int32, len(kinds))
	)
	of := kindOf(l, kinds)
	for _, q := range periods {
		f := fitPeriod(l, of, kinds, int(q), count)
		if f.cover < cover || f.steps < repeats || f.period == 1 && !l[f.cuts[0]].replay {
			continue
		}
		// What stands before the first cut and behind the last step is of steps of this length as well.
		short := openEnds * float64(f.period) / float64(len(l))
		if best.period == 0 || f.cover > best.cover+coverSlack ||
			float64(f.kinds) >= growKinds*float64(best.kinds) && f.cover >= best.cover-coverSlack-short {
			best = f
		}
	}
	return best.period, best.cuts
}

// candidates are the distances at which kinds of tokens recur, sorted: those of most kinds.
func candidates(kinds []places) []int32 {
	votes := map[int32]int{}
	for _, k := range kinds {
		if k.steady {
			votes[k.median]++
		}
	}
	periods := make([]int32, 0, len(votes))
	for p := range votes {
		periods = append(periods, p)
	}
	slices.SortFunc(periods, func(a, b int32) int { return cmp.Or(cmp.Compare(votes[b], votes[a]), cmp.Compare(a, b)) })
	if len(periods) > maxCandidates {
		periods = periods[:maxCandidates]
	}
	slices.Sort(periods)
	return periods
}

// startOf returns how many tokens stand before a sequence that repeats to the end of l: the work of a
// compiler, a loader or a warm-up. It is 0 if there is none.
func startOf(l []token) int {
	kinds := recurring(l)
	best := 0
	for _, q := range candidates(kinds) {
		cuts := cutAt(l, kinds, int(q))
		type part struct{ from, to int }
		var alike []part
		for from, to := range repetitions(l, cuts, int(q)) {
			alike = append(alike, part{from, to})
		}
		tokens, steps := 0, 0
		for i := len(alike) - 1; i >= 0; i-- {
			x := alike[i]
			tokens, steps = tokens+x.to-x.from, steps+1
			if steps >= minRepeatsLater && float64(tokens) >= minCoverLater*float64(len(l)-x.from) &&
				(best == 0 || x.from < best) {
				best = x.from
			}
		}
	}
	return best
}

// kindOf returns for each token its place in kinds, -1 if it does not recur.
func kindOf(l []token, kinds []places) []int32 {
	of := make([]int32, len(l))
	for i := range of {
		of[i] = -1
	}
	for k := range kinds {
		for _, at := range kinds[k].at {
			of[at] = int32(k)
		}
	}
	return of
}

// fit is how well a period describes a sequence.
type fit struct {
	period int
	cuts   []int   // where repetitions begin
	steps  int     // repetitions that are alike
	cover  float64 // of the sequence's time
	kinds  int     // that occur in at least half of them
}

// fitPeriod cuts l into repetitions of period p. of comes from kindOf; count is scratch space, one
// element for each kind.
func fitPeriod(l []token, of []int32, kinds []places, p int, count []int32) fit {
	f := fit{period: p, cuts: cutAt(l, kinds, p)}
	if len(f.cuts) == 0 {
		return f
	}
	clear(count)
	var in int64
	tokens := 0
	for c, end := range repetitions(l, f.cuts, p) {
		f.steps++
		tokens += end - c
		until := l[end-1].end
		if end < len(l) {
			until = l[end].start
		}
		in += max(0, until-l[c].start)
		for k := c; k < end; k++ {
			if of[k] >= 0 {
				count[of[k]]++
			}
		}
	}
	if all := l[len(l)-1].end - l[0].start; all > 0 {
		f.cover = float64(in) / float64(all)
	}
	// One long start, of a compiler or a loader, may take most of the time but few of the tokens.
	f.cover = max(f.cover, float64(tokens)/float64(len(l)))
	for _, n := range count {
		if n > 0 && 2*int(n) >= f.steps {
			f.kinds++
		}
	}
	return f
}

// repetitions yields where each repetition of period p that counts begins and ends: it has about p
// tokens, and at least half of them stand at the same places as in the repetition before or after.
func repetitions(l []token, cuts []int, p int) iter.Seq2[int, int] {
	ends := func(i int) int {
		if i+1 < len(cuts) {
			return cuts[i+1]
		}
		return min(len(l), cuts[i]+p)
	}
	alike := func(i, j int) bool {
		if i < 0 || j >= len(cuts) {
			return false
		}
		a, b := l[cuts[i]:ends(i)], l[cuts[j]:ends(j)]
		n := 0
		for k := range min(len(a), len(b)) {
			if a[k].id == b[k].id {
				n++
			}
		}
		return 2*n >= min(len(a), len(b))
	}
	return func(yield func(int, int) bool) {
		for i, c := range cuts {
			end := ends(i)
			if steadyLength(end-c, p) && (alike(i-1, i) || alike(i, i+1)) && !yield(c, end) {
				return
			}
		}
	}
}

// recurring lists the kinds of tokens that occur minRepeats times or more.
func recurring(l []token) []places {
	var kinds ids.List[int32]
	of, count := make([]uint32, len(l)), []int(nil)
	for i := range l {
		k, added := kinds.Number(l[i].id, ids.Mix(0, int64(l[i].id)))
		if added {
			count = append(lists.Doubled(count), 0)
		}
		count[k]++
		of[i] = k
	}
	var out []places
	nth := make([]int32, len(count)) // 1 + where the places of a kind lie in out; 0: it is not in out
	for k, id := range kinds.Keys() {
		if count[k] >= minRepeats {
			out = append(out, places{id: id, at: make([]int32, 0, count[k])})
			nth[k] = int32(len(out))
		}
	}
	for i, k := range of {
		if n := nth[k]; n > 0 {
			out[n-1].at = append(out[n-1].at, int32(i))
		}
	}
	for n := range out {
		k := &out[n]
		gaps := make([]int32, len(k.at)-1)
		for i := range gaps {
			gaps[i] = k.at[i+1] - k.at[i]
		}
		slices.Sort(gaps)
		k.median = gaps[len(gaps)/2]
		near := 0
		for _, g := range gaps {
			if d := g - k.median; max(d, -d)*10 <= k.median {
				near++
			}
		}
		k.steady = near*10 >= len(gaps)*6
	}
	return out
}

// cutAt chooses where a step begins: at the kind of token that occurs once in a period and has the
// longest pause of the host before it.
func cutAt(l []token, kinds []places, p int) []int {
	var best *places
	var pause int64 = -1
	for i := range kinds {
		k := &kinds[i]
		if !k.steady || int(k.median) != p {
			continue
		}
		gaps := make([]int64, len(k.at))
		for j, at := range k.at {
			gaps[j] = l[at].gap
		}
		slices.Sort(gaps)
		// Of pauses that are as long the first in the trace: so the first iteration is a whole step.
		if g := gaps[len(gaps)/2]; float64(g) > pauseLonger*float64(pause) {
			best, pause = k, g
		}
	}
	if best == nil {
		return nil
	}
	cuts := make([]int, len(best.at))
	for i, at := range best.at {
		cuts[i] = int(at)
	}
	return cuts
}

func steadyLength(n, p int) bool {
	d := float64(n - p)
	return d <= lengthSlack*float64(p) && -d <= lengthSlack*float64(p)
}

// cutSteps makes the steps. A step ends on the host where its last token does; until decides how
// long its turn lasts.
func cutSteps(l []token, cuts []int, p int) []Step {
	out := make([]Step, 0, len(cuts))
	for i, c := range cuts {
		last := len(l)
		if i+1 < len(cuts) {
			last = cuts[i+1]
		} else if last-c > p+int(lengthSlack*float64(p)) {
			last = c + p // tokens after the last step belong to no step
		} else if last-c < p-int(lengthSlack*float64(p)) {
			break // cut off by the end of the trace
		}
		st := Step{Slice: int(l[c].slice), StartNs: l[c].start, EndNs: l[c].end}
		for k := c; k < last; k++ {
			st.EndNs = max(st.EndNs, l[k].end)
		}
		if i+1 < len(cuts) {
			st.EndNs = min(st.EndNs, l[last].start)
		}
		out = append(out, st)
	}
	return out
}
