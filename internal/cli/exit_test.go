package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// TestExitCode holds every error to the codes of docs/cli.md, whatever it wraps.
func TestExitCode(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ended := exec.Command(self, "-no-such-flag").Run()
	if _, ok := errors.AsType[*exec.ExitError](ended); !ok {
		t.Fatalf("a program that fails: %v", ended)
	}
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing", nil, ExitOK},
		{"wrong input", fmt.Errorf("x: %w", Usage("no such rank")), ExitUsage},
		{"failed", errors.New("no room"), ExitFailed},
		{"a rank's process has ended", fmt.Errorf("rank 3: %w", ended), ExitFailed},
		{"the run lacks that rank", errors.Join(ended, PartialError{ended}), ExitPartial},
		{"a helper has said itself why", fmt.Errorf("x: %w", SilentError{"helper", 7}), 7},
	} {
		if got := ExitCode(c.err); got != c.want {
			t.Errorf("%s: exit code %d, want %d (%v)", c.name, got, c.want, c.err)
		}
	}
}
