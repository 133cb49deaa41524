package server

import (
	"fmt"
	"time"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/units"
)

// leastRoom is what a directory must have free for a session to begin of which nothing is
// known: seconds of a small model take megabytes, and an engine whose disk fills up while it
// writes leaves traces that are cut.
const leastRoom = 256 << 20

// roomFactor is how many times the expected size must be free: engines write a trace unpacked
// before they pack it, some ten times as large as it is then, and remove it after.
const roomFactor = 10

// leastTook is how long a session must have been for its bytes to tell what a second takes. In
// a shorter one most bytes are what every trace begins with, and a rate made of those would
// refuse a session of minutes for room that it never needs.
const leastTook = time.Second

// cost is what a session of the server took.
type cost struct {
	bytes int64         // of its files
	took  time.Duration // from its start to its stop
}

// expected is how many bytes a session's files will have by what the last one took a second,
// false before the first. One without a bound of its own is expected to be as long as that, and
// one of less than leastTook is counted as that long.
func (c cost) expected(j driver.Job) (int64, bool) {
	if c.took <= 0 || c.bytes == 0 {
		return 0, false
	}
	d := j.MaxDuration
	if d <= 0 || d >= protocol.DefaultMaxDuration {
		d = c.took
	}
	return int64(float64(c.bytes) * d.Seconds() / max(c.took, leastTook).Seconds()), true
}

// room refuses a session whose files the directory has no room for, before anything starts.
func (d *Driver) room(dir string, j driver.Job) error {
	d.mu.Lock()
	last := d.cost
	d.mu.Unlock()
	free, known := d.free(dir)
	if !known {
		return nil
	}
	size, measured := last.expected(j)
	if measured {
		d.log.Info("what a session is expected to take", "target", d.to.String(), "bytes", size, "free", free)
	}
	switch need := size * roomFactor; {
	case free < leastRoom && need <= leastRoom:
		return fmt.Errorf("%s has %s free: make room for at least %s, for an engine whose disk fills up leaves traces "+
			"that are cut", dir, units.Bytes(free), units.Bytes(leastRoom))
	case free < need:
		return fmt.Errorf("%s has %s free, and by what the last session took this one leaves %s, and while it is packed "+
			"up to %s: make room, record for less long, or turn call stacks off", dir, units.Bytes(free),
			units.Bytes(size), units.Bytes(need))
	}
	return nil
}

// spent remembers what a session took.
func (c *capture) spent() {
	c.mu.Lock()
	until := c.until
	c.mu.Unlock()
	if c.at.IsZero() || until.IsZero() {
		return
	}
	n := c.Written()
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.cost = cost{n, until.Sub(c.at)}
}
