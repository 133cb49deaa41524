package coll

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/view"
	"github.com/kinetoscope/kinetoscope/internal/lists"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Read returns the communication in v, which is plausible.Look's view of the trace or a part of it.
//
// If a device communicates, its slices are the collectives. What they moved is read from their
// arguments, else from the host slices that launched them; else the name tells at least the
// operation. If no device communicates, the host's slices are the collectives, as with Gloo.
func Read(v *view.View) Table { return ReadKnowing(v, nil) }

// ReadKnowing is Read for who has asked Kernel of the names of v's kernels before: communicates
// says what it answered. nil asks.
func ReadKnowing(v *view.View, communicates func(trace.StringID) bool) Table {
	r := reader{v: v, t: v.Trace, comm: communicates, groups: map[string]group{}, ops: map[string]string{},
		shapes: map[string]shapes{}}
	if r.comm == nil {
		r.comm = r.once(func(n string) bool { return Kernel(trace.CatKernel, n) })
	}
	out := Table{Rank: v.Trace.Meta.Rank}
	host := r.host()
	out.Collectives, out.Unknown = r.device(host)
	if len(out.Collectives) == 0 {
		out.Collectives = slices.Grow(out.Collectives, len(host))
		for _, h := range host {
			out.Collectives = append(out.Collectives, h.Collective)
		}
	}
	slices.SortStableFunc(out.Collectives, func(a, b Collective) int { return cmp.Compare(a.StartNs, b.StartNs) })
	out.Rows = Rows(out.Collectives)
	out.Guesses = r.guesses(out.Collectives)
	return out
}

// opsAtOnce is how many collectives of the host get their memory together: some 50 kB.
const opsAtOnce = 256

// reader reads one trace.
type reader struct {
	v      *view.View
	t      *trace.Trace
	groups map[string]group          // by the texts of what tells a group
	ops    map[string]string         // Normal's answers
	shapes map[string]shapes         // by the texts of dimensions and types
	key    []byte                    // scratch
	room   []hostOp                  // see newOp
	listed map[string][]int          // see named
	comm   func(trace.StringID) bool // whether a kernel of that name communicates
}

// once returns a cached version of ask, which is called once for each name.
func (r *reader) once(ask func(string) bool) func(trace.StringID) bool {
	const yes, no = 1, 2
	known := make([]uint8, r.t.Strings.Len())
	return func(id trace.StringID) bool {
		if known[id] == 0 {
			known[id] = no
			if ask(r.t.String(id)) {
				known[id] = yes
			}
		}
		return known[id] == yes
	}
}

// device returns the collectives that ran on a device, and how many of them do not tell what they
// moved.
func (r *reader) device(host []*hostOp) ([]Collective, int) {
	v, s := r.v, &r.t.Slices
	var out []Collective
	unknown := 0
	var around func(int32) *hostOp
	for _, d := range v.Work {
		switch c := s.Cat[d]; {
		case c == trace.CatGPUMemcpy || c == trace.CatGPUMemset:
			continue
		case c != trace.CatCollectiveComm && !r.comm(s.Name[d]):
			continue
		}
		c := Collective{Seq: -1, Host: -1}
		told := r.fill(&c, d)
		if h := v.Partner[d]; h >= 0 && len(host) > 0 {
			if around == nil {
				around = enclosing(v, host)
			}
			if op := around(h); op != nil {
				c.Host = op.Host
				c.fillFrom(&op.Collective)
				told = told || op.named
			}
		}
		if c.Op == "" {
			c.Op = cmp.Or(KernelOp(v.Name(d)), Unknown)
		}
		if !moves(c.Op) {
			continue
		}
		if c.complete(); !told && c.Bytes() == 0 {
			unknown++
		}
		c.Slice, c.Track, c.Device, c.StartNs, c.Ns = int(d), s.Track[d], true, v.Start[d], v.Dur[d]
		out = append(lists.Doubled(out), c)
	}
	return out, unknown
}

// hostOp is a collective as the host's slices describe it.
type hostOp struct {
	Collective
	named   bool          // some slice has its arguments
	backend bool          // only the label of a backend: another thread may have the operator
	track   trace.TrackID // of Host
}

// host returns the collectives among the host's slices by start. A torch operator, the
// record of its arguments inside it and the label of the backend are one.
func (r *reader) host() []*hostOp {
	v, s := r.v, &r.t.Slices
	label := r.once(HostLabel)
	tree := v.Nest(func(i int32) bool {
		return (s.Cat[i] == trace.CatCPUOp || s.Cat[i] == trace.CatUserAnnotation) && label(s.Name[i])
	})
	var out []*hostOp
	for lo := 0; lo < len(tree.Order); {
		hi := lo + 1
		for hi < len(tree.Order) && tree.Parent[tree.Order[hi]] != view.None {
			hi++
		}
		out = r.family(tree, tree.Order[lo:hi], out)
		lo = hi
	}
	slices.SortStableFunc(out, func(a, b *hostOp) int {
		return cmp.Or(cmp.Compare(a.StartNs, b.StartNs), cmp.Compare(a.Host, b.Host))
	})
	return joinBackends(out)
}

// family reads an outermost slice and the slices within it, in pre-order. They are one collective,
// unless several inside have arguments of their own, as between the start and the end of
// coalescing. It appends to out.
func (r *reader) family(tree *view.Tree, rows []int32, out []*hostOp) []*hostOp {
	if len(rows) == 1 {
		if op := r.merge(rows[0], rows); op != nil {
			out = append(out, op)
		}
		return out
	}
	var own []int32            // outermost slices with arguments that move something
	within := map[int32]bool{} // what lies in one of own, or is it
	for _, i := range rows {
		if within[tree.Parent[i]] {
			within[i] = true
			continue
		}
		if name, ok := r.t.ArgText(int(i), trace.ArgCollective); ok && moves(r.normal(name)) {
			own, within[i] = append(own, i), true
		}
	}
	if len(own) > 1 {
		for _, i := range own {
			out = append(out, r.merge(i, []int32{i}))
		}
		return out
	}
	if op := r.merge(rows[0], rows); op != nil {
		out = append(out, op)
	}
	return out
}

// normal is Normal, which is asked once for each name of an operation.
func (r *reader) normal(name string) string {
	op, ok := r.ops[name]
	if !ok {
		op = Normal(name)
		r.ops[name] = op
	}
	return op
}

// merge makes one collective of slice top, completed from rows; nil if they move no data.
func (r *reader) merge(top int32, rows []int32) *hostOp {
	v := r.v
	op := r.newOp()
	*op = hostOp{Collective: Collective{
		Slice: int(top), Host: int(top), Track: r.t.Slices.Track[top], Seq: -1, StartNs: v.Start[top], Ns: v.Dur[top],
	}, track: r.t.Slices.Track[top], backend: true}
	for _, i := range rows {
		name, ok := r.t.ArgText(int(i), trace.ArgCollective)
		if ok && !moves(r.normal(name)) {
			continue // a wait's record does not describe the collective that is waited for
		}
		op.named = r.fill(&op.Collective, i) || op.named
		op.backend = op.backend && isBackend(v.Name(i))
	}
	if op.Op == "" {
		for _, i := range rows {
			if k, ok := known(v.Name(i)); ok {
				op.Op = k
				break
			}
		}
	}
	if !moves(op.Op) {
		return nil
	}
	op.complete()
	return op
}

// newOp returns room for a collective. There may be one for each operator of a trace: they are
// made a block at a time.
func (r *reader) newOp() *hostOp {
	if len(r.room) == 0 {
		r.room = make([]hostOp, opsAtOnce)
	}
	op := &r.room[0]
	r.room = r.room[1:]
	return op
}

// joinBackends joins the labels that backends write on their own threads with the operators that
// caused them: each label with the next operator of the same operation. The label has the time of
// the transfer; the operator of an asynchronous call returns earlier.
func joinBackends(ops []*hostOp) []*hostOp {
	if !slices.ContainsFunc(ops, func(op *hostOp) bool { return op.backend }) {
		return ops
	}
	waiting := map[string][]*hostOp{} // operators without a label yet, by operation
	taken := map[*hostOp]bool{}
	for _, op := range ops {
		if !op.backend {
			waiting[op.Op] = append(waiting[op.Op], op)
			continue
		}
		q := waiting[op.Op]
		if len(q) == 0 || q[0].track == op.track {
			continue
		}
		c := q[0]
		waiting[op.Op] = q[1:]
		c.fillFrom(&op.Collective)
		c.Slice, c.Track, c.StartNs, c.Ns = op.Slice, op.Track, op.StartNs, op.Ns
		taken[op] = true
	}
	out := slices.DeleteFunc(ops, func(op *hostOp) bool { return taken[op] })
	slices.SortStableFunc(out, func(a, b *hostOp) int { return cmp.Compare(a.StartNs, b.StartNs) })
	return out
}

// enclosing returns a look-up of the host collective in which a launch call lies.
func enclosing(v *view.View, host []*hostOp) func(int32) *hostOp {
	s := &v.Trace.Slices
	byTrack := map[trace.TrackID][]*hostOp{}
	for _, op := range host {
		byTrack[op.track] = append(byTrack[op.track], op)
	}
	return func(call int32) *hostOp {
		list := byTrack[s.Track[call]]
		k, found := slices.BinarySearchFunc(list, v.Start[call], func(op *hostOp, at int64) int {
			return cmp.Compare(v.Start[op.Host], at)
		})
		if found {
			k++
		}
		if k == 0 {
			return nil
		}
		op := list[k-1]
		if v.Start[call] > v.End(int32(op.Host))+view.CallOverrunNs {
			return nil
		}
		return op
	}
}

// fill completes c from the arguments of slice i and reports whether they describe a collective.
func (r *reader) fill(c *Collective, i int32) bool {
	var x Collective
	x.Seq = -1
	t := r.t
	name, named := t.ArgText(int(i), trace.ArgCollective)
	if named {
		x.Op = r.normal(name)
	}
	x.DType, _ = t.ArgText(int(i), trace.ArgDType)
	size := DTypeSize(x.DType)
	in, hasIn := t.ArgSize(int(i), trace.ArgInNelems)
	out, _ := t.ArgSize(int(i), trace.ArgOutNelems)
	x.InBytes, x.OutBytes = in*size, out*size
	if !hasIn || size == 0 {
		if b, ok := t.ArgSize(int(i), trace.ArgBytes); ok && r.v.LaneOf[i] < 0 {
			x.InBytes = max(x.InBytes, b)
		} else {
			r.fillShapes(&x, i)
		}
	}
	if v, ok := t.ArgInt(int(i), trace.ArgSeq); ok {
		x.Seq = v
	}
	if paired(x.Op) {
		x.Peer, x.HasPeer = r.peer(i)
	}
	if g, ok := r.group(i); ok {
		x.Group, x.GroupSize, x.Members = g.name, g.size, g.members
	}
	x.Cut = string(t.Arg(int(i), "finished")) == "false"
	c.fillFrom(&x)
	return named
}

// peer returns the number of the other side of a send or receive, if slice i names it.
func (r *reader) peer(i int32) (int, bool) {
	for _, a := range argPeers {
		if v, ok := r.t.ArgInt(int(i), a); ok && v >= 0 && v < maxGroupSize {
			return int(v), true
		}
	}
	return 0, false
}

// complete computes one of the two sizes from the other where the operation determines it.
func (c *Collective) complete() {
	n := int64(c.GroupSize)
	switch {
	case c.Op == "allreduce" || c.Op == "broadcast":
		c.InBytes, c.OutBytes = cmp.Or(c.InBytes, c.OutBytes), cmp.Or(c.OutBytes, c.InBytes)
	case n < 2:
	case c.Op == "allgather":
		c.InBytes, c.OutBytes = cmp.Or(c.InBytes, c.OutBytes/n), cmp.Or(c.OutBytes, c.InBytes*n)
	case c.Op == "reducescatter":
		c.InBytes, c.OutBytes = cmp.Or(c.InBytes, c.OutBytes*n), cmp.Or(c.OutBytes, c.InBytes/n)
	}
}

// fillFrom completes c from x.
func (c *Collective) fillFrom(x *Collective) {
	c.Op = cmp.Or(c.Op, x.Op)
	if c.Group == "" && c.GroupSize == 0 {
		c.Group, c.GroupSize, c.Members = x.Group, x.GroupSize, x.Members
	}
	if c.InBytes == 0 && c.OutBytes == 0 {
		c.InBytes, c.OutBytes = x.InBytes, x.OutBytes
		c.DType = cmp.Or(x.DType, c.DType)
	}
	c.DType = cmp.Or(c.DType, x.DType)
	if c.Seq < 0 {
		c.Seq = x.Seq
	}
	if !c.HasPeer {
		c.Peer, c.HasPeer = x.Peer, x.HasPeer
	}
	c.Cut = c.Cut || x.Cut
}
