package analysis

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/internal/enum"
	"github.com/kinetoscope/kinetoscope/analysis/internal/stat"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Change is how often something happens in B compared with A.
type Change uint8

// The changes.
const (
	Unchanged Change = iota
	Added            // only in B
	Removed          // only in A
	Increased        // more often in B
	Decreased        // less often in B
	numChanges
)

var changeNames = enum.Of[Change]("change", "unchanged", "added", "removed", "increased", "decreased")

// String returns the change's name.
func (c Change) String() string { return changeNames.Text(c) }

// MarshalText writes the change's name.
func (c Change) MarshalText() ([]byte, error) { return changeNames.Marshal(c) }

// UnmarshalText reads what MarshalText wrote.
func (c *Change) UnmarshalText(text []byte) error { return changeNames.Unmarshal(c, text) }

// TraceDiff compares two traces by name.
type TraceDiff struct {
	Rows []DiffRow `json:"rows"` // largest change of time first, equal ones as the traces have them
	// StepsA and StepsB are the number of steps compared; the figures of a row are sums
	// over them.
	StepsA int   `json:"steps_a"`
	StepsB int   `json:"steps_b"`
	Test   Basis `json:"test"` // what the significance of the rows rests on
}

// DiffRow is one name in both traces.
type DiffRow struct {
	Name   string   `json:"name"`
	Device bool     `json:"device"` // device work, else host operators, annotations and calls
	A      DiffSide `json:"a"`
	B      DiffSide `json:"b"`
	Change Change   `json:"change"` // of the count in a step
	// DeltaNs is the change of the time in a mean step, B less A; Ratio is B over A, 0
	// if A has none.
	DeltaNs float64 `json:"delta_ns"`
	Ratio   float64 `json:"ratio"`
	// P is the probability of a difference as large if nothing had changed, Q the same
	// after correcting for the number of rows; 1 where nothing can be said.
	P           float64 `json:"p"`
	Q           float64 `json:"q"`
	Significant bool    `json:"significant"` // Q below SignificanceLevel
}

// DiffSide is one name in one trace.
type DiffSide struct {
	Count  int     `json:"count"`
	Ns     int64   `json:"ns"`      // summed durations, nested ones included
	StepNs float64 `json:"step_ns"` // Ns in a mean step
	Worst  int     `json:"worst"`   // longest slice; NoSlice if there is none
	worst  int64
}

// Basis is what a significance test compared.
type Basis uint8

// The bases.
const (
	NoTest Basis = iota // too few observations: differences may be chance
	BySteps
	ByCalls
)

var basisNames = enum.Of[Basis]("basis", "none", "steps", "calls")

// String returns the basis' name.
func (b Basis) String() string { return basisNames.Text(b) }

// MarshalText writes the basis' name.
func (b Basis) MarshalText() ([]byte, error) { return basisNames.Marshal(b) }

// UnmarshalText reads what MarshalText wrote.
func (b *Basis) UnmarshalText(text []byte) error { return basisNames.Unmarshal(b, text) }

// SignificanceLevel is the share of false alarms accepted among the rows called
// significant.
const SignificanceLevel = 0.05

// minSteps is the fewest steps on each side for a test by steps: with four and four
// the smallest possible P is 0.029, with three and three 0.1.
const minSteps = 4

// DiffOptions choose what is compared.
type DiffOptions struct {
	// StepsA and StepsB are the steps of the traces, for instance as analysis/pipeline
	// finds them. Nil means the host's ProfilerStep slices; if there are none, the whole
	// trace is one step.
	StepsA, StepsB []Window
	ShortNames     bool // join names that differ in template arguments and parameters only
	HostOnly       bool
	DeviceOnly     bool
	// HTAFirst compares the first iteration only, HTA's default. Only with Options.HTA.
	HTAFirst bool
}

// Diff compares trace b with trace a. Rows with at least minSteps steps on both sides
// are tested by the Mann-Whitney U test on the time in each step. It assumes that steps
// are independent and alike within a trace (no warm-up among them) and says nothing
// about their distribution. With fewer steps it falls back on the durations of single
// calls, which are less independent: neighbours share caches and clocks, so P is then
// too small rather than too large.
func Diff(a, b *trace.Trace, opt Options, do DiffOptions) TraceDiff {
	return DiffOf(NewSubject(a), NewSubject(b), opt, do)
}

// DiffOf is Diff of traces that other questions were asked of.
func DiffOf(a, b *Subject, opt Options, do DiffOptions) TraceDiff {
	fa, fb := a.View(opt).f, b.View(opt).f
	d := &differ{opt: do, rows: map[diffKey]*diffRow{}, short: map[string]string{}}
	d.side(0, fa, do.StepsA)
	d.side(1, fb, do.StepsB)
	return d.finish()
}

type diffKey struct {
	name   string
	device bool
}

type diffRow struct {
	DiffRow
	perStep [2][]float64 // nil where there are too few steps for a test by them
	calls   [2][]float64
	few     [2][minSteps]float64 // where calls begin: most names of many occur a few times
}

type differ struct {
	opt   DiffOptions
	rows  map[diffKey]*diffRow
	list  []*diffRow // the same, in the order in which the names come
	block []diffRow  // of which the next rows are taken
	short map[string]string
	steps [2]int
}

// side adds one trace's slices.
func (d *differ) side(which int, f *frame, steps []Window) {
	s := &f.tr.Slices
	stepOf := d.stepFinder(which, f, steps)
	of := make([][2]*diffRow, f.tr.Strings.Len()) // by name: on the host, on the device
	for i := range int32(s.Len()) {
		if !f.counts(i) {
			continue
		}
		device, ok := d.wants(f, i)
		if !ok {
			continue
		}
		step := stepOf(i)
		if step < 0 {
			continue
		}
		at := &of[s.Name[i]][stat.One(device && !f.rules.NamesWithoutSide)]
		if *at == nil {
			*at = d.row(f, i, device)
		}
		r := *at
		side := &r.A
		if which == 1 {
			side = &r.B
		}
		side.Count++
		side.Ns += f.dur[i]
		if f.dur[i] > side.worst {
			side.worst, side.Worst = f.dur[i], int(i)
		}
		if d.steps[which] >= minSteps {
			if r.perStep[which] == nil {
				r.perStep[which] = make([]float64, d.steps[which])
			}
			r.perStep[which][step] += float64(f.dur[i])
		}
		if r.calls[which] == nil {
			r.calls[which] = r.few[which][:0]
		}
		if len(r.calls[which]) < maxCalls {
			r.calls[which] = append(r.calls[which], float64(f.dur[i]))
		}
	}
}

// row is the row of slice i.
func (d *differ) row(f *frame, i int32, device bool) *diffRow {
	name := d.name(f.name(i), f.rules.NamesWithoutSide)
	k := diffKey{name, device && !f.rules.NamesWithoutSide}
	r := d.rows[k]
	if r == nil {
		if len(d.block) == 0 {
			d.block = make([]diffRow, min(4096, 64+len(d.rows)))
		}
		r, d.block = &d.block[0], d.block[1:]
		*r = diffRow{DiffRow: DiffRow{Name: name, Device: device, P: 1, Q: 1}}
		r.A.Worst, r.B.Worst, r.A.worst, r.B.worst = NoSlice, NoSlice, -1, -1
		d.rows[k] = r
		d.list = append(d.list, r)
	}
	return r
}

// maxCalls bounds the durations kept of one name for the test by calls; more do not
// change its verdict.
const maxCalls = 2000

func (d *differ) wants(f *frame, i int32) (device, ok bool) {
	c := f.tr.Slices.Cat[i]
	device = f.laneOf[i] >= 0
	if f.rules.AnyRowIsOperator {
		ok = true
	} else {
		ok = device || isHostOp(c) || isRuntime(c)
	}
	return device, ok && !(device && d.opt.HostOnly) && !(!device && d.opt.DeviceOnly)
}

// stepFinder returns the look-up from slice to step: by its start on the host, by its
// launch's start on the device.
func (d *differ) stepFinder(which int, f *frame, steps []Window) func(int32) int {
	if f.rows != nil {
		return d.htaSteps(which, f)
	}
	if steps == nil {
		steps = profilerSteps(f)
	}
	if len(steps) == 0 {
		d.steps[which] = 1
		return func(int32) int { return 0 }
	}
	d.steps[which] = len(steps)
	return func(i int32) int {
		if f.laneOf[i] >= 0 && f.partner[i] >= 0 {
			i = f.partner[i]
		}
		t := f.start[i]
		k, _ := slices.BinarySearchFunc(steps, t, func(w Window, t int64) int {
			if w.EndNs <= t {
				return -1
			}
			return 1
		})
		if k < len(steps) && steps[k].StartNs <= t {
			return k
		}
		return -1
	}
}

func (d *differ) htaSteps(which int, f *frame) func(int32) int {
	d.steps[which] = 1
	var have []int32
	for i, k := range f.rows.Step {
		if k >= 0 && f.keep[i] && !slices.Contains(have, k) {
			have = append(have, k)
		}
	}
	if len(have) == 0 {
		return func(int32) int { return 0 }
	}
	first := slices.Min(have)
	return func(i int32) int {
		if k := f.rows.Step[i]; k < 0 || d.opt.HTAFirst && k != first {
			return -1
		}
		return 0
	}
}

// profilerSteps returns the spans of the host's ProfilerStep slices by start.
func profilerSteps(f *frame) []Window {
	s := &f.tr.Slices
	is := f.nameTable(trace.IsProfilerStep)
	var w []Window
	for i := range int32(s.Len()) {
		if is[s.Name[i]] && f.counts(i) && f.laneOf[i] < 0 && s.Cat[i] != trace.CatGPUUserAnnotation {
			w = append(w, Window{f.start[i], f.end(i)})
		}
	}
	slices.SortFunc(w, func(a, b Window) int { return cmp.Compare(a.StartNs, b.StartNs) })
	return w
}

// name makes names comparable: a step's number and a function's address differ between
// any two traces.
func (d *differ) name(n string, hta bool) string {
	if hta {
		return n
	}
	n = trace.CommonName(n)
	if d.opt.ShortNames {
		n = ShortName(n)
	}
	return n
}

// ShortName takes template arguments, parameters and the return type off a C++ name:
// "void at::native::k<4, T<int> >(int, float)" becomes "at::native::k". Names that are
// no C++ functions stay as they are.
func ShortName(n string) string {
	if !strings.ContainsAny(n, "<(") || strings.HasPrefix(n, "Memcpy") || strings.HasPrefix(n, "Memset") {
		return n
	}
	n = strings.ReplaceAll(n, "(anonymous namespace)::", "")
	n = strings.ReplaceAll(n, "operator<", "operator ")
	var b strings.Builder
	depth := 0
	for _, r := range strings.ReplaceAll(n, "->", "") {
		switch r {
		case '<', '(', '[', '{':
			depth++
		case '>', ')', ']', '}':
			depth = max(0, depth-1)
		default:
			if depth == 0 {
				b.WriteRune(r)
			}
		}
	}
	s := strings.TrimSpace(b.String())
	s = strings.TrimPrefix(s, "void ")
	if s == "" {
		return n
	}
	return s
}

func (d *differ) finish() TraceDiff {
	out := TraceDiff{StepsA: d.steps[0], StepsB: d.steps[1]}
	out.Test = ByCalls
	if d.steps[0] >= minSteps && d.steps[1] >= minSteps {
		out.Test = BySteps
	}
	rows := d.list
	for _, r := range rows {
		d.compare(r, out.Test)
	}
	sortDesc(rows, func(r **diffRow) float64 { return math.Abs((*r).DeltaNs) })
	p := make([]float64, len(rows))
	for i, r := range rows {
		p[i] = r.P
	}
	out.Rows = make([]DiffRow, len(rows))
	for i, q := range benjaminiHochberg(p) {
		rows[i].Q, rows[i].Significant = q, q < SignificanceLevel
		out.Rows[i] = rows[i].DiffRow
	}
	return out
}

func (d *differ) compare(r *diffRow, basis Basis) {
	na, nb := float64(max(1, d.steps[0])), float64(max(1, d.steps[1]))
	r.A.StepNs, r.B.StepNs = float64(r.A.Ns)/na, float64(r.B.Ns)/nb
	r.DeltaNs, r.Ratio = r.B.StepNs-r.A.StepNs, share(r.B.StepNs, r.A.StepNs)
	ca, cb := float64(r.A.Count)/na, float64(r.B.Count)/nb
	switch {
	case r.A.Count == 0:
		r.Change = Added
	case r.B.Count == 0:
		r.Change = Removed
	case cb > ca:
		r.Change = Increased
	case cb < ca:
		r.Change = Decreased
	}
	if basis == BySteps {
		for k, n := range d.steps {
			if r.perStep[k] == nil {
				r.perStep[k] = make([]float64, n)
			}
		}
		r.P = mannWhitney(r.perStep[0], r.perStep[1])
	} else if len(r.calls[0]) >= minSteps && len(r.calls[1]) >= minSteps {
		r.P = mannWhitney(r.calls[0], r.calls[1])
	}
}
