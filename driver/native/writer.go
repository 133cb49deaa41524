package native

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/units"
)

// How long a recording waits for room on its disk. Meanwhile the recorder keeps some generations,
// and then counts drops; the program that is recorded does not wait.
const (
	// roomPatience is for a disk that fills up during a recording: a person has to notice that and
	// make room.
	roomPatience = 30 * time.Second
	// endPatience is for one that is full when the recording ends: a hub waits for the
	// answer, for session.DefaultStopTimeout.
	endPatience = 5 * time.Second
	// roomPoll is how often it is tried.
	roomPoll = 100 * time.Millisecond
)

// file is what a writer needs of an os.File.
type file interface {
	io.WriteCloser
	Sync() error
	Name() string
}

// writer writes a recording's file. It counts what goes there and calls full once when it
// reaches max, so the file is larger by what the recorder then flushes. While the disk is
// full it waits for room.
type writer struct {
	file
	max   int64 // 0: no bound
	n     atomic.Int64
	once  sync.Once
	full  func()
	ended atomic.Pointer[time.Time] // when the recording was over; nil: it is not
	done  bool
}

var _ io.Writer = (*writer)(nil)

func newWriter(f file, limit int64, full func()) *writer {
	return &writer{file: f, max: limit, full: full}
}

// Write writes all of p, if need be when there is room.
func (w *writer) Write(p []byte) (written int, err error) {
	var until time.Time
	for {
		n, err := w.file.Write(p[written:])
		written += n
		if total := w.n.Add(int64(n)); w.max > 0 && total >= w.max {
			w.once.Do(w.full)
		}
		if !store.NoRoom(err) {
			return written, err
		}
		if until.IsZero() {
			until = time.Now().Add(roomPatience)
		}
		if at := w.ended.Load(); at != nil && at.Add(endPatience).Before(until) {
			until = at.Add(endPatience)
		}
		if !time.Now().Before(until) {
			return written, err
		}
		time.Sleep(roomPoll) // the goroutine only serves this file, and no event announces free room
	}
}

// end says that the recording is over and a caller waits for the file.
func (w *writer) end() {
	now := time.Now()
	w.ended.CompareAndSwap(nil, &now)
}

func (w *writer) written() int64 { return w.n.Load() }

// explain says of an error that is for want of room what that means for the recording.
func (w *writer) explain(err error) error {
	if !store.NoRoom(err) {
		return err
	}
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		err = at
	}
	return fmt.Errorf("its disk had no room for too long: what it recorded after the first %s is lost: %w",
		units.Bytes(w.written()), err)
}

// finish syncs and closes the file, the first time.
func (w *writer) finish() error {
	if w.done {
		return nil
	}
	w.done = true
	w.end()
	return errors.Join(w.Sync(), w.Close())
}
