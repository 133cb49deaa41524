package pipeline

import (
	"cmp"
	"slices"

	"github.com/kinetoscope/kinetoscope/analysis/drift"
)

// batchAcc is a batch whose steps are being collected.
type batchAcc struct {
	d     *rankData
	reqs  []int32
	steps []int // indices into d.spans
	alone bool  // no step has another request
}

// batches fills Report.Batches: the requests that shared all their denoise steps on the
// first rank of a replica. With continuous batching requests join and leave between
// steps; each such set is a row, and a step counts in the rows of all its requests.
func (a *analyzer) batches(r *Report) {
	for i, d := range a.ranks {
		if i > 0 && a.ranks[i-1].stageID == d.stageID && a.ranks[i-1].stage == d.stage &&
			a.ranks[i-1].t.Meta.Replica == d.t.Meta.Replica {
			continue
		}
		for _, b := range d.collectBatches() {
			r.Batches = append(r.Batches, a.batch(b))
		}
	}
	slices.SortStableFunc(r.Batches, func(x, y Batch) int { return cmp.Compare(x.StartNs, y.StartNs) })
}

func (d *rankData) collectBatches() []*batchAcc {
	const unnamed = -1 // steps that name no request are one batch
	steps := map[int32][]int{}
	var order []int32
	add := func(id int32, k int) {
		if steps[id] == nil {
			order = append(order, id)
		}
		steps[id] = append(steps[id], k)
	}
	for k := range d.spans {
		s := &d.spans[k]
		if s.cls != clsDenoise {
			continue
		}
		if len(s.reqs) == 0 {
			add(unnamed, k)
		}
		for _, id := range s.reqs {
			add(id, k)
		}
	}
	// Requests with equal steps begin with the same one.
	byFirst := map[int][]*batchAcc{}
	var out []*batchAcc
	for _, id := range order {
		l := steps[id]
		var b *batchAcc
		for _, x := range byFirst[l[0]] {
			if slices.Equal(x.steps, l) {
				b = x
			}
		}
		if b == nil {
			b = &batchAcc{d: d, steps: l}
			byFirst[l[0]] = append(byFirst[l[0]], b)
			out = append(out, b)
		}
		if id != unnamed {
			b.reqs = append(b.reqs, id)
		}
	}
	for _, b := range out {
		b.alone = true
		for _, k := range b.steps {
			b.alone = b.alone && len(d.spans[k].reqs) == len(b.reqs)
		}
	}
	return out
}

func (a *analyzer) batch(acc *batchAcc) Batch {
	d := acc.d
	first, last := &d.spans[acc.steps[0]], &d.spans[acc.steps[len(acc.steps)-1]]
	only := &rankData{t: d.t, turns: d.turns}
	b := Batch{Requests: []string{}, StageID: d.stageID, Replica: d.t.Meta.Replica, StartNs: first.start,
		DenoiseNs: last.end - first.start}
	for _, id := range acc.reqs {
		b.Requests = append(b.Requests, a.ids.names[id])
	}
	for _, k := range acc.steps {
		s := &d.spans[k]
		only.spans = append(only.spans, *s)
		if acc.alone {
			b.Images = max(b.Images, int(s.batch)) // a request can ask for several
		}
	}
	b.Images = max(b.Images, len(acc.reqs))
	if st := stepStats([]*rankData{only}); len(st) > 0 {
		b.Steps = st[0]
	}
	b.Drift = acc.drift()
	end := last.end
	if len(acc.reqs) > 0 && a.aligned {
		end = max(end, a.around(acc, &b))
	}
	b.TotalNs = end - b.StartNs
	if b.Images > 0 {
		b.PerImageNs = float64(b.TotalNs) / float64(b.Images)
	}
	return b
}

// drift returns the drift of the batch's longest loop. With continuous batching other requests join
// and leave, and a step with more requests takes longer for that reason alone, so loops end there.
func (acc *batchAcc) drift() float64 {
	d := acc.d
	list := make([]drift.Step, len(acc.steps))
	for i, k := range acc.steps {
		s := &d.spans[k]
		t := d.turnOf(s)
		list[i] = drift.Step{AtNs: t.at, Ns: t.ns, HostNs: s.end - s.start,
			Same: i > 0 && slices.Equal(s.reqs, d.spans[acc.steps[i-1]].reqs)}
	}
	var longest drift.Drift
	for _, l := range drift.Loops(list) {
		if l.Steps > longest.Steps {
			longest = l.Drift
		}
	}
	return longest.Change
}

// around adds the batch's text encoding and VAE decoding, wherever they ran, and returns the end of
// the last one. A stage of several ranks is counted once.
func (a *analyzer) around(acc *batchAcc, b *Batch) int64 {
	if a.coders == nil {
		a.findCoders()
	}
	var end int64
	type slice struct {
		d *rankData
		k int
	}
	seen := map[slice]bool{}
	firstStep := acc.d.spans[acc.steps[0]].start
	for _, id := range acc.reqs {
		for _, ref := range a.coders[id] {
			if seen[slice(ref)] {
				continue // several requests of the batch share it
			}
			seen[slice(ref)] = true
			switch s := ref.span(); {
			case s.cls == clsTextEncode && s.start <= firstStep:
				b.TextEncodeNs += s.end - s.start
				b.StartNs = min(b.StartNs, s.start)
			case s.cls == clsVAEDecode && s.end >= firstStep:
				b.VAEDecodeNs += s.end - s.start
				end = max(end, s.end)
			}
		}
	}
	return end
}

// findCoders lists each request's text encodings and VAE decodings on the first rank
// of each replica.
func (a *analyzer) findCoders() {
	type place struct {
		stage, replica int
	}
	lead := map[place]*rankData{}
	a.coders = map[int32][]spanRef{}
	for _, d := range a.ranks {
		p := place{d.stageID, d.t.Meta.Replica}
		for k := range d.spans {
			s := &d.spans[k]
			if s.cls != clsTextEncode && s.cls != clsVAEDecode {
				continue
			}
			if lead[p] == nil {
				lead[p] = d
			}
			if lead[p] != d {
				break
			}
			for _, id := range s.reqs {
				a.coders[id] = append(a.coders[id], spanRef{d, k})
			}
		}
	}
}
