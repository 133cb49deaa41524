package hub

import (
	"context"
	"fmt"
	"io"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// objects are the names under which an uploaded file is in its bucket.
func objects(up protocol.Artifact) []string {
	if up.Parts <= 0 || up.Parts > protocol.MaxParts {
		return []string{up.Object}
	}
	out := make([]string, up.Parts)
	for i := range out {
		out[i] = protocol.PartName(up.Object, i)
	}
	return out
}

// openUpload opens an uploaded file, put together from its parts if it has come in several. Each
// object's digest is checked as it is read to its end. The caller closes it.
func openUpload(ctx context.Context, obs jetstream.ObjectStore, up protocol.Artifact) (io.ReadCloser, error) {
	if up.Parts < 0 || up.Parts > protocol.MaxParts {
		return nil, &refusedError{fmt.Sprintf("%s in %d parts, at most %d are taken", up.Name, up.Parts,
			protocol.MaxParts)}
	}
	u := &upload{ctx: ctx, obs: obs, rest: objects(up)}
	return u, u.next()
}

// upload reads the objects of a file one after the other.
type upload struct {
	ctx  context.Context
	obs  jetstream.ObjectStore
	rest []string // objects that are not open yet
	open jetstream.ObjectResult
}

func (u *upload) next() error {
	if err := u.Close(); err != nil {
		return err
	}
	obj, err := u.obs.Get(u.ctx, u.rest[0])
	if err != nil {
		return fmt.Errorf("fetch %s: %w", u.rest[0], err)
	}
	u.open, u.rest = obj, u.rest[1:]
	return nil
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	for {
		n, err := u.open.Read(p)
		if err != io.EOF || len(u.rest) == 0 {
			return n, err
		}
		if err := u.next(); err != nil || n > 0 {
			return n, err
		}
	}
}

// Close implements io.Closer.
func (u *upload) Close() error {
	if u.open == nil {
		return nil
	}
	err := u.open.Close()
	u.open = nil
	return err
}
