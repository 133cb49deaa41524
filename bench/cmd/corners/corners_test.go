//go:build unix

package main

import (
	"context"
	"io"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kinetoscope/kinetoscope/convert"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/chrome"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// Limits of what a trace of an unusual shape may cost, reading it included. Both must be passed to
// fail: a machine that others use makes one measurement of a few milliseconds several times
// another, and not in the same way for a trace and for a part of it.
const (
	cornerEvents = 4000 // of the small trace
	cornerTimes  = 5    // as many in the large one
	cornerRatio  = 3    // of an ordinary trace's processor time
	cornerGrowth = 9    // of the small trace's; 5 is linear, 25 quadratic
	cornerTries  = 4
	cornerRounds = 3 // of measuring both anew before a shape fails
)

// cornerShapes are those in which something occurs as often as there are events, or once.
var cornerShapes = []string{
	"one timestamp", "one correlation id", "a C++ name each", "a track each", "a process each", "a device each",
	"a deep stack", "a process group each", "flows, one id", "begins without an end", "kernels that overlap",
}

// TestCornersOfWriters: no shape of a trace makes reading it and writing it anew, merging it or
// laying it out take several times what an ordinary trace takes, unless that grows as the trace
// does. TestNoQuadraticCorner is the same of the analyses.
func TestCornersOfWriters(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds of processor time")
	}
	dir := t.TempDir()
	write := func(sh *shape, events int, name string) string {
		path := filepath.Join(dir, name)
		if err := sh.write(path, events); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ordinary := write(&shapes[0], cornerTimes*cornerEvents, "ordinary.json")
	for _, run := range writers {
		took := func(path string, tries int) float64 {
			best := math.Inf(1)
			for range tries {
				before := userTime(t)
				if err := run.do(t.Context(), path, t.TempDir()); err != nil {
					t.Fatalf("%s, %s: %v", run.name, filepath.Base(path), err)
				}
				best = min(best, userTime(t)-before)
			}
			return max(best, 0.002) // less is the clock's grain
		}
		base := took(ordinary, cornerTries)
		for k := range shapes {
			sh := &shapes[k]
			if !slices.Contains(cornerShapes, sh.name) {
				continue
			}
			path := write(sh, cornerTimes*cornerEvents, "large.json")
			large := took(path, 1)
			if large >= cornerRatio*base {
				large, base = took(path, cornerTries), min(base, took(ordinary, 1))
			}
			if large < cornerRatio*base {
				continue
			}
			part := write(sh, cornerEvents, "small.json")
			small := took(part, cornerTries)
			for round := 1; large > cornerGrowth*small && round < cornerRounds; round++ {
				large, small = min(large, took(path, cornerTries)), took(part, cornerTries)
			}
			if large > cornerGrowth*small {
				t.Errorf("%s, %s: %.1f times as long as an ordinary trace, %.0f times as long as for a fifth of it",
					run.name, sh.name, large/base, large/small)
			}
		}
	}
}

// writers read a trace and make something of it in dir.
var writers = []struct {
	name string
	do   func(ctx context.Context, path, dir string) error
}{
	{"timeline", func(ctx context.Context, path, _ string) error { return layOut(ctx, flags{timeline: path}) }},
	{"convert", func(ctx context.Context, path, _ string) error {
		list, err := readAll(ctx, path)
		if err == nil {
			_, err = chrome.Write(io.Discard, list[0], chrome.Options{})
		}
		return err
	}},
	{"merge", func(ctx context.Context, path, dir string) error {
		list, err := readAll(ctx, path, path)
		if err != nil {
			return err
		}
		in := make([]convert.RankInput, len(list))
		for i, tr := range list {
			in[i].Rank.Rank, in[i].Trace = i, tr
		}
		_, err = convert.Merge(ctx, in, convert.Dir(dir))
		return err
	}},
}

// readAll reads a trace for each path.
func readAll(ctx context.Context, paths ...string) ([]*trace.Trace, error) {
	var out []*trace.Trace
	for _, p := range paths {
		list, err := open.Files(ctx, []string{p}, open.Options{})
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// userTime is what this process has taken of processors outside of the system, in seconds.
func userTime(t *testing.T) float64 {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return float64(u.Utime.Nano()) / 1e9
}
