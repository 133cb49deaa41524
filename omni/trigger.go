package omni

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// Limits of automatic captures: what goes wrong once often goes wrong a thousand
// times, and each capture takes disk and some of every rank's time.
const (
	triggerInterval = 30 * time.Second
	triggerMax      = 16 // captures in the engine's life
	triggerTimeout  = 2 * time.Minute
)

// trigger captures the past when a request was slow or failed.
type trigger struct {
	engine *Engine
	slow   time.Duration // 0: never
	failed bool

	mu   sync.Mutex
	last time.Time
	n    int
	wg   sync.WaitGroup
	ctx  context.Context
	stop context.CancelFunc
}

func newTrigger(e *Engine, slow time.Duration, failed bool) *trigger {
	t := &trigger{engine: e, slow: slow, failed: failed}
	t.ctx, t.stop = context.WithCancel(context.Background())
	return t
}

// ended looks at a request that has ended.
func (t *trigger) ended(took time.Duration, err error) {
	var e *Error
	switch {
	case t.failed && errors.As(err, &e) && (e.Code == protocol.CodeInternal || e.Code == protocol.CodeLost):
		t.fire("failed-request")
	case t.slow > 0 && took >= t.slow && err == nil:
		t.fire("slow-request")
	}
}

// fire captures in the background, unless one was made just before.
func (t *trigger) fire(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n >= triggerMax || !t.last.IsZero() && time.Since(t.last) < triggerInterval || t.ctx.Err() != nil {
		return
	}
	t.n++
	t.last = time.Now()
	t.wg.Go(func() {
		ctx, cancel := context.WithTimeout(t.ctx, triggerTimeout)
		defer cancel()
		st, err := t.engine.Flight(ctx, protocol.StartRequest{Prefix: why, AllowPartial: true})
		if err != nil { // nothing was captured that would take disk
			t.mu.Lock()
			t.n--
			t.mu.Unlock()
		}
		var busy *hub.ErrBusy
		switch {
		case errors.As(err, &busy):
			t.engine.log.Info("no look back: a session is running", "why", why, "session", busy.Session.ID)
		case err != nil:
			t.engine.log.Warn("look back", "why", why, "err", err)
		default:
			t.engine.log.Warn("captured what happened before", "why", why, "run", st.RunDir)
		}
	})
}

func (t *trigger) close() {
	t.mu.Lock()
	t.stop()
	t.mu.Unlock()
	t.wg.Wait()
}
