// Package usage measures what processes take of the machine: wall time, processor time, peak
// memory. It is for benchmarks and for tests of ratios. On a machine that others use too, processor
// time is a steadier measure than wall time.
package usage

import (
	"os/exec"
	"time"
)

// Cost is what a process and its waited-for children took.
type Cost struct {
	Wall time.Duration
	CPU  time.Duration // of all cores, in user and system mode
	RSS  int64         // peak memory in bytes; 0 where the system does not report it
}

// Lower returns the lesser of each figure. The best of several runs is what the work itself takes;
// the rest is the influence of other processes.
func (c Cost) Lower(d Cost) Cost {
	return Cost{min(c.Wall, d.Wall), min(c.CPU, d.CPU), min(c.RSS, d.RSS)}
}

// Run starts cmd, waits for its end and returns what it took. The error is that of cmd.Run.
func Run(cmd *exec.Cmd) (Cost, error) {
	began := time.Now()
	err := cmd.Run()
	c := Cost{Wall: time.Since(began)}
	if s := cmd.ProcessState; s != nil {
		c.CPU, c.RSS = s.UserTime()+s.SystemTime(), peak(s.SysUsage())
	}
	return c, err
}
