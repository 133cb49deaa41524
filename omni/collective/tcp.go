package collective

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/internal/wait"
)

// Version of the protocol between ranks; peers of another are refused.
const Version = 2

// Inside of TLS, see identity, the hello of the rank that dials, little endian:
//
//	 0  "KSCG"
//	 4  u16  version
//	 6  u16  group size
//	 8  u16  rank that dials
//	10  u16  rank that is dialled
//	12  u16  length of the group id, and the id
//	    u8   1: both ends seem to be on one host
//
// The answer is u16 length and that many bytes of a reason; no reason is yes, and then
// there is u8, 1 if both ends think so. Between the processes of one host nobody else reads
// or writes what is on its way, so that these go on without TLS, which would take more time
// than the rest: the one that dials sends a byte outside of it, the other one waits for that.
const (
	helloMagic = "KSCG"
	helloFixed = 14
	// maxID bounds the group id: session and stage names are far shorter.
	maxID = 256
	// redial is the pause before a peer that does not listen yet is dialled again.
	redial = 20 * time.Millisecond
)

// Listener accepts the connections of a rank's peers. It is opened before the ranks
// are told each other's addresses.
type Listener struct {
	ln *net.TCPListener
	id *identity
}

// Listen opens a Listener on addr, "127.0.0.1:0" say.
func Listen(addr string) (*Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("collective: %w", err)
	}
	id, err := newIdentity()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("collective: %w", err), ln.Close())
	}
	return &Listener{ln: ln.(*net.TCPListener), id: id}, nil
}

// Addr is the address that peers dial, with the hash of this rank's key, by which they authenticate
// it. It is not secret, but an attacker who could change it on its way could impersonate this rank.
func (l *Listener) Addr() string { return l.ln.Addr().String() + keyMark + l.id.hash }

// Close stops listening. A group that was joined through l goes on.
func (l *Listener) Close() error { return l.ln.Close() }

// Join makes the connections of rank to its peers and returns when every one has shaken
// hands. addrs[r] is Listener.Addr of rank r; its length is the group's size.
// id names the group: peers of another group, of another size or protocol version are
// refused. Join tries until ctx ends and does not close l.
func Join(ctx context.Context, l *Listener, rank int, addrs []string, id string) (Group, error) {
	if err := checkGroup(rank, len(addrs), id); err != nil {
		return nil, err
	}
	if len(addrs) == 1 {
		return Solo(), nil
	}
	j := &joining{rank: rank, own: l.id, id: id, conns: make([]net.Conn, len(addrs)), missing: len(addrs) - 1}
	for r, a := range addrs {
		network, key, err := splitAddr(a)
		if err != nil {
			return nil, fmt.Errorf("collective group %q: rank %d: %w", id, r, err)
		}
		j.addrs, j.keys = append(j.addrs, network), append(j.keys, key)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	j.done = func(err error) { cancel(err) }
	var wg sync.WaitGroup
	for r := range rank {
		wg.Go(func() { j.dial(ctx, r) })
	}
	if rank < len(addrs)-1 {
		stop := context.AfterFunc(ctx, func() { _ = l.ln.SetDeadline(time.Unix(1, 0)) })
		j.accept(ctx, l)
		if !stop() {
			_ = l.ln.SetDeadline(time.Time{})
		}
	}
	wg.Wait()
	if err := j.result(ctx); err != nil {
		return nil, err
	}
	return newMesh(rank, j.conns, id), nil
}

func checkGroup(rank, size int, id string) error {
	switch {
	case size < 1 || size > MaxSize || bits.OnesCount(uint(size)) != 1:
		return fmt.Errorf("collective group %q: size %d: want a power of two up to %d", id, size, MaxSize)
	case rank < 0 || rank >= size:
		return fmt.Errorf("collective group %q: rank %d outside 0 … %d", id, rank, size-1)
	case id == "" || len(id) > maxID:
		return fmt.Errorf("collective group %q: id of %d bytes, want 1 to %d", id, len(id), maxID)
	}
	return nil
}

var errJoined = errors.New("joined")

// joining is a Join under way.
type joining struct {
	rank  int
	own   *identity
	addrs []string // by rank
	keys  []string // by rank
	id    string
	done  func(error) // ends the Join: errJoined or the reason why not

	mu      sync.Mutex
	conns   []net.Conn
	missing int
	refused error // the last stranger, for the message of a Join that ran out of time
}

func (j *joining) add(r int, c net.Conn) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.conns[r] != nil {
		_ = c.Close()
		return
	}
	j.conns[r] = c
	j.missing--
	if j.missing == 0 {
		j.done(errJoined)
	}
}

func (j *joining) has(r int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.conns[r] != nil
}

func (j *joining) result(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.missing == 0 {
		return nil
	}
	var missing []int
	for r, c := range j.conns {
		if c != nil {
			_ = c.Close()
		} else if r != j.rank {
			missing = append(missing, r)
		}
	}
	err := fmt.Errorf("join collective group %q as rank %d of %d: no connection to ranks %v: %w",
		j.id, j.rank, len(j.addrs), missing, context.Cause(ctx))
	if j.refused != nil {
		err = fmt.Errorf("%w (refused meanwhile: %w)", err, j.refused)
	}
	return err
}

// dial connects to a lower rank, waiting for it to listen.
func (j *joining) dial(ctx context.Context, r int) {
	var d net.Dialer
	for {
		raw, err := d.DialContext(ctx, "tcp", j.addrs[r])
		if err == nil {
			var c net.Conn
			c, err = j.hello(ctx, raw, r)
			if err == nil {
				j.add(r, c)
				return
			}
			_ = raw.Close()
			if refusal, ok := errors.AsType[*PeerError](err); ok {
				j.done(refusal)
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		j.mu.Lock()
		j.refused = err
		j.mu.Unlock()
		if wait.For(ctx, redial) != nil {
			return
		}
	}
}

// hello asks rank to at the other end of raw and returns what to talk over from then on.
func (j *joining) hello(ctx context.Context, raw net.Conn, to int) (net.Conn, error) {
	c := tls.Client(raw, j.own.config(j.keys[to]))
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(HandshakeTimeout))
	b := append([]byte(nil), helloMagic...)
	for _, v := range []int{Version, len(j.addrs), j.rank, to, len(j.id)} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	if _, err := c.Write(append(append(b, j.id...), sameHost(raw))); err != nil {
		return nil, err
	}
	var n [2]byte
	if _, err := io.ReadFull(c, n[:]); err != nil {
		return nil, err
	}
	reason := make([]byte, min(int(binary.LittleEndian.Uint16(n[:])), maxReason))
	if _, err := io.ReadFull(c, reason); err != nil {
		return nil, err
	}
	if len(reason) > 0 {
		return nil, &PeerError{Rank: to, Op: "join", Err: fmt.Errorf("refused: %s", reason)}
	}
	on, mode := net.Conn(c), make([]byte, 1)
	if _, err := io.ReadFull(c, mode); err != nil {
		return nil, err
	}
	if mode[0] == 1 && sameHost(raw) == 1 {
		on = raw
		if _, err := raw.Write(mode); err != nil {
			return nil, err
		}
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return on, on.SetDeadline(time.Time{})
}

// sameHost is 1 if both ends of c are on one host, as far as this end sees: they have one
// address.
func sameHost(c net.Conn) byte {
	a, ok := c.LocalAddr().(*net.TCPAddr)
	b, ok2 := c.RemoteAddr().(*net.TCPAddr)
	if ok && ok2 && a.IP.Equal(b.IP) {
		return 1
	}
	return 0
}

// accept takes the connections of the higher ranks until the Join ends. Each is greeted
// in a goroutine of its own, so that a silent stranger holds nobody up.
func (j *joining) accept(ctx context.Context, l *Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		raw, err := l.ln.Accept()
		if err != nil {
			if ctx.Err() == nil {
				j.done(fmt.Errorf("accept on %s: %w", l.Addr(), err))
			}
			return
		}
		wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
			_ = raw.SetDeadline(time.Now().Add(HandshakeTimeout))
			c, r, ours, err := j.greet(raw)
			if err == nil && stop() {
				_ = c.SetDeadline(time.Time{})
				j.add(r, c)
				return
			}
			stop()
			_ = raw.Close()
			if ours {
				j.done(err)
			} else if err != nil {
				j.mu.Lock()
				j.refused = err
				j.mu.Unlock()
			}
		})
	}
}

// greet answers a hello and returns what to talk over from then on. ours says that the peer names this group, so that
// an error is a mistake in how it was set up and not a stranger at the door.
func (j *joining) greet(raw net.Conn) (on net.Conn, rank int, ours bool, err error) {
	c := tls.Server(raw, j.own.config(j.keys[j.rank+1:]...)) // the peers that may dial
	if err := c.Handshake(); err != nil {
		return nil, 0, false, fmt.Errorf("%s does not join: %w", c.RemoteAddr(), err)
	}
	var h [helloFixed]byte
	if _, err := io.ReadFull(c, h[:]); err != nil {
		return nil, 0, false, fmt.Errorf("%s: hello: %w", c.RemoteAddr(), err)
	}
	u := func(o int) int { return int(binary.LittleEndian.Uint16(h[o:])) }
	if string(h[:4]) != helloMagic || u(12) > maxID {
		return nil, 0, false, fmt.Errorf("%s does not speak the collective protocol", c.RemoteAddr())
	}
	id := make([]byte, u(12)+1)
	if _, err := io.ReadFull(c, id); err != nil {
		return nil, 0, false, fmt.Errorf("%s: hello: %w", c.RemoteAddr(), err)
	}
	mode := id[u(12)] & sameHost(raw)
	id = id[:u(12)]
	rank, ours = u(8), string(id) == j.id
	var reason string
	switch {
	case u(4) != Version:
		reason = fmt.Sprintf("protocol version %d, want %d", u(4), Version)
	case !ours:
		reason = fmt.Sprintf("group %q, want %q", id, j.id)
	case u(6) != len(j.addrs):
		reason = fmt.Sprintf("group size %d, want %d", u(6), len(j.addrs))
	case u(10) != j.rank:
		reason = fmt.Sprintf("rank %d dialled for rank %d", j.rank, u(10))
	case rank <= j.rank || rank >= len(j.addrs):
		reason = fmt.Sprintf("rank %d may not dial rank %d", rank, j.rank)
	case keyOf(c.ConnectionState()) != j.keys[rank]:
		reason = fmt.Sprintf("the key is not rank %d's", rank)
		ours = false
	case j.has(rank):
		reason = fmt.Sprintf("rank %d is connected already", rank)
		ours = false // the first stays; the group is not at fault
	}
	answer := append(binary.LittleEndian.AppendUint16(nil, uint16(len(reason))), reason...)
	if reason == "" {
		answer = append(answer, mode)
	}
	_, err = c.Write(answer)
	if reason != "" {
		return nil, rank, ours, &PeerError{Rank: rank, Op: "join", Err: errors.New(reason)}
	}
	if err != nil || mode == 0 {
		return c, rank, false, err
	}
	_, err = io.ReadFull(raw, make([]byte, 1))
	return raw, rank, false, err
}

// Pipe returns the ends of a group of size ranks within one process, connected in
// memory. They speak the same protocol as those of Join.
func Pipe(size int, id string) ([]Group, error) {
	if err := checkGroup(0, size, id); err != nil {
		return nil, err
	}
	if size == 1 {
		return []Group{Solo()}, nil
	}
	conns := make([][]net.Conn, size)
	for r := range conns {
		conns[r] = make([]net.Conn, size)
	}
	for a := range size {
		for b := range a {
			conns[a][b], conns[b][a] = net.Pipe()
		}
	}
	groups := make([]Group, size)
	for r := range groups {
		groups[r] = newMesh(r, conns[r], id)
	}
	return groups, nil
}
