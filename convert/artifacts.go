package convert

import (
	"compress/gzip"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/chrome"
	"github.com/kinetoscope/kinetoscope/trace/folded"
	"github.com/kinetoscope/kinetoscope/trace/memsnap"
	"github.com/kinetoscope/kinetoscope/trace/opstats"
	"github.com/kinetoscope/kinetoscope/trace/optable"
	"github.com/kinetoscope/kinetoscope/trace/sheet"
)

// gzipWorkers compress one trace. More would take cores from other ranks of the node.
const gzipWorkers = 2

// job is one rank's conversion.
type job struct {
	id    protocol.RankID
	stage string
	cfg   protocol.ProfilerConfig
	t     *trace.Trace

	// Computed once, for the artifacts that need them.
	ops  func() *opstats.Ops
	held func() *analysis.MemoryTimeline
}

func newJob(id protocol.RankID, stage string, cfg protocol.ProfilerConfig, t *trace.Trace) *job {
	j := &job{id: id, stage: stage, cfg: cfg, t: t}
	j.ops = sync.OnceValue(func() *opstats.Ops { return opstats.Collect(t) })
	j.held = sync.OnceValue(func() *analysis.MemoryTimeline {
		m := analysis.HeldMemory(t, analysis.Options{})
		m.StageID, m.Stage, m.Replica, m.Rank = id.Stage, stage, id.Replica, id.Rank
		return &m
	})
	return j
}

func (j *job) name(base, ext string) string { return store.ArtifactName(j.id, j.stage, base, ext) }

// traceName is the trace's name in the run.
func (j *job) traceName() string {
	if j.cfg.UseGzip {
		return j.name("trace", ".json.gz")
	}
	return j.name("trace", ".json")
}

// tableName is profiler_out_R.txt, as vLLM names it; in further replicas
// profiler_out_replica1_R.txt.
func (j *job) tableName() string {
	rank := strconv.Itoa(j.id.Rank) + ".txt"
	return strings.TrimSuffix(j.name("profiler_out", ".txt"), "rank"+rank) + rank
}

// artifact is one file that a rank leaves. To add one, add it to rankArtifacts.
type artifact struct {
	kind  protocol.ArtifactKind
	name  func(*job) string
	want  func(*job) bool
	write func(io.Writer, *job) error
}

var rankArtifacts = []artifact{
	{
		kind: protocol.KindTrace,
		name: (*job).traceName,
		want: func(*job) bool { return true },
		write: func(w io.Writer, j *job) (err error) {
			o := chrome.Options{TraceName: j.traceName()}
			if j.cfg.UseGzip {
				_, err = chrome.WriteGzip(w, j.t, o, gzipWorkers)
			} else {
				_, err = chrome.Write(w, j.t, o)
			}
			return err
		},
	},
	{
		kind: protocol.KindOps,
		name: func(j *job) string { return j.name("ops", ".xlsx") },
		want: func(*job) bool { return true },
		write: func(w io.Writer, j *job) error {
			return sheet.Write(w, j.ops(), sheet.Options{Shapes: j.cfg.RecordShapes, Stacks: j.cfg.WithStack})
		},
	},
	{
		kind:  protocol.KindStacks,
		name:  func(j *job) string { return j.name("stacks_cpu", ".txt") },
		want:  func(j *job) bool { return j.cfg.WithStack },
		write: func(w io.Writer, j *job) error { return folded.Write(w, j.t) },
	},
	{
		kind:  protocol.KindStacks,
		name:  func(j *job) string { return j.name("stacks_"+strings.ToLower(j.ops().Device), ".txt") },
		want:  func(j *job) bool { return j.cfg.WithStack && j.ops().HasDevice },
		write: func(w io.Writer, j *job) error { return folded.WriteDevice(w, j.t, j.ops()) },
	},
	{
		kind:  protocol.KindTable,
		name:  (*job).tableName,
		want:  func(j *job) bool { return j.cfg.DumpCUDATimeTotal },
		write: func(w io.Writer, j *job) error { return optable.Write(w, j.ops(), optable.Options{}) },
	},
	{
		kind: protocol.KindMemory,
		name: func(j *job) string { return j.name("memory_snapshot", ".pickle") },
		want: func(j *job) bool { return j.cfg.WithMemory },
		write: func(w io.Writer, j *job) error {
			_, err := memsnap.Write(w, j.t)
			return err
		},
	},
	{
		kind:  protocol.KindMemory,
		name:  func(j *job) string { return j.name("memory_timeline", ".json.gz") },
		want:  hasMemoryTimeline,
		write: writeMemoryTimeline,
	},
	{
		kind: protocol.KindMemory,
		name: func(j *job) string { return j.name("memory_timeline", ".svg") },
		want: hasMemoryTimeline,
		write: func(w io.Writer, j *job) error {
			return report.HeldMemorySVG(w,
				[]report.Ranked[analysis.MemoryTimeline]{{Label: fmt.Sprintf("%s rank %d", j.stage, j.id.Rank),
					Value: *j.held()}})
		},
	},
}

// hasMemoryTimeline is false of a trace without allocations: there is nothing to draw.
func hasMemoryTimeline(j *job) bool { return j.cfg.WithMemory && len(j.held().Devices) > 0 }

func writeMemoryTimeline(w io.Writer, j *job) error {
	z := gzip.NewWriter(w)
	if err := report.HeldMemoryJSON(z, j.held()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("close gzip of memory timeline: %w", err)
	}
	return nil
}

func (a artifact) writer(j *job) func(io.Writer) error {
	return func(w io.Writer) error { return a.write(w, j) }
}
