package analyses

import (
	"github.com/kinetoscope/kinetoscope/analysis"
	"github.com/kinetoscope/kinetoscope/report"
	"github.com/kinetoscope/kinetoscope/trace"
)

var _ = Register(Analysis{
	Name: "idle", Order: 40, HTA: true,
	Help:    "Why the device stood still: causes, longest gaps, launches, queues.",
	Answers: "why the device stood still",
	Tables:  []string{"idle", "gaps", "launches", "calls", "queue", "queue_timeline"},
	JSON:    []Field{{"ranks", "analysis.Idle"}, {"launches", "analysis.LaunchStats"}, {"queue", "analysis.Queue"}},
}, Method[idleOptions, idleResult]{Rank: rankIdle, Answer: answerIdle})

type idleOptions struct {
	NoMemory bool `help:"Leave copies and fills out of the launch statistics."`
}

// idleResult is why one rank's streams stood still.
type idleResult struct {
	idle   analysis.Idle
	launch analysis.LaunchStats
	queue  analysis.Queue
	names  report.SliceNames
}

func rankIdle(t *trace.Trace, o *idleOptions, a Asked) (idleResult, error) {
	r := idleResult{
		idle:   analysis.IdleCauses(t, a.Options()),
		launch: analysis.Launches(t, a.Options(), analysis.LaunchOptions{NoMemory: o.NoMemory}),
		queue:  analysis.QueueLength(t, a.Options()), names: report.SliceNames{},
	}
	r.launch.Launches = nil // a row a kernel, which no table shows
	for _, g := range r.idle.Longest {
		r.names.Keep(t, g.Before, g.After)
	}
	return r, nil
}

func answerIdle(list []report.Ranked[idleResult], _ *idleOptions, _ Asked) (Answer, error) {
	idle := report.Part(list, func(r *idleResult) analysis.Idle { return r.idle })
	launch := report.Part(list, func(r *idleResult) analysis.LaunchStats { return r.launch })
	queue := report.Part(list, func(r *idleResult) analysis.Queue { return r.queue })
	names := func(i, slice int) string { return list[i].Value.names[slice] }
	return Answer{
		JSON: map[string]any{"ranks": report.Values(idle), "launches": report.Values(launch), "queue": report.Values(queue)},
		Tables: []*report.Table{
			report.IdleTable(idle), report.GapTable(idle, names), report.LaunchTable(launch), report.CallTable(launch),
			report.QueueTable(queue),
		},
		Asked: []*report.Table{report.QueueSeriesTable(queue)},
	}, nil
}
