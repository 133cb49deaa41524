package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/web/api"
	"github.com/kinetoscope/kinetoscope/web/feed"
	"github.com/kinetoscope/kinetoscope/web/openai"
)

// How often pages are told what.
const (
	// watchBusy and watchIdle are how often the server looks at everything that pages show, while a
	// session is under way and while none is. It does not look while no page listens.
	watchBusy = 500 * time.Millisecond
	watchIdle = 2 * time.Second
	// watchTimeout bounds one look at one thing.
	watchTimeout = 3 * time.Second
)

// LiveSessions is implemented by Sessions that can ask the ranks of a session that is under
// way how much they have recorded so far, and say where it ends by itself.
type LiveSessions interface {
	Live(ctx context.Context, id string) (*session.Status, session.Bounds, error)
}

// watcher fills the feed of events while somebody listens to it.
type watcher struct {
	s    *Server
	feed *feed.Feed
	poke chan struct{} // something has changed: look now

	mu        sync.Mutex
	listeners int
	stop      context.CancelFunc // of the goroutine that looks; nil while nobody listens
}

func newWatcher(s *Server) *watcher {
	return &watcher{s: s, feed: feed.New(), poke: make(chan struct{}, 1)}
}

// now makes the next look happen at once.
func (w *watcher) now() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// join registers a listener; with the first one the watcher begins to look. leave unregisters it.
// Values that earlier listeners were told are forgotten, as they may be long out of date.
func (w *watcher) join() (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners++
	if w.stop == nil {
		ctx, cancel := context.WithCancel(w.s.life)
		w.stop = cancel
		w.feed.Keep(func(string) bool { return false })
		w.s.work.Go(func() { w.look(ctx) })
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.listeners--; w.listeners == 0 {
			w.stop()
			w.stop = nil
		}
	}
}

// look publishes what has changed until the last listener has left.
func (w *watcher) look(ctx context.Context) {
	loads := loader{s: w.s}
	var asked time.Time
	for {
		busy := w.sessions(ctx)
		if w.s.api != nil {
			h, _ := w.s.healthNow()
			w.tell("health", "health", h)
		}
		w.tellRuns()
		if now := time.Now(); w.s.api != nil && now.Sub(asked) >= loadEvery {
			asked = now
			w.tell("load", "load", loads.next(ctx, now))
		}
		wait := watchIdle
		if busy {
			wait = watchBusy
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-w.poke:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// tell sets the newest value of a topic. A value that cannot be marshalled is not published.
func (w *watcher) tell(topic string, event feed.Event, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		w.s.log.Error("an event does not marshal", "topic", topic, "err", err)
		return
	}
	w.feed.Set(topic, event, data)
}

// sessionTopic begins the topics that are one session each.
const sessionTopic = "session/"

// sessions publishes the newest sessions, and reports whether one of them is under way.
func (w *watcher) sessions(ctx context.Context) (busy bool) {
	ids := api.SessionIDs{IDs: []string{}}
	defer func() {
		w.tell("sessions", "sessions", ids)
		w.feed.Keep(func(topic string) bool {
			id, is := strings.CutPrefix(topic, sessionTopic)
			return !is || ids.Has(id)
		})
	}()
	if w.s.cfg.Sessions == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	list, err := w.s.cfg.Sessions.List(ctx, api.WatchedSessions)
	if err != nil {
		w.s.log.Warn("sessions cannot be listed", "err", err)
		ids.Error = err.Error()
		return false
	}
	for i := range list[:min(api.WatchedSessions, len(list))] {
		st := w.s.live(ctx, &list[i])
		ids.IDs = append(ids.IDs, st.ID)
		busy = busy || !st.State.Terminal()
		w.tell(sessionTopic+st.ID, "session", st)
	}
	return busy
}

// live is a session with what its ranks have counted so far, if it is under way.
func (s *Server) live(ctx context.Context, st *session.Status) api.LiveSession {
	asker, ok := s.cfg.Sessions.(LiveSessions)
	if !ok || st.State.Terminal() {
		return api.LiveSession{Status: withURLs(st)}
	}
	now, bounds, err := asker.Live(ctx, st.ID)
	if err != nil || now == nil {
		return api.LiveSession{Status: withURLs(st)}
	}
	return api.LiveSession{Status: withURLs(now), Bounds: &bounds}
}

// events sends a page what changes, until the page leaves.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	defer s.watch.join()()
	if rec := recorderOf(w); rec != nil {
		rec.stall = s.cfg.stallEvents // each write's deadline is the recorder's
	}
	err := s.watch.feed.Serve(w, r, s.streams.Done(), s.cfg.stallEvents)
	if errors.Is(err, feed.ErrFull) {
		w.Header().Set("Retry-After", "5")
		return &openai.Error{Status: http.StatusServiceUnavailable, Type: openai.TypeRateLimit, Code: "overloaded",
			Message: "as many clients as this server takes listen to its events: close some pages, or ask " +
				api.SessionsPath + " now and then"}
	}
	return err
}

// feedCollector reports, at each scrape, how many clients listen to events and how many were
// dropped.
type feedCollector struct {
	s                *Server
	clients, dropped *prometheus.Desc
}

func newFeedCollector(s *Server) *feedCollector {
	return &feedCollector{
		s:       s,
		clients: prometheus.NewDesc("kinetoscope_event_clients", "Clients that listen to events.", nil, nil),
		dropped: prometheus.NewDesc("kinetoscope_event_clients_dropped_total",
			"Clients that took no events and were dropped.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *feedCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.clients; ch <- c.dropped }

// Collect implements prometheus.Collector.
func (c *feedCollector) Collect(ch chan<- prometheus.Metric) {
	f := c.s.watch.feed
	ch <- prometheus.MustNewConstMetric(c.clients, prometheus.GaugeValue, float64(f.Clients()))
	ch <- prometheus.MustNewConstMetric(c.dropped, prometheus.CounterValue, float64(f.Dropped()))
}
