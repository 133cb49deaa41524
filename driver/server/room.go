package server

import (
	"fmt"
	"time"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/units"
)

// leastRoom is how many bytes a directory must have free for a session of unknown size. Seconds of
// a small model take megabytes, and an engine whose disk fills up leaves truncated traces.
const leastRoom = 256 << 20

// roomFactor is how many times the expected size must be free: engines write a trace uncompressed,
// which is some ten times as large, compress it, and then remove it.
const roomFactor = 10

// leastTook is the shortest session from which a rate in bytes per second is computed. In a shorter
// one, most bytes are the fixed beginning of every trace, and the rate would refuse long sessions
// for lack of room that they never need.
const leastTook = time.Second

// cost is the size and duration of a session.
type cost struct {
	bytes int64         // of its files
	took  time.Duration // from its start to its stop
}

// expected returns how many bytes a session's files will have, from the rate of the last session;
// false before the first. A session without a bound of its own is expected to be as long as the
// last one. A last session shorter than leastTook counts as leastTook long.
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

// room refuses a session if the directory has too little room for its files, before anything
// starts.
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
