package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
)

// ended waits until the session after before has ended and returns it; nil if there is none.
func ended(ctx context.Context, p *product, before *session.Status) (st *session.Status, err error) {
	err = until(ctx, sessionTimeout, "the session to end", func() bool {
		var err error
		st, err = p.latest(ctx)
		if err != nil {
			return false
		}
		if st == nil || before != nil && st.ID == before.ID {
			st = nil
			return true
		}
		return st.State.Terminal()
	})
	if err != nil && st != nil {
		return nil, fmt.Errorf("session %s is still %s: %w", st.ID, st.State, err)
	}
	if st == nil || err != nil {
		return nil, err
	}
	// A session that waits for room is not the last word.
	waits := func() bool { return strings.Contains(fmt.Sprintf("%+v", st), "waits in") }
	err = until(ctx, sessionTimeout, "a session's recordings to come home", func() bool {
		if !waits() {
			return true
		}
		if now, err := p.latest(ctx); err == nil && now != nil {
			st = now
		}
		return !waits()
	})
	return st, err
}

// said is the first reason of a rank that did not complete, or of the session, or what the
// request was told.
func said(st *session.Status, told string) string {
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			if r.State != protocol.StateComplete {
				return fmt.Sprintf("%s rank %d %s: %s", s.Name, r.Rank, r.State, r.Reason)
			}
		}
	}
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			if r.Reason != "" {
				return fmt.Sprintf("%s rank %d: %s", s.Name, r.Rank, r.Reason)
			}
		}
	}
	if st.Error != "" {
		return st.Error
	}
	return told
}

// message is what an answer says is wrong.
func message(body []byte) string {
	var m struct{ Detail string }
	if json.Unmarshal(body, &m) == nil && m.Detail != "" {
		return m.Detail
	}
	return string(body)
}

// checkSession holds an ended session against what is promised of one.
func checkSession(p *product, st *session.Status) (broken []string) {
	add := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
	ranks := 0
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			ranks++
			if !r.State.Terminal() {
				add("rank %s is left %s", r.Text(), r.State)
			}
			if r.State != protocol.StateComplete && strings.TrimSpace(r.Reason) == "" {
				add("rank %s is %s without a reason", r.Text(), r.State)
			}
			if r.State != protocol.StateComplete && st.State == session.StateComplete {
				add("the session is complete and rank %s is %s", r.Text(), r.State)
			}
		}
	}
	if ranks != p.ranks {
		add("the session has %d ranks of %d", ranks, p.ranks)
	}
	if st.State != session.StateComplete && st.Error == "" {
		add("the session is %s without a reason", st.State)
	}
	if st.RunDir == "" {
		if st.State != session.StateFailed {
			add("the session is %s and has no run", st.State)
		}
		return broken
	}
	run, err := store.OpenRun(st.RunDir)
	if err != nil {
		add("%v", err)
		return broken
	}
	defer run.Close()
	if err := run.Verify(); err != nil {
		add("files and manifest: %v", err)
	}
	listed := map[string]bool{store.ManifestName: true}
	for _, a := range store.AllArtifacts(st) {
		listed[a.Name] = true
	}
	names, err := run.Names()
	if err != nil {
		add("%v", err)
	}
	for _, name := range names {
		if !listed[name] && !strings.HasPrefix(name, "late/") {
			add("%s is in the run and not in its manifest", name)
		}
	}
	return broken
}

// witness remembers every file of every finished run: none may ever change.
type witness struct{ files map[string]fs.FileInfo }

func newWitness() *witness { return &witness{map[string]fs.FileInfo{}} }

func (w *witness) check(p *product) (broken []string) {
	for path, was := range w.files {
		now, err := os.Stat(path)
		if err != nil {
			broken = append(broken, fmt.Sprintf("a file of a finished run is gone: %v", err))
		} else if !os.SameFile(was, now) || now.Size() != was.Size() || !now.ModTime().Equal(was.ModTime()) {
			broken = append(broken, path+" of a finished run has been written again")
		}
	}
	manifests, _ := filepath.Glob(filepath.Join(p.runs, "*", store.ManifestName)) //nolint:errcheck // the pattern is good
	for _, m := range manifests {
		err := filepath.WalkDir(filepath.Dir(m), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if _, known := w.files[path]; !known {
				w.files[path], err = d.Info()
			}
			return err
		})
		if err != nil {
			broken = append(broken, err.Error())
		}
	}
	return broken
}

var strays = regexp.MustCompile(`(?m)^kinetoscope_profilers_without_session (\S+)$`)

// next checks that nothing is left on and that the next session works.
func next(ctx context.Context, p *product, seen *witness) (broken []string) {
	add := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
	if err := p.healthy(ctx); err != nil {
		add("afterwards: %v", err)
		return broken
	}
	err := until(ctx, sessionTimeout, "profilers without a session to be turned off", func() bool {
		_, body, err := p.ask(ctx, http.MethodGet, "/metrics", nil)
		m := strays.FindSubmatch(body)
		return err == nil && m != nil && string(m[1]) == "0"
	})
	if err != nil {
		add("%v", err)
	}
	code, body, err := p.ask(ctx, http.MethodPost, "/start_profile", map[string]any{"profile_prefix": "next"})
	if err != nil || code != http.StatusOK {
		add("the next session does not start: %d %.300s %v", code, body, err)
		return broken
	}
	if code, err := p.chat(ctx); err != nil || code != http.StatusOK {
		add("a request in the next session: %d, %v", code, err)
	}
	time.Sleep(recordFor)
	code, body, err = p.ask(ctx, http.MethodPost, "/stop_profile", map[string]any{})
	var st session.Status
	if err != nil || code != http.StatusOK || json.Unmarshal(body, &st) != nil {
		add("the next session does not stop: %d %.300s %v", code, body, err)
		return broken
	}
	if st.State != session.StateComplete {
		add("the next session is %s: %s", st.State, st.Error)
	}
	broken = append(broken, checkSession(p, &st)...)
	return append(broken, seen.check(p)...)
}

// recordFor is how long the next session records: some steps.
const recordFor = 100 * time.Millisecond
