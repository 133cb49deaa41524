// Package split parts the ranks that somebody merged into one file: engines merge the
// ranks of a server, people concatenate what belongs together. Read as one trace, their
// ids collide and their work adds up to that of no rank at all.
package split

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/identity"
)

// Ranks returns the traces of the ranks in t, or t alone if it holds one. Ranks are told
// apart by what stands before a process id ("[TP01-DP00] 1000"), by names of processes
// that say a rank, by an offset that was added to the ids, and else by which process
// launched which device's work. Repairs stay with the first.
func Ranks(t *trace.Trace) []*trace.Trace {
	torch := t.Meta.Format == "kineto" || t.Meta.Format == "torch-fallback"
	said := labelled(t)
	if said != nil && (!said.loose || !torch) {
		return said.traces(t)
	}
	if !torch {
		alone(t)
		return []*trace.Trace{t} // the processes of other programs are no ranks
	}
	if g := numbered(t); g != nil {
		g.named(t, said)
		return g.traces(t)
	}
	return []*trace.Trace{t}
}

// groups say whose each track is.
type groups struct {
	of    []int         // by track; -1 for the first group's
	label []string      // what tells the group from the others; "" if only its order does
	pid   map[int]int64 // numbers of pids by track, where the text had a label
	rest  map[int]string
	// loose says that names of processes tell whose the hosts are, and not whose the work of devices is
	loose bool
}

// named labels groups that were found by launches as names of processes say, if said is not nil.
func (g *groups) named(t *trace.Trace, said *groups) {
	if said == nil {
		return
	}
	for i := range said.of {
		if k := said.of[i]; k >= 0 && t.Tracks[i].Kind != trace.TrackGPU && g.of[i] >= 0 {
			g.label[g.of[i]] = said.label[k]
		}
	}
}

// traces makes the groups' traces.
func (g *groups) traces(t *trace.Trace) []*trace.Trace {
	out := []*trace.Trace{t}
	if len(g.label) > 1 {
		out = t.Partition(len(g.label), func(id trace.TrackID) int { return max(0, g.of[id]) })
		for _, sub := range out {
			sub.Window()
		}
	}
	n := make([]int, len(out))
	for i := range t.Tracks {
		k := max(0, g.of[i])
		track := &out[k].Tracks[n[k]]
		n[k]++
		if pid, ok := g.pid[i]; ok {
			track.PID, track.PIDText = pid, ""
			if track.Kind == trace.TrackGPU && track.Device < 0 {
				track.Device = pid
			}
		} else if rest, ok := g.rest[i]; ok {
			track.PIDText = rest
			if track.Kind == trace.TrackCPU && (rest == "" || rest == "Spans" || rest == "Traces") {
				track.Kind = trace.TrackOther
			}
		}
	}
	if len(out) > 1 {
		out[0].Repairs = t.Repairs
	}
	g.identify(out)
	return out
}

// identify numbers the ranks of merged traces.
func (g *groups) identify(out []*trace.Trace) {
	for k, t := range out {
		h := identity.FromPath(g.label[k])
		m := &t.Meta
		for kind, n := range h.Place {
			m.Place = maps.Clone(m.Place)
			if m.Place == nil {
				m.Place = map[string]int{}
			}
			m.Place[kind] = n
		}
		if len(out) == 1 {
			continue
		}
		m.Part = k + 1
		m.Learnt = maps.Clone(m.Learnt)
		if m.Learnt == nil {
			m.Learnt = map[trace.Field]trace.From{}
		}
		m.Rank, m.Learnt[trace.FieldRank] = k, trace.FromPIDs
		g.place(m, g.label[k])
		if h.Rank >= 0 { // with a place it is the one in its tensor-parallel group
			m.Rank = h.Rank
		} else if tp, ok := h.Place["tp"]; ok {
			m.Rank = tp
		}
	}
	if len(out) > 1 {
		identity.RankByPlace(metas(out))
	}
}

// ownName is how our own files name a rank of a pipeline: "stage0 thinker replica 1 rank 2" in a
// run's timeline, "thinker rank 2" in what convert writes.
var ownName = regexp.MustCompile(`^(?:stage ?(\d{1,6}) ?)?([A-Za-z][\w.-]*)?(?: replica (\d{1,6}))? rank (\d{1,6})$`)

// place learns stage and replica from a label of our own.
func (g *groups) place(m *trace.Meta, label string) {
	f := ownName.FindStringSubmatch(label)
	if f == nil || f[1] == "" && f[2] == "" {
		return
	}
	m.Stage = f[2]
	if n, err := strconv.Atoi(f[1]); err == nil {
		m.StageID = n
	}
	m.Learnt[trace.FieldStage] = trace.FromPIDs
	if n, err := strconv.Atoi(f[3]); err == nil {
		m.Replica, m.Learnt[trace.FieldReplica] = n, trace.FromPIDs
	}
	if n, err := strconv.Atoi(f[4]); err == nil {
		m.Rank = n
	}
}

// alone learns whose t is where every process in it has one name of our own: a file of a rank that we wrote.
func alone(t *trace.Trace) {
	m := &t.Meta
	if m.Rank >= 0 || len(t.Tracks) == 0 {
		return
	}
	name := t.Tracks[0].Process
	f := ownName.FindStringSubmatch(" " + name) // of a rank without a stage nothing stands before the word
	if f == nil {
		f = ownName.FindStringSubmatch(name)
	}
	if f == nil || slices.ContainsFunc(t.Tracks, func(k trace.Track) bool { return k.Process != name }) {
		return
	}
	m.Learnt = maps.Clone(m.Learnt)
	if m.Learnt == nil {
		m.Learnt = map[trace.Field]trace.From{}
	}
	if n, err := strconv.Atoi(f[4]); err == nil {
		m.Rank, m.Learnt[trace.FieldRank] = n, trace.FromContent
	}
	(&groups{}).place(m, name)
}

func metas(list []*trace.Trace) []*trace.Meta {
	out := make([]*trace.Meta, len(list))
	for i, t := range list {
		out[i] = &t.Meta
	}
	return out
}

// labelPattern is a rank before a process id.
var labelPattern = regexp.MustCompile(`(?i)^\s*(\[[^\]]*\]|(?:r|rank|node|host|tp|pp|dp|ep|gpu|worker|replica)[-_ ]?\d+(?:[-_/](?:tp|pp|dp|ep|rank)[-_ ]?\d+)*)(?:[-_:/. ]+|$)(.*)$`)

// labelBehind is a rank behind a process id: "4000.r1", "4000 (rank 1)", "4000(TP1)".
var labelBehind = regexp.MustCompile(`(?i)^\s*(\d+)(?:[-_:./@ ]*[\[(]|[-_:./@ ]+)((?:r|rank|tp|pp|dp|ep|gpu|worker|replica)[-_ ]?\d+(?:[-_/](?:tp|pp|dp|ep|rank)[-_ ]?\d+)*)[\])]?\s*$`)

// labelled parts tracks by the labels of their pids, or of their processes' names.
func labelled(t *trace.Trace) *groups {
	g := &groups{of: make([]int, len(t.Tracks)), pid: map[int]int64{}, rest: map[int]string{}}
	labels := make([]string, len(t.Tracks))
	byPID := 0
	for i := range t.Tracks {
		f := labelPattern.FindStringSubmatch(t.Tracks[i].PIDText)
		if behind := labelBehind.FindStringSubmatch(t.Tracks[i].PIDText); f == nil && behind != nil {
			f = []string{behind[0], behind[2], behind[1]}
		}
		if f == nil {
			continue
		}
		labels[i] = strings.Trim(f[1], "[] ")
		byPID++
		if n, err := strconv.ParseInt(strings.TrimSpace(f[2]), 10, 64); err == nil {
			g.pid[i] = n
		} else {
			g.rest[i] = f[2]
		}
	}
	if byPID == 0 {
		byPID = g.numbers(t, labels)
	}
	if byPID == 0 {
		for i := range t.Tracks {
			labels[i] = rankOf(&t.Tracks[i])
			g.loose = g.loose || t.Tracks[i].Kind == trace.TrackGPU && labels[i] == ""
		}
	}
	distinct := map[string]bool{}
	for i, l := range labels {
		if l != "" && t.Tracks[i].Kind != trace.TrackOther {
			distinct[l] = true
		}
	}
	if len(distinct) == 0 || byPID == 0 && len(distinct) < 2 {
		return nil
	}
	g.label = slices.SortedFunc(maps.Keys(distinct),
		func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	place := make(map[string]int, len(g.label))
	for k, l := range g.label {
		place[l] = k
	}
	for i, l := range labels {
		g.of[i] = -1
		if k, ok := place[l]; ok {
			g.of[i] = k
		}
	}
	return g
}

// numberBefore is a process id with a number before it, "1_4000".
var numberBefore = regexp.MustCompile(`^\s*(\d{1,5})[-_:./@](\d+)\s*$`)

// numbers labels tracks by a number before the process id, if all ids that are text have one and it
// tells processes that work on devices apart. It returns how many have one.
func (g *groups) numbers(t *trace.Trace, labels []string) int {
	found := make([][]string, len(t.Tracks))
	n := 0
	hosts, devices := map[string]bool{}, map[string]bool{}
	for i := range t.Tracks {
		k := &t.Tracks[i]
		if k.PIDText == "" || k.Kind == trace.TrackOther {
			continue
		}
		f := numberBefore.FindStringSubmatch(k.PIDText)
		if f == nil {
			return 0
		}
		found[i] = f
		n++
		if k.Kind == trace.TrackGPU {
			devices[f[1]] = true
		} else {
			hosts[f[1]] = true
		}
	}
	if len(hosts) < 2 || !maps.Equal(hosts, devices) {
		return 0
	}
	for i, f := range found {
		if f == nil {
			continue
		}
		labels[i] = "rank" + f[1]
		g.pid[i], _ = strconv.ParseInt(f[2], 10, 64) // the pattern has digits
	}
	return n
}

var rankWord = regexp.MustCompile(`(?i)(?:^|[^a-z])rank[-_ :=]?[\[(]?(\d{1,6})`)

// rankOf returns the rank that a process's name or labels say: "rank 1", "python (rank 3)".
func rankOf(k *trace.Track) string {
	if ownName.MatchString(k.Process) {
		return k.Process
	}
	for _, s := range []string{k.Process, k.Labels} {
		if f := rankWord.FindStringSubmatch(s); f != nil {
			return "rank" + f[1]
		}
	}
	return ""
}
