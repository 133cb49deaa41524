// Package usage says what processes took of the machine: time on the wall, processor time, peak
// memory. It is for benchmarks and for tests of ratios. On a machine that serves others too,
// processor time is a steadier measure than the time on the wall.
package usage

import (
	"os/exec"
	"time"
)

// Cost is what a process and those that it waited for took.
type Cost struct {
	Wall time.Duration
	CPU  time.Duration // of all cores, by the program and by the system for it
	RSS  int64         // bytes of memory at its peak; 0 where the system does not say
}

// Lower is the least of each of two costs: the best of several runs is what the work takes, the
// rest is what others did meanwhile.
func (c Cost) Lower(d Cost) Cost {
	return Cost{min(c.Wall, d.Wall), min(c.CPU, d.CPU), min(c.RSS, d.RSS)}
}

// Run runs a command that has not been started to its end. The error is that of its Run.
func Run(cmd *exec.Cmd) (Cost, error) {
	began := time.Now()
	err := cmd.Run()
	c := Cost{Wall: time.Since(began)}
	if s := cmd.ProcessState; s != nil {
		c.CPU, c.RSS = s.UserTime()+s.SystemTime(), peak(s.SysUsage())
	}
	return c, err
}
