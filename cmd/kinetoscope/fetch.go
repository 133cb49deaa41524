package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/kinetoscope/kinetoscope/protocol"
)

// fetch downloads one artifact into root, under its own name and complete or not at all.
func (c *sessionsCmd) fetch(ctx context.Context, root *os.Root, id string, a protocol.Artifact) error {
	segments := strings.Split(a.Name, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	target := strings.TrimSuffix(c.URL, "/") + "/v1/sessions/" + url.PathEscape(id) + "/artifacts/" + strings.Join(segments, "/")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	resp, err := c.do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("download: %s", resp.Status)
	}
	if dir := path.Dir(a.Name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	tmp := a.Name + ".part"
	f, err := root.Create(tmp)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), resp.Body)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if sum := hex.EncodeToString(h.Sum(nil)); err == nil && a.SHA256 != "" && sum != a.SHA256 {
		err = fmt.Errorf("SHA-256 is %s, the manifest says %s", sum, a.SHA256)
	}
	if err != nil {
		root.Remove(tmp)
		return err
	}
	return root.Rename(tmp, a.Name)
}
