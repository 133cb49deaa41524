package trace

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of times, of all formats.
const (
	// MaxTime is how far from 0 a time in ns may be: the year 2198. It leaves room for a base and a duration in int64.
	MaxTime = 7_200_000_000_000_000_000
	// MaxDur is the duration in ns that no slice of a real capture has: beyond it a clock has overflowed.
	MaxDur = int64(7 * 24 * 3600 * 1e9)
)

// AddNs returns a + b, or the nearest number that there is: a time that does not fit stays one that Sound drops.
func AddNs(a, b int64) int64 {
	const top = 1<<63 - 1
	switch {
	case b > 0 && a > top-b:
		return top
	case b < 0 && a < -top-b:
		return -top
	}
	return a + b
}

// Sound leaves out what has a time beyond MaxTime, and slices longer than MaxDur, which sums over slices would not
// survive, and replaces what is no UTF-8 in Meta. Each is counted as a repair. Sums laid end to end are as long as
// they are. It is for a trace that has just been read, before anything is asked of it.
func (t *Trace) Sound() {
	s := &t.Slices
	var out []int
	for i, at := range s.Start {
		switch {
		case beyond(at):
			t.Repairs.Add(RepairNoTime, 1)
		case s.Dur[i] > MaxDur && !t.Meta.Sums:
			t.Repairs.Add(RepairAbsurdDur, 1)
		default:
			continue
		}
		out = append(out, i)
	}
	s.Drop(out)
	if n := t.dropPoints(); n > 0 {
		t.Repairs.Add(RepairNoTime, n)
	}
	if len(out) > 0 {
		t.Meta.WindowStart, t.Meta.WindowEnd = 0, 0
		t.Window()
	}
	t.validMeta()
}

// beyond reports whether a time cannot be one.
func beyond(ns int64) bool { return ns > MaxTime || ns < -MaxTime }

// dropPoints removes instants, samples and ends of arrows whose time cannot be, and returns how many.
func (t *Trace) dropPoints() int {
	a, b, c := &t.Instants, &t.Counters, &t.Flows
	before := len(a.Time) + len(b.Time) + len(c.Time)
	if slices.ContainsFunc(a.Time, beyond) {
		bad := a.Time
		a.Name, a.Cat, a.Track = without(a.Name, bad), without(a.Cat, bad), without(a.Track, bad)
		a.Args, a.Time = without(a.Args, bad), without(bad, bad)
	}
	if slices.ContainsFunc(b.Time, beyond) {
		bad := b.Time
		b.Name, b.Series, b.Track = without(b.Name, bad), without(b.Series, bad), without(b.Track, bad)
		b.Value, b.Time = without(b.Value, bad), without(bad, bad)
	}
	if slices.ContainsFunc(c.Time, beyond) {
		bad := c.Time
		c.ID, c.Track, c.Cat = without(c.ID, bad), without(c.Track, bad), without(c.Cat, bad)
		c.Name, c.Start, c.Time = without(c.Name, bad), without(c.Start, bad), without(bad, bad)
	}
	return before - len(a.Time) - len(b.Time) - len(c.Time)
}

// without returns the values of column whose time can be.
func without[T any](column []T, times []int64) []T {
	out := make([]T, 0, len(column))
	for i, v := range column {
		if !beyond(times[i]) {
			out = append(out, v)
		}
	}
	return out
}

// valid returns s with U+FFFD for what is no UTF-8 in it, which engines of SQL, Perfetto and browsers refuse a whole
// file for. That is counted.
func (t *Trace) valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	t.Repairs.Add(RepairUTF8, 1)
	return strings.ToValidUTF8(s, "\uFFFD")
}

// validMeta does the same for what the trace says of itself.
func (t *Trace) validMeta() {
	m := &t.Meta
	for _, text := range []*string{&m.Host, &m.Stage, &m.Backend, &m.Role} {
		*text = t.valid(*text)
	}
	for i := range m.Devices {
		m.Devices[i].Name = t.valid(m.Devices[i].Name)
	}
}
