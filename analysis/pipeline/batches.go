package pipeline

import (
	"cmp"
	"slices"
)

// driftSteps is the least number of denoise steps from which a drift is computed: two
// in each quarter.
const driftSteps = 8

// batchAcc is a batch whose steps are being collected.
type batchAcc struct {
	d     *rankData
	reqs  []int32
	steps []int // indices into d.spans
	last  int64 // the step's number
}

// batches fills Report.Batches: denoise steps of one set of requests on the first rank
// of a replica, a new batch where the step number starts again.
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
	var out []*batchAcc
	for k := range d.spans {
		s := &d.spans[k]
		if s.cls != clsDenoise {
			continue
		}
		var b *batchAcc
		for j := len(out) - 1; j >= 0; j-- {
			if slices.Equal(out[j].reqs, s.reqs) {
				b = out[j]
				break
			}
		}
		if b == nil || s.step >= 0 && s.step <= b.last {
			b = &batchAcc{d: d, reqs: s.reqs}
			out = append(out, b)
		}
		b.steps = append(b.steps, k)
		b.last = s.step
	}
	return out
}

func (a *analyzer) batch(acc *batchAcc) Batch {
	d := acc.d
	first, last := &d.spans[acc.steps[0]], &d.spans[acc.steps[len(acc.steps)-1]]
	only := &rankData{t: d.t}
	b := Batch{Requests: []string{}, StageID: d.stageID, Replica: d.t.Meta.Replica, StartNs: first.start, DenoiseNs: last.end - first.start}
	for _, id := range acc.reqs {
		b.Requests = append(b.Requests, a.ids.names[id])
	}
	var durs []int64
	for _, k := range acc.steps {
		s := &d.spans[k]
		only.spans = append(only.spans, *s)
		durs = append(durs, s.end-s.start)
		b.Images = max(b.Images, int(s.batch))
	}
	if st := stepStats([]*rankData{only}); len(st) > 0 {
		b.Steps = st[0]
	}
	if n := len(durs); n >= driftSteps {
		if head := mean(durs[:n/4]); head > 0 {
			b.Drift = mean(durs[n-n/4:])/head - 1
		}
	}
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

// around adds the batch's text encoding and VAE decoding, wherever they ran, and
// returns the end of the last of them. A stage of several ranks is counted once.
func (a *analyzer) around(acc *batchAcc, b *Batch) int64 {
	var end int64
	type place struct {
		stage, replica int
		cls            class
	}
	lead := map[place]*rankData{}
	firstStep := acc.d.spans[acc.steps[0]].start
	for _, d := range a.ranks {
		for k := range d.spans {
			s := &d.spans[k]
			if s.cls != clsTextEncode && s.cls != clsVAEDecode || !slices.ContainsFunc(s.reqs, func(id int32) bool { return slices.Contains(acc.reqs, id) }) {
				continue
			}
			p := place{d.stageID, d.t.Meta.Replica, s.cls}
			if lead[p] == nil {
				lead[p] = d
			}
			if lead[p] != d {
				continue
			}
			if s.cls == clsTextEncode && s.start <= firstStep {
				b.TextEncodeNs += s.end - s.start
				b.StartNs = min(b.StartNs, s.start)
			}
			if s.cls == clsVAEDecode && s.end >= firstStep {
				b.VAEDecodeNs += s.end - s.start
				end = max(end, s.end)
			}
		}
	}
	return end
}
