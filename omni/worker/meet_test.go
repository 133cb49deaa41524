package worker

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/omni/collective"
	"github.com/kinetoscope/kinetoscope/omni/wire"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// meetings is the bucket of ranks' addresses on a NATS server of the test's own.
func meetings(t *testing.T) (jetstream.JetStream, jetstream.KeyValue) {
	t.Helper()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(),
		NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(collective.HandshakeTimeout) {
		t.Fatal("NATS does not start")
	}
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: protocol.BucketRendezvous,
		TTL: wire.RendezvousTTL})
	if err != nil {
		t.Fatal(err)
	}
	return js, kv
}

// The addresses of a replica that was killed still stand when its successors start. They
// meet as soon as all of them are there, and wait for nobody at the old ones.
func TestMeetsDespiteTheDead(t *testing.T) {
	js, kv := meetings(t)
	id := func(rank int) protocol.RankID { return protocol.RankID{Pipeline: "p", Rank: rank} }
	old, err := collective.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	addr, mark, _ := strings.Cut(old.Addr(), "#")
	ln, err := net.Listen("tcp", addr) // whoever has the port now says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for r := range 2 {
		b, err := json.Marshal(wire.Meeting{Incarnation: "dead", Addr: addr + "#" + mark})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Put(t.Context(), id(r).Key(), b); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), collective.HandshakeTimeout*8/10)
	defer cancel()
	begun := time.Now()
	var wg sync.WaitGroup
	join := func(r int) {
		wg.Go(func() {
			g, err := meet(ctx, js, id(r), "alive"+id(r).Key(), 2, "127.0.0.1")
			if err != nil {
				t.Errorf("rank %d after %v: %v", r, time.Since(begun), err)
				return
			}
			t.Cleanup(func() { g.Close() })
		})
	}
	join(1)
	c, err := ln.Accept() // rank 1 has asked the dead rank 0
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	join(0)
	wg.Wait()
}
