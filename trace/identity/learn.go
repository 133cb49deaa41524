package identity

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/trace"
)

// Learn fills what the content of a trace left open with what its path tells, and notes
// where each part was learnt from. It may be called again with other hints: what a path
// told before is forgotten first.
func Learn(m *trace.Meta, h Hints) {
	forget(m)
	set := func(f trace.Field, known bool, take func()) {
		if known {
			if m.Learnt[f] == "" {
				m.Learnt[f] = trace.FromContent
			}
			return
		}
		if from, ok := h.Learnt[f]; ok {
			take()
			m.Learnt[f] = from
		}
	}
	set(trace.FieldRank, m.Rank >= 0, func() { m.Rank = h.Rank })
	set(trace.FieldStage, m.StageID >= 0 || m.Stage != "", func() { m.StageID, m.Stage = h.StageID, h.Stage })
	set(trace.FieldReplica, m.Replica > 0 || m.Learnt[trace.FieldReplica] != "", func() { m.Replica = h.Replica })
	set(trace.FieldHost, m.Host != "", func() { m.Host = h.Host })
	set(trace.FieldRole, m.Role != "", func() { m.Role = h.Role })
	set(trace.FieldPhase, m.Phase != "", func() { m.Phase = h.Phase })
	if m.PID == 0 {
		m.PID = h.PID
	}
	for k, n := range h.Place {
		if _, ok := m.Place[k]; !ok {
			if m.Place == nil {
				m.Place = map[string]int{}
			}
			m.Place[k] = n
		}
	}
	m.Capture = h.Capture
}

// forget undoes what a path told.
func forget(m *trace.Meta) {
	learnt := map[trace.Field]trace.From{}
	for f, from := range m.Learnt {
		if from != trace.FromFile && from != trace.FromDir {
			learnt[f] = from
			continue
		}
		switch f {
		case trace.FieldRank:
			m.Rank = -1
		case trace.FieldStage:
			m.StageID, m.Stage = -1, ""
		case trace.FieldReplica:
			m.Replica = 0
		case trace.FieldHost:
			m.Host = ""
		case trace.FieldRole:
			m.Role = ""
		case trace.FieldPhase:
			m.Phase = ""
		}
	}
	m.Learnt = learnt
}

// Name is a trace's place in its pipeline for a reader: "thinker rank 0", "stage 1
// replica 2 rank 0 decode", "front end"; "" if nothing is known.
func Name(m *trace.Meta) string {
	var parts []string
	if s := StageName(m); s != "" {
		parts = append(parts, s)
	}
	if m.Replica > 0 {
		parts = append(parts, fmt.Sprintf("replica %d", m.Replica))
	}
	if m.Role != "" {
		parts = append(parts, m.Role)
	}
	if m.Rank >= 0 {
		parts = append(parts, fmt.Sprintf("rank %d", m.Rank))
	}
	if m.Phase != "" {
		parts = append(parts, m.Phase)
	}
	return strings.Join(parts, " ")
}

// genericStages are names that say the type of a stage, which several stages share.
var genericStages = map[string]bool{"llm": true, "diffusion": true, "generation": true, "ar": true, "": true}

// StageName is a stage for a reader: its name where that tells stages apart, else its
// number with it; "" if neither is known.
func StageName(m *trace.Meta) string {
	switch {
	case m.StageID >= 0 && genericStages[strings.ToLower(m.Stage)]:
		return strings.TrimSpace(fmt.Sprintf("stage %d %s", m.StageID, m.Stage))
	case m.Stage != "":
		return m.Stage
	}
	return ""
}

// Labels names each trace as shortly as tells all of them apart: by stage and rank
// where they do, with their directory or file where several share these. files are what
// readers know the traces by, for those that nothing is known of.
func Labels(list []*trace.Meta, files []string) []string {
	out := make([]string, len(list))
	for i, m := range list {
		out[i] = short(m, list)
	}
	addWhereEqual(out, func(i int) string { return list[i].Host })
	for i, l := range out {
		if l == "" {
			out[i] = packed.ReplaceAllString(filepath.Base(files[i]), "")
		}
	}
	for _, more := range []func(i int) string{
		func(i int) string { return packed.ReplaceAllString(filepath.Base(files[i]), "") },
		func(i int) string { return filepath.Base(filepath.Dir(files[i])) },
		func(i int) string { return files[i] },
		func(i int) string { return "#" + strconv.Itoa(i+1) },
	} {
		addWhereEqual(out, more)
	}
	alike(out, list, files)
	return out
}

// alike gives the name of their directory to traces of the same directories as others that have it in
// their labels to be told apart: all of one world are named in one way.
func alike(out []string, list []*trace.Meta, files []string) {
	dir := func(i int) string { return filepath.Base(filepath.Dir(files[i])) }
	has := map[string]bool{}
	for i, l := range out {
		if strings.HasSuffix(l, " "+dir(i)) {
			has[dir(i)] = true
		}
	}
	for i, l := range out {
		if has[dir(i)] && list[i].Rank >= 0 && !strings.HasSuffix(l, " "+dir(i)) {
			out[i] = l + " " + dir(i)
		}
	}
}

// short is the label of one trace as if it were alone; the replica is in it only where a trace of
// the list has one above 0.
func short(m *trace.Meta, list []*trace.Meta) string {
	replicas := false
	for _, o := range list {
		replicas = replicas || o.Replica > 0
	}
	var parts []string
	if s := StageName(m); s != "" {
		parts = append(parts, s)
	}
	if m.Role != "" {
		parts = append(parts, m.Role)
	}
	switch {
	case m.Rank >= 0 && replicas:
		parts = append(parts, fmt.Sprintf("%d.%d", m.Replica, m.Rank))
	case m.Rank >= 0:
		parts = append(parts, strconv.Itoa(m.Rank))
	}
	if m.Phase != "" {
		parts = append(parts, m.Phase)
	}
	return strings.Join(parts, " ")
}

// addWhereEqual appends what more says to the labels that several traces share, where it
// tells at least two of them apart.
func addWhereEqual(out []string, more func(i int) string) {
	same := map[string][]int{}
	for i, l := range out {
		same[l] = append(same[l], i)
	}
	for l, at := range same {
		if len(at) < 2 {
			continue
		}
		distinct := map[string]bool{}
		for _, i := range at {
			distinct[more(i)] = true
		}
		if len(distinct) < 2 {
			continue
		}
		for _, i := range at {
			if m := more(i); m != l {
				out[i] = strings.TrimSpace(l + " " + m)
			}
		}
	}
}

// Places writes a trace's ranks in each kind of parallelism: "tp 1, pp 0".
func Places(m *trace.Meta) string {
	var parts []string
	for _, k := range sortedKeys(m.Place) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m.Place[k]))
	}
	return strings.Join(parts, ", ")
}

func sortedKeys(m map[string]int) []string {
	var keys []string
	for _, k := range []string{"dp", "pp", "tp", "dcp", "pcp", "cp", "sp", "ep"} {
		if _, ok := m[k]; ok {
			keys = append(keys, k)
		}
	}
	for k := range maps.Keys(m) {
		switch k {
		case "dp", "pp", "tp", "dcp", "pcp", "cp", "sp", "ep":
		default:
			keys = append(keys, k)
		}
	}
	return keys
}

// RankByPlace numbers ranks of which only the place in each kind of parallelism is
// known, as engines number them: tensor-parallel ranks of a pipeline stage follow each
// other. Where the same place is there once for every data-parallel rank, these are
// replicas of each other, with a job each. It changes only what was not learnt from the
// content.
func RankByPlace(list []*trace.Meta) {
	size := map[string]int{}
	for _, m := range list {
		if m.Learnt == nil {
			m.Learnt = map[trace.Field]trace.From{}
		}
		for k, n := range m.Place {
			size[k] = max(size[k], n+1)
		}
	}
	replicas := map[string]map[int]bool{} // data-parallel ranks by what they do
	for _, m := range list {
		from := m.Learnt[trace.FieldRank]
		if tp, ok := m.Place["tp"]; ok && m.Rank == tp && from != trace.FromContent && from != trace.FromRun {
			m.Rank = m.Place["pp"]*size["tp"] + tp
		}
		if dp, ok := m.Place["dp"]; ok {
			k := sameWork(m)
			if replicas[k] == nil {
				replicas[k] = map[int]bool{}
			}
			replicas[k][dp] = true
		}
	}
	for _, m := range list {
		if dp, ok := m.Place["dp"]; ok && len(replicas[sameWork(m)]) > 1 && m.Learnt[trace.FieldReplica] == "" {
			m.Replica, m.Learnt[trace.FieldReplica] = dp, cmp.Or(m.Learnt[trace.FieldRank], trace.FromFile)
		}
	}
}

// sameWork is equal for ranks that are there once a replica.
func sameWork(m *trace.Meta) string {
	return fmt.Sprint(m.StageID, m.Stage, m.Role, m.Phase, m.Rank)
}

// Spoken is a label in a sentence: a bare number is a rank.
func Spoken(label string) string {
	if strings.Trim(label, "0123456789") == "" {
		return "rank " + label
	}
	return label
}
