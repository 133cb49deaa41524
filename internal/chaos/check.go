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
	"github.com/kinetoscope/kinetoscope/store/runs"
)

// ended waits until every session after the one of id before has ended, and what waited for
// room is home, and returns them.
func ended(ctx context.Context, p *product, before string) (list []session.Status, err error) {
	left := ""
	err = until(ctx, sessionTimeout, "sessions to end", func() bool {
		var err error
		list, err = p.since(ctx, before)
		if err != nil {
			left = err.Error()
			return false
		}
		for _, st := range list {
			if !st.State.Terminal() || st.WaitsFor != "" {
				left = fmt.Sprintf("session %s is still %s and waits for %q", st.ID, st.State, st.WaitsFor)
				return false
			}
		}
		return true
	})
	if err != nil {
		return list, fmt.Errorf("%w: %s", err, left)
	}
	return list, nil
}

// quiet waits until no profiler is on that no session owns.
func quiet(ctx context.Context, p *product) error {
	return until(ctx, sessionTimeout, "profilers without a session to be turned off", func() bool {
		_, body, err := p.ask(ctx, http.MethodGet, "/metrics", nil)
		m := strays.FindSubmatch(body)
		return err == nil && m != nil && string(m[1]) == "0"
	})
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

// settleTimeout is how long the answers about an ended session may differ between the ways to ask:
// a late part is written, listed and shown one after the other.
const settleTimeout = 10 * time.Second

// checkSession compares an ended session with the promises about sessions, and returns those that
// are still broken when everything has settled.
func checkSession(ctx context.Context, p *product, id string) (broken []string) {
	_ = until(ctx, settleTimeout, "a session to keep its promises", func() bool { // what it does not is returned
		st, err := p.session(ctx, id)
		if err != nil {
			broken = []string{err.Error()}
			return false
		}
		broken = checkStatus(ctx, p, st)
		return len(broken) == 0
	})
	return broken
}

func checkStatus(ctx context.Context, p *product, st *session.Status) (broken []string) {
	add := func(format string, args ...any) {
		broken = append(broken, "session "+st.ID+": "+fmt.Sprintf(format, args...))
	}
	ranks := 0
	for _, s := range st.Stages {
		for i := range s.Ranks {
			ranks++
			for _, what := range checkRank(st, &s.Ranks[i]) {
				add("%s: %s", s.Ranks[i].Text(), what)
			}
		}
	}
	if ranks != p.ranks {
		add("it has %d ranks of %d", ranks, p.ranks)
	}
	if st.State != session.StateComplete && st.Error == "" {
		add("it is %s without a reason", st.State)
	}
	if cli, err := p.said(ctx, st.ID); err != nil {
		add("%v", err)
	} else if one, other := outline(&cli), outline(st); one != other {
		add("the command line says %s and the server %s", one, other)
	}
	if st.RunDir == "" {
		if st.State != session.StateFailed {
			add("it is %s and has no run", st.State)
		}
		return broken
	}
	run, err := store.OpenRun(st.RunDir)
	if err != nil {
		add("%v", err)
		return broken
	}
	defer run.Close()
	for _, what := range checkRun(run, st) {
		add("%s", what)
	}
	return broken
}

// checkRank compares a rank's end with the promises about ranks.
func checkRank(st *session.Status, r *protocol.RankStatus) (broken []string) {
	add := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
	if !r.State.Terminal() {
		add("left %s", r.State)
	}
	if r.State == protocol.StateComplete {
		return broken
	}
	if strings.TrimSpace(r.Reason) == "" {
		add("%s without a reason", r.State)
	}
	if st.State == session.StateComplete {
		add("%s, and the session is complete", r.State)
	}
	if _, ok := store.Work(r.Artifacts); !ok && st.RunDir != "" && !nothingToKeep.MatchString(r.Reason) {
		add("its recording is nowhere, and nothing says why: %s", r.Reason)
	}
	return broken
}

// nothingToKeep matches the reasons of ranks that recorded nothing: they were absent, or were told
// to drop the session before it began.
var nothingToKeep = regexp.MustCompile(
	`not there when the session began|nothing of what it recorded|recorded nothing yet|left no recording|aborted: `)

// outline is what every door must say alike of a session.
func outline(st *session.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s)", st.State, st.Error)
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			fmt.Fprintf(&b, ", %s %s (%s) with %d files", r.Text(), r.State, r.Reason, len(r.Artifacts))
		}
	}
	return b.String()
}

// maxWindow is longer than any session of a run, and far shorter than what clocks are set by.
const maxWindow = 10 * time.Minute

// checkRun holds a run on disk against its session.
func checkRun(run *store.Run, st *session.Status) (broken []string) {
	add := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
	if err := run.Verify(); err != nil {
		add("files and manifest: %v", err)
	}
	man, err := run.Manifest()
	if err != nil {
		add("%v", err)
		return broken
	}
	if one, other := outline(&man.Session), outline(st); one != other {
		add("the manifest says %s and the server %s", one, other)
	}
	listed := map[string]bool{}
	for _, a := range man.Artifacts() {
		listed[a.Name] = true
	}
	names, err := run.Names()
	if err != nil {
		add("%v", err)
	}
	for _, name := range names {
		if !listed[name] && !store.IsList(name) {
			add("%s is in the run and not in its manifest", name)
		}
	}
	rep, err := runs.Report(run.Dir())
	if err != nil {
		add("%v", err)
	} else if rep != nil && time.Duration(rep.WindowNs) > maxWindow {
		add("its window is %v", time.Duration(rep.WindowNs))
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
	manifests, _ := filepath.Glob(filepath.Join(p.runs, "*",
		store.ManifestName)) //nolint:errcheck // the pattern is good
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
	code, body, err := p.begin(ctx, "next")
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
	broken = append(broken, checkSession(ctx, p, st.ID)...)
	if err := quiet(ctx, p); err != nil {
		add("%v", err)
	}
	return append(broken, seen.check(p)...)
}

// recordFor is how long the next session records: some steps.
const recordFor = 100 * time.Millisecond
