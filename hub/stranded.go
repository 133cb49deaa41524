package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

const (
	// retryInterval is how often a hub looks whether sessions that wait for room have it.
	retryInterval = 5 * time.Second
	// maxStranded bounds the sessions that wait; of more the files stay in the spool and
	// kinetoscope recover brings them home.
	maxStranded = 64
	// recordsDir, in DataDir, has the record of each session whose run is not finished, for
	// a recovery without this hub.
	recordsDir = "sessions"
)

// strand has a session wait until there is room in the run store.
func (h *Hub) strand(rec record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.stranded) < maxStranded {
		h.stranded[rec.Session.ID] = rec
	}
}

// waits says in a session's status that its run is not finished, for want of room.
func (h *Hub) waits(st *session.Status) {
	if st.State == session.StateComplete {
		st.State = session.StatePartial // the files are complete, but the manifest is missing
	}
	st.WaitsFor = "room in the run store " + h.store.Root()
	st.Error = joinReasons(st.Error, "its run is finished when there is "+st.WaitsFor+", or by kinetoscope recover")
}

// strandIfSpooled does so with a session of an earlier hub of which this one has files, and reports
// whether it has.
func (h *Hub) strandIfSpooled(rec record) bool {
	for _, r := range rec.Session.Ranks {
		root := h.ownSpool(r.Target)
		if root == nil {
			continue
		}
		if entries, err := fs.ReadDir(root.FS(), rec.Session.ID); err == nil && len(entries) > 0 {
			h.strand(rec)
			return true
		}
	}
	if len(rec.Arrived) > 0 {
		h.strand(rec)
		return true
	}
	return false
}

// ownSpool is a target's spool if this hub gave it out.
func (h *Hub) ownSpool(t session.Target) *os.Root {
	if t.Host != h.host {
		return nil
	}
	return h.spool[t.SpoolDir]
}

// bringHome tries again and again what could not be written, until Close.
func (h *Hub) bringHome() {
	tick := time.NewTicker(h.cfg.RetryInterval)
	defer tick.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-tick.C:
		}
		for _, rec := range h.waiting() {
			h.bringOneHome(rec)
		}
	}
}

// waiting returns the stranded sessions if there is room for one.
func (h *Hub) waiting() (out []record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, rec := range h.stranded {
		out = append(out, rec)
	}
	if len(out) > 0 && h.store.Room(copiesInTheRun*rankRoom) != nil {
		return nil
	}
	return out
}

func (h *Hub) bringOneHome(rec record) {
	id := rec.Session.ID
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-h.ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(h.ctx, session.DefaultConvertTimeout)
	defer cancel()
	c := homecoming{store: h.store, convert: h.cfg.Convert, log: h.log, spool: h.ownSpool, rec: clone(rec)}
	st, err := c.run(ctx)
	if err != nil && (store.NoRoom(err) || h.ctx.Err() != nil) {
		return // later
	}
	h.mu.Lock()
	delete(h.stranded, id)
	h.mu.Unlock()
	if err != nil {
		h.log.Error("what a session left cannot be brought home; kinetoscope recover tries again", "session", id, "err",
			err)
		h.giveUp(id, err)
		return
	}
	h.setURLs(st)
	h.mu.Lock()
	h.book.Put(st)
	h.mu.Unlock()
	c.rec.RunDir = st.RunDir
	if err := h.persist(h.ctx, c.rec); err != nil {
		h.log.Warn("a restarted hub would look for this session again", "err", err)
	}
	h.dropRecord(id)
	h.log.Warn("a session that waited for room is home", "session", id, "state", st.State, "run", st.RunDir)
}

// giveUp says in a session's status why it waits no more.
func (h *Hub) giveUp(id string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if st, ok := h.book.Get(id); ok {
		now := *st
		now.WaitsFor, now.Error = "",
			fmt.Sprintf("what it left cannot be brought home: %v; kinetoscope recover tries again", err)
		h.book.Put(&now)
	}
}

// clone lets a homecoming change a record that may be needed again.
func clone(rec record) record {
	rec.Session = session.Restore(rec.Session).Snapshot()
	return rec
}

func (h *Hub) setURLs(st *session.Status) {
	for i := range st.Stages {
		for j := range st.Stages[i].Ranks {
			setURLs(st.ID, st.Stages[i].Ranks[j].Artifacts)
		}
	}
	setURLs(st.ID, st.Artifacts)
}

// keepRecord writes a session's record, encoded as b, beside the spools. It goes when the
// run is finished.
func (h *Hub) keepRecord(rec record, b []byte) error {
	if h.cfg.DataDir == "" || rec.Session.State == session.StateIdle {
		return nil
	}
	dir := filepath.Join(h.cfg.DataDir, recordsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, rec.Session.ID+".json")
	if err := os.WriteFile(path+".tmp", b, 0o600); err != nil {
		return errors.Join(err, os.Remove(path+".tmp"))
	}
	return os.Rename(path+".tmp", path)
}

// dropRecord removes a session's record: its run is finished, or it never recorded.
func (h *Hub) dropRecord(id string) {
	if h.cfg.DataDir == "" {
		return
	}
	if err := os.Remove(filepath.Join(h.cfg.DataDir, recordsDir, id+".json")); err != nil &&
		!errors.Is(err, fs.ErrNotExist) {
		h.log.Warn("the record of an ended session stays", "session", id, "err", err)
	}
}

// readRecord reads a session's record beside the spools of a data directory, false if there
// is none that can be read.
func readRecord(dataDir, id string) (rec record, ok bool) {
	b, err := os.ReadFile(filepath.Join(dataDir, recordsDir, id+".json"))
	if err != nil || json.Unmarshal(b, &rec) != nil || rec.Session.ID != id {
		return record{}, false
	}
	for _, r := range rec.Session.Ranks {
		if r.Target.Validate() != nil {
			return record{}, false
		}
	}
	return rec, protocol.ValidatePrefix(rec.Session.Config.Prefix) == nil
}
