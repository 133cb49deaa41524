package format

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Check is what a recording was found to hold when all of it was read.
type Check struct {
	Header      Header
	Generations int
	Slices      int
	EndNs       int64    // Unix ns: end of what could be read
	End         *End     // nil if it was cut
	Cut         *Cut     // nil if it ended properly
	Damage      []Damage // pieces in the middle that could not be read
}

// Verify reads all of a recording, checksums included. Damage is not an error: the result
// tells of it. An error means that r failed, or that there is no recording to read: it is
// an *Error then.
func Verify(r io.Reader) (*Check, error) {
	rd, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	c := &Check{Header: *rd.Header()}
	for {
		g, err := rd.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if damage := (*Error)(nil); errors.As(err, &damage) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c.Slices += len(g.Slices.Start)
		if !g.Final {
			c.Generations++
		}
	}
	c.EndNs, c.End, c.Cut, c.Damage = rd.last, rd.End(), rd.Cut(), rd.Damage()
	return c, nil
}

// Lacks says in a sentence what is missing of the recording, "" if it is whole.
func (c *Check) Lacks() string {
	return Lacks(c.Header.Start, c.EndNs, c.Damage, c.Cut)
}

// WallStepNs is how far the wall clock moved against the monotonic one while recording,
// 0 if that is not known. Times of a recording go by the monotonic one throughout.
func (c *Check) WallStepNs() int64 {
	if c.End == nil {
		return 0
	}
	return c.End.WallTime - c.End.Time
}

// Lacks says in a sentence what is missing of a recording that began at start, whose
// readable part ends at end, both Unix ns; "" if nothing is.
func Lacks(start, end int64, damage []Damage, cut *Cut) string {
	at := func(ns int64) string { return "+" + time.Duration(ns-start).Round(100*time.Microsecond).String() }
	var parts []string
	if n := len(damage); n > 0 {
		var bytes int64
		for _, d := range damage {
			bytes += d.Bytes
		}
		places := fmt.Sprintf("%d places are damaged", n)
		if n == 1 {
			places = "one place is damaged"
		}
		parts = append(parts, fmt.Sprintf("%s and %d bytes unreadable, between %s and %s; what lies behind was read",
			places, bytes, at(damage[0].FromNs), at(damage[n-1].ToNs)))
	}
	if cut != nil {
		s := fmt.Sprintf("it breaks off at %s (offset %d)", at(end), cut.Offset)
		if cut.Bytes > 0 {
			s += fmt.Sprintf(", %d bytes behind are unusable", cut.Bytes)
		}
		parts = append(parts, s+": "+cut.Reason)
	}
	return strings.Join(parts, "; ")
}
