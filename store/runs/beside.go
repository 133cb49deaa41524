package runs

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

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
