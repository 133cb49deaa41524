// Package waittest lets tests wait for conditions that other goroutines or processes bring about
// without announcing them.
package waittest

import (
	"context"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait"
)

// every is how often a test looks: seldom enough to leave the processor to what it waits for.
const every = 5 * time.Millisecond

// Until returns when ok returns true, with how long that took. After patience it fails the test,
// saying that what did not happen. Only the test's own goroutine may call it.
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
