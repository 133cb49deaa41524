package rank

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// answerTimeout bounds the question to the process that holds a place: one that does not
// answer so long is frozen or cut off, and its place is free for another.
const answerTimeout = 2 * time.Second

// holdersAtOnce is how many places are looked at at the same time: a look is a round trip, and there
// may be hundreds.
const holdersAtOnce = 16

// TakenError says that a rank's place is served by a process that answers.
type TakenError struct{ By protocol.RankInfo }

func (e *TakenError) Error() string {
	return fmt.Sprintf("%s is served by process %d on host %s since %s, and it answers: "+
		"end that one first, or join as another rank", e.By.Text(), e.By.PID, e.By.Host,
		e.By.StartedAt.Format(time.RFC3339))
}

// Free returns a *TakenError if another process serves the place of id, and nil if none does or if
// there is no hub yet. Call it before doing anything in the rank's name; Join checks again.
func Free(ctx context.Context, nc *nats.Conn, id protocol.RankID) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	kv, err := js.KeyValue(ctx, protocol.BucketRanks)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return free(ctx, nc, kv, id, "")
}

// free is Free for the incarnation own, whose own presence does not count.
func free(ctx context.Context, nc *nats.Conn, kv jetstream.KeyValue, id protocol.RankID, own string) error {
	holder, err := holder(ctx, kv, id)
	if err != nil || holder == nil || holder.Incarnation == own {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	msg := nats.NewMsg(id.Subject(protocol.MethodStatus))
	msg.Header.Set(protocol.HeaderIncarnation, holder.Incarnation)
	if _, err := nc.RequestMsgWithContext(ctx, msg); err != nil {
		return nil //nolint:nilerr // it is not there, or does not answer
	}
	return &TakenError{By: *holder}
}

// Holders returns the processes that announce themselves as ids, nil where there is none or there is no hub yet.
func Holders(ctx context.Context, nc *nats.Conn, ids []protocol.RankID) ([]*protocol.RankInfo, error) {
	out := make([]*protocol.RankInfo, len(ids))
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	kv, err := js.KeyValue(ctx, protocol.BucketRanks)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(holdersAtOnce)
	for i, id := range ids {
		g.Go(func() (err error) {
			out[i], err = holder(ctx, kv, id)
			return err
		})
	}
	return out, g.Wait()
}

// holder returns the process that announces itself as id, nil if there is none.
func holder(ctx context.Context, kv jetstream.KeyValue, id protocol.RankID) (*protocol.RankInfo, error) {
	e, err := kv.Get(ctx, id.Key())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("who is %s: %w", id.Text(), err)
	}
	info := new(protocol.RankInfo)
	if json.Unmarshal(e.Value(), info) != nil || info.RankID != id {
		return nil, nil // no process that could be asked
	}
	return info, nil
}

// put writes the presence over this process's own last one. If that has run out it is
// written anew. If another process has taken the place since, because this one was silent,
// there is a *TakenError.
func (m *Member) put(ctx context.Context, b []byte) (uint64, error) {
	m.mu.Lock()
	last, started := m.revision, m.info.StartedAt
	m.mu.Unlock()
	if last == 0 {
		return m.kv.Put(ctx, m.id.Key(), b)
	}
	rev, err := m.kv.Update(ctx, m.id.Key(), b, last)
	var api *jetstream.APIError
	if err == nil || !errors.As(err, &api) || api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence {
		return rev, err
	}
	other, err := holder(ctx, m.kv, m.id)
	if err != nil {
		return 0, err
	}
	if other != nil && other.Incarnation != m.inc && !other.StartedAt.Before(started) {
		return 0, &TakenError{By: *other}
	}
	return m.kv.Put(ctx, m.id.Key(), b)
}
