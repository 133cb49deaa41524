package brokenpipe_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/kinetoscope/kinetoscope/internal/brokenpipe"
	"github.com/kinetoscope/kinetoscope/internal/brokenpipe/brokenpipetest"
)

// childEnv has the test's program be the process that writes to nobody: "fail" or "end".
const childEnv = "KINETOSCOPE_TEST_BROKENPIPE"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "fail":
		brokenpipe.Fail()
	}
	_, err := fmt.Println("nobody reads this")
	if brokenpipe.Unread(err, os.Stdout) && !brokenpipe.Unread(err, os.Stderr) {
		os.Exit(7)
	}
	os.Exit(8)
}

// unread runs the test's program with a standard output that has no reader.
func unread(t *testing.T, as string) *exec.ExitError {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+as)
	cmd.Stdout = brokenpipetest.Writer(t)
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) {
		t.Fatalf("%v is no exit", err)
	}
	return exit
}

func TestFailKeepsTheProcess(t *testing.T) {
	if got := unread(t, "fail").ExitCode(); got != 7 {
		t.Errorf("with Fail: exit code %d, not 7", got)
	}
	if got := unread(t, "end").ExitCode(); got != -1 {
		t.Errorf("without Fail: exit code %d, not the end by a signal", got)
	}
}
