package view

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kinetoscope/kinetoscope/timeline"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// API serves the timelines of a Library. Make it with New, end it with Close.
type API struct {
	cfg  Config
	life context.Context // of the reading that outlives the request which asked first
	end  context.CancelFunc
	work sync.WaitGroup

	mu   sync.Mutex
	runs map[string]*run
	tick int64

	memo memo
}

// run is a timeline that is read or being read.
type run struct {
	done   chan struct{}
	opened *Opened
	tl     *timeline.Timeline
	err    error
	used   int64 // when it was last asked for, in ticks
	began  time.Time
	took   time.Duration

	progress atomic.Pointer[open.Progress]
}

// New makes an API.
func New(cfg Config) *API {
	if cfg.Memory <= 0 {
		cfg.Memory = DefaultMemory
	}
	a := &API{cfg: cfg, runs: map[string]*run{}}
	a.life, a.end = context.WithCancel(context.Background())
	return a
}

// Close ends all reading and waits for it.
func (a *API) Close() {
	a.end()
	a.work.Wait()
}

// Begin reads the run id before anybody asks for it.
func (a *API) Begin(id string) error {
	_, err := a.get(id)
	return err
}

// Forget drops the timeline of the run id after the run was removed. A run that is being read is
// read to its end.
func (a *API) Forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.runs[id]; r != nil {
		select {
		case <-r.done:
			delete(a.runs, id)
		default:
		}
	}
}

// maxID bounds a run's id.
const maxID = 200

// get returns the run id, and begins to read it if nobody has. A run that could not be
// read is tried again when it is asked for the next time.
func (a *API) get(id string) (*run, error) {
	if id == "" || len(id) > maxID {
		return nil, refuse(404, "no run %.40q; GET /v1/sessions lists them", id)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tick++
	if r := a.runs[id]; r != nil {
		r.used = a.tick
		return r, nil
	}
	if a.life.Err() != nil {
		return nil, refuse(503, "the server is stopping")
	}
	reading := 0
	for _, r := range a.runs {
		select {
		case <-r.done:
		default:
			reading++
		}
	}
	if reading >= maxReading {
		return nil, refuse(503, "%d runs are being read, the most at a time; try again", reading)
	}
	r := &run{done: make(chan struct{}), used: a.tick, began: time.Now()}
	a.runs[id] = r
	a.work.Go(func() { a.read(id, r) })
	return r, nil
}

// maxReading bounds the runs that are read at a time; each may take gigabytes.
const maxReading = 3

func (a *API) read(id string, r *run) {
	r.opened, r.err = a.cfg.Library.Open(a.life, id, func(p open.Progress) { r.progress.Store(&p) })
	if r.err == nil {
		r.tl, r.err = timeline.New(r.opened.Sources, timeline.Options{Place: r.opened.Place,
			AgreedNs: r.opened.AgreedNs, Outcomes: r.opened.Outcomes})
	}
	if errors.Is(r.err, fs.ErrNotExist) {
		r.err = refuse(404, "no run %q: %v", id, r.err)
	} else if r.err != nil {
		r.err = unreadable(id, r.err)
	}
	r.took = time.Since(r.began)
	a.mu.Lock() // held to the end: who waited for done sees only what is kept
	defer a.mu.Unlock()
	close(r.done)
	if r.err != nil {
		delete(a.runs, id)
		return
	}
	a.shrink(r)
}

// unreadable is the error of a run that cannot be read: with status 400 where its files hold no trace
// that can be, for to ask again is of no use then.
func unreadable(id string, err error) error {
	if open.Damaged(err) {
		return refuse(http.StatusBadRequest, "read run %s: %v", id, err)
	}
	return fmt.Errorf("read run %s: %w", id, err)
}

// shrink drops the timelines asked for longest ago until the rest is within the limit.
func (a *API) shrink(keep *run) {
	for {
		total, oldest := int64(0), ""
		for id, r := range a.runs {
			select {
			case <-r.done:
			default:
				continue
			}
			total += r.tl.Bytes()
			if r != keep && (oldest == "" || r.used < a.runs[oldest].used) {
				oldest = id
			}
		}
		if total <= a.cfg.Memory || oldest == "" {
			return
		}
		delete(a.runs, oldest)
	}
}

// timeline waits until the run id is read.
func (a *API) timeline(ctx context.Context, id string) (*timeline.Timeline, error) {
	r, err := a.get(id)
	if err != nil {
		return nil, err
	}
	select {
	case <-r.done:
		return r.tl, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
