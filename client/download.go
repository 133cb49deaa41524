package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// Download downloads all artifacts of a session into dir, each under its name in the run. A file
// appears complete and with the hash that the session has for it, or not at all. done is called
// after each file; it may be nil. No name leads out of dir.
func (c *Client) Download(ctx context.Context, st *session.Status, dir *os.Root, done func(protocol.Artifact)) error {
	for _, a := range store.AllArtifacts(st) {
		if err := c.download(ctx, st.ID, a, dir); err != nil {
			return fmt.Errorf("%s: %w", a.Name, err)
		}
		if done != nil {
			done(a)
		}
	}
	return nil
}

func (c *Client) download(ctx context.Context, id string, a protocol.Artifact, dir *os.Root) error {
	body, err := c.Artifact(ctx, id, a.Name)
	if err != nil {
		return err
	}
	defer body.Close()
	name := filepath.FromSlash(a.Name)
	if parent := path.Dir(a.Name); parent != "." {
		if err := dir.MkdirAll(filepath.FromSlash(parent), 0o700); err != nil {
			return err
		}
	}
	tmp := name + ".part"
	f, err := dir.Create(tmp)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), body)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if sum := hex.EncodeToString(h.Sum(nil)); err == nil && a.SHA256 != "" && sum != a.SHA256 {
		err = fmt.Errorf("SHA-256 is %s, the manifest says %s", sum, a.SHA256)
	}
	if err != nil {
		_ = dir.Remove(tmp) // the error of the file itself matters more
		return err
	}
	return dir.Rename(tmp, name)
}
