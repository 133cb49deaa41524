package web

import (
	"net/http"
	"strings"
	"sync"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/omni"
	"github.com/kinetoscope/kinetoscope/profiler/httptrace"
)

// HeaderRequestID carries a request's id: the client's, if it sent a valid one. The same id is in
// the answer's header and body, in the log, in every stage's trace and in the report.
const HeaderRequestID = "X-Request-Id"

// maxRequestID bounds a client's request id, which goes into the log and the traces.
const maxRequestID = 128

// requestIdent is the id of a request under way. The goroutine that serves the request
// owns it; it changes once at most, before anything is answered.
type requestIdent struct {
	id    string
	given bool // by the client
}

type requestIDKey struct{}

// requestIdentOf reads the id that a client gave, or makes one.
func requestIdentOf(r *http.Request) *requestIdent {
	id := r.Header.Get(HeaderRequestID)
	bad := func(c rune) bool {
		return !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.ContainsRune("._-", c))
	}
	if id == "" || len(id) > maxRequestID || strings.ContainsFunc(id, bad) {
		return &requestIdent{id: ulid.Make().String()}
	}
	return &requestIdent{id, true}
}

func requestIDOf(r *http.Request) string {
	if i, ok := r.Context().Value(requestIDKey{}).(*requestIdent); ok {
		return i.id
	}
	return ""
}

// identify gives req the id of r and the trace that it belongs to. An id that the server
// made begins with prefix. A client's id that has been used before gets an ending:
// stages and reports tell requests apart by it.
func (s *Server) identify(w http.ResponseWriter, r *http.Request, req *omni.Request, prefix string) {
	i, ok := r.Context().Value(requestIDKey{}).(*requestIdent)
	switch {
	case !ok: // without middleware, so no other id was answered or logged
		i = &requestIdent{id: prefix + ulid.Make().String()}
	case !i.given:
		i.id = prefix + i.id
	case !s.used.add(i.id):
		i.id += "-" + ulid.Make().String()
	}
	w.Header().Set(HeaderRequestID, i.id)
	req.ID = i.id
	req.TraceParent, _ = httptrace.TraceParentOf(r.Context())
}

// maxUsedIDs is how many clients' ids are remembered, each of up to 128 bytes: more than one
// session has requests, which its report tells apart by their ids.
const maxUsedIDs = 1 << 16

// usedIDs are the last ids that clients gave. The zero value has none.
type usedIDs struct {
	mu   sync.Mutex
	seen map[string]bool
	ring []string // in the order of their use, from next on
	next int
}

// add reports whether id is new, and remembers it.
func (u *usedIDs) add(id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.seen[id] {
		return false
	}
	if u.seen == nil {
		u.seen = map[string]bool{}
	}
	u.seen[id] = true
	if len(u.ring) < maxUsedIDs {
		u.ring = append(u.ring, id)
		return true
	}
	delete(u.seen, u.ring[u.next])
	u.ring[u.next] = id
	u.next = (u.next + 1) % maxUsedIDs
	return true
}
