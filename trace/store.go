package trace

import "github.com/kinetoscope/kinetoscope/trace/ids"

// Strings interns the texts of a trace. The zero value holds the empty string only.
// Interning is not safe for use by several goroutines; reading is.
type Strings struct {
	list  ids.List[string] // the empty string is the first, once there is any
	bytes int64            // of the texts
}

// Len returns the number of distinct texts; ids run from 0 to Len()-1.
func (s *Strings) Len() int { return max(1, s.list.Len()) }

// Get returns the text of id; an unknown id gives "".
func (s *Strings) Get(id StringID) string {
	if list := s.list.Keys(); int(id) < len(list) {
		return list[id]
	}
	return ""
}

// Lookup returns the id of text and whether the trace has it.
func (s *Strings) Lookup(text string) (StringID, bool) {
	if text == "" {
		return 0, true
	}
	id, ok := s.list.Find(text, ids.OfText(text))
	return StringID(id), ok
}

// Intern returns the id of text, adding it if it is new.
func (s *Strings) Intern(text string) StringID {
	if text == "" {
		return 0
	}
	return s.InternHashed(text, ids.OfText(text))
}

// InternHashed is Intern for a caller that knows the text's hash, as ids.OfText returns it.
// The text is not empty.
func (s *Strings) InternHashed(text string, hash uint64) StringID {
	if s.list.Len() == 0 {
		s.list.Number("", ids.OfText(""))
	}
	id, added := s.list.Number(text, hash)
	if added {
		s.bytes += int64(len(text))
	}
	return StringID(id)
}

// Texts returns the texts by id, for a writer that stores the trace as it is. They must
// not be changed.
func (s *Strings) Texts() []string { return s.list.Keys() }

// share returns a table of the same texts that grows independently of s.
func (s *Strings) share() Strings { return Strings{list: s.list.Share(), bytes: s.bytes} }

// SetTexts restores what Texts returned; s owns the list from then on.
func (s *Strings) SetTexts(list []string) {
	s.list.Set(list, ids.OfText)
	s.bytes = 0
	for _, text := range list {
		s.bytes += int64(len(text))
	}
}

// String returns the text of id.
func (t *Trace) String(id StringID) string { return t.Strings.Get(id) }

// Intern returns the id of s, adding it if it is new. What is no UTF-8 in a new text is replaced, and counted.
func (t *Trace) Intern(s string) StringID {
	if s == "" {
		return 0
	}
	hash := ids.OfText(s)
	if id, ok := t.Strings.list.Find(s, hash); ok {
		return StringID(id)
	}
	if v := t.valid(s); v != s {
		return t.Strings.Intern(v)
	}
	return t.Strings.InternHashed(s, hash)
}
