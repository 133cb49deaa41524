package rank

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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
	part int64 // files that are larger go in parts of this size; 0: none does
	done chan struct{}
	wg   sync.WaitGroup
}

// newUploading begins to tell. The caller ends it.
func newUploading(m *Member, s protocol.RankStatus, over Handover, part int64) *uploading {
	u := &uploading{done: make(chan struct{}), part: part}
	w := protocol.Writing{}
	count := func(files []File) {
		for _, f := range files {
			if n := f.size(); n >= 0 {
				w.Files, w.Done, w.Bytes = w.Files+1, w.Done+1, w.Bytes+n
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
		object := session + "/" + id.Key() + "/" + f.Name
		if u.part > 0 && f.size() > u.part {
			a, err := u.inParts(ctx, obs, object, f)
			if err != nil {
				return nil, fmt.Errorf("upload %s: %w", f.Path, err)
			}
			out = append(out, a)
			continue
		}
		var a protocol.Artifact
		before := u.sent.Load()
		err := link.Retry(ctx, func() (err error) {
			u.sent.Store(before)
			a, err = u.one(ctx, obs, object, f)
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
	src, c, err := f.Open()
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
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

// inParts uploads a large file as several objects. One that is there already, from an attempt that was
// cut, is not sent again.
func (u *uploading) inParts(ctx context.Context, obs jetstream.ObjectStore, name string, f File) (a protocol.Artifact,
	err error) {
	src, c, err := f.Open()
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	whole := sha256.New()
	a = protocol.Artifact{Name: f.Name, Kind: f.Kind, Size: src.Size(), Object: name}
	for at := int64(0); at < a.Size; at += u.part {
		data := io.NewSectionReader(src, at, min(u.part, a.Size-at))
		h := sha256.New()
		if n, err := io.Copy(io.MultiWriter(whole, h), data); err != nil || n < data.Size() {
			return a, errors.Join(err, io.ErrUnexpectedEOF)
		}
		object, before := protocol.PartName(name, a.Parts), u.sent.Load()
		err := link.Retry(ctx, func() error {
			u.sent.Store(before)
			return u.onePart(ctx, obs, object, data, jetstream.GetObjectDigestValue(h))
		})
		if err != nil {
			return a, fmt.Errorf("part %d: %w", a.Parts, err)
		}
		a.Parts++
	}
	a.SHA256 = hex.EncodeToString(whole.Sum(nil))
	return a, nil
}

// onePart uploads a part unless it is there.
func (u *uploading) onePart(ctx context.Context, obs jetstream.ObjectStore, object string, data *io.SectionReader,
	digest string) error {
	if is, err := obs.GetInfo(ctx, object); err == nil && is.Digest == digest && is.Size == uint64(data.Size()) {
		u.sent.Add(data.Size())
		return nil
	}
	if _, err := data.Seek(0, io.SeekStart); err != nil {
		return err
	}
	is, err := obs.Put(ctx, jetstream.ObjectMeta{
		Name: object, Opts: &jetstream.ObjectMetaOptions{ChunkSize: uploadChunk},
	}, io.TeeReader(data, u))
	if err == nil && is.Digest != digest {
		err = errors.New("the file changes while it is uploaded")
	}
	return err
}

// Write counts what has been sent. It implements io.Writer.
func (u *uploading) Write(p []byte) (int, error) {
	u.sent.Add(int64(len(p)))
	return len(p), nil
}
