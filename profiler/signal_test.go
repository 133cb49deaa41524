package profiler

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// holdSignal keeps SIGUSR1 from ending the process until OnSignal listens.
func holdSignal(t *testing.T) func() {
	t.Helper()
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return func() { signal.Stop(c) }
}
