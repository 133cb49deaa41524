package pipeline

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/coll"
	"github.com/kinetoscope/kinetoscope/trace"
)

// communication is a rank's collectives on the common clock.
type communication struct {
	list  []coll.Collective
	waits []int64 // for the last rank, by collective; 0 where it was not matched
	blame coll.Blame
}

// readComms reads the rank's collectives, and sets the bytes of operators that are collectives.
func (d *rankData) readComms(opOf map[trace.StringID]int) {
	d.comms.list = coll.Read(d.seen.View).Collectives
	d.comms.waits = make([]int64, len(d.comms.list))
	d.comms.blame.Worst = -1
	for i := range d.comms.list {
		c := &d.comms.list[i]
		c.StartNs += d.offset
		if c.Host < 0 {
			continue
		}
		if k, ok := opOf[d.t.Slices.Name[c.Host]]; ok && d.ops[k].Comm {
			d.ops[k].Bytes += c.Bytes()
		}
	}
}

// matchComms finds out who waited for whom in collectives.
func (a *analyzer) matchComms() {
	metas := make([]*trace.Meta, len(a.ranks))
	for i, d := range a.ranks {
		metas[i] = &d.t.Meta
	}
	ranks := coll.Ranks(metas)
	for i := range ranks {
		ranks[i].Clock, ranks[i].List = a.aligned, a.ranks[i].comms.list
	}
	m := coll.Match(ranks)
	a.unmatched = m.Unmatched
	for i, b := range m.Blames(ranks) {
		a.ranks[i].comms.blame = b
	}
	for k := range m.Sets {
		s := &m.Sets[k]
		for j, ns := range s.Waits(ranks) {
			a.ranks[s.Members[j].Rank].comms.waits[s.Members[j].Index] = ns
		}
	}
}

// longest returns the collective that took the longest; nil if there is none.
func (x *communication) longest() *coll.Collective {
	var out *coll.Collective
	for i := range x.list {
		if out == nil || x.list[i].Ns > out.Ns {
			out = &x.list[i]
		}
	}
	return out
}

// rows sums the collectives by operation and group, the largest sum first.
func (x *communication) rows() []Comm {
	type key struct{ op, group string }
	at := map[key]int{}
	out := []Comm{}
	var calls [][]*coll.Collective
	for i := range x.list {
		c := &x.list[i]
		k, ok := at[key{c.Op, c.GroupID()}]
		if !ok {
			k = len(out)
			at[key{c.Op, c.GroupID()}] = k
			out = append(out, Comm{Name: c.Op, Group: c.Group, GroupSize: c.GroupSize})
			calls = append(calls, nil)
		}
		r := &out[k]
		r.Calls++
		r.Bytes += c.Bytes()
		r.TotalNs += c.Ns
		r.PeerWaitNs += x.waits[i]
		calls[k] = append(calls[k], c)
	}
	for k := range out {
		r := &out[k]
		r.MeanNs = float64(r.TotalNs) / float64(r.Calls)
		r.AlgGBPerS = coll.MedianAlgGBs(calls[k])
		r.BusGBPerS = r.AlgGBPerS * coll.BusFactor(r.Name, r.GroupSize)
	}
	slices.SortStableFunc(out, func(a, b Comm) int {
		return cmp.Or(cmp.Compare(b.TotalNs, a.TotalNs), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Group, b.Group))
	})
	return out
}
