// Package outcome prints how a session ended, and makes an error of one that is not complete.
package outcome

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/protocol"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/session"
	"github.com/kinetoscope/kinetoscope/units"
)

// Show prints a session in the form that was asked for.
func Show(e *cli.Env, asJSON bool, st *session.Status) error {
	if asJSON {
		return cli.JSON(e.Out, st)
	}
	return Print(e.Out, st)
}

// Print prints a session: each rank's state, then the files.
func Print(w io.Writer, st *session.Status) error {
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
			who := fmt.Sprintf("stage %d (%s) replica %d rank %d", s.Stage, s.Name, r.Replica, r.Rank)
			if r.Reason != "" {
				reasons = append(reasons, fmt.Sprintf("%s is %s: %s", who, r.State, r.Reason))
			}
			if r.Writing != nil {
				reasons = append(reasons, fmt.Sprintf("%s is being written: %s", who, Writing(*r.Writing)))
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
	fmt.Fprintf(w, "\nwritten to %s\n", cli.ShortPath(st.RunDir))
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

// Error returns an error if the session is not complete; for a partial one it is a
// cli.PartialError.
func Error(st *session.Status) error {
	why := st.Error
	for _, stage := range st.Stages {
		for _, r := range stage.Ranks {
			if r.State != protocol.StateComplete {
				why = fmt.Sprintf("stage %d (%s) replica %d rank %d is %s: %s", stage.Stage, stage.Name, r.Replica,
					r.Rank, r.State, r.Reason)
			}
		}
	}
	switch st.State {
	case session.StateComplete:
		return nil
	case session.StatePartial:
		return cli.PartialError{Err: fmt.Errorf("session %s is partial: %s", st.ID, why)}
	}
	return fmt.Errorf("session %s is %s: %s", st.ID, st.State, why)
}
