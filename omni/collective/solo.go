package collective

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/kinetoscope/kinetoscope/profiler"
)

// Solo returns the group of a replica that has one rank. Its collectives record
// nothing, because nothing is communicated.
func Solo() Group { return &solo{} }

type solo struct{ closed atomic.Bool }

func (s *solo) Rank() int { return 0 }
func (s *solo) Size() int { return 1 }

func (s *solo) check(ctx context.Context, op string) error {
	if s.closed.Load() {
		return fmt.Errorf("collective %s: %w: %w", op, ErrFailed, ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		s.closed.Store(true)
		return fmt.Errorf("collective %s: %w: %w", op, ErrFailed, err)
	}
	return nil
}

func (s *solo) AllReduce(ctx context.Context, _ *profiler.Track, _ []float32) error {
	return s.check(ctx, "allreduce")
}

func (s *solo) AllGather(ctx context.Context, _ *profiler.Track, out, in []float32) error {
	if len(out) != len(in) {
		return fmt.Errorf("collective allgather: out has %d elements, want %d", len(out), len(in))
	}
	if err := s.check(ctx, "allgather"); err != nil {
		return err
	}
	copy(out, in)
	return nil
}

func (s *solo) Broadcast(ctx context.Context, _ *profiler.Track, msg []byte) ([]byte, error) {
	return msg, s.check(ctx, "broadcast")
}

func (s *solo) Barrier(ctx context.Context, _ *profiler.Track) error { return s.check(ctx, "barrier") }

func (s *solo) Close() error { s.closed.Store(true); return nil }
