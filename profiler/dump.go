package profiler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/profiler/format"
)

// Bounds of a Dumper where its fields are zero.
const (
	DefaultDumpLast     = 10 * time.Second
	DefaultDumpInterval = 30 * time.Second // a storm of slow requests gives one file, not a full disk
	DefaultDumpFiles    = 16
)

// ErrDumpLimited says that a dump was not made because one was made just before or
// because the Dumper has made as many as it may.
var ErrDumpLimited = errors.New("dump: limit reached")

// Dumper writes the flight recorder's past to files when something happens: a signal, a
// panic, a slow or failed request. Files appear complete or not at all and never replace
// one another. Its methods are safe for concurrent use.
type Dumper struct {
	Recorder *Recorder
	Dir      string        // must exist
	Prefix   string        // of file names; default "flight"
	Last     time.Duration // how much of the past; default 10 s
	Interval time.Duration // between two dumps; default 30 s
	MaxFiles int           // in the Dumper's life; default 16
	Slow     time.Duration // Request dumps from this duration on; 0 never
	Logger   *slog.Logger  // default slog.Default

	mu    sync.Mutex
	last  time.Time
	files int
}

// Dump writes one file now, whatever the interval, and returns its path. Reason becomes
// part of the name.
func (d *Dumper) Dump(reason string) (string, error) { return d.dump(reason, true) }

func (d *Dumper) dump(reason string, always bool) (path string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if !always && (!d.last.IsZero() && now.Sub(d.last) < or(d.Interval, DefaultDumpInterval)) ||
		d.files >= or(d.MaxFiles, DefaultDumpFiles) {
		return "", ErrDumpLimited
	}
	f, err := os.CreateTemp(d.Dir, ".dump-*")
	if err != nil {
		return "", fmt.Errorf("dump: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = d.Recorder.Snapshot(f, or(d.Last, DefaultDumpLast)); err != nil {
		return "", err
	}
	if err = f.Close(); err != nil {
		return "", fmt.Errorf("dump: %w", err)
	}
	path = filepath.Join(d.Dir, fmt.Sprintf("%s-%s-%d-%02d-%s%s", or(d.Prefix, "flight"),
		now.UTC().Format("20060102T150405.000"), os.Getpid(), d.files, fileSafe(reason), format.Ext))
	// Link fails where Rename would replace.
	if err = os.Link(f.Name(), path); err != nil {
		return "", fmt.Errorf("dump: %w", err)
	}
	os.Remove(f.Name())
	d.files++
	d.last = now
	return path, nil
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// fileSafe keeps letters, digits, dash and underscore of a reason.
func fileSafe(s string) string {
	b := []byte(s[:min(len(s), 64)])
	for i, c := range b {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			b[i] = '_'
		}
	}
	return string(b)
}

// try dumps and logs how it went.
func (d *Dumper) try(reason string, always bool) {
	log := d.Logger
	if log == nil {
		log = slog.Default()
	}
	path, err := d.dump(reason, always)
	switch {
	case errors.Is(err, ErrDumpLimited):
		log.Debug("flight recorder not dumped", "reason", reason, "err", err)
	case err != nil:
		log.Error("flight recorder not dumped", "reason", reason, "err", err)
	default:
		log.Info("flight recorder dumped", "reason", reason, "path", path)
	}
}

// OnSignal dumps at each of the signals until ctx ends; syscall.SIGQUIT is the usual one.
// A process that relays SIGQUIT here no longer dies of it. It returns when it has stopped
// listening, so run it in a goroutine that is waited for.
func (d *Dumper) OnSignal(ctx context.Context, signals ...os.Signal) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, signals...)
	defer signal.Stop(c)
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-c:
			d.try("signal-"+s.String(), true)
		}
	}
}

// OnPanic dumps when the goroutine panics, and lets the panic go on:
//
//	defer d.OnPanic()
func (d *Dumper) OnPanic() {
	if p := recover(); p != nil {
		d.try("panic", true)
		panic(p)
	}
}

// Request dumps if a request took Slow or longer, or failed. It returns at once if not.
// At most one dump an interval is made.
func (d *Dumper) Request(took time.Duration, failed bool) {
	switch {
	case failed:
		d.try("failed-request", false)
	case d.Slow > 0 && took >= d.Slow:
		d.try("slow-request", false)
	}
}
