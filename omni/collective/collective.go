// Package collective joins the ranks of one replica: all-reduce, all-gather,
// broadcast and barrier between processes.
//
// # Order and ownership
//
// Every rank calls the same collectives in the same order with the same sizes; a
// rank that does not is found out by the frame header and fails the group. A Group
// is used by one goroutine at a time, except Close, which may be called at any time
// and makes a pending call return. Buffers belong to the caller and are not kept.
//
// # Sums
//
// AllReduce adds along the fixed binary tree ((r0+r1)+(r2+r3))+…, the pairs being
// neighbours in rank. Float addition commutes, so every rank holds the same bits; a
// caller that pre-sums its own subtree of a finer fixed tree gets bits that do not
// depend on the number of ranks. Sizes are powers of two up to MaxSize.
//
// # Failure
//
// A group fails as a whole and for good: a dead peer, a frame that does not match, a
// timeout, a cancelled context. The pending call and every later one return an error
// at once; it wraps ErrFailed and, if a peer is to blame, is a *PeerError naming its
// rank. A rank that fails closes its connections, so the others learn of it.
//
// # Record
//
// Each collective is one slice on the caller's track, named as torch.distributed's
// traces name it (trace.NameAllReduce …), with Kineto's arguments.
package collective

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kinetoscope/kinetoscope/profiler"
)

// MaxSize is the largest group. A replica's ranks split at most this many shards.
const MaxSize = 8

// MaxMessage bounds one collective's payload in bytes, so that a corrupt header
// cannot make a rank allocate without limit.
const MaxMessage = 256 << 20

// Timeouts of groups that do not set their own.
const (
	// DefaultTimeout bounds one collective: the slowest peer's step, its compile or
	// page-in included, must fit in it.
	DefaultTimeout = 60 * time.Second
	// HandshakeTimeout bounds the exchange of hellos on one connection.
	HandshakeTimeout = 10 * time.Second
)

// ErrFailed is wrapped by every error of a group that has failed.
var ErrFailed = errors.New("collective group failed")

// ErrClosed is the reason of a group closed by its own rank.
var ErrClosed = errors.New("collective group closed")

// PeerError is a failure that a peer caused.
type PeerError struct {
	Rank int // the peer
	Op   string
	Err  error
}

// Error names the rank and the operation.
func (e *PeerError) Error() string {
	return fmt.Sprintf("collective %s: rank %d: %v", e.Op, e.Rank, e.Err)
}

// Unwrap gives the cause.
func (e *PeerError) Unwrap() error { return e.Err }

// Group is one rank's end of its replica.
type Group interface {
	// Rank is this rank, 0 … Size-1.
	Rank() int
	// Size is the number of ranks.
	Size() int
	// AllReduce sums buf over the ranks, element by element, in place.
	AllReduce(ctx context.Context, t *profiler.Track, buf []float32) error
	// AllGather puts rank r's in to out[r*len(in):]. len(out) is Size()*len(in).
	AllGather(ctx context.Context, t *profiler.Track, out, in []float32) error
	// Broadcast returns rank 0's msg on every rank; msg of the others is not looked at.
	// The result is valid until the next call on the group.
	Broadcast(ctx context.Context, t *profiler.Track, msg []byte) ([]byte, error)
	// Barrier returns when every rank has called it.
	Barrier(ctx context.Context, t *profiler.Track) error
	// Close ends the group; pending and later calls fail. It may be called twice.
	Close() error
}
