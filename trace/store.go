package trace

// Strings interns the texts of a trace. The zero value holds the empty string only.
// Interning is not safe for use by several goroutines; reading is.
type Strings struct {
	list  []string
	ids   map[string]StringID
	bytes int64 // of the texts
}

// Len returns the number of distinct texts; ids run from 0 to Len()-1.
func (s *Strings) Len() int { return max(1, len(s.list)) }

// Get returns the text of id; an unknown id gives "".
func (s *Strings) Get(id StringID) string {
	if int(id) < len(s.list) {
		return s.list[id]
	}
	return ""
}

// Lookup returns the id of text and whether the trace has it.
func (s *Strings) Lookup(text string) (StringID, bool) {
	if text == "" {
		return 0, true
	}
	id, ok := s.ids[text]
	return id, ok
}

// Intern returns the id of text, adding it if it is new.
func (s *Strings) Intern(text string) StringID {
	if text == "" {
		return 0
	}
	if id, ok := s.ids[text]; ok {
		return id
	}
	if s.ids == nil {
		s.ids = make(map[string]StringID)
	}
	if len(s.list) == 0 {
		s.list = append(s.list, "")
	}
	id := StringID(len(s.list))
	s.list = append(s.list, text)
	s.ids[text] = id
	s.bytes += int64(len(text))
	return id
}

// Texts returns the texts by id, for a writer that stores the trace as it is. They must
// not be changed.
func (s *Strings) Texts() []string { return s.list }

// SetTexts restores what Texts returned; s owns the list from then on.
func (s *Strings) SetTexts(list []string) {
	s.list, s.ids = list, make(map[string]StringID, len(list))
	s.bytes = 0
	for i := len(list) - 1; i > 0; i-- {
		s.bytes += int64(len(list[i]))
		s.ids[list[i]] = StringID(i)
	}
}

// String returns the text of id.
func (t *Trace) String(id StringID) string { return t.Strings.Get(id) }

// Intern returns the id of s, adding it if it is new.
func (t *Trace) Intern(s string) StringID { return t.Strings.Intern(s) }
