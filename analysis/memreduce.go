package analysis

import "math"

// heldPoint is what an allocator held from at on, in ns since the window's start.
type heldPoint struct {
	at, total int64
	held      heldBytes
}

func (p *heldPoint) same(q *heldPoint) bool { return p.total == q.total && p.held == q.held }

// reducer keeps a course's points, all of them or, if there are too many, of every
// bucket of time the one with the largest total.
type reducer struct {
	bucket int64 // ns; 0 keeps all
	out    []heldPoint
	n      int // points added
	cur    int64
	best   heldPoint // of bucket cur
	last   heldPoint // added
}

// newReducer is for n points within span ns, of which at most limit, at least 3, are kept.
func newReducer(n int, span int64, limit int) *reducer {
	r := &reducer{}
	if n > limit {
		r.bucket = min(span, math.MaxInt64-1)/int64(limit-2) + 1 // the first and the last point are extra
		n = limit
	}
	r.out = make([]heldPoint, 0, n)
	return r
}

// add adds a point; at does not decrease.
func (r *reducer) add(at, total int64, held heldBytes) {
	p := heldPoint{at, total, held}
	r.n++
	switch {
	case r.bucket == 0:
		r.out = append(r.out, p)
	case r.n == 1:
		r.out = append(r.out, p)
		r.best = p
	default:
		if k := at / r.bucket; k > r.cur {
			r.flush(r.best)
			entry := r.last
			if k > r.cur+1 {
				entry.at = (r.cur + 1) * r.bucket
				r.flush(entry)
			}
			entry.at = k * r.bucket
			r.cur, r.best = k, entry
		}
		if total > r.best.total {
			r.best = p
		}
	}
	r.last = p
}

func (r *reducer) flush(p heldPoint) {
	if !p.same(&r.out[len(r.out)-1]) {
		r.out = append(r.out, p)
	}
}

// points returns what was kept.
func (r *reducer) points() []heldPoint {
	if r.bucket > 0 {
		r.flush(r.best)
		r.flush(r.last)
	}
	return r.out
}

// reduction says what was left out, nil if nothing.
func (r *reducer) reduction() *MemoryReduction {
	if r.bucket == 0 {
		return nil
	}
	return &MemoryReduction{Method: "bucket_peak", BucketNs: r.bucket, Events: r.n}
}
