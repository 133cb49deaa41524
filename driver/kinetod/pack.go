package kinetod

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/internal/tempspool"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// copyBytes is how much of a trace is read at once.
const copyBytes = 1 << 20

// packing is the agent's own directory for files that a rank hands over, created with the first of
// them. Other users cannot write there. The zero value is ready for use; close ends it.
type packing struct {
	mu    sync.Mutex
	root  *os.Root
	spool *tempspool.Spool // of root; nil as long as that is
}

// open returns the directory.
func (p *packing) open() (*os.Root, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.root != nil {
		return p.root, nil
	}
	spool, err := tempspool.Make(tempspool.Copies)
	if err != nil {
		return nil, err
	}
	if p.root, err = os.OpenRoot(spool.Path); err != nil {
		return nil, errors.Join(err, spool.Remove())
	}
	p.spool = spool
	return p.root, nil
}

// remove removes what was packed as base.
func (p *packing) remove(base string) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.root == nil {
		return nil
	}
	for _, ending := range []string{".json", ".json.gz"} {
		if e := p.root.Remove(base + ending); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// close removes the directory.
func (p *packing) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.root == nil {
		return nil
	}
	err := errors.Join(p.root.Close(), p.spool.Remove())
	p.root, p.spool = nil, nil
	return err
}

// pack makes the file that a rank hands over of the trace in, which a process has written
// to d, and counts its events. The file is base with an ending. Packing again replaces it.
func (p *packing) pack(ctx context.Context, d *traceDir, in, base string, gz bool) (f rank.File, events uint64,
	err error) {
	src, size, err := d.open(in)
	if err != nil {
		return f, 0, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	root, err := p.open()
	if err != nil {
		return f, 0, fmt.Errorf("pack the trace: %w", err)
	}
	f = rank.File{Name: "trace.json", Kind: protocol.KindTrace}
	if gz {
		f.Name += ".gz"
	}
	name := base + strings.TrimPrefix(f.Name, "trace")
	f.Path = filepath.Join(root.Name(), name)
	if err := p.remove(base); err != nil {
		return f, 0, fmt.Errorf("pack the trace: %w", err)
	}
	dst, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return f, 0, fmt.Errorf("pack the trace: %w", err)
	}
	var to io.WriteCloser = dst
	if gz {
		to, _ = gzip.NewWriterLevel(dst, gzip.BestSpeed)
	}
	count := &driver.EventCounter{}
	err = copyContext(ctx, io.MultiWriter(count, to), io.LimitReader(src, size))
	if gz {
		err = errors.Join(err, to.Close())
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return f, 0, fmt.Errorf("pack the trace: %w", errors.Join(err, p.remove(base)))
	}
	return f, count.N, nil
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
