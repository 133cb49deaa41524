package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/kinetoscope/kinetoscope/driver/scrape"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/units"
)

// Verdict is the outcome of one check.
type Verdict string

// The verdicts.
const (
	Good    Verdict = "ok"
	Doubt   Verdict = "warning" // it can be profiled, at a cost or with less in the traces
	Failing Verdict = "fails"   // it cannot
)

// Check is one check of a server.
type Check struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Says    string  `json:"says"`
	Mend    string  `json:"mend,omitempty"` // what to do about it
}

// minRoom is how many bytes a directory of traces should have free: a few seconds of a large model
// with stacks took hundreds of megabytes a rank.
const minRoom = 2 << 30

// Examine checks everything that decides whether a server can be profiled, and starts nothing.
func Examine(ctx context.Context, to Target) []Check {
	e := &examination{to: to}
	d, err := New(to, protocol.RankID{}, discard())
	if err != nil {
		e.add("target", Failing, err.Error(), "")
		return e.checks
	}
	defer d.Close()
	if !e.reach(ctx, d.c) {
		return e.checks
	}
	if facts, err := d.e.probe(ctx, d.c, to); err != nil {
		if u, ok := errors.AsType[*unknownError](err); ok {
			e.add("server", Failing, u.Error(), "name the host and port at which a "+string(to.Engine)+" serves")
			return e.checks
		}
		says, mend, _ := strings.Cut(plain(err).Error(), ": ")
		e.add("profiler", Failing, says, mend)
	} else {
		if to.Ranks > 0 {
			facts.Ranks = to.Ranks
		}
		facts.Models = models(ctx, d.c)
		d.mu.Lock()
		d.facts = facts
		d.mu.Unlock()
		e.facts(facts, d.e.manners())
	}
	e.lock(ctx, d)
	e.where(d)
	e.commandLine(d)
	e.metrics(ctx, d)
	return e.checks
}

type examination struct {
	to     Target
	checks []Check
}

func (e *examination) add(name string, v Verdict, says, mend string) {
	e.checks = append(e.checks, Check{name, v, says, mend})
}

// reach checks whether a server answers, and whether it accepts this client.
func (e *examination) reach(ctx context.Context, c *client) bool {
	a, err := c.get(ctx, "/health", nil)
	u, page := errors.AsType[*unknownError](err)
	switch {
	case page:
		e.add("answers", Failing, u.Error(), "name the host and port at which a "+string(e.to.Engine)+" serves")
		return false
	case err != nil:
		e.add("answers", Failing, plain(err).Error(), "start the server, or name the host and port at which it serves")
		return false
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		e.add("answers", Failing, fmt.Sprintf("GET /health: %v", a), "give its key: token_file=FILE, or "+TokenEnv)
		return false
	case !a.ok() && a.status != http.StatusNotFound:
		e.add("answers", Doubt, fmt.Sprintf("GET /health: %v", a),
			"wait until it is ready: a session that begins earlier records its start")
	default:
		e.add("answers", Good, "at "+e.to.URL, "")
	}
	return true
}

func (e *examination) facts(f Facts, m manners) {
	e.add("profiler", Good, fmt.Sprintf("%s %s has %s", e.to.Engine, f.Version, f.Start), "")
	if len(f.Models) > 0 {
		e.add("model", Good, fmt.Sprintf("%q", f.Models), "")
	}
	if m.prefix && !f.Prefix {
		e.add("prefix", Doubt,
			"this release takes no profile_prefix: a session's files are told by what is new in the directory, and stay there",
			"let no other server write to that directory; newer releases take one")
	}
	if !f.Steps {
		e.add("iterations", Doubt, "it counts no steps for a session", "bound sessions by --duration")
	}
	if f.Ranks == 0 {
		e.add("ranks", Doubt,
			"it does not say how many ranks it has: one that leaves no file is missed only if others name the world's size",
			"say it: ranks=N")
	} else {
		e.add("ranks", Good, fmt.Sprint(f.Ranks), "")
	}
}

// lock checks whether clients of the server may profile it. It uses a method that the route does
// not accept: a status of 405 means that the request passed authentication.
func (e *examination) lock(ctx context.Context, d *Driver) {
	f := d.Facts()
	m := d.e.manners()
	if m.keyless {
		e.add("key", Doubt, "whoever reaches it may start its profiler: it asks for no key",
			"let no other host reach its port")
	}
	if f.Start == "" || m.keyless || m.getStarts {
		return
	}
	open := *d.c
	open.token = ""
	if a, err := open.get(ctx, f.Start, nil); err == nil && a.status == http.StatusMethodNotAllowed {
		e.add("key", Doubt, "whoever reaches it may start its profiler: "+f.Start+
			" asks for no key, whatever --api-key says",
			"let clients reach it through kinetoscope serve with --api-key-file, and the server on a network of its own")
	}
}

// where checks the directory of the server's files.
func (e *examination) where(d *Driver) {
	dir := e.to.Dir
	if dir == "" {
		var err error
		if dir, err = findDir(e.to, d.e); err != nil {
			e.add("directory", Failing, "where it writes is not known on this host",
				"give the path under which it is seen here, dir=/DIR, "+
					"or run an agent on its host: kinetoscope agent --target "+e.to.String())
			return
		}
	}
	st, err := os.Stat(dir)
	switch {
	case err != nil:
		e.add("directory", Failing, err.Error(), "make it, or give the path under which it is seen here: dir=/DIR")
		return
	case !st.IsDir():
		e.add("directory", Failing, dir+" is no directory", "give the directory: dir=/DIR")
		return
	}
	if _, err := os.ReadDir(dir); err != nil {
		e.add("directory", Failing, err.Error(), "let this user read it: setfacl -m u:$USER:rx "+dir)
		return
	}
	free, known := store.Free(dir)
	switch {
	case !known:
		e.add("directory", Good, dir, "")
	case free < minRoom:
		e.add("directory", Doubt, fmt.Sprintf("%s has %s free: traces of a few seconds take more", dir,
			units.Bytes(free)), "make room, or write elsewhere")
	default:
		e.add("directory", Good, fmt.Sprintf("%s, %s free", dir, units.Bytes(free)), "")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "kinetoscope-*")); len(left) > 0 {
		e.add("left over", Doubt, fmt.Sprintf("%d directories of sessions that never came home", len(left)),
			"look at them with kinetoscope report DIR, then remove them")
	}
}

// commandLine checks the command line of a server on this host.
func (e *examination) commandLine(d *Driver) {
	if c := d.e.cost(func() []string { return commandsOf(e.to, d.e) }); c != nil {
		e.add("cost", c.Verdict, c.Says, c.Mend)
	}
}

func (e *examination) metrics(ctx context.Context, d *Driver) {
	s, err := d.Metrics(ctx)
	switch {
	case err != nil:
		e.add("metrics", Doubt, "watch has nothing to look at: "+plain(err).Error(), "")
	default:
		e.add("metrics", Good, fmt.Sprintf("%d at /metrics", len(s.Names())), "")
	}
}

// Metrics asks the server for its metrics.
func (d *Driver) Metrics(ctx context.Context) (*scrape.Sample, error) {
	header, token := d.c.auth()
	return scrape.Fetch(ctx, d.c.http, d.c.base, header, token)
}
