package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kinetoscope/kinetoscope/driver/procs"
	httpdriver "github.com/kinetoscope/kinetoscope/driver/server"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/report"
)

type psCmd struct {
	Targets []string `name:"target" sep:"none" help:"Server to ask too, as capture --target has it; may be given several times." placeholder:"URL"`
	All     bool     `help:"Show also those processes with torch that are no ranks, and why."`
	JSON    bool     `name:"json" help:"Print the answer as JSON."`
}

// psAnswer is what --json prints.
type psAnswer struct {
	SchemaVersion int        `json:"schema_version"`
	Processes     []psRow    `json:"processes"`
	Servers       []psServer `json:"servers"`
}

// psRow is a process of this host that has torch loaded.
type psRow struct {
	PID     int       `json:"pid"`
	Name    string    `json:"name"`
	Stage   int       `json:"stage"`
	Replica int       `json:"replica"`
	Rank    int       `json:"rank"`
	World   int       `json:"world_size"`
	Since   time.Time `json:"since"`
	Devices int       `json:"devices"` // accelerators that it has open
	Way     string    `json:"way"`     // how it can be profiled, or what it lacks
	Skipped string    `json:"skipped,omitempty"`
}

// psServer is a server that can be driven over HTTP.
type psServer struct {
	Target  string    `json:"target"`
	State   string    `json:"state"` // ready, or why it cannot be profiled
	Version string    `json:"version,omitempty"`
	Ranks   int       `json:"ranks,omitempty"`
	Dir     string    `json:"dir,omitempty"`
	Polled  time.Time `json:"polled"`
}

// Run lists what can be profiled.
func (c *psCmd) Run(e *cli.Env) error {
	list, err := findTargets(e, c.Targets)
	if err != nil {
		return err
	}
	out := psAnswer{SchemaVersion: 1, Processes: []psRow{}, Servers: []psServer{}}
	found := torchProcesses("/proc")
	out.Processes = rowsOf(found, c.All)
	for _, t := range httpdriver.OfThisHost() {
		if !slices.ContainsFunc(list, func(o httpdriver.Target) bool { return o.URL == t.URL }) {
			list = append(list, t)
		}
	}
	for _, t := range list {
		s := psServer{Target: t.String(), State: "ready", Polled: time.Now()}
		seat := httpdriver.Seats([]httpdriver.Target{t}, "ps", 0)[0]
		d, err := httpdriver.New(seat.Target, seat.ID, e.Log)
		if err == nil {
			err = d.Probe(e.Ctx)
			f := d.Facts()
			s.Version, s.Ranks, s.Dir = f.Version, f.Ranks, d.Dir()
			_ = d.Close() // nothing is recorded, so nothing can be lost
		}
		if err != nil {
			s.State = strings.TrimPrefix(err.Error(), t.String()+" ")
		}
		out.Servers = append(out.Servers, s)
	}
	if c.JSON {
		return cli.JSON(e.Out, out)
	}
	return out.print(e)
}

// torchProcesses returns the processes of a host that have torch loaded, as far as this user may
// see them.
func torchProcesses(root string) []procs.Process {
	var out []procs.Process
	dirs, _ := filepath.Glob(filepath.Join(root, "[0-9]*"))
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || !procs.HasTorch(root, pid) {
			continue
		}
		if p, err := procs.Read(root, pid); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func rowsOf(ps []procs.Process, all bool) []psRow {
	rows := []psRow{}
	var roster procs.Roster
	ranks, skipped := roster.Place(ps)
	for _, r := range ranks {
		rows = append(rows, psRow{PID: r.Process.PID, Name: r.StageName, Stage: r.Stage, Replica: r.Replica,
			Rank: r.Rank, World: r.WorldSize,
			Since: r.Process.StartedAt, Devices: r.Process.Devices, Way: wayTo(r.Process)})
	}
	for _, s := range skipped {
		if i := slices.IndexFunc(ps, func(p procs.Process) bool { return p.PID == s.PID }); all && i >= 0 {
			rows = append(rows, psRow{PID: s.PID, Name: strings.Join(ps[i].Args, " "), Since: ps[i].StartedAt,
				Devices: ps[i].Devices, Skipped: s.Reason})
		}
	}
	slices.SortFunc(rows, func(a, b psRow) int { return cmp.Compare(a.PID, b.PID) })
	return rows
}

// wayTo says how a process can be profiled from outside.
func wayTo(p procs.Process) string {
	switch {
	case p.Restricted:
		return "another user's: run this as its user or root"
	case p.Env[procs.EnvDaemon] != "" && p.Env[procs.EnvDaemon] != "0":
		return "capture --kineto"
	case p.Env == nil:
		return "its environment is not to be read: capture --kineto, if it was started with KINETO_USE_DAEMON=1"
	}
	return "start it with KINETO_USE_DAEMON=1, or attach in it"
}

// maxName is how many characters of a command line are shown.
const maxName = 40

func (a *psAnswer) print(e *cli.Env) error {
	w := tabwriter.NewWriter(report.Terminal(e.Out), 0, 0, 2, ' ', 0)
	if len(a.Processes) == 0 {
		fmt.Fprintln(w, "no process of this host that this user sees has torch loaded")
	} else {
		fmt.Fprintln(w, "PID\tNAME\tRANK\tSINCE\tGPUS\tHOW")
	}
	for _, r := range a.Processes {
		name, rank, way := r.Name, fmt.Sprintf("%d of %d", r.Rank, r.World), r.Way
		if r.Replica > 0 {
			rank += fmt.Sprintf(", replica %d", r.Replica)
		}
		if r.Skipped != "" {
			rank, way = "-", "none: "+r.Skipped
		}
		if runes := []rune(name); len(runes) > maxName {
			name = string(runes[:maxName]) + "…"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\n", r.PID, name, rank, r.Since.Local().Format("15:04:05"), r.Devices,
			way)
	}
	if err := w.Flush(); err != nil || len(a.Servers) == 0 {
		return err
	}
	fmt.Fprintln(e.Out)
	fmt.Fprintln(w, "SERVER\tVERSION\tRANKS\tWRITES TO\tPOLLED\tSTATE")
	for _, s := range a.Servers {
		ranks := "?"
		if s.Ranks > 0 {
			ranks = strconv.Itoa(s.Ranks)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Target, cmp.Or(s.Version, "?"), ranks, cmp.Or(s.Dir, "?"),
			s.Polled.Local().Format("15:04:05"), s.State)
	}
	return w.Flush()
}
