package omni

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/brokenpipe/brokenpipetest"
)

// The log of a rank goes to the process that started it. When that process was killed, a line in
// the log must not end the rank before its recording has its end.
func TestRankOutlivesTheReaderOfItsLog(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+`={"NATS":"no URL"}`)
	cmd.Stderr = brokenpipetest.Writer(t)
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("the rank that logs that it cannot join: %v, not its own exit code 1", err)
	}
}
