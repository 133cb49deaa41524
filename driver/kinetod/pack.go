package kinetod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// copyBytes is how much of a trace is read at once.
const copyBytes = 1 << 20

// pack makes the file that a rank hands over of the trace at in, which a process of user
// uid has written, and counts its events. The file is base with an ending: it lies where
// that user cannot write, for the agent may write and read more than the process.
func pack(ctx context.Context, in, base string, uid int, gz bool) (f rank.File, events uint64, err error) {
	src, err := openOwned(in, uid)
	if err != nil {
		return f, 0, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	f = rank.File{Name: "trace.json", Kind: protocol.KindTrace}
	if gz {
		f.Name += ".gz"
	}
	f.Path = base + strings.TrimPrefix(f.Name, "trace")
	dst, err := os.Create(f.Path)
	if err != nil {
		return f, 0, fmt.Errorf("pack the trace: %w", err)
	}
	var to io.WriteCloser = dst
	if gz {
		to, _ = gzip.NewWriterLevel(dst, gzip.BestSpeed)
	}
	count := &eventCounter{}
	err = copyContext(ctx, io.MultiWriter(count, to), src)
	if gz {
		err = errors.Join(err, to.Close())
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return f, 0, fmt.Errorf("pack the trace: %w", errors.Join(err, os.Remove(f.Path)))
	}
	return f, count.n, nil
}

// copyContext is io.Copy that ends with ctx.
func copyContext(ctx context.Context, dst io.Writer, src io.Reader) error {
	buf := make([]byte, copyBytes)
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n, err := src.Read(buf)
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// eventCounter counts events as libkineto spells their phases, without metadata.
type eventCounter struct {
	n  uint64
	at int // bytes of phaseKey that were just seen
}

const phaseKey = `"ph": "`

// Write counts in p; a key may lie across two writes.
func (c *eventCounter) Write(p []byte) (int, error) {
	for _, b := range p {
		switch {
		case c.at == len(phaseKey):
			if b != 'M' {
				c.n++
			}
			c.at = 0
		case b == phaseKey[c.at]:
			c.at++
			continue
		default:
			c.at = 0
		}
		if b == phaseKey[0] {
			c.at = 1
		}
	}
	return len(p), nil
}
