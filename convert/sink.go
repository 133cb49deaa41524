package convert

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace/format"
)

// Sink is where artifacts go. Write reads src to its end and makes the file name, a
// slash-separated path in the run, appear complete, or not at all if src fails; it
// never replaces a file. It must be safe for concurrent use. *store.Run is a Sink.
type Sink interface {
	Write(name string, kind protocol.ArtifactKind, src io.Reader) (protocol.Artifact, error)
}

// Dir is a directory as a Sink. Parents are made as needed.
type Dir string

// Write implements Sink; a name that is taken gives fs.ErrExist.
func (d Dir) Write(name string, kind protocol.ArtifactKind, src io.Reader) (a protocol.Artifact, err error) {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return a, fmt.Errorf("artifact name %q leads out of the directory", name)
	}
	path := filepath.Join(string(d), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return a, fmt.Errorf("write artifact %s: %w", name, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".convert-*")
	if err != nil {
		return a, fmt.Errorf("write artifact %s: %w", name, err)
	}
	defer func() {
		if e := os.Remove(f.Name()); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), src)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Link(f.Name(), path) // unlike a rename it never replaces a file
	}
	if err != nil {
		return a, fmt.Errorf("write artifact %s: %w", name, err)
	}
	return protocol.Artifact{Name: name, Kind: kind, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
}

// pipeBuffer decouples a writer from the sink's hashing and copying.
const pipeBuffer = 256 << 10

// produce runs write into the sink and returns the artifact. The writing goroutine
// has ended when it returns.
func produce(ctx context.Context, to Sink, name string, kind protocol.ArtifactKind,
	write func(io.Writer) error) (protocol.Artifact, error) {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := bufio.NewWriterSize(format.Until(ctx, w), pipeBuffer)
		err := write(b)
		if err == nil {
			err = b.Flush()
		}
		w.CloseWithError(err) // nil is io.EOF for the reader
	}()
	a, err := to.Write(name, kind, r)
	r.CloseWithError(errors.New("the sink stopped reading"))
	<-done
	if err != nil {
		return a, fmt.Errorf("artifact %s: %w", name, err)
	}
	return a, nil
}
