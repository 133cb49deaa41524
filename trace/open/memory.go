package open

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/kineto"
)

// pool is the memory that traces may take together.
type pool struct {
	room  *semaphore.Weighted
	limit int64
	held  atomic.Int64 // for messages
}

// share is what one source holds of the pool.
type share struct {
	*pool
	keep  bool  // the trace outlives the share
	mine  int64 // bytes held
	taken int64 // bytes asked for last
}

// wait holds n bytes when they are free.
func (h *share) wait(ctx context.Context, n int64) error {
	if err := h.room.Acquire(ctx, n); err != nil {
		return err
	}
	h.mine = n
	h.held.Add(n)
	return nil
}

// fits reserves as much memory as the trace takes now, and returns false if there is no room for
// it. It is for kineto.Options.Room.
func (h *share) fits(taken, _, _ int64) bool {
	h.taken = taken
	if more := taken - h.mine; more > 0 {
		if !h.room.TryAcquire(more) {
			return false
		}
		h.mine = taken
		h.held.Add(more)
	}
	return true
}

// shrink gives back all but n bytes.
func (h *share) shrink(n int64) {
	if less := h.mine - n; less > 0 {
		h.room.Release(less)
		h.held.Add(-less)
		h.mine = n
	}
}

// read reads a source that is expected to take need bytes. Where sources are handed on
// one after the other, one that takes more than there is room for is read again when
// all others are done.
func (h *share) read(ctx context.Context, r *reading, need int64) ([]*trace.Trace, error) {
	if err := h.wait(ctx, need); err != nil {
		return nil, err
	}
	if r.o.Memory > 0 {
		r.fo.Room = h.fits
	}
	list, err := h.once(ctx, r)
	if errors.Is(err, kineto.ErrMemory) && !h.keep && h.mine < h.limit {
		h.shrink(0) // two sources that kept their shares would wait for each other
		if err := h.wait(ctx, h.limit); err != nil {
			return nil, err
		}
		r.left = nil
		list, err = h.once(ctx, r)
	}
	if errors.Is(err, kineto.ErrMemory) {
		return nil, &MemoryError{File: r.s.Path, Need: h.held.Load() - h.mine + h.taken, Limit: r.o.Memory}
	}
	return list, err
}

// once reads the source and holds what its traces take in the end.
func (h *share) once(ctx context.Context, r *reading) ([]*trace.Trace, error) {
	list, err := r.read(ctx)
	if err != nil || r.o.Memory <= 0 {
		return list, err
	}
	if taken := bytesOf(list); !h.fits(taken, r.s.Size, r.s.Size) {
		for _, t := range list {
			t.DropArgs()
			t.Repairs.Add(trace.RepairArgsMemory, 1)
		}
		if !h.fits(bytesOf(list), r.s.Size, r.s.Size) {
			return nil, kineto.ErrMemory
		}
	}
	h.shrink(bytesOf(list))
	return list, nil
}

func bytesOf(list []*trace.Trace) int64 {
	var n int64
	for _, t := range list {
		n += t.Bytes()
	}
	return n
}

// close gives back what is held, unless the trace is kept.
func (h *share) close() {
	if !h.keep {
		h.shrink(0)
	}
}
