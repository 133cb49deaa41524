package main

import (
	"cmp"
	"path/filepath"

	"github.com/kinetoscope/kinetoscope/analyses"
	"github.com/kinetoscope/kinetoscope/analysis/compare"
	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/store/runs"
)

// pipelines reports whether both sides are runs to be compared as wholes: at least one has several
// ranks, and the user chose none of them.
func (c *compareCmd) pipelines() (bool, error) {
	if len(c.Rank) > 0 || c.Stage != "" {
		return false, nil
	}
	several := false
	for _, p := range []string{c.A, c.B} {
		run, err := c.FindSession(p)
		if err != nil || run == nil {
			return false, err
		}
		ins, err := runs.Inputs(run)
		run.Close()
		if err != nil {
			return false, cli.UsageError{Err: err}
		}
		several = several || len(ins) > 1
	}
	return several, nil
}

// pipeline returns the run at path as a side of a comparison. Its report is computed again from its
// recordings if the report in the run is of a version that lacks what a comparison needs.
func (c *compareCmd) pipeline(e *cli.Env, path string) (analyses.Input, []reading.Info, error) {
	run, err := c.FindRun(path)
	if err != nil {
		return analyses.Input{}, nil, err
	}
	defer run.Close()
	m, err := run.Manifest()
	if err != nil {
		return analyses.Input{}, nil, cli.UsageError{Err: err}
	}
	rep, err := runReportOf(e, &c.Options, run, false)
	if err == nil && rep.Made == nil {
		rep, err = runReportOf(e, &c.Options, run, true)
	}
	if err != nil {
		return analyses.Input{}, nil, err
	}
	side := &compare.Side{Name: filepath.Base(run.Dir()), Report: rep,
		Versions: []string{cmp.Or(m.CreatedBy, "made by an unknown version")}}
	return analyses.Input{Path: path, Pipeline: side}, runInfos(m, rep), nil
}

// runInfos describes, for the answer's JSON, the traces behind a run's report.
func runInfos(m *store.Manifest, rep *pipeline.Report) []reading.Info {
	var out []reading.Info
	for i := range rep.Stages {
		s := &rep.Stages[i]
		for k := range s.Ranks {
			r := &s.Ranks[k]
			info := reading.Info{Index: len(out), File: r.File, Rank: r.Rank, StageID: s.StageID, Stage: s.Name,
				Replica: r.Replica, Host: r.Host, Slices: r.Slices, Repairs: map[string]int{}}
			id := protocol.RankID{Pipeline: m.Session.Pipeline, Stage: s.StageID, Replica: r.Replica, Rank: r.Rank}
			if st := m.Session.Rank(id); st != nil {
				if best, ok := store.Work(st.Artifacts); ok {
					info.File = best.Name
				}
			}
			out = append(out, info)
		}
	}
	return out
}
