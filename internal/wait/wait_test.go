package wait

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var errGone = errors.New("gone")

func TestFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name     string
			d, ended time.Duration // ended: when the context ends; 0 never
			want     error
			took     time.Duration
		}{
			{"time passes", time.Second, 0, nil, time.Second},
			{"the context ends first", time.Second, time.Millisecond, errGone, time.Millisecond},
			{"no time", 0, 0, nil, 0},
			{"a moment that is over", -time.Second, 0, nil, 0},
		} {
			ctx, cancel := context.WithCancelCause(t.Context())
			if c.ended > 0 {
				time.AfterFunc(c.ended, func() { cancel(errGone) })
			}
			began := time.Now()
			if err := For(ctx, c.d); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
			if took := time.Since(began); took != c.took {
				t.Errorf("%s: took %v, want %v", c.name, took, c.took)
			}
			cancel(nil)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errGone)
		if err := For(ctx, 0); !errors.Is(err, errGone) {
			t.Errorf("no time, and the context has ended: %v", err)
		}
	})
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		asked := 0
		began := time.Now()
		if err := Until(ctx, time.Second, func() bool { asked++; return asked == 3 }); err != nil || asked != 3 ||
			time.Since(began) != 2*time.Second {
			t.Errorf("%v, asked %d times in %v", err, asked, time.Since(began))
		}
		cancel(errGone)
		asked = 0
		if err := Until(ctx, time.Second, func() bool { asked++; return false }); !errors.Is(err, errGone) ||
			asked != 1 {
			t.Errorf("the context has ended: %v, asked %d times", err, asked)
		}
		if err := Until(ctx, time.Second, func() bool { return true }); err != nil {
			t.Errorf("it is true although the context has ended: %v", err)
		}
	})
}
