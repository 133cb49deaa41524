// Package coll reads communication, once for all analyses: which slices are collectives, what each
// one moved between whom and how fast, which kernels communicate, and which collectives of several
// ranks are the same.
//
// A collective is read from the slice that ran it, from the host's record of it and from the labels
// of its backend, and counts once however many of these a trace has. Sizes are bytes per rank,
// times are nanoseconds on the trace's own clock.
package coll

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/internal/lists"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/ids"
	"github.com/kinetoscope/kinetoscope/trace/order"
)

// Collective is one collective operation, or one send or receive, of one rank.
type Collective struct {
	Slice  int  `json:"slice"`  // device slice, or the host's if nothing ran on a device
	Device bool `json:"device"` // Slice is device work
	// Op is the operation as Normal names it: allreduce, allgather, reducescatter, alltoall,
	// broadcast, reduce, send, recv, barrier …
	Op    string `json:"op"`
	Group string `json:"group"` // process group's name, with its description if known
	// Members are the global ranks of the group, ascending, where the trace tells them
	// all. They are shared by the collectives of a group and must not be changed.
	Members   []int  `json:"members,omitempty"`
	GroupSize int    `json:"group_size"` // 0 if unknown
	DType     string `json:"dtype"`
	InBytes   int64  `json:"in_bytes"`  // per rank; 0 if unknown
	OutBytes  int64  `json:"out_bytes"` // per rank; 0 if unknown
	Seq       int64  `json:"seq"`       // number in its group, -1 if the trace has none
	HasPeer   bool   `json:"-"`
	Peer      int    `json:"-"` // of a send or receive: the other side's number, in the group or in the world
	StartNs   int64  `json:"start_ns"`
	Ns        int64  `json:"ns"`            // includes waiting for the other ranks
	Cut       bool   `json:"cut,omitempty"` // still running when the recording ended
	// Host is the outermost host slice of the collective, -1 if there is none.
	Host  int           `json:"-"`
	Track trace.TrackID `json:"-"` // of Slice
}

// Bytes is the size S of the message by which nccl-tests computes bandwidths: the larger of what a
// rank gives and what it gets. For an all-gather that is what all ranks give together, for a
// reduce-scatter what one rank gives. It is 0 if the trace does not tell.
func (c *Collective) Bytes() int64 { return max(c.InBytes, c.OutBytes) }

// End is when the rank left the collective.
func (c *Collective) End() int64 { return c.StartNs + c.Ns }

// GroupID identifies a group within a world: by name and members, because different groups may
// share one of these. Groups whose members are not known are identified by name and size.
func (c *Collective) GroupID() string {
	if len(c.Members) > 0 {
		return c.Group + "\x00" + memberText(c.Members)
	}
	return c.Group + "\x00" + strconv.Itoa(c.GroupSize)
}

// Everyone reports whether all ranks of a world of this size take part, as far as the trace tells: of two ranks they
// do, for a group has two at least.
func (c *Collective) Everyone(world int) bool {
	switch {
	case len(c.Members) > 0:
		return len(c.Members) == world
	case c.GroupSize > 0:
		return world > 1 && c.GroupSize == world
	}
	return world == 2
}

// groupIDs numbers the groups that GroupID tells apart, and caches them, because there are many
// collectives and, as a rule, few groups.
type groupIDs struct {
	groups ids.List[groupRef]
	lists  map[listRef]int32 // number of the members that a list has, from 1
	texts  map[string]int32  // the same by memberText
	last   *Collective       // of the last question
	lastID uint32
}

// groupRef is a group: members is the number of its list of them, 0 if they are not known.
type groupRef struct {
	name    string
	members int32
	size    int
}

// listRef is a list of members by its place in memory.
type listRef struct {
	first *int
	n     int
}

// of returns a number for the group of c, the same for equal ones.
func (g *groupIDs) of(c *Collective) uint32 {
	if g.last != nil && g.last.sameGroup(c) {
		return g.lastID
	}
	r := groupRef{name: c.Group, members: g.list(c.Members), size: c.GroupSize}
	if r.members > 0 {
		r.size = len(c.Members)
	}
	n, _ := g.groups.Number(r, ids.Mix(ids.Mix(ids.OfText(r.name), int64(r.members)), int64(r.size)))
	g.last, g.lastID = c, n
	return n
}

// sameGroup reports whether c and o are seen to be of one group without a look at their members.
func (c *Collective) sameGroup(o *Collective) bool {
	if c.Group != o.Group || c.GroupSize != o.GroupSize || len(c.Members) != len(o.Members) {
		return false
	}
	return len(c.Members) == 0 || &c.Members[0] == &o.Members[0]
}

// list returns the number of a list of members, the same for equal ones; 0 if it is empty.
func (g *groupIDs) list(members []int) int32 {
	if len(members) == 0 {
		return 0
	}
	at := listRef{&members[0], len(members)}
	if n, ok := g.lists[at]; ok {
		return n
	}
	if g.lists == nil {
		g.lists, g.texts = map[listRef]int32{}, map[string]int32{}
	}
	text := memberText(members)
	n, ok := g.texts[text]
	if !ok {
		n = int32(len(g.texts)) + 1
		g.texts[text] = n
	}
	g.lists[at] = n
	return n
}

// Group is a process group that collectives are of.
type Group struct {
	Name    string `json:"group"`
	Size    int    `json:"group_size"`        // 0 if unknown
	Members []int  `json:"members,omitempty"` // global ranks, ascending, where a trace tells them all
}

// Groups returns the groups of the collectives of several ranks, each once, in the order of their
// names. Collectives of no named group are left out.
func Groups(each [][]Collective) []Group {
	out := []Group{}
	var numbers groupIDs
	for _, list := range each {
		for i := range list {
			c := &list[i]
			if known := numbers.groups.Len(); c.Group != "" && int(numbers.of(c)) == known {
				out = append(out, Group{c.Group, c.GroupSize, c.Members})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Group) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.Members, b.Members), cmp.Compare(a.Size, b.Size))
	})
	return out
}

func memberText(m []int) string {
	var b strings.Builder
	for k, r := range m {
		if k > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(r))
	}
	return b.String()
}

// paired reports whether the operation is between two ranks with different roles.
func paired(op string) bool { return op == "send" || op == "recv" || op == "sendrecv" }

// Symmetric reports whether in operation op every rank needs data of every other. Then no rank
// leaves before all have entered, and all leave together. That does not hold for a broadcast or a
// reduce.
func Symmetric(op string) bool {
	switch op {
	case "allreduce", "allgather", "reducescatter", "alltoall", "barrier":
		return true
	}
	return false
}

// uniform returns the size of the message if op has the same size on all ranks.
func (c *Collective) uniform() (int64, bool) {
	switch c.Op {
	case "allreduce", "reduce", "broadcast":
		return c.InBytes, c.InBytes > 0
	case "reducescatter":
		return c.OutBytes, c.OutBytes > 0
	case "allgather":
		return c.OutBytes, c.OutBytes > 0
	case "send", "recv":
		return c.Bytes(), c.Bytes() > 0
	}
	return 0, false // what each rank gives may differ
}

// BusFactor turns algorithm bandwidth into bus bandwidth, the figure that compares with a
// link: how often a byte of the message crosses a link of a ring of n ranks. Source:
// NVIDIA nccl-tests, doc/PERFORMANCE.md.
func BusFactor(op string, n int) float64 {
	if n < 2 {
		return 1
	}
	k := float64(n)
	switch op {
	case "allreduce":
		return 2 * (k - 1) / k
	case "allgather", "reducescatter", "alltoall", "gather", "scatter":
		return (k - 1) / k
	}
	return 1
}

// dtypeSizes are bytes an element, by the spellings of torch, Kineto and NPU's profiler
// without namespace and case.
var dtypeSizes = map[string]int64{
	"float": 4, "float32": 4, "fp32": 4, "tf32": 4, "f32": 4, "double": 8, "float64": 8, "fp64": 8, "f64": 8,
	"half": 2, "float16": 2, "fp16": 2, "f16": 2, "bfloat16": 2, "bf16": 2, "bfp16": 2,
	"int": 4, "int32": 4, "unsigned int": 4, "uint32": 4, "u32": 4, "i32": 4,
	"long": 8, "long int": 8, "int64": 8, "unsigned long": 8, "uint64": 8, "u64": 8, "i64": 8,
	"short": 2, "short int": 2, "int16": 2, "unsigned short": 2, "uint16": 2,
	"char": 1, "signed char": 1, "int8": 1, "i8": 1, "byte": 1, "unsigned char": 1, "uint8": 1, "u8": 1, "bool": 1,
	"float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1,
	"fp8": 1, "hif8": 1, "complexhalf": 4, "complexfloat": 8, "complex<float>": 8, "complex64": 8,
	"complexdouble": 16, "complex<double>": 16, "complex128": 16,
}

// DTypeSize returns the bytes of an element of a type as traces spell it ("Float",
// "c10::BFloat16", "torch.int64"); 0 if it is not known.
func DTypeSize(name string) int64 {
	s := strings.ToLower(strings.TrimSpace(name))
	s = strings.TrimPrefix(strings.TrimPrefix(s, "c10::"), "torch.")
	return dtypeSizes[s]
}

// Table is the communication of one rank.
type Table struct {
	Rank        int          `json:"rank"`
	Rows        []Row        `json:"rows"` // longest sum first
	Collectives []Collective `json:"-"`    // in order of start
	// Unknown counts communication slices without arguments that say what they moved.
	Unknown int `json:"unknown"`
	// Guesses are kernels that may communicate and were taken for compute, most time first.
	Guesses []Guess `json:"guesses,omitempty"`
}

// Row is all collectives of one operation, group, type and size.
type Row struct {
	Op        string `json:"op"`
	Group     string `json:"group"`
	GroupSize int    `json:"group_size"`
	DType     string `json:"dtype"`
	Bytes     int64  `json:"bytes"` // message size S, see Collective.Bytes; 0 if unknown
	Count     int    `json:"count"`
	SumNs     int64  `json:"sum_ns"`
	MinNs     int64  `json:"min_ns"`
	P50Ns     int64  `json:"p50_ns"`
	MaxNs     int64  `json:"max_ns"`
	// Bandwidths in GB/s (1e9 bytes per second): algorithm bandwidth S/t and bus bandwidth, see
	// BusFactor, of the median and of the best call. A collective's time includes waiting for other
	// ranks, so the best call is nearest to the speed of the link.
	AlgGBs     float64 `json:"alg_gbs"`
	BusGBs     float64 `json:"bus_gbs"`
	BestBusGBs float64 `json:"best_bus_gbs"`
	Worst      int     `json:"worst"` // slice with MaxNs
}

// rowKey is what the collectives of a row have in common.
type rowKey struct {
	op, dtype uint32 // numbers of their texts
	group     uint32
	size      int
	bytes     int64
}

func (k rowKey) hash() uint64 {
	h := ids.Mix(ids.Mix(0, int64(k.op)<<32|int64(k.dtype)), int64(k.group))
	return ids.Mix(ids.Mix(h, int64(k.size)), k.bytes)
}

// Rows sums collectives by operation, group, type and size, the largest sum first; equal sums keep
// the order of first occurrence.
func Rows(list []Collective) []Row {
	var rows ids.List[rowKey]
	var groups groupIDs
	var ops, types ids.List[string]
	var out []Row
	rowOf, ns := make([]int32, len(list)), make([]int64, len(list))
	for i := range list {
		c := &list[i]
		k := rowKey{group: groups.of(c), size: c.GroupSize, bytes: c.Bytes()}
		k.op, _ = ops.Number(c.Op, ids.OfText(c.Op))
		k.dtype, _ = types.Number(c.DType, ids.OfText(c.DType))
		r, added := rows.Number(k, k.hash())
		if added {
			out = append(lists.Doubled(out),
				Row{Op: c.Op, Group: c.Group, DType: c.DType, GroupSize: c.GroupSize, Bytes: k.bytes})
		}
		row := &out[r]
		row.Count++
		row.SumNs += c.Ns
		if c.Ns >= row.MaxNs {
			row.MaxNs, row.Worst = c.Ns, c.Slice
		}
		rowOf[i] = int32(r)
	}
	if out == nil {
		return nil
	}
	next := make([]int, len(out)) // where the next time of a row lies in ns: row after row
	for r, at := 0, 0; r < len(out); r++ {
		next[r] = at
		at += out[r].Count
	}
	for i, r := range rowOf {
		ns[next[r]] = list[i].Ns
		next[r]++
	}
	byTime := make([]int32, len(out)) // rows are wide: their places are sorted
	for r := range out {
		byTime[r] = int32(r)
		row := &out[r]
		times := ns[next[r]-row.Count : next[r]]
		slices.Sort(times)
		row.MinNs, row.P50Ns = times[0], times[len(times)/2]
		bus := BusFactor(row.Op, row.GroupSize)
		row.AlgGBs = rate(row.Bytes, row.P50Ns)
		row.BusGBs, row.BestBusGBs = row.AlgGBs*bus, rate(row.Bytes, row.MinNs)*bus
	}
	order.ByKey(byTime, func(r int32) int64 { return -out[r].SumNs })
	sorted := make([]Row, len(out))
	for k, r := range byTime {
		sorted[k] = out[r]
	}
	return sorted
}

// MedianAlgGBs is the algorithm bandwidth in GB/s of the median call, among calls with known size
// and time; 0 if there is none. For calls of one size it is that size divided by Row.P50Ns.
func MedianAlgGBs(list []*Collective) float64 {
	var v []float64
	for _, c := range list {
		if c.Bytes() > 0 && c.Ns > 0 {
			v = append(v, rate(c.Bytes(), c.Ns))
		}
	}
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[(len(v)-1)/2]
}

// rate is bytes by nanoseconds, which are GB/s; 0 where no time passed.
func rate(bytes, ns int64) float64 {
	if ns == 0 {
		return 0
	}
	return float64(bytes) / float64(ns)
}
