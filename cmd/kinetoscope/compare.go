package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/kinetoscope/kinetoscope/analyses"
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/analysis/compare"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/store/runs"
	"github.com/kinetoscope/kinetoscope/trace"
)

// pipelines reports whether both sides are runs that are compared as wholes: nobody chose among
// their ranks, and one has several.
func (c *compareCmd) pipelines() (bool, error) {
	if len(c.Rank) > 0 || c.Stage != "" {
		return false, nil
	}
	several := false
	for _, p := range []string{c.A, c.B} {
		run, err := c.FindRun(p)
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

// versionKeys are the keys of a trace under which producers write the versions that they run on.
var versionKeys = []string{"cuda_runtime_version", "cuda_driver_version", "hip_runtime_version", "hip_driver_version"}

// pipeline is the run that path means as a side. Its traces are read for what they say of
// cards and versions, and are not kept.
func (c *compareCmd) pipeline(e *cli.Env, path string) (analyses.Side, []reading.Info, error) {
	run, err := c.FindRun(path)
	if err != nil {
		return analyses.Side{}, nil, err
	}
	defer run.Close()
	m, err := run.Manifest()
	if err != nil {
		return analyses.Side{}, nil, cli.UsageError{Err: err}
	}
	rep, err := runReportOf(e, &c.Options, run, false)
	if err != nil {
		return analyses.Side{}, nil, err
	}
	type made struct {
		devices  []trace.Device
		versions []string
	}
	list, infos, err := reading.Ranked(e, &c.Options, &c.Choice, []string{run.Dir()}, func(s *analysis.Subject) made {
		out := made{devices: s.Trace.Meta.Devices}
		for _, k := range versionKeys {
			if v := s.Trace.Meta.Extra[k]; v != "" {
				out.versions = append(out.versions, k+" "+v)
			}
		}
		return out
	})
	if err != nil {
		return analyses.Side{}, nil, err
	}
	side := &compare.Side{Name: filepath.Base(run.Dir()), Report: rep,
		Versions: []string{cmp.Or(m.CreatedBy, "made by an unknown version")}}
	type card struct {
		host string
		id   int
	}
	names := map[card]string{}
	for i := range list {
		for _, d := range list[i].Value.devices {
			names[card{infos[i].Host, d.ID}] = d.Name
		}
		side.Versions = append(side.Versions, list[i].Value.versions...)
	}
	slices.Sort(side.Versions)
	side.Versions = slices.Compact(side.Versions)
	counts := map[string]int{}
	for _, n := range names {
		counts[n]++
	}
	for n, k := range counts {
		side.Cards = append(side.Cards, fmt.Sprintf("%d × %s", k, cmp.Or(n, "unnamed card")))
	}
	return analyses.Side{Path: path, Pipeline: side}, infos, nil
}
