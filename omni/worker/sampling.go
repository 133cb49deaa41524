package worker

import (
	"slices"
	"sync"

	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/profiler"
)

// maxDecisions bounds what a sampling remembers: far more requests than a stage holds at
// once. Requests beyond it are decided by their id.
const maxDecisions = 1 << 14

// sampling decides which requests a session with sample_requests records: those whose trace context
// is marked as sampled, and of requests without a trace context those that the hash of their id
// chooses. Only rank 0 has one; the followers of a replica learn its decisions with each plan.
type sampling struct {
	mu      sync.Mutex
	decided map[string]bool // by request id: the trace context's flag
}

// note remembers the trace context of req and returns its trace id, "" if it has none.
func (s *sampling) note(req *wire.Request) (traceID string) {
	p, err := profiler.ParseTraceParent(req.TraceParent)
	if err != nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.decided == nil {
		s.decided = map[string]bool{}
	}
	if len(s.decided) < maxDecisions {
		s.decided[req.ID] = p.Sampled()
	}
	return p.TraceHex()
}

// forget ends what note began.
func (s *sampling) forget(id string) {
	s.mu.Lock()
	delete(s.decided, id)
	s.mu.Unlock()
}

// of returns what trace contexts decided for ids; nil if they decided for none of them.
func (s *sampling) of(ids ...string) map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out map[string]bool
	for _, id := range ids {
		if d, ok := s.decided[id]; ok {
			if out == nil {
				out = map[string]bool{}
			}
			out[id] = d
		}
	}
	return out
}

// sampled reports whether at least one of ids is recorded by a session with sample_requests every.
// decided is what sampling.of returned for ids.
func sampled(ids []string, decided map[string]bool, every int) bool {
	return every <= 1 || slices.ContainsFunc(ids, func(id string) bool {
		if d, ok := decided[id]; ok {
			return d
		}
		return wire.Sampled(id, every)
	})
}

// trackOf returns t if the request is recorded, else nil, which records nothing.
func (s *stage) trackOf(t *profiler.Track, id string) *profiler.Track {
	every := s.iterate.SampleEvery()
	return t.If(every <= 1 || sampled([]string{id}, s.sampling.of(id), every))
}
