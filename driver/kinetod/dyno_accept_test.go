package kinetod

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait/waittest"
)

// failing is a listener that has no descriptor left, at first.
type failing struct {
	net.Listener
	left  atomic.Int64
	asked atomic.Int64
}

func (f *failing) Accept() (net.Conn, error) {
	f.asked.Add(1)
	if f.left.Add(-1) >= 0 {
		return nil, errors.New("accept: too many open files")
	}
	return f.Listener.Accept()
}

// A connection that cannot be taken does not end the listener: the next one is answered.
func TestDynoGoesOnAfterAFailedAccept(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &failing{Listener: ln}
	f.left.Store(2)
	y := &Dyno{d: &Daemon{log: slog.New(slog.DiscardHandler)}, ln: f,
		who: func(net.Conn) (int, error) { return 0, errors.New("nobody") }}
	y.ctx, y.cancel = context.WithCancel(context.Background())
	y.wg.Go(y.serve)
	waittest.Until(t, 20*time.Second, "the listener has ended", func() bool { return f.asked.Load() > 2 })
	if err := y.Close(); err != nil {
		t.Fatal(err)
	}
}
