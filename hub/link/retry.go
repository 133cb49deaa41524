package link

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/internal/wait"
)

const (
	// electionWait bounds how long Retry goes on: a cluster that has lost a server
	// chooses new leaders within seconds.
	electionWait = 15 * time.Second
	// electionPoll is the pause between two attempts.
	electionPoll = 250 * time.Millisecond
)

// Retry runs f until it succeeds, fails for a reason of its own, or JetStream had no
// leader for electionWait; ctx ends it early. An object that is not found counts, for
// the server that was asked may be behind the one that took it. f must bear being run
// again.
func Retry(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, electionWait)
	defer cancel()
	for {
		err := f()
		if err == nil || !unavailable(err) && !(errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil) {
			return err // a deadline that is not ours was one request's
		}
		if wait.For(ctx, electionPoll) != nil {
			return err
		}
	}
}

// unavailable reports whether err says that no service answered, or none yet.
func unavailable(err error) bool {
	for _, e := range []error{jetstream.ErrNoStreamResponse, nats.ErrNoResponders, nats.ErrTimeout,
		nats.ErrDisconnected,
		jetstream.ErrObjectNotFound} {
		if errors.Is(err, e) {
			return true
		}
	}
	// A connection that breaks under a large message tells the writer, before it is made anew.
	if _, ok := errors.AsType[*net.OpError](err); ok || errors.Is(err, net.ErrClosed) {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.Code == http.StatusServiceUnavailable
}
