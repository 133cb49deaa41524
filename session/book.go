package session

import (
	"fmt"
	"slices"
)

// KeepFinished is how many ended sessions a Book remembers; older ones are in the store.
const KeepFinished = 100

// Book is the sessions of one hub, at most one of which holds the recorders.
// It is not safe for concurrent use.
type Book struct {
	order []string // oldest first
	byID  map[string]*Status
	gone  []string // forgotten since Forgotten was called
}

// BusyError says that another session holds the recorders.
type BusyError struct{ Running *Status }

func (e *BusyError) Error() string {
	return fmt.Sprintf("session %s is %s; stop it first", e.Running.ID, e.Running.State)
}

// Active returns the session that holds the recorders, nil if none does.
func (b *Book) Active() *Status {
	for i := len(b.order) - 1; i >= 0; i-- {
		if s := b.byID[b.order[i]]; s.State.HoldsRecorders() {
			return s
		}
	}
	return nil
}

// Latest returns the youngest session, nil if there is none.
func (b *Book) Latest() *Status {
	if len(b.order) == 0 {
		return nil
	}
	return b.byID[b.order[len(b.order)-1]]
}

// Admit enters a new session, or returns a *BusyError while one holds the recorders.
func (b *Book) Admit(s *Status) error {
	if a := b.Active(); a != nil {
		return &BusyError{Running: a}
	}
	b.Put(s)
	return nil
}

// Put enters or updates a session without asking, and forgets the oldest ended
// ones beyond KeepFinished.
func (b *Book) Put(s *Status) {
	if b.byID == nil {
		b.byID = map[string]*Status{}
	}
	if _, ok := b.byID[s.ID]; !ok {
		b.order = append(b.order, s.ID)
	}
	b.byID[s.ID] = s
	for i := 0; len(b.order) > KeepFinished && i < len(b.order); {
		if id := b.order[i]; b.byID[id].State.Terminal() {
			delete(b.byID, id)
			b.gone = append(b.gone, id)
			b.order = append(b.order[:i], b.order[i+1:]...)
			continue
		}
		i++
	}
}

// Forgotten returns the sessions that were forgotten since the last call, for callers that keep
// data of them elsewhere.
func (b *Book) Forgotten() []string {
	out := b.gone
	b.gone = nil
	return out
}

// Remove forgets an ended session. One that is under way stays, and so says false.
func (b *Book) Remove(id string) bool {
	s, ok := b.byID[id]
	if !ok {
		return true
	}
	if !s.State.Terminal() {
		return false
	}
	delete(b.byID, id)
	b.order = slices.DeleteFunc(b.order, func(o string) bool { return o == id })
	b.gone = append(b.gone, id)
	return true
}

// Get returns a session by id.
func (b *Book) Get(id string) (*Status, bool) {
	s, ok := b.byID[id]
	return s, ok
}

// All returns the sessions, youngest first.
func (b *Book) All() []*Status {
	out := make([]*Status, 0, len(b.order))
	for i := len(b.order) - 1; i >= 0; i-- {
		out = append(out, b.byID[b.order[i]])
	}
	return out
}
