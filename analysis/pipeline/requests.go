package pipeline

import (
	"cmp"
	"math"
	"slices"

	"github.com/kinetoscope/kinetoscope/trace"
)

// visit is a request's time on one rank.
type visit struct {
	d     *rankData
	steps []int // indices into d.spans, by start
	recvs []int
	sends []int
	samps []int
	born  int64 // start of the request slice; -1 if none
	start int64 // of the first span that names the request
	end   int64
}

// journey is a request's time in the pipeline: the ranks that handled it, by stage,
// replica and rank.
type journey struct {
	id     int32
	visits []*visit
	born   int64  // earlier sign of the request than any span; else max int64
	trace  string // W3C trace id; "" if it came with none
}

// journeys collects what each request did; the order is that of a.ids.
func (a *analyzer) journeys() []journey {
	js := make([]journey, len(a.ids.names))
	for id := range js {
		js[id].born = math.MaxInt64
		if at, ok := a.o.Arrivals[a.ids.names[id]]; ok {
			js[id].born = at
		}
	}
	for _, d := range a.ranks {
		d.arrivals(func(request, traceID string, at int64) {
			if id, ok := a.ids.ids[request]; ok {
				js[id].born = min(js[id].born, at)
				js[id].trace = cmp.Or(js[id].trace, traceID)
			}
		})
	}
	for _, d := range a.ranks {
		for k := range d.spans {
			s := &d.spans[k]
			for _, id := range s.reqs {
				j := &js[id]
				j.id = id
				if n := len(j.visits); n == 0 || j.visits[n-1].d != d {
					j.visits = append(j.visits, &visit{d: d, born: -1, start: s.start, end: s.end})
				}
				v := j.visits[len(j.visits)-1]
				v.end = max(v.end, s.end)
				switch {
				case s.cls == clsRequest:
					if v.born < 0 {
						v.born = s.start
					}
				case s.cls.isStep():
					v.steps = append(v.steps, k)
				case s.cls == clsRecv:
					v.recvs = append(v.recvs, k)
					if j.trace == "" {
						j.trace, _ = d.t.ArgText(s.slice, trace.ArgTraceID)
					}
				case s.cls == clsSend:
					v.sends = append(v.sends, k)
				case s.cls == clsSample:
					v.samps = append(v.samps, k)
				}
			}
		}
	}
	return js
}

// lead returns, in stage order, the visit of each stage's first rank. Ranks of a replica step
// together, and the first one talks to other stages.
func (j *journey) lead() []*visit {
	var out []*visit
	for _, v := range j.visits {
		if n := len(out); n > 0 && out[n-1].d.stageID == v.d.stageID && out[n-1].d.stage == v.d.stage {
			// A rank of the stage that runs steps is preferred to one that only passes the request
			// on.
			if len(out[n-1].steps) == 0 && len(v.steps) > 0 {
				out[n-1] = v
			}
			continue
		}
		out = append(out, v)
	}
	return out
}

// first returns the first step of category c, or -1.
func (v *visit) first(c Category) int {
	for _, k := range v.steps {
		if classCategory[v.d.spans[k].cls] == c {
			return k
		}
	}
	return -1
}

// arrival returns when the request came to the rank: at the end of the first hand-off received,
// else at the start of its request slice, else at the start of the first span that names it.
func (v *visit) arrival() int64 {
	if len(v.recvs) > 0 {
		if at := v.d.spans[v.recvs[0]].end; len(v.steps) == 0 || at <= v.d.spans[v.steps[0]].start {
			return at
		}
	}
	if v.born >= 0 {
		return v.born
	}
	return v.start
}

// arrivals calls f for the instants that mark the arrival of a request, with the request's trace
// id.
func (d *rankData) arrivals(f func(request, traceID string, at int64)) {
	in := &d.t.Instants
	name, ok := d.t.Strings.Lookup(trace.NameRequest)
	if !ok {
		return
	}
	for i, n := range in.Name {
		if n != name {
			continue
		}
		if id, ok := d.t.RefArgText(in.Args[i], trace.ArgRequest); ok {
			traceID, _ := d.t.RefArgText(in.Args[i], trace.ArgTraceID)
			f(id, traceID, in.Time[i]+d.offset)
		}
	}
}

// arrival returns the earliest time at which any rank shows the request.
func (j *journey) arrival() int64 {
	at := j.born
	for _, v := range j.visits {
		at = min(at, v.start)
	}
	return at
}

// firstToken is when the rank had the request's first token: the end of the first
// sampling that names it, or of its last prefill chunk. False if it had no prefill
// in the window.
func (v *visit) firstToken() (int64, bool) {
	at, ok := int64(0), false
	for _, k := range v.steps {
		s := &v.d.spans[k]
		if s.cls == clsDecode {
			break
		}
		if s.cls == clsPrefill {
			at, ok = s.end, true
		}
	}
	if !ok {
		return 0, false
	}
	for _, k := range v.samps {
		if s := &v.d.spans[k]; s.start >= at {
			decode := v.first(CatDecode)
			if decode < 0 || s.end <= v.d.spans[decode].start {
				return s.end, true
			}
			break
		}
	}
	return at, true
}

// output finds the request's first output that leaves the pipeline: the visit, the
// step that made it, and its kind.
func output(lead []*visit) (v *visit, step int, kind string) {
	for _, want := range []struct {
		c Category
		k string
	}{{CatVocode, "audio"}, {CatVAEDecode, "image"}} {
		for i := len(lead) - 1; i >= 0; i-- {
			if k := lead[i].first(want.c); k >= 0 {
				return lead[i], k, want.k
			}
		}
	}
	for _, v := range lead {
		if k := v.first(CatPrefill); k >= 0 {
			return v, k, "text"
		}
	}
	return nil, -1, ""
}

// requests fills Report.Requests, Latency and the chains.
func (a *analyzer) requests(r *Report) {
	if !a.aligned {
		return
	}
	all := a.journeys()
	js := make([]journey, 0, len(all))
	for _, j := range all {
		if len(j.visits) > 0 {
			js = append(js, j)
		}
	}
	slices.SortStableFunc(js, func(x, y journey) int {
		return cmp.Or(cmp.Compare(x.arrival(), y.arrival()), cmp.Compare(a.ids.names[x.id], a.ids.names[y.id]))
	})
	entry := 0
	for i := range js {
		if at := js[i].lead()[0].d.stageID; i == 0 || at < entry {
			entry = at
		}
	}
	var ttft, out, total []int64
	for i := range js {
		q := a.request(&js[i], entry)
		r.Requests = append(r.Requests, q)
		if q.Partial {
			continue
		}
		if q.TTFTNs >= 0 {
			ttft = append(ttft, q.TTFTNs)
		}
		if q.FirstOutputNs >= 0 && q.OutputKind != "text" {
			out = append(out, q.FirstOutputNs)
		}
		total = append(total, q.TotalNs)
	}
	r.Latency = Latency{TTFT: QuantilesOf(ttft), FirstOutput: QuantilesOf(out), Total: QuantilesOf(total)}
	a.chains(r, js)
}

// chains selects the requests whose path is shown: the one whose output came first, and the one
// with the median time to first output (of an even number, the lower).
func (a *analyzer) chains(r *Report, js []journey) {
	flows := a.sendsByFlow()
	var done []int
	for i, q := range r.Requests {
		if !q.Partial && q.FirstOutputNs >= 0 {
			done = append(done, i)
		}
	}
	if len(done) == 0 {
		return
	}
	at := func(i int) int64 { return r.Requests[i].ArrivalNs + r.Requests[i].FirstOutputNs }
	first := slices.MinFunc(done, func(x, y int) int { return cmp.Or(cmp.Compare(at(x), at(y)), cmp.Compare(x, y)) })
	r.FirstOutput = a.chain(&js[first], flows)
	slices.SortStableFunc(done, func(x, y int) int {
		return cmp.Compare(r.Requests[x].FirstOutputNs, r.Requests[y].FirstOutputNs)
	})
	r.MedianOutput = a.chain(&js[done[(len(done)-1)/2]], flows)
}

// partial reports whether the window shows only a part of the request: it is not seen
// in the stage where requests enter, an llm stage decodes it without a prefill, or it
// touches the window's edges.
func (j *journey) partial(lead []*visit, entry int) bool {
	if lead[0].d.stageID != entry {
		return true
	}
	for _, v := range j.visits {
		if v.first(CatDecode) >= 0 && v.first(CatPrefill) < 0 {
			return true
		}
		if v.d.bounded && (v.start <= v.d.start || v.end >= v.d.end) {
			return true
		}
	}
	return false
}

func (a *analyzer) request(j *journey, entry int) Request {
	q := Request{ID: a.ids.names[j.id], TraceID: j.trace, ArrivalNs: j.arrival(), TTFTNs: -1, FirstOutputNs: -1,
		Stages: []RequestStage{}}
	lead := j.lead()
	end := q.ArrivalNs
	for _, v := range j.visits {
		end = max(end, v.end)
	}
	q.TotalNs = end - q.ArrivalNs
	for _, v := range lead {
		q.Stages = append(q.Stages, v.report())
	}
	q.Partial = j.partial(lead, entry)
	for _, v := range lead {
		at, ok := v.firstToken()
		if !ok {
			continue
		}
		q.TTFTNs = at - q.ArrivalNs
		q.Tokens = 1
		last := at
		for _, k := range v.steps {
			if s := &v.d.spans[k]; s.cls == clsDecode {
				q.Tokens++
				last = s.end
			}
		}
		if q.Tokens > 1 {
			q.PerTokenNs = float64(last-at) / float64(q.Tokens-1)
		}
		break
	}
	switch v, k, kind := output(lead); kind {
	case "":
	case "text":
		q.OutputKind, q.FirstOutputNs = kind, q.TTFTNs
	default:
		q.OutputKind, q.FirstOutputNs = kind, v.d.spans[k].end-q.ArrivalNs
	}
	return q
}

func (v *visit) report() RequestStage {
	s := RequestStage{
		StageID: v.d.stageID, Name: v.d.stage, Replica: v.d.t.Meta.Replica, Rank: v.d.t.Meta.Rank,
		ArrivalNs: v.arrival(), EndNs: v.end, QueueNs: -1, Phases: []RequestPhase{},
	}
	if len(v.steps) > 0 {
		s.QueueNs = max(0, v.d.spans[v.steps[0]].start-s.ArrivalNs)
	}
	var sum [NumCategories]RequestPhase
	for _, k := range v.steps {
		x := &v.d.spans[k]
		c := classCategory[x.cls]
		sum[c].Steps++
		sum[c].TotalNs += x.end - x.start
	}
	for c := range sum {
		if sum[c].Steps > 0 {
			sum[c].Category = Category(c)
			s.Phases = append(s.Phases, sum[c])
		}
	}
	return s
}
