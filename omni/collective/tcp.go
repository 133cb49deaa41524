package collective

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"sync"
	"time"
)

// Version of the protocol between ranks; peers of another are refused.
const Version = 1

// The hello of the rank that dials, little endian:
//
//	 0  "KSCG"
//	 4  u16  version
//	 6  u16  group size
//	 8  u16  rank that dials
//	10  u16  rank that is dialled
//	12  u16  length of the group id, and the id
//
// The answer is u16 length and that many bytes of a reason; no reason is yes.
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
}

// Listen opens a Listener on addr, "127.0.0.1:0" say.
func Listen(addr string) (*Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("collective: %w", err)
	}
	return &Listener{ln: ln.(*net.TCPListener)}, nil
}

// Addr is the address that peers dial.
func (l *Listener) Addr() string { return l.ln.Addr().String() }

// Close stops listening. A group that was joined through l goes on.
func (l *Listener) Close() error { return l.ln.Close() }

// Join makes the connections of rank to its peers and returns when every one has shaken
// hands. addrs[r] is the address that rank r listens on; its length is the group's size.
// id names the group: peers of another group, of another size or protocol version are
// refused. Join tries until ctx ends and does not close l.
func Join(ctx context.Context, l *Listener, rank int, addrs []string, id string) (Group, error) {
	if err := checkGroup(rank, len(addrs), id); err != nil {
		return nil, err
	}
	if len(addrs) == 1 {
		return Solo(), nil
	}
	j := &joining{rank: rank, addrs: addrs, id: id, conns: make([]net.Conn, len(addrs)), missing: len(addrs) - 1}
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
	addrs []string
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
		c, err := d.DialContext(ctx, "tcp", j.addrs[r])
		if err == nil {
			err = j.hello(ctx, c, r)
			if err == nil {
				j.add(r, c)
				return
			}
			_ = c.Close()
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
		select {
		case <-ctx.Done():
			return
		case <-time.After(redial):
		}
	}
}

func (j *joining) hello(ctx context.Context, c net.Conn, to int) error {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(HandshakeTimeout))
	b := append([]byte(nil), helloMagic...)
	for _, v := range []int{Version, len(j.addrs), j.rank, to, len(j.id)} {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	if _, err := c.Write(append(b, j.id...)); err != nil {
		return err
	}
	var n [2]byte
	if _, err := io.ReadFull(c, n[:]); err != nil {
		return err
	}
	reason := make([]byte, min(int(binary.LittleEndian.Uint16(n[:])), maxReason))
	if _, err := io.ReadFull(c, reason); err != nil {
		return err
	}
	if len(reason) > 0 {
		return &PeerError{Rank: to, Op: "join", Err: fmt.Errorf("refused: %s", reason)}
	}
	if !stop() {
		return ctx.Err()
	}
	return c.SetDeadline(time.Time{})
}

// accept takes the connections of the higher ranks until the Join ends. Each is greeted
// in a goroutine of its own, so that a silent stranger holds nobody up.
func (j *joining) accept(ctx context.Context, l *Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.ln.Accept()
		if err != nil {
			if ctx.Err() == nil {
				j.done(fmt.Errorf("accept on %s: %w", l.Addr(), err))
			}
			return
		}
		wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
			_ = c.SetDeadline(time.Now().Add(HandshakeTimeout))
			r, ours, err := j.greet(c)
			if err == nil && stop() {
				_ = c.SetDeadline(time.Time{})
				j.add(r, c)
				return
			}
			stop()
			_ = c.Close()
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

// greet answers a hello. ours says that the peer names this group, so that an error is
// a mistake in how it was set up and not a stranger at the door.
func (j *joining) greet(c net.Conn) (rank int, ours bool, err error) {
	var h [helloFixed]byte
	if _, err := io.ReadFull(c, h[:]); err != nil {
		return 0, false, fmt.Errorf("%s: hello: %w", c.RemoteAddr(), err)
	}
	u := func(o int) int { return int(binary.LittleEndian.Uint16(h[o:])) }
	if string(h[:4]) != helloMagic || u(12) > maxID {
		return 0, false, fmt.Errorf("%s does not speak the collective protocol", c.RemoteAddr())
	}
	id := make([]byte, u(12))
	if _, err := io.ReadFull(c, id); err != nil {
		return 0, false, fmt.Errorf("%s: hello: %w", c.RemoteAddr(), err)
	}
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
	case j.has(rank):
		reason = fmt.Sprintf("rank %d is connected already", rank)
		ours = false // the first stays; the group is not at fault
	}
	answer := binary.LittleEndian.AppendUint16(nil, uint16(len(reason)))
	_, err = c.Write(append(answer, reason...))
	if reason != "" {
		return rank, ours, &PeerError{Rank: rank, Op: "join", Err: errors.New(reason)}
	}
	return rank, false, err
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
