package analysis

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// MinSequence is the fewest device slices that make a sequence, HTA's default.
const MinSequence = 3

// Sequence is a series of kernels that an operator launches again and again: what one
// fused kernel or one graph could replace.
type Sequence struct {
	Operator string   `json:"operator"`
	Kernels  []string `json:"kernels"` // names by start
	Count    int      `json:"count"`
	GPUNs    int64    `json:"gpu_ns"` // summed durations of the kernels of all occurrences
	CPUNs    int64    `json:"cpu_ns"` // summed durations of the operator
	First    int      `json:"first"`  // slice of the operator's first occurrence
}

// Pattern joins the operator's and the kernels' names with "|", HTA's spelling.
func (s Sequence) Pattern() string {
	return s.Operator + "|" + strings.Join(s.Kernels, "|")
}

// Sequences answers which series of at least minLen device slices the operators whose
// name contains operator launch, most frequent first. Only the operators nearest to the
// root are looked at, so that nested ones do not count twice; an empty operator means
// every top-level operator. minLen below 1 means MinSequence.
func Sequences(tr *trace.Trace, opt Options, operator string, minLen int) []Sequence {
	return newFrame(tr, opt).sequences(operator, minLen)
}

func (f *frame) sequences(operator string, minLen int) []Sequence {
	if minLen < 1 {
		minLen = MinSequence
	}
	s := &f.tr.Slices
	t := f.calls()
	if f.rules.AnyRowIsOperator {
		t = f.nest(func(int32) bool { return true })
	}
	match := f.nameTable(func(n string) bool { return strings.Contains(n, operator) })
	roots := f.shallowest(t, match)
	under := f.launchedUnder(t, roots)
	byKey := map[string]int{}
	var out []Sequence
	var key []byte
	for _, root := range roots {
		rows := under[root]
		if len(rows) < minLen {
			continue
		}
		sortByKey(rows, func(i int32) int64 { return f.start[i] })
		key = key[:0]
		key = appendID(key, s.Name[root])
		var gpu int64
		for _, d := range rows {
			key = appendID(key, s.Name[d])
			gpu += f.dur[d]
		}
		at, ok := byKey[string(key)]
		if !ok {
			at = len(out)
			byKey[string(key)] = at
			q := Sequence{Operator: f.name(root), First: int(root)}
			for _, d := range rows {
				q.Kernels = append(q.Kernels, f.name(d))
			}
			out = append(out, q)
		}
		out[at].Count++
		out[at].GPUNs += gpu
		out[at].CPUNs += f.dur[root]
	}
	slices.SortStableFunc(out, func(a, b Sequence) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(b.GPUNs, a.GPUNs))
	})
	return out
}

func appendID(b []byte, id trace.StringID) []byte {
	return append(b, byte(id), byte(id>>8), byte(id>>16), byte(id>>24))
}

// nameTable asks a question of every distinct name once; index it by StringID.
func (f *frame) nameTable(ask func(string) bool) []bool {
	t := make([]bool, f.tr.Strings.Len())
	for id := range t {
		t[id] = ask(f.tr.String(trace.StringID(id)))
	}
	return t
}

// shallowest returns the operators of the table at the smallest depth at which any is
// found, in pre-order.
func (f *frame) shallowest(t *tree, match []bool) []int32 {
	s := &f.tr.Slices
	depth := make([]int32, s.Len())
	best := int32(-1)
	var roots []int32
	for _, i := range t.order {
		if p := t.parent[i]; p >= 0 {
			depth[i] = depth[p] + 1
		}
		if !match[s.Name[i]] || !f.rules.AnyRowIsOperator && !isHostOp(s.Cat[i]) {
			continue
		}
		if best < 0 || depth[i] < best {
			best, roots = depth[i], roots[:0]
		}
		if depth[i] == best {
			roots = append(roots, i)
		}
	}
	return roots
}

// launchedUnder returns the device work launched below each root.
func (f *frame) launchedUnder(t *tree, roots []int32) map[int32][]int32 {
	rootOf := make([]int32, f.tr.Slices.Len()) // slice+1 of its root
	for _, r := range roots {
		rootOf[r] = r + 1
	}
	for _, i := range t.order {
		if p := t.parent[i]; p >= 0 && rootOf[i] == 0 {
			rootOf[i] = rootOf[p]
		}
	}
	out := map[int32][]int32{}
	for _, d := range f.dev {
		if h := f.partner[d]; h >= 0 && rootOf[h] > 0 {
			out[rootOf[h]-1] = append(out[rootOf[h]-1], d)
		}
	}
	return out
}
