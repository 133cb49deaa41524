package doors

import "testing"

// says takes down what a failing test would say.
type says struct {
	testing.TB
	errors int
}

func (s *says) Helper()               {}
func (s *says) Errorf(string, ...any) { s.errors++ }

func TestCheck(t *testing.T) {
	d := Doors{}
	d.Say(t, "bytes", "comms", 65536)
	d.Say(t, "bytes", "report", 65536*(1+1e-12))
	d.Say(t, "calls", "comms", 3)
	if n := d.Check(t); n != 1 {
		t.Errorf("%d quantities compared, want 1", n)
	}
	s := &says{TB: t}
	d.Say(t, "calls", "report", 4)
	if d.Check(s); s.errors != 1 {
		t.Errorf("%d differences found, want 1", s.errors)
	}
	if d.Say(s, "calls", "comms", 5); s.errors != 2 {
		t.Error("a door that contradicts itself passes")
	}
}
