package collective

import (
	"context"
	"errors"
	"net"
)

// Listener accepts the connections of a rank's peers. It is opened before the ranks
// are told each other's addresses.
type Listener struct {
	ln net.Listener
}

// Listen opens a Listener on addr, "127.0.0.1:0" say.
func Listen(addr string) (*Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Listener{ln: ln}, nil
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
	return nil, errors.ErrUnsupported
}

// Pipe returns the ends of a group of size ranks within one process, connected in
// memory. They speak the same protocol as those of Join.
func Pipe(size int, id string) ([]Group, error) { return nil, errors.ErrUnsupported }
