package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/kinetoscope/kinetoscope/analysis/pipeline"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/units"
)

func writeReport(e *env, r *pipeline.Report) error {
	var o report.TextOptions
	if f, ok := e.out.(*os.File); ok {
		o = report.Detect(f, os.Getenv)
	}
	return report.Text(e.out, r, o)
}

// printRun prints a session: each rank's state, then the files.
func printRun(w io.Writer, st *session.Status) error {
	w = report.Terminal(w) // names and reasons come from ranks
	fmt.Fprintln(w)
	if st.ID == "" {
		_, err := fmt.Fprintln(w, "no session is running")
		return err
	}
	fmt.Fprintf(w, "session %s: %s", st.ID, st.State)
	if st.Error != "" {
		fmt.Fprintf(w, ": %s", st.Error)
	}
	fmt.Fprintln(w)
	var reasons []string // below the table, for they are long
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STAGE\tREPLICA\tRANK\tSTATE\tITERATIONS\tEVENTS\tDROPS\tCLOCK ±\tFILES")
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			if r.Reason != "" {
				reasons = append(
					reasons,
					fmt.Sprintf("stage %d (%s) replica %d rank %d is %s: %s", s.Stage, s.Name, r.Replica, r.Rank, r.State, r.Reason),
				)
			}
			fmt.Fprintf(t, "%d %s\t%d\t%d\t%s\t%d\t%d\t%d\t%s\t%d\n", s.Stage, s.Name, r.Replica, r.Rank, r.State,
				r.Iterations, r.Events, r.Drops, units.Duration(float64(r.Clock.ErrorNs)), len(r.Artifacts))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, why := range append(endings(st), reasons...) {
		fmt.Fprintln(w, why)
	}
	if st.RunDir == "" {
		return nil
	}
	fmt.Fprintf(w, "\nwritten to %s\n", shortPath(st.RunDir))
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	show := func(arts []protocol.Artifact) {
		for _, a := range arts {
			fmt.Fprintf(t, "  %s\t  %s\n", units.Bytes(a.Size), a.Name)
		}
	}
	show(st.Artifacts)
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			show(r.Artifacts)
		}
	}
	return t.Flush()
}

// endings says which bounds ended recordings before a stop did, and on how many ranks.
func endings(st *session.Status) []string {
	count := map[protocol.StopCause]int{}
	ranks := 0
	for _, s := range st.Stages {
		for _, r := range s.Ranks {
			ranks++
			count[r.StoppedBy]++
		}
	}
	for _, asked := range []protocol.StopCause{"", protocol.StoppedByRequest, protocol.StoppedByFlight} {
		delete(count, asked)
	}
	var lines []string
	for _, cause := range slices.Sorted(maps.Keys(count)) {
		lines = append(lines, fmt.Sprintf("recording ended by %s on %d of %d ranks", cause, count[cause], ranks))
	}
	return lines
}

// shortPath writes a path relative to the working directory if that is below it.
func shortPath(p string) string {
	wd, err := os.Getwd()
	if err != nil {
		return p
	}
	if rel, err := filepath.Rel(wd, p); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return p
}
