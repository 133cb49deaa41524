package link

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestRetry(t *testing.T) {
	own := errors.New("no such bucket")
	for name, c := range map[string]struct {
		errs  []error
		tries int
		want  error
	}{
		"success":        {[]error{nil}, 1, nil},
		"own reason":     {[]error{own}, 1, own},
		"election":       {[]error{fmt.Errorf("put: %w", jetstream.ErrNoStreamResponse), nil}, 2, nil},
		"then a reason":  {[]error{nats.ErrNoResponders, own}, 2, own},
		"unavailable":    {[]error{&jetstream.APIError{Code: 503}, nil}, 2, nil},
		"not found":      {[]error{&jetstream.APIError{Code: 404}}, 1, &jetstream.APIError{Code: 404}},
		"behind":         {[]error{jetstream.ErrObjectNotFound, nil}, 2, nil},
		"one request's":  {[]error{fmt.Errorf("stream info: %w", context.DeadlineExceeded), nil}, 2, nil},
		"someone's else": {[]error{context.Canceled}, 1, context.Canceled},
	} {
		n := 0
		err := Retry(t.Context(), func() error {
			n++
			return c.errs[n-1]
		})
		if n != c.tries || (err == nil) != (c.want == nil) || err != nil && err.Error() != c.want.Error() {
			t.Errorf("%s: %v after %d tries, want %v after %d", name, err, n, c.want, c.tries)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := Retry(ctx, func() error {
		n++
		cancel()
		return nats.ErrTimeout
	})
	if n != 1 || !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("with a context that has ended: %v after %d tries", err, n)
	}
}
