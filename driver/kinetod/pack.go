package kinetod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"

	"github.com/kinetoscope/kinetoscope/hub/rank"
)

// copyBytes is how much of a trace is read at once.
const copyBytes = 1 << 20

// pack makes the file that a rank hands over of the trace at in, which a process of user
// uid has written, and counts its events. It packs into dir, or leaves the trace as it is.
func pack(ctx context.Context, in, dir string, uid int, gz bool) (f rank.File, events uint64, err error) {
	src, err := openOwned(in, uid)
	if err != nil {
		return f, 0, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	count := &eventCounter{}
	if !gz {
		err := copyContext(ctx, count, src)
		return rank.File{Name: "trace.json", Kind: "trace", Path: in}, count.n, err
	}
	out := filepath.Join(dir, "packed.json.gz")
	dst, err := os.Create(out)
	if err != nil {
		return f, 0, fmt.Errorf("pack the trace: %w", err)
	}
	z, _ := gzip.NewWriterLevel(dst, gzip.BestSpeed)
	err = copyContext(ctx, io.MultiWriter(count, z), src)
	if err = errors.Join(err, z.Close(), dst.Close()); err != nil {
		return f, 0, fmt.Errorf("pack the trace: %w", errors.Join(err, os.Remove(out)))
	}
	return rank.File{Name: "trace.json.gz", Kind: "trace", Path: out}, count.n, nil
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
