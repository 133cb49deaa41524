package rank

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// line is a way to a server that is cut once, after so many bytes.
type line struct {
	mu    sync.Mutex
	sent  int64
	cutAt int64 // 0: not again
	cuts  int
}

// counts are what went over a line so far.
type counts struct {
	sent int64
	cuts int
}

func (l *line) count() counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return counts{l.sent, l.cuts}
}

func (l *line) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return &lineConn{c, l}, nil
}

type lineConn struct {
	net.Conn
	of *line
}

func (c *lineConn) Write(p []byte) (int, error) {
	c.of.mu.Lock()
	cut := c.of.cutAt > 0 && c.of.sent+int64(len(p)) > c.of.cutAt
	if cut {
		c.of.cutAt = 0
		c.of.cuts++
	} else {
		c.of.sent += int64(len(p))
	}
	c.of.mu.Unlock()
	if cut {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// objectStore is an object store that is reached over a line.
func objectStore(t *testing.T, l *line) jetstream.ObjectStore {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), MaxPayload: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server is not ready")
	}
	nc, err := nats.Connect(s.ClientURL(), nats.SetCustomDialer(l), nats.MaxReconnects(-1),
		nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	obs, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "uploads"})
	if err != nil {
		t.Fatal(err)
	}
	return obs
}

// bigFile writes a file of random bytes and returns them.
func bigFile(t *testing.T, size int) (File, []byte) {
	t.Helper()
	var seed [32]byte
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(data) // never an error
	path := filepath.Join(t.TempDir(), "trace.json.gz")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return File{Name: "trace.json.gz", Kind: protocol.KindTrace, Path: path}, data
}

// An upload whose connection is cut in the middle goes on with the part that was under way: what had
// arrived is not sent again. Asked for once more, as by a hub that was started anew, it sends nothing.
func TestUploadGoesOnAfterACut(t *testing.T) {
	const part, parts = 1 << 20, 16
	l := &line{}
	obs := objectStore(t, l)
	f, data := bigFile(t, parts*part-100)
	l.mu.Lock()
	l.cutAt = l.sent + 9*part
	l.mu.Unlock()
	u := &uploading{part: part}
	id := protocol.RankID{Pipeline: "p"}
	list, err := u.all(t.Context(), obs, "S", id, []File{f})
	if err != nil {
		t.Fatal(err)
	}
	a, sum := list[0], sha256.Sum256(data)
	if a.Parts != parts || a.Size != int64(len(data)) || a.SHA256 != hex.EncodeToString(sum[:]) || l.count().cuts != 1 {
		t.Fatalf("%+v after %d cuts", a, l.count().cuts)
	}
	if u.sent.Load() != a.Size {
		t.Errorf("it says that %d bytes are there of %d", u.sent.Load(), a.Size)
	}
	// Anew from the start it would be 25 parts.
	if sent := l.count().sent; sent > 20*part {
		t.Errorf("%d bytes were sent for %d", sent, a.Size)
	}
	h := sha256.New()
	for i := range a.Parts {
		o, err := obs.Get(t.Context(), protocol.PartName(a.Object, i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(h, o); err != nil {
			t.Fatal(err)
		}
		_ = o.Close()
	}
	if hex.EncodeToString(h.Sum(nil)) != a.SHA256 {
		t.Error("the parts are not the file")
	}
	before := l.count().sent
	if _, err := (&uploading{part: part}).all(t.Context(), obs, "S", id, []File{f}); err != nil {
		t.Fatal(err)
	}
	if again := l.count().sent - before; again > part/2 {
		t.Errorf("%d bytes are sent of what is there", again)
	}
}

// A hub that does not say that it takes parts, and a small file, have one object as ever.
func TestUploadAsOne(t *testing.T) {
	obs := objectStore(t, &line{})
	f, data := bigFile(t, 100_000)
	for _, part := range []int64{0, 1 << 20} {
		list, err := (&uploading{part: part}).all(t.Context(), obs, fmt.Sprint("S", part),
			protocol.RankID{Pipeline: "p"}, []File{f})
		if err != nil || list[0].Parts != 0 {
			t.Fatalf("%+v, %v", list, err)
		}
		got, err := obs.GetBytes(t.Context(), list[0].Object)
		if err != nil || string(got) != string(data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}
