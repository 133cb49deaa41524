package native

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// smallFile is a file on a disk with little room.
type smallFile struct {
	bytes.Buffer
	room atomic.Int64
}

func newSmallFile(room int64) *smallFile {
	f := new(smallFile)
	f.room.Store(room)
	return f
}

func (f *smallFile) Write(p []byte) (int, error) {
	n := min(len(p), int(f.room.Load()))
	f.room.Add(-int64(n))
	f.Buffer.Write(p[:n])
	if n < len(p) {
		return n, &fs.PathError{Op: "write", Path: "disk", Err: syscall.ENOSPC}
	}
	return n, nil
}

func (f *smallFile) Sync() error  { return nil }
func (f *smallFile) Close() error { return nil }
func (f *smallFile) Name() string { return "disk" }

// A disk that is full for a moment costs nothing of the recording.
func TestWriterWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newSmallFile(3)
		w := newWriter(f, 0, nil)
		done := make(chan error, 1)
		go func() {
			_, err := w.Write([]byte("abcdef"))
			done <- err
		}()
		time.Sleep(roomPatience / 2)
		f.room.Store(100)
		if err := <-done; err != nil || f.String() != "abcdef" || w.written() != 6 {
			t.Errorf("%q, %d, %v", &f.Buffer, w.written(), err)
		}
	})
}

// It does not wait for ever: less when somebody waits for it.
func TestWriterGivesUp(t *testing.T) {
	for _, tc := range []struct {
		name       string
		endedAfter time.Duration
		want       time.Duration
	}{
		{"recording", -1, roomPatience},
		{"ended before", 0, endPatience},
		{"ended meanwhile", 2 * time.Second, 2*time.Second + endPatience},
		{"ended near the end", roomPatience - time.Second, roomPatience},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWriter(newSmallFile(3), 0, nil)
				begun := time.Now()
				if tc.endedAfter >= 0 {
					defer time.AfterFunc(tc.endedAfter, w.end).Stop()
				}
				n, err := w.Write([]byte("abcdef"))
				if took := time.Since(begun); n != 3 || !errors.Is(err, syscall.ENOSPC) || took < tc.want ||
					took > tc.want+2*roomPoll {
					t.Errorf("%d, %v after %v, want %v", n, err, took, tc.want)
				}
				if text := w.explain(err).Error(); !strings.Contains(text, "after the first 3 B is lost") ||
					strings.Contains(text, "Out") {
					t.Error(text)
				}
			})
		})
	}
}

// An error that time does not mend is one at once.
func TestWriterDoesNotWaitForOtherErrors(t *testing.T) {
	f, err := os.Open(os.DevNull) // not for writing
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := newWriter(f, 0, nil)
	if _, err := w.Write([]byte("a")); !errors.Is(err, syscall.EBADF) {
		t.Errorf("%v", err)
	}
}
