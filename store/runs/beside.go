package runs

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/open"
)

// besideKinds are the artifacts whose rows belong to a rank's trace although they are no trace of
// its work: what its server told of itself, and the events that it wrote.
var besideKinds = []protocol.ArtifactKind{protocol.KindMetrics, protocol.KindEvents}

// maxBeside bounds the memory that one such file may take: an hour of a busy server's events.
const maxBeside = 512 << 20

// repairBeside counts files that could not be read with a rank's trace.
const repairBeside = "file of the rank's server left out: it cannot be read"

// repairNoClock counts files that have times of day, beside a trace that has none.
const repairNoClock = "file of the rank's server left out: the trace has no time of day to put it at"

// Beside lists the files of a run that are read with a rank's trace.
func Beside(dir string, list []protocol.Artifact) (paths []string) {
	for _, a := range list {
		if slices.Contains(besideKinds, a.Kind) {
			paths = append(paths, filepath.Join(dir, filepath.FromSlash(a.Name)))
		}
	}
	return paths
}

// Phases lists the traces of a rank's other phases, if work, the artifact that shows most of its work, is
// that of one.
func Phases(dir string, list []protocol.Artifact, work protocol.Artifact) (paths []string) {
	phase := phaseOf(work)
	if phase == "" {
		return nil
	}
	for _, a := range list {
		if other := phaseOf(a); other != "" && other != phase {
			paths = append(paths, filepath.Join(dir, filepath.FromSlash(a.Name)))
		}
	}
	return paths
}

// phases are those of an engine's steps that it records each by itself, as SGLang names them: their rows are
// of one loop's time. A capture of graphs, which has a trace of its own too, is of another time.
var phases = []string{"extend", "decode", "prefill", "mixed"}

// phaseOf is the phase that a trace of a rank's work is of, by its name; "" if it is of all.
func phaseOf(a protocol.Artifact) string {
	name, ok := strings.CutPrefix(path.Base(a.Name), string(protocol.KindTrace)+"_")
	if !ok || a.Kind != protocol.KindTrace {
		return ""
	}
	phase, _, _ := strings.Cut(name, "_rank")
	if !slices.Contains(phases, phase) {
		return ""
	}
	return phase
}

// serverOf finds what the server of a rank's replica told of itself among the files of the others.
func serverOf(dir string, ranks []protocol.RankStatus, of *protocol.RankStatus) Server {
	metrics := func(r *protocol.RankStatus) (paths []string) {
		for _, a := range r.Artifacts {
			if a.Kind == protocol.KindMetrics {
				paths = append(paths, filepath.Join(dir, filepath.FromSlash(a.Name)))
			}
		}
		return paths
	}
	if metrics(of) != nil {
		return Server{}
	}
	for i := range ranks {
		if r := &ranks[i]; r.Replica == of.Replica {
			if paths := metrics(r); paths != nil {
				return Server{r.Rank, paths}
			}
		}
	}
	return Server{}
}

// repairPhase counts traces of a rank's other phases that could not be read with the first.
const repairPhase = "trace of another phase of the rank left out: it cannot be read with this one"

// joinPhases makes one trace of those of a rank's phases: their rows, on the same tracks, in a window that
// has all of them.
func joinPhases(ctx context.Context, t *trace.Trace, paths []string) {
	for _, path := range paths {
		list, err := open.Files(ctx, []string{path}, open.Options{})
		if err != nil || len(list) != 1 || t.Meta.WallClock != list[0].Meta.WallClock {
			t.Repairs.Add(repairPhase, 1)
			continue
		}
		o := list[0]
		t.Append(o)
		t.Meta.WindowStart = min(t.Meta.WindowStart, o.Meta.WindowStart)
		t.Meta.WindowEnd = max(t.Meta.WindowEnd, o.Meta.WindowEnd)
	}
	if len(paths) > 0 {
		t.Meta.Phase = ""
	}
}

// join adds the rows of files to t, on tracks of their own that count as nobody's work. What cannot
// be added is counted among t's repairs.
func join(ctx context.Context, t *trace.Trace, paths []string) {
	for _, path := range paths {
		list, err := open.Files(ctx, []string{path}, open.Options{Memory: maxBeside})
		if err != nil {
			t.Repairs.Add(repairBeside, 1)
			continue
		}
		for _, o := range list {
			if !t.Meta.WallClock || !o.Meta.WallClock {
				t.Repairs.Add(repairNoClock, 1)
				continue
			}
			o = withoutSpan(o)
			for i := range o.Tracks {
				o.Tracks[i].Kind = trace.TrackOther
				o.Tracks[i].Process = fmt.Sprintf("%s (%s)", o.Tracks[i].Process, filepath.Base(path))
			}
			t.Append(o)
		}
	}
}

// withoutSpan is o without the tracks that only say when it was recorded: t says that of itself.
func withoutSpan(o *trace.Trace) *trace.Trace {
	span := map[trace.TrackID]bool{}
	for i, c := range o.Slices.Cat {
		if c == trace.CatTraceSpan {
			span[o.Slices.Track[i]] = true
		}
	}
	return o.Subset(func(id trace.TrackID) bool { return !span[id] })
}
