// Package conversion makes a session's artifacts from the files of its ranks: traces, sheets,
// stacks and memory snapshots of each, the timeline and the report of all. The hub runs it as a job
// for each collected session. Package convert converts one rank; package hub decides when.
package conversion

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/kinetoscope/kinetoscope/convert"
	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/store/runs"
	"github.com/kinetoscope/kinetoscope/trace"
	traceopen "github.com/kinetoscope/kinetoscope/trace/open"
)

// Session makes a session's artifacts of its recordings: rank by rank, for
// memory holds the traces of all ranks only as columns, then the timeline and the
// report. What a rank lacks is noted in its artifacts and does not keep back the rest.
func Session(
	ctx context.Context,
	in hub.ConvertInput,
) (map[protocol.RankID][]protocol.Artifact, []protocol.Artifact, error) {
	perRank := map[protocol.RankID][]protocol.Artifact{}
	var inputs []convert.RankInput
	total := len(in.Ranks) + 1
	for i, r := range in.Ranks {
		in.Progress(i, total, fmt.Sprintf("stage %d (%s) rank %d", r.Status.Stage, r.StageName, r.Status.Rank))
		res, err := convertRank(ctx, in, r)
		if ctx.Err() != nil {
			return perRank, nil, ctx.Err()
		}
		if len(res.Artifacts) > 0 {
			perRank[r.Status.RankID] = res.Artifacts
		}
		if err != nil {
			in.Lacks(r.Status.RankID, err)
		}
		if res.Trace == nil {
			continue // it left neither recording nor trace
		}
		inputs = append(
			inputs,
			convert.RankInput{Rank: r.Status.RankID, StageName: r.StageName, Trace: res.Trace, Clock: r.Status.Clock},
		)
	}
	in.Progress(len(in.Ranks), total, "timeline and report")
	run, err := summarize(ctx, in, inputs)
	return perRank, run, err
}

// convertRank makes one rank's artifacts: all of them from a recording, or from the
// ready trace of a torch rank those that the rank did not make itself.
func convertRank(ctx context.Context, in hub.ConvertInput, r hub.ConvertRank) (convert.Result, error) {
	o := convert.Options{Rank: r.Status.RankID, StageName: r.StageName, Config: &r.Config}
	if r.Recording != "" {
		return convert.Recording(ctx, r.Recording, in.Run, o)
	}
	have := map[string]bool{}
	for _, f := range r.Files {
		have[f.Name] = true
	}
	work, ok := store.Work(r.Files)
	if !ok {
		return convert.Result{}, nil
	}
	ready := filepath.Join(in.RunDir, filepath.FromSlash(work.Name))
	traces, err := traceopen.Files(ctx, []string{ready}, traceopen.Options{})
	if err != nil {
		return convert.Result{}, fmt.Errorf("stage %d (%s) rank %d: %w", r.Status.Stage, r.StageName, r.Status.Rank,
			err)
	}
	t := traces[0]
	(&runs.Input{Rank: &r.Status, Beside: runs.Beside(in.RunDir, r.Files),
		Phases: runs.Phases(in.RunDir, r.Files, work)}).Complete(ctx, t)
	cfg := r.Config
	cfg.WithMemory = cfg.WithMemory && hasMemory(t)
	o.Config = &cfg
	return convert.Trace(ctx, t, missing{in.Run, have, !strings.HasSuffix(ready, store.RegionsExt)}, o)
}

// missing is a sink that keeps existing files: a rank's own file is preferred to one made from its
// trace.
type missing struct {
	convert.Sink
	have  map[string]bool
	whole bool // the rank's trace is there, plain or packed
}

// Write implements convert.Sink. If the file exists it reads nothing from src; the returned
// artifact then has no hash, which says that it is not new.
func (m missing) Write(name string, kind protocol.ArtifactKind, src io.Reader) (protocol.Artifact, error) {
	if m.have[name] || m.whole && kind == protocol.KindTrace {
		return protocol.Artifact{Name: name, Kind: kind}, nil
	}
	return m.Sink.Write(name, kind, src)
}

// hasMemory reports whether t holds allocations, from which a snapshot can be made.
func hasMemory(t *trace.Trace) bool {
	for _, n := range t.Instants.Name {
		if t.String(n) == trace.NameMemory {
			return true
		}
	}
	return false
}

// With is Session and then attach, if that is set, which writes more files into the run.
func With(attach func(*store.Run) ([]protocol.Artifact, error)) hub.ConvertFunc {
	if attach == nil {
		return Session
	}
	return func(ctx context.Context, in hub.ConvertInput) (map[protocol.RankID][]protocol.Artifact, []protocol.Artifact,
		error) {
		perRank, run, err := Session(ctx, in)
		more, attachErr := attach(in.Run)
		return perRank, append(run, more...), errors.Join(err, attachErr)
	}
}

// summarize writes what belongs to the run as a whole.
func summarize(ctx context.Context, in hub.ConvertInput, inputs []convert.RankInput) ([]protocol.Artifact, error) {
	if len(inputs) == 0 {
		return nil, nil
	}
	timeline, err := convert.Merge(ctx, inputs, in.Run)
	if err != nil {
		return nil, err
	}
	arts := []protocol.Artifact{timeline.Artifact}
	rep := runs.AnalyzeOn(&in.Session, timeline, inputs)
	for _, f := range []struct {
		name  string
		write func(*bytes.Buffer) error
	}{
		{runs.ReportName, func(b *bytes.Buffer) error { return report.JSON(b, rep) }},
		{runs.PictureName, func(b *bytes.Buffer) error { return report.SVG(b, rep) }},
	} {
		var b bytes.Buffer
		if err := f.write(&b); err != nil {
			return arts, fmt.Errorf("write %s: %w", f.name, err)
		}
		a, err := in.Run.Write(f.name, protocol.KindReport, &b)
		if err != nil {
			return arts, err
		}
		arts = append(arts, a)
	}
	return arts, nil
}
