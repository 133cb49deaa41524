package analysis

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Collective is one collective operation of one rank.
type Collective struct {
	Slice     int    `json:"slice"`  // device slice, or the host operator if nothing ran on a device
	Device    bool   `json:"device"` // Slice is device work
	Op        string `json:"op"`     // normalised: allreduce, allgather, reducescatter, alltoall, broadcast, reduce, send, recv, barrier …
	Group     string `json:"group"`  // process group's name, with its description if known
	GroupSize int    `json:"group_size"`
	DType     string `json:"dtype"`
	InBytes   int64  `json:"in_bytes"`  // per rank; 0 if unknown
	OutBytes  int64  `json:"out_bytes"` // per rank; 0 if unknown
	Seq       int64  `json:"seq"`       // number in its group, -1 if the trace has none
	StartNs   int64  `json:"start_ns"`
	Ns        int64  `json:"ns"` // includes waiting for the other ranks
}

// CommTable is a rank's communication.
type CommTable struct {
	Rank        int          `json:"rank"`
	Rows        []CommRow    `json:"rows"` // longest sum first
	Collectives []Collective `json:"-"`    // in order of start
	// Unknown counts communication slices without arguments that say what they moved.
	Unknown int `json:"unknown"`
}

// CommRow is all collectives of one operation, group, type and size.
type CommRow struct {
	Op        string `json:"op"`
	Group     string `json:"group"`
	GroupSize int    `json:"group_size"`
	DType     string `json:"dtype"`
	Bytes     int64  `json:"bytes"` // message size S: see AlgBytes
	Count     int    `json:"count"`
	SumNs     int64  `json:"sum_ns"`
	MinNs     int64  `json:"min_ns"`
	P50Ns     int64  `json:"p50_ns"`
	MaxNs     int64  `json:"max_ns"`
	// Bandwidths in GB/s (1e9 bytes a second): algorithm bandwidth S/t and bus
	// bandwidth, nccl-tests' figure that compares with a link. P50 and best call: a
	// collective's time includes waiting, so the best call is nearest to the link.
	AlgGBs     float64 `json:"alg_gbs"`
	BusGBs     float64 `json:"bus_gbs"`
	BestBusGBs float64 `json:"best_bus_gbs"`
	Worst      int     `json:"worst"` // slice with MaxNs
}

// Comms answers what was communicated, how often and how fast.
func Comms(tr *trace.Trace, opt Options) CommTable { return newFrame(tr, opt).comms() }

// normalOps maps spellings without "_" and case to one name.
var normalOps = map[string]string{
	"allreduce": "allreduce", "allreducecoalesced": "allreduce",
	"allgather": "allgather", "allgatherbase": "allgather", "allgatherintotensor": "allgather", "allgatherintotensorcoalesced": "allgather",
	"reducescatter": "reducescatter", "reducescatterbase": "reducescatter", "reducescattertensor": "reducescatter", "reducescattertensorcoalesced": "reducescatter",
	"alltoall": "alltoall", "alltoallv": "alltoall", "alltoallbase": "alltoall", "broadcast": "broadcast", "reduce": "reduce",
	"send": "send", "recv": "recv", "barrier": "barrier", "gather": "gather", "scatter": "scatter", "wait": "wait", "init": "init",
}

func normalOp(name string) string {
	key := strings.ToLower(strings.NewReplacer("_", "", "c10d::", "").Replace(name))
	if n, ok := normalOps[key]; ok {
		return n
	}
	return strings.Trim(strings.TrimPrefix(name, "c10d::"), "_")
}

// dtypeSizes are bytes an element, by the spellings of Kineto's arguments.
var dtypeSizes = map[string]int64{
	"float": 4, "float32": 4, "double": 8, "float64": 8, "half": 2, "float16": 2, "bfloat16": 2, "c10::half": 2, "c10::bfloat16": 2,
	"int": 4, "int32": 4, "long": 8, "long int": 8, "int64": 8, "short": 2, "short int": 2, "int16": 2, "char": 1, "signed char": 1, "int8": 1,
	"byte": 1, "unsigned char": 1, "uint8": 1, "bool": 1, "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1,
	"c10::float8_e4m3fn": 1, "c10::float8_e5m2": 1, "complexfloat": 8, "complexdouble": 16, "c10::complex<float>": 8, "c10::complex<double>": 16,
}

func dtypeSize(name string) int64 { return dtypeSizes[strings.ToLower(name)] }

// AlgBytes is the message size S by which nccl-tests computes bandwidths: the larger of
// what a rank gives and gets.
func (c Collective) AlgBytes() int64 { return max(c.InBytes, c.OutBytes) }

// busFactor turns algorithm into bus bandwidth (nccl-tests, PERFORMANCE.md).
func busFactor(op string, n int) float64 {
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

func (f *frame) comms() CommTable {
	out := CommTable{Rank: f.rank}
	out.Collectives, out.Unknown = f.collectives()
	type key struct {
		op, group, dtype string
		size             int
		bytes            int64
	}
	at := map[key]int{}
	var ns [][]int64
	for _, c := range out.Collectives {
		k := key{c.Op, c.Group, c.DType, c.GroupSize, c.AlgBytes()}
		r, ok := at[k]
		if !ok {
			r = len(out.Rows)
			at[k] = r
			out.Rows = append(out.Rows, CommRow{Op: k.op, Group: k.group, DType: k.dtype, GroupSize: k.size, Bytes: k.bytes})
			ns = append(ns, nil)
		}
		row := &out.Rows[r]
		row.Count++
		row.SumNs += c.Ns
		if c.Ns >= row.MaxNs {
			row.MaxNs, row.Worst = c.Ns, c.Slice
		}
		ns[r] = append(ns[r], c.Ns)
	}
	for r := range out.Rows {
		row := &out.Rows[r]
		slices.Sort(ns[r])
		row.MinNs, row.P50Ns = ns[r][0], ns[r][len(ns[r])/2]
		bus := busFactor(row.Op, row.GroupSize)
		row.AlgGBs = share(row.Bytes, row.P50Ns) // bytes per ns are GB/s
		row.BusGBs, row.BestBusGBs = row.AlgGBs*bus, share(row.Bytes, row.MinNs)*bus
	}
	sortDesc(out.Rows, func(r CommRow) int64 { return r.SumNs })
	return out
}

// collectives returns the rank's collectives by start and how many communication
// slices say nothing about themselves. Device slices win; without any the host's
// operators stand for themselves, as with gloo.
func (f *frame) collectives() ([]Collective, int) {
	var out []Collective
	unknown := 0
	var t *tree
	for j, d := range f.dev {
		if f.kinds[j] != KindCommunication {
			continue
		}
		c, ok := f.collective(d, d)
		for h := f.partner[d]; !ok && h >= 0; h = t.parent[h] {
			if t == nil {
				t = f.calls()
			}
			c, ok = f.collective(h, d)
		}
		if !ok {
			unknown++
			continue
		}
		c.Device = true
		out = append(out, c)
	}
	if len(out) == 0 && unknown == 0 {
		out = f.hostCollectives()
	}
	slices.SortStableFunc(out, func(a, b Collective) int { return cmp.Compare(a.StartNs, b.StartNs) })
	return out, unknown
}

func (f *frame) hostCollectives() []Collective {
	var out []Collective
	s := &f.tr.Slices
	likely := f.nameTable(func(n string) bool {
		return n == "record_param_comms" || strings.HasPrefix(n, "c10d::") || strings.HasPrefix(n, "_c10d")
	})
	for i := range int32(s.Len()) {
		if likely[s.Name[i]] && f.counts(i) && isHostOp(s.Cat[i]) {
			if c, ok := f.collective(i, i); ok && c.Op != "wait" && c.Op != "init" {
				out = append(out, c)
			}
		}
	}
	return out
}

// collective reads the arguments of slice from for the collective that ran as slice i.
func (f *frame) collective(from, i int32) (Collective, bool) {
	name, ok := f.tr.ArgText(int(from), trace.ArgCollective)
	if !ok {
		return Collective{}, false
	}
	c := Collective{Slice: int(i), Op: normalOp(name), Seq: -1, StartNs: f.start[i], Ns: f.dur[i]}
	c.DType, _ = f.tr.ArgText(int(from), trace.ArgDType)
	size := dtypeSize(c.DType)
	in, _ := f.tr.ArgInt(int(from), trace.ArgInNelems)
	outN, _ := f.tr.ArgInt(int(from), trace.ArgOutNelems)
	c.InBytes, c.OutBytes = in*size, outN*size
	n, _ := f.tr.ArgInt(int(from), trace.ArgGroupSize)
	c.GroupSize = int(n)
	c.Group, _ = f.tr.ArgText(int(from), trace.ArgGroupName)
	if d, ok := f.tr.ArgText(int(from), "Process Group Description"); ok && d != "" && d != c.Group {
		c.Group = strings.TrimSpace(c.Group + " " + d)
	}
	if v, ok := f.tr.ArgInt(int(from), trace.ArgSeq); ok {
		c.Seq = v
	}
	return c, true
}
