package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/internal/cli"
	"github.com/kinetoscope/kinetoscope/internal/cli/answer"
	"github.com/kinetoscope/kinetoscope/internal/cli/reading"
	"github.com/kinetoscope/kinetoscope/profiler/format"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/store"
	"github.com/kinetoscope/kinetoscope/trace"
	"github.com/kinetoscope/kinetoscope/trace/identity"
	"github.com/kinetoscope/kinetoscope/trace/native"
	"github.com/kinetoscope/kinetoscope/trace/open"
	"github.com/kinetoscope/kinetoscope/trace/unpack"
	"github.com/kinetoscope/kinetoscope/units"
)

type inspectCmd struct {
	answer.Verb
	Verify bool `help:"Check a run's files against the sizes and hashes in its manifest."`
}

// inspection describes the content of one file.
type inspection struct {
	reading.Info
	// on disk; of an archive's member those of its text; 0 for standard input
	Bytes       int64             `json:"bytes"`
	Facts       map[string]string `json:"facts"`
	WindowStart int64             `json:"window_start_ns"`
	WindowEnd   int64             `json:"window_end_ns"`
	WallClock   bool              `json:"wall_clock"`
	BaseTimeNs  int64             `json:"base_time_ns"`
	Instants    int               `json:"instants"`
	Counters    int               `json:"counters"`
	FlowEnds    int               `json:"flow_ends"`
	Overlaps    int               `json:"overlapping_slices"` // slices in further lanes
	SharedCalls int               `json:"calls_with_shared_correlation"`
	SharedFlows int               `json:"flows_with_shared_id"`
	ArgsBytes   int64             `json:"args_bytes"`
	Recording   *recordingInfo    `json:"recording,omitempty"`

	facts  []report.Fact
	tables []*report.Table
}

// recordingInfo describes a recording of the profiler; other files have none.
type recordingInfo struct {
	Version      int               `json:"version"`
	Process      string            `json:"process"`
	PID          int               `json:"pid"`
	Clock        string            `json:"clock"`
	ResolutionNs int64             `json:"resolution_ns"`
	Snapshot     bool              `json:"snapshot"`
	Generations  int               `json:"generations"`
	Drops        uint64            `json:"drops"`
	TrackDrops   map[string]uint64 `json:"track_drops"`
	Truncated    uint64            `json:"truncated_texts"`
	Reason       string            `json:"end_reason,omitempty"` // why it ended; "" if it was cut
	ClockStepNs  int64             `json:"wall_clock_step_ns"`   // drift of the wall clock
	Cut          *format.Cut       `json:"cut,omitempty"`
	Damage       []format.Damage   `json:"damage,omitempty"` // damaged pieces; what stands behind them was read
}

func (c *inspectCmd) Run(e *cli.Env) error {
	if c.Verify {
		if err := c.verify(e); err != nil {
			return err
		}
	}
	c.Quiet, c.Copies = true, true
	list, infos, err := reading.Ranked(e, &c.Options, &c.Choice, c.Paths,
		func(s *analysis.Subject) inspection { return inspect(s.Trace) })
	if err != nil {
		return err
	}
	for i := range list {
		v := &list[i].Value
		v.Info = infos[i]
		if err := v.fromFile(e.Ctx); err != nil {
			return err
		}
	}
	a := answer.Answer{JSON: map[string]any{"files": report.Values(list)},
		Tables: []*report.Table{filesTable(list), repairsTable(list)}}
	if len(list) > 1 {
		a.Title, a.Note = answer.Title(infos)
		return c.Print(e, "inspect", infos, a)
	}
	v := &list[0].Value
	a.Tables = append(append([]*report.Table{a.Tables[0], report.FactTable(v.facts)}, v.tables...), a.Tables[1])
	if c.JSON || c.CSV || c.Table != "" {
		return c.Print(e, "inspect", infos, a)
	}
	title := infos[0].File
	if title == open.Stdin {
		title = "standard input"
	}
	tables, err := c.Choose(a.Tables[2:])
	if err != nil {
		return err
	}
	return report.Inspection(e.Out, title, v.facts, tables, e.Text())
}

// verify checks the runs among the paths.
func (c *inspectCmd) verify(e *cli.Env) error {
	for _, p := range c.Paths {
		r, err := c.FindRun(p)
		if err != nil {
			return err
		}
		if r == nil {
			return cli.Usage("--verify: %s is no run", p)
		}
		err = r.Verify()
		r.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		fmt.Fprintf(e.Err, "%s: all files are as %s says\n", p, store.ManifestName)
	}
	return nil
}

// inspect counts what is in t.
func inspect(t *trace.Trace) inspection {
	m := &t.Meta
	v := inspection{WindowStart: m.WindowStart, WindowEnd: m.WindowEnd, WallClock: m.WallClock,
		BaseTimeNs: m.BaseTimeNs,
		Instants:   len(t.Instants.Time), Counters: len(t.Counters.Time), FlowEnds: len(t.Flows.Time),
		Overlaps: t.Index().Overlaps, ArgsBytes: t.ArgsBytes(), Facts: map[string]string{}}
	v.SharedCalls, v.SharedFlows = t.DuplicateIDs()
	v.facts = report.MetaFacts(t)
	v.tables = []*report.Table{report.CountTable(t), report.TrackTable(t), report.GroupTable(t)}
	return v
}

// fromFile adds what only the file itself shows: size, packing, and what a recording says of
// itself.
func (v *inspection) fromFile(ctx context.Context) error {
	var head []report.Fact
	add := func(key, f string, args ...any) {
		head = append(head, report.Fact{Key: key, Value: fmt.Sprintf(f, args...)})
	}
	plain := false
	if st, err := os.Stat(v.File); err == nil && v.File != open.Stdin {
		v.Bytes = st.Size()
		if !st.IsDir() {
			packed := packing(v.File)
			add("size", "%s%s", report.Bytes(v.Bytes).Text, strings.TrimSuffix(", "+string(packed), ", "))
			plain = packed == unpack.Plain
		}
		if v.Format == native.Format && plain {
			r, err := readRecording(ctx, v.File)
			if err != nil {
				return err
			}
			v.Recording = r
		}
	} else if v.File != open.Stdin && v.Text > 0 {
		v.Bytes = v.Text
		add("size", "%s in an archive", report.Bytes(v.Bytes).Text)
	}
	v.facts = append(v.facts[:1:1], append(head, v.facts[1:]...)...)
	add = func(key, f string, args ...any) {
		v.facts = append(v.facts, report.Fact{Key: key, Value: fmt.Sprintf(f, args...)})
	}
	add("events", "%d slices, %d instants, %d counter samples, %d flow ends; %s of arguments", v.Slices, v.Instants,
		v.Counters, v.FlowEnds, report.Bytes(v.ArgsBytes).Text)
	if v.Overlaps > 0 {
		add("overlaps", "%d slices overlap others of their track in part; they have lanes of their own", v.Overlaps)
	}
	if v.SharedCalls+v.SharedFlows > 0 {
		add("shared ids", "%d runtime calls have the correlation of an earlier one, %d flows the id of an earlier one",
			v.SharedCalls, v.SharedFlows)
	}
	if r := v.Recording; r != nil {
		v.facts = append(v.facts, r.facts()...)
	}
	if len(v.Repairs) == 0 && v.Recording == nil {
		add("repairs", "none")
	}
	if v.Skipped > 0 && v.Text > 0 {
		add("not read", "%s of %s (%s) hold nothing that could be read", units.Bytes(v.Skipped), units.Bytes(v.Text),
			units.Share(float64(v.Skipped)/float64(v.Text)))
	}
	for _, f := range []trace.Field{trace.FieldStage, trace.FieldReplica, trace.FieldRank, trace.FieldRole,
		trace.FieldPhase, trace.FieldHost} {
		if from := v.LearntFrom[f]; from != "" && from != trace.FromContent {
			add("whose it is", "%s: from the %s", f, from)
		}
	}
	for _, f := range v.facts {
		v.Facts[f.Key] = strings.TrimPrefix(v.Facts[f.Key]+"; "+f.Value, "; ")
	}
	return nil
}

// packing tells by the first bytes how a file is packed.
func packing(path string) unpack.Kind {
	f, err := os.Open(path)
	if err != nil {
		return unpack.Plain
	}
	defer f.Close()
	u, err := unpack.New(f)
	if err != nil {
		return unpack.Plain
	}
	defer u.Close()
	return u.Kind()
}

// readRecording reads how a recording was made.
func readRecording(ctx context.Context, path string) (*recordingInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rd, err := format.NewReader(f)
	if err != nil {
		return nil, reading.Error(fmt.Errorf("%s: %w", path, err))
	}
	h := rd.Header()
	out := &recordingInfo{Version: h.Version, Process: h.Process, PID: h.PID, Clock: h.Clock,
		ResolutionNs: h.ResolutionNs, Snapshot: h.Snapshot, TrackDrops: map[string]uint64{}}
	for ctx.Err() == nil {
		_, err := rd.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if damage := (*format.Error)(nil); errors.As(err, &damage) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out.Generations++
	}
	for _, k := range rd.Tracks() {
		out.Drops += k.Drops
		if k.Drops > 0 {
			out.TrackDrops[k.Name] += k.Drops
		}
	}
	out.Cut, out.Damage = rd.Cut(), rd.Damage()
	if end := rd.End(); end != nil {
		out.Drops, out.Truncated, out.Reason, out.ClockStepNs = end.Drops, end.Truncated, end.Reason,
			end.WallTime-end.Time
	}
	return out, ctx.Err()
}

func (r *recordingInfo) facts() []report.Fact {
	kind := "a window"
	if r.Snapshot {
		kind = "a flight recorder's past"
	}
	out := []report.Fact{
		{Key: "recording", Value: fmt.Sprintf("version %d, %s of process %s (pid %d), generations: %d", r.Version, kind,
			r.Process, r.PID, r.Generations)},
		{Key: "clock source", Value: fmt.Sprintf("%s, resolution %d ns; the wall clock moved %d ns against it", r.Clock,
			r.ResolutionNs, r.ClockStepNs)},
	}
	drops := fmt.Sprintf("%d events", r.Drops)
	if r.Truncated > 0 {
		drops += fmt.Sprintf("; %d texts shortened", r.Truncated)
	}
	out = append(out, report.Fact{Key: "drops", Value: drops})
	for i, d := range r.Damage {
		if i == answer.MaxNamed {
			out = append(out, report.Fact{Key: "damaged", Value: fmt.Sprintf("and %d more places", len(r.Damage)-i)})
			break
		}
		out = append(out, report.Fact{Key: "damaged",
			Value: fmt.Sprintf("at offset %d, %d bytes, %v of it: %s. What lies behind was read",
				d.Offset, d.Bytes, time.Duration(d.ToNs-d.FromNs), d.Reason)})
	}
	if c := r.Cut; c != nil {
		return append(out, report.Fact{Key: "cut",
			Value: fmt.Sprintf("at offset %d: %s; %d bytes behind it could not be used. All before it was read",
				c.Offset, c.Reason, c.Bytes)})
	}
	return append(out, report.Fact{Key: "ended", Value: r.Reason})
}

// filesTable is one row a file.
func filesTable(list []report.Ranked[inspection]) *report.Table {
	t := &report.Table{Name: "files", Title: "Files", What: "file", Columns: []report.Column{
		{Key: "file", Title: "file", Left: true, Flex: true}, {Key: "format", Title: "format", Left: true},
		{Key: "stage", Title: "stage", Left: true}, {Key: "replica", Title: "replica"},
		{Key: "rank", Title: "rank"}, {Key: "role", Title: "role", Left: true}, {Key: "bytes", Title: "size"},
		{Key: "slices", Title: "slices"},
		{Key: "instants", Title: "instants", Drop: 3}, {Key: "counters", Title: "counters", Drop: 4},
		{Key: "flow_ends", Title: "flow ends", Drop: 5}, {Key: "window_ns", Title: "window"},
		{Key: "window_start_ns"}, {Key: "wall_clock", Title: "wall clock", Left: true, Drop: 2},
		{Key: "overlapping_slices", Title: "overlaps", Drop: 6}, {Key: "repairs", Title: "repairs", Drop: 1},
		{Key: "drops", Title: "drops"}, {Key: "cut", Title: "cut", Left: true},
		{Key: "copy_of", Title: "the same trace as", Left: true},
	}}
	dir := commonDir(list)
	for i := range list {
		v := &list[i].Value
		name := cli.ShortPath(v.File)
		if len(list) > 1 {
			name = under(dir, v.File)
		}
		repairs := 0
		for _, n := range v.Repairs {
			repairs += n
		}
		drops, cut := report.NoValue, report.Str("")
		if v.Recording != nil {
			drops = report.Int(int64(v.Recording.Drops))
			if v.Recording.Cut != nil {
				cut = report.Str("yes")
			}
		}
		t.Add(report.Cell{Text: name, Raw: v.File}, report.Str(v.Format), report.Str(identity.StageName(v.Meta)),
			report.If(v.Replica > 0, report.ID(v.Replica)),
			report.If(v.Rank >= 0, report.ID(v.Rank)), report.Str(strings.TrimSpace(v.Role+" "+v.Phase)),
			report.Bytes(v.Bytes), report.Int(v.Slices),
			report.Int(v.Instants), report.Int(v.Counters), report.Int(v.FlowEnds),
			report.Ns(v.WindowEnd-v.WindowStart), report.ID(v.WindowStart), report.Str(fmt.Sprint(v.WallClock)),
			report.Int(v.Overlaps), report.Int(repairs), drops, cut,
			report.Str(under(dir, v.CopyOf)))
	}
	return t
}

// under is a file's path from dir on; "" for none.
func under(dir, file string) string {
	if rel, err := filepath.Rel(dir, file); err == nil && file != "" {
		return rel
	}
	return file
}

// commonDir is the deepest directory that holds all files.
func commonDir(list []report.Ranked[inspection]) string {
	dir := filepath.Dir(list[0].Value.File)
	for i := range list {
		for f := list[i].Value.File; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if rel, err := filepath.Rel(dir, f); err == nil && filepath.IsLocal(rel) {
				break
			}
		}
	}
	return dir
}

func repairsTable(list []report.Ranked[inspection]) *report.Table {
	return report.RepairTable(report.Part(list, func(v *inspection) map[string]int { return v.Repairs }))
}
