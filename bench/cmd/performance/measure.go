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

// cost is what a process and its children took. Others is how long other processes kept one core
// busy in the meantime.
type cost struct {
	usage.Cost
	others float64
}

// maxOthers is the share of one core that other processes may use for a wall time to count.
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

// lower keeps the lesser of each figure. Wall times count only if the machine was quiet.
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

// beside runs the command and gzip in turn and returns the best of each.
func (b *bench) beside(packed string, command ...string) (own, gz cost, err error) {
	return b.pair([]string{"gzip", "-dc", packed}, command)
}

// pair runs a command and what it is compared with in turn, and returns the best of each.
func (b *bench) pair(with, command []string) (own, gz cost, err error) {
	for i := range b.runs {
		c, err := runOnce(b.ctx, with)
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

// ticks is how many units of /proc/stat are a second.
const ticks = 100

// busyTime returns how long all cores together have worked since the machine started; 0 if the
// kernel does not say.
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

// row prints a line of the table. note is its last column.
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
