package convert

import (
	"io"
	"strconv"
	"strings"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/chrome"
)

// Kinds of artifact, as in protocol.Artifact.
const (
	KindTrace    = "trace"
	KindOps      = "ops"
	KindStacks   = "stacks"
	KindTable    = "table"
	KindMemory   = "memory"
	KindTimeline = "timeline"
)

// gzipWorkers compress one trace. More would take cores from other ranks of the node.
const gzipWorkers = 2

// job is one rank's conversion.
type job struct {
	id    protocol.RankID
	stage string
	cfg   protocol.ProfilerConfig
	t     *trace.Trace
}

func (j *job) name(base, ext string) string { return store.ArtifactName(j.id, j.stage, base, ext) }

// artifact is one file that a rank leaves. To add one, add it to rankArtifacts.
type artifact struct {
	kind  string
	name  func(*job) string
	want  func(*job) bool
	write func(io.Writer, *job) error
}

var rankArtifacts = []artifact{
	{
		kind: KindTrace,
		name: func(j *job) string { return j.name("trace", ".json.gz") },
		want: func(j *job) bool { return j.cfg.UseGzip },
		write: func(w io.Writer, j *job) error {
			_, err := chrome.WriteGzip(w, j.t, chrome.Options{TraceName: j.name("trace", ".json.gz")}, gzipWorkers)
			return err
		},
	},
	{
		kind: KindTrace,
		name: func(j *job) string { return j.name("trace", ".json") },
		want: func(j *job) bool { return !j.cfg.UseGzip },
		write: func(w io.Writer, j *job) error {
			_, err := chrome.Write(w, j.t, chrome.Options{TraceName: j.name("trace", ".json")})
			return err
		},
	},
}

// tableName is profiler_out_R.txt, as vLLM names it; in further replicas
// profiler_out_replica1_R.txt.
func tableName(j *job) string {
	return strings.Replace(j.name("profiler_out", ".txt"), "rank"+strconv.Itoa(j.id.Rank)+".txt", strconv.Itoa(j.id.Rank)+".txt", 1)
}

func (a artifact) writer(j *job) func(io.Writer) error {
	return func(w io.Writer) error { return a.write(w, j) }
}
