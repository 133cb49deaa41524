package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
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
	// sayEvery is how often the log says what is waited for.
	sayEvery = 2 * time.Second
)

// seen is a file as a listing shows it.
type seen struct {
	size int64
	at   time.Time // last changed
}

// list returns the plain files of a directory by name, none if it is not there yet; if deep,
// those of the directories in it too, as DIR/NAME.
func list(dir string, deep bool) map[string]seen {
	out := map[string]seen{}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return out
	}
	defer root.Close()
	listIn(root, ".", deep, out)
	return out
}

// listIn adds what is in a directory below root; it follows no links.
func listIn(root *os.Root, dir string, deep bool, out map[string]seen) {
	f, err := root.Open(dir)
	if err != nil {
		return
	}
	entries, _ := f.ReadDir(maxListed) // what could be read is worth having
	_ = f.Close()
	for _, e := range entries {
		if len(out) >= maxListed {
			return
		}
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			if deep {
				listIn(root, name, false, out)
			}
			continue
		}
		if st, err := e.Info(); err == nil && st.Mode().IsRegular() {
			out[name] = seen{st.Size(), st.ModTime()}
		}
	}
}

// found is a file of a session.
type found struct {
	name string
	size int64
	rank int  // -1: of no rank
	main bool // the trace of a rank's work
	kind protocol.ArtifactKind
	as   string // its name when it is handed over
	// loose is a trace that its server will pack.
	loose bool
	// grows is one that has changed since the files were looked at before.
	grows bool
	seen  seen
}

// end is what was found at the end of a file as it was then.
type end struct {
	of  seen
	err error
}

// finding is what is there of a session.
type finding struct {
	c       *capture
	files   []found
	packing bool              // something is still to be packed
	markers map[string]string // of exports that have ended: by trace, "ok" or why not
}

// isTrace and isPart tell a server's traces, and those of SGLang that are merged later.
var (
	isTrace = regexp.MustCompile(`\.(pt\.)?trace\.json(\.gz)?$`)
	isPart  = regexp.MustCompile(`\.part\d+\.`)
	isTable = regexp.MustCompile(`profiler_out(_\d+)?\.txt$`)
	isWorld = regexp.MustCompile(`"world_size":\s*(\d+)`)
	isRank  = regexp.MustCompile(`"rank":\s*(\d+)`)
	// isOmniTrace is vLLM-Omni's and TensorRT-LLM's name of one, in a directory of a session.
	isOmniTrace = regexp.MustCompile(`^trace_rank\d+\.json(\.gz)?$`)
)

// others are the kinds of what servers leave beside traces, by how the name begins.
var others = []struct {
	begin string
	kind  protocol.ArtifactKind
}{
	{"ops_rank", protocol.KindOps},
	{"stacks_cpu_rank", protocol.KindStacks},
	{"stacks_cuda_rank", protocol.KindStacks},
	{"memory_snapshot_rank", protocol.KindMemory},
	{"execution_trace_rank", protocol.KindExecutionTrace},
	{"events_", protocol.KindEvents},
}

// find lists the files that are the session's: all of its own directory; of one that it
// shares, those with its prefix, or if the server takes none those that are new or changed.
func (c *capture) find() finding {
	out := finding{c: c, markers: map[string]string{}}
	lay := c.d.e.layout()
	all := list(c.dir, lay.deep)
	for name, now := range all {
		mine := c.own != ""
		switch {
		case mine:
		case c.round.facts.Prefix:
			mine = strings.HasPrefix(name, c.tag+"_")
		default:
			was, old := c.before[name]
			mine = !old || was.size != now.size || !was.at.Equal(now.at)
		}
		if !mine || !c.part(name) {
			continue
		}
		if base, ok := strings.CutSuffix(name, ".export"); ok {
			out.markers[strings.TrimSuffix(base, filepath.Ext(base))] = c.readMarker(name)
			continue
		}
		f, ok := c.sort(name, now)
		if !ok {
			continue
		}
		if _, packing := all[name+".gz"]; packing && lay.packs {
			continue // what is being packed; the other one grows
		}
		f.loose = lay.packs && f.kind == protocol.KindTrace && !strings.HasSuffix(name, ".gz")
		out.packing = out.packing || f.loose
		out.files = append(out.files, f)
	}
	slices.SortFunc(out.files, func(a, b found) int { return strings.Compare(a.name, b.name) })
	c.mark(out.files)
	if lay.localRank {
		out.byHeader()
	}
	return out
}

// mark says of files whether they grow, by how they were when they were looked at before.
func (c *capture) mark(files []found) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := map[string]seen{}
	for i := range files {
		f := &files[i]
		was, old := c.listed[f.name]
		f.grows = old && (was.size != f.seen.size || !was.at.Equal(f.seen.at))
		now[f.name] = f.seen
	}
	c.listed = now
}

// part reports whether a file is of the stage that the driver is of.
func (c *capture) part(name string) bool {
	to := c.round.to
	if to.Stages == nil {
		return true
	}
	if c.d.e.layout().together {
		return strings.HasPrefix(name, to.Stages[to.Part]+"_pid") ||
			strings.HasPrefix(name, "events_"+to.Stages[to.Part]+"_")
	}
	n, ok := stageOf(name)
	return ok && n == to.Part
}

// maxMarker bounds a marker of an export: a word and why it failed.
const maxMarker = 4 << 10

// readMarker is what an SGLang that writes beside its work says of one trace.
func (c *capture) readMarker(name string) string {
	f, err := os.Open(filepath.Join(c.dir, name))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, maxMarker))
	return strings.TrimSpace(string(b))
}

// sort says what a file is by its name.
func (c *capture) sort(name string, now seen) (found, bool) {
	plain := strings.TrimPrefix(name, c.tag+"_")
	base := filepath.Base(plain)
	h := identity.FromPath(plain)
	f := found{name: name, size: now.size, seen: now, rank: h.Rank}
	ext := ".json"
	if strings.HasSuffix(name, ".gz") {
		ext += ".gz"
	}
	for _, o := range others {
		if strings.HasPrefix(base, o.begin) {
			f.kind, f.as = o.kind, strings.TrimSuffix(strings.TrimSuffix(o.begin, "_rank"), "_")+filepath.Ext(base)
			return f, true
		}
	}
	switch {
	case isPart.MatchString(name) || h.Merged:
		return f, false
	case isTable.MatchString(name):
		f.kind, f.as = protocol.KindTable, "profiler_out.txt"
		if m := isTable.FindStringSubmatch(base); f.rank < 0 && m != nil && m[1] != "" {
			f.rank, _ = strconv.Atoi(m[1][1:])
		}
	case !isTrace.MatchString(name) && !isOmniTrace.MatchString(base):
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
		if d := c.round.facts; d.TP > 0 { // each kind of place has a number of its own
			f.rank = (h.Place["dp"]*max(d.PP, 1)+h.Place["pp"])*d.TP + h.Place["tp"]
		}
	}
	return f, true
}

// byHeader gives traces the rank that they say they are of: names have the rank on a host,
// which several hosts have that write to one directory.
func (f finding) byHeader() {
	for i := range f.files {
		x := &f.files[i]
		if !x.main || x.size == 0 {
			continue
		}
		head, err := readHead(filepath.Join(f.c.dir, x.name))
		if err != nil || !bytes.Contains(head, []byte(`"distributedInfo"`)) {
			continue
		}
		if m := isRank.FindSubmatch(head); m != nil {
			if k, err := strconv.Atoi(string(m[1])); err == nil && k < maxRanks {
				x.rank = k
			}
		}
	}
}

// world is how many ranks should have left a trace, 0 if nothing says so.
func (f finding) world() int {
	n := f.c.round.facts.Ranks
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
	if f.packing {
		return false
	}
	for _, x := range f.files {
		if x.main && x.size > 0 && !x.grows && f.whole(x) == nil {
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
func (in finding) whole(f found) error {
	c := in.c
	if said, ok := in.markers[f.name]; ok && said != "ok" {
		return fmt.Errorf("its export failed: %s", said)
	} else if !ok && f.main && c.queued() {
		return errors.New("its export has not ended")
	}
	if f.size == 0 {
		return errors.New("it is empty")
	}
	if !f.main && f.kind != protocol.KindTrace {
		return nil
	}
	c.mu.Lock()
	known, ok := c.ends[f.name]
	c.mu.Unlock()
	if ok && known.of == f.seen {
		return known.err
	}
	err := c.readEnd(f.name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ends == nil {
		c.ends = map[string]end{}
	}
	c.ends[f.name] = end{f.seen, err}
	return err
}

// readEnd says what the end of a trace lacks.
func (c *capture) readEnd(name string) error {
	tail, _, err := readTail(filepath.Join(c.dir, name))
	if err != nil {
		return fmt.Errorf("it is cut: %w", err)
	}
	if tail = bytes.TrimSpace(tail); !bytes.HasSuffix(tail, []byte("}")) {
		return errors.New("it is cut: the text has no end")
	}
	return nil
}

// queued reports whether the server has said that it writes on after its answer to the stop,
// with a marker for each trace when that is done.
func (c *capture) queued() bool {
	return bytes.Contains(c.answered().body, []byte("queued asynchronously"))
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

// exportPatience is how many times as long as else a server is waited for that has said that
// it writes on: SGLang's own merge gives its exports five minutes.
const exportPatience = 100

// quiet is how long nothing may change after a stop before what is there is all.
func (f finding) quiet() time.Duration {
	d := f.c.d.time.quiet
	if !f.c.queued() {
		return d
	}
	n := 0
	for _, x := range f.files {
		if !x.main {
			continue
		}
		if _, ok := f.markers[x.name]; !ok {
			return d * exportPatience
		}
		n++
	}
	if n < max(f.world(), 1) {
		return d * exportPatience
	}
	return d
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
		if stopped && (f.complete() || time.Since(changed) > f.quiet()) {
			if failed != nil && !f.complete() {
				return fmt.Errorf("POST /stop_profile: %w", plain(failed))
			}
			return nil
		}
	}
}

// tell says how far the server is.
func (c *capture) tell(f finding, since time.Duration, stopped bool) {
	w := f.writing()
	c.d.log.Info("a server writes", "target", c.d.to.String(), "answered_stop", stopped, "files", w.Files, "done",
		w.Done, "bytes", w.Bytes, "for", since.Round(time.Second))
}

// writing is how far the files are. One that has grown since it was looked at before is not
// done, and is not read.
func (f finding) writing() protocol.Writing {
	var w protocol.Writing
	for _, x := range f.files {
		w.Files++
		w.Bytes += x.size
		if x.size > 0 && !x.grows && !x.loose && f.whole(x) == nil {
			w.Done++
		}
	}
	return w
}

// judge makes of what is there what the rank hands over: its own files, those of the ranks
// that it stands for, and which of them left none.
func (c *capture) judge(failed error) (driver.Files, error) {
	f := c.find()
	byRank := map[int][]found{}
	bad := map[int]string{}
	top := 0
	for _, x := range f.files {
		err := f.whole(x)
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
	out := driver.Files{Note: c.note(byRank)}
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

// note is what people should know of files that are there.
func (c *capture) note(byRank map[int][]found) string {
	var notes []string
	if a := c.answered(); a.ok() && bytes.Contains(a.body, []byte("with warnings")) {
		notes = append(notes, fmt.Sprintf("the server says: %v", a))
	}
	for _, k := range slices.Sorted(maps.Keys(byRank)) {
		seen := map[string]string{}
		for _, x := range byRank[k] {
			if other := seen[x.as]; x.main && other != "" {
				notes = append(notes, fmt.Sprintf("both %s and %s say that they are of rank %d: "+
					"replicas or hosts that the server's names do not tell apart", other, x.name, k))
			}
			seen[x.as] = x.name
		}
	}
	return strings.Join(notes, "; ")
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
	if a := c.answered(); a.status != 0 && !a.ok() {
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
