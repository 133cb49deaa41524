package trace

// Strings interns the texts of a trace.
type Strings struct {
	list []string
	ids  map[string]StringID
}

// Repairs counts what a reader mended, by kind.
type Repairs struct{ Count map[string]int }

type argStore struct{ data []byte }

// String returns the text of id.
func (t *Trace) String(id StringID) string { return "" }

// Intern returns the id of s, adding it if it is new.
func (t *Trace) Intern(s string) StringID { return 0 }

// Args returns the raw JSON object of r, or nil. The bytes must not be changed.
func (t *Trace) Args(r ArgsRef) []byte { return nil }

// AddArgs stores a raw JSON object and returns its reference.
func (t *Trace) AddArgs(raw []byte) ArgsRef { return NoArgs }

// Arg returns the raw JSON value of key in slice i's arguments, or nil.
func (t *Trace) Arg(i int, key string) []byte { return nil }

// ArgInt returns an integer argument; numbers in text count.
func (t *Trace) ArgInt(i int, key string) (int64, bool) { return 0, false }

// ArgText returns a text argument, unescaped.
func (t *Trace) ArgText(i int, key string) (string, bool) { return "", false }
