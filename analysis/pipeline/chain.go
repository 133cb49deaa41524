package pipeline

import "slices"

// spanRef is a span of a rank.
type spanRef struct {
	d *rankData
	k int
}

func (r spanRef) span() *span { return &r.d.spans[r.k] }

// sendsByFlow returns, for each flow, the hand-off that began it.
func (a *analyzer) sendsByFlow() map[uint64]spanRef {
	m := map[uint64]spanRef{}
	for _, d := range a.ranks {
		for k := range d.spans {
			if s := &d.spans[k]; s.cls == clsSend {
				for _, id := range s.flows {
					if _, ok := m[id]; !ok {
						m[id] = spanRef{d, k}
					}
				}
			}
		}
	}
	return m
}

// chain follows the request's first output back to its arrival: from the step that
// made it to the hand-off that fed the stage, over the flow to the stage that sent
// it, and so on. The links come out in the order of time and leave no gap.
func (a *analyzer) chain(j *journey, flows map[uint64]spanRef) *Chain {
	lead := j.lead()
	v, step, kind := output(lead)
	if v == nil {
		return nil
	}
	c := &Chain{Request: a.ids.names[j.id], Output: kind}
	until := v.d.spans[step].end
	if kind == "text" {
		until, _ = v.firstToken()
	}
	end := until
	arrival := j.arrival()
	// Each iteration goes back by at least one stage, so the number of visits bounds the loop.
	for range len(j.visits) {
		recv := v.feed()
		from := arrival
		if recv >= 0 {
			from = min(v.d.spans[recv].end, until)
		}
		var next spanRef
		var viaFlow, found bool
		if recv >= 0 {
			next, viaFlow, found = a.sender(j, v, recv, flows)
		}
		if recv < 0 || !found {
			from = min(arrival, until)
			c.Complete = true
		}
		c.Links = append(c.Links, v.links(from, until)...)
		if !found {
			break
		}
		send := next.span()
		at := min(send.start, from)
		sm := &next.d.t.Meta
		c.Links = append(c.Links, Link{
			Kind: "handoff", Text: "hand-off " + next.d.stage + " to " + v.d.stage, StageID: next.d.stageID,
			Stage:   next.d.stage,
			Replica: sm.Replica, Rank: sm.Rank, Trace: next.d.index, Slice: send.slice,
			StartNs: at, DurNs: from - at, ViaFlow: viaFlow,
		})
		until = at
		v = j.visitOf(next.d)
		if v == nil {
			break
		}
	}
	slices.Reverse(c.Links)
	c.StartNs = end
	if len(c.Links) > 0 {
		c.StartNs = c.Links[0].StartNs
	}
	c.TotalNs = end - c.StartNs
	return c
}

// feed returns the hand-off that the first step waited for: the last one received before the step
// began. It is -1 if there is none.
func (v *visit) feed() int {
	best := -1
	for _, k := range v.recvs {
		if len(v.steps) > 0 && v.d.spans[k].end > v.d.spans[v.steps[0]].start {
			break
		}
		best = k
	}
	return best
}

// visitOf returns the request's visit of d, or nil.
func (j *journey) visitOf(d *rankData) *visit {
	for _, v := range j.visits {
		if v.d == d {
			return v
		}
	}
	return nil
}

// sender finds the send that recv received: by flow, else the latest send of the
// request from an earlier stage that began before recv ended.
func (a *analyzer) sender(j *journey, v *visit, recv int, flows map[uint64]spanRef) (ref spanRef, viaFlow, ok bool) {
	r := &v.d.spans[recv]
	for _, id := range r.flows {
		if s, ok := flows[id]; ok && s.d != v.d {
			return s, true, true
		}
	}
	for _, w := range j.visits {
		if w.d.stageID >= v.d.stageID {
			continue
		}
		for _, k := range w.sends {
			s := &w.d.spans[k]
			if s.start > r.end || s.toStage >= 0 && s.toStage != int64(v.d.stageID) {
				continue
			}
			if !ok || s.start > ref.span().start {
				ref, ok = spanRef{w.d, k}, true
			}
		}
	}
	return ref, false, ok
}

// links divides the request's time on v's rank from arrival to departure into the
// wait for its first step and the phases, the last one first.
func (v *visit) links(from, until int64) []Link {
	m := &v.d.t.Meta
	base := Link{StageID: v.d.stageID, Stage: v.d.stage, Replica: m.Replica, Rank: m.Rank, Trace: v.d.index, Slice: -1}
	var out []Link
	at := from
	add := func(kind, text string, to int64, slice, steps int) {
		l := base
		l.Kind, l.Text, l.StartNs, l.Slice, l.Steps = kind, v.d.stage+" "+text, at, slice, steps
		l.DurNs = max(0, to-at)
		out = append(out, l)
		at = max(at, to)
	}
	first := true
	for i := 0; i < len(v.steps); {
		s := &v.d.spans[v.steps[i]]
		if s.start >= until {
			break
		}
		if first && s.start > at {
			add("queue", "queue", s.start, -1, 0)
		}
		first = false
		// A run of steps of one kind that had begun when the chain went on.
		k, last := i, s.end
		for k < len(v.steps) && v.d.spans[v.steps[k]].cls == s.cls && v.d.spans[v.steps[k]].start < until {
			last = v.d.spans[v.steps[k]].end
			k++
		}
		if k >= len(v.steps) || v.d.spans[v.steps[k]].start >= until {
			last = until
		}
		c := classCategory[s.cls]
		add(c.String(), stepWords[c], min(last, until), s.slice, k-i)
		i = k
	}
	if at < until {
		add("queue", "queue", until, -1, 0)
	}
	slices.Reverse(out)
	return out
}

// stepWords are the categories of steps in plain words.
var stepWords = map[Category]string{
	CatPrefill: "prefill", CatDecode: "decode", CatTextEncode: "text encode", CatDenoise: "denoise",
	CatVAEDecode: "VAE decode", CatVocode: "vocode",
}
