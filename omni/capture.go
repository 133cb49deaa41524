package omni

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/convert"
	"github.com/kinetoscope/kinetoscope/hub"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

// Names and kinds of what a run has beside its ranks' artifacts.
const (
	reportName  = "report.json"
	pictureName = "report.svg"
	kindReport  = "report"
)

// convertSession makes a session's artifacts of its recordings: rank by rank, for
// memory holds the traces of all ranks only as columns, then the timeline and the
// report. What a rank lacks is noted in its artifacts and does not keep back the rest.
func convertSession(ctx context.Context, in hub.ConvertInput) (map[protocol.RankID][]protocol.Artifact, []protocol.Artifact, error) {
	perRank := map[protocol.RankID][]protocol.Artifact{}
	var inputs []convert.RankInput
	var errs []error
	total := len(in.Ranks) + 1
	for i, r := range in.Ranks {
		in.Progress(i, total, fmt.Sprintf("stage %d (%s) rank %d", r.Status.Stage, r.StageName, r.Status.Rank))
		if r.Recording == "" {
			continue
		}
		res, err := convert.Recording(ctx, r.Recording, in.Run, convert.Options{Rank: r.Status.RankID, StageName: r.StageName, Config: &r.Config})
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		perRank[r.Status.RankID] = res.Artifacts
		if err != nil {
			errs = append(errs, err)
			continue
		}
		inputs = append(inputs, convert.RankInput{Rank: r.Status.RankID, StageName: r.StageName, Trace: res.Trace, Clock: r.Status.Clock})
	}
	in.Progress(len(in.Ranks), total, "timeline and report")
	run, err := summarize(ctx, in, inputs)
	return perRank, run, errors.Join(append(errs, err)...)
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
	offsets := map[protocol.RankID]int64{}
	for _, r := range timeline.Ranks {
		offsets[r.RankID] = r.OffsetNs
	}
	o := pipeline.Options{UncertaintyNs: timeline.UncertaintyNs}
	var traces []*trace.Trace
	for _, r := range inputs {
		traces = append(traces, r.Trace)
		o.Offsets = append(o.Offsets, offsets[r.Rank])
	}
	rep := pipeline.Analyze(traces, o)
	for _, f := range []struct {
		name  string
		write func(*bytes.Buffer) error
	}{
		{reportName, func(b *bytes.Buffer) error { return report.JSON(b, rep) }},
		{pictureName, func(b *bytes.Buffer) error { return report.SVG(b, rep) }},
	} {
		var b bytes.Buffer
		if err := f.write(&b); err != nil {
			return arts, fmt.Errorf("write %s: %w", f.name, err)
		}
		a, err := in.Run.Write(f.name, kindReport, &b)
		if err != nil {
			return arts, err
		}
		arts = append(arts, a)
	}
	return arts, nil
}
