// Package write has the writers of traces in the registry of formats (package format), each
// for files of one rank or of many. Importing it makes them known; package open makes known
// what is read.
//
// To add a format that is written: a file here with an init that registers it.
package write

import (
	"context"
	"errors"
	"io"

	"github.com/kinetoscope/kinetoscope/align"
	"github.com/kinetoscope/kinetoscope/trace/arrowipc"
	"github.com/kinetoscope/kinetoscope/trace/format"
	_ "github.com/kinetoscope/kinetoscope/trace/open" // formats that are read and written are registered there
	"github.com/kinetoscope/kinetoscope/trace/parquet"
	"github.com/kinetoscope/kinetoscope/trace/perfetto"
	"github.com/kinetoscope/kinetoscope/trace/pprof"
	"github.com/kinetoscope/kinetoscope/trace/speedscope"
	"github.com/kinetoscope/kinetoscope/trace/table"
)

func init() {
	format.AddWriter(format.Format{
		Name: "perfetto", OneClock: true, Keeps: format.Everything,
		Create: func(w io.Writer, o format.WriteOptions) format.Writer {
			if o.Packed {
				return &perfettoWriter{p: perfetto.NewWriter(w, o.StartNs)}
			}
			return &perfettoWriter{p: perfetto.NewCompressedWriter(w, o.StartNs, o.Workers, perfetto.Small)}
		},
		Lacks: "which process a thread is of, ids of both, categories and names of arrows, samples that are no number, " +
			"null and {} in arguments, which become a text and [], single allocations: they become counters of what is held, " +
			"of which memory answers all but who made them, whose cards and process groups there are",
	})
	format.AddWriter(format.Format{
		Name: "kineto", OneClock: true, Keeps: format.Everything,
		Create: func(w io.Writer, o format.WriteOptions) format.Writer { return newChrome(w, o) },
		Lacks:  "samples that are no number; of many ranks, whose cards and process groups they are",
	})
	format.Register(format.Format{
		Name: "parquet", Title: "Parquet, a row a slice", Extensions: []string{".parquet"},
		Create: gather(writeSlices), Packs: true, Keeps: format.Everything,
		Lacks: "processes of tracks, arrows, counters, instants: a directory has them",
	})
	format.Register(format.Format{
		Name: "arrow", Title: "Arrow file, a row a slice", Extensions: []string{".arrow"},
		Create: gather(writeArrow), Packs: true, Keeps: format.Everything,
		Lacks: "processes of tracks, arrows, counters, instants: a directory of Parquet has them",
	})
	format.AddWriter(format.Format{
		Name: "pprof", Packs: true, Create: gather(writeProfile), Keeps: format.Parts{Names: true, Nesting: true},
		Lacks: "order: it has stacks with the sums of calls, host and device time, memory",
	})
	format.Register(format.Format{
		Name: "speedscope", Title: "file of speedscope", Extensions: []string{".speedscope.json"},
		Create: gather(writeSpeedscope), Keeps: format.Parts{Times: true, Names: true, Nesting: true},
		Lacks: "arrows, counters, instants, numbers in the names of steps",
	})
}

// perfettoWriter writes rank after rank. Perfetto's readers sort by time themselves, so that
// only one rank has to be in memory.
type perfettoWriter struct{ p *perfetto.Writer }

// checkEvery is how many events are written between two looks at the context.
const checkEvery = 1 << 14

func (w *perfettoWriter) Add(ctx context.Context, r format.Rank) error {
	lanes := w.p.AddRank(r.Trace, perfetto.RankOptions{Name: r.Name, Labels: r.Labels, Clock: r.Clock})
	n := 0
	for e := range align.Merge(func(e perfetto.Event) int64 { return e.Time }, lanes...) {
		if n++; n%checkEvery == 0 && ctx.Err() != nil {
			break
		}
		w.p.Emit(e)
	}
	return ctx.Err()
}

func (w *perfettoWriter) Close(context.Context) error {
	_, err := w.p.Close()
	return err
}

// errNothing reports that there is not a trace to write into the file.
var errNothing = errors.New("there is no trace to write")

// gathered writes formats that need all ranks at once.
type gathered struct {
	w     io.Writer
	o     format.WriteOptions
	ranks []format.Rank
	write func(ctx context.Context, w io.Writer, o format.WriteOptions, ranks []format.Rank) error
}

func gather(write func(context.Context, io.Writer, format.WriteOptions, []format.Rank) error) func(io.Writer,
	format.WriteOptions) format.Writer {
	return func(w io.Writer, o format.WriteOptions) format.Writer { return &gathered{w: w, o: o, write: write} }
}

func (g *gathered) Add(ctx context.Context, r format.Rank) error {
	g.ranks = append(g.ranks, r)
	return ctx.Err()
}

func (g *gathered) Close(ctx context.Context) error {
	if len(g.ranks) == 0 {
		return errNothing
	}
	return g.write(ctx, g.w, g.o, g.ranks)
}

func writeSlices(ctx context.Context, w io.Writer, o format.WriteOptions, ranks []format.Rank) error {
	return parquet.Write(ctx, w, o.Workers, slicesOf(ranks)...)
}

func writeArrow(ctx context.Context, w io.Writer, _ format.WriteOptions, ranks []format.Rank) error {
	f := arrowipc.NewFile(w)
	for _, t := range slicesOf(ranks) {
		if err := f.Add(ctx, t); err != nil {
			return err
		}
	}
	return f.Close()
}

// slicesOf returns the tables of slices of ranks, on the file's clock.
func slicesOf(ranks []format.Rank) []*table.Table {
	parts := make([]*table.Table, len(ranks))
	for i, r := range ranks {
		t := table.Slices(table.Rank{Trace: r.Trace, Name: r.Name})
		parts[i] = &t
		if r.Clock != nil {
			onClock(parts[i], r.Clock)
		}
	}
	return parts
}

// onClock puts the column ts on the file's clock.
func onClock(t *table.Table, clock func(int64) int64) {
	ts, ok := t.Column("ts")
	if !ok {
		return
	}
	at := ts.Int
	ts.Int = func(i int) (int64, bool) {
		v, ok := at(i)
		return clock(v), ok
	}
}

func writeProfile(_ context.Context, w io.Writer, _ format.WriteOptions, ranks []format.Rank) error {
	list := make([]pprof.Rank, len(ranks))
	for i, r := range ranks {
		list[i] = pprof.Rank{Trace: r.Trace, Labels: map[string]string{"rank": r.Name}}
	}
	return pprof.Write(w, list)
}

func writeSpeedscope(_ context.Context, w io.Writer, o format.WriteOptions, ranks []format.Rank) error {
	list := make([]speedscope.Rank, len(ranks))
	for i, r := range ranks {
		list[i] = speedscope.Rank{Name: r.Name, Trace: r.Trace, Clock: r.Clock}
	}
	return speedscope.Write(w, o.Name, list)
}
