// Package waittest waits in tests for what other goroutines or processes bring about and
// nothing announces.
package waittest

import (
	"context"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait"
)

// every is how often a test looks: seldom enough to leave the processor to what it waits for.
const every = 5 * time.Millisecond

// Until returns when ok says yes, and how long that took; it fails the test after patience, saying what
// did not come about. It is to be called by the test's own goroutine.
func Until(t testing.TB, patience time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if wait.Until(ctx, every, ok) != nil {
		t.Fatalf("waited %v in vain: %s", time.Since(began).Round(time.Millisecond), what)
	}
	return time.Since(began)
}
