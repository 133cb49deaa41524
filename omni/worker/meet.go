package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/internal/wait"
	"github.com/kinetoscope/kinetoscope/omni/collective"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// meetTimeout bounds the wait for the other ranks of a replica. Ranks on other hosts
// may be started by hand, minutes apart.
const meetTimeout = 10 * time.Minute

// peersPoll is how often a rank asks whether all others have published their addresses: seldom
// enough for a hub that many ranks ask, and short beside the loading of a model.
const peersPoll = 20 * time.Millisecond

// meetPoll is how often a rank checks, while it shakes hands, that the group still consists of the
// same processes.
const meetPoll = 100 * time.Millisecond

// meet joins the replica's group: each rank publishes its address, and those that see
// the same set of incarnations shake hands.
func meet(ctx context.Context, js jetstream.JetStream, id protocol.RankID, incarnation string, size int,
	host string) (collective.Group, error) {
	if size == 1 {
		return collective.Solo(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(host, "0")
	}
	listener, err := collective.Listen(host)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	kv, err := js.KeyValue(ctx, protocol.BucketRendezvous) // made before the deployment was published
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", protocol.BucketRendezvous, err)
	}
	own, err := json.Marshal(wire.Meeting{Incarnation: incarnation, Addr: listener.Addr()})
	if err != nil {
		return nil, err
	}
	renewed := time.Time{}
	for {
		if time.Since(renewed) > wire.RendezvousTTL/3 {
			if _, err := kv.Put(ctx, id.Key(), own); err != nil {
				return nil, fmt.Errorf("publish own address: %w", err)
			}
			renewed = time.Now()
		}
		addrs, name, missing := peers(ctx, kv, id, size)
		if missing < 0 {
			g, err := joinPeers(ctx, listener, kv, meeting{id, addrs, name})
			if err == nil {
				return g, nil
			}
		}
		if err := wait.For(ctx, peersPoll); err != nil {
			if missing >= 0 {
				return nil, fmt.Errorf("rank %d did not come: %w", missing, err)
			}
			return nil, err
		}
	}
}

// meeting is a set of processes that are to be a group.
type meeting struct {
	id    protocol.RankID // of this one
	addrs []string
	name  string
}

// joinPeers shakes hands with the processes of a meeting. It gives up as soon as the published
// processes change: after a crash the addresses of dead processes stand there until their
// successors publish their own, and nobody answers at them.
func joinPeers(ctx context.Context, l *collective.Listener, kv jetstream.KeyValue, m meeting) (collective.Group,
	error) {
	ctx, cancel := context.WithTimeout(ctx, collective.HandshakeTimeout)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		others := func() bool {
			_, now, _ := peers(ctx, kv, m.id, len(m.addrs))
			return now != "" && now != m.name
		}
		if wait.Until(ctx, meetPoll, others) == nil {
			cancel()
		}
	})
	return collective.Join(ctx, l, m.id.Rank, m.addrs, m.name)
}

// peers returns the addresses of all ranks and a name for just this set of processes,
// or the first rank that is missing.
func peers(ctx context.Context, kv jetstream.KeyValue, id protocol.RankID, size int) (addrs []string, name string,
	missing int) {
	all := fnv.New32a()
	for r := range size {
		peer := id
		peer.Rank = r
		e, err := kv.Get(ctx, peer.Key())
		if err != nil {
			return nil, "", r
		}
		var m wire.Meeting
		if json.Unmarshal(e.Value(), &m) != nil {
			return nil, "", r
		}
		addrs = append(addrs, m.Addr)
		fmt.Fprint(all, m.Incarnation, " ")
	}
	// The name identifies the group in messages, and its hash tells peers whether they mean the
	// same processes.
	return addrs, fmt.Sprintf("%s.s%d.r%d#%08x", id.Pipeline, id.Stage, id.Replica, all.Sum32()), -1
}
