//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/usage"
)

// bomb writes a packed trace of n events that each is made for by one of a thousand: the same
// member of gzip over and over, so that it costs nothing to write and much to read.
func bomb(t *testing.T, dir, name string, n int, event func(i int) string) string {
	t.Helper()
	path := filepath.Join(dir, name+".json.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	member := func(text string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := io.WriteString(z, text); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	const thousand = 1000
	var s strings.Builder
	for i := range thousand {
		s.WriteString(event(i))
	}
	parts := append([][]byte{member(`{"traceEvents": [`)}, bytes.Repeat(member(s.String()), n/thousand),
		member(`{"ph": "X", "name": "end", "pid": 1, "tid": 1, "ts": 1, "dur": 1}]}`))
	for _, p := range parts {
		if _, err := f.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestMemoryIsPeakRSS: with --memory no verb that reads traces takes more than that, as the
// operating system counts; what does not fit is refused in words, what fits is answered.
func TestMemoryIsPeakRSS(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector takes memory of its own")
	}
	dir := t.TempDir()
	slice := func(i int) string {
		return fmt.Sprintf("{\"ph\": \"X\", \"cat\": \"cpu_op\", \"name\": \"op%d\", \"pid\": 1, \"tid\": 1, \"ts\": %d, \"dur\": 1},\n", i%7, i)
	}
	many := bomb(t, dir, "many", 4_000_000, slice)
	begins := bomb(t, dir, "begins", 4_000_000, func(i int) string {
		return fmt.Sprintf("{\"ph\": \"B\", \"name\": \"op\", \"pid\": 1, \"tid\": 1, \"ts\": %d},\n", i)
	})
	few := bomb(t, dir, "few", 200_000, slice)
	out := filepath.Join(dir, "out")
	for _, c := range []struct {
		fits bool
		args []string
	}{
		{false, []string{"report", many}},
		{false, []string{"inspect", many}},
		{false, []string{"ops", many}},
		{false, []string{"kernels", many}},
		{false, []string{"steps", many}},
		{false, []string{"comms", many}},
		{false, []string{"idle", many}},
		{false, []string{"memory", many}},
		{false, []string{"critical-path", many}},
		{false, []string{"diff", few, many}},
		{false, []string{"convert", many, "-o", out + ".pftrace"}},
		{false, []string{"report", begins}},
		{true, []string{"report", few}},
		{true, []string{"convert", few, "-o", out + ".json.gz"}},
	} {
		const limit = 256 << 20
		cmd := exec.Command("kinetoscope", append(c.args, "--memory", "256MiB")...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		took, err := usage.Run(cmd)
		name := strings.Join(c.args[:1], " ") + " " + filepath.Base(c.args[len(c.args)-1])
		switch {
		case c.fits && err != nil:
			t.Errorf("%s: %v: %s", name, err, errs.String())
		case !c.fits && (cmd.ProcessState.ExitCode() != 1 || !strings.Contains(errs.String(), "allowed") ||
			!strings.Contains(errs.String(), "allow more")):
			t.Errorf("%s: %v, %q: want exit code 1 and what to do", name, cmd.ProcessState, errs.String())
		}
		// A child's peak is no less than its parent's was when it began.
		if took.RSS == 0 || took.RSS > max(limit, usage.Own().RSS) {
			t.Errorf("%s: %d MiB at its peak, %d allowed", name, took.RSS>>20, limit>>20)
		}
	}
}
