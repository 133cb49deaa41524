package main

import (
	"fmt"
	"text/tabwriter"

	httpdriver "github.com/kinetoscope/kinetoscope/driver/server"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/report"
)

type doctorCmd struct {
	Targets []string `arg:"" sep:"none" help:"Server, as capture --target has it." placeholder:"TARGET"`
	JSON    bool     `name:"json" help:"Print the answer as JSON."`
}

// doctorAnswer is what --json prints.
type doctorAnswer struct {
	SchemaVersion int           `json:"schema_version"`
	Targets       []doctorOfOne `json:"targets"`
}

type doctorOfOne struct {
	Target string             `json:"target"`
	OK     bool               `json:"ok"` // the server can be profiled
	Checks []httpdriver.Check `json:"checks"`
}

// Run says what keeps servers from being profiled and what to do about it. It starts nothing.
func (c *doctorCmd) Run(e *cli.Env) error {
	list, err := findTargets(e, c.Targets)
	if err != nil {
		return err
	}
	out := doctorAnswer{SchemaVersion: 1}
	bad := 0
	for _, t := range list {
		one := doctorOfOne{Target: t.String(), OK: true, Checks: httpdriver.Examine(e.Ctx, t)}
		for _, k := range one.Checks {
			one.OK = one.OK && k.Verdict != httpdriver.Failing
		}
		if !one.OK {
			bad++
		}
		out.Targets = append(out.Targets, one)
	}
	if c.JSON {
		err = cli.JSON(e.Out, out)
	} else {
		err = out.print(e)
	}
	if err == nil && bad > 0 {
		err = fmt.Errorf("%d of %d targets cannot be profiled as they are", bad, len(list))
	}
	return err
}

func (a *doctorAnswer) print(e *cli.Env) error {
	for i, t := range a.Targets {
		if i > 0 {
			fmt.Fprintln(e.Out)
		}
		fmt.Fprintln(report.Terminal(e.Out), t.Target)
		w := tabwriter.NewWriter(report.Terminal(e.Out), 0, 0, 2, ' ', 0)
		for _, k := range t.Checks {
			fmt.Fprintf(w, "  %s\t%s\t%s\n", k.Verdict, k.Name, k.Says)
			if k.Mend != "" {
				fmt.Fprintf(w, "\t\t-> %s\n", k.Mend)
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}
