// Package runs finds runs by the names that people type, and interprets their files: a run's traces
// with the rank of each, and its report. Package store knows where a run's files lie, this package
// what they mean. Commands and the server's pages read runs through it.
package runs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/convert"
	"github.com/kinetoscope/kinetoscope/internal/plainfile"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Names of files that a run has beside its ranks' artifacts, its manifest and its timeline.
const (
	ReportName  = "report.json" // pipeline.Report
	PictureName = "report.svg"
)

// Find opens the run that name means: its directory, the beginning of its id, or "latest" in the
// store at root. It returns nil if name is a file or directory that is not a run, and so means
// traces. The caller closes the run. It returns an error if name means nothing.
func Find(name, root string) (*store.Run, error) {
	st, err := os.Stat(name)
	switch {
	case err == nil && !st.IsDir():
		return nil, nil
	case err == nil:
		if _, err := os.Stat(filepath.Join(name, store.ManifestName)); err != nil {
			return nil, nil
		}
		return store.OpenRun(name)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if strings.ContainsAny(name, "./\\") {
		return nil, fmt.Errorf("%s: no such file, directory or run", name)
	}
	if _, err := os.Stat(root); err != nil {
		return nil, fmt.Errorf("%s: no such file or directory, and no run: there is no store at %s", name, root)
	}
	s, err := store.Open(root)
	if err != nil {
		return nil, err
	}
	r, err := s.Resolve(name)
	if err != nil {
		return nil, fmt.Errorf("%s: no such file or directory, and no run in %s: %w", name, root, err)
	}
	return r, nil
}

// Input is the file that shows most of a rank's work.
type Input struct {
	Path string // of its recording, or else of its trace
	Rank *protocol.RankStatus
	// Beside are files whose rows belong into that trace: what the rank's server told of itself.
	Beside []string
	// Phases are traces of the same work: an engine that records prefill and decode each by itself
	// leaves one of either.
	Phases []string
	// Server is what the server of the rank's replica told of itself, if another rank has it.
	Server Server
}

// Server is what a server told of itself, among the files of one of its ranks.
type Server struct {
	Rank  int      // whose files they are
	Paths []string // none: the server told nothing, or these are the rank's own
}

// Complete makes of t, the trace that was read from the input, the rank's: it is placed, and has the
// rows of the other phases' traces and of the files beside it.
func (in *Input) Complete(ctx context.Context, t *trace.Trace) {
	joinPhases(ctx, t, in.Phases)
	in.Place(t)
	join(ctx, t, in.Beside)
}

// WithServer adds to the files beside the trace what the server of its replica told of itself. It is for
// readers that leave out the rank whose files those are.
func (in *Input) WithServer() { in.Beside = append(in.Beside, in.Server.Paths...) }

// Place sets the stage, replica and rank of t, the trace that was read from the input, as the run
// has them: the run is a better source than the file.
func (in *Input) Place(t *trace.Trace) {
	m := &t.Meta
	m.StageID, m.Stage, m.Replica, m.Rank = in.Rank.Stage, in.Rank.StageName, in.Rank.Replica, in.Rank.Rank
	m.Learnt = map[trace.Field]trace.From{
		trace.FieldStage:   trace.FromRun,
		trace.FieldReplica: trace.FromRun,
		trace.FieldRank:    trace.FromRun,
	}
}

// Inputs lists the recordings of a run's ranks and, for ranks without one, their traces. Ranks with
// neither are left out; if no rank has any, that is an error.
func Inputs(r *store.Run) ([]Input, error) {
	m, err := r.Manifest()
	if err != nil {
		return nil, err
	}
	var out []Input
	if m.Upload != nil {
		return nil, &UploadError{Run: r.Dir(), Files: Uploaded(r, m)}
	}
	for _, s := range m.Session.Stages {
		for i := range s.Ranks {
			rank := &s.Ranks[i]
			if best, ok := store.Work(rank.Artifacts); ok {
				out = append(out, Input{Path: filepath.Join(r.Dir(), filepath.FromSlash(best.Name)), Rank: rank,
					Beside: Beside(r.Dir(), rank.Artifacts), Phases: Phases(r.Dir(), rank.Artifacts, best),
					Server: serverOf(r.Dir(), s.Ranks, rank)})
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("run %s has no traces", r.Dir())
	}
	return out, nil
}

// UploadError says that a run is an uploaded trace: it has no ranks to place.
type UploadError struct {
	Run   string
	Files []string // paths of the uploaded files
}

func (e *UploadError) Error() string {
	return fmt.Sprintf("run %s is an uploaded trace and no session: name its file %s", e.Run,
		strings.Join(e.Files, " "))
}

// Uploaded lists the paths of the uploaded files of run r; m is its manifest.
func Uploaded(r *store.Run, m *store.Manifest) (paths []string) {
	for _, a := range m.Session.Artifacts {
		if a.Kind == protocol.KindTrace {
			paths = append(paths, filepath.Join(r.Dir(), filepath.FromSlash(a.Name)))
		}
	}
	return paths
}

// Report reads the report in the run's directory dir. It is nil if there is none, or if its version
// is one that this program cannot read, so that the report has to be computed again.
func Report(dir string) (*pipeline.Report, error) {
	path := filepath.Join(dir, ReportName)
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := plainfile.Regular(root, ReportName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	rep, err := report.ReadJSON(f)
	if _, other := errors.AsType[*report.VersionError](err); other {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rep, nil
}

// Analyze makes the report of a session from the traces that its inputs were read as, one
// trace an input.
func Analyze(st *session.Status, ins []Input, traces []*trace.Trace) *pipeline.Report {
	ranks := make([]convert.RankInput, len(ins))
	for i, in := range ins {
		ranks[i] = convert.RankInput{
			Rank:      in.Rank.RankID,
			StageName: in.Rank.StageName,
			Trace:     traces[i],
			Clock:     in.Rank.Clock,
		}
	}
	return AnalyzeOn(st, convert.Align(ranks), ranks)
}

// AnalyzeOn is Analyze of ranks whose clocks are known, from their timeline.
func AnalyzeOn(st *session.Status, tl convert.Timeline, ranks []convert.RankInput) *pipeline.Report {
	offsets := map[protocol.RankID]int64{}
	for _, r := range tl.Ranks {
		offsets[r.RankID] = r.OffsetNs
	}
	o := pipeline.Options{UncertaintyNs: tl.UncertaintyNs, Outcomes: convert.Outcomes(st)}
	traces := make([]*trace.Trace, len(ranks))
	for i, r := range ranks {
		traces[i] = r.Trace
		o.Offsets = append(o.Offsets, offsets[r.Rank])
	}
	return pipeline.Analyze(traces, o)
}

// Incomplete lists the ranks of a session that did not end as they should, with Reason.
func Incomplete(s *session.Status) []protocol.RankStatus {
	var out []protocol.RankStatus
	for _, stage := range s.Stages {
		for _, r := range stage.Ranks {
			if r.State != protocol.StateComplete {
				out = append(out, r)
			}
		}
	}
	return out
}
