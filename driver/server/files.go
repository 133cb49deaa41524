package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/hub/rank"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace/identity"
)

const (
	// maxListed bounds the files of a directory that are looked at.
	maxListed = 100_000
	// headBytes of a trace are read for what its header says of the ranks.
	headBytes = 256 << 10
	// tailBytes of a trace are looked at for its end.
	tailBytes = 64
	// sayEvery is how often people hear what is waited for.
	sayEvery = 2 * time.Second
)

// seen is a file as a listing shows it.
type seen struct {
	size int64
	at   time.Time // last changed
}

// list returns the plain files of a directory by name, none if it is not there yet.
func list(dir string) map[string]seen {
	out := map[string]seen{}
	f, err := os.Open(dir)
	if err != nil {
		return out
	}
	defer f.Close()
	entries, _ := f.ReadDir(maxListed) // what could be read is worth having
	for _, e := range entries {
		if st, err := e.Info(); err == nil && st.Mode().IsRegular() {
			out[e.Name()] = seen{st.Size(), st.ModTime()}
		}
	}
	return out
}

// found is a file of a session.
type found struct {
	name string
	size int64
	rank int  // -1: of no rank
	main bool // the trace of a rank's work
	kind protocol.ArtifactKind
	as   string // its name when it is handed over
}

// finding is what is there of a session.
type finding struct {
	c     *capture
	files []found
}

// isTrace and isPart tell a server's traces, and those of SGLang that are merged later.
var (
	isTrace = regexp.MustCompile(`\.(pt\.)?trace\.json(\.gz)?$`)
	isPart  = regexp.MustCompile(`\.part\d+\.`)
	isTable = regexp.MustCompile(`profiler_out(_\d+)?\.txt$`)
	isWorld = regexp.MustCompile(`"world_size":\s*(\d+)`)
)

// find lists the files that are the session's: all of its own directory; of one that it
// shares, those with its prefix, or if the server takes none those that are new or changed.
func (c *capture) find() finding {
	out := finding{c: c}
	for name, now := range list(c.dir) {
		mine := c.own != ""
		switch {
		case mine:
		case c.d.facts.Prefix:
			mine = strings.HasPrefix(name, c.tag+"_")
		default:
			was, old := c.before[name]
			mine = !old || was.size != now.size || !was.at.Equal(now.at)
		}
		if f, ok := c.sort(name, now); ok && mine {
			out.files = append(out.files, f)
		}
	}
	slices.SortFunc(out.files, func(a, b found) int { return strings.Compare(a.name, b.name) })
	return out
}

// sort says what a file is by its name.
func (c *capture) sort(name string, now seen) (found, bool) {
	plain := strings.TrimPrefix(name, c.tag+"_")
	h := identity.FromPath(plain)
	f := found{name: name, size: now.size, rank: h.Rank}
	ext := ".json"
	if strings.HasSuffix(name, ".gz") {
		ext += ".gz"
	}
	switch {
	case isPart.MatchString(name) || h.Merged:
		return f, false
	case isTable.MatchString(name):
		f.kind, f.as = protocol.KindTable, "profiler_out.txt"
	case !isTrace.MatchString(name):
		return f, false
	case strings.Contains(name, ".async_llm."):
		f.kind, f.as, f.rank = protocol.KindTrace, "frontend"+ext, -1
	default:
		f.kind, f.as, f.main = protocol.KindTrace, "trace"+ext, true
		if h.Phase != "" {
			f.as = "trace_" + strings.ReplaceAll(h.Phase, " ", "_") + ext
		}
		if f.rank < 0 {
			f.rank = 0
		}
		if d := c.d.facts; d.TP > 0 { // each kind of place has a number of its own
			f.rank = (h.Place["dp"]*max(d.PP, 1)+h.Place["pp"])*d.TP + h.Place["tp"]
		}
	}
	return f, true
}

// world is how many ranks should have left a trace, 0 if nothing says so.
func (f finding) world() int {
	n := f.c.d.facts.Ranks
	for _, x := range f.files {
		if x.main {
			if head, err := readHead(filepath.Join(f.c.dir, x.name)); err == nil {
				if m := isWorld.FindSubmatch(head); m != nil {
					if k, err := strconv.Atoi(string(m[1])); err == nil && k <= maxRanks {
						n = max(n, k)
					}
				}
			}
		}
	}
	return n
}

// complete reports whether every rank that is known of has a trace with a valid end.
func (f finding) complete() bool {
	have := map[int]bool{}
	for _, x := range f.files {
		if x.main && x.size > 0 && f.c.whole(x) == nil {
			have[x.rank] = true
		}
	}
	if len(have) == 0 {
		return false
	}
	for k := range max(f.world(), 1) {
		if !have[k] {
			return false
		}
	}
	return true
}

// whole says what a file's end lacks. A server shows a file under its name before a byte of
// it is written.
func (c *capture) whole(f found) error {
	if f.size == 0 {
		return errors.New("it is empty")
	}
	if !f.main && f.kind != protocol.KindTrace {
		return nil
	}
	tail, _, err := readTail(filepath.Join(c.dir, f.name))
	if err != nil {
		return fmt.Errorf("it is cut: %w", err)
	}
	if tail = bytes.TrimSpace(tail); !bytes.HasSuffix(tail, []byte("}")) {
		return errors.New("it is cut: the text has no end")
	}
	return nil
}

// open opens a trace, unpacked.
func open(path string) (io.Reader, io.Closer, error) {
	f, err := os.Open(path)
	if err != nil || !strings.HasSuffix(path, ".gz") {
		return f, f, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return z, f, nil
}

func readHead(path string) ([]byte, error) {
	r, c, err := open(path)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	b, err := io.ReadAll(io.LimitReader(r, headBytes))
	if i := bytes.Index(b, []byte(`"traceEvents"`)); i >= 0 {
		b = b[:i]
	}
	if len(b) > 0 {
		err = nil
	}
	return b, err
}

// readTail reads all of a trace, for a gzip that is cut tells so only at its end, and
// returns its last bytes and how many events it holds.
func readTail(path string) ([]byte, uint64, error) {
	r, c, err := open(path)
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	t, count := &tail{}, &driver.EventCounter{}
	_, err = io.Copy(io.MultiWriter(t, count), r)
	return t.b, count.N, err
}

// tail keeps the last bytes that are written to it.
type tail struct{ b []byte }

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if n >= tailBytes {
		t.b = append(t.b[:0], p[n-tailBytes:]...)
		return n, nil
	}
	t.b = append(t.b, p...)
	if over := len(t.b) - tailBytes; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return n, nil
}

// await waits until the server has answered the stop and nothing grows any more. Its error
// is why it did not.
func (c *capture) await(ctx context.Context, answered <-chan error) error {
	look := time.NewTicker(c.d.time.look)
	defer look.Stop()
	began, said, changed := time.Now(), time.Now(), time.Now()
	last, stopped := "", false
	var failed error
	for {
		select {
		case failed = <-answered:
			stopped, answered = true, nil
			changed = time.Now()
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("it was waited for for %v", time.Since(began).Round(time.Second))
		}
		f := c.find()
		now := fmt.Sprint(f.files)
		if now != last {
			last, changed = now, time.Now()
		}
		if time.Since(said) > sayEvery {
			said = time.Now()
			c.tell(f, time.Since(began), stopped)
		}
		// With a stop that was not answered only the files tell; they may come late.
		if stopped && (f.complete() || time.Since(changed) > c.d.time.quiet) {
			if failed != nil && !f.complete() {
				return fmt.Errorf("POST /stop_profile: %w", plain(failed))
			}
			return nil
		}
	}
}

// tell says how far the server is.
func (c *capture) tell(f finding, since time.Duration, stopped bool) {
	var size int64
	done := 0
	for _, x := range f.files {
		size += x.size
		if x.main && x.size > 0 && c.whole(x) == nil {
			done++
		}
	}
	what := "writes"
	if stopped {
		what = "has answered the stop"
	}
	text := fmt.Sprintf("%s %s: %d files, %d bytes, %d ranks done, for %v",
		c.d.to, what, len(f.files), size, done, since.Round(time.Second))
	c.d.log.Info(text)
	if c.d.say != nil {
		c.d.say(text)
	}
}

// judge makes of what is there what the rank hands over: its own files, those of the ranks
// that it stands for, and which of them left none.
func (c *capture) judge(failed error) (driver.Files, error) {
	f := c.find()
	byRank := map[int][]found{}
	bad := map[int]string{}
	top := 0
	for _, x := range f.files {
		err := c.whole(x)
		k := max(x.rank, 0)
		if err != nil {
			if x.main {
				bad[k] = fmt.Sprintf("%s: %v", x.name, err)
				top = max(top, k+1)
			}
			continue
		}
		byRank[k] = append(byRank[k], x)
		if x.main {
			top = max(top, k+1)
		}
	}
	top = max(top, f.world(), 1)
	why := c.why(f, failed)
	var out driver.Files
	any := false
	for k := range min(top, maxRanks) {
		files, events := c.hand(byRank[k])
		has := slices.ContainsFunc(byRank[k], func(x found) bool { return x.main })
		any = any || has
		reason := ""
		if !has {
			if reason = bad[k]; reason == "" {
				reason = why
			}
		}
		if k == 0 {
			out.Files, out.Events, out.Failed = files, events, reason
			continue
		}
		id := c.d.rank
		id.Rank = k
		o := rank.Other{ID: id, State: protocol.StateStopped, Files: files, Events: events}
		if !has {
			o.State, o.Reason, o.Files = protocol.StateFailed, reason, nil
		}
		out.Others = append(out.Others, o)
	}
	if !any && len(out.Files) == 0 && len(bad) == 0 {
		return driver.Files{}, errors.New(why)
	}
	return out, nil
}

// why says of a rank without a trace what was seen in place of it.
func (c *capture) why(f finding, failed error) string {
	var names []string
	for _, x := range f.files {
		names = append(names, fmt.Sprintf("%s (%d bytes)", x.name, x.size))
	}
	saw := "nothing new"
	if len(names) > 0 {
		saw = strings.Join(names, ", ")
	}
	text := fmt.Sprintf("%s left no trace of this rank in %s; seen: %s", c.d.to, c.dir, saw)
	if failed != nil {
		return text + "; " + failed.Error()
	}
	if a := c.stopped; a.status != 0 && !a.ok() {
		text += fmt.Sprintf("; it answered the stop with %v", a)
	}
	return text + "; " + c.d.e.nothing(c.job)
}

// hand are files to be handed over, the traces of the rank's work last: what a conversion
// takes for the rank's trace. The events are those of its work.
func (c *capture) hand(list []found) (out []rank.File, events uint64) {
	slices.SortStableFunc(list, func(a, b found) int {
		if a.main == b.main {
			return strings.Compare(a.as, b.as)
		} else if a.main {
			return 1
		}
		return -1
	})
	taken := map[string]int{}
	for _, x := range list {
		name := x.as
		if n := taken[name]; n > 0 { // a second file of that kind, of an API server more say
			base, ext, _ := strings.Cut(name, ".")
			name = fmt.Sprintf("%s_%d.%s", base, n+1, ext)
		}
		taken[x.as]++
		path := filepath.Join(c.dir, x.name)
		out = append(out, rank.File{Name: name, Kind: x.kind, Path: path})
		if x.main {
			_, n, _ := readTail(path) // it was whole a moment ago
			events += n
		}
	}
	return out, events
}
