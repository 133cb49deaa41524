package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cost is what a process and its children took. Others is the time that the rest of the
// machine was busy meanwhile, of one core.
type cost struct {
	wall, cpu time.Duration
	rss       int64 // bytes
	others    float64
}

// maxOthers is the share of one core that others may use while a time on the wall counts.
const maxOthers = 0.1

// runOnce runs a command to its end.
func runOnce(ctx context.Context, command []string) (cost, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	busy, start := busyTime(), time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(said.String()))
	}
	c := cost{wall: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.rss = u.Maxrss * 1024 // kilobytes on Linux
	}
	c.others = max(0, (busyTime()-busy-c.cpu).Seconds()/c.wall.Seconds())
	return c, nil
}

// lower keeps the least of each; a wall time counts only if the machine was quiet.
func (c cost) lower(d cost, first bool) cost {
	if first {
		return d
	}
	out := cost{cpu: min(c.cpu, d.cpu), rss: min(c.rss, d.rss), wall: c.wall, others: c.others}
	if d.others <= maxOthers && d.wall < c.wall || c.others > maxOthers && d.others < c.others {
		out.wall, out.others = d.wall, d.others
	}
	return out
}

// beside runs command and gzip in turn and returns the best of both.
func (b *bench) beside(packed string, command ...string) (own, gz cost, err error) {
	for i := range b.runs {
		c, err := runOnce(b.ctx, []string{"gzip", "-dc", packed})
		if err != nil {
			return own, gz, err
		}
		gz = gz.lower(c, i == 0)
		if c, err = runOnce(b.ctx, command); err != nil {
			return own, gz, err
		}
		own = own.lower(c, i == 0)
	}
	return own, gz, nil
}

// ticks is how many of the kernel's clock ticks are a second in /proc/stat.
const ticks = 100

// busyTime is how long all cores together have worked since the machine started; 0 where
// the kernel does not say.
func busyTime() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var sum int64
	for i, f := range strings.Fields(line) {
		if i == 0 || i == 4 || i == 5 || i > 8 { // the name, idle, waiting for a disk, guests
			continue
		}
		n, _ := strconv.ParseInt(f, 10, 64)
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks
}

// row prints a line of the table. note says what the rest does not.
func row(work string, own, gz cost, note string) {
	wall := fmt.Sprintf("%.2f", own.wall.Seconds()/max(gz.wall.Seconds(), 1e-9))
	if worst := max(own.others, gz.others); worst > maxOthers {
		wall = fmt.Sprintf("not said: others used %.1f cores", worst)
	}
	ratio := "–"
	if gz.cpu > 0 {
		ratio = fmt.Sprintf("%.2f", own.cpu.Seconds()/gz.cpu.Seconds())
	} else {
		wall = "–"
	}
	fmt.Printf("| %s | %.2f s | %s | %s | %.0f MB | %s |\n", work, own.cpu.Seconds(), ratio, wall, float64(own.rss)/1e6,
		note)
}
