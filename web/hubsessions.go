package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// HubSessions returns the sessions of a hub: those that run and those in its store.
func HubSessions(h *hub.Hub) Sessions { return hubSessions{h} }

type hubSessions struct{ hub *hub.Hub }

// List merges the hub's memory with its store. A run whose manifest cannot be
// read is listed as failed, with the reason, and hides no other.
func (s hubSessions) List(_ context.Context, limit int) ([]session.Status, error) {
	var out []session.Status
	seen := map[string]bool{}
	for _, st := range s.hub.Sessions() {
		seen[st.ID] = true
		out = append(out, *st)
	}
	runs, err := s.hub.Store().List()
	if err != nil {
		return nil, err
	}
	runs = slices.DeleteFunc(runs, func(r store.Info) bool { return seen[r.ID] || !r.Complete })
	for _, r := range runs[:min(limit, len(runs))] {
		st, err := s.hub.Session(r.ID)
		if err != nil {
			st = &session.Status{ID: r.ID, State: session.StateFailed, Prefix: r.Prefix, StartedAt: r.At,
				Error: err.Error()}
		}
		out = append(out, *st)
	}
	slices.SortFunc(out, func(a, b session.Status) int { return cmp.Compare(b.ID, a.ID) }) // ULIDs sort by time
	return out[:min(limit, len(out))], nil
}

func (s hubSessions) Get(_ context.Context, id string) (*session.Status, error) {
	st, err := s.hub.Session(id)
	var unknown *hub.ErrUnknownSession
	if errors.As(err, &unknown) {
		return nil, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return st, err
}

// Live implements LiveSessions.
func (s hubSessions) Live(ctx context.Context, id string) (*session.Status, session.Bounds, error) {
	return s.hub.Live(ctx, id)
}

func (s hubSessions) OpenArtifact(ctx context.Context, id, name string) (*ArtifactFile, error) {
	st, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if name == store.ManifestName && st.State.Terminal() {
		return OpenFile(st.RunDir, name)
	}
	for _, a := range store.AllArtifacts(st) {
		if a.Name != name {
			continue
		}
		f, err := OpenFile(st.RunDir, name)
		if err != nil {
			return nil, err
		}
		f.SHA256 = a.SHA256
		return f, nil
	}
	return nil, fmt.Errorf("session %s has no artifact %q: %w", id, name, fs.ErrNotExist)
}
