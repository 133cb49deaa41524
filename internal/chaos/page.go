package chaos

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// elsewhere are the faults of the table that tests strike, for they need what a program may
// not do to the machine that it runs on.
var elsewhere = []struct{ fault, test string }{
	{"a host's network is cut and mended", "deploy/multihost: TestRanksOnOtherHosts (make multihost)"},
	{"a wall clock is set between probe and start", "hub: TestClockSetBetweenProbeAndStart"},
	{"any order of events, with crashes, delays, duplicates, losses and hubs killed at any point, as often as one likes, up to three ranks: " +
		"446,558 worlds", "session: TestEveryInterleaving (KINETOSCOPE_EXPLORE_ALL=1: all of them)"},
	{"a recording is damaged at any byte", "profiler/format: TestReadsOnBehindDamage"},
	{"the storage of NATS stops", "hub: TestStorageThatStoppedIsStartedAgain"},
}

// promises are what the checker holds every cell against.
var promises = []string{
	"every rank ends in a named state, with a reason unless it is complete, and its recording is there or the reason says why not",
	"a session of which a rank is not complete is not complete, and says why",
	"every file in a run is in its manifest with size and SHA-256, and they are right",
	"the server, the command line and the manifest say the same of every session and rank",
	"no window is longer than its session, whatever the clocks say",
	"no file of a finished run is ever written again",
	"no profiler is on that no session owns",
	"requests are answered, or refused with 503",
	"the next session starts, records, stops and is complete, without a restart",
}

// Page writes the report as docs/reliability.md.
func (r *Report) Page(out io.Writer) error {
	w := bufio.NewWriter(out)
	fmt.Fprintf(w,
		"# Reliability\n\nThis page is printed by `make chaos` from a run on the real product: servers, rank processes, disks. Seed %d.\n\n", r.Seed)
	fmt.Fprint(w, "Each cell breaks a session at one point and then checks what is promised:\n\n")
	for _, p := range promises {
		fmt.Fprintf(w, "- %s\n", p)
	}
	fmt.Fprint(w,
		"\n✓ means that all of this held; the word is the state in which the session ended that was struck, \"–\" that there is nothing\n"+
			"to strike. At idle no session is under way: the one after it is looked at. Arming, stopping and converting last milliseconds:\n"+
			"the fault is sent on its way with the request.\n\n| fault |")
	for _, p := range Points {
		fmt.Fprintf(w, " %s |", p)
	}
	fmt.Fprint(w, "\n|---|")
	for range Points {
		fmt.Fprint(w, "---|")
	}
	held, run := 0, 0
	for _, f := range Faults {
		fmt.Fprintf(w, "\n| %s |", f.Name)
		for _, p := range Points {
			c := r.cell(f.Name, p)
			fmt.Fprintf(w, " %s |", c.mark())
			if c != nil && c.Skip == "" {
				run++
				if len(c.Broken) == 0 {
					held++
				}
			}
		}
	}
	fmt.Fprintf(w,
		"\n\n%d of %d cells held.\n\n## What was said\n| fault | at | session was | ended | reason |\n|---|---|---|---|---|\n", held, run)
	for _, c := range r.Cells {
		if c.Skip == "" && (c.Said != "" || len(c.Broken) > 0) {
			fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", c.Fault, c.At, c.Seen, c.State,
				cut(plain(strings.Join(append(c.Broken, c.Said), "; "))))
		}
	}
	why := map[string]bool{}
	for _, c := range r.Cells {
		if c.Skip != "" && c.Skip != nothingThere && !why[c.Fault] {
			why[c.Fault] = true
			fmt.Fprintf(w, "| %s | | | skipped | %s |\n", c.Fault, plain(c.Skip))
		}
	}
	evidence(w)
	fmt.Fprint(w, "\n## Struck by tests\n| fault | test |\n|---|---|\n")
	for _, e := range elsewhere {
		fmt.Fprintf(w, "| %s | %s |\n", e.fault, e.test)
	}
	return w.Flush()
}

func (r *Report) cell(fault string, at Point) *Cell {
	for i := range r.Cells {
		if c := &r.Cells[i]; c.Fault == fault && c.At == at {
			return c
		}
	}
	return nil
}

func (c *Cell) mark() string {
	switch {
	case c == nil:
		return "not run"
	case c.Skip == nothingThere:
		return "–"
	case c.Skip != "":
		return "skipped"
	case len(c.Broken) > 0:
		return "**✗**"
	case c.State == "":
		return "✓"
	}
	return "✓ " + string(c.State)
}

// plain takes out of a reason what differs from run to run, and what a table cannot hold.
func plain(s string) string {
	var out []string
	for _, word := range strings.Fields(strings.ReplaceAll(s, "|", `\|`)) {
		if strings.HasPrefix(word, "/") {
			word = "…/" + word[strings.LastIndexByte(word, '/')+1:]
		}
		out = append(out, word)
	}
	return strings.Join(out, " ")
}

// maxSaid bounds a reason in the table.
const maxSaid = 240

func cut(s string) string {
	if r := []rune(strings.TrimPrefix(s, "; ")); len(r) > maxSaid {
		return string(r[:maxSaid]) + "…"
	}
	return strings.TrimSuffix(strings.TrimPrefix(s, "; "), "; ")
}
