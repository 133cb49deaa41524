package trace

import "encoding/binary"

// IntArgs reads the same few integers of many objects, which mostly have few templates between
// them: where a template has each key is looked up once. For one goroutine.
type IntArgs struct {
	t     *Trace
	keys  []string
	plans map[uint32][]intPlan
	last  uint32 // template +1 of the object before
	plan  []intPlan
	most  int // holes that plan reads
	holes []uint64
}

// intPlan is where a template has the integer of a key.
type intPlan struct {
	hole  int // that is the integer; -1 if it is fixed or not there, -2 if it has to be read by its key
	fixed int64
	ok    bool
}

// IntArgs returns a reader of these keys.
func (t *Trace) IntArgs(keys ...string) *IntArgs {
	return &IntArgs{t: t, keys: keys, plans: map[uint32][]intPlan{}}
}

// Read puts the integers of r's object into val, and whether each is there into ok, as RefArgInt
// returns them. Both have room for as many as there are keys.
func (a *IntArgs) Read(r ArgsRef, val []int64, ok []bool) {
	m, vals := a.t.args.at(r)
	if m == nil || m.texts {
		for k, key := range a.keys {
			val[k], ok[k] = a.t.RefArgInt(r, key)
		}
		return
	}
	if id := r.Template() + 1; id != a.last {
		a.last, a.plan = id, a.plans[id]
		if a.plan == nil {
			a.plan = a.look(m, r)
			a.plans[id] = a.plan
		}
		a.most = 0
		for _, p := range a.plan {
			a.most = max(a.most, p.hole+1)
		}
	}
	a.holes = a.holes[:0]
	for range a.most {
		v, n := binary.Uvarint(vals)
		a.holes, vals = append(a.holes, v), vals[max(0, n):]
	}
	for k, p := range a.plan {
		switch {
		case p.hole >= 0:
			val[k], ok[k] = int64(a.holes[p.hole]), true
		case p.hole == -1:
			val[k], ok[k] = p.fixed, p.ok
		default:
			val[k], ok[k] = a.t.RefArgInt(r, a.keys[k])
		}
	}
}

// look finds the keys in m, the template of r.
func (a *IntArgs) look(m *argTemplate, r ArgsRef) []intPlan {
	out := make([]intPlan, len(a.keys))
	for k, key := range a.keys {
		p := &out[k]
		p.hole = -1
		at := m.find(key)
		switch {
		case at == nil:
		case at.many == 1 && at.to == at.from+1 && m.lit[at.from] == ArgHole:
			p.hole = at.hole
		case at.many > 0:
			p.hole = -2
		default:
			p.fixed, p.ok = a.t.RefArgInt(r, key)
		}
	}
	return out
}
