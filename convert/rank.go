package convert

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/native"
)

// Options say how one rank is converted.
type Options struct {
	// Rank and StageName name the artifacts. Without StageName they are taken from
	// the trace itself.
	Rank      protocol.RankID
	StageName string
	// Config chooses the artifacts; nil is protocol.DefaultProfilerConfig.
	Config *protocol.ProfilerConfig
	// Parallel bounds the artifacts written at once; 0 is the number of cores.
	Parallel int
	// Log gets what Result.Notes holds, as warnings; nil is slog.Default.
	Log *slog.Logger
}

// Result is what a conversion made.
type Result struct {
	Artifacts []protocol.Artifact // sorted by name
	Trace     *trace.Trace        // what was converted
	// Notes say what the artifacts lack: a recording that was cut, dropped events.
	// Empty if nothing.
	Notes []string
}

// Recording converts the recording file in to artifacts, sorted by name. A recording that
// was cut is not an error; see Result.Notes, which are logged too. On error the artifacts that were finished
// before it are in the Result.
func Recording(ctx context.Context, in string, to Sink, o Options) (Result, error) {
	t, info, err := native.ReadFile(ctx, in)
	if err != nil {
		return Result{}, fmt.Errorf("convert: %w", err)
	}
	r, err := Trace(ctx, t, to, o)
	r.Notes = append(notes(info), r.Notes...)
	log := cmp.Or(o.Log, slog.Default())
	for _, n := range r.Notes {
		log.WarnContext(ctx, "recording is incomplete", "file", in, "what", n)
	}
	return r, err
}

// notes says what a recording lacks.
func notes(info *native.Info) []string {
	var out []string
	if s := format.Lacks(info.Header.Start, info.EndNs, info.Damage, info.Cut); s != "" {
		out = append(out, "recording: "+s)
	}
	if e := info.End; e != nil && e.Drops > 0 {
		out = append(out, fmt.Sprintf("%d of %d events were dropped while recording: buffers were full", e.Drops,
			e.Drops+e.Events))
	}
	if e := info.End; e != nil && e.Truncated > 0 {
		out = append(out, fmt.Sprintf("%d text arguments were shortened while recording", e.Truncated))
	}
	return out
}

// Trace writes the artifacts of t, several at once.
func Trace(ctx context.Context, t *trace.Trace, to Sink, o Options) (Result, error) {
	j := o.job(t)
	var want []artifact
	for _, a := range rankArtifacts {
		if a.want(j) {
			want = append(want, a)
		}
	}
	made := make([]protocol.Artifact, len(want))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, cmp.Or(o.Parallel, runtime.GOMAXPROCS(0))))
	for i, a := range want {
		g.Go(func() (err error) {
			made[i], err = produce(ctx, to, a.name(j), a.kind, a.writer(j))
			return err
		})
	}
	err := g.Wait()
	r := Result{Trace: t}
	for _, a := range made {
		if a.SHA256 != "" {
			r.Artifacts = append(r.Artifacts, a)
		}
	}
	slices.SortFunc(r.Artifacts, func(a, b protocol.Artifact) int { return cmp.Compare(a.Name, b.Name) })
	if err != nil {
		return r, fmt.Errorf("convert stage %d rank %d: %w", j.id.Stage, j.id.Rank, err)
	}
	return r, nil
}

// job names the rank and fills in what o leaves open.
func (o Options) job(t *trace.Trace) *job {
	cfg := protocol.DefaultProfilerConfig()
	if o.Config != nil {
		cfg = *o.Config
	}
	id, stage := o.Rank, o.StageName
	if stage == "" {
		id.Stage, id.Replica, id.Rank = max(0, t.Meta.StageID), t.Meta.Replica, max(0, t.Meta.Rank)
		stage = cmp.Or(t.Meta.Stage, "unknown")
	}
	return newJob(id, stage, cfg, t)
}
