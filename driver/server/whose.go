package server

import (
	"cmp"
	"context"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/driver/scrape"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace/identity"
)

// headBytes is how much of a trace's beginning is read for its header and the first process in it.
const headBytes = 256 << 10

// head is what the beginning of a trace says of whose it is.
type head struct {
	of    seen // the state of the file at that time
	rank  int  // of its job; -1 if unknown
	world int  // ranks of that job; 0 if unknown
	pid   int  // of the process; 0 if unknown
	host  string
}

var (
	isHeaderEnd = regexp.MustCompile(`"traceEvents"`)
	isJob       = regexp.MustCompile(`"distributedInfo"`)
	isWorld     = regexp.MustCompile(`"world_size":\s*(\d+)`)
	isRank      = regexp.MustCompile(`"rank":\s*(\d+)`)
	isHost      = regexp.MustCompile(`"host_name":\s*"([^"\\]+)"`)
	isPID       = regexp.MustCompile(`"pid":\s*(\d+)`)
)

// head reads the beginning of a trace, once as long as the file stays as it is.
func (c *capture) head(f found) head {
	c.mu.Lock()
	known, ok := c.heads[f.name]
	c.mu.Unlock()
	if ok && known.of == f.seen {
		return known
	}
	h := head{of: f.seen, rank: -1}
	if f.size > 0 {
		b := c.folder.readBegin(f.name)
		text, events := b, []byte(nil)
		if at := isHeaderEnd.FindIndex(b); at != nil {
			text, events = b[:at[0]], b[at[1]:]
		}
		if isJob.Match(text) {
			h.rank = firstNumber(isRank, text, maxRanks-1, -1)
			h.world = firstNumber(isWorld, text, maxRanks, 0)
		}
		if m := isHost.FindSubmatch(text); m != nil {
			h.host = string(m[1])
		}
		h.pid = firstNumber(isPID, events, 1<<31-1, 0)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heads == nil {
		c.heads = map[string]head{}
	}
	c.heads[f.name] = h
	return h
}

// firstNumber returns the first number that an expression finds, or without if there is none or it is
// above the limit.
func firstNumber(is *regexp.Regexp, in []byte, limit, without int) int {
	if m := is.FindSubmatch(in); m != nil {
		if n, err := strconv.Atoi(string(m[1])); err == nil && n <= limit {
			return n
		}
	}
	return without
}

// readBegin returns the beginning of a trace, as far as it can be read.
func (p *folder) readBegin(name string) []byte {
	r, c, err := p.unpacked(name)
	if err != nil {
		return nil
	}
	defer c.Close()
	b, _ := io.ReadAll(io.LimitReader(r, headBytes))
	return b
}

// byHeader sets the rank of each trace from the trace's header. Names have the rank on a host or in a
// replica, and several hosts may write to one directory.
func (f finding) byHeader() {
	for i := range f.files {
		x := &f.files[i]
		if !x.main || x.kind != protocol.KindTrace {
			continue
		}
		if h := f.c.head(*x); h.rank >= 0 {
			x.rank = h.rank
		}
	}
}

// namesReplica reports whether a file's name has a data-parallel rank. A vLLM gives it where the replicas
// of a model of experts work as one job; independent ones all call themselves the first.
func namesReplica(name string) bool {
	_, ok := identity.FromPath(name).Place["dp"]
	return ok
}

// process is a process that has written a trace.
type process struct {
	at      int // its file's place in finding.files
	head    head
	replica int // -1: not known
}

// split tells replicas apart that give their files the same names: of traces of one rank each process's
// is of another replica. Titles of this host's processes say which; those of other hosts' processes
// cannot be seen, and count in the order of their ids, which stay while the server runs.
func (f *finding) split() {
	byRank, told := map[int][]process{}, map[int]bool{}
	several := false
	for i := range f.files {
		x := &f.files[i]
		if !x.main || x.kind != protocol.KindTrace {
			continue
		}
		byRank[x.rank] = append(byRank[x.rank], process{i, f.c.head(*x), -1})
		several = several || len(byRank[x.rank]) > 1
	}
	numbers := f.c.round.facts.Replicas // a server may have only the last ones of a job
	if several = several || len(numbers) > 1; !several {
		return
	}
	for _, list := range byRank {
		for i := range list {
			if n, ok := f.c.titled(list[i].head); ok {
				list[i].replica, told[n] = n, true
			}
		}
	}
	if numbers == nil {
		numbers = slices.Sorted(maps.Keys(told))
	}
	for _, list := range byRank {
		f.number(list, numbers)
	}
}

// tables gives each operator table to the rank whose trace has its name, and none to anybody that several
// replicas have written.
func (f *finding) tables() {
	for i := range f.files {
		x := &f.files[i]
		if x.kind != protocol.KindTable {
			continue
		}
		of, named := []found(nil), strings.TrimSuffix(x.name, "profiler_out.txt")
		for _, o := range f.files {
			same := strings.HasPrefix(o.name, named) || named == x.name && o.rank == x.rank
			if same && o.main && o.kind == protocol.KindTrace {
				of = append(of, o)
			}
		}
		if len(of) == 1 {
			x.replica, x.rank = of[0].replica, of[0].rank
		}
		x.mixed = len(of) > 1
	}
}

// number sets the replicas of the files of one rank; numbers are those of all replicas in the engine's own
// counting, ascending.
func (f *finding) number(list []process, numbers []int) {
	taken := map[int]bool{}
	for i := range list {
		p := &list[i]
		if p.replica = slices.Index(numbers, p.replica); p.replica >= 0 && taken[p.replica] {
			p.replica = -1
		}
		taken[p.replica] = true
	}
	slices.SortFunc(list, func(a, b process) int {
		return cmp.Or(cmp.Compare(a.head.pid, b.head.pid), cmp.Compare(f.files[a.at].name, f.files[b.at].name))
	})
	next := 0
	for i, p := range list {
		if p.replica < 0 {
			for taken[next] {
				next++
			}
			p.replica, taken[next] = next, true
			f.guessed = f.guessed || p.head.world > 1
		}
		list[i] = p
		f.files[p.at].replica = min(p.replica, maxRanks-1)
	}
}

// titled returns which replica a process works for, if it is one of this host's and titles say it, or said
// it while it lived.
func (c *capture) titled(h head) (int, bool) {
	if host, err := os.Hostname(); err != nil || h.pid == 0 || h.host != host {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.titles[h.pid]
	if ok {
		return n, true
	}
	if n, ok = c.d.replica(h.pid); ok {
		if c.titles == nil {
			c.titles = map[int]int{}
		}
		c.titles[h.pid] = n
	}
	return n, ok
}

// replicasByMetrics returns the numbers of a vLLM's engines, nil if its metrics do not say. The error is that
// they did not answer.
func replicasByMetrics(ctx context.Context, c *client) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, c.aside)
	defer cancel()
	header, token := c.auth()
	s, err := scrape.Fetch(ctx, c.http, c.base, header, token)
	if err != nil || len(s.Engines) > maxRanks {
		return nil, err
	}
	return s.Engines, nil
}

// firstN returns the numbers from 0 to n-1.
func firstN(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// spot is a rank of one of the server's own replicas.
type spot struct{ replica, rank int }

func (s spot) compare(o spot) int {
	return cmp.Or(cmp.Compare(s.replica, o.replica), cmp.Compare(s.rank, o.rank))
}

func (x found) spot() spot { return spot{x.replica, max(x.rank, 0)} }

// expected returns every rank that should have left a trace, as far as that is known: at least one.
func (f finding) expected() []spot {
	facts := f.c.round.facts
	world, replicas := 0, 1
	for _, x := range f.files {
		if x.main && x.kind == protocol.KindTrace {
			world = max(world, f.c.head(x).world)
			replicas = max(replicas, x.replica+1)
		}
	}
	if !f.joint {
		replicas = max(replicas, len(facts.Replicas))
	}
	if f.c.d.e.layout().alike && !f.joint && world > 0 { // a total may be all that is known of replicas
		replicas = max(replicas, facts.Ranks/world)
	} else {
		world = max(world, (facts.Ranks+replicas-1)/replicas, 1)
	}
	var out []spot
	for n := range replicas {
		for k := range world {
			if len(out) < maxRanks {
				out = append(out, spot{n, k})
			}
		}
	}
	return out
}
