package rank

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/kinetoscope/kinetoscope/hub/link"
	"github.com/kinetoscope/kinetoscope/protocol"
)

// uploadChunk is the object store's chunk: few messages for large files, well
// under protocol.MaxPayload.
const uploadChunk = 1 << 20

// uploading is the hand-over of one session's files; the hub is told its progress.
type uploading struct {
	sent atomic.Int64
	done chan struct{}
	wg   sync.WaitGroup
}

// newUploading begins to tell. The caller ends it.
func newUploading(m *Member, s protocol.RankStatus, over Handover) *uploading {
	u := &uploading{done: make(chan struct{})}
	w := protocol.Writing{}
	count := func(files []File) {
		for _, f := range files {
			if st, err := os.Stat(f.Path); err == nil {
				w.Files, w.Done, w.Bytes = w.Files+1, w.Done+1, w.Bytes+st.Size()
			}
		}
	}
	count(over.Files)
	for _, o := range over.Others {
		count(o.Files)
	}
	u.wg.Go(func() {
		tick := time.NewTicker(protocol.WritingInterval)
		defer tick.Stop()
		for {
			select {
			case <-u.done:
				return
			case <-tick.C:
			}
			now := w
			now.Sent = u.sent.Load()
			s.Writing = &now
			m.Notify(s)
		}
	})
	return u
}

// end ends the telling.
func (u *uploading) end() {
	close(u.done)
	u.wg.Wait()
}

// all uploads the files of rank id.
func (u *uploading) all(ctx context.Context, obs jetstream.ObjectStore, session string, id protocol.RankID,
	files []File) ([]protocol.Artifact, error) {
	var out []protocol.Artifact
	for _, f := range files {
		var a protocol.Artifact
		before := u.sent.Load()
		err := link.Retry(ctx, func() (err error) {
			u.sent.Store(before)
			a, err = u.one(ctx, obs, session+"/"+id.Key()+"/"+f.Name, f)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("upload %s: %w", f.Path, err)
		}
		out = append(out, a)
	}
	return out, nil
}

func (u *uploading) one(ctx context.Context, obs jetstream.ObjectStore, name string, f File) (a protocol.Artifact,
	err error) {
	src, err := os.Open(f.Path)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	h := sha256.New()
	info, err := obs.Put(ctx, jetstream.ObjectMeta{
		Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: uploadChunk},
		Metadata: map[string]string{"uploaded_at": time.Now().UTC().Format(time.RFC3339Nano)},
	}, io.TeeReader(src, io.MultiWriter(h, u)))
	if err != nil {
		return a, err
	}
	return protocol.Artifact{
		Name: f.Name, Kind: f.Kind, Size: int64(info.Size),
		SHA256: hex.EncodeToString(h.Sum(nil)), Object: name,
	}, nil
}

// Write counts what has been sent. It implements io.Writer.
func (u *uploading) Write(p []byte) (int, error) {
	u.sent.Add(int64(len(p)))
	return len(p), nil
}
