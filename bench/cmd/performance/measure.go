package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/usage"
)

// cost is what a process and its children took. Others is the time that the rest of the
// machine was busy meanwhile, of one core.
type cost struct {
	usage.Cost
	others float64
}

// maxOthers is the share of one core that others may use while a time on the wall counts.
const maxOthers = 0.1

// runOnce runs a command to its end.
func runOnce(ctx context.Context, command []string) (cost, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	busy := busyTime()
	took, err := usage.Run(cmd)
	if err != nil {
		return cost{}, fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(said.String()))
	}
	return cost{took, max(0, (busyTime()-busy-took.CPU).Seconds()/took.Wall.Seconds())}, nil
}

// lower keeps the least of each; a wall time counts only if the machine was quiet.
func (c cost) lower(d cost, first bool) cost {
	if first {
		return d
	}
	out := cost{c.Lower(d.Cost), c.others}
	out.Wall = c.Wall
	if d.others <= maxOthers && d.Wall < c.Wall || c.others > maxOthers && d.others < c.others {
		out.Wall, out.others = d.Wall, d.others
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
	wall := fmt.Sprintf("%.2f", own.Wall.Seconds()/max(gz.Wall.Seconds(), 1e-9))
	if worst := max(own.others, gz.others); worst > maxOthers {
		wall = fmt.Sprintf("not said: others used %.1f cores", worst)
	}
	ratio := "–"
	if gz.CPU > 0 {
		ratio = fmt.Sprintf("%.2f", own.CPU.Seconds()/gz.CPU.Seconds())
	} else {
		wall = "–"
	}
	fmt.Printf("| %s | %.2f s | %s | %s | %.0f MB | %s |\n", work, own.CPU.Seconds(), ratio, wall, float64(own.RSS)/1e6,
		note)
}
