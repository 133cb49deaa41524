// Package wait waits for time to pass or for something to come true, and gives up when a
// context ends. What can tell when it happens is waited for on a channel instead.
package wait

import (
	"context"
	"time"
)

// For returns nil after d, or the cause of ctx's end if that comes first. Without a positive d
// it asks only whether ctx has ended.
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

// Until asks ok at once and then after every period, and returns nil when it says yes, or the
// cause of ctx's end if that comes first. It asks at least once.
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
