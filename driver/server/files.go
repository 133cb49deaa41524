package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/driver"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace/identity"
)

const (
	// maxListed bounds the files of a directory that are listed.
	maxListed = 100_000
	// tailBytes is how much of a trace's end is checked.
	tailBytes = 64
)

// seen is a file as a listing shows it.
type seen struct {
	size int64
	at   time.Time // last changed
}

// found is a file of a session.
type found struct {
	name string
	size int64
	// replica counts the server's own replicas from 0, rank is the one in it: -1 of no rank.
	replica, rank int
	main          bool // the trace of a rank's work
	kind          protocol.ArtifactKind
	as            string // the name under which it is handed over
	// loose marks a trace that its server will compress.
	loose bool
	// mixed marks a file that several replicas have overwritten: it is nobody's.
	mixed bool
	// grows marks a file that has changed since the last look.
	grows bool
	seen  seen
}

// end is the result of reading a file's end, with the state of the file at that time.
type end struct {
	of  seen
	err error
}

// finding is the session's files at one look.
type finding struct {
	c       *capture
	files   []found
	packing bool              // the server still has files to compress
	making  bool              // a report of Nsight Systems is being made
	markers map[string]string // of exports that have ended: by trace, "ok" or why not
	joint   bool              // names tell data-parallel ranks: they are one job, without replicas
	guessed bool              // which ranks are of one replica was not told
}

// isTrace matches the names of traces, isPart those that SGLang merges later.
var (
	isTrace = regexp.MustCompile(`\.(pt\.)?trace\.json(\.gz)?$`)
	isPart  = regexp.MustCompile(`\.part\d+\.`)
	isTable = regexp.MustCompile(`profiler_out(_\d+)?\.txt$`)
	// isOwnTrace matches the names that vLLM-Omni gives traces in a session's directory, and those that
	// TensorRT-LLM gives them.
	isOwnTrace = regexp.MustCompile(`^(trace_rank\d+\.json(\.gz)?|trtllm-trace-.+-rank-\d+\.json)$`)
)

// nsysExt ends the name of a report of Nsight Systems, which writes it as its own command line says
// when a server's profiler is that of CUDA: no prefix of a session's is on it.
const nsysExt = ".nsys-rep"

// nsysMaking ends the name of what Nsight Systems makes a report of, before and while it does.
const nsysMaking = ".qdstrm"

// others are the kinds of the files that servers leave beside traces, by how their names begin.
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

// find lists the session's files: everything in its own directory. In a shared directory these are
// the files with its prefix or, if the server accepts no prefix, those that are new or changed.
func (c *capture) find() finding {
	out := finding{c: c, markers: map[string]string{}}
	lay := c.d.e.layout()
	all := c.folder.list(lay.deep)
	for name, now := range all {
		mine := c.own != ""
		switch {
		case mine:
		case c.round.facts.Prefix && !strings.HasSuffix(name, nsysExt) && !strings.HasSuffix(name, nsysMaking):
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
		if strings.HasSuffix(name, nsysMaking) {
			out.making = true
			continue
		}
		f, ok := c.sort(name, now)
		if !ok {
			continue
		}
		out.joint = out.joint || lay.alike && f.main && namesReplica(name)
		if _, packing := all[name+".gz"]; packing && lay.packs {
			continue // it is being compressed, and the compressed file grows
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
	if lay.alike {
		if !out.joint {
			out.split()
		}
		out.tables()
	}
	return out
}

// mark sets grows of each file that has changed since the last look.
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

// part reports whether a file belongs to the stage of this driver.
func (c *capture) part(name string) bool {
	to := c.round.to
	if to.Stages == nil {
		return true
	}
	if c.d.e.layout().together {
		if events, ok := strings.CutPrefix(name, "events_"); ok {
			// The stage and the process. Events of no stage, as of the coordinator, come with the first one.
			stage := events[:max(strings.LastIndexByte(events, '_'), 0)]
			return max(slices.Index(to.Stages, stage), 0) == to.Part
		}
		return strings.HasPrefix(name, to.Stages[to.Part]+"_pid")
	}
	n, ok := stageOf(name)
	return ok && n == to.Part
}

// maxMarker bounds the marker of an export in bytes: a word, and the reason of a failure.
const maxMarker = 4 << 10

// readMarker reads the marker of one trace, with which an SGLang that exports in the background
// says how the export ended.
func (c *capture) readMarker(name string) string {
	f, _, err := c.folder.open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, maxMarker))
	return strings.TrimSpace(string(b))
}

// sort finds out from a file's name what the file is.
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
	case strings.HasSuffix(name, nsysExt):
		f.kind, f.as, f.rank, f.main = protocol.KindNsys, "report"+nsysExt, max(h.Rank, 0), true
	case isPart.MatchString(name) || h.Merged:
		return f, false
	case isTable.MatchString(name):
		f.kind, f.as = protocol.KindTable, "profiler_out.txt"
		if m := isTable.FindStringSubmatch(base); f.rank < 0 && m != nil && m[1] != "" {
			f.rank, _ = strconv.Atoi(m[1][1:])
		}
	case !isTrace.MatchString(name) && !isOwnTrace.MatchString(base):
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
		if d := c.round.facts; d.TP > 0 { // the name has one number for each kind of parallelism
			f.rank = h.Place["pp"]*d.TP + h.Place["tp"]
			if !d.Groups {
				f.replica = min(max(h.Place["dp"], 0), maxRanks-1)
			}
		}
	}
	return f, true
}

// complete reports whether every known rank has a trace with a valid end.
func (f finding) complete() bool {
	have := map[spot]bool{}
	if f.packing {
		return false
	}
	for _, x := range f.files {
		if x.kind == protocol.KindNsys {
			continue // nothing tells its end: it is complete when it has not grown for a while
		}
		if x.main && x.size > 0 && !x.grows && f.whole(x) == nil {
			have[x.spot()] = true
		}
	}
	return !slices.ContainsFunc(f.expected(), func(k spot) bool { return !have[k] })
}

// whole returns what the end of a file lacks, nil if it is valid. A file appears under its name
// before the server has written a byte of it.
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
	if f.kind != protocol.KindTrace {
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

// readEnd returns what the end of a trace lacks.
func (c *capture) readEnd(name string) error {
	f, _, err := c.folder.open(name)
	if err != nil {
		return err
	}
	_ = f.Close() // nothing was written
	tail, _, err := c.folder.readTail(name)
	if err != nil {
		return fmt.Errorf("it is cut: %w", err)
	}
	if tail = bytes.TrimSpace(tail); !bytes.HasSuffix(tail, []byte("}")) {
		return errors.New("it is cut: the text has no end")
	}
	return nil
}

// queued reports whether the server has said that it goes on writing after its answer to the stop.
// It then leaves a marker for each trace that is complete.
func (c *capture) queued() bool {
	return bytes.Contains(c.answered().body, []byte("queued asynchronously"))
}

// readTail reads a trace to its end, because a truncated gzip shows only there. It returns the last
// bytes and the number of events.
func (p *folder) readTail(name string) ([]byte, uint64, error) {
	r, c, err := p.unpacked(name)
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	t, count := &tail{}, &driver.EventCounter{}
	_, err = io.Copy(io.MultiWriter(t, count), r)
	return t.b, count.N, err
}

// tail keeps the last tailBytes bytes that are written to it.
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
