package worker

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/driver/native"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/profiler"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// looked is a logger's handler that says when somebody waits for a place.
type looked struct {
	slog.Handler
	waits chan struct{}
}

func (h looked) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "waiting for the place to become free" {
		close(h.waits)
	}
	return nil
}

func (looked) Enabled(context.Context, slog.Level) bool { return true }

// Who had a rank's place was frozen when its successor looked, and answers again when that has loaded its
// model: a rank that a supervisor started waits for its end, for its supervisor gives up what fails
// at its first start.
func TestSupervisedRankWaitsForWhoIsBack(t *testing.T) {
	js, _ := meetings(t)
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: protocol.BucketRanks}); err != nil {
		t.Fatal(err)
	}
	id := protocol.RankID{Pipeline: "p"}
	newRank := func(info protocol.RankInfo) *driver.Rank {
		rec := profiler.New(profiler.Config{})
		r := driver.NewRank(native.New(rec, info, t.TempDir()), info)
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
		return r
	}
	connect := func() *nats.Conn {
		nc, err := nats.Connect(js.Conn().ConnectedUrl())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	info := protocol.RankInfo{RankID: id, Incarnation: "before"}
	before, err := rank.Join(t.Context(), connect(), info, newRank(info))
	if err != nil {
		t.Fatal(err)
	}
	info.Incarnation = "after"
	handler := newRank(info)
	h := looked{slog.DiscardHandler, make(chan struct{})}
	s := &stage{id: id, nc: connect(), log: slog.New(h)}
	_, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	if _, err := s.join(t.Context(), cancel, info, handler, false); !isTaken(err) {
		t.Fatalf("a rank that was started by hand: %v", err)
	}
	joined := make(chan error, 1)
	go func() {
		leave, err := s.join(t.Context(), cancel, info, handler, true)
		if err == nil {
			leave()
		}
		joined <- err
	}()
	select {
	case <-h.waits:
	case err := <-joined:
		t.Fatalf("it does not wait: %v", err)
	}
	if err := before.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-joined; err != nil {
		t.Errorf("the place is free: %v", err)
	}
}

func isTaken(err error) bool {
	_, taken := errors.AsType[*rank.TakenError](err)
	return taken
}
