package omni

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

// The log of a rank goes to the process that started it. When that process was killed, a line in
// the log must not end the rank before its recording has its end.
func TestRankOutlivesTheReaderOfItsLog(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+`={"NATS":"no URL"}`)
	cmd.Stderr = w
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("the rank that logs that it cannot join: %v, not its own exit code 1", err)
	}
}
