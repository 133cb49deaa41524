package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/units"
)

const (
	// rankRoom is how many bytes a rank of a session without max_bytes is expected to record: some
	// seconds of the built-in pipelines. The guess is low on purpose, since a refused start is
	// worse than a session that stops for lack of room and keeps its recordings.
	rankRoom = 4 << 20
	// copiesOnTheWay of a recording lie in the data directory at once: in the spool, and
	// uploaded.
	copiesOnTheWay = 2
	// copiesInTheRun multiplies rankRoom: the recording, and the files converted from it.
	copiesInTheRun = 2
	// fullRoom is what must be free for the records of sessions.
	fullRoom = 256 << 10
	// reviveRoom must be free before NATS's storage is started again: with less it would
	// stop again at once.
	reviveRoom = 8 << 20
	// reviveTimeout bounds the making of the buckets after that.
	reviveTimeout = 10 * time.Second
)

// ErrNoRoom says that a session was not started because its files would not fit, or could
// not be written at all.
type ErrNoRoom struct {
	What string // "data directory", "run store"
	Err  error
}

func (e *ErrNoRoom) Error() string {
	return fmt.Sprintf("no session can be kept: %s %v", e.What, e.Err)
}

func (e *ErrNoRoom) Unwrap() error { return e.Err }

// HTTPStatus is 507, or 500 if the directory cannot be written for another reason.
func (e *ErrNoRoom) HTTPStatus() int {
	if store.NoRoom(e.Err) {
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

// Hint says what to do about it.
func (e *ErrNoRoom) Hint() string {
	if errors.Is(e.Err, syscall.ENOSPC) || errors.Is(e.Err, syscall.EDQUOT) {
		return "make room there; sessions can be started again as soon as there is"
	}
	return "let this user write there; sessions can be started again as soon as it can"
}

// room checks, before anything is started, whether the disk has room for the files of a session of
// ranks ranks. maxBytes is the bound of one recording, 0 if there is none.
func (h *Hub) room(ranks int, maxBytes int64) error {
	each := int64(rankRoom)
	if maxBytes > 0 {
		each = min(each, maxBytes) // most sessions stay far below a large bound
	}
	need := each * int64(ranks)
	if h.cfg.DataDir != "" {
		if err := h.Health(); err != nil {
			return &ErrNoRoom{"data directory", err}
		}
		if err := store.Room(h.cfg.DataDir, copiesOnTheWay*need); err != nil {
			return &ErrNoRoom{"data directory", err}
		}
	}
	if err := h.store.Room(copiesInTheRun * need); err != nil {
		return &ErrNoRoom{"run store", err}
	}
	return nil
}

// Health returns nil, or why no session can be started at present: the disk of the data
// directory is full, or it was and the storage of the NATS server in this process has not
// started again yet.
func (h *Hub) Health() error {
	if p := h.stopped.Load(); p != nil {
		return *p
	}
	if h.srv != nil && h.srv.broken() {
		return h.wasFull()
	}
	return nil
}

func (h *Hub) wasFull() error {
	return fmt.Errorf("%s was full and the storage of NATS has stopped; it starts again when %s are free: %w",
		h.cfg.DataDir, units.Bytes(reviveRoom), syscall.ENOSPC)
}

// checkStorage sees whether there is room in the data directory and whether the storage of
// the embedded server works, and starts it again if there is and it does not. A stream
// refuses everything after the first write that found the disk full, and JetStream as a
// whole may stop: neither ever tries again.
func (h *Hub) checkStorage() {
	if h.srv == nil {
		return
	}
	free, known := store.Free(h.cfg.DataDir)
	switch broken := h.srv.broken(); {
	case broken && store.Room(h.cfg.DataDir, reviveRoom) != nil:
		h.stop(h.wasFull())
	case broken:
		h.stop(h.wasFull())
		if err := h.revive(); err != nil {
			h.log.Error("the storage of NATS could not be started again", "err", err)
			return
		}
		h.stopped.Store(nil)
		h.log.Warn("the storage of NATS runs again", "dir", h.cfg.DataDir)
	case known && free < fullRoom:
		h.stop(fmt.Errorf("%s is full (%s are free): %w", h.cfg.DataDir, units.Bytes(free), syscall.ENOSPC))
	case h.stopped.Swap(nil) != nil:
		h.log.Warn("sessions can be started again", "dir", h.cfg.DataDir)
	}
}

func (h *Hub) stop(err error) {
	if h.stopped.Swap(&err) == nil {
		h.log.Error("no session can be started", "err", err)
	}
}

// revive starts the storage as the server did at its beginning. The presences were in
// memory: their bucket is made anew and the ranks announce themselves with their next renewal.
func (h *Hub) revive() error {
	h.srv.failed.Store(false)
	if err := h.srv.ShutdownJetStream(); err != nil {
		return err
	}
	o := h.srv.opts
	err := h.srv.EnableJetStream(&server.JetStreamConfig{
		StoreDir: o.StoreDir, SyncInterval: o.SyncInterval, SyncAlways: o.SyncAlways, Strict: !o.NoJetStreamStrict,
		MaxMemory: o.JetStreamMaxMemory, MaxStore: o.JetStreamMaxStore, Domain: o.JetStreamDomain,
		CompressOK: true, UniqueTag: o.JetStreamUniqueTag,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(h.ctx, reviveTimeout)
	defer cancel()
	again := &Hub{cfg: h.cfg, js: h.js, srv: h.srv} // our own handles of the buckets go by their names and stay good
	if err := again.makeBuckets(ctx); err != nil {
		h.srv.failed.Store(true) // tried again at the next beat
		return err
	}
	return h.watchPresences(ctx)
}

// spoolName is where launched ranks' recordings wait, in a data directory.
const spoolName = "spool"

// Recoverable reports whether an entry of a data directory is of use to Recover.
func Recoverable(name string) bool { return name == spoolName || name == recordsDir }

// SpoolDir is where the recordings of ranks that were launched with a data directory wait.
func SpoolDir(dataDir string) string { return filepath.Join(dataDir, spoolName) }
