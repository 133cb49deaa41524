package coll

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Arguments that only Kineto's record of a collective has.
const (
	argGroupDesc   = "Process Group Description"
	argGroupRanks  = "Process Group Ranks"
	argGroupID     = "Process Group ID" // torch before 2.3, in place of the name
	argRankStart   = "Global rank start"
	argRankStride  = "Global rank stride"
	argInputDims   = "Input Dims"
	argInputType   = "Input type"
	maxGroupSize   = 1 << 20 // larger ones are damage
	maxShapeValues = 1 << 48 // elements of one tensor; larger ones are damage
)

// group is a process group, as one rank describes it.
type group struct {
	name    string
	size    int
	members []int // all of them, ascending; nil if unknown
}

// groupArgs are the arguments that identify a group.
var groupArgs = []string{
	trace.ArgGroupName, argGroupDesc, argGroupRanks, trace.ArgGroupSize, argRankStart, argRankStride, argGroupID,
}

// group returns the process group of slice i, if it names one.
func (r *reader) group(i int32) (group, bool) {
	r.key = r.key[:0]
	for _, k := range groupArgs {
		r.key = append(append(r.key, r.t.Arg(int(i), k)...), 0) // JSON has no such byte
	}
	if len(r.key) == len(groupArgs) {
		return group{}, false
	}
	g, ok := r.groups[string(r.key)]
	if !ok {
		k := string(r.key)
		g = r.newGroup(i)
		r.groups[k] = g
	}
	return g, true
}

func (r *reader) newGroup(i int32) group {
	arg := func(k string) string { return unquoted(r.t.Arg(int(i), k)) }
	name, desc := arg(trace.ArgGroupName), arg(argGroupDesc)
	if len(r.t.Arg(int(i), trace.ArgGroupName)) == 0 {
		name = arg(argGroupID)
	}
	var g group
	if n, ok := r.t.ArgInt(int(i), trace.ArgGroupSize); ok && n > 0 && n < maxGroupSize {
		g.size = int(n)
	}
	members, whole := parseRanks(arg(argGroupRanks))
	switch {
	case whole && (g.size == 0 || len(members) == g.size):
		g.members = members
	default:
		g.members = r.configured(name, desc, g.size, members)
	}
	if g.members == nil && len(members) == 0 {
		g.members = r.strided(i, g.size)
	}
	slices.Sort(g.members)
	if g.members = slices.Compact(g.members); g.size == 0 {
		g.size = len(g.members)
	}
	if g.size != len(g.members) {
		g.members = nil // a list of members that contradicts itself is not used
	}
	g.name = name
	if desc != "" && desc != name && desc != "undefined" {
		g.name = strings.TrimSpace(name + " " + desc)
	}
	return g
}

// configured finds a group among those that the trace lists. Several groups may have one name, so
// the size and the known ranks, the trace's own among them, must agree.
func (r *reader) configured(name, desc string, size int, known []int) []int {
	var found []int
	for _, k := range r.named(name) {
		g := &r.t.Meta.ProcessGroups[k]
		if len(g.Ranks) == 0 || size > 0 && len(g.Ranks) != size {
			continue
		}
		if desc != "" && g.Desc != "" && desc != g.Desc {
			continue
		}
		if slices.ContainsFunc(known, func(k int) bool { return !slices.Contains(g.Ranks, k) }) {
			continue
		}
		if own := r.t.Meta.Rank; own >= 0 && !slices.Contains(g.Ranks, own) && r.t.Meta.WorldSize > 0 {
			continue
		}
		if found != nil {
			return nil
		}
		found = slices.Clone(g.Ranks)
	}
	return found
}

// named returns the places of the groups with a name among those that the trace lists.
func (r *reader) named(name string) []int {
	if r.listed == nil {
		r.listed = map[string][]int{}
		for k, g := range r.t.Meta.ProcessGroups {
			r.listed[g.Name] = append(r.listed[g.Name], k)
		}
	}
	return r.listed[name]
}

// strided returns the members of a group that is given by its first rank and a stride.
func (r *reader) strided(i int32, size int) []int {
	start, ok := r.t.ArgInt(int(i), argRankStart)
	stride, ok2 := r.t.ArgInt(int(i), argRankStride)
	if !ok || !ok2 || start < 0 || stride <= 0 || stride >= maxGroupSize || start >= maxGroupSize || size == 0 {
		return nil
	}
	out := make([]int, size)
	for k := range out {
		out[k] = int(start) + k*int(stride)
	}
	return out
}

// parseRanks reads "[0, 1, 2]"; torch ends a list of more than thirty with "...": then
// whole is false.
func parseRanks(s string) (ranks []int, whole bool) {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, "[") {
		return nil, false
	}
	whole = strings.HasSuffix(s, "]")
	for _, f := range strings.Split(strings.Trim(s, "[]"), ",") {
		f = strings.TrimSpace(f)
		if n, err := strconv.Atoi(f); err == nil && n >= 0 && n < maxGroupSize {
			ranks = append(ranks, n)
		} else {
			whole = false
		}
	}
	return ranks, whole && len(ranks) > 0
}

// unquoted is the text of a raw JSON string or number.
func unquoted(raw []byte) string {
	if len(raw) > 1 && raw[0] == '"' {
		return trace.Unescape(raw[1 : len(raw)-1])
	}
	return string(raw)
}

// fillShapes reads sizes from the shapes of an operator's tensors, where nothing else
// tells them. c10d's operators take what they fill before what they send.
func (r *reader) fillShapes(c *Collective, i int32) {
	raw := r.t.Arg(int(i), argInputDims)
	if len(raw) == 0 {
		return
	}
	types := r.t.Arg(int(i), argInputType)
	r.key = append(append(append(r.key[:0], raw...), 0), types...)
	x, ok := r.shapes[string(r.key)]
	if !ok {
		x = shapesOf(raw, types)
		r.shapes[string(r.key)] = x
	}
	c.DType = cmp.Or(x.dtype, c.DType)
	switch {
	case x.tensors == 0:
	case x.tensors > 1 && isOperator(r.v.Name(i)):
		c.OutBytes, c.InBytes = x.first, x.second
	default:
		c.InBytes = x.first
	}
}

// shapes are the sizes of an operator's first tensors, in bytes, and the type of the last one.
type shapes struct {
	tensors       int // how many there are
	first, second int64
	dtype         string
}

// shapesOf reads the raw dimensions and types of an operator's inputs.
func shapesOf(rawDims, rawTypes []byte) (x shapes) {
	var dims []json.RawMessage
	var types []string
	if json.Unmarshal(rawDims, &dims) != nil || json.Unmarshal(rawTypes, &types) != nil {
		return x
	}
	for k, d := range dims {
		if k >= len(types) {
			break
		}
		size := DTypeSize(types[k])
		n, ok := elements(d)
		if !ok || size == 0 {
			continue
		}
		switch x.tensors {
		case 0:
			x.first = n * size
		case 1:
			x.second = n * size
		}
		x.tensors, x.dtype = x.tensors+1, types[k]
	}
	return x
}

// elements is the number of elements of a shape, or of a list of shapes together.
func elements(raw json.RawMessage) (int64, bool) {
	var shape []int64
	if json.Unmarshal(raw, &shape) == nil {
		return product(shape)
	}
	var list [][]int64
	if json.Unmarshal(raw, &list) != nil {
		return 0, false
	}
	var sum int64
	for _, s := range list {
		n, ok := product(s)
		if sum += n; !ok || sum > maxShapeValues {
			return 0, false
		}
	}
	return sum, len(list) > 0
}

func product(shape []int64) (int64, bool) {
	if len(shape) == 0 {
		return 0, false // no tensor
	}
	n := int64(1)
	for _, d := range shape {
		if d < 0 || d > 0 && n > maxShapeValues/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}
