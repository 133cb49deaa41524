package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/trace/unpack"
	"github.com/kinetoscope/kinetoscope/units"
)

// Limits bounds uploads into the store.
type Limits struct {
	MaxUpload  int64 // bytes of one file; 0: DefaultMaxUpload
	MaxUploads int64 // bytes of all uploads together; 0: DefaultMaxUploads
	// Temporary says that the store is removed when the program ends; lists tell people so.
	Temporary bool
}

// Defaults of Limits, and how many uploads may be under way: each writes to the disk.
const (
	DefaultMaxUpload  = 4 << 30 // a minute of a large model with stacks
	DefaultMaxUploads = 32 << 30
	maxUploading      = 4
	maxUploadName     = 200 // bytes of a name as it is shown
	maxStoredName     = 100 // bytes of a name as it is stored
)

func (l Limits) orDefault() Limits {
	l.MaxUpload = cmp.Or(l.MaxUpload, DefaultMaxUpload)
	l.MaxUploads = cmp.Or(l.MaxUploads, DefaultMaxUploads)
	return l
}

// Limits are those in force.
func (c *Catalog) Limits() Limits { return c.limits }

// UploadRefused says why an upload was refused.
type UploadRefused struct {
	Status int // HTTP
	Why    string
	Do     string // what to do about it; may be ""
}

func (e *UploadRefused) Error() string { return e.Why }

// HTTPStatus is Status.
func (e *UploadRefused) HTTPStatus() int { return e.Status }

// Hint is Do.
func (e *UploadRefused) Hint() string { return e.Do }

// upload is one that is under way.
type upload struct {
	id         string
	at         time.Time // when it began
	name       string    // the file's original one
	size, most int64     // bytes: as announced, -1 without that; as it may have
}

// Upload adds a trace that was recorded elsewhere, or an archive of several, as a run of its own.
// name is the file's original name; it only decides what people see. size is the file's length in
// bytes, -1 if it is not known. A file that is not a trace, or too large, gives an *UploadRefused
// and leaves nothing in the store.
func (c *Catalog) Upload(ctx context.Context, name string, size int64, src io.Reader) (Item, error) {
	if err := c.mayUpload(name, size); err != nil {
		return Item{}, err
	}
	most, err := c.beginUpload(size)
	if err != nil {
		return Item{}, err
	}
	defer c.endUpload(most)
	u := upload{id: ulid.Make().String(), at: time.Now(), name: name, size: size, most: most}
	r, err := c.store.Create(u.at, prefixOf(name), u.id)
	if err != nil {
		return Item{}, fmt.Errorf("take %q: %w", name, err)
	}
	dir := r.Dir()
	err = errors.Join(c.fill(ctx, r, u, src), r.Close())
	if err != nil {
		return Item{}, errors.Join(err, c.erase(filepath.Base(dir)))
	}
	c.changed()
	return c.Get(u.id)
}

// mayUpload returns the refusals that need no byte of the file.
func (c *Catalog) mayUpload(name string, size int64) error {
	if name == "" || len(name) > maxUploadName || !plain(name) || strings.ContainsAny(name, `/\`) {
		return &UploadRefused{http.StatusBadRequest, fmt.Sprintf("name %.80q is not that of a file", name),
			fmt.Sprintf("a name has 1 to %d bytes, without separators and control characters", maxUploadName)}
	}
	if size > c.limits.MaxUpload {
		return c.tooLarge(name)
	}
	if err := c.store.Room(max(size, 1)); err != nil {
		return &UploadRefused{http.StatusInsufficientStorage, err.Error(), "make room there"}
	}
	return nil
}

func (c *Catalog) tooLarge(name string) error {
	return &UploadRefused{http.StatusRequestEntityTooLarge,
		fmt.Sprintf("%q is over %s, the most that one upload may have", name, units.Bytes(c.limits.MaxUpload)),
		"kinetoscope view FILE shows it where it lies"}
}

// beginUpload finds room for an upload of size bytes, -1 if that is not known, beside those that are
// there and those under way. It returns how many bytes the upload may have; endUpload gives them back.
func (c *Catalog) beginUpload(size int64) (most int64, err error) {
	c.admitting.Lock()
	defer c.admitting.Unlock()
	c.mu.Lock()
	under, have := c.uploads, c.promised // before the list: one that ends meanwhile counts twice and not never
	c.mu.Unlock()
	if under >= maxUploading {
		return 0, &UploadRefused{http.StatusServiceUnavailable,
			fmt.Sprintf("%d files are being taken, the most at a time", maxUploading), "try again in a moment"}
	}
	all, err := c.All()
	if err != nil {
		return 0, err
	}
	for i := range all {
		if all[i].Upload != nil {
			have += all[i].Bytes
		}
	}
	left := c.limits.MaxUploads - have
	if size > left || size < 0 && left <= 0 {
		return 0, c.full(have + max(size, 1))
	}
	if most = size; size < 0 {
		most = min(left, c.limits.MaxUpload)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uploads++
	c.promised += most
	return most, nil
}

func (c *Catalog) endUpload(most int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uploads--
	c.promised -= most
}

// full refuses an upload with which all would have so many bytes or more.
func (c *Catalog) full(have int64) error {
	return &UploadRefused{http.StatusInsufficientStorage,
		fmt.Sprintf("the uploads here would have %s, more than the %s that are allowed", units.Bytes(have),
			units.Bytes(c.limits.MaxUploads)), "delete some of them"}
}

// over refuses a file that has more than the bytes that it may have.
func (c *Catalog) over(u upload) error {
	switch {
	case u.most >= c.limits.MaxUpload:
		return c.tooLarge(u.name)
	case u.size >= 0:
		return &UploadRefused{http.StatusBadRequest,
			fmt.Sprintf("%q has more than the %d bytes that were announced", u.name, u.size), "announce its length, or none"}
	}
	return c.full(c.limits.MaxUploads + 1)
}

// fill writes the file, finds out its format, and finishes the run.
func (c *Catalog) fill(ctx context.Context, r *store.Run, u upload, src io.Reader) error {
	body := &io.LimitedReader{R: &withContext{ctx, src}, N: u.most + 1}
	art, err := r.Write(uploadDir+"/"+storedName(u.name), protocol.KindTrace, body)
	if body.N <= 0 {
		return c.over(u)
	}
	if err != nil {
		return u.cut(err)
	}
	path := filepath.Join(r.Dir(), filepath.FromSlash(art.Name))
	format, err := formatOf(path)
	if err == nil && format == archiveFormat {
		if why := emptyArchive(ctx, path); why != nil {
			return &UploadRefused{http.StatusBadRequest, fmt.Sprintf("%q is a damaged archive: %v", u.name, why),
				"send it again, or the traces in it one by one"}
		}
	}
	if err != nil {
		return &UploadRefused{http.StatusUnsupportedMediaType,
			fmt.Sprintf("%q holds no trace that is known here: %s", u.name, err),
			"docs/formats.md lists the formats; kinetoscope inspect says more of a file"}
	}
	return r.Finish(store.Manifest{
		CreatedBy: "upload",
		Upload:    &store.Upload{Name: u.name, Format: format},
		Session: session.Status{ID: u.id, State: session.StateComplete, Prefix: prefixOf(u.name), StartedAt: u.at,
			FinishedAt: time.Now(), Stages: []session.StageStatus{}, Artifacts: []protocol.Artifact{art}},
	})
}

// cut refuses an upload that err has ended before its end.
func (u upload) cut(err error) error {
	if b, ok := errors.AsType[*brokenOff](err); ok {
		return &UploadRefused{http.StatusBadRequest, fmt.Sprintf("%q broke off: %v", u.name, b.err), "send it again"}
	}
	if no, ok := errors.AsType[syscall.Errno](err); ok && store.NoRoom(err) {
		return &UploadRefused{http.StatusInsufficientStorage, fmt.Sprintf("%q cannot be kept: %v", u.name, no),
			"make room there"}
	}
	return err
}

// uploadDir is the directory of a run that has the file of an upload.
const uploadDir = "upload"

// archiveFormat is the format of an archive of traces.
const archiveFormat = "archive"

// emptyArchive says why not even the first file of an archive can be read, nil if it can. What lies
// behind damage is left out when the run is read, and said there.
func emptyArchive(ctx context.Context, path string) error {
	f, err := os.Open(path) // in the run's directory, which is this user's alone
	if err != nil {
		return err
	}
	defer f.Close()
	one := errors.New("there is one")
	damaged, err := unpack.Members(ctx, f, func(unpack.Member) error { return one })
	switch {
	case errors.Is(err, one):
		return nil
	case err != nil:
		return err
	case damaged != nil:
		return damaged
	}
	return errors.New("there is no file in it")
}

// formatOf returns a file's format from the registry; its error names no path. It looks at the
// directory, which holds only this file, because package open takes any file that is given by name
// for a trace.
func formatOf(path string) (string, error) {
	found, left, err := open.Survey([]string{filepath.Dir(path)})
	switch {
	case len(found) == 1 && found[0].Archive:
		return archiveFormat, nil
	case len(found) == 1 && found[0].Format != "":
		return found[0].Format, nil
	case len(left) > 0:
		return "", errors.New(left[0].Reason)
	case err != nil:
		return "", errors.New(strings.ReplaceAll(err.Error(), filepath.Dir(path), "it"))
	}
	return "", errors.New("it holds none")
}

// brokenOff is why the rest of an upload did not come.
type brokenOff struct{ err error }

// Error is that of reading.
func (b *brokenOff) Error() string { return b.err.Error() }

// withContext ends reading when ctx does.
type withContext struct {
	ctx context.Context
	src io.Reader
}

func (r *withContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.src.Read(p)
	if err != nil && err != io.EOF && r.ctx.Err() == nil { //nolint:errorlint // the end of a reader is not wrapped
		err = &brokenOff{err}
	}
	return n, err
}

// storedName makes a safe file name of the original one: letters, digits and a few signs, and no dot at
// its begin, which would hide the file. The extension is kept, for people.
func storedName(name string) string {
	clean := strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
			return c
		}
		return '_'
	}, name)
	return cmp.Or(strings.TrimLeft(clean[max(0, len(clean)-maxStoredName):], "."), "trace")
}

// prefixOf makes the run's prefix of the file's name: the part before the first dot, without
// characters that a prefix cannot have.
func prefixOf(name string) string {
	stem, _, _ := strings.Cut(strings.TrimLeft(name, "."), ".")
	stem = strings.ReplaceAll(stem, ":", "_")
	for len(stem) > protocol.MaxPrefix || !utf8.ValidString(stem) {
		stem = stem[:len(stem)-1]
	}
	if protocol.ValidatePrefix(stem) != nil {
		return "upload"
	}
	return stem
}
