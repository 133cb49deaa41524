// Package wait waits for time to pass or for a condition to hold, and gives up when a context ends.
// For events that announce themselves, wait on a channel instead.
package wait

import (
	"context"
	"time"
)

// For returns nil after d, or the cause of ctx's end if that comes first. If d is not positive it
// returns at once.
func For(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Until calls ok at once and then after every period, and returns nil when it returns true, or the
// cause of ctx's end if that comes first. It calls ok at least once.
func Until(ctx context.Context, every time.Duration, ok func() bool) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
