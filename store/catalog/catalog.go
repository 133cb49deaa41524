// Package catalog manages the runs of a store: it finds them by search, filters and sorts them,
// labels them with tags, notes and pins, deletes them one by one or by age and size, packs a run
// into an archive, and adds traces that were recorded elsewhere.
//
// Labels lie beside a run's manifest, in LabelsName; the other files of a finished run are never
// written again.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// Health says in one word how reliable a run is.
type Health string

// The healths, from best to worst.
const (
	HealthWhole  Health = "whole"  // every rank completed and dropped nothing
	HealthFlawed Health = "flawed" // something is missing, and Why says what
	HealthBroken Health = "broken" // no rank's files arrived, or the manifest cannot be read
)

// Healths are all of them.
var Healths = []Health{HealthWhole, HealthFlawed, HealthBroken}

// Item is one finished run.
type Item struct {
	ID         string        `json:"id"`
	Name       string        `json:"name"` // of its directory
	Prefix     string        `json:"prefix,omitempty"`
	Pipeline   string        `json:"pipeline,omitempty"`
	Stages     []string      `json:"stages,omitempty"` // their names
	State      session.State `json:"state"`
	StartedAt  time.Time     `json:"started_at"`
	RecordedNs int64         `json:"recorded_ns"` // by the rank that recorded longest; 0: not known
	Bytes      int64         `json:"bytes"`       // of all its files, as the manifest has them
	Files      int           `json:"files"`
	Ranks      int           `json:"ranks"`
	Complete   int           `json:"complete"` // of the ranks
	Events     uint64        `json:"events"`
	Drops      uint64        `json:"drops"`
	Health     Health        `json:"health"`
	Why        string        `json:"why,omitempty"` // what the run lacks
	Upload     *store.Upload `json:"upload,omitempty"`
	Labels
}

// Sessions is the owner of the sessions that record into the store.
type Sessions interface {
	// Forget drops what is remembered of a session whose run is deleted. An error says why the run
	// must stay: the session is under way.
	Forget(ctx context.Context, id string) error
}

// Catalog is the runs of a store. It is safe for concurrent use.
type Catalog struct {
	store    *store.Store
	sessions Sessions // nil: nobody records here
	limits   Limits

	write sync.Mutex // held while runs are labelled, deleted or brought

	mu       sync.Mutex
	cache    map[string]entry // by directory
	revision uint64
	removed  []Removed // by retention, newest first
	policy   Policy
	uploads  int   // under way
	promised int64 // bytes that those may have

	admitting sync.Mutex // held while room is found for an upload
}

// entry is an item with the stamp of the files that it was read from.
type entry struct {
	stamp stamp
	item  Item
}

// stamp shows whether the files of an item have changed since it was read.
type stamp struct{ manifest, labels, late fileStamp }

type fileStamp struct {
	at   time.Time
	size int64
}

// New is the catalog of s. Zero limits are the defaults.
func New(s *store.Store, sessions Sessions, limits Limits) *Catalog {
	return &Catalog{store: s, sessions: sessions, limits: limits.orDefault(), cache: map[string]entry{}}
}

// Root is the store's directory.
func (c *Catalog) Root() string { return c.store.Root() }

// Revision grows with every change that was made through the catalog.
func (c *Catalog) Revision() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revision
}

func (c *Catalog) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revision++
}

// All returns the finished runs, youngest first. Runs that have not changed since they were last
// read are not read again.
func (c *Catalog) All() ([]Item, error) {
	list, err := c.store.List()
	if err != nil {
		return nil, err
	}
	out := make([]Item, 0, len(list))
	there := make(map[string]bool, len(list))
	for _, info := range list {
		if info.Complete {
			there[info.Dir] = true
			out = append(out, c.item(info))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for dir := range c.cache {
		if !there[dir] {
			delete(c.cache, dir)
		}
	}
	return out, nil
}

// Get returns the run of session id. If there is none, the error wraps store.ErrNotFound.
func (c *Catalog) Get(id string) (Item, error) {
	info, err := c.find(id)
	if err != nil {
		return Item{}, err
	}
	return c.item(info), nil
}

// find looks for a finished run by its whole id.
func (c *Catalog) find(id string) (store.Info, error) {
	list, err := c.store.List()
	if err != nil {
		return store.Info{}, err
	}
	for _, info := range list {
		if info.ID == id && info.Complete {
			return info, nil
		}
	}
	return store.Info{}, fmt.Errorf("run %q: no finished run has this id: %w", id, store.ErrNotFound)
}

func (c *Catalog) item(info store.Info) Item {
	now := stampOf(info.Dir)
	c.mu.Lock()
	have, ok := c.cache[info.Dir]
	c.mu.Unlock()
	if ok && have.stamp == now {
		return have.item
	}
	it := read(info)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cache[info.Dir] = entry{now, it}
	return it
}

func stampOf(dir string) stamp {
	of := func(name string) fileStamp {
		st, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			return fileStamp{size: -1}
		}
		return fileStamp{st.ModTime(), st.Size()}
	}
	return stamp{of(store.ManifestName), of(LabelsName), of(store.LateDir)}
}

// read makes the item of a run. A run whose manifest cannot be read is listed as broken.
func read(info store.Info) Item {
	it := Item{ID: info.ID, Name: filepath.Base(info.Dir), Prefix: info.Prefix, StartedAt: info.At,
		State: session.StateFailed, Health: HealthBroken}
	it.Labels = readLabels(info.Dir)
	m, err := manifestOf(info.Dir)
	if err != nil {
		it.Why = err.Error()
		return it
	}
	it.fill(m)
	return it
}

// manifestOf reads the manifest of the run in dir.
func manifestOf(dir string) (*store.Manifest, error) {
	r, err := store.OpenRun(dir)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.Manifest()
}

// fill sets the fields that a listing shows from a manifest.
func (it *Item) fill(m *store.Manifest) {
	s := &m.Session
	it.Pipeline, it.State, it.StartedAt, it.Upload = s.Pipeline, s.State, s.StartedAt, m.Upload
	it.Prefix = s.Prefix
	for _, a := range m.Artifacts() {
		it.Bytes += a.Size
		it.Files++
	}
	for _, st := range s.Stages {
		it.Stages = append(it.Stages, st.Name)
		for _, k := range st.Ranks {
			it.Ranks++
			if k.State == protocol.StateComplete {
				it.Complete++
			}
			it.Events, it.Drops = it.Events+k.Events, it.Drops+k.Drops
			if k.StartedAtNs != 0 {
				it.RecordedNs = max(it.RecordedNs, k.StoppedAtNs-k.StartedAtNs)
			}
		}
	}
	it.Health, it.Why = healthOf(it, s)
}

// healthOf judges a run by its end state, its ranks and what they dropped.
func healthOf(it *Item, s *session.Status) (Health, string) {
	switch {
	case s.State == session.StateFailed:
		return HealthBroken, s.Error
	case s.State != session.StateComplete && it.Complete < it.Ranks:
		return HealthFlawed, fmt.Sprintf("%d of %d ranks complete: %s", it.Complete, it.Ranks, s.Error)
	case s.State != session.StateComplete:
		return HealthFlawed, s.Error
	case it.Drops > 0:
		return HealthFlawed, fmt.Sprintf("%d events were dropped", it.Drops)
	}
	return HealthWhole, ""
}

// Delete removes a finished run with all its files. It refuses a pinned run and one whose session
// is under way.
func (c *Catalog) Delete(ctx context.Context, id string) error {
	c.write.Lock()
	defer c.write.Unlock()
	return c.remove(ctx, id)
}

// remove is Delete for callers that hold write.
func (c *Catalog) remove(ctx context.Context, id string) error {
	info, err := c.find(id)
	if err != nil {
		return err
	}
	if readLabels(info.Dir).Pinned {
		return &PinnedError{ID: id}
	}
	if c.sessions != nil {
		if err := c.sessions.Forget(ctx, id); err != nil {
			return err
		}
	}
	err = c.erase(filepath.Base(info.Dir))
	c.changed()
	return err
}

// deletedPrefix begins the names of runs that are being deleted, so that a listing shows a run
// whole or not at all.
const deletedPrefix = ".deleted-"

// erase removes a directory of the store. The run disappears from all listings before its first
// file is removed.
func (c *Catalog) erase(name string) error {
	root, err := os.OpenRoot(c.store.Root())
	if err != nil {
		return fmt.Errorf("delete run: %w", err)
	}
	defer root.Close()
	if err := root.Rename(name, deletedPrefix+name); err != nil {
		return fmt.Errorf("delete run: %w", err)
	}
	if err := root.RemoveAll(deletedPrefix + name); err != nil {
		return fmt.Errorf("delete run: %w; what is left of it is in %s%s", err, deletedPrefix, name)
	}
	return nil
}

// PinnedError says that a run is not deleted because it is pinned.
type PinnedError struct{ ID string }

func (e *PinnedError) Error() string {
	return fmt.Sprintf("run %s is pinned: take the pin away first", e.ID)
}

// Code is what the error is on the wire and over HTTP.
func (e *PinnedError) Code() protocol.Code { return protocol.CodeRunPinned }

// HTTPStatus is 409.
func (e *PinnedError) HTTPStatus() int { return e.Code().HTTPStatus() }

// Hint says how to take the pin away.
func (e *PinnedError) Hint() string {
	return fmt.Sprintf("kinetoscope runs label %s --no-pin, PATCH /v1/runs/%s with {\"pinned\": false}, or Unpin on the page",
		e.ID, e.ID)
}

// missing reports whether err says that a file is not there.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
